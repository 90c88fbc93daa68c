"""Schedules on durable backends: verbs, workers that look after them, and what is stored."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from flowcraft import FlowcraftError, FlowRuntime, InputError, create_flow
from flowcraft.adapters.system import SystemIdentifiers
from flowcraft.engine.client import FlowClient
from flowcraft.engine.schedule_firing import Firing
from flowcraft.engine.schedule_options import DeclaredSchedule
from flowcraft.engine.schedule_rounds import Agenda, ScheduleRounds
from flowcraft.engine.schedule_store import PARTS
from flowcraft.engine.station import Station
from flowcraft.errors import ScheduleExists, ScheduleNotFound, SerializationError
from flowcraft.memory import MemoryAdapter
from flowcraft.sqlite import SqliteAdapter
from flowcraft.testing import VirtualClock
from tests.unit.codecs import ToyCodec
from tests.unit.durable import World, play

LOOKS: dict[str, Any] = {"schedules_every_seconds": 15.0}
BEGIN = datetime(2024, 1, 1, tzinfo=UTC)


def at(minutes: float) -> datetime:
    """A time so many minutes after the beginning."""
    return BEGIN + timedelta(minutes=minutes)


def report(world: World, seconds: str | None = None) -> list[Any]:
    """Make a flow known, whose runs note what they are told of their schedule."""
    seen: list[Any] = []

    async def note(ctx: Any) -> None:
        world.count(ctx)
        seen.append((await ctx.context.get("_schedule"), await ctx.context.get("region")))

    flow = create_flow("report").node("note", note)
    if seconds is not None:
        flow.sleep("s", seconds).edge("note", "s")
    world.knows(flow)
    return seen


async def runs_of(client: FlowClient, schedule_id: str) -> list[str]:
    """The ids of a schedule's runs, without the schedule's id, oldest first."""
    page = await client.list_runs(tags={"schedule": schedule_id}, limit=1000)
    return [run.tags["schedule_tick"] for run in reversed(page.runs)]


class Counted:
    """A coordination store that counts its calls."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.calls: Counter[str] = Counter()
        self.longest = 0

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)

        async def call(*arguments: Any, **options: Any) -> Any:
            self.calls[name] += 1
            texts = [each for each in arguments if isinstance(each, str)]
            self.longest = max([self.longest, *map(len, texts)])
            return await method(*arguments, **options)

        return call


def counted(world: World) -> Counted:
    """Have the calls of the coordination store counted, for everybody."""
    store = Counted(world.ports.coordination)
    world.ports = world.storage._ports = world.ports._replace(coordination=store)
    return store


# -- firing -------------------------------------------------------------------------------------


def test_a_run_starts_at_each_tick_and_knows_when_it_was_due() -> None:
    """A worker starts a run at 02:30 in Berlin, each day; the run is told what it is for."""

    async def work(world: World) -> None:
        seen = report(world)
        await world.process(**LOOKS)
        await world.client.schedules.create(
            "nightly",
            "report",
            cron="30 2 * * *",
            time_zone="Europe/Berlin",
            context={"region": "eu"},
            tags={"team": "data"},
        )
        await world.advance(3 * 86_400)
        due = [f"2024-01-0{day}T01:30:00Z" for day in (1, 2, 3)]
        told = [{"id": "nightly", "due_at": each, "triggered": False} for each in due]
        assert seen == [(each, "eu") for each in told]
        assert await runs_of(world.client, "nightly") == due
        info = await world.client.schedules.get("nightly")
        run = await world.client.get_run(info.ticks[0].run_id or "")
        assert run.status == "completed"
        summary = (await world.client.list_runs(tags={"team": "data"})).runs[0]
        assert summary.created_at == datetime(2024, 1, 3, 1, 30, tzinfo=UTC)
        assert set(world.bodies.values()) == {1}

    play(work)


def test_many_workers_start_each_run_once() -> None:
    """Of three workers one looks after schedules; when it dies another one does within a minute."""

    async def work(world: World) -> None:
        report(world)
        first = await world.process(**LOOKS)
        await world.client.schedules.create("s", "report", every="1m", overlap="allow")
        await world.advance(90)
        for _ in range(2):
            await world.process(**LOOKS)
        await world.advance(60)
        await first.kill()
        await world.advance(600)
        runs = (await world.client.list_runs(tags={"schedule": "s"})).runs
        ticks = sorted(run.tags["schedule_tick"] for run in runs)
        assert ticks == [f"2024-01-01T00:{minute:02}:00Z" for minute in range(1, 13)]
        late = [run.created_at - datetime.fromisoformat(run.tags["schedule_tick"]) for run in runs]
        assert max(late) <= timedelta(seconds=60)
        assert sorted(late)[-2] == timedelta(0)

    play(work)


def test_whoever_looks_at_the_same_time_starts_nothing_twice() -> None:
    """Without any lock: five who look at the same moment, again and again, start each run once."""

    async def work(world: World) -> None:
        report(world)
        await world.client.schedules.create("s", "report", every="1s", overlap="allow")
        stations = [await _station(world) for _ in range(5)]
        for _ in range(7):
            world.clock.advance(1.4)
            await asyncio.gather(*(Firing(each).fire("s") for each in stations))
        ticks = await runs_of(world.client, "s")
        assert ticks == [f"2024-01-01T00:00:{second:02}Z" for second in range(1, 10)]
        assert len(world.messages()) >= len(ticks)

    play(work)


async def _station(world: World, clock: Any = None) -> Station:
    options = world.runtime.options
    station = Station(world.ports, options, clock or world.clock, SystemIdentifiers())
    for blueprint in options.blueprints.values():
        await station.keep(blueprint)
    return station


class Ahead:
    """A clock that is wrong."""

    def __init__(self, clock: VirtualClock, seconds: float) -> None:
        self._clock, self._seconds = clock, seconds

    def now(self) -> float:
        return self._clock.now() + self._seconds


def test_clocks_that_are_minutes_apart_start_each_run_once() -> None:
    """A worker whose clock is ahead may be early; nobody starts a run again, or skips one."""

    async def work(world: World) -> None:
        report(world)
        await world.client.schedules.create("s", "report", every="1m", overlap="allow")
        stations = [await _station(world, Ahead(world.clock, each)) for each in (240, 0, -240)]
        for number in range(20):
            world.clock.advance(30)
            await Firing(stations[number % 3]).fire("s")
        ticks = await runs_of(world.client, "s")
        assert ticks == sorted(set(ticks))
        assert ticks[:10] == [f"2024-01-01T00:{minute:02}:00Z" for minute in range(1, 11)]

    play(work)


def test_a_new_schedule_is_noticed_by_a_worker_that_had_none() -> None:
    """A worker asks once a minute where there are no schedules, and sleeps until the next tick."""

    async def work(world: World) -> None:
        report(world)
        store = counted(world)
        await world.process(**LOOKS)
        await world.advance(3600)
        assert store.calls == {"get": 61}
        await world.client.schedules.create("s", "report", every="2m")
        await world.advance(120)
        assert await runs_of(world.client, "s") == ["2024-01-01T01:02:00Z"]

    play(work)


def test_a_worker_that_cannot_tell_the_time_leaves_it_to_others(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A worker without cronsim says so once, and gives up the lock: another one starts the runs."""

    async def work(world: World) -> None:
        report(world)
        lacking = await world.process(**LOOKS)
        await world.client.schedules.create("s", "report", cron="* * * * *", overlap="allow")

        async def missing(_: str) -> Any:
            raise ImportError("cronsim is not installed")

        rounds = lacking.worker.duties._rounds[0]
        assert isinstance(rounds, ScheduleRounds)
        monkeypatch.setattr(rounds._agenda.firing, "fire", missing)
        await world.advance(300)
        assert await runs_of(world.client, "s") == []
        assert caplog.text.count("ImportError: cronsim is not installed") == 1
        await world.process(**LOOKS)
        await world.advance(300)
        assert len(await runs_of(world.client, "s")) == 10

    play(work)


def test_a_worker_notices_at_once_what_is_changed_in_its_process() -> None:
    """An adapter that creates a schedule looks after it at once, although it had none before."""

    async def work() -> None:
        clock = VirtualClock()
        ran: list[str] = []

        async def note(ctx: Any) -> None:
            ran.append((await ctx.context.get("_schedule"))["due_at"])

        runtime = FlowRuntime(flows=[create_flow("report").node("note", note)])
        adapter = MemoryAdapter(runtime.options, clock=clock, heartbeat=False)
        await adapter.start()
        await clock.settle()
        await adapter.schedules.create("s", "report", every="5s")
        await clock.settle()
        clock.advance("5s")
        await clock.settle()
        assert ran == ["2024-01-01T00:00:05Z"]
        stopping = asyncio.ensure_future(adapter.stop())
        while not stopping.done():
            await clock.settle()
            clock.advance("1s")
        await stopping

    asyncio.run(work())


def test_what_came_in_a_downtime_is_made_up_for_as_it_was_asked() -> None:
    """After two hours without workers: none, the latest, or all; and it is told what was missed."""

    async def work(world: World) -> None:
        report(world)
        for policy in ("none", "latest", "all"):
            await world.client.schedules.create(
                policy, "report", every="10m", overlap="allow", catch_up=policy, catch_up_limit=3
            )
        await world.advance(2 * 3600 + 400)
        await world.process(**LOOKS)
        await world.settle()
        schedules = world.client.schedules
        assert await runs_of(world.client, "none") == []
        assert await runs_of(world.client, "latest") == ["2024-01-01T02:00:00Z"]
        assert await runs_of(world.client, "all") == [
            f"2024-01-01T0{each}:00Z" for each in ("1:40", "1:50", "2:00")
        ]
        missed = (await schedules.get("none")).ticks[0]
        assert (missed.outcome, missed.reason) == ("skipped", "missed")
        assert (missed.at, missed.until) == (at(10), at(120))
        await world.advance(600)
        assert await runs_of(world.client, "none") == ["2024-01-01T02:10:00Z"]

    play(work)


def test_runs_wait_for_the_one_before_them() -> None:
    """With ``queue`` runs of 90 s, due each minute, come one after the other, in order."""

    async def work(world: World) -> None:
        seen = report(world, "90s")
        await world.process(**LOOKS)
        await world.client.schedules.create(
            "s", "report", every="1m", overlap="queue", queue_limit=2, end_at=at(4)
        )
        await world.advance(1200)
        ticks = [each["due_at"] for each, _ in seen]
        assert ticks == [f"2024-01-01T00:0{minute}:00Z" for minute in (1, 2, 3, 4)]
        runs = (await world.client.list_runs(tags={"schedule": "s"})).runs
        times = [(run.created_at, run.updated_at) for run in reversed(runs)]
        assert all(
            timedelta(0) <= later[0] - earlier[1] <= timedelta(seconds=5)
            for earlier, later in pairwise(times)
        )

    play(work)


def test_a_tick_is_skipped_while_the_run_before_goes_on() -> None:
    """With ``skip`` every other tick is skipped, and it is told why."""

    async def work(world: World) -> None:
        seen = report(world, "90s")
        await world.process(**LOOKS)
        await world.client.schedules.create("s", "report", every="1m", end_at=at(6))
        await world.advance(1200)
        assert [each["due_at"][14:16] for each, _ in seen] == ["01", "03", "05"]
        ticks = (await world.client.schedules.get("s")).ticks
        skipped = [(each.at, each.reason) for each in ticks if each.outcome == "skipped"]
        assert skipped == [(at(minute), "overlap") for minute in (6, 4, 2)]

    play(work)


# -- verbs --------------------------------------------------------------------------------------


def test_pausing_triggering_and_resuming() -> None:
    """A paused schedule has no ticks, is started by hand, and goes on where it is resumed."""

    async def work(world: World) -> None:
        seen = report(world)
        await world.process(**LOOKS)
        schedules = world.client.schedules
        await schedules.create("s", "report", every="1m", overlap="allow", paused=True)
        await world.advance(150)
        assert await runs_of(world.client, "s") == []
        run = await schedules.trigger("s")
        await world.settle()
        assert (await run.get()).status == "completed"
        assert seen[0][0] == {"id": "s", "due_at": "2024-01-01T00:02:30Z", "triggered": True}
        await schedules.resume("s", note="works again")
        await world.advance(60)
        await schedules.pause("s", "broken")
        await world.advance(600)
        info = await schedules.get("s")
        assert (info.paused, info.pause_note, info.note) == (True, "broken", "works again")
        assert [each.outcome for each in info.ticks] == ["started", "skipped", "triggered"]
        assert info.ticks[1].reason == "paused"
        assert info.ticks[2].run_id == run
        assert info.next_ticks[0] == at(14)

    play(work)


def test_what_is_due_when_somebody_pauses_is_done() -> None:
    """A tick before the pause is not lost, although nobody had looked at it yet."""

    async def work(world: World) -> None:
        report(world)
        schedules = world.client.schedules
        await schedules.create("s", "report", every="1m", overlap="allow")
        await world.advance(61)
        info = await schedules.pause("s")
        assert [(each.at, each.outcome) for each in info.ticks] == [(at(1), "starting")]
        await world.process(**LOOKS)
        await world.settle()
        assert await runs_of(world.client, "s") == ["2024-01-01T00:01:00Z"]

    play(work)


def test_changing_a_schedule() -> None:
    """What is not named stays; what was due is done as it was; the old context is taken away."""

    async def work(world: World) -> None:
        seen = report(world)
        await world.process(**LOOKS)
        schedules = world.client.schedules
        await schedules.create(
            "s", "report", every="1m", offset="5s", context={"region": "eu"}, note="it"
        )
        await world.advance(70)
        info = await schedules.update("s", cron="*/5 * * * *", context={"region": "us"})
        assert (info.every, info.offset, info.cron) == (None, timedelta(0), "*/5 * * * *")
        assert (info.note, info.context) == ("it", {"region": "us"})
        await world.advance(300)
        assert [(each["due_at"], region) for each, region in seen] == [
            ("2024-01-01T00:00:05Z", "eu"),
            ("2024-01-01T00:01:05Z", "eu"),
            ("2024-01-01T00:05:00Z", "us"),
        ]
        kept = [key for key in world.ports.blobs._texts if key.startswith("schedule/")]  # type: ignore[attr-defined]
        assert len(kept) == 1

    play(work)


def test_deleting_leaves_nothing_behind() -> None:
    """A deleted schedule starts nothing, and none of its texts stays; its id is free again."""

    async def work(world: World) -> None:
        report(world)
        process = await world.process(**LOOKS)
        schedules = world.client.schedules
        await schedules.create("s", "report", every="1m", context={"region": "eu"})
        await world.advance(70)
        await schedules.delete("s")
        with pytest.raises(ScheduleNotFound, match="no schedule 's'"):
            await schedules.get("s")
        await world.advance(120)
        assert await runs_of(world.client, "s") == ["2024-01-01T00:01:00Z"]
        texts = [key for key in world.ports.blobs._texts if key.startswith("schedule")]  # type: ignore[attr-defined]
        keys = set(world.ports.coordination._items)  # type: ignore[attr-defined]
        assert (texts, keys) == ([], {"schedules/changes"})
        await schedules.create("s", "report", every="1m")
        await world.advance(120)
        runs = await world.client.list_runs(tags={"schedule": "s"})
        assert len({run.run_id for run in runs.runs}) == 3
        await process.kill()

    play(work)


def test_schedules_are_listed_in_pages() -> None:
    """By their ids, as many as asked for, behind the one that is named."""

    async def work(world: World) -> None:
        report(world)
        schedules = world.client.schedules
        for number in range(25):
            await schedules.create(f"s{number:02}", "report", every="1m")
        first = await schedules.list(limit=20)
        assert [each.id for each in first] == [f"s{number:02}" for number in range(20)]
        rest = await schedules.list(after=first[-1].id)
        assert [each.id for each in rest] == [f"s{number:02}" for number in range(20, 25)]
        with pytest.raises(InputError, match="limit"):
            await schedules.list(limit=0)

    play(work)


def test_times_before_there_is_a_schedule() -> None:
    """The ticks that options would give, and the next ones of a schedule."""

    async def work(world: World) -> None:
        report(world)
        schedules = world.client.schedules
        times = await schedules.preview(
            2,
            cron="30 2 * * *",
            time_zone="Europe/Berlin",
            after=datetime(2026, 3, 28, 12, tzinfo=UTC),
        )
        assert [each.isoformat() for each in times] == [
            "2026-03-29T01:00:00+00:00",
            "2026-03-30T00:30:00+00:00",
        ]
        await schedules.create("s", "report", every="1h", start_at=at(90), end_at=at(200))
        assert await schedules.next_times("s", 10) == (at(120), at(180))
        with pytest.raises(InputError, match="count"):
            await schedules.next_times("s", 0)

    play(work)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "^cron: .* needs cron or every"),
        ({"cron": "@daily", "every": "1m"}, "^every: .* both"),
        ({"cron": "bad"}, "^cron: "),
        ({"cron": 5}, "^cron: cron is text"),
        ({"cron": "@daily", "time_zone": "Moon/Crater"}, "^time_zone: "),
        ({"every": "1m", "time_zone": "Europe/Berlin"}, "^time_zone: .* belongs to cron"),
        ({"every": "-1m"}, "^every: "),
        ({"every": timedelta(seconds=-5)}, "^every: .* negative"),
        ({"every": "10ms"}, "^every: .* shortest"),
        ({"every": "15"}, "^every: '15' is no length of time: give a whole number and its unit"),
        ({"every": "1m", "zone": "UTC"}, "^zone: .* no such option.*offset, context, tags"),
        ({"every": 60}, "^every: .* timedelta"),
        ({"every": "1m", "offset": "1m"}, "^offset: .* less"),
        ({"cron": "@daily", "offset": "1m"}, "^offset: .* belongs to every"),
        ({"every": "1m", "overlap": "maybe"}, "^overlap: "),
        ({"every": "1m", "catch_up": True}, "^catch_up: "),
        ({"every": "1m", "catch_up_limit": 0}, "^catch_up_limit: "),
        ({"every": "1m", "queue_limit": 5000}, "^queue_limit: "),
        ({"every": "1m", "jitter_seconds": -1}, "^jitter_seconds: "),
        ({"every": "1m", "grace_seconds": float("nan")}, "^grace_seconds: "),
        ({"every": "1m", "start_at": "today"}, "^start_at: "),
        ({"every": "1m", "start_at": at(2), "end_at": at(1)}, "^end_at: "),
        ({"every": "1m", "tags": {"schedule": "x"}}, "^tags: 'schedule' is set"),
        ({"every": "1m", "tags": {"x": 1}}, "^tags: "),
        ({"every": "1m", "context": "no JSON"}, "^context: "),
        ({"every": "1m", "note": "x" * 3000}, "^note: "),
        ({"every": "1m", "often": True}, "^often: .* no such option"),
        ({"every": "1m", "paused": "yes"}, "^paused: .* True or False"),
        ({"every": "1m", "start_at": datetime.max.replace(tzinfo=UTC)}, "^start_at: .* range"),
        ({"every": timedelta.max}, "^every: .* 366 days"),
    ],
)
def test_what_is_wrong_is_named(options: dict[str, Any], expected: str) -> None:
    """Each option that is none of what it may be is refused by its name; nothing is stored."""

    async def work(world: World) -> None:
        report(world)
        with pytest.raises(InputError, match=expected):
            await world.client.schedules.create("s", "report", **options)
        assert await world.client.schedules.list() == ()

    play(work)


def test_ids_flows_and_contexts_that_cannot_be() -> None:
    """A blueprint that nobody knows, an id that is taken or too long, a value without a form."""

    async def work(world: World) -> None:
        report(world)
        schedules = world.client.schedules
        with pytest.raises(InputError, match=r"^flow: Nobody knows a blueprint 'repot'"):
            await schedules.create("s", "repot", every="1m")
        with pytest.raises(InputError, match=r"^flow: "):
            await schedules.create("s", 5, every="1m")
        for wrong in ("", "x" * 201, "a\nb", 5):
            with pytest.raises(InputError, match=r"^id: "):
                await schedules.create(wrong, "report", every="1m")  # type: ignore[arg-type]
        with pytest.raises(SerializationError):
            await schedules.create("s", "report", every="1m", context={"x": object()})
        await schedules.create("s", "report", every="1m")
        with pytest.raises(ScheduleExists, match="'s' already"):
            await schedules.create("s", "report", every="1m")
        for verb in (schedules.pause, schedules.resume, schedules.trigger, schedules.delete):
            with pytest.raises(ScheduleNotFound):
                await verb("other")
        with pytest.raises(ScheduleNotFound):
            await schedules.update("other", note="x")
        with pytest.raises(InputError, match=r"^every: "):
            await schedules.update("s", every="x")

    play(work)


def test_what_verbs_cannot_use_is_named() -> None:
    """Notes, times, ids and declarations of another kind are refused before anything is done."""

    async def work(world: World) -> None:
        report(world)
        schedules: Any = world.client.schedules
        await schedules.create("s", "report", every="1m")
        for note in (None, "\ud800", "x" * 3000):
            with pytest.raises(InputError, match=r"^note: "):
                await schedules.pause("s", note)
        for after in ("today", datetime.max.replace(tzinfo=UTC)):
            with pytest.raises(InputError, match=r"^after: "):
                await schedules.preview(after=after, every="1m")
        with pytest.raises(InputError, match=r"^id: "):
            await schedules.list(after=5)
        with pytest.raises(InputError, match="a schedule is declared as"):
            await schedules.declare("s")
        with pytest.raises(InputError, match="paused: it is True or False"):
            await schedules.declare({"id": "t", "flow": "report", "every": "1m", "paused": 1})
        assert [each.id for each in await schedules.list()] == ["s"]

    play(work)


def test_ticks_end_with_the_calendar() -> None:
    """A schedule whose ticks would be after the year 9999 has none, and can be shown."""

    async def work(world: World) -> None:
        report(world)
        schedules = world.client.schedules
        last = datetime(9999, 12, 31, 23, 59, tzinfo=UTC)
        info = await schedules.create("s", "report", every="1h", start_at=last)
        assert info.next_ticks == ()
        times = await schedules.preview(3, after=datetime(9999, 12, 30, tzinfo=UTC), every="1d")
        assert times == (datetime(9999, 12, 31, tzinfo=UTC),)

    play(work)


def test_a_flow_that_is_given_is_stored() -> None:
    """A flow may be given instead of its id; a worker that does not have it waits for one that has.

    The run starts, since its blueprint is stored; its nodes wait for a worker that has them.
    """

    async def work(world: World) -> None:
        flow = create_flow("other").node("x", world.body(1))
        await world.client.schedules.create("s", flow, every="1m", end_at=at(1))
        stranger = await world.process(options=FlowRuntime().options, **LOOKS)
        await world.advance(70)
        (run,) = (await world.client.list_runs(tags={"schedule": "s"})).runs
        assert run.blueprint_id == "other"
        await stranger.kill()
        world.knows(flow)
        await world.process(**LOOKS)
        assert (await world.finish(run.run_id)).status == "completed"

    play(work)


def test_a_blueprint_that_is_gone_is_told_of_and_waited_for() -> None:
    """A run that cannot start keeps no other schedule waiting, and starts once it can."""

    async def work(world: World) -> None:
        report(world)
        await (await world.process()).kill()
        schedules = world.client.schedules
        await schedules.create("s", "report", every="1m", end_at=at(1))
        await schedules.create("well", create_flow("well").node("x", world.body(1)), every="1m")
        del world.ports.blobs._texts["latest/report"]  # type: ignore[attr-defined]
        client = FlowClient(
            world.storage.open_ports,
            FlowRuntime().options,
            clock=world.clock,
            identifiers=SystemIdentifiers(),
        )
        stranger = await world.process(options=FlowRuntime().options, **LOOKS)
        await world.advance(70)
        info = await schedules.get("s")
        assert "Nobody knows the blueprint 'report'" in info.problem
        assert info.ticks[0].outcome == "starting"
        assert len(await runs_of(world.client, "well")) == 1
        with pytest.raises(FlowcraftError, match="Nobody knows"):
            await client.schedules.trigger("s")
        await stranger.kill()
        await world.process(**LOOKS)
        await world.advance(130)
        info = await schedules.get("s")
        assert (info.problem, info.ticks[-1].outcome) == ("", "started")
        assert "2024-01-01T00:01:00Z" in await runs_of(world.client, "s")

    play(work)


# -- schedules in code --------------------------------------------------------------------------


def test_declared_schedules_are_there_when_a_worker_starts(tmp_path: Path) -> None:
    """Created, changed where the code says something else, untouched otherwise; pauses stay."""

    async def note(_: Any) -> None: ...

    def started(*declared: DeclaredSchedule) -> SqliteAdapter:
        runtime = FlowRuntime(flows=[create_flow("report").node("note", note)])
        return SqliteAdapter(
            tmp_path / "runs.db", runtime.options, schedules=declared, poll_seconds=0.01
        )

    async def work() -> None:
        first: DeclaredSchedule = {
            "id": "s",
            "flow": "report",
            "cron": "@daily",
            "context": {"region": "eu"},
        }
        second: DeclaredSchedule = {"id": "t", "flow": "report", "every": "1h", "paused": True}
        async with started(first, second) as adapter:
            made = {each.id: each for each in await adapter.schedules.list()}
            assert (made["s"].cron, made["t"].paused) == ("@daily", True)
            await adapter.schedules.resume("t")
            await adapter.schedules.pause("s", "broken")
            before = await _texts(tmp_path)
        async with started(first, second):
            assert await _texts(tmp_path) == before
        first |= {"note": "by code", "context": {"region": "us"}}
        second = {"id": "t", "flow": "report", "cron": "0 9 * * *", "time_zone": "Europe/Berlin"}
        async with started(first, second) as adapter:
            changed, other = await adapter.schedules.get("s"), await adapter.schedules.get("t")
            assert (changed.paused, changed.pause_note, changed.note) == (True, "broken", "by code")
            assert changed.context == {"region": "us"}
            assert (other.every, other.cron, other.paused) == (None, "0 9 * * *", False)
            await adapter.schedules.update("s", note="by hand")
        async with started(first) as adapter:
            assert (await adapter.schedules.get("s")).note == "by code"
            assert len(await adapter.schedules.list()) == 2

    asyncio.run(work())


async def _texts(directory: Path) -> list[tuple[str, str]]:
    """What is stored of schedules in the file."""
    with closing(sqlite3.connect(directory / "runs.db")) as connection:
        return connection.execute(
            "SELECT key, value FROM coordination WHERE key LIKE 'schedule/%' ORDER BY key"
        ).fetchall()


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ({"id": "s", "flow": "nobody", "every": "1m"}, "^The schedule 's': flow: "),
        ({"id": "s", "every": "1m"}, "^The schedule 's': flow: "),
        ({"flow": "report", "every": "1m"}, r"^schedules\[1\].id: "),
        ({"id": "s", "flow": "report", "every": "1m", "cron": "@daily"}, "'s': every: "),
        ({"id": "good", "flow": "report", "every": "2m"}, r"\[1\].id: 'good' is declared twice"),
        ("report", r"^schedules\[1\]: .* not as 'report' \(str\)"),
    ],
)
def test_a_worker_with_a_schedule_that_cannot_be_does_not_start(
    declared: Any, expected: str
) -> None:
    """What is wrong with a declared schedule is said before any is changed."""

    async def work(world: World) -> None:
        report(world)
        good: DeclaredSchedule = {"id": "good", "flow": "report", "every": "1m"}
        with pytest.raises(InputError, match=expected):
            await world.client.schedules.declare(good, declared)
        assert await world.client.schedules.list() == ()

    play(work)


# -- what is stored -----------------------------------------------------------------------------


def test_nothing_of_a_context_can_be_read_where_there_is_a_codec() -> None:
    """The initial context of a schedule passes the codec like every other payload."""

    async def work(world: World) -> None:
        seen = report(world)
        await world.client.schedules.create(
            "s", "report", every="1m", context={"region": "confidential"}
        )
        await world.process(**LOOKS)
        await world.advance(60)
        assert seen[0][1] == "confidential"
        stored = json.dumps([world.ports.blobs._texts, world.ports.coordination._items])  # type: ignore[attr-defined]
        assert "confidential" not in stored
        assert "encoded:" in stored

    play(work, World(codec=ToyCodec()))


@pytest.mark.slow
def test_a_thousand_schedules_are_cheap_to_look_at() -> None:
    """Whoever begins to look reads a counter and sixteen parts; then a counter, until one is due.

    No text is longer than some 10 KB.
    """

    async def work(world: World) -> None:
        report(world)
        store = counted(world)
        for number in range(1000):
            await world.client.schedules.create(
                f"customer-{number:04}-nightly-report", "report", cron="0 3 * * *"
            )
        agenda = Agenda(await _station(world))
        store.calls.clear()
        await agenda.refresh()
        assert store.calls == {"get": 1 + PARTS}
        await agenda.refresh()
        await agenda.fire_due()
        assert store.calls == {"get": 2 + PARTS}
        assert store.longest < 10_000
        assert agenda.next_due() == BEGIN.timestamp() + 3 * 3600
        world.clock.advance("3h")
        store.calls.clear()
        stats = await agenda.fire_due()
        assert (stats.due, stats.started_runs, stats.failed) == (1000, 1000, 0)
        # For each: read, decide, say that it was done; and the directory, in its parts.
        assert store.calls == {"get": 1000 + PARTS, "swap": 2000 + PARTS}
        assert agenda.next_due() == BEGIN.timestamp() + 27 * 3600

    # It takes seconds, and more on a machine that is busy.
    asyncio.run(work(World()))


def test_a_look_by_hand_does_what_workers_do() -> None:
    """Without a worker that polls, a call of ``fire_due`` starts what is due; a second one none."""

    async def work(world: World) -> None:
        report(world)
        store = counted(world)
        schedules = world.client.schedules
        assert (await schedules.fire_due()).due == 0
        assert store.calls == {"get": 1}
        await schedules.create("s", "report", every="1m")
        await world.advance(100)
        stats = await schedules.fire_due()
        assert (stats.due, stats.started_runs) == (1, 1)
        assert (await schedules.fire_due()).started_runs == 0
        # One that holds the lock is left to it.
        other = ScheduleRounds(await _station(world))
        await other.look()
        await world.advance(40)
        assert (await schedules.fire_due()).due == 0

    play(work)


def test_who_died_between_a_change_and_telling_of_it_is_made_up_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A schedule whose text was changed, and the directory not, is looked at all the same."""

    async def work(world: World) -> None:
        report(world)
        await world.process(**LOOKS)
        schedules = world.client.schedules
        await schedules.create("s", "report", every="1m", paused=True)
        await world.advance(120)

        async def dies(*_: Any) -> None:
            raise ConnectionError("gone")

        with monkeypatch.context() as patched:
            patched.setattr(Firing, "tell", dies)
            with pytest.raises(ConnectionError):
                await schedules.resume("s")
        await world.advance(620)
        assert len(await runs_of(world.client, "s")) >= 1

    play(work)


# -- code that is not async ---------------------------------------------------------------------


def test_the_blocking_client_has_the_verbs(tmp_path: Path) -> None:
    """``client.sync.schedules`` has every verb of ``client.schedules``, on SQLite, too."""

    async def x(_: Any) -> int:
        return 1

    runtime = FlowRuntime(flows=[create_flow("report").node("x", x)])
    adapter = SqliteAdapter(tmp_path / "runs.db", runtime.options)
    schedules = adapter.sync.schedules
    made = schedules.create("s", "report", cron="@daily", context={"a": 1}, note="ü")
    assert schedules.get("s") == made
    assert schedules.pause("s", "later").paused
    assert schedules.list()[0].pause_note == "later"
    assert not schedules.resume("s").paused
    run_id = schedules.trigger("s")
    assert adapter.sync.get_run(run_id).status == "running"
    assert schedules.update("s", every="1h").cron is None
    assert len(schedules.next_times("s", 3)) == 3
    schedules.delete("s")
    assert schedules.list() == ()
    with pytest.raises(AttributeError):
        schedules._read("s")

    async def inside() -> None:
        with pytest.raises(FlowcraftError, match=r"await client\.schedules\.list"):
            schedules.list()

    asyncio.run(inside())
