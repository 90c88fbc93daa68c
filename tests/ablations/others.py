"""Safeguards about timers, locks, limits, schedules, batches and the removal of runs."""

from __future__ import annotations

import itertools
from typing import Any, Final

from flowcraft.adapters.aws import coordination, limits
from flowcraft.adapters.memory import MemoryRuns
from flowcraft.core import shards
from flowcraft.core.schedules import Schedule
from flowcraft.engine import schedule_store, worker
from flowcraft.engine.calendar import Calendar
from flowcraft.engine.gate import Gate
from flowcraft.engine.heartbeat import Heartbeat
from flowcraft.engine.ledger import Foreseen
from flowcraft.engine.schedule_store import ScheduleStore, Stored
from flowcraft.engine.schedule_texts import write_schedule
from flowcraft.engine.strand import Strand
from flowcraft.engine.sweeping import Sweeper
from flowcraft.testing.simulate.faults import Kind
from tests.ablations.messages import without_event_id
from tests.ablations.switch import Ablation, Swap, never_waits, or_not


def _never_expires(free: str) -> str:
    never, _, expired = free.partition(" OR ")
    return f"{never} OR ({expired} AND {never})"


def _forgotten_first(sweep: Any) -> Any:
    async def ablated(self: Calendar, hour: int, until: float, now: float, send: Any) -> bool:
        kept: list[Any] = []

        async def note(entries: Any) -> None:
            kept.extend(entries)

        is_done = await sweep(self, hour, until, now, note)
        if kept:
            await send(kept)
        return bool(is_done)

    return ablated


def _from_lately(begin: Any) -> Any:
    async def ablated(self: Sweeper, this_hour: int) -> int:
        await begin(self, this_hour)
        self._next = max(self._next or 0, this_hour - 2)
        return self._next

    return ablated


def _full_is_free(require: Any) -> Any:
    def ablated(self: Any, condition: str) -> None:
        require(self, or_not(condition) if "held <" in condition else condition)

    return ablated


def _another_each_time(run_id: Any) -> Any:
    numbers = itertools.count(1)

    def ablated(self: Schedule, start: Any) -> str:
        return f"{run_id(self, start)}.{next(numbers)}"

    return ablated


async def _written_over(self: ScheduleStore, before: Any, schedule: Schedule) -> Stored:
    there, text = await self.read(schedule.id), write_schedule(schedule)
    await self._store.swap(
        schedule_store._key(schedule.id), None if there is None else there.text, text
    )
    return Stored(text, schedule)


def _any_shard(_: Any) -> Any:
    return lambda step, event: step.get("shards", (event.key, event.first))


def _not_hidden(remove: Any) -> Any:
    async def ablated(
        self: MemoryRuns, run_id: str, epoch: str, *, only_hide: bool = False
    ) -> None:
        if not only_hide:
            await remove(self, run_id, epoch)

    return ablated


ABLATIONS: Final = (
    Ablation(
        "lock-expiry",
        "A lock whose time is over is free, whether or not the table has removed it.",
        [Swap(coordination, "_IS_FREE", _never_expires)],
        ("sleep-hours", "retry-hours"),
        "aws",
    ),
    Ablation(
        "sent-then-forgotten",
        "A timer leaves the calendar once its message is sent.",
        [Swap(Calendar, "sweep", _forgotten_first)],
        ("sleep-hours", "retry-hours"),
    ),
    Ablation(
        "timer-cursor",
        "How far timers were swept is noted, so that those of a time when nobody worked are found.",
        [Swap(Sweeper, "_begin", _from_lately)],
        ("away",),
    ),
    Ablation(
        "timer-dropped",
        "A timer that nobody needs any more is taken out of the calendar.",
        [Swap(worker, "forget_dropped", never_waits())],
        ("cancel-days", "answer-days"),
    ),
    Ablation(
        "limit-full",
        "Nobody comes in where as many are in as may be.",
        [Swap(limits._Update, "require", _full_is_free)],
        ("limit", "limit-two"),
        "aws",
    ),
    Ablation(
        "limit-in-time",
        "Whoever was held up between its place and its beginning asks for the place again.",
        [Swap(Gate, "is_in_time", never_waits(True))],
        ("limit", "limit-row", "limit-rate"),
    ),
    Ablation(
        "limit-kept",
        "The place of an attempt is kept for as long as the attempt runs.",
        [Swap(Heartbeat, "_keep_places", never_waits())],
        ("limit", "limit-two"),
        always={"slow": True},
    ),
    Ablation(
        "tick-id",
        "The run of a tick has an id that the tick has, so that it starts once whoever starts it.",
        [Swap(Schedule, "run_id", _another_each_time)],
        ("schedule", "schedule-contended"),
    ),
    Ablation(
        "schedule-swap",
        "A schedule is written only over the one that was read.",
        [Swap(ScheduleStore, "write", lambda _: _written_over)],
        ("schedule-steered",),
        kinds=(Kind.SLOW_BEFORE, Kind.SLOW_AFTER),
    ),
    Ablation(
        "shard-completion",
        "A shard's results are taken over once, and only those of its latest attempt.",
        [Swap(shards, "_open_shard", _any_shard), Swap(Strand, "_happen", without_event_id)],
        ("shards", "shards-in-loop", "failing-shards"),
        always={"doubles": True},
    ),
    Ablation(
        "shard-obeys",
        "A shard does as its run: it stops, pauses and goes on.",
        [Swap(Strand, "_obey", never_waits(True))],
        ("cancel-shards", "pause-shards"),
    ),
    Ablation(
        "idempotent-finish",
        "What has happened before, or can no longer happen, is not stored again.",
        [
            Swap(Foreseen, "is_nothing", lambda _: property(lambda self: False)),
            Swap(Strand, "_happen", without_event_id),
        ],
        ("subflow", "shards", "failure-below"),
        always={"doubles": True},
    ),
    Ablation(
        "hidden-first",
        "A run that is removed is hidden before anything of it goes.",
        [Swap(MemoryRuns, "remove", _not_hidden)],
        ("delete-rounds", "delete"),
        kinds=(Kind.SLOW_BEFORE, Kind.SLOW_AFTER, Kind.STALL_BEFORE, Kind.STALL_AFTER),
    ),
)
