"""Limits in DynamoDB where there are very many holders, or very many who wait."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from flowcraft import FlowRuntime
from flowcraft.adapters.aws.limits import DynamoDbLimits
from flowcraft.aws import DynamoDbCoordinationStore, SqsAdapter
from flowcraft.core.limit_keys import stored_key
from flowcraft.core.limits import MOST_CALLED, Limit, Visitor, ticket_name
from flowcraft.ports.limits import Place
from flowcraft.testing import VirtualClock
from flowcraft.testing.aws.dynamodb import FakeDynamoDb
from flowcraft.testing.aws.sqs import FakeSqs
from tests.unit.aws_tables import CONTEXTS, COORDINATION, STATUSES, create_table
from tests.unit.runs import drive

LEASE = 30.0
MANY = 400


def with_limits(case: Callable[[DynamoDbLimits, VirtualClock], Awaitable[None]]) -> None:
    """Run a case on a table of its own."""

    async def work() -> None:
        clock = VirtualClock()
        dynamodb = FakeDynamoDb(clock)
        await create_table(dynamodb, COORDINATION, "coordinationKey")
        await case(DynamoDbCoordinationStore(dynamodb, COORDINATION, clock).limits, clock)

    drive(work())


async def full(limits: DynamoDbLimits, clock: VirtualClock, limit: Limit) -> None:
    """Have all places taken."""
    for number in range(limit.concurrency or 0):
        visitor = Visitor(f"held{number:04}", LEASE)
        assert (await limits.enter("k", limit, visitor, clock.now())).granted


def test_places_of_very_many_dead_holders_come_back() -> None:
    """After a fleet was switched off somebody comes in, however many had places."""

    async def case(limits: DynamoDbLimits, clock: VirtualClock) -> None:
        limit = Limit(concurrency=MANY)
        await full(limits, clock, limit)
        waits = await limits.enter("k", limit, Visitor("waits", LEASE), clock.now())
        assert not waits.granted
        clock.advance(3600)
        for number in range(MANY - 1):
            visitor = Visitor(f"new{number}", LEASE)
            assert (await limits.enter("k", limit, visitor, clock.now())).granted
        late = Visitor("late", LEASE, may_wait=False)
        assert not (await limits.enter("k", limit, late, clock.now())).granted

    with_limits(case)


def test_who_leaves_after_very_many_died_calls_the_next() -> None:
    """A place is given back, and others called, beside hundreds of holders that are gone."""

    async def case(limits: DynamoDbLimits, clock: VirtualClock) -> None:
        limit = Limit(concurrency=MANY)
        await full(limits, clock, limit)
        assert (await limits.enter("k", limit, Visitor("w", LEASE), clock.now())).ticket == 0
        clock.advance(3600)
        place = Place("k", limit, "held0000")
        assert list(await limits.leave(place, clock.now(), LEASE)) == [0]

    with_limits(case)


def test_a_limit_that_is_raised_lets_very_many_in() -> None:
    """Those in line are called some at a time, and by those who leave, until all have begun."""

    async def case(limits: DynamoDbLimits, clock: VirtualClock) -> None:
        small, large = Limit(concurrency=1), Limit(concurrency=1_000)
        await full(limits, clock, small)
        for number in range(MANY):
            visitor = Visitor(f"w{number}", LEASE)
            assert not (await limits.enter("k", small, visitor, clock.now())).granted
        called = list(await limits.leave(Place("k", large, "held0000"), clock.now(), LEASE))
        assert len(called) == MOST_CALLED
        done: list[int] = []
        while called:
            ticket = called.pop(0)
            visitor = Visitor(f"w{ticket}", LEASE, ticket)
            assert (await limits.enter("k", large, visitor, clock.now())).granted
            done.append(ticket)
            place = Place("k", large, visitor.token)
            called += await limits.leave(place, clock.now(), LEASE)
        assert done == list(range(MANY))

    with_limits(case)


def test_a_late_place_is_not_cleared_from_under_who_asks() -> None:
    """Whoever comes for a place that was kept for it has it, also when others are removed."""

    async def case(limits: DynamoDbLimits, clock: VirtualClock) -> None:
        limit = Limit(concurrency=MANY)
        await full(limits, clock, limit)
        assert (await limits.enter("k", limit, Visitor("w", LEASE), clock.now())).ticket == 0
        await limits.leave(Place("k", limit, "held0000"), clock.now(), LEASE)
        clock.advance(3600)
        entered = await limits.enter("k", limit, Visitor("w", LEASE, 0), clock.now())
        assert entered.granted
        assert not (await limits.renew([Place("k", limit, ticket_name(0))], 0.0))[0]

    with_limits(case)


def test_a_start_that_is_given_back_is_promised_anew() -> None:
    """Who comes later is promised what somebody else was; where nobody was there is none."""

    async def case(limits: DynamoDbLimits, clock: VirtualClock) -> None:
        limit, begun = Limit(rate=1, per_seconds=60), clock.now()
        assert (await limits.enter("k", limit, Visitor("first", LEASE), begun)).granted
        await limits.take_back("k", limit, begun)
        for number in range(1, 4):
            entered = await limits.enter("k", limit, Visitor(f"w{number}", LEASE), begun)
            assert (entered.granted, entered.at) == (False, begun + 60 * number)
        for _ in range(5):
            await limits.take_back("k", limit, begun)
        assert (await limits.enter("k", limit, Visitor("new", LEASE), begun)).at == begun + 60

    with_limits(case)


def test_the_last_start_that_was_promised_to_somebody_who_is_gone_is_free() -> None:
    """Who comes when the promises are about to end, none of which was taken, begins in time."""

    async def case(limits: DynamoDbLimits, clock: VirtualClock) -> None:
        limit, begun = Limit(rate=1, per_seconds=60), clock.now()
        assert (await limits.enter("k", limit, Visitor("first", LEASE), begun)).granted
        gone = await limits.enter("k", limit, Visitor("gone", LEASE), begun)
        assert gone.at == begun + 60
        entered = await limits.enter("k", limit, Visitor("new", LEASE), begun + 119)
        assert (entered.granted, entered.at) == (True, begun + 119)
        after = await limits.enter("k", limit, Visitor("next", LEASE), begun + 119)
        assert (after.granted, after.at) == (False, begun + 179)

    with_limits(case)


def test_a_limit_with_more_places_than_an_item_has_room_for_is_refused() -> None:
    """An adapter says which limit it is; one of as many places as there is room for is taken."""
    clock = VirtualClock()
    dynamodb = FakeDynamoDb(clock)
    resources: dict[str, Any] = {
        "sqs_client": FakeSqs(clock),
        "dynamodb_client": dynamodb,
        "queue_url": "https://sqs/jobs",
        "context_table_name": CONTEXTS,
        "status_table_name": STATUSES,
        "coordination_store": DynamoDbCoordinationStore(dynamodb, COORDINATION, clock),
    }
    for name in ("k", "tenant:*"):
        options = FlowRuntime(limits={name: Limit(concurrency=5_001)}).options
        with pytest.raises(ValueError, match=f"'{re.escape(name)}' has a concurrency of 5001"):
            SqsAdapter(options, **resources)
    SqsAdapter(FlowRuntime(limits={"k": Limit(concurrency=5_000)}).options, **resources)


@pytest.mark.parametrize("key", ["\ud800", "\ud800" * 2000, "ä" * 2000, "\x00\n", ""])
def test_any_key_can_be_stored(key: str) -> None:
    """Keys of half characters, of control characters, long ones and none are texts to be stored."""
    assert len(stored_key(key).encode()) <= 1_000
