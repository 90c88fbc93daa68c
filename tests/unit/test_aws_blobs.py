"""Texts in the context table: few requests, and never half a text."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from flowcraft.adapters.aws.blobs import CHUNK_BYTES, PREFIX, DynamoDbBlobs
from flowcraft.adapters.aws.transport import Request
from flowcraft.engine.arguments import checked_run_id
from flowcraft.errors import StorageBusy, StorageCorrupt
from flowcraft.testing import VirtualClock
from tests.unit.aws_tables import CONTEXTS, Watched, fake_tables, incompressible, items
from tests.unit.runs import drive

LONG = incompressible(3 * CHUNK_BYTES)
OTHER = incompressible(2 * CHUNK_BYTES, seed=2)
ITEM_BYTES = 409_600


class Place:
    """Texts in a fake table, by two clients, of which one is watched."""

    def __init__(self, tables: Any) -> None:
        self.tables = tables
        self.aws = Watched(tables)
        self.blobs = DynamoDbBlobs(self.aws, CONTEXTS)
        self.others = DynamoDbBlobs(tables, CONTEXTS)

    async def items(self) -> list[dict[str, Any]]:
        return await items(self.tables, CONTEXTS)


def play(story: Callable[[Place], Coroutine[Any, Any, None]]) -> Place:
    """Let a story take place with an empty table."""

    async def work() -> Place:
        place = Place(await fake_tables(VirtualClock()))
        await story(place)
        return place

    return drive(work())


@pytest.mark.parametrize("text", ["", "short", "x" * 500_000], ids=["empty", "short", "long"])
def test_a_small_text_is_one_request(text: str) -> None:
    """Putting and reading a text that fits takes one request each, whether or not it is there."""

    async def story(place: Place) -> None:
        assert await place.blobs.get("key") is None
        await place.blobs.put("key", text)
        await place.blobs.put("key", "another")
        assert await place.blobs.get("key") == text
        await place.blobs.put("key", "next", replace=True)
        await place.blobs.delete("key")

    names = ["GetItem", "PutItem", "PutItem", "GetItem", "PutItem", "DeleteItem"]
    assert play(story).aws.names == names


def test_a_text_is_compressed_where_that_helps() -> None:
    """A long text is kept compressed, a short one readable, one that does not shrink as it is."""

    async def story(place: Place) -> None:
        await place.blobs.put("long", '{"a": "b"}' * 10_000)
        await place.blobs.put("short", '{"a": "b"}')
        found = {item["runId"]["S"]: item for item in await place.items()}
        assert found[PREFIX + "short"]["text"] == {"S": '{"a": "b"}'}
        assert len(found[PREFIX + "long"]["zlib"]["B"]) < 1000

    play(story)


def test_no_run_has_the_key_of_a_text() -> None:
    """The keys of texts are no run ids, and other items of the table are left alone."""

    async def story(place: Place) -> None:
        item = {"runId": {"S": "key"}, "data": {"S": "of a run"}}
        await place.tables.call("PutItem", {"TableName": CONTEXTS, "Item": item})
        assert await place.blobs.get("key") is None
        await place.blobs.put("key", LONG)
        for there in await place.items():
            if there["runId"]["S"] != "key":
                with pytest.raises(ValueError, match="control characters"):
                    checked_run_id(there["runId"]["S"])
        await place.blobs.delete("key")
        assert await place.items() == [item]

    play(story)


def test_keys_of_any_length() -> None:
    """A key that is too long for DynamoDB is kept by its hash; keys that differ stay apart."""

    async def story(place: Place) -> None:
        keys = ["k" * 3000, "k" * 2999 + "l", "ä" * 1500, "a/b:c d\0"]
        for number, key in enumerate(keys):
            await place.blobs.put(key, str(number))
        assert [await place.blobs.get(key) for key in keys] == ["0", "1", "2", "3"]
        for key in keys:
            await place.blobs.delete(key)
        assert await place.items() == []

    play(story)


# --- texts in chunks -----------------------------------------------------------------------


def size_of(item: dict[str, Any]) -> int:
    """Bytes of an item, about as DynamoDB counts them."""
    return sum(
        len(name.encode()) + len(value) for name, kinds in item.items() for value in kinds.values()
    )


def test_a_long_text_is_written_from_its_end() -> None:
    """Chunks that fit into items come first, and the item that names them last."""

    async def story(place: Place) -> None:
        await place.blobs.put("key", LONG)
        assert await place.blobs.get("key") == LONG

    place = play(story)
    puts = [request["Item"] for name, request in place.aws.requests if name == "PutItem"]
    assert len(puts) > 2
    assert "stamp" in puts[-1]
    assert all("data" in item for item in puts[:-1])
    assert max(map(size_of, puts)) < ITEM_BYTES


def test_a_long_text_that_is_there_is_not_sent_again() -> None:
    """Before it sends chunks, a client looks whether the text is there."""

    async def story(place: Place) -> None:
        await place.others.put("key", LONG)
        await place.blobs.put("key", LONG)

    assert play(story).aws.names == ["GetItem"]


def test_replacing_and_deleting_leaves_nothing_behind() -> None:
    """Chunks go with the text that they belong to."""

    async def story(place: Place) -> None:
        await place.blobs.put("key", LONG)
        await place.blobs.put("key", OTHER, replace=True)
        assert await place.blobs.get("key") == OTHER
        await place.blobs.put("key", "short", replace=True)
        assert len(await place.items()) == 1
        await place.blobs.put("key", LONG, replace=True)
        await place.blobs.delete("key")
        assert await place.items() == []

    play(story)


def test_a_put_that_comes_second_leaves_nothing_behind() -> None:
    """Of two that put a long text at the same time the first stays, and the other's chunks go."""

    async def story(place: Place) -> None:
        async def overtake(operation: str, request: Request) -> None:
            if "stamp" in request.get("Item", {}):
                place.aws.before = None
                await place.others.put("key", OTHER)

        place.aws.before = overtake
        await place.blobs.put("key", LONG)
        assert await place.blobs.get("key") == OTHER
        # The head and two chunks.
        assert len(await place.items()) == 3

    play(story)


def test_a_reader_gets_the_whole_of_one_text() -> None:
    """A text that is replaced while it is read is read anew; there is no mix of two."""

    async def story(place: Place) -> None:
        await place.others.put("key", LONG)

        async def replace(operation: str, request: Request) -> None:
            if len(place.aws.requests) == 3:
                await place.others.put("key", OTHER, replace=True)

        place.aws.before = replace
        assert await place.blobs.get("key") == OTHER

    play(story)


def test_a_reader_sees_a_delete() -> None:
    """A text that is deleted while it is read is not there."""

    async def story(place: Place) -> None:
        await place.others.put("key", LONG)

        async def delete(operation: str, request: Request) -> None:
            if len(place.aws.requests) == 2:
                await place.others.delete("key")

        place.aws.before = delete
        assert await place.blobs.get("key") is None

    play(story)


def test_a_text_without_a_chunk_is_told() -> None:
    """A text of which a part is missing for good is an error, with the key."""

    async def story(place: Place) -> None:
        await place.blobs.put("key", LONG)
        (chunk, *_) = (item for item in await place.items() if "data" in item)
        key = {"runId": chunk["runId"]}
        await place.tables.call("DeleteItem", {"TableName": CONTEXTS, "Key": key})
        with pytest.raises(StorageBusy, match="'key' in the table 'contexts'"):
            await place.blobs.get("key")

    play(story)


def test_a_damaged_text_is_told() -> None:
    """What is no compressed text any more is an error that says so."""

    async def story(place: Place) -> None:
        item = {"runId": {"S": PREFIX + "key"}, "zlib": {"B": b"nothing"}}
        await place.tables.call("PutItem", {"TableName": CONTEXTS, "Item": item})
        with pytest.raises(StorageCorrupt, match="'key' in the table 'contexts' is damaged"):
            await place.blobs.get("key")

    play(story)


@pytest.mark.parametrize("replace", [False, True])
def test_a_request_that_is_repeated_does_no_harm(replace: bool) -> None:
    """boto3 repeats requests whose answers were lost: the text is there all the same."""

    async def story(place: Place) -> None:
        async def carried_out_before(operation: str, request: Request) -> None:
            if operation == "PutItem":
                await place.tables.call(operation, request)

        place.aws.before = carried_out_before
        await place.blobs.put("short", "text", replace=replace)
        await place.blobs.put("long", LONG, replace=replace)
        assert await place.others.get("short") == "text"
        assert await place.others.get("long") == LONG

    play(story)


def test_half_a_character_is_refused() -> None:
    """What is no text is refused before anything is sent."""

    async def story(place: Place) -> None:
        with pytest.raises(UnicodeEncodeError):
            await place.blobs.put("key", "\ud800")

    assert play(story).aws.names == []
