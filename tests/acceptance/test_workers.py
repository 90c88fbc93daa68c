"""Worker processes: killed, blocked, drained."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.acceptance import killing
from tests.acceptance.blocking_worker import adapter, notes

T = TypeVar("T")

PATIENCE_SECONDS = 60.0
ROOT = Path(__file__).resolve().parents[2]


@asynccontextmanager
async def worker(
    directory: Path, lease_seconds: float
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A worker process on a directory; what is left of it at the end is killed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.acceptance.blocking_worker", str(directory)),
        str(lease_seconds),
        cwd=ROOT,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def drained(process: asyncio.subprocess.Process) -> str:
    """End a worker with SIGTERM; what it said."""
    process.send_signal(signal.SIGTERM)
    _, stderr = await process.communicate()
    assert process.returncode == 0
    return stderr.decode()


async def until(directory: Path, what: str, count: int) -> None:
    """Wait until something has been noted so many times."""
    while len(noted(directory, what)) < count:
        await asyncio.sleep(0.02)


def play(work: Coroutine[Any, Any, T]) -> T:
    """Run a test that waits for processes."""
    return asyncio.run(asyncio.wait_for(work, PATIENCE_SECONDS))


def noted(directory: Path, what: str) -> list[tuple[str, int]]:
    """Of whom something was noted, and by which process: ``begins``, ``ends``, ``starts``."""
    words = [line.split() for line in notes(directory)]
    return [(who, int(process)) for who, does, process in words if does == what]


@pytest.mark.slow
def test_orders_come_out_right_however_workers_are_killed() -> None:
    """A seeded slice of the campaign: SIGKILL at random moments loses and doubles nothing."""
    assert asyncio.run(killing.campaign(6, seed=42)) == 0


@pytest.mark.slow
def test_a_node_that_blocks_the_loop_keeps_its_lease(tmp_path: Path) -> None:
    """An async node that calls `time.sleep(5)` under a lease of 2 s runs once, with a warning."""

    async def main() -> list[str]:
        async with worker(tmp_path, 2.0) as one, worker(tmp_path, 2.0) as two:
            await until(tmp_path, "starts", 2)  # one of them will be idle all the time
            client = adapter(tmp_path, 2.0)
            run = await client.start_run("block", {})
            result = await client.wait_for_run(run)
            await client.aclose()
            assert result.outputs == {"blocks": "done"}
            return sorted([await drained(one), await drained(two)])

    said = play(main())
    (begun,), (ended,) = noted(tmp_path, "begins"), noted(tmp_path, "ends")
    assert begun == ended
    assert said[0] == ""  # who was idle had nothing to say
    assert said[1].count("Node 'blocks' has kept the event loop busy for more than 1 s") == 1


@pytest.mark.slow
def test_sigterm_lets_nodes_finish_or_hands_them_back(tmp_path: Path) -> None:
    """Of twenty running nodes the short ones finish, the others end elsewhere, none twice."""
    # So long that whatever is not handed back is not taken over before the test gives up.
    lease_seconds = 300.0

    async def main() -> tuple[int, int]:
        client = adapter(tmp_path, lease_seconds)
        async with worker(tmp_path, lease_seconds) as first:
            run = await client.start_run("many", {})
            await until(tmp_path, "begins", 20)
            assert noted(tmp_path, "ends") == []
            first.send_signal(signal.SIGTERM)
            # The short ones end now, and so does every endless one that begins from now on.
            (tmp_path / "go").touch()
            await first.communicate()
            assert first.returncode == 0
        async with worker(tmp_path, lease_seconds) as second:
            result = await client.wait_for_run(run)
            assert result.status == "completed"
            await drained(second)
        await client.aclose()
        return first.pid, second.pid

    first, second = play(main())
    short = [f"short{number}" for number in range(10)]
    endless = [f"endless{number}" for number in range(10)]
    by_first = [(name, first) for name in (*short, *endless)]
    by_second = [(name, second) for name in endless]
    assert sorted(noted(tmp_path, "begins")) == sorted(by_first + by_second)
    assert sorted(noted(tmp_path, "ends")) == sorted([(name, first) for name in short] + by_second)


@pytest.mark.slow
def test_a_batch_that_is_cut_outlives_its_workers(tmp_path: Path) -> None:
    """A worker killed amid 3,000 items costs some of them a second body, and nothing else."""
    items, hands = 3_000, 30

    async def main() -> list[int]:
        client = adapter(tmp_path, 1.0)
        async with worker(tmp_path, 1.0) as first, worker(tmp_path, 1.0) as second:
            run = await client.start_run("batch", {"items": list(range(items))})
            await until(tmp_path, "begins", items // 2)
            first.kill()
            result = await client.wait_for_run(run)
            await drained(second)
        assert [each.run_id for each in (await client.list_runs()).runs] == [run]
        await client.aclose()
        output: list[int] = result.outputs["double_gather"]
        return output

    assert play(main()) == [2 * item for item in range(items)]
    bodies = Counter(item for item, _ in noted(tmp_path, "begins"))
    assert len(bodies) == items
    assert bodies.total() <= items + hands
    assert max(bodies.values()) <= 2
