"""Days of a fleet: runs that arrive, people who answer, workers that die and are replaced."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Final
from urllib.parse import unquote

from flowcraft.engine.runtime import FlowRuntime, Runnable
from flowcraft.engine.schedule_options import ScheduleOptions
from flowcraft.engine.schedule_view import ScheduleInfo
from flowcraft.engine.stored import StoredRun
from flowcraft.errors import InvalidRunState, RunNotFound, ScheduleExists
from flowcraft.ports.runs import Query
from flowcraft.testing.simulate.backends import NewBackend
from flowcraft.testing.simulate.chance import Chance
from flowcraft.testing.simulate.clock import SimulationClock
from flowcraft.testing.simulate.loop import world_context
from flowcraft.testing.simulate.processes import Person, WorkerProcess
from flowcraft.testing.simulate.scenario import Scenario
from flowcraft.testing.simulate.soak.traffic import (
    ANSWER_HOURS,
    ORDER,
    TRADES,
    VERSIONS,
    Trade,
    runtime_of,
)
from flowcraft.testing.simulate.story import Story, Told
from flowcraft.testing.simulate.timers import timers_in
from flowcraft.testing.simulate.world import World

MINUTE: Final = 60.0
OFTEN_MINUTES: Final = 20
NIGHTLY_HOUR: Final = 2
HOUR: Final = 3600.0
DAY: Final = 24 * HOUR
WORKERS: Final = 3
SKEW_SECONDS: Final = 120.0
"""Clocks of processes are off by up to as much."""

NOISE: Final = 0.002
LIFE_HOURS: Final = 4.0
"""A worker dies after so long, on the average."""

STALL_HOURS: Final = 12.0
"""One is stopped every so often, and goes on when others have taken over."""

LONGEST_STALL_SECONDS: Final = 300.0
GRACE_HOURS: Final = 2.0
"""So much longer than without trouble a run may take."""

LOOK_SECONDS: Final = 1800.0
RETENTION_SECONDS: Final = DAY
REMOVED_WITHIN_SECONDS: Final = 3 * HOUR
MOST_LEFT: Final = 150
"""Blueprints, locks and marks: they do not grow with the number of runs."""

CANCELLED, PAUSED = 0.04, 0.04
"""How many runs somebody cancels, and stops for a while."""


@dataclass
class Report:
    """What came of a soak.

    Attributes:
        runs: How many runs were started.
        days: How many days they were started in.
        ended: How they ended, by status.
        problems: What must not be.
        deaths: How many workers died.
        deploys: How often all workers were replaced by those of another version.
        ticks: How many runs were started by schedules.
        most_live: How many runs were live at a time, at most.
        stored: What was stored, each hour: live runs, and items by table.
        left: What was stored at last, when the last run had been kept for its time.
        requests: How many requests workers and people made.
    """

    runs: int
    days: float
    ended: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    deaths: int = 0
    deploys: int = 0
    ticks: int = 0
    most_live: int = 0
    stored: list[tuple[int, Mapping[str, int]]] = field(default_factory=list)
    left: Mapping[str, int] = field(default_factory=dict)
    requests: int = 0

    @property
    def ok(self) -> bool:
        """Whether all was as it has to be."""
        return not self.problems

    def __str__(self) -> str:
        ends = ", ".join(f"{count} {status}" for status, count in sorted(self.ended.items()))
        return (
            f"{self.runs} runs in {self.days:g} days: {ends}; {len(self.problems)} problems, "
            f"{self.ticks} more by schedules, "
            f"{self.deaths} workers died, {self.deploys} deploys, "
            f"at most {self.most_live} live runs, {self.requests} requests"
        )


def soak(runs: int, days: float, seed: int, new_backend: NewBackend) -> Report:
    """Let a fleet work for days of virtual time.

    Args:
        runs: How many runs arrive.
        days: In how many days. It goes on until the last one has had the time it needs.
        seed: Decides everything that is left to chance.
        new_backend: Makes the place for runs and messages.

    Returns:
        What came of it.
    """
    fleet = Fleet(runs, days, seed, new_backend)
    try:
        return fleet.loop.run(fleet.live_long())
    finally:
        fleet.bury()


class Fleet(World):
    """A world with many runs.

    Args:
        runs: How many runs arrive.
        days: In how many days.
        seed: Decides everything that is left to chance.
        new_backend: Makes the place for runs and messages.
    """

    retention_seconds = RETENTION_SECONDS

    def __init__(self, runs: int, days: float, seed: int, new_backend: NewBackend) -> None:
        scenario = Scenario(
            "soak", seed, workers=WORKERS, noise=NOISE, skew_seconds=SKEW_SECONDS, reconciler=True
        )
        super().__init__(_told(VERSIONS[0]), scenario, new_backend)
        self.options = self.options.kept_for(RETENTION_SECONDS)
        self.report = Report(runs, days)
        self.version = VERSIONS[0]
        self._ends_at = self.loop.time() + days * DAY
        self._live_runs = 0

    # -- all of it --------------------------------------------------------------------------

    async def live_long(self) -> Report:
        """Let everything happen until it is over."""
        async with self.backend.connect(SimulationClock(self.loop)).open_ports() as self.ports:
            for _ in range(WORKERS):
                self.start_worker()
            fates = [self._kill(), self._stall(), self._deploys(), self._take_stock()]
            tasks = [self.loop.create_task(fate, context=world_context()) for fate in fates]
            self.employ(Clockwork(self).make)
            await self._arrive()
            while self.unfinished:
                await asyncio.sleep(LOOK_SECONDS)
            for task in tasks:
                task.cancel()
            await self._empty()
        self.report.requests = sum(life.requests for life in self.lives)
        self.report.problems += self.loop.problems
        return self.report

    async def _arrive(self) -> None:
        """Start the runs, at any time of the days."""
        chance = self.chance.fork("arrivals")
        span = self.report.days * DAY
        times = sorted(chance.between(0.0, span) for _ in range(self.report.runs))
        trades = [trade for trade in TRADES for _ in range(trade.weight)]
        began = self.loop.time()
        for number, time in enumerate(times):
            await asyncio.sleep(began + time - self.loop.time())
            self.employ(Visit(self, number, chance.pick(trades)).make)

    async def _empty(self) -> None:
        """Nothing may be left, once the last run has been kept for its time."""
        await asyncio.sleep(HOUR)
        for count, where in (
            (self.backend.waiting(), "messages are left on the queue"),
            (self.backend.buried(), "messages are left in the dead-letter queue"),
            (len(timers_in(self.backend.agreed())), "timers are left"),
        ):
            if count:
                self.report.problems.append(f"{count} {where}")
        await asyncio.sleep(RETENTION_SECONDS + 3 * HOUR)
        self.backend.lapse()
        self.report.left = self.backend.stored()
        if any(self.report.left.get(name, 0) for name in ("runs", "statuses")):
            self.report.problems.append(f"runs are left after their time: {self.report.left}")
        if sum(self.report.left.values()) > MOST_LEFT:
            self.report.problems.append(f"too much is left: {self.report.left}")

    # -- what happens to it -----------------------------------------------------------------

    async def _kill(self) -> None:
        chance = self.chance.fork("deaths")
        while True:
            await asyncio.sleep(_until_next(chance, LIFE_HOURS / WORKERS))
            chance.pick(self._alive()).life.die()
            self.report.deaths += 1

    async def _stall(self) -> None:
        chance = self.chance.fork("stalls")
        while True:
            await asyncio.sleep(_until_next(chance, STALL_HOURS / WORKERS))
            chance.pick(self._alive()).life.stall(chance.between(1.0, LONGEST_STALL_SECONDS))

    async def _deploys(self) -> None:
        """Now and then, workers of the other version take the place of those that are there.

        They are replaced one after the other; one that is killed meanwhile comes back new.
        """
        chance = self.chance.fork("deploys")
        every = self.report.days * DAY / (2 * len(VERSIONS))
        while True:
            await asyncio.sleep(chance.between(0.7 * every, every))
            self.version = VERSIONS[(VERSIONS.index(self.version) + 1) % len(VERSIONS)]
            options = _told(self.version).options(self.census)
            self.options = options.kept_for(RETENTION_SECONDS)
            self.report.deploys += 1
            for worker in self._alive():
                if not worker.life.is_dead:
                    worker.stop()
                await asyncio.sleep(chance.between(0.0, 600.0))

    def _alive(self) -> list[WorkerProcess]:
        return [each for each in self.workers if not each.life.is_dead]

    async def _take_stock(self) -> None:
        chance = self.chance.fork("lapses")
        while True:
            self.report.stored.append((self._live_runs, self.backend.stored()))
            await self._look_for_the_expired()
            await asyncio.sleep(HOUR)
            if chance.happens(0.5):
                self.backend.lapse()

    async def _look_for_the_expired(self) -> None:
        """What is stored does not grow: what has expired goes within hours."""
        before = self.loop.time() - REMOVED_WITHIN_SECONDS
        expired = await self.ports.runs.find(Query(lapsed=-math.inf, parts=True, limit=1000))
        for head in expired:
            if head.expires_at is not None and head.expires_at < before:
                self.report.problems.append(f"run '{head.run_id}' has expired, and is stored")

    # -- runs -------------------------------------------------------------------------------

    def begins(self) -> None:
        """A run was started."""
        self._live_runs += 1
        self.report.most_live = max(self.report.most_live, self._live_runs)

    def ends(self, status: str) -> None:
        """A run is over."""
        self._live_runs -= 1
        self.report.ended[status] += 1


class Visit:
    """Somebody who starts a run, does something about it perhaps, and sees what comes of it.

    Args:
        fleet: Where that is.
        number: The number of the run.
        trade: What it is.
    """

    def __init__(self, fleet: Fleet, number: int, trade: Trade) -> None:
        self._fleet = fleet
        self._number = number
        self._trade = trade
        self._chance = fleet.chance.fork("visit", number)
        self._version = fleet.version
        self._flow = trade.build(self._version).to_blueprint()
        self._name = f"{self._flow.id}-{number}"
        self._hours = trade.hours + GRACE_HOURS
        self._statuses = {trade.status}
        self._answered = False

    async def make(self, person: Person) -> None:
        """Do all of it."""
        client, context = person.client, {"number": self._number}
        await person.insist(lambda: client.start_run(self._flow, context, run_id=self._name))
        self._fleet.begins()
        if self._trade.asks:
            await self._answer(person)
        elif self._chance.happens(CANCELLED):
            await self._cancel(person)
        elif self._chance.happens(PAUSED):
            await self._pause(person)
        run = await self._end(person)
        self._fleet.ends("lost" if run is None else str(run.status))
        self._fleet.report.problems += self._wrong(run)
        await client.aclose()

    async def _answer(self, person: Person) -> None:
        """Approve in time, most of the time; so close to the end that it is a race, never."""
        hours = self._chance.between(0.0, 1.3 * ANSWER_HOURS)
        if hours > 0.9 * ANSWER_HOURS:
            return
        await person.rest(hours * HOUR)
        await person.insist(
            lambda: person.client.resume_with_action(self._name, "approve", node_id="ask")
        )
        self._answered = True

    async def _cancel(self, person: Person) -> None:
        await person.rest(self._chance.between(0.0, self._trade.hours) * HOUR)
        with suppress(InvalidRunState):
            # A wish whose answer was lost may be refused when it is made again: it was carried out.
            self._statuses.add("cancelled")
            await person.insist(lambda: person.client.cancel_run(self._name))

    async def _pause(self, person: Person) -> None:
        await person.rest(self._chance.between(0.0, 2 * MINUTE))
        # A wish whose answer was lost is refused when it is made again, and was carried out.
        with suppress(InvalidRunState):
            await person.insist(lambda: person.client.pause_run(self._name))
        await person.rest(HOUR)
        self._hours += 1.0
        with suppress(InvalidRunState):
            await person.insist(lambda: person.client.continue_run(self._name))

    async def _end(self, person: Person) -> StoredRun | None:
        """The run when it is over; where it does not come to that, as it stands."""
        deadline = self._fleet.loop.time() + self._hours * HOUR
        while True:
            try:
                run = await person.insist(lambda: person.client.get_run(self._name))
            except RunNotFound:
                return None
            if run.status.is_final or self._fleet.loop.time() > deadline:
                return run
            await person.rest(LOOK_SECONDS)

    def _wrong(self, run: StoredRun | None) -> list[str]:
        if run is None:
            return [f"run '{self._name}' is lost"]
        if str(run.status) not in self._statuses:
            return [f"run '{self._name}' is {run.status} after {self._hours} hours: {run.states}"]
        if str(run.status) == "cancelled":
            return []
        expected = dict(self._trade.outputs(self._version, self._number))
        if self._trade.asks:
            yes, late = {"yes": 2 * self._number}, {"late": {"bow": self._number}}
            expected |= yes if self._answered else late
        found = {name: run.outputs.get(name) for name in expected}
        if found == expected:
            return []
        return [f"run '{self._name}' of version {self._version}: {found}, and not {expected}"]


class Clockwork:
    """Somebody who has runs started by the clock, and sees whether each was, once.

    Args:
        fleet: Where that is.
    """

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    async def make(self, person: Person) -> None:
        """Do all of it."""
        schedules, fleet = person.client.schedules, self._fleet
        ends = fleet.loop.time() + fleet.report.days * DAY
        end_at = datetime.fromtimestamp(ends, UTC)
        timetables: dict[str, ScheduleOptions] = {
            "often": {"every": f"{OFTEN_MINUTES}m"},
            "nightly": {"cron": f"30 {NIGHTLY_HOUR} * * *", "time_zone": "Europe/Berlin"},
        }
        infos = []
        for name, timetable in timetables.items():
            options: ScheduleOptions = {
                **timetable,
                "end_at": end_at,
                "overlap": "allow",
                "catch_up": "all",
                "catch_up_limit": 1000,
                "context": {"number": 4},
            }
            with suppress(ScheduleExists):
                await person.insist(partial(schedules.create, name, "choice", **options))
            infos.append(await person.insist(partial(schedules.get, name)))
        await person.rest(ends + HOUR - fleet.loop.time())
        for info, times in zip(infos, (_often, _nightly), strict=True):
            self._check(info, times)
            await person.insist(partial(schedules.delete, info.id))

    def _check(self, info: ScheduleInfo, times: Callable[[float, float], Sequence[float]]) -> None:
        """Each tick has started one run; what it did is in the census, however short it is kept."""
        fleet, start = self._fleet, f"{info.id}@"
        keys = {unquote(each.key) for each in fleet.census.executions}
        keys = {key for key in keys if key.startswith(start)}
        ran = Counter(key[len(start) :].partition(".")[0] for key in keys if key.endswith(":join"))
        assert info.end_at is not None
        span = info.created_at.timestamp(), info.end_at.timestamp()
        expected = {
            datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"): 1
            for time in times(*span)
        }
        if ran != expected:
            differ = sorted(set(ran.items()) ^ set(expected.items()))
            fleet.report.problems.append(f"schedule '{info.id}': {differ[:10]}")
        fleet.report.ticks += ran.total()


def _often(begin: float, end: float) -> Sequence[float]:
    """When a schedule has ticks that starts runs at intervals."""
    step = OFTEN_MINUTES * MINUTE
    first, last = math.floor(begin / step) + 1, math.floor(end / step)
    return [number * step for number in range(first, last + 1)]


def _nightly(begin: float, end: float) -> Sequence[float]:
    """When one has ticks that starts a run each night: it is winter, one hour before UTC."""
    shift = (NIGHTLY_HOUR - 1) * HOUR + 30 * MINUTE
    first, last = math.floor((begin - shift) / DAY) + 1, math.floor((end - shift) / DAY)
    return [number * DAY + shift for number in range(first, last + 1)]


def _told(version: int) -> Told:
    def build() -> tuple[FlowRuntime, Runnable]:
        return runtime_of(version), ORDER.build(version).to_blueprint()

    return Told(Story("soak", build, schedules=True), build())


def _until_next(chance: Chance, hours: float) -> float:
    """Seconds until something happens that does so every so often, on the average."""
    return -math.log(1.0 - chance.fraction()) * hours * HOUR
