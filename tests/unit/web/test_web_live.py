"""Live updates: who looks, who is told, and when it ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from flowcraft.adapters.system import SystemIdentifiers
from flowcraft.errors import RunNotFound, StorageBusy
from flowcraft.testing import VirtualClock
from flowcraft.web import Limits
from flowcraft.web.ends import Ends
from flowcraft.web.live import KEPT_CHANGES, LINGER_SECONDS, Live, Rhythm, Told, Watcher, event_id
from flowcraft.web.streams import event_text
from tests.unit.runs import drive
from tests.unit.web.stage import looking, started, working

RHYTHM = Rhythm(1.0, 4.0)


class Scene:
    """A number that changes when a test says so."""

    def __init__(self) -> None:
        self.number = 0
        self.told = 0
        self.looks = 0
        self.is_over = False
        self.error: Exception | None = None

    async def look(self) -> Mapping[str, Any] | None:
        self.looks += 1
        if self.error is not None:
            raise self.error
        if self.told == self.number and self.looks > 1:
            return None
        self.told = self.number
        return {"number": self.number}

    def whole(self) -> Mapping[str, Any]:
        return {"all": self.number}


class Place:
    """Who looks, in virtual time."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.live = Live(self.clock, SystemIdentifiers())
        self.scene = Scene()

    async def open_scene(self) -> Scene:
        return self.scene

    def watch(self, last_id: str | None = None) -> Watcher:
        return self.live.watch(("run", "r"), self.open_scene, RHYTHM, last_id)

    async def after(self, seconds: float = 0.0) -> None:
        """Let time pass, and all have their turns."""
        for _ in range(5):
            await asyncio.sleep(0)
        if seconds:
            self.clock.advance(seconds)
            await self.after()


def events(watcher: Watcher) -> list[tuple[str, Any]]:
    """What somebody is told now."""
    return [(told.event, dict(told.data)) for told in watcher.told()]


def test_one_looks_for_all_who_watch() -> None:
    """Ten who watch cost the looks of one, and each is told of each change once."""

    async def work() -> None:
        place = Place()
        watchers = [place.watch() for _ in range(10)]
        await place.after()
        assert place.scene.looks == 1
        for each in watchers:
            assert events(each) == [("snapshot", {"all": 0})]
            assert events(each) == []
        place.scene.number = 1
        await place.after(1.0)
        assert place.scene.looks == 2
        for each in watchers:
            assert events(each) == [("change", {"number": 1})]
        await place.live.aclose()

    drive(work())


def test_looks_are_farther_apart_where_nothing_changes() -> None:
    """The pause grows to its longest, and is the shortest again after a change or a nudge."""

    async def work() -> None:
        place = Place()
        place.watch()
        await place.after()
        times = [0.0]
        for step in range(1, 101):
            await place.after(0.25)
            if place.scene.looks > len(times):
                times.append(step / 4)
        gaps = [end - start for start, end in pairwise(times)]
        assert gaps[:2] == [1.0, 1.5]
        assert gaps == sorted(gaps)
        assert gaps[-1] == gaps[-2] == 4.0
        place.scene.number = 1
        place.live.nudge("r")
        await place.after()
        assert place.scene.looks == len(times) + 1
        await place.after(1.0)
        assert place.scene.looks == len(times) + 2
        place.live.nudge("another")
        await place.after()
        assert place.scene.looks == len(times) + 2
        await place.live.aclose()

    drive(work())


def test_who_comes_back_is_told_what_they_missed() -> None:
    """With the last id they know they get the changes since; with another one, all of it."""

    async def work() -> None:
        place = Place()
        first = place.watch()
        await place.after()
        (snapshot,) = first.told()
        last_id = event_id(first.lookout, snapshot)
        place.live.leave(first)
        for number in (1, 2):
            place.scene.number = number
            await place.after(1.0)
        assert events(place.watch(last_id)) == [
            ("change", {"number": 1}),
            ("change", {"number": 2}),
        ]
        for other in (None, "other.1", f"{first.lookout.token}.99", f"{first.lookout.token}.x"):
            assert events(place.watch(other)) == [("snapshot", {"all": 2})]
        await place.live.aclose()

    drive(work())


def test_who_reads_slowly_gets_all_of_it_anew() -> None:
    """What is kept for those who are behind has a bound."""

    async def work() -> None:
        place = Place()
        watcher = place.watch()
        await place.after()
        watcher.told()
        for number in range(1, KEPT_CHANGES + 2):
            place.scene.number = number
            await place.after(1.0)
        assert events(watcher) == [("snapshot", {"all": KEPT_CHANGES + 1})]
        assert len(watcher.lookout.changes) == KEPT_CHANGES
        await place.live.aclose()

    drive(work())


def test_nobody_looks_for_nobody() -> None:
    """Some time after the last who watched has gone nothing is looked at any more."""

    async def work() -> None:
        place = Place()
        watcher = place.watch()
        await place.after()
        place.live.leave(watcher)
        await place.after(LINGER_SECONDS - 1)
        assert place.live.lookouts
        for _ in range(6):
            await place.after(1.0)
        assert not place.live.lookouts
        looks = place.scene.looks
        await place.after(100.0)
        assert place.scene.looks == looks

    drive(work())


def test_who_comes_and_goes_leaves_few_behind() -> None:
    """Of those that nobody watches any more the longest idle one goes where there are too many;
    one that is watched never does."""

    async def work() -> None:
        place = Place()
        place.live.most = 3
        place.live.watch("watched", place.open_scene, RHYTHM)
        for number in range(50):
            place.live.leave(place.live.watch(number, place.open_scene, RHYTHM))
            await place.after(0.01)
        assert list(place.live.lookouts) == ["watched", 48, 49]
        for name in "abcd":
            place.live.watch(name, place.open_scene, RHYTHM)
        await place.after()
        assert list(place.live.lookouts) == ["watched", *"abcd"]
        looks = place.scene.looks
        await place.after(1.0)
        assert place.scene.looks == looks + 5
        await place.live.aclose()

    drive(work())


def test_trouble_is_told_and_passes() -> None:
    """A busy storage is told once, and looking goes on; a run that is deleted ends it."""

    async def work() -> None:
        place = Place()
        watcher = place.watch()
        await place.after()
        watcher.told()
        place.scene.error = StorageBusy("It is busy.")
        for _ in range(10):
            await place.after(1.0)
        ((event, data),) = events(watcher)
        assert (event, data["type"]) == ("trouble", "urn:flowcraft:problem:storage-busy")
        place.scene.error = None
        place.scene.number = 1
        await place.after(5.0)
        assert events(watcher) == [("change", {"number": 1})]
        place.scene.error = RunNotFound("It is gone.")
        await place.after(5.0)
        assert [event for event, _ in events(watcher)] == ["gone"]
        assert not place.live.lookouts

    drive(work())


def test_a_look_that_breaks_off_ends_the_stream(caplog: pytest.LogCaptureFixture) -> None:
    """A bug is logged, and nobody waits for what does not come."""

    async def work() -> None:
        place = Place()
        watcher = place.watch()
        place.scene.error = RuntimeError("a bug")
        await place.after()
        assert events(watcher) == [("end", {"reason": "failed"})]

    drive(work())
    assert "a bug" in caplog.text


def test_the_end_is_told_with_the_last_change() -> None:
    """Once it is over the last change is told, then the end, and nothing is looked at."""

    async def work() -> None:
        place = Place()
        place.scene.is_over = True
        watcher = place.watch()
        await place.after()
        assert [event for event, _ in events(watcher)] == ["snapshot", "end"]
        assert not place.live.lookouts

    drive(work())


# --- streams -------------------------------------------------------------------------------


def test_a_client_that_goes_away_leaves_nothing(tmp_path: Path) -> None:
    """Its place is free again, and the one who looked for it ends."""

    async def work() -> None:
        async with looking(tmp_path, limits=Limits(streams=1)) as web:
            stage = web.app.stage
            run_id = await started(stage.client)
            async with web.stream(f"/runs/{run_id}/events") as stream:
                assert (await stream.event() or {})["event"] == "snapshot"
                assert stage.streams.taken == 1
                told = await web.call("GET", f"/runs/{run_id}/result?wait=1", status=503)
                assert told["type"].endswith("overloaded")
                async with web.stream("/runs/events") as other:
                    assert other.status == 503
            assert stage.streams.taken == 0
            (lookout,) = stage.live.lookouts.values()
            assert lookout.watchers == 0

    drive(work())


def test_a_long_poll_ends_when_who_asked_has_gone(tmp_path: Path) -> None:
    """Its place is free again at once, not only when its time is up."""

    async def work() -> None:
        async with looking(tmp_path, limits=Limits(streams=1)) as web:
            stage = web.app.stage
            run_id = await started(stage.client)
            poll = web.stream(f"/runs/{run_id}/result?wait=60")
            asked = asyncio.create_task(web.app(poll.scope, poll.receive, poll._send))
            async with asyncio.timeout(5):
                while not stage.ends._endings:
                    await asyncio.sleep(0)
                assert stage.streams.taken == 1
                poll._left.set()
                await asked
            assert stage.streams.taken == 0
            assert not stage.ends._endings

    drive(work())


def test_a_stream_says_that_it_is_there(tmp_path: Path) -> None:
    """Where nothing happens a comment comes every so often."""

    async def work() -> None:
        async with looking(tmp_path, limits=Limits(heartbeat_seconds=0.01)) as web:
            run_id = await started(web.app.stage.client)
            async with web.stream(f"/runs/{run_id}/events") as stream:
                blocks = [await stream.block() for _ in range(4)]
                assert (blocks[0] or "").startswith("retry: ")
                assert blocks[2:] == [": still there", ": still there"]

    drive(work())


def test_a_change_is_seen_at_once_by_all_who_watch(tmp_path: Path) -> None:
    """What somebody does here those who watch here need not wait for; only what changed is told."""

    async def work() -> None:
        async with looking(tmp_path) as web:
            run_id = await started(web.app.stage.client)
            path = f"/runs/{run_id}"
            async with web.stream(f"{path}/events") as one, web.stream(f"{path}/events") as two:
                first = await one.event()
                assert await two.event() == first
                await web.call("POST", f"{path}/pause")
                changed = await one.event()
                assert await two.event() == changed
                assert changed is not None
                assert changed["event"] == "change"
                assert changed["data"]["run"]["facts"] == 2
                assert changed["data"]["nodes"] == []
                assert len(web.app.stage.live.lookouts) == 1
            last_id = changed["id"]
            await web.call("POST", f"{path}/cancel")
            async with web.stream(f"{path}/events", Last_Event_ID=last_id) as stream:
                event = await stream.event()
                assert event is not None
                assert event["event"] == "change"

    drive(work())


def test_a_run_is_watched_to_its_end(tmp_path: Path) -> None:
    """Those who watch see a run complete, and the stream ends."""

    async def work() -> None:
        async with working(tmp_path) as (web, _):
            body = {"flow": "order", "context": {"amount": 2}, "runId": "r"}
            await web.call("POST", "/runs", body, status=201)
            seen = []
            async with web.stream("/runs/r/events") as stream:
                while (event := await stream.event()) is not None:
                    seen.append(event)
                await stream.task
            assert seen[-1]["data"] == {"reason": "over"}
            assert seen[-2]["data"]["run"]["status"] == "completed"
            assert {node["nodeId"] for each in seen[:-1] for node in each["data"]["nodes"]} == {
                "check",
                "approve",
                "send",
            }
            async with web.stream("/runs/nobody/events") as stream:
                assert stream.status == 404

    drive(work())


def test_a_list_is_watched(tmp_path: Path) -> None:
    """A new run, and one that is deleted, are told with the order of the page."""

    async def work() -> None:
        async with looking(tmp_path) as web:
            client = web.app.stage.client
            async with web.stream("/runs/events?live=true") as stream:
                event = await stream.event() or {}
                assert event["data"] == {"runs": [], "gone": [], "order": []}
                body = {"flow": "order", "context": {"amount": 1}, "runId": "r"}
                await web.call("POST", "/runs", body, status=201)
                event = await stream.event() or {}
                assert event["data"]["order"] == ["r"]
                assert event["data"]["runs"][0]["status"] == "running"
                await web.call("DELETE", "/runs/r?force=true")
                event = await stream.event() or {}
                assert (event["data"]["gone"], event["data"]["order"]) == (["r"], [])
                assert await client.list_runs() is not None

    drive(work())


def test_a_server_that_stops_ends_streams_and_long_polls(tmp_path: Path) -> None:
    """Nobody who watches or waits keeps a server from stopping."""

    async def work() -> None:
        async with looking(tmp_path) as web:
            run_id = await started(web.app.stage.client)
            waiting = asyncio.create_task(
                web.call("GET", f"/runs/{run_id}/result?wait=60", status=202)
            )
            async with web.stream(f"/runs/{run_id}/events") as stream:
                await stream.event()
                while web.app.stage.streams.taken < 2:
                    await asyncio.sleep(0)
                web.app.end_streams()
                assert await stream.event() is None
                assert (await waiting)["status"] == "running"

    drive(work())


class Counting:
    """A client of which the waits for ends are counted."""

    def __init__(self) -> None:
        self.waits = 0
        self.over: asyncio.Future[Any] | None = None

    async def wait_for_run(self, run_id: str) -> Any:
        self.waits += 1
        self.over = asyncio.get_running_loop().create_future()
        return await self.over


def test_all_who_wait_for_a_run_wait_together() -> None:
    """Ten long polls of a run cost the looks of one, and the last to leave ends that."""

    async def work() -> None:
        clock, client = VirtualClock(), Counting()
        ends = Ends(client, clock)  # type: ignore[arg-type]
        waiting: list[asyncio.Task[Any]]
        waiting = [asyncio.create_task(ends.over("r", 5.0 + n)) for n in range(10)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert client.waits == 1
        clock.advance(5.5)
        assert await waiting[0] is None
        assert client.over is not None
        client.over.set_result("over")
        assert await asyncio.gather(*waiting[1:]) == ["over"] * 9
        last = asyncio.create_task(ends.over("r", 1.0))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        clock.advance(2.0)
        assert await last is None
        await asyncio.sleep(0)
        assert client.over.cancelled()
        await ends.aclose()

    drive(work())


def test_heavy_requests_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who comes when all places are taken is told to come back, and light requests go on."""

    async def work() -> None:
        async with looking(tmp_path, limits=Limits(heavy_requests=1)) as web:
            async with web.app.stage.heavy.held():
                answer = await web.ask("GET", "/api/v1/runs")
                assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
                await web.call("GET", "/session")
            assert (await web.call("GET", "/runs"))["runs"] == []
            assert web.app.stage.heavy.taken == 0

    drive(work())


def test_events_are_lines_of_one_json_text() -> None:
    """Whatever is in an event, it is one event."""
    text = "a\n\nevent: end\r\u0085b\u2028c\u2029d"
    lines = event_text(Told("change", {"text": text}, 1), "t.1").decode().splitlines()
    assert lines[:2] == ["event: change", "id: t.1"]
    assert json.loads(lines[2].removeprefix("data: ")) == {"text": text}
    assert lines[3:] == [""]
    told = Told("change", {"text": "a\n\nevent: end\r\u2028\ud800"}, 1)
    text = event_text(told, "t.1").decode()
    assert text.count("\n\n") == 1
    assert text.splitlines()[0] == "event: change"
