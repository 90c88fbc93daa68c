"""Stores of objects keep the contract: in memory, in a directory, on S3's fake and an emulator."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from pathlib import Path
from random import Random

import pytest

from flowcraft.adapters.aws.client import BotoTransport
from flowcraft.adapters.aws.objects import S3Objects
from flowcraft.adapters.directory import DirectoryObjects
from flowcraft.adapters.memory import MemoryBlobs, MemoryCoordination, MemoryQueue, MemoryRuns
from flowcraft.adapters.memory_objects import MemoryObjects
from flowcraft.errors import StorageBusy, StorageFull, StorageUnavailable
from flowcraft.ports.objects import ObjectStore
from flowcraft.testing import VirtualClock
from flowcraft.testing.aws.s3 import FakeS3
from flowcraft.testing.conformance import OBJECT_CASES, Case, Connect, Ports, check
from tests.emulators.aws import client
from tests.unit.runs import drive

every_case = pytest.mark.parametrize("case", OBJECT_CASES, ids=lambda case: case.__name__)
_numbers = count(1)


def perform(case: Case, storage: Callable[[VirtualClock], Callable[[], ObjectStore]]) -> None:
    """Run a case on a storage of which each client has a store of its own."""

    @asynccontextmanager
    async def open_storage(clock: VirtualClock) -> AsyncIterator[Connect]:
        another = storage(clock)

        async def connect() -> Ports:
            return Ports(
                MemoryQueue(clock),
                MemoryRuns(clock),
                MemoryBlobs(),
                MemoryCoordination(clock),
                another(),
            )

        yield connect

    check(case, open_storage)


@every_case
def test_memory(case: Case) -> None:
    """Every case passes in memory."""
    store = MemoryObjects()
    perform(case, lambda _: lambda: store)


@every_case
@pytest.mark.parametrize("is_durable", [False, True])
def test_directory(case: Case, tmp_path: Path, is_durable: bool) -> None:
    """Every case passes on files, with a client for each process."""
    perform(case, lambda _: lambda: DirectoryObjects(lambda: tmp_path, is_durable=is_durable))


@every_case
@pytest.mark.parametrize("bucket", ["payloads", "payloads/some/where"])
def test_fake_s3(case: Case, bucket: str) -> None:
    """Every case passes on the fake of S3, in all of a bucket or below a prefix."""

    def storage(clock: VirtualClock) -> Callable[[], ObjectStore]:
        fake = FakeS3(clock)
        fake.create("payloads")
        return lambda: S3Objects(fake, bucket)

    perform(case, storage)


@every_case
def test_ministack(case: Case, ministack: str) -> None:
    """Every case passes through boto3 on an emulator of S3."""
    name = f"flowcraft-objects-{next(_numbers)}"
    s3 = client("s3", ministack)
    s3.create_bucket(Bucket=name)
    transport = BotoTransport(s3, 4)
    perform(case, lambda _: lambda: S3Objects(transport, name))
    s3.close()


def test_unkind_s3_is_told_again() -> None:
    """Conflicts, and deletions of which a part fails, say that trying again helps."""
    raised = set()
    for seed in range(40):
        fake = FakeS3(VirtualClock(), Random(seed).randrange)
        fake.create("payloads")
        raised |= _hammer(S3Objects(fake, "payloads"))
    assert raised == {"gave way", "were not deleted"}


def _hammer(objects: S3Objects) -> set[str]:
    raised = set()

    async def insist(call: Callable[[], Awaitable[object]]) -> None:
        while True:
            try:
                await call()
            except StorageBusy as error:
                for text in ("gave way", "were not deleted"):
                    if text in str(error):
                        raised.add(text)
                continue
            return

    async def work() -> None:
        for number in range(10):
            await insist(partial(objects.put, f"a/{number}", b"x"))
        await insist(lambda: objects.delete_all("a/"))
        assert [await objects.read(f"a/{number}") for number in range(10)] == [None] * 10

    drive(work())
    return raised


def test_what_a_killed_process_left_goes_with_the_run(tmp_path: Path) -> None:
    """Parts of a file that was never finished are beside it, and are deleted with the others."""
    objects = DirectoryObjects(lambda: tmp_path)

    async def work() -> None:
        upload = await objects.begin("runs/r/e/f/n/1")
        await objects.add("runs/r/e/f/n/1", upload, 1, bytes(100_000))
        assert [each for each in tmp_path.rglob("*") if each.is_file()]
        await objects.delete_all("runs/r/e/f/")
        assert list(tmp_path.iterdir()) == []

    drive(work())


def test_a_file_system_without_links_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where files cannot be linked they are renamed, and the first one stays all the same."""

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "no links here")

    monkeypatch.setattr("flowcraft.adapters.directory.os.link", refuse)
    objects = DirectoryObjects(lambda: tmp_path)

    async def work() -> None:
        assert await objects.put("a/key", b"first")
        assert not await objects.put("a/key", b"second")
        assert await objects.read("a/key") == b"first"
        assert [each.name for each in (tmp_path / "a").iterdir()] == ["key"]

    drive(work())


def test_a_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """A file in the place of the directory, and a full disk, are told with what to do."""
    (tmp_path / "file").write_bytes(b"")
    objects = DirectoryObjects(lambda: tmp_path / "file")
    with pytest.raises(StorageUnavailable, match=r"file' cannot be used for files"):
        drive(objects.put("a/key", b"x"))
    full = objects._explained(OSError(errno.ENOSPC, "No space left on device"))
    assert isinstance(full, StorageFull)
    assert "Make room" in str(full)
