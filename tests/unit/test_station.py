"""What a process knows of runs that it has open."""

from __future__ import annotations

import asyncio
from typing import Any

from flowcraft import create_flow
from flowcraft.ports.runs import Change, Claim, Record, RunStore
from tests.unit.durable import World, play
from tests.unit.runs import turns

RUN = "run"


class AnswersLate:
    """Reads at once, and gives the answer of the first read when it is let go."""

    def __init__(self, runs: RunStore) -> None:
        self._runs = runs
        self._reads = 0
        self.let_go = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runs, name)

    async def read(self, run_id: str, since: int = 0) -> Record | None:
        """The answer as it was when it was asked for."""
        self._reads += 1
        is_first, record = self._reads == 1, await self._runs.read(run_id, since)
        if is_first:
            await self.let_go.wait()
        return record


def test_an_answer_that_comes_late_does_not_hide_who_has_a_lease() -> None:
    """Of two reads that overlap the one that began last tells who has what."""

    async def story(world: World) -> None:
        flow = create_flow("f").node("a", world.body("a")).node("b", world.body("b"))
        await world.knows(flow).client.start_run(flow, run_id=RUN)
        process = await world.idle()
        station = process.worker.station
        ledger = await station.open(RUN)
        assert ledger is not None
        slow = AnswersLate(world.ports.runs)
        station.runs = slow
        early = asyncio.ensure_future(station.refresh(ledger))
        await turns(5)
        claim = Claim("0/1", "token", "thread", 30.0)
        await world.ports.runs.write(Change(RUN, ledger.epoch, ledger.number, claim=claim))
        await station.refresh(ledger)
        assert list(ledger.leases) == ["0/1"]
        slow.let_go.set()
        await early
        assert list(ledger.leases) == ["0/1"]

    play(story)


def test_an_answer_that_tells_more_counts_although_it_was_asked_for_first() -> None:
    """What a read tells of leases goes with the facts that it brings."""

    async def story(world: World) -> None:
        flow = create_flow("f").node("a", world.body("a")).edge("a", "s").sleep("s", "1h")
        await world.knows(flow).client.start_run(flow, run_id=RUN)
        process = await world.idle()
        station = process.worker.station
        ledger = await station.open(RUN)
        assert ledger is not None
        before = await world.ports.runs.read(RUN)
        assert before is not None
        worker = await world.process()
        await world.settle()
        await worker.kill()
        after = await world.ports.runs.read(RUN, ledger.number)
        assert after is not None
        assert after.head.row != before.head.row
        ledger.look(station.asked(), after)
        ledger.look(station.asked(), before)
        assert ledger.row == after.head.row

    play(story)
