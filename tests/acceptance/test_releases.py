"""Runs that older releases have stored go on in this one, to their right ends."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from pathlib import Path
from unittest.mock import patch

import pytest

from flowcraft.adapters.sqlite import queue as sqlite_queue
from flowcraft.engine.client import FlowClient
from flowcraft.engine.stored import StoredRun
from flowcraft.testing.simulate.chance import Chance
from flowcraft.testing.simulate.clock import SimulationClock
from flowcraft.testing.simulate.loop import SimulationLoop
from tests.fixtures.releases import make
from tests.fixtures.releases.places import SQLITE_NAME
from tests.fixtures.releases.scenes import SCENES, Bodies

RELEASES = sorted(path.parent.name for path in make.HOME.glob(f"*/{make.FACTS_NAME}"))
BACKENDS = ("sqlite", "aws")
PAUSES = {"a minute": 60.0, "two days": 2 * 86_400.0}
PATIENCE_SECONDS = 6 * 3600.0
LOOK_SECONDS = 60.0

PRESENT = "present"
"""What the code of this tree leaves behind itself: so that a change of what is stored is tried."""


class Later:
    """A later release that finds what an older one left behind.

    Attributes:
        stored: How each run's row stood at first.
        ran: How often each body ran here.
        runs: The runs at their ends.
        waiting: How many messages are left.
        report: What the runs still needed at first.
        drained: The same at the end.
    """

    def __init__(self, backend: str, directory: Path, pause_seconds: float, scratch: Path) -> None:
        facts = json.loads((directory / make.FACTS_NAME).read_text(encoding="utf-8"))
        self.scenes = [scene for scene in SCENES if scene.run_id in facts["scenes"]]
        assert len(self.scenes) == len(facts["scenes"]), (
            "a scene of a release is not known any more"
        )
        self.loop = loop = SimulationLoop(Chance("later", backend))
        ahead = facts["at"] + pause_seconds - loop.time()
        clock = SimulationClock(loop, ahead)
        self._place = make.place_of(backend, clock, scratch)
        self._clock = clock
        bodies = Bodies(is_old=False)
        self._options = bodies.runtime().options
        self.stored: dict[str, str] = {}
        self.runs: dict[str, StoredRun] = {}
        # A file is looked at every few seconds: in virtual time nothing else would ever happen.
        with patch.object(sqlite_queue, "POLL_SECONDS", (1.0, 20.0)):
            loop.run(self._go_on(directory))
        self.waiting = self._place.waiting()
        self.ran = bodies.ran
        loop.bury([])
        loop.close()

    async def _go_on(self, directory: Path) -> None:
        place = self._place
        await place.open()
        await place.load(directory, self._clock.now())
        workers = [place.adapter(f"new-{number}", self._options) for number in range(2)]
        client = place.adapter("people", self._options)
        for scene in self.scenes:
            self.stored[scene.run_id] = str((await client.get_run(scene.run_id)).status)
        self.report = await client.drain_report()
        for worker in workers:
            await worker.start()
        for scene in self.scenes:
            await scene.after(client, scene.run_id)
        for scene in self.scenes:
            name = scene.ends_as or scene.run_id
            self.runs[name] = await _over(client, name)
        self.drained = await client.drain_report()
        await asyncio.sleep(1000.0)  # copies that watched over work are put off, and then deleted
        for adapter in (*workers, client):
            await adapter.stop()


async def _over(client: FlowClient, run_id: str) -> StoredRun:
    """A run that is over, looked at now and then: each look costs real time."""
    for _ in range(int(PATIENCE_SECONDS / LOOK_SECONDS)):
        run = await client.get_run(run_id)
        if run.status.is_final:
            return run
        await asyncio.sleep(LOOK_SECONDS)
    raise AssertionError(f"run '{run_id}' does not end: {run.states}")


class Newer:
    """This release beside one that is newer, to which a run belongs.

    Attributes:
        before: What was stored of the run, or the messages of it.
        after: The same when the workers of this release have had their time with it.
        other: A run beside it.
        waiting: How many messages are left.
    """

    def __init__(self, backend: str, what: str, scratch: Path) -> None:
        release = RELEASES[-1]
        self.loop = loop = SimulationLoop(Chance("newer", backend))
        self._clock = SimulationClock(loop, 60.0)
        self._place = make.place_of(backend, self._clock, scratch)
        with patch.object(sqlite_queue, "POLL_SECONDS", (1.0, 20.0)):
            loop.run(self._live(make.HOME / release, what))
        self.waiting = self._place.waiting()
        loop.bury([])
        loop.close()

    async def _live(self, directory: Path, what: str) -> None:
        place = self._place
        await place.open()
        await place.load(directory, self._clock.now())
        await place.make_newer("held", what)
        self.before = await place.stored_of("held", what)
        worker = place.adapter("new", Bodies(is_old=False).runtime().options)
        await worker.start()
        self.other = await _over(worker, "choosing")
        await asyncio.sleep(1000.0)
        self.after = await place.stored_of("held", what)
        await worker.stop()


@pytest.fixture(
    scope="module",
    params=[
        (release, backend, pause)
        for release in (*RELEASES, PRESENT)
        for backend in BACKENDS
        for pause in PAUSES
    ],
    ids=" ".join,
)
def later(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Later:
    """The later release, for each older one and each backend, a minute and two days after."""
    release, backend, pause = request.param
    scratch = tmp_path_factory.mktemp("later")
    directory = make.HOME / release
    if release == PRESENT:
        directory = scratch / "fixtures"
        make.make(directory)
    return Later(backend, directory, PAUSES[pause], scratch)


def test_every_run_is_found_as_it_was_left(later: Later) -> None:
    """The runs of an older release are read: running, awaiting, paused, over."""
    assert later.stored == {scene.run_id: scene.stored for scene in later.scenes}


def test_what_they_still_need_is_reported(later: Later) -> None:
    """The drain report of an older release's runs names what they need, until they are over."""
    missing = later.report.needed_by({"released.value", "released.echo"})
    found = {(each.uses, each.blueprint_id, each.examples) for each in missing}
    undo = {
        ("released.undo", name, (name,)) for name in ("undoing", "undoing-held", "undoing-later")
    }
    assert found >= undo | {
        ("released.item", "batch", ("batch", "shards")),
        ("released.count", "loop", ("loop",)),
        ("released.flaky", "retrying", ("retrying",)),
    }
    assert "released.large" not in {each.uses for each in missing}
    assert later.report.needed_by(Bodies(is_old=False).runtime().options.registry) == ()
    assert (later.drained.runs, later.drained.needed) == (0, ())


def test_every_run_comes_to_its_right_end(later: Later) -> None:
    """Whatever an older release left half done is done, with the outputs that it has to have."""
    for scene in later.scenes:
        run = later.runs[scene.ends_as or scene.run_id]
        assert str(run.status) == scene.status, (scene.run_id, run.errors)
        assert {name: run.outputs.get(name) for name in scene.outputs} == scene.outputs
        if scene.status == "cancelled":
            assert run.compensations == (("undo_b", None), ("undo_a", None)), scene.run_id


def test_nothing_is_done_that_was_done_before(later: Later) -> None:
    """Bodies run that had not come to their end, each as often as it has to, and no others."""
    expected: Counter[str] = Counter()
    for scene in later.scenes:
        expected.update(scene.bodies())
    assert later.ran == expected


def test_nothing_is_left(later: Later) -> None:
    """No message of an older release is left, and none that it led to."""
    assert later.waiting == 0


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("what", ["record", "messages"])
def test_what_a_newer_release_has_written_is_left(
    backend: str, what: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A run, or a message, of a newer format is neither changed nor deleted; the others go on."""
    newer = Newer(backend, what, tmp_path)
    assert newer.after == newer.before
    assert newer.waiting >= 1
    assert str(newer.other.status) == "completed"
    assert "newer version" in caplog.text


def test_the_making_is_the_same_each_time(tmp_path: Path) -> None:
    """Fixtures that are made twice by the same code are the same, byte for byte."""
    for name in ("first", "second"):
        make.make(tmp_path / name)
    for path in sorted((tmp_path / "first").iterdir()):
        if path.name != SQLITE_NAME:  # SQLite has counters of its own
            assert path.read_bytes() == (tmp_path / "second" / path.name).read_bytes(), path.name


def test_a_release_is_left_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    """Fixtures that are there are not written again."""
    with patch.object(sys, "argv", ["make"]):
        assert make.main() == 1
    assert "a release is left as it is" in capsys.readouterr().out
