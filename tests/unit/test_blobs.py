"""Files of nodes: in process, in memory, beside SQLite, for plain and for isolated nodes."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import logging
import re
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flowcraft import (
    BlobReference,
    FlowRuntime,
    NodeContext,
    RetryPolicy,
    SyncNodeContext,
    create_flow,
)
from flowcraft.adapters.directory import objects_in
from flowcraft.adapters.memory_objects import MemoryObjects
from flowcraft.engine import files as engine_files
from flowcraft.engine.adapter import Adapter
from flowcraft.engine.files import Files, read_reference
from flowcraft.errors import (
    FlowcraftError,
    RunNotFound,
    StorageCorrupt,
    StorageError,
    StorageUnavailable,
)
from flowcraft.memory import MemoryAdapter
from flowcraft.ports.objects import PART_BYTES, NoObjects
from flowcraft.sqlite import SqliteAdapter
from flowcraft.testing import VirtualClock
from tests.unit import isolated_nodes
from tests.unit.runs import drive

Ctx = NodeContext[Any]
LARGE = bytes(range(256)) * ((2 * PART_BYTES + 4096) // 256)


async def in_pieces(size: int = 300_001) -> AsyncIterator[bytes]:
    """The large file, as it comes from somewhere."""
    for start in range(0, len(LARGE), size):
        yield LARGE[start : start + size]


def file_flow(directory: Path) -> Any:
    """Files that are kept in every way, passed on, and read in every way."""
    source = directory / "source.bin"
    source.write_bytes(b"from a path")

    async def keep(ctx: Ctx) -> dict[str, Any]:
        return {
            "empty": await ctx.blobs.put("empty", b""),
            "small": await ctx.blobs.put("a/../b", b"small"),
            "path": await ctx.blobs.put("path", source),
            "large": await ctx.blobs.put("large", in_pieces()),
            "again": await ctx.blobs.put("large", [b"other ", memoryview(b"large")]),
        }

    async def read(ctx: Ctx) -> dict[str, Any]:
        kept = ctx.input
        target = directory / "saved.bin"
        assert await ctx.blobs.save_to(kept["large"], target) == target
        sizes = [len(piece) async for piece in ctx.blobs.open(kept["large"])]
        assert max(sizes) <= PART_BYTES
        assert sum(sizes) == len(LARGE)
        assert target.read_bytes() == LARGE
        return {
            name: (await ctx.blobs.get(each)).decode()
            for name, each in kept.items()
            if name != "large"
        }

    def plain(ctx: SyncNodeContext[Any]) -> list[str]:
        kept = ctx.blobs.put("plain", iter([b"pl", b"ain"]))
        saved = ctx.blobs.save_to(kept, directory / "plain.bin")
        pieces = list(ctx.blobs.open(kept))
        first = next(ctx.blobs.open(kept))
        read = [saved.read_bytes(), b"".join(pieces), first, ctx.blobs.get(ctx.input["small"])]
        return [each.decode() for each in read]

    flow = create_flow("files").node("keep", keep).node("read", read).node("plain", plain)
    return flow.edge("keep", "read").edge("keep", "plain")


def check(outputs: Any) -> None:
    """What has to come of it, wherever it was kept."""
    assert outputs["read"] == {
        "empty": "",
        "small": "small",
        "path": "from a path",
        "again": "other large",
    }
    assert outputs["plain"] == ["plain", "plain", "plain", "small"]
    large = outputs["keep"]["large"]
    assert large["bytes"] == len(LARGE)
    assert large["sha256"] == hashlib.sha256(LARGE).hexdigest()
    assert outputs["keep"]["small"]["name"] == "a/../b"
    assert large["blob"] != outputs["keep"]["again"]["blob"]


def test_files_of_a_runtime(tmp_path: Path) -> None:
    """In process files are kept without a word about where, and are read by the runtime."""
    runtime = FlowRuntime(flows=[file_flow(tmp_path)])
    result = drive(runtime.run("files"))
    check(result.outputs)
    assert drive(runtime.blobs.get(result.outputs["keep"]["small"])) == b"small"


def test_a_temporary_directory_goes_with_its_owner() -> None:
    """What is kept in a temporary directory is gone with the objects that were kept there."""
    objects = objects_in(None)
    drive(objects.put("runs/r/e/f/1", b"x"))
    file = Path(objects.place("runs/r/e/f/1").split("'")[1])
    assert file.read_bytes() == b"x"
    del objects
    gc.collect()
    assert not file.parents[4].exists()


def test_files_of_a_runtime_in_a_directory(tmp_path: Path) -> None:
    """With a directory of one's own files outlive the runtime."""
    flow, directory = file_flow(tmp_path), tmp_path / "files"
    result = drive(FlowRuntime(flows=[flow], files_directory=directory).run("files"))
    later = FlowRuntime(files_directory=directory)
    assert drive(later.blobs.get(result.outputs["keep"]["small"])) == b"small"


def memory(path: Path, options: Any) -> Adapter:
    """Durable runs in memory."""
    return MemoryAdapter(options, poll_seconds=0.05)


def sqlite(path: Path, options: Any) -> Adapter:
    """Durable runs in a file."""
    return SqliteAdapter(path / "runs.db", options, poll_seconds=0.05)


backends = pytest.mark.parametrize("backend", [memory, sqlite])


@backends
def test_files_of_durable_runs(tmp_path: Path, backend: Callable[..., Adapter]) -> None:
    """On a durable backend people read files by the client, and they go with the run."""
    options = FlowRuntime(flows=[file_flow(tmp_path)]).options

    async def work() -> None:
        async with backend(tmp_path, options) as adapter:
            run = await adapter.start_run("files", run_id="a run/1")
            outputs = (await run.result(timeout=90)).outputs
            check(outputs)
            large = outputs["keep"]["large"]
            saved = await adapter.blobs.save_to(large, tmp_path / "result.bin")
            assert saved.read_bytes() == LARGE
            assert [len(p) async for p in adapter.blobs.open(outputs["keep"]["small"])] == [5]
            await adapter.delete_run("a run/1")
            with pytest.raises(RunNotFound):
                await adapter.get_run("a run/1")
            with pytest.raises(StorageCorrupt, match=r"'large' is not there.*deleted"):
                await adapter.blobs.get(large)

    drive(work())
    left = [each for each in (tmp_path / "runs.db-files").rglob("*") if each.is_file()]
    assert left == []


@backends
def test_subflows_and_batches_share_files(tmp_path: Path, backend: Callable[..., Adapter]) -> None:
    """References pass between a run, its child runs and the items of its batches."""

    async def keep(ctx: Ctx) -> BlobReference:
        return await ctx.blobs.put("given", b"given")

    async def upper(ctx: Ctx) -> BlobReference:
        return await ctx.blobs.put("upper", (await ctx.blobs.get(ctx.input)).upper())

    async def twice(ctx: Ctx) -> list[Any]:
        return [ctx.input, ctx.input]

    async def read(ctx: Ctx) -> list[str]:
        return [(await ctx.blobs.get(each)).decode() for each in ctx.input]

    child = create_flow("child").node("up", upper, inputs="file")
    flow = (
        create_flow("parent")
        .node("keep", keep)
        .subflow("sub", child, inputs={"file": "keep"}, outputs={"made": "up"})
        .node("twice", twice, inputs="made")
        .batch("each", upper, uses="upper_item")
        .node("read", read)
        .edge("keep", "sub")
        .edge("sub", "twice")
        .edge("twice", "each")
        .edge("each", "read")
    )

    async def work() -> None:
        async with backend(tmp_path, FlowRuntime(flows=[flow]).options) as adapter:
            run = await adapter.start_run("parent")
            result = (await run.result(timeout=90)).raise_for_status()
            assert result.outputs["read"] == ["GIVEN", "GIVEN"]

    drive(work())


def test_what_a_failed_attempt_kept_is_seen_by_nobody() -> None:
    """Each attempt has files of its own; only those of the one that succeeded are referred to."""
    kept = []

    async def unsteady(ctx: Ctx) -> BlobReference:
        reference = await ctx.blobs.put("same name", f"attempt {ctx.attempt}".encode())
        await ctx.context.set("file", reference)
        kept.append(reference)
        if ctx.attempt == 1:
            raise ConnectionError("later")
        return reference

    flow = create_flow("f").node("n", unsteady, retry=RetryPolicy(max_attempts=2, delay=0.0))
    runtime = FlowRuntime(flows=[flow])
    result = drive(runtime.run("f"))
    assert result.outputs["n"] == result.context["file"] == kept[1]
    assert kept[0]["blob"] != kept[1]["blob"]
    assert drive(runtime.blobs.get(kept[1])) == b"attempt 2"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["blobs_async", "blobs_plain"])
def test_isolated_nodes_have_files_too(name: str, tmp_path: Path) -> None:
    """A node in a process of its own keeps and reads files through its parent."""

    async def keep(ctx: Ctx) -> BlobReference:
        return await ctx.blobs.put("given", b"given")

    flow = create_flow("f").node("keep", keep)
    flow.node("away", getattr(isolated_nodes, name), isolation="process")
    flow.edge("keep", "away")
    runtime = FlowRuntime(flows=[flow])
    result = drive(runtime.run("f")).raise_for_status()
    told = result.outputs["away"]
    assert told["read"] == "given"
    assert told["refused"].startswith("This is no reference to a file")
    assert drive(runtime.blobs.get(told["made"])) == b"made there, in pieces"
    assert drive(runtime.blobs.get(told["path"])) == b"at a path"


# -- what goes wrong ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"blob": "runs/r/e/v/0011"},
        {"blob": "runs/r/e/f/../../../../etc/passwd"},
        {"blob": "/etc/passwd"},
        {"blob": "runs/r/e/f/a\\b"},
        {"blob": 7},
        {"sha256": None},
    ],
)
def test_a_made_up_reference_is_refused(change: dict[str, Any]) -> None:
    """A reference is data, so it may be anything: it names files and nothing else."""
    good = {"blob": "runs/r/e/f/n/0/1/t", "name": "n", "bytes": 1, "sha256": "00"}
    assert read_reference(good) == good
    for wrong in (good | change, str(good), None):
        with pytest.raises(FlowcraftError, match="no reference to a file"):
            read_reference(wrong)


@pytest.mark.parametrize("data", ["text", 7, {"a": 1}, [b"x", "y"], None])
def test_what_is_no_file_is_refused(data: Any) -> None:
    """Text, numbers and the like are refused, with what to write instead; nothing is kept."""
    objects = MemoryObjects()
    files = Files(objects, _Tokens())
    with pytest.raises(TypeError, match="bytes"):
        drive(files.put("run", "epoch", "n/0/1", "name", data))
    assert objects._objects == {}


class _Tokens:
    """Identifiers that count."""

    def __init__(self) -> None:
        self._count = 0

    def new_run_id(self) -> str:
        """A fresh id."""
        return self.new_token()

    def new_token(self) -> str:
        """A fresh token."""
        self._count += 1
        return f"token {self._count}"


def test_a_damaged_file_is_told_of() -> None:
    """Other content, a missing end and a missing file are errors that say where it was."""
    objects = MemoryObjects()
    files = Files(objects, _Tokens())

    async def work() -> None:
        reference = await files.put("run", "epoch", "n/0/1", "report.pdf", b"content")
        key = reference["blob"]
        for wrong in (b"CONTENT", b"conten", b"content+"):
            objects._objects[key] = wrong
            with pytest.raises(StorageCorrupt, match=f"'report.pdf' is damaged.*{re.escape(key)}"):
                await files.get(reference)
        del objects._objects[key]
        with pytest.raises(StorageCorrupt, match=f"'report.pdf' is not there.*{re.escape(key)}"):
            await files.get(reference)

    drive(work())


def test_save_to_leaves_all_of_it_or_nothing(tmp_path: Path) -> None:
    """A file that turns out to be damaged leaves what was at the path, and nothing beside it."""
    objects = MemoryObjects()
    files, target = Files(objects, _Tokens()), tmp_path / "here"
    target.write_bytes(b"before")

    async def work() -> None:
        reference = await files.put("run", "epoch", "n/0/1", "x", b"content")
        objects._objects[reference["blob"]] = b"CONTENT"
        with pytest.raises(StorageCorrupt):
            await files.save_to(reference, target)

    drive(work())
    assert target.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [target]


def test_a_stream_that_breaks_leaves_nothing() -> None:
    """Where the source of a large file fails, what was uploaded of it is given up."""
    objects = MemoryObjects()
    files = Files(objects, _Tokens())

    async def broken() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield bytes(PART_BYTES)
        raise OSError("the source is gone")

    with pytest.raises(OSError, match="the source is gone"):
        drive(files.put("run", "epoch", "n/0/1", "x", broken()))
    assert (objects._objects, objects._uploads) == ({}, {})


def test_a_backend_without_a_place_says_so() -> None:
    """Where there is no place for files the node fails at once, and for good."""
    files = Files(NoObjects("Give it a bucket."), _Tokens())
    with pytest.raises(StorageUnavailable, match=r"no place here.*Give it a bucket") as e:
        drive(files.put("run", "epoch", "n/0/1", "x", b"x"))
    assert e.value.is_fatal


class _Unsteady(MemoryObjects):
    """Objects that cannot be used for a while."""

    def __init__(self, troubles: Iterator[StorageError]) -> None:
        super().__init__()
        self._troubles = troubles

    async def put(self, key: str, data: bytes) -> bool:
        """Keep an object, later."""
        for trouble in self._troubles:
            raise trouble
        return await super().put(key, data)


def test_a_node_waits_for_a_place_that_cannot_be_used(caplog: pytest.LogCaptureFixture) -> None:
    """Trouble with the place fails no node: it is told of once, and tried again until it passes."""
    caplog.set_level(logging.ERROR)
    clock, slept = VirtualClock(), []
    objects = _Unsteady(iter([StorageUnavailable("There is no bucket 'b'."), StorageError("x")]))

    async def sleep_until(when: float) -> None:
        slept.append(when - clock.now())

    files = Files(objects, _Tokens()).insisting(clock, sleep_until, "Node 'n'")
    reference = drive(files.put("run", "epoch", "n/0/1", "x", b"x"))
    assert drive(files.get(reference)) == b"x"
    assert slept == [engine_files.AGAIN_SECONDS] * 2
    (record,) = caplog.records
    assert record.getMessage() == (
        "Node 'n' waits until files can be used: There is no bucket 'b'."
    )


class _Sink(MemoryObjects):
    """Takes parts, and keeps nothing of them but how long they were."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    async def add(self, key: str, upload: str, number: int, data: bytes) -> str:
        """Add a part."""
        self.sizes.append(len(data))
        return await super().add(key, upload, number, b"")


def test_a_large_file_takes_little_memory() -> None:
    """Of a file that comes piece by piece two parts are in memory at a time, whatever its size."""
    sink = _Sink()
    files = Files(sink, _Tokens())
    parts = 12

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(parts * 8):
            yield bytes(PART_BYTES // 8)

    tracemalloc.start()
    try:
        reference = drive(files.put("run", "epoch", "n/0/1", "x", pieces()))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert reference["bytes"] == parts * PART_BYTES
    assert sink.sizes == [PART_BYTES] * parts
    assert peak < 4 * PART_BYTES


def test_a_node_that_is_cancelled_while_it_waits_for_a_place_leaves_nothing() -> None:
    """The end of the waiting ends the upload, and what was begun of it is given up."""
    clock, waiting = VirtualClock(), []

    class Broken(MemoryObjects):
        async def add(self, key: str, upload: str, number: int, data: bytes) -> str:
            if number == 2:
                raise StorageUnavailable("The bucket is gone.")
            return await super().add(key, upload, number, data)

    objects = Broken()

    async def sleep_until(when: float) -> None:
        waiting.append(when)
        await asyncio.Event().wait()

    async def work() -> None:
        files = Files(objects, _Tokens()).insisting(clock, sleep_until, "Node 'n'")
        put = files.put("run", "epoch", "n/0/1", "x", bytes(3 * PART_BYTES))
        task = asyncio.ensure_future(put)
        while not waiting:
            await asyncio.sleep(0)
        assert len(objects._uploads) == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    drive(work())
    assert (objects._objects, objects._uploads) == ({}, {})
