"""Looking after one schedule: deciding what is due, and starting what is decided.

The order is what makes it exact. The decision is stored first, with the ticks whose runs are to
start; then these are started, by ids that the ticks have; then it is stored that they were. Whoever
dies in between leaves runs that are decided, which the next one who looks starts by the same ids:
those that there are already, it does not start again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, NamedTuple

from flowcraft.core import events as ev
from flowcraft.core.blueprint import WorkflowBlueprint
from flowcraft.core.schedules import (
    Schedule,
    Start,
    asks_for_runs,
    iso_time,
    look_at,
    settle,
)
from flowcraft.core.state import FINAL_STATUSES
from flowcraft.core.ticks import Timetable
from flowcraft.engine.arguments import check_strict
from flowcraft.engine.encoded import plain
from flowcraft.engine.schedule_store import ScheduleStore, Stored, marked
from flowcraft.engine.schedule_texts import Entry
from flowcraft.engine.shards import SHARD_ITEMS
from flowcraft.engine.spending import budget_fields
from flowcraft.engine.starting import begin_run
from flowcraft.engine.station import Station
from flowcraft.engine.timetables import timetable_of
from flowcraft.errors import FlowcraftError, ScheduleNotFound, StorageBusy, StorageError
from flowcraft.ports.runs import NO_FACTS

CONTEXT_KEY: Final = "_schedule"
"""Under this key a run finds in its context which schedule started it, and for when."""

TAG: Final = "schedule"
TICK_TAG: Final = "schedule_tick"
"""Labels of the runs of schedules: the schedule's id, and the time the run was due."""

TRIES: Final = 50
LONGEST_PROBLEM: Final = 500

Change = Callable[[Schedule, Timetable, int], Schedule]


class Fired(NamedTuple):
    """What became of a look at a schedule.

    Attributes:
        entry: What the directory is to say of it; ``None`` where it is gone.
        started: How many runs were started.
    """

    entry: Entry | None
    started: int


class Firing:
    """Looks after schedules, one at a time.

    Args:
        station: Ports and plans.
        shard_items: Batches of more items than this are cut into records of so many each.
    """

    def __init__(self, station: Station, shard_items: int = SHARD_ITEMS) -> None:
        self._station = station
        self._shard_items = shard_items
        self.store = ScheduleStore(station.coordination)

    def now(self) -> int:
        """The time, in milliseconds since the epoch."""
        return int(self._station.clock.now() * 1000)

    async def fire(self, schedule_id: str) -> Fired:
        """Do whatever is to be done for a schedule now.

        Raises:
            StorageError: Queue or stores cannot be used; what was decided is done later.
            InputError: The schedule's time cannot be told here.
            ImportError: What tells it is not installed here.
        """
        stored, started, steps = await self.store.read(schedule_id), 0, 0
        for _ in range(TRIES):
            if stored is None:
                return Fired(None, started)
            schedule = stored.schedule
            timetable = timetable_of(schedule.spec)
            if schedule.pending:
                following = await self._carry_out(stored)
                started += 0 if following.pending else len(schedule.pending)
            else:
                following = await self._settled(schedule, timetable)
            if following != schedule:
                written = await self.write(stored, following)
                steps += written is not None
                stored = written or await self.store.read(schedule_id)
            if stored is not None and (following == schedule or following.problem):
                return Fired(self.entry(stored.schedule), started)
        if not steps:
            raise _contended(schedule_id)
        # Very many ticks are behind: what is left of them is due, for the next look.
        return Fired(None if stored is None else self.entry(stored.schedule), started)

    async def change(self, schedule_id: str, change: Change) -> Stored:
        """Decide what is due by now, and change a schedule.

        Args:
            schedule_id: The schedule.
            change: Gives the schedule as it is to be, from what it is by now, its timetable and
                the time.

        Raises:
            ScheduleNotFound: There is none.
        """
        for _ in range(TRIES):
            stored = await self.store.read(schedule_id)
            if stored is None:
                raise ScheduleNotFound(f"There is no schedule '{schedule_id}'.")
            timetable = timetable_of(stored.schedule.spec)
            settled = await self._settled(stored.schedule, timetable)
            following = change(settled, timetable, self.now())
            if settled.pending and not settled.problem and following.spec != settled.spec:
                # What is due is started by what the schedule was, before that is replaced.
                await self.fire(schedule_id)
                continue
            if following == stored.schedule:
                return stored
            await self.store.mark(stored.schedule, self.now())
            written = await self.write(stored, following)
            if written is not None:
                await self.tell(written.schedule)
                return written
        raise _contended(schedule_id)

    async def tell(self, schedule: Schedule) -> None:
        """Tell those who look after schedules that this one is another now, or is new."""
        entry = self.entry(schedule)
        await self.store.enter(schedule.id, entry)
        if schedule.revision == 1:
            await self.store.note({schedule.id: (marked(entry), entry)})
        await self.store.count_change()

    async def write(self, before: Stored, schedule: Schedule) -> Stored | None:
        """Store the next revision of a schedule, unless it was changed meanwhile."""
        revision = before.schedule.revision + 1
        return await self.store.write(before, replace(schedule, revision=revision))

    def entry(self, schedule: Schedule) -> Entry:
        """What the directory is to say of a schedule."""
        due_at = look_at(schedule, timetable_of(schedule.spec), self.now())
        return Entry(schedule.incarnation, schedule.revision, due_at, schedule.created_at)

    async def _settled(self, schedule: Schedule, timetable: Timetable) -> Schedule:
        # What was due when others decided is decided: the time is read after the text.
        now, over = self.now(), frozenset[str]()
        if asks_for_runs(schedule, timetable, now):
            over = await self.over(schedule)
        return settle(schedule, timetable, now, over)

    async def over(self, schedule: Schedule) -> frozenset[str]:
        """Those of a schedule's runs that are over, or were deleted, if not to the end yet."""
        runs, now = self._station.runs, self._station.clock.now()
        records = await asyncio.gather(*(runs.read(each, NO_FACTS) for each in schedule.active))
        return frozenset(
            run_id
            for run_id, record in zip(schedule.active, records, strict=True)
            if record is None
            or record.head.is_gone(now)
            or record.head.row.status in FINAL_STATUSES
        )

    # -- starting ---------------------------------------------------------------------------

    async def _carry_out(self, stored: Stored) -> Schedule:
        """Start what is decided; gives the schedule as it is by that."""
        schedule = stored.schedule
        try:
            context = await self._context(schedule.spec.context)
            for each in schedule.pending:
                await self._start(schedule, each, context)
        except StorageError:
            raise
        except FlowcraftError as error:
            # Whoever changed the schedule may have taken its context away: look at it anew.
            there = await self.store.read(schedule.id)
            if there is not None and there.text != stored.text:
                return there.schedule
            return replace(schedule, problem=str(error)[:LONGEST_PROBLEM])
        return replace(schedule, pending=(), problem="")

    async def _start(self, schedule: Schedule, begun: Start, context: dict[str, Any]) -> None:
        station, spec = self._station, schedule.spec
        blueprint = await station.latest(spec.flow)
        if blueprint is None:
            raise FlowcraftError(
                f"Nobody knows the blueprint '{spec.flow}'. Start a worker that has it, or update "
                "the schedule."
            )
        check_strict(blueprint, station.options.strict)
        due_at = iso_time(begun.at)
        about = {"id": schedule.id, "due_at": due_at, "triggered": bool(begun.token)}
        started = ev.RunStarted(
            run_id=schedule.run_id(begun),
            context={**context, CONTEXT_KEY: about},
            fail_fast=None,
            max_executions=station.options.max_executions,
            cancelled=None,
            shard_size=self._shard_items,
            **self._budget(blueprint),
        )
        job, _ = await begin_run(
            station,
            blueprint,
            started,
            epoch=station.identifiers.new_run_id(),
            tags={**spec.tags, TAG: schedule.id, TICK_TAG: due_at},
        )
        await station.send([job])

    def _budget(self, blueprint: WorkflowBlueprint) -> dict[str, Any]:
        """What the blueprint says that its runs may cost."""
        try:
            return budget_fields(self._station, blueprint, None, None)
        except (TypeError, ValueError) as error:
            raise FlowcraftError(
                f"The budget of the blueprint '{blueprint.id}': {error}"
            ) from error

    async def _context(self, key: str | None) -> dict[str, Any]:
        if key is None:
            return {}
        text = await self._station.blobs.get(key)
        if text is None:
            raise FlowcraftError(
                f"The initial context '{key}' of a schedule is gone. Update the schedule with a "
                "new one."
            )
        loaded: dict[str, Any] = self._station.options.serializer.loads(plain(text, "The context"))
        return loaded


def _contended(schedule_id: str) -> StorageBusy:
    return StorageBusy(f"The schedule '{schedule_id}' was changed by others each time. Try again.")
