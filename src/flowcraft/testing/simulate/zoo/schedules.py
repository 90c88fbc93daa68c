"""Schedules: exactly the runs that are to be, each once, whatever happens to who looks after them.

Beside the run of the story somebody creates schedules that end at a known time, waits until all of
it is over, and looks at what came of it. What must hold of every schedule:

- every tick from its creation to its end is accounted for once, as started or as skipped;
- there are runs of the ticks that were started, and of those that were triggered, and no others;
- where runs may not overlap, each began when the one before it was over.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise
from typing import Any, Final

from flowcraft.core.builder import FlowBuilder, create_flow
from flowcraft.engine.runtime import FlowRuntime, Runnable
from flowcraft.engine.schedule_firing import Firing
from flowcraft.engine.schedule_view import ScheduleInfo
from flowcraft.engine.stored import StoredRun
from flowcraft.errors import ScheduleExists, StorageError
from flowcraft.testing.simulate.loop import START_SECONDS
from flowcraft.testing.simulate.processes import Person
from flowcraft.testing.simulate.story import Role, Story
from flowcraft.testing.simulate.zoo.nodes import node

LOOK_SECONDS: Final = 30.0
MOST_RUNS: Final = 1000
NOTE: Final = "changed"
DIFFERENCE: Final = timedelta(seconds=6)
"""How far the clocks of two processes may be apart, and what is written between two times."""

Script = Callable[[Person, str], Awaitable[None]]


def _beside() -> FlowBuilder:
    """The run of the story, beside which all of it happens."""
    return create_flow("beside").node("a", node(1))


def _short() -> FlowBuilder:
    """What is scheduled: over at once."""
    return create_flow("short").node("x", node(1))


def _long() -> FlowBuilder:
    """What is scheduled: not over when the next tick comes."""
    flow = create_flow("long").node("x", node(1)).sleep("s", "90s").node("y", node(2))
    return flow.edge("x", "s").edge("s", "y")


def _even() -> FlowBuilder:
    """What is scheduled: over just when the next tick comes, or a moment later."""
    return create_flow("even").node("x", node(1)).sleep("s", "60s").edge("x", "s")


# -- what must hold -----------------------------------------------------------------------------


async def _finished(person: Person, schedule_id: str) -> tuple[ScheduleInfo, list[StoredRun]]:
    """Wait until a schedule has no more ticks, and all of its runs are over."""
    client, tags = person.client, {"schedule": schedule_id}
    while True:
        info = await person.insist(lambda: client.schedules.get(schedule_id))
        page = await person.insist(lambda: client.list_runs(tags=tags, limit=MOST_RUNS))
        is_done = not info.next_ticks and all(
            tick.outcome not in ("starting", "queued") for tick in info.ticks
        )
        told = sum(tick.run_id is not None for tick in info.ticks)  # rows may lag behind
        is_over = all(str(run.status) == "completed" for run in page.runs)
        if is_done and is_over and len(page.runs) >= told:
            # A row may have been mended long after the end: the records tell when that was.
            runs = [await _read(person, each.run_id) for each in page.runs]
            # The order in which they were decided tells: clocks differ, those of people as well.
            places = {tick.run_id: place for place, tick in enumerate(info.ticks)}
            return info, sorted(runs, key=lambda run: (-places.get(run.run_id, 0), run.created_at))
        await person.rest(LOOK_SECONDS)


async def _read(person: Person, run_id: str) -> StoredRun:
    return await person.insist(lambda: person.client.get_run(run_id))


def _over_at(run: StoredRun) -> datetime:
    return max(step.ended_at for step in run.timeline if step.ended_at is not None)


def _problems(info: ScheduleInfo, expected: set[datetime], runs: list[StoredRun]) -> Iterator[str]:
    ran = Counter(run.run_id for run in runs)
    told = Counter(tick.run_id for tick in info.ticks if tick.run_id is not None)
    if ran != told:
        yield f"there are runs {sorted(ran)}, and it tells of {sorted(told)}"
    times: Counter[datetime] = Counter()
    for tick in info.ticks:
        if tick.outcome == "started":
            times[tick.at] += 1
        elif tick.outcome == "skipped":
            until = tick.until or tick.at
            times.update(each for each in expected if tick.at <= each <= until)
    wrong = {each.isoformat() for each in expected | set(times) if times[each] != 1}
    wrong |= {each.isoformat() for each in set(times) - expected}
    if wrong:
        yield f"ticks {sorted(wrong)} are not accounted for once: {info.ticks}"
    if info.overlap == "allow":
        return
    triggered = {tick.run_id for tick in info.ticks if tick.outcome == "triggered"}
    for before, after in pairwise(runs):
        is_early = after.created_at < _over_at(before) - DIFFERENCE
        if is_early and after.run_id not in triggered:
            yield f"{after.run_id} began before {before.run_id} was over"


def _expected(info: ScheduleInfo, every_seconds: int) -> set[datetime]:
    assert info.end_at is not None
    first = int(info.created_at.timestamp()) // every_seconds + 1
    last = int(info.end_at.timestamp()) // every_seconds
    return {datetime.fromtimestamp(n * every_seconds, UTC) for n in range(first, last + 1)}


def scheduling(
    flow: str, minutes: int, every_seconds: int, script: Script | None = None, **options: Any
) -> Role:
    """Somebody who creates a schedule and sees what comes of it.

    Args:
        flow: What it starts.
        minutes: When it ends.
        every_seconds: Its interval.
        script: What the person does meanwhile.
        options: What else is said of it.
    """
    end = datetime.fromtimestamp(START_SECONDS + 60 * minutes, UTC)

    async def role(person: Person) -> None:
        schedules = person.client.schedules

        async def create() -> None:
            # Who was to do it may have died of it.
            with suppress(ScheduleExists):
                await schedules.create(
                    "s", flow, every=timedelta(seconds=every_seconds), end_at=end, **options
                )

        await person.insist(create)
        if script is not None:
            await script(person, "s")
        info, runs = await _finished(person, "s")
        found = person.world.backend.watch.problems
        if script is _steered and info.note != NOTE:
            found.append(("schedule", f"its last change is lost: its note is {info.note!r}"))
        for text in _problems(info, _expected(info, every_seconds), runs):
            found.append(("schedule", text))

    return role


async def _steered(person: Person, schedule_id: str) -> None:
    """Pause it, trigger it, let it go on, and change it, at any moment."""
    schedules, chance = person.client.schedules, person.chance
    await person.rest(chance.between(0.0, 200.0))
    await person.insist(lambda: schedules.pause(schedule_id, "for a while"))
    if chance.happens(0.5):
        await person.insist(lambda: schedules.trigger(schedule_id))
    await person.rest(chance.between(0.0, 200.0))
    await person.insist(lambda: schedules.resume(schedule_id))
    await person.rest(chance.between(0.0, 60.0))
    await person.insist(lambda: schedules.update(schedule_id, note=NOTE))


def meddling(minutes: int) -> Role:
    """Somebody who looks after the schedule, too, whoever has the lock: just when ticks are due."""

    async def role(person: Person) -> None:
        end = START_SECONDS + 60 * minutes
        while (now := person.world.loop.time()) < end:
            due = person.chance.pick((0.0, 0.0, 60.0, 90.0)) + (now // 60 + 1) * 60
            await person.rest(due - now)
            station = await person.insist(person.client._opened)
            # What fails is for the worker to do.
            with suppress(StorageError):
                await Firing(station).fire("s")

    return role


def _story(name: str, minutes: int, *roles: Role) -> Story:
    @cache
    def built() -> tuple[FlowRuntime, Runnable]:
        flow = _beside()
        return FlowRuntime(flows=[flow, _short(), _long(), _even()]), flow.to_blueprint()

    return Story(
        name,
        built,
        people=roles,
        is_settled=False,
        schedules=True,
        lasts_seconds=60.0 * minutes,
    )


ALL: Final[dict[str, Any]] = {"catch_up": "all", "catch_up_limit": 1000}
"""However long nobody looked: each tick is decided."""

STORIES = (
    _story("schedule", 6, scheduling("short", 6, 60, overlap="allow", **ALL)),
    _story("schedule-skip", 8, scheduling("long", 6, 60, **ALL)),
    _story("schedule-contended", 8, scheduling("even", 6, 60, **ALL), meddling(8), meddling(8)),
    _story("schedule-queue", 12, scheduling("long", 6, 60, overlap="queue", queue_limit=2, **ALL)),
    _story("schedule-steered", 12, scheduling("short", 10, 60, _steered, overlap="queue", **ALL)),
    _story("schedule-latest", 8, scheduling("short", 6, 60, grace_seconds=30, jitter_seconds=20)),
)

DAY: Final = _story("schedule-day", 24 * 60, scheduling("short", 24 * 60, 7200, **ALL))
"""A whole day, which takes seconds to simulate: run by its name only."""
