"""What the doctor finds among runs and workers: what stands still, and which versions there are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flowcraft import FlowRuntime, create_flow
from flowcraft.adapters.sqlite import Database, SqliteCoordination, SqliteRuns
from flowcraft.doctor import Diagnosis, RunsFile, Severity, examine_file
from flowcraft.engine.presence import KINDS, _counter
from flowcraft.engine.worker_kinds import Seen, WorkerKind, write_kinds
from flowcraft.errors import StorageCorrupt
from flowcraft.sqlite import SqliteAdapter
from flowcraft.testing import VirtualClock
from tests.unit.doctor_fleet import of, told, troubles
from tests.unit.runs import drive

NOW = 1_800_000_000.0


async def body(_: Any) -> int:
    """A node."""
    return 1


def options(*uses: str) -> Any:
    """An app with a workflow of these nodes, which waits before the last."""
    flow = create_flow("order").metadata(version="2")
    for each in uses:
        flow.node(each, body, uses=each)
    return FlowRuntime(flows=[flow]).options


class Place:
    """A file of runs in virtual time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = VirtualClock(NOW)

    async def start(self, app: Any, *run_ids: str) -> None:
        """Start runs."""
        adapter = SqliteAdapter(self.path, app, clock=self.clock)
        for run_id in run_ids:
            await adapter.start_run("order", run_id=run_id)
        await adapter.aclose()

    async def seen(self, *kinds: tuple[WorkerKind, int, float]) -> None:
        """Let workers have been seen: so many of a kind, so many seconds ago."""
        now = self.clock.now()
        entries = {kind.id: Seen(kind, now - age - 60.0, now - age) for kind, _, age in kinds}
        with Database(self.path, self.clock) as database:
            store = SqliteCoordination(database)
            await store.set_if_not_exist(KINDS, write_kinds(entries))
            for kind, count, age in kinds:
                await store.increment(_counter(kind.id, now - age), count)

    async def look(self, app: Any = None) -> Diagnosis:
        """Look at it."""
        return await examine_file(RunsFile(self.path, options=app), self.clock)


def kind(version: str, *uses: str) -> WorkerKind:
    """Workers of a version."""
    return WorkerKind.of(version, "3.12.1", uses, [])


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A fresh file."""
    return Place(tmp_path / "runs.db")


@pytest.mark.parametrize(
    ("seconds", "standing", "waiting"),
    [(10.0, "ok", "ok"), (100.0, "ok", "note"), (400.0, "warning", None), (4000.0, "error", None)],
)
def test_how_long_a_run_waits_tells_how_bad_it_is(
    place: Place, seconds: float, standing: str, waiting: str | None
) -> None:
    """First it waits for a worker, then it stands still, and after an hour that is an error."""

    async def play() -> Diagnosis:
        await place.start(options("a"), "late", "later")
        await place.clock.settle()
        place.clock.advance(seconds)
        return await place.look()

    diagnosis = drive(play())
    severity, found = told(diagnosis, "runs.standing")
    assert severity == standing
    assert [str(each.severity) for each in of(diagnosis, "runs.waiting")] == (
        [] if waiting is None else [waiting]
    )
    if standing in ("warning", "error"):
        assert found.startswith("2 runs with something to do stand still, the longest for ")
        assert found.endswith(": late, later.")


def test_runs_that_cannot_be_read_are_counted(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A damaged run is a warning beside the others, and the log has which it is."""

    async def damaged(*_: Any) -> Any:
        raise StorageCorrupt("The record is damaged.")

    async def play() -> Diagnosis:
        await place.start(options("a"), "bad")
        place.clock.advance(400.0)
        monkeypatch.setattr(SqliteRuns, "read", damaged)
        return await place.look()

    diagnosis = drive(play())
    assert told(diagnosis, "runs.unread") == ("warning", "1 run could not be read.")
    assert told(diagnosis, "workers.unread")[1] == "What 1 live run may need is not known."
    assert any("bad" in each for each in caplog.messages)


def test_workers_are_listed_by_kind_and_several_versions_are_a_note(place: Place) -> None:
    """Each kind has its version, number and age; two versions at work are worth knowing."""

    async def play() -> Diagnosis:
        await place.start(options("a"))
        old, new, gone = kind("1.0", "a"), kind("1.1", "a", "b"), kind("0.9", "a")
        await place.seen((old, 3, 100.0), (new, 1, 10.0), (gone, 0, 86_400.0))
        return await place.look()

    diagnosis = drive(play())
    seen = [(str(each.severity), each.found) for each in of(diagnosis, "workers.seen")]
    assert [severity for severity, _ in seen] == ["ok", "ok", "note"]
    assert seen[0][1].startswith("About 1 worker of flowcraft 1.1 on Python 3.12.1 with 2 node fun")
    assert seen[1][1].startswith("About 3 workers of flowcraft 1.0 on Python 3.12.1 with 1 node fu")
    assert "the last was seen 1 day ago" in seen[2][1]
    assert told(diagnosis, "workers.versions")[0] == "note"
    assert troubles(diagnosis) == []


def test_what_no_worker_can_run_is_an_error(place: Place) -> None:
    """A live run that needs code which no worker has says so, with the run."""

    async def play() -> Diagnosis:
        await place.start(options("a", "charge"), "order-1")
        await place.seen((kind("1.0", "a"), 2, 10.0))
        return await place.look()

    diagnosis = drive(play())
    (missing,) = of(diagnosis, "workers.needed")
    assert missing.severity is Severity.ERROR
    assert missing.found.startswith(
        "No worker that is there can run 'charge', which 1 live run of 'order' version 2 may still "
    )
    assert missing.found.endswith(": order-1.")


def test_runs_that_need_an_older_worker_are_told(place: Place) -> None:
    """What only older workers have is a note: by the newest kind, or by the code at hand."""

    async def play() -> tuple[Diagnosis, Diagnosis]:
        await place.start(options("a", "charge"), "order-1")
        await place.seen((kind("1.0", "a", "charge"), 2, 500.0), (kind("1.1", "a"), 1, 10.0))
        return await place.look(), await place.look(options("a"))

    by_kind, by_code = drive(play())
    assert "The newest kind of workers" in told(by_kind, "workers.older")[1]
    assert told(by_code, "workers.older")[1].startswith("The code here cannot run 'charge'")
    assert of(by_kind, "workers.needed") == []


def test_workers_whose_code_nobody_knows_may_have_all_of_it(place: Place) -> None:
    """Of a worker with too many functions to list nothing is said to be missing."""

    async def play() -> Diagnosis:
        await place.start(options("a"), "order-1")
        many = kind("1.0", *(f"key-{number}" for number in range(400)))
        await place.seen((many, 1, 10.0))
        return await place.look()

    diagnosis = drive(play())
    assert told(diagnosis, "workers.needed")[0] == "ok"
    assert "with unknown nodes" in told(diagnosis, "workers.seen")[1]
