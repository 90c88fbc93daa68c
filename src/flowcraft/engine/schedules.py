"""Runs that start by the clock: the verbs of schedules, as ``client.schedules`` has them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Unpack

from flowcraft.core import schedules as core
from flowcraft.core.blueprint import WorkflowBlueprint
from flowcraft.core.schedules import Schedule, Spec, Start, next_ticks
from flowcraft.core.ticks import Timetable
from flowcraft.engine.arguments import initial_context
from flowcraft.engine.encoded import plain
from flowcraft.engine.facts import storable
from flowcraft.engine.run import Run
from flowcraft.engine.schedule_firing import Change, Firing
from flowcraft.engine.schedule_options import (
    DeclaredSchedule,
    ScheduleChanges,
    ScheduleOptions,
    checked_declarations,
    checked_moment,
    checked_note,
    checked_pause,
    checked_schedule_id,
    spec_of,
)
from flowcraft.engine.schedule_rounds import FiringStats, ScheduleRounds
from flowcraft.engine.schedule_store import Stored
from flowcraft.engine.schedule_view import ScheduleInfo, info_of, moment_of
from flowcraft.engine.station import NO_BLUEPRINTS, Station
from flowcraft.engine.timetables import timetable_of
from flowcraft.errors import (
    FlowcraftError,
    InputError,
    InvalidRunState,
    ScheduleExists,
    ScheduleNotFound,
)

if TYPE_CHECKING:
    from flowcraft.engine.client import FlowClient

LONGEST_PAGE: Final = 1_000
MOST_TIMES: Final = 10_000
READ_AT_ONCE: Final = 10


class Schedules:
    """Creates, changes and shows schedules; workers look after them.

    Args:
        client: Whose queue and stores.
    """

    def __init__(self, client: FlowClient) -> None:
        self._client = client
        self._rounds: ScheduleRounds | None = None

    async def create(
        self,
        schedule_id: str,
        flow: Any,
        *,
        paused: bool = False,
        **options: Unpack[ScheduleOptions],
    ) -> ScheduleInfo:
        """Create a schedule; its first tick is the first one after now.

        Args:
            schedule_id: Its id: text of up to 200 characters.
            flow: The id of a blueprint that is known here or to a worker. A blueprint, or a flow,
                is stored as the latest one of its id. A run is of the blueprint that is the latest
                when it starts.
            paused: Whether it is to have no ticks until it is resumed.
            options: :class:`ScheduleOptions`: ``cron`` and ``time_zone``, or ``every``, and so on.

        Raises:
            InputError: Something is none of what it may be; the message begins with its name.
            ScheduleExists: There is one of this id.
            SerializationError: The initial context holds something that cannot be stored.
            ImportError: What reads cron expressions is not installed.
        """
        firing = await self._firing()
        checked_schedule_id(schedule_id)
        checked_pause("paused", paused)
        spec = spec_of(options, Spec(""))
        there = await firing.store.read(schedule_id)
        if there is not None:
            await firing.tell(there.schedule)  # who created it may have died before
            raise _exists(schedule_id)
        station = await self._client._opened()
        spec = replace(spec, flow=await self._flow(station, flow))
        now = firing.now()
        new = Schedule(
            schedule_id,
            station.identifiers.new_token(),
            spec,
            created_at=now,
            cursor=now,
            paused=paused,
        )
        await firing.store.enter(schedule_id, firing.entry(new))
        key = await self._keep_context(station, schedule_id, options.get("context"))
        new = replace(new, spec=replace(spec, context=key))
        if await firing.store.write(None, new) is None:
            await self._drop_context(station, key)
            raise _exists(schedule_id)
        await firing.tell(new)
        self._wake()
        return await self._info(station, firing, new)

    async def update(self, schedule_id: str, **changes: Unpack[ScheduleChanges]) -> ScheduleInfo:
        """Change a schedule; what is not named stays as it is.

        What is due by now is done as it was to be done; the new options are for what comes then.

        Args:
            schedule_id: The schedule.
            changes: What is to become different: ``flow``, and the options of :meth:`create`.

        Raises:
            InputError: Something is none of what it may be; the message begins with its name.
            ScheduleNotFound: There is none of this id.
            SerializationError: The initial context holds something that cannot be stored.
        """
        firing, station = await self._firing(), await self._client._opened()
        before = await self._read(firing, schedule_id)
        spec_of(changes, before.schedule.spec)  # what is wrong is said before anything is stored
        more: dict[str, Any] = {}
        if "flow" in changes:
            more["flow"] = await self._flow(station, changes["flow"])
        if "context" in changes:
            more["context"] = await self._keep_context(station, schedule_id, changes["context"])
        taken: list[str | None] = []

        def change(schedule: Schedule, _: Timetable, now: int) -> Schedule:
            taken[:] = [schedule.spec.context]
            spec = replace(spec_of(changes, schedule.spec), **more)
            return core.respecify(schedule, spec, now)

        after = await self._change(firing, schedule_id, change)
        if "context" in changes:
            await self._drop_context(station, *taken)
        return await self._info(station, firing, after)

    async def declare(self, *declared: DeclaredSchedule) -> None:
        """Have schedules be as code declares them; those that are so already stay untouched.

        One that is not there is created. Of one that is there everything becomes as it is declared,
        and as by default where nothing is said, except for a pause: who paused it resumes it. One
        that is declared no more stays until it is deleted.

        Args:
            declared: ``{"id": …, "flow": …, "cron": …}`` and so on.

        Raises:
            InputError: Something is none of what it may be, which the message names with its
                schedule, or two have the same id; nothing was changed by then.
            SerializationError: An initial context holds something that cannot be stored.
        """
        station = await self._client._opened()
        checked_declarations(declared)
        for each in declared:
            try:
                checked_pause("paused", each.get("paused", False))
                spec_of(_options_of(each), Spec(""))
                await self._blueprint(station, each.get("flow"))
            except InputError as error:
                raise InputError(f"The schedule '{each['id']}': {error}") from error
        for each in declared:
            try:
                await self._conform(each)
            except ScheduleNotFound:
                options: Any = _options_of(each)
                with suppress(ScheduleExists):  # another worker has just done the same
                    await self.create(
                        each["id"], each["flow"], paused=each.get("paused", False), **options
                    )

    async def _conform(self, declared: DeclaredSchedule) -> None:
        firing, station = await self._firing(), await self._client._opened()
        before = (await self._read(firing, declared["id"])).schedule.spec
        flow = await self._flow(station, declared["flow"])
        wanted = spec_of(_options_of(declared), Spec(flow))
        changes: Any = {}
        if replace(wanted, context=before.context) != before:
            changes = {name: _DEFAULTS[name] for name in _DEFAULTS} | _options_of(declared)
            changes["flow"] = declared["flow"]
        serializer = station.options.serializer
        context = initial_context(declared.get("context"), serializer.codec_for)
        if context != await self._context(station, before.context):
            changes["context"] = declared.get("context")
        elif "context" in changes:
            del changes["context"]
        if changes:
            await self.update(declared["id"], **changes)

    async def get(self, schedule_id: str) -> ScheduleInfo:
        """A schedule as it is now: its next ticks, and what became of the last ones.

        Raises:
            ScheduleNotFound: There is none.
        """
        firing, station = await self._firing(), await self._client._opened()
        stored = await self._read(firing, schedule_id)
        return await self._info(station, firing, stored.schedule)

    async def pause(self, schedule_id: str, note: str = "") -> ScheduleInfo:
        """Let a schedule have no ticks until it is resumed; runs that were started go on.

        Raises:
            ScheduleNotFound: There is none.
        """
        checked_note("note", note)
        firing, station = await self._firing(), await self._client._opened()

        def change(schedule: Schedule, _: Timetable, __: int) -> Schedule:
            return core.pause(schedule, note)

        return await self._info(station, firing, await self._change(firing, schedule_id, change))

    async def resume(self, schedule_id: str, note: str | None = None) -> ScheduleInfo:
        """Let a schedule have ticks again, from now on; those of the pause are not made up for.

        Args:
            schedule_id: The schedule.
            note: Its new note; by default it keeps the one it has.

        Raises:
            ScheduleNotFound: There is none.
        """
        firing, station = await self._firing(), await self._client._opened()

        def change(schedule: Schedule, timetable: Timetable, now: int) -> Schedule:
            if note is not None:
                schedule = replace(schedule, spec=spec_of({"note": note}, schedule.spec))
            return core.resume(schedule, timetable, now)

        return await self._info(station, firing, await self._change(firing, schedule_id, change))

    async def trigger(self, schedule_id: str) -> Run:
        """Start a run of a schedule now, whether or not it is paused or another run goes on.

        Ticks that come while the run is not over are skipped, or wait, as for any other run.

        Raises:
            ScheduleNotFound: There is none.
            InvalidRunState: A hundred runs of it are not over, and it is not to have several.
            FlowcraftError: The run cannot be started, since nobody knows the blueprint; it starts
                once that is mended.
        """
        firing, station = await self._firing(), await self._client._opened()
        stored = await self._read(firing, schedule_id)
        over = await firing.over(stored.schedule)
        token = station.identifiers.new_token()
        run_ids: list[str] = []

        def change(schedule: Schedule, _: Timetable, now: int) -> Schedule:
            active = tuple(each for each in schedule.active if each not in over)
            if schedule.spec.overlap != "allow" and len(active) >= core.MOST_ACTIVE:
                raise InvalidRunState(
                    f"{len(active)} runs of schedule '{schedule_id}' are not over: wait for some, "
                    "or let them overlap."
                )
            run_ids[:] = [schedule.run_id(Start(now, token))]
            return core.start(replace(schedule, active=active), Start(now, token))

        await self._change(firing, schedule_id, change)
        await firing.fire(schedule_id)
        there = await firing.store.read(schedule_id)
        if there is not None and there.schedule.problem:
            raise FlowcraftError(there.schedule.problem)
        return self._client._run(run_ids[0])

    async def delete(self, schedule_id: str) -> None:
        """Forget a schedule; runs that were started go on.

        Raises:
            ScheduleNotFound: There is none.
        """
        firing, station = await self._firing(), await self._client._opened()
        while True:
            stored = await self._read(firing, schedule_id)
            if stored.schedule.pending and not stored.schedule.problem:
                await firing.fire(schedule_id)
                continue
            if await firing.store.remove(stored):
                break
        await firing.store.strike(schedule_id, stored.schedule.incarnation)
        await firing.store.count_change()
        await self._drop_context(station, stored.schedule.spec.context)

    async def next_times(self, schedule_id: str, count: int = 5) -> tuple[datetime, ...]:
        """The next ticks of a schedule, in UTC, whether or not it is paused.

        Raises:
            ScheduleNotFound: There is none.
            InputError: ``count`` is not from 1 to 10,000.
        """
        firing = await self._firing()
        schedule = (await self._read(firing, schedule_id)).schedule
        return _times(schedule, firing.now(), count)

    async def preview(
        self,
        count: int = 5,
        *,
        after: datetime | None = None,
        **options: Unpack[ScheduleOptions],
    ) -> tuple[datetime, ...]:
        """The ticks that a schedule would have, in UTC.

        Args:
            count: How many.
            after: They are after this time; now by default.
            options: As for :meth:`create`.

        Raises:
            InputError: Something is none of what it may be; the message begins with its name.
        """
        begin = checked_moment("after", after)
        now = (await self._firing()).now() if begin is None else begin
        spec = spec_of(options, Spec(""))
        return _times(Schedule("", "", spec, created_at=now, cursor=now), now, count)

    async def fire_due(self) -> FiringStats:
        """Do what workers do by themselves: look after all schedules that are due, once.

        Without workers that poll, as where functions of AWS Lambda work on the queue, something
        has to call this every so often; a worker that does it at the moment is left to it.

        Raises:
            StorageError: Queue or stores cannot be used.
        """
        station = await self._client._opened()
        if self._rounds is None or self._rounds._station is not station:
            self._rounds = ScheduleRounds(station)
        return await self._rounds.look_once()

    async def list(self, *, after: str | None = None, limit: int = 100) -> tuple[ScheduleInfo, ...]:
        """Schedules, by their ids, without their contexts.

        Args:
            after: Goes on behind the schedule of this id.
            limit: How many at most.

        Raises:
            InputError: ``limit`` is not from 1 to 1,000, or ``after`` no id of a schedule.
        """
        if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= LONGEST_PAGE:
            raise InputError(f"it is a whole number from 1 to {LONGEST_PAGE}.", option="limit")
        if after is not None:
            checked_schedule_id(after)
        firing = await self._firing()
        ids = sorted(await firing.store.directory())
        found: dict[str, ScheduleInfo] = {}
        waiting = [each for each in ids if after is None or each > after]
        while waiting and len(found) < limit:
            part, waiting = waiting[:READ_AT_ONCE], waiting[READ_AT_ONCE:]
            for each in await asyncio.gather(*map(firing.store.read, part)):
                if each is not None:
                    schedule = each.schedule
                    timetable = timetable_of(schedule.spec)
                    found[schedule.id] = info_of(schedule, timetable, firing.now(), None)
        return tuple(found.values())[:limit]

    # -- what they share --------------------------------------------------------------------

    async def _firing(self) -> Firing:
        return Firing(await self._client._opened(), self._client._shard_items)

    async def _read(self, firing: Firing, schedule_id: str) -> Stored:
        stored = await firing.store.read(checked_schedule_id(schedule_id))
        if stored is None:
            raise ScheduleNotFound(f"There is no schedule '{schedule_id}'.")
        return stored

    async def _change(self, firing: Firing, schedule_id: str, change: Change) -> Schedule:
        stored = await firing.change(checked_schedule_id(schedule_id), change)
        self._wake()
        return stored.schedule

    def _wake(self) -> None:
        """Have a worker in the same process look now: others notice a little later."""
        worker = getattr(self._client, "worker", None)
        if worker is not None:
            worker.duties.schedules_changed()

    async def _flow(self, station: Station, flow: Any) -> str:
        blueprint = await self._blueprint(station, flow)
        if not isinstance(flow, str):
            await station.keep(blueprint)
            await station.keep_below(blueprint, getattr(flow, "blueprints", NO_BLUEPRINTS))
        return blueprint.id

    async def _blueprint(self, station: Station, flow: Any) -> WorkflowBlueprint:
        try:
            return await self._client._blueprint(station, flow)
        except TypeError as error:
            raise InputError(str(error), option="flow") from error
        except FlowcraftError as error:
            if isinstance(flow, str):
                raise InputError(str(error), option="flow") from error
            raise

    async def _keep_context(self, station: Station, schedule_id: str, context: Any) -> str | None:
        serializer = station.options.serializer
        try:
            values = initial_context(context, serializer.codec_for)
        except FlowcraftError as error:
            if type(error) is not FlowcraftError:
                raise
            raise InputError(str(error), option="context") from error
        if not values:
            return None
        key = f"schedule/{schedule_id}/{station.identifiers.new_run_id()}"
        await station.blobs.put(key, storable(serializer.dumps(values)))
        return key

    async def _drop_context(self, station: Station, *keys: str | None) -> None:
        for key in keys:
            if key is not None:
                await station.blobs.delete(key)

    async def _info(self, station: Station, firing: Firing, schedule: Schedule) -> ScheduleInfo:
        context = await self._context(station, schedule.spec.context)
        return info_of(schedule, timetable_of(schedule.spec), firing.now(), context)

    async def _context(self, station: Station, key: str | None) -> dict[str, Any]:
        text = None if key is None else await station.blobs.get(key)
        if text is None:
            return {}
        loaded: dict[str, Any] = station.options.serializer.loads(plain(text, f"The text '{key}'"))
        return loaded


_DEFAULTS: Final[Mapping[str, Any]] = {
    "cron": None,
    "time_zone": "UTC",
    "every": None,
    "offset": timedelta(0),
    "tags": None,
    "overlap": "skip",
    "queue_limit": 10,
    "catch_up": "latest",
    "catch_up_limit": 100,
    "grace_seconds": 300.0,
    "jitter_seconds": 0.0,
    "start_at": None,
    "end_at": None,
    "note": "",
}
"""What a schedule is where nothing is said."""


def _options_of(declared: DeclaredSchedule) -> dict[str, Any]:
    return {name: value for name, value in declared.items() if name not in ("id", "flow", "paused")}


def _times(schedule: Schedule, now: int, count: int) -> tuple[datetime, ...]:
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= MOST_TIMES:
        raise InputError(f"it is a whole number from 1 to {MOST_TIMES}.", option="count")
    ticks = next_ticks(schedule, timetable_of(schedule.spec), now, count)
    return tuple(map(moment_of, ticks))


def _exists(schedule_id: str) -> ScheduleExists:
    return ScheduleExists(
        f"There is a schedule '{schedule_id}' already. Update it, or choose another id."
    )
