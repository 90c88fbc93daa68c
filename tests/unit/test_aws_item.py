"""What a run item takes: few bytes, and the same comes out of it again."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import Mapping
from typing import Any

import pytest

from flowcraft.adapters.aws import folding
from flowcraft.adapters.aws.item import new_item, place_name, read_item
from flowcraft.adapters.aws.packing import pack_text, unpack_text
from flowcraft.adapters.aws.runs import DynamoDbRuns
from flowcraft.adapters.aws.sizes import value_size
from flowcraft.engine.parent import Parent
from flowcraft.errors import StorageCorrupt
from flowcraft.ports.runs import Head, Row
from flowcraft.testing import VirtualClock
from flowcraft.testing.conformance.helpers import create, done
from tests.unit.aws_tables import CONTEXTS, STATUSES, Watched, fake_tables
from tests.unit.runs import drive, turns

HASH = hashlib.sha256(b"blueprint").hexdigest()
EPOCH = str(uuid.UUID(int=0xABCDEF << 100))


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("", 1),
        ("word", 4),
        ("words", 6),
        ("AbCd-_09", 7),
        (EPOCH, 17),
        (EPOCH.upper(), 28),
        (HASH, 33),
        (HASH.upper(), 49),
        (f"{HASH[:-1]}x", 49),
        ("ü" * 4, 9),
        ("\ud800", 4),
    ],
)
def test_texts_are_packed(text: str, size: int) -> None:
    """UUIDs, hashes and tokens take what they hold; any text comes out as it was."""
    packed = pack_text(text)
    assert (len(packed), unpack_text(packed)) == (size, text)


def test_what_is_no_packed_text_is_refused() -> None:
    """A kind that is not known is damage."""
    with pytest.raises(StorageCorrupt, match="no packed text"):
        unpack_text(b"\x09abc")


def head(run_id: str, **more: Any) -> Head:
    """The head of a run."""
    row = Row("running", False, None, ())
    return Head(run_id, EPOCH, "orders", HASH, 0, row, 1.5e9, 1.5e9, **more)


@pytest.mark.parametrize("run_id", ["run", "", 'a "quoted" \\ run', "lauf/ü:#0"])
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"tags": {"team": "ü"}, "key": "order-1"},
        {"parent": Parent("ru", EPOCH, "orders", 3, 1, 2, 500).text(), "is_part": True},
    ],
    ids=["plain", "with tags", "a shard"],
)
def test_heads_come_out_as_they_were(run_id: str, more: dict[str, Any]) -> None:
    """What never changes of a run is packed with what its id and epoch say already."""
    before = head(run_id, **more)
    assert read_item(new_item(before, b"", 0, 0, ())).head == before


def test_the_head_of_a_shard_takes_hardly_more_than_that_of_a_run() -> None:
    """The parent that a shard names is known from its id and its epoch but for a few numbers."""
    parent = Parent("a-run-with-a-long-name", EPOCH, "orders", 7, 1, 1, 2_000).text()
    plain = head("a-run-with-a-long-name")
    shard = head("a-run-with-a-long-name/each_scatter:#2000", parent=parent, is_part=True)
    sizes = [value_size(new_item(each, b"", 0, 0, ())["h"]) for each in (plain, shard)]
    assert sizes[0] <= 64
    assert sizes[1] <= sizes[0] + 32


PLACES = {"3/1": "3/", "1#20/1": "1#20/", "3/2": "3/2", "3/11": "3/11", "p": "p"}


@pytest.mark.parametrize(("place", "name"), PLACES.items())
def test_places_are_named_in_few_bytes(place: str, name: str) -> None:
    """Of first attempts the number is left out."""
    assert place_name(place) == name


def test_a_segment_is_stored_once_however_long_that_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While segments are being stored other writes go on, settle facts, and store none again."""
    monkeypatch.setattr(folding, "GROWTH_BYTES", 5_000)

    async def work() -> None:
        clock = VirtualClock()
        service = Watched(await fake_tables(clock))
        runs = DynamoDbRuns(service, CONTEXTS, STATUSES, clock)
        await create(runs)
        may_go_on, stored = asyncio.Event(), list[str]()

        async def hold_up(operation: str, request: Mapping[str, Any]) -> None:
            if operation == "PutItem" and "\x1fs\x1f" in request["Item"]["runId"]["S"]:
                stored.append(request["Item"]["runId"]["S"])
                await may_go_on.wait()

        service.before = hold_up
        writers = []
        for number in range(1, 120):
            writers.append(asyncio.ensure_future(done(runs, number, f"fact {number}")))
            await turns(20)
        assert stored
        may_go_on.set()
        await asyncio.gather(*writers)
        for number in range(120, 140):
            await done(runs, number, f"fact {number}")
        assert len(stored) == len(set(stored))
        record = await DynamoDbRuns(service, CONTEXTS, STATUSES, clock).read("run")
        assert record is not None
        assert [fact.data for fact in record.facts[1:]] == [f"fact {n}" for n in range(1, 140)]

    drive(work())
