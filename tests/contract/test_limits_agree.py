"""Limits come to the same wherever they are kept, step by step, as the rules say."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from flowcraft import Limit
from flowcraft.adapters.aws.coordination import DynamoDbCoordinationStore
from flowcraft.adapters.aws.limits import read_room as read_item
from flowcraft.adapters.memory import MemoryCoordination
from flowcraft.core.limits import Room, Visitor, enter, leave, pass_on, take_back
from flowcraft.engine.swap_limits import SwapLimits, limits_of, read_room
from flowcraft.ports.limits import LimitStore, Place
from flowcraft.testing import VirtualClock
from flowcraft.testing.aws.dynamodb import FakeDynamoDb

SECONDS = 30.0
DAY = 86_400.0
WEEK = 7 * DAY
GET = {
    "TableName": "coordination",
    "Key": {"coordinationKey": {"S": "limit/key"}},
    "ConsistentRead": True,
}
LIMITS = (
    Limit(concurrency=1),
    Limit(concurrency=3),
    Limit(rate=6, per_seconds=60),
    Limit(rate=20, per_seconds=60, burst=4),
    Limit(concurrency=2, rate=30, per_seconds=60),
    Limit(concurrency=2, rate=30, per_seconds=60, burst=3),
)


async def _dynamodb(clock: VirtualClock) -> tuple[FakeDynamoDb, DynamoDbCoordinationStore]:
    fake = FakeDynamoDb(clock)
    await fake.call(
        "CreateTable",
        {
            "TableName": "coordination",
            "KeySchema": [{"AttributeName": "coordinationKey", "KeyType": "HASH"}],
            "AttributeDefinitions": [
                {"AttributeName": "coordinationKey", "AttributeType": "S"},
            ],
            "BillingMode": "PAY_PER_REQUEST",
        },
    )
    return fake, DynamoDbCoordinationStore(fake, "coordination", clock)


class _Play:
    """The same steps on two stores, and on a room by the rules alone."""

    def __init__(self, seed: int, limit: Limit, stores: tuple[LimitStore, LimitStore]) -> None:
        self.chance = random.Random(seed)
        self.limit = limit
        self.stores = stores
        self.room = Room()
        self.inside: list[str] = []
        self.waiting: list[tuple[int | None, bool]] = []

    async def step(self, number: int, now: float) -> None:
        """Let something happen."""
        happens = self.chance.random()
        if happens < 0.55 or not (self.inside or self.waiting):
            visitor = Visitor(f"t{number}", SECONDS, may_wait=self.chance.random() < 0.8)
            await self._enter(visitor, now)
        elif happens < 0.8 and self.inside:
            token = self.inside.pop(self.chance.randrange(len(self.inside)))
            # Of those who are late each store has the ones that it has not removed yet.
            if self.room.holders.get(token, 0.0) > now and self.chance.random() < 0.3:
                called, self.room = pass_on(self.room, token, now, SECONDS)
                for store in self.stores:
                    assert tuple(await store.pass_on("key", token, now, SECONDS)) == called
                return
            place = Place("key", self.limit, token)
            called, self.room = leave(self.room, self.limit, token, now, SECONDS)
            for store in self.stores:
                assert tuple(await store.leave(place, now, SECONDS)) == called
        elif self.waiting:
            ticket, has_waited = self.waiting.pop(self.chance.randrange(len(self.waiting)))
            if ticket is None and self.chance.random() < 0.3:
                self.room = take_back(self.room, self.limit, now)
                for store in self.stores:
                    await store.take_back("key", self.limit, now)
                return
            await self._enter(Visitor(f"t{number}", SECONDS, ticket, has_waited), now)

    async def _enter(self, visitor: Visitor, now: float) -> None:
        entered, self.room = enter(self.room, self.limit, visitor, now)
        for store in self.stores:
            found = await store.enter("key", self.limit, visitor, now)
            assert (found.granted, found.ticket, found.called) == (
                entered.granted,
                entered.ticket,
                entered.called,
            )
            assert abs(found.at - entered.at) < 1e-4
            assert found.until == entered.until or abs(found.until - entered.until) < 2e-3
        if entered.granted:
            self.inside.append(visitor.token)
        elif visitor.may_wait:
            self.waiting.append((entered.ticket, True))


def _same(room: Room, other: Room, now: float) -> bool:
    """Whether two rooms are the same; who was not heard of for too long may be in it still."""
    times = abs(room.next_at - other.next_at) + abs(room.promised_until - other.promised_until)
    return (room.called, room.given) == (other.called, other.given) and (
        _living(room, now) == _living(other, now) and times < 1e-3
    )


def _living(room: Room, now: float) -> set[str]:
    return {name for name, until in room.holders.items() if until > now}


async def _agree(seed: int, limit: Limit) -> None:
    clock = VirtualClock()
    fake, dynamodb = await _dynamodb(clock)
    memory = MemoryCoordination(clock)
    play = _Play(seed, limit, (SwapLimits(memory), limits_of(dynamodb)))
    for number in range(80):
        # Times as the service has them, to the millisecond.
        clock.advance(play.chance.choice((0.0, 0.001, 0.5, 3.0, 14.0)))
        await play.step(number, round(clock.now(), 3))
        text: Any = await memory.get("limit/key")
        item = (await fake.call("GetItem", GET)).get("Item")
        for there in (read_room(text), read_item(item)):
            assert _same(there, play.room, clock.now()), (number, there, play.room)
        assert int((item or {}).get("held", {}).get("N", 0)) == len(read_item(item).holders)


def test_stores_of_limits_agree() -> None:
    """Whatever happens in whatever order, stores answer as the rules do, and keep what they say."""
    for limit in LIMITS:
        for seed in range(12):
            asyncio.run(_agree(seed, limit))


class _Counted:
    """A fake whose requests are counted."""

    def __init__(self, fake: FakeDynamoDb) -> None:
        self._fake = fake
        self.requests = 0

    async def call(self, operation: str, request: Any) -> Any:
        """Carry out a request."""
        self.requests += 1
        return await self._fake.call(operation, request)


def test_a_thousand_in_line_take_a_few_requests_each() -> None:
    """A thousand who come at once behind a limit of one come in one by one, at a fixed price."""

    async def work() -> None:
        clock, limit = VirtualClock(), Limit(concurrency=1)
        fake, _ = await _dynamodb(clock)
        counted = _Counted(fake)
        store = DynamoDbCoordinationStore(counted, "coordination", clock).limits
        count, now = 1_000, clock.now()
        entered = await asyncio.gather(
            *(store.enter("key", limit, Visitor(f"t{n}", SECONDS), now) for n in range(count))
        )
        tokens = {}
        for number, each in enumerate(entered):
            if each.ticket is not None:
                tokens[each.ticket] = f"t{number}"
                assert await store.wait("key", each.ticket, f"message {number}")
        assert counted.requests <= 3 * count
        counted.requests = 0
        inside = next(f"t{number}" for number, each in enumerate(entered) if each.granted)
        for expected in range(count - 1):
            called = await store.leave(Place("key", limit, inside), now, SECONDS)
            assert list(called) == [expected]
            assert await store.call("key", expected) is not None
            inside = tokens[expected]
            again = await store.enter("key", limit, Visitor(inside, SECONDS, expected), now)
            assert again.granted
        assert counted.requests <= 4 * count

    asyncio.run(work())


@pytest.mark.parametrize("limit", [Limit(rate=1, per_seconds=WEEK), Limit(2, 1, WEEK)])
def test_a_start_is_known_for_as_long_as_it_matters(limit: Limit) -> None:
    """A store does not forget a start before its window is over, although nothing else happens."""

    async def work() -> None:
        clock = VirtualClock()
        fake, coordination = await _dynamodb(clock)
        for store in (SwapLimits(MemoryCoordination(clock)), limits_of(coordination)):
            begun = clock.now()
            assert (await store.enter("key", limit, Visitor("a", SECONDS), begun)).granted
            await store.renew([Place("key", limit, "a")], begun + SECONDS)
            await store.leave(Place("key", limit, "a"), begun, SECONDS)
            clock.advance(6 * DAY)
            visitor = Visitor("b", SECONDS, may_wait=False)
            assert not (await store.enter("key", limit, visitor, clock.now())).granted
        item = (await fake.call("GetItem", GET))["Item"]
        assert int(item["ttl"]["N"]) > begun + WEEK

    asyncio.run(work())
