"""Runs and changes with as few words as a case needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flowcraft.ports.runs import (
    Change,
    Claim,
    Entry,
    Fact,
    Head,
    Held,
    Holding,
    Lease,
    Record,
    Renewed,
    Row,
    RunStore,
    Verdict,
    Written,
)
from flowcraft.testing.clock import START
from flowcraft.testing.conformance.stage import equal

SECONDS = 30.0
"""How long the leases of the cases last."""


def head(
    run_id: str = "run", *, epoch: str = "epoch", status: str = "running", **more: Any
) -> Head:
    """A run as it is handed to ``create``."""
    values = {
        "blueprint_id": "flow",
        "blueprint_hash": "hash",
        "facts": 0,
        "row": Row(status),
        "created_at": START,
        "updated_at": START,
    }
    return Head(run_id=run_id, epoch=epoch, **{**values, **more})


async def create(runs: RunStore, run_id: str = "run", **more: Any) -> Head:
    """Begin a run with the fact ``begin``."""
    created = await runs.create(head(run_id, **more), [Entry("begin", START)], "thread 0")
    return created.head


async def write(runs: RunStore, seen: int, *data: str, **more: Any) -> Written:
    """Write facts, and whatever else, to the run ``run``."""
    entries = tuple(Entry(text, START + 1) for text in data)
    values = {"run_id": "run", "epoch": "epoch", "thread": "thread 1", "entries": entries}
    return await runs.write(Change(seen=seen, **{**values, **more}))


async def done(runs: RunStore, seen: int, *data: str, **more: Any) -> Written:
    """A write that has to succeed."""
    written = await write(runs, seen, *data, **more)
    equal(written.verdict, Verdict.DONE, "the verdict")
    return written


def claim(token: str = "token", place: str = "place", seconds: float = SECONDS) -> Claim:
    """A claim to a place."""
    return Claim(place, token, f"thread of {token}", seconds)


def holding(token: str = "token", place: str = "place", **more: bool) -> Holding:
    """A lease that is required."""
    return Holding(place, token, **more)


async def renew(runs: RunStore, token: str = "token", run_id: str = "run") -> Renewed:
    """Prolong the lease at ``place``."""
    (renewed,) = await runs.renew([Held(run_id, "place", token)], SECONDS)
    return renewed


async def record(runs: RunStore, run_id: str = "run") -> Record:
    """A run that has to be there."""
    found = await runs.read(run_id)
    if found is None:
        raise AssertionError(f"the run {run_id!r} is not there")
    return found


async def leases(runs: RunStore) -> list[Lease]:
    """The leases of a run that are not over, by place."""
    return sorted((await record(runs)).leases, key=lambda lease: lease.place)


async def log(runs: RunStore, run_id: str = "run") -> list[str]:
    """The facts of a run, whose numbers have to be without gaps."""
    found = await record(runs, run_id)
    equal([fact.number for fact in found.facts], list(range(len(found.facts))), "the numbers")
    equal(found.head.facts, len(found.facts), "the number of facts that the head tells")
    return data_of(found.facts)


def data_of(facts: Sequence[Fact]) -> list[str]:
    """What the facts say."""
    return [fact.data for fact in facts]


async def unchanged(runs: RunStore, before: Record) -> None:
    """Require a run to be as it was."""
    now = await record(runs, before.head.run_id)
    equal(now.head, before.head, "the run, which was not to change")
    equal(list(now.facts), list(before.facts), "its facts, which were not to change")
    equal(sorted(map(repr, now.leases)), sorted(map(repr, before.leases)), "its leases")
