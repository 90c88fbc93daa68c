"""The runners of jobs: how many there are, what they share, and how they end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar

import pytest

from flowcraft.engine.pool import Pool
from tests.unit.runs import drive, turns

NAME: ContextVar[str] = ContextVar("NAME", default="clean")
Execute = Callable[[str, int, "asyncio.Task[None]"], Awaitable[None]]


async def settle(pool: Pool[str, int]) -> None:
    """Wait until nothing is queued or under way."""
    while pool.busy or pool._runners:
        await asyncio.sleep(0)


def test_jobs_that_do_not_wait_share_one_task() -> None:
    """Fifty jobs that never wait are done in order by a single task."""

    async def main() -> None:
        done: list[int] = []
        tasks: set[asyncio.Task[None]] = set()

        async def execute(owner: str, job: int, task: asyncio.Task[None]) -> None:
            done.append(job)
            tasks.add(task)
            assert task is asyncio.current_task()

        pool = Pool(execute, limit=10)
        for job in range(50):
            pool.submit("even" if job % 2 == 0 else "odd", job)
        await settle(pool)
        assert done == list(range(50))
        assert len(tasks) == 1

    drive(main())


@pytest.mark.parametrize("limit", [1, 3, 50])
def test_waiting_jobs_have_a_task_each_up_to_the_limit(limit: int) -> None:
    """As many jobs wait at once as the limit allows, and no more."""

    async def main() -> None:
        under_way = peak = 0

        async def execute(owner: str, job: int, task: asyncio.Task[None]) -> None:
            nonlocal under_way, peak
            under_way += 1
            peak = max(peak, under_way)
            await turns(20)
            under_way -= 1

        pool = Pool(execute, limit)
        for job in range(50):
            pool.submit("even" if job % 2 == 0 else "odd", job)
        await settle(pool)
        assert (under_way, peak) == (0, limit)

    drive(main())


def test_jobs_submitted_by_a_job_are_done_while_it_waits() -> None:
    """A job that submits others and then waits for them does not wait in vain."""

    async def main() -> None:
        inner = asyncio.Event()

        async def execute(owner: str, job: int, task: asyncio.Task[None]) -> None:
            if job == 0:
                pool.submit("odd", 1)
                await inner.wait()
            else:
                inner.set()

        pool = Pool(execute, limit=2)
        pool.submit("even", 0)
        await asyncio.wait_for(settle(pool), 5)

    drive(main())


def test_a_job_starts_with_the_context_variables_of_the_pools_maker() -> None:
    """What a job sets in a context variable is gone for the next one, also without a wait."""

    async def main() -> list[str]:
        seen: list[str] = []

        async def execute(owner: str, job: int, task: asyncio.Task[None]) -> None:
            seen.append(NAME.get())
            NAME.set(f"left by {job}")

        NAME.set("made here")
        pool = Pool(execute, limit=2)
        NAME.set("changed later")
        for job in range(5):
            pool.submit("even" if job % 2 == 0 else "odd", job)
        await settle(pool)
        return seen

    assert drive(main()) == ["made here"] * 5


def test_a_job_that_raises_does_not_stop_the_others() -> None:
    """After an exception that leaves ``execute`` another runner does the rest."""

    async def main() -> None:
        done: list[int] = []
        told: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, about: told.append(about))

        async def execute(owner: str, job: int, task: asyncio.Task[None]) -> None:
            done.append(job)
            if job == 1:
                raise ValueError

        pool = Pool(execute, limit=1)
        for job in range(4):
            pool.submit("even" if job % 2 == 0 else "odd", job)
        await settle(pool)
        assert done == [0, 1, 2, 3]

    drive(main())


def test_jobs_can_be_taken_back_until_they_begin() -> None:
    """``discard`` gives the jobs that had not begun, and they never do."""

    async def main() -> None:
        gate, done = asyncio.Event(), list[int]()

        async def execute(owner: str, job: int, task: asyncio.Task[None]) -> None:
            await gate.wait()
            done.append(job)

        pool = Pool(execute, limit=2)
        for job in range(6):
            pool.submit("even" if job % 2 == 0 else "odd", job)
        await turns()
        assert pool.discard(lambda owner: owner == "even") == [("even", 2), ("even", 4)]
        gate.set()
        await settle(pool)
        assert sorted(done) == [0, 1, 3, 5]

    drive(main())


def test_closing_stops_what_runs_and_forgets_what_is_queued() -> None:
    """``close`` cancels jobs, waits until they are gone, and starts no other."""

    async def main() -> None:
        begun, ended = list[int](), list[int]()

        async def execute(owner: str, job: int, task: asyncio.Task[None]) -> None:
            begun.append(job)
            pool.executing += 1
            try:
                await asyncio.Event().wait()
            finally:
                await turns(2)
                pool.executing -= 1
                ended.append(job)

        pool = Pool(execute, limit=2)
        for job in range(5):
            pool.submit("even" if job % 2 == 0 else "odd", job)
        await turns()
        await pool.close()
        assert (begun, sorted(ended), pool.closed) == ([0, 1], [0, 1], True)
        pool.submit("odd", 9)
        await turns()
        assert begun == [0, 1]

    drive(main())


def test_closing_copes_with_a_runner_that_has_not_begun() -> None:
    """``close`` ends although a runner was made just now and has not had its first turn."""

    async def main() -> None:
        async def execute(owner: str, job: int, task: asyncio.Task[None]) -> None:
            pool.executing += 1
            try:
                await asyncio.Event().wait()
            finally:
                pool.executing -= 1

        pool = Pool(execute, limit=5)
        pool.submit("even", 0)
        await turns()
        pool.submit("odd", 1)
        await asyncio.sleep(0)
        await asyncio.wait_for(pool.close(), 1)

    drive(main())


def test_a_runner_lets_others_have_a_turn_now_and_then() -> None:
    """A thousand jobs that never wait still let the loop serve other tasks."""

    async def main() -> None:
        ticks = 0

        async def execute(owner: str, job: int, task: asyncio.Task[None]) -> None:
            return None

        pool = Pool(execute, limit=1)
        for job in range(1_000):
            pool.submit("even" if job % 2 == 0 else "odd", job)
        while pool.busy:
            ticks += 1
            await asyncio.sleep(0)
        assert ticks > 10

    drive(main())
