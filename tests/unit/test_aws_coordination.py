"""Coordination on DynamoDB: one conditional request for each call."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from flowcraft.adapters.aws.coordination import DynamoDbCoordinationStore
from flowcraft.adapters.aws.service_time import ServiceTime, Timed
from flowcraft.adapters.aws.transport import Request
from flowcraft.errors import StorageBusy
from flowcraft.testing import VirtualClock
from flowcraft.testing.clock import START
from tests.unit.aws_tables import COORDINATION, Watched, fake_tables, items
from tests.unit.durable import ClockAhead
from tests.unit.runs import drive


class Place:
    """A store on a fake table, by two clients, of which one is watched."""

    def __init__(self, tables: Any, clock: VirtualClock) -> None:
        self.clock = clock
        self.tables = tables
        self.aws = Watched(tables)
        self.store = DynamoDbCoordinationStore(self.aws, COORDINATION, clock)
        self.others = DynamoDbCoordinationStore(tables, COORDINATION, clock)

    async def item(self) -> dict[str, Any]:
        (item,) = await items(self.tables, COORDINATION)
        return item


def play(story: Callable[[Place], Coroutine[Any, Any, None]]) -> Place:
    """Let a story take place with an empty table."""

    async def work() -> Place:
        clock = VirtualClock()
        place = Place(await fake_tables(clock), clock)
        await story(place)
        return place

    return drive(work())


def test_an_item_is_as_documented() -> None:
    """An item has its key, its value, when it expires, and that in whole seconds as ``ttl``."""

    async def story(place: Place) -> None:
        await place.store.set_if_not_exist("lock", "me", ttl_seconds=1.25)
        item = await place.item()
        assert item.pop("request")["S"]
        assert item == {
            "coordinationKey": {"S": "lock"},
            "value": {"S": "me"},
            "expiresAt": {"N": str(round(START * 1000) + 1250)},
            "ttl": {"N": str(round(START) + 2)},
        }
        await place.store.delete("lock")
        await place.store.increment("lock", 3)
        assert await place.item() == {"coordinationKey": {"S": "lock"}, "value": {"N": "3"}}
        await place.store.increment("lock", ttl_seconds=2)
        item = await place.item()
        assert (item["value"], item["ttl"]) == ({"N": "4"}, {"N": str(round(START) + 2)})

    play(story)


def test_a_call_is_one_request() -> None:
    """Each call takes one request, whatever comes of it; a counter that has expired takes two."""

    async def story(place: Place) -> None:
        store = place.store
        assert await store.set_if_not_exist("a", "x", ttl_seconds=5)
        assert not await store.set_if_not_exist("a", "y")
        assert await store.extend_ttl("a", "x", 5)
        assert not await store.extend_ttl("a", "y", 5)
        assert await store.get("a") == "x"
        assert not await store.delete("a", "y")
        assert await store.delete("a", "x")
        assert await store.increment("n", ttl_seconds=5) == 1
        assert await store.increment("n") == 2
        assert len(place.aws.requests) == 9
        place.clock.advance(5)
        assert await store.increment("n", 7) == 7

    assert play(story).aws.names[9:] == ["UpdateItem", "PutItem"]


def test_a_counter_is_begun_anew_once() -> None:
    """Of those who find a counter expired one begins it, and the others count on."""

    async def story(place: Place) -> None:
        await place.store.increment("n", 100, ttl_seconds=5)
        place.clock.advance(5)

        async def overtake(operation: str, request: Request) -> None:
            if operation == "PutItem":
                place.aws.before = None
                assert await place.others.increment("n", 10, ttl_seconds=5) == 10

        place.aws.before = overtake
        assert await place.store.increment("n", 1) == 11
        assert (await place.item())["ttl"] == {"N": str(round(START) + 10)}

    assert play(story).aws.names == ["UpdateItem", "UpdateItem", "PutItem", "UpdateItem"]


def test_a_counter_that_is_removed_meanwhile_begins_anew() -> None:
    """DynamoDB may remove an expired counter between the two requests: it is begun all the same."""

    async def story(place: Place) -> None:
        await place.store.increment("n", ttl_seconds=5)
        place.clock.advance(5)

        async def remove(operation: str, request: Request) -> None:
            if operation == "PutItem":
                key = {"coordinationKey": {"S": "n"}}
                await place.tables.call("DeleteItem", {"TableName": COORDINATION, "Key": key})

        place.aws.before = remove
        assert await place.store.increment("n", 3) == 3

    play(story)


def test_a_counter_that_others_begin_each_time_is_given_up() -> None:
    """Somebody who is always too late is told that the counter is busy, in the end."""

    async def story(place: Place) -> None:
        async def overtake(operation: str, request: Request) -> None:
            if operation == "PutItem":
                await place.others.increment("n", ttl_seconds=1)
                place.clock.advance(1)

        await place.store.increment("n", ttl_seconds=1)
        place.clock.advance(1)
        place.aws.before = overtake
        with pytest.raises(StorageBusy, match="'n' in the table 'coordination'"):
            await place.store.increment("n")

    play(story)


def test_a_lock_whose_answer_was_lost_is_taken() -> None:
    """boto3 repeats a request without an answer: who set the text is told so all the same."""

    async def story(place: Place) -> None:
        async def repeat(operation: str, request: Request) -> None:
            place.aws.before = None
            await place.tables.call(operation, request)

        place.aws.before = repeat
        assert await place.store.set_if_not_exist("lock", "me", ttl_seconds=5)
        assert not await place.store.set_if_not_exist("lock", "me", ttl_seconds=5)
        assert not await place.others.set_if_not_exist("lock", "me", ttl_seconds=5)

    play(story)


def test_items_of_another_system_are_left_alone() -> None:
    """An item that is none of ours keeps its key, and is nothing that can be read or counted."""
    theirs = {"coordinationKey": {"S": "key"}, "state": {"S": "x"}, "ttl": {"N": "1"}}

    async def story(place: Place) -> None:
        await place.tables.call("PutItem", {"TableName": COORDINATION, "Item": theirs})
        assert await place.store.get("key") is None
        assert not await place.store.set_if_not_exist("key", "mine")
        assert not await place.store.extend_ttl("key", "x", 5)
        with pytest.raises(ValueError, match="no counter"):
            await place.store.increment("key")
        assert await place.item() == theirs

    play(story)


def test_leases_are_counted_in_the_time_of_the_service() -> None:
    """Two machines whose clocks differ by an hour agree on when a lock is over."""

    async def story() -> None:
        service = VirtualClock()
        tables = await fake_tables(service)
        stores = []
        for off in (0.0, 3600.0, -3600.0):
            time = ServiceTime(ClockAhead(service, off))
            store = DynamoDbCoordinationStore(Timed(tables, time), COORDINATION, time)
            await store.get("learn the time")
            stores.append(store)
        right, ahead, behind = stores
        for first, second in ((ahead, behind), (behind, ahead), (right, ahead)):
            assert await first.set_if_not_exist("lock", "first", ttl_seconds=10)
            service.advance(8)
            assert not await second.set_if_not_exist("lock", "second", ttl_seconds=10)
            service.advance(4)
            assert await second.set_if_not_exist("lock", "second", ttl_seconds=10)
            assert await second.delete("lock", "second")

    drive(story())
