"""The adapters give the same answers to the same calls, whatever is asked of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from flowcraft.adapters.memory import MemoryQueue, MemoryRuns
from flowcraft.adapters.sqlite import Database, SqliteQueue, SqliteRuns
from flowcraft.ports.queue import Outgoing, Queue
from flowcraft.ports.runs import (
    Change,
    Claim,
    Entry,
    Head,
    Held,
    Holding,
    Query,
    Row,
    RunStore,
    Written,
)
from flowcraft.testing import VirtualClock
from flowcraft.testing.clock import START
from tests.unit.runs import drive

STEPS = 400

STATUSES = ["running", "awaiting", "paused", "completed", "failed"]

Call = Callable[[Any], Coroutine[Any, Any, Any]]


class Chance:
    """Calls drawn by lot, from few names, so that they get in each other's way."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.pick = self._random.choice
        self.number = self._random.randrange
        self._facts = count()

    def maybe(self, value: Any) -> Any:
        """The value in half of the cases, else ``None``."""
        return self.pick([value, None])

    def runs_call(self) -> Call:
        """Something to ask a store of runs; writes are the most common."""
        kinds = [self.create, self.read, self.renew, self.find, *[self.write] * 8]
        return self.pick([*kinds, self.remove] if self.number(10) == 0 else kinds)()

    def create(self) -> Call:
        more = {"tags": {"t": self.pick("12")}, "key": self.maybe(self.pick("kl"))}
        started, row = START + self.number(5), self.row()
        head = Head(self.run_id(), self.epoch(), "b", "h", 0, row, started, started, **more)
        entry = Entry("begin", START, self.entry_id())
        return lambda runs: runs.create(head, [entry], "t")

    def read(self) -> Call:
        run_id, since = self.run_id(), self.number(6)
        return lambda runs: runs.read(run_id, since)

    def write(self) -> Call:
        place, token = self.pick("pq"), self.pick("tu")
        flags = {"expired": self.number(4) == 0, "give_back": self.number(4) == 0}
        # No two are the same: whoever lost an answer knows his own facts by what they say.
        entries = [Entry(str(next(self._facts)), START, self.entry_id()) for _ in "ab"]
        change = Change(
            run_id=self.run_id(),
            epoch="",
            seen=0,
            thread="t",
            entries=tuple(entries[: self.number(3)]),
            holding=self.maybe(Holding(place, token, **flags)),
            claim=self.maybe(Claim(self.pick("pq"), token, "t", 10.0)),
            row=self.maybe(self.row()),
            exact=self.number(5) == 0,
        )
        lag, is_current = self.pick([0, 0, 0, 1, 3]), self.number(20) > 0

        async def call(runs: RunStore) -> Written:
            record = await runs.read(change.run_id)
            if record is None or not is_current:
                return await runs.write(change)
            seen = max(0, record.head.facts - lag)
            return await runs.write(replace(change, epoch=record.head.epoch, seen=seen))

        return call

    def renew(self) -> Call:
        held = [Held(self.run_id(), self.pick("pq"), self.pick("tu")) for _ in range(3)]
        return lambda runs: runs.renew(held, 10.0)

    def find(self) -> Call:
        query = Query(
            status=self.maybe(self.pick(STATUSES)),
            tags=self.pick([{}, {"t": "1"}]),
            created_from=self.maybe(START + self.number(5)),
            created_until=self.maybe(START + self.number(5)),
            due_before=self.maybe(START + self.number(500)),
            updated_before=self.maybe(START + self.number(500)),
            awaits=self.maybe(self.pick("xyz")),
            limit=self.number(5) + 1,
        )
        return lambda runs: runs.find(query)

    def remove(self) -> Call:
        run_id, epoch = self.run_id(), self.epoch()
        return lambda runs: runs.remove(run_id, epoch)

    def run_id(self) -> str:
        return str(self.pick("abc"))

    def epoch(self) -> str:
        return "e" if self.number(5) else "f"

    def entry_id(self) -> str | None:
        return str(self.number(20)) if self.number(3) == 0 else None

    def row(self) -> Row:
        due_at = self.maybe(START + self.number(500))
        # Final ones are rare, or little would happen.
        status = self.pick(STATUSES[:3] if self.number(10) else STATUSES)
        awaits = tuple(event for event in "xyz" if self.number(3) == 0)
        return Row(status, self.number(2) == 0, due_at, awaits)


def same(answer: Any) -> Any:
    """An answer in a form in which sequences of any type, in any order of leases, compare."""
    if isinstance(answer, list | tuple):
        return [same(item) for item in answer]
    if hasattr(answer, "leases"):
        leases = sorted(answer.leases, key=lambda lease: str(lease.place))
        return (answer.head, list(answer.facts), leases)
    if hasattr(answer, "verdict"):
        rest = (answer.first, answer.granted, answer.lease, answer.row_written)
        return (answer.verdict, list(answer.facts), *rest)
    return answer


async def ask_all(stores: tuple[RunStore, RunStore], clock: VirtualClock, seed: int) -> set[str]:
    """Ask both stores the same; the verdicts that came up."""
    chance, verdicts = Chance(seed), set()
    for step in range(STEPS):
        call = chance.runs_call()
        answers = [same(await call(store)) for store in stores]
        assert answers[0] == answers[1], f"step {step} of seed {seed}"
        if isinstance(answers[0], tuple) and isinstance(answers[0][0], str):
            verdicts.add(answers[0][0])
        clock.advance(chance.number(4))
    return verdicts


@pytest.mark.parametrize("seed", range(10))
def test_stores_of_runs_agree(seed: int, tmp_path: Path) -> None:
    """Hundreds of calls drawn by lot are answered alike, and all verdicts come up."""
    clock = VirtualClock()
    with Database(tmp_path / "runs.db", clock) as database:
        stores = (MemoryRuns(clock), SqliteRuns(database))
        verdicts = drive(ask_all(stores, clock, seed))
    assert verdicts == {"done", "gone", "lost", "stale", "known"}


async def pass_messages(queues: tuple[Queue, Queue], clock: VirtualClock, seed: int) -> None:
    """Send, receive, extend and delete in both queues alike."""
    chance = Chance(seed)
    handles: list[tuple[str, ...]] = []
    for step in range(STEPS):
        if (what := chance.number(6)) < 2:
            message = Outgoing(str(step), float(chance.number(2) * 20))
            for queue in queues:
                await queue.send([message])
        elif what < 4:
            limit = chance.number(3) + 1
            received = [await queue.receive(limit, 0) for queue in queues]
            facts = [sorted((d.body, d.receives) for d in each) for each in received]
            assert facts[0] == facts[1], f"step {step} of seed {seed}"
            pairs = zip(*(sorted(each, key=lambda d: d.body) for each in received), strict=True)
            handles += [tuple(d.handle for d in pair) for pair in pairs]
        elif handles:
            pair = chance.pick(handles)
            for queue, handle in zip(queues, pair, strict=True):
                await (queue.extend if what == 4 else queue.delete)([handle])
        clock.advance(chance.number(9))


@pytest.mark.parametrize("seed", range(10))
def test_queues_agree(seed: int, tmp_path: Path) -> None:
    """Hundreds of calls drawn by lot, late handles among them, are answered alike."""
    clock = VirtualClock()
    with Database(tmp_path / "runs.db", clock) as database:
        drive(pass_messages((MemoryQueue(clock), SqliteQueue(database)), clock, seed))
