"""Limits in the coordination table: an item for each key, and one for each message in line.

The item of a key has a number for each holder (the attribute ``h:`` and its name: until when, in
milliseconds since the epoch), how many there are (``held``), the tickets (``turn``: how many were
called; ``given``), the times of the next starts (``nextAt``, ``promisedUntil``, in microseconds)
and ``r``, which every change but a ticket increments. What usually happens is one conditional
update each: to come in where there is room, to take a ticket, to leave. Everything else is worked
out on the item that the refusal shows, and written on condition that it is still that one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from flowcraft.adapters.aws.failures import Service
from flowcraft.adapters.aws.transport import AwsError
from flowcraft.core.limits import (
    IN_HAND_SECONDS,
    Entered,
    Limit,
    Limits,
    Room,
    Visitor,
    enter,
    leave,
    pass_on,
    ticket_name,
)
from flowcraft.errors import StorageBusy
from flowcraft.ports.clock import Clock
from flowcraft.ports.limits import Place

KEY: Final = "coordinationKey"
TRIES: Final = 50
"""How often a step is worked out anew because others were faster."""

KEPT_MESSAGE_SECONDS: Final = 86_400.0
KEPT_SECONDS: Final = 2 * KEPT_MESSAGE_SECONDS
"""How long a message in line is kept, and a room in which nothing happens: for longer, or the same
tickets would be given out again while messages of theirs are there."""

MOST_CLEARED: Final = 50
"""Holders that are removed by one request: an expression has 4 KB at most."""

MOST_PLACES: Final = 5_000
"""Places of one key, each of about 35 bytes: an item has up to 400 KB."""

HOLDER: Final = "h:"

_TELL: Final = {"ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
_MICROSECONDS: Final = 1_000_000

Item = dict[str, Any]


def check_limits(limits: Limits) -> None:
    """Refuse limits with more places than can be kept here.

    Raises:
        ValueError: One has too many.
    """
    for name, limit in limits.by_name().items():
        if (limit.concurrency or 0) > MOST_PLACES:
            raise ValueError(
                f"The limit '{name}' has a concurrency of {limit.concurrency}: on AWS a key has "
                f"up to {MOST_PLACES} places, since they are in one item. Divide it into several "
                "keys, or limit the concurrency of the workers."
            )


class DynamoDbLimits:
    """Rooms in a DynamoDB table keyed ``coordinationKey``.

    Args:
        service: The table.
        table_name: Its name.
        clock: The time of AWS; only what is left behind is removed by it.
    """

    def __init__(self, service: Service, table_name: str, clock: Clock) -> None:
        self._service = service
        self._table_name = table_name
        self._clock = clock

    async def enter(self, key: str, limit: Limit, visitor: Visitor, now: float) -> Entered:
        """Let somebody begin, or wait: one request where there is room, two where there is none."""
        done, item = await self._update(key, limit, _at_once(limit, visitor, now))
        if done:
            until = math.inf if limit.concurrency is None else now + visitor.seconds
            return Entered(True, now, until=until)
        heard = (visitor.token, "" if visitor.ticket is None else ticket_name(visitor.ticket))
        for _ in range(TRIES):
            item = await self._cleared(key, limit, item, now, heard)
            room = read_room(item)
            entered, after = enter(room, limit, visitor, now)
            if after == room:
                return entered
            taking = _without_conflict(limit, visitor, room, after, entered, now)
            update = _change(item, room, after) if taking is None else taking
            done, item = await self._update(key, limit, update)
            if not done:
                continue
            if taking is None:
                return entered
            if entered.ticket is None:
                return _on_time(entered, limit, item, now)
            # What was given out just now; there may be room meanwhile.
            visitor = visitor._replace(ticket=read_room(item).given - 1)
        raise _busy(key)

    async def leave(self, place: Place, now: float, seconds: float) -> Sequence[int]:
        """Give a place back: one request, and another one where somebody waits."""
        _, item = await self._update(place.key, place.limit, _leaving(place.token))
        for _ in range(TRIES):
            room = read_room(item)
            if room.called == room.given:
                return ()
            item = await self._cleared(place.key, place.limit, item, now)
            room = read_room(item)
            called, after = leave(room, place.limit, place.token, now, seconds)
            if after == room:
                return called
            done, item = await self._update(place.key, place.limit, _change(item, room, after))
            if done:
                return called
        raise _busy(place.key)

    async def pass_on(self, key: str, token: str, now: float, seconds: float) -> Sequence[int]:
        """Give a place back where it is not known what holds for its key: two requests."""
        item = await self._read(f"limit/{key}")
        for _ in range(TRIES):
            room = read_room(item)
            called, after = pass_on(room, token, now, seconds)
            if after == room:
                return called
            update = _change(item, room, after)
            done, item = await self._write(key, update, room.memory_seconds(now))
            if done:
                return called
        raise _busy(key)

    async def _cleared(
        self, key: str, limit: Limit, item: Item | None, now: float, heard: Sequence[str] = ()
    ) -> Item | None:
        """The item of a key without most of the holders that were not heard of for too long.

        Where a fleet was switched off these may be more than one request can name.
        """
        for _ in range(TRIES):
            room = read_room(item)
            holders = room.holders.items()
            over = [name for name, until in holders if until <= now and name not in heard]
            if len(over) <= MOST_CLEARED:
                break
            gone = set(over[:MOST_CLEARED])
            left = {name: at for name, at in room.holders.items() if name not in gone}
            _, item = await self._update(
                key, limit, _change(item, room, replace(room, holders=left))
            )
        return item

    async def renew(self, places: Sequence[Place], until: float) -> Sequence[bool]:
        """Keep places until a time: one request each."""
        return [
            (await self._update(place.key, place.limit, _renewing(place.token, until)))[0]
            for place in places
        ]

    async def take_back(self, key: str, limit: Limit, now: float) -> None:
        """Promise a start to others that was promised to somebody who will not come."""
        await self._update(key, limit, _promising_anew(limit, now))

    async def wait(self, key: str, ticket: int, message: str) -> bool:
        """Keep a message until its ticket is called; false if it was called already."""
        put = self._put(_ticket_key(key, ticket), {"message": {"S": message}})
        try:
            await self._service.call("PutItem", put)
        except AwsError as refusal:
            there = refusal.answer.get("Item") or await self._read(_ticket_key(key, ticket))
            return there is not None and "message" in there
        return True

    async def call(self, key: str, ticket: int) -> str | None:
        """The message of a ticket that is called; ``None`` if it is not kept yet."""
        name = _ticket_key(key, ticket)
        for _ in range(2):
            request = {**self._item(name), "ReturnValues": "ALL_OLD"}
            answer = await self._service.call("DeleteItem", request)
            message: str | None = answer.get("Attributes", {}).get("message", {}).get("S")
            if message is not None:
                return message
            try:
                await self._service.call("PutItem", self._put(name, {}))
            except AwsError:
                continue  # it was kept just now
            return None
        return None

    def _put(self, name: str, attributes: Item) -> Item:
        now = int(self._clock.now())
        expires = {"ttl": {"N": str(now + int(KEPT_MESSAGE_SECONDS))}}
        return {
            "TableName": self._table_name,
            "Item": {KEY: {"S": name}, **attributes, **expires},
            # DynamoDB takes its time to remove what has expired.
            "ConditionExpression": f"attribute_not_exists({KEY}) OR #ttl < :now",
            "ExpressionAttributeNames": {"#ttl": "ttl"},
            "ExpressionAttributeValues": {":now": {"N": str(now)}},
            **_TELL,
        }

    async def _update(self, key: str, limit: Limit, update: _Update) -> tuple[bool, Item | None]:
        """Update an item, if it is as it has to be; whether it was, and the item then or as it is.

        A call that is repeated by the client, because its answer was lost, finds its own effect:
        those who ask are let in, or have left, all the same.
        """
        return await self._write(key, update, limit.memory_seconds)

    async def _write(
        self, key: str, update: _Update, memory_seconds: float
    ) -> tuple[bool, Item | None]:
        expires_at = self._clock.now() + KEPT_SECONDS + memory_seconds
        request = update.request(self._item(f"limit/{key}"), expires_at)
        try:
            answer = await self._service.call("UpdateItem", request)
        except AwsError as refusal:
            return False, refusal.answer.get("Item") or await self._read(f"limit/{key}")
        return True, answer.get("Attributes")

    async def _read(self, name: str) -> Item | None:
        answer = await self._service.call("GetItem", {**self._item(name), "ConsistentRead": True})
        item: Item | None = answer.get("Item")
        return item

    def _item(self, name: str) -> Item:
        return {"TableName": self._table_name, "Key": {KEY: {"S": name}}}


class _Update:
    """An update of the item of a key in the making."""

    def __init__(self) -> None:
        self._sets: list[str] = []
        self._adds: list[str] = []
        self._removes: list[str] = []
        self._conditions: list[str] = []
        self._names: dict[str, str] = {"#ttl": "ttl"}
        self._values: dict[str, int] = {}

    def name(self, attribute: str) -> str:
        """A placeholder for the name of an attribute."""
        placeholder = f"#n{len(self._names)}"
        self._names[placeholder] = attribute
        return placeholder

    def value(self, number: int) -> str:
        """A placeholder for a number."""
        placeholder = f":v{len(self._values)}"
        self._values[placeholder] = number
        return placeholder

    def set(self, attribute: str, number: int) -> None:
        """Set an attribute."""
        self._sets.append(f"{self.name(attribute)} = {self.value(number)}")

    def add(self, attribute: str, number: int) -> None:
        """Add to an attribute."""
        self._adds.append(f"{self.name(attribute)} {self.value(number)}")

    def remove(self, attribute: str) -> None:
        """Remove an attribute."""
        self._removes.append(self.name(attribute))

    def require(self, condition: str) -> None:
        """Require something."""
        self._conditions.append(condition)

    def require_number(self, attribute: str, item: Mapping[str, Any]) -> None:
        """Require that an attribute is as an item has it."""
        name, there = self.name(attribute), item.get(attribute)
        if there is None:
            self.require(f"attribute_not_exists({name})")
        else:
            self.require(f"{name} = {self.value(int(there['N']))}")

    def request(self, item: Item, expires_at: float) -> Item:
        """The request; the item expires some time after it was last changed."""
        sets = ", ".join([*self._sets, f"#ttl = {self.value(int(expires_at))}"])
        parts = [f"SET {sets}"]
        parts += [f"ADD {', '.join(self._adds)}"] if self._adds else []
        parts += [f"REMOVE {', '.join(self._removes)}"] if self._removes else []
        return {
            **item,
            "UpdateExpression": " ".join(parts),
            "ConditionExpression": " AND ".join(self._conditions),
            "ExpressionAttributeNames": self._names,
            "ExpressionAttributeValues": {
                name: {"N": str(number)} for name, number in self._values.items()
            },
            "ReturnValues": "ALL_NEW",
            **_TELL,
        }


def _at_once(limit: Limit, visitor: Visitor, now: float) -> _Update:
    """Come in where there is room, nobody waits, and the time has come."""
    update = _Update()
    update.add("r", 1)
    if limit.concurrency is not None:
        holder = HOLDER + visitor.token
        if visitor.ticket is None:
            update.require(f"attribute_not_exists({update.name(holder)})")
            most = update.value(limit.concurrency)
            update.require(f"(attribute_not_exists(held) OR held < {most})")
            update.require("(attribute_not_exists(given) OR given = turn)")
            update.add("held", 1)
        else:
            kept = HOLDER + ticket_name(visitor.ticket)
            update.require(f"attribute_exists({update.name(kept)})")
            update.remove(kept)
        update.set(holder, _milliseconds(now + visitor.seconds))
    if limit.rate is not None:
        at = update.value(_microseconds(now))
        update.require(f"(attribute_not_exists(nextAt) OR nextAt <= {at})")
        if not visitor.has_waited:
            update.require(f"(attribute_not_exists(promisedUntil) OR promisedUntil <= {at})")
        update.set("nextAt", _microseconds(now + limit.spacing_seconds))
    return update


def _without_conflict(
    limit: Limit, visitor: Visitor, before: Room, after: Room, entered: Entered, now: float
) -> _Update | None:
    """What was worked out, where it can be done whatever others do meanwhile."""
    if limit.concurrency is None:
        if entered.granted:
            # One that could have been taken long ago does not follow on the one before it.
            is_next = _microseconds(before.next_at) >= _microseconds(now)
            return _next_start(limit, visitor, now) if is_next else None
        return _promise(limit) if before.promised_until >= before.next_at > 0 else None
    only_a_ticket = after.given == before.given + 1 and (
        after.holders == before.holders and after.called == before.called
    )
    return _ticket(limit) if only_a_ticket else None


def _ticket(limit: Limit) -> _Update:
    """Take a ticket, where there is a reason to wait."""
    update = _Update()
    assert limit.concurrency is not None
    update.require(f"(held >= {update.value(limit.concurrency)} OR given > turn)")
    update.add("given", 1)
    update.add("turn", 0)  # what is compared has to be there
    return update


def _next_start(limit: Limit, visitor: Visitor, now: float) -> _Update:
    """Take the next start, which is due soon."""
    update = _Update()
    spacing = limit.spacing_seconds
    latest = now + IN_HAND_SECONDS + (limit.burst - 1) * spacing
    update.require(f"nextAt >= {update.value(_microseconds(now))}")
    update.require(f"nextAt <= {update.value(_microseconds(latest))}")
    if not visitor.has_waited:
        soon = update.value(_microseconds(now + IN_HAND_SECONDS))
        update.require(f"(attribute_not_exists(promisedUntil) OR promisedUntil <= {soon})")
    update.add("nextAt", _microseconds(spacing))
    update.add("r", 1)
    return update


def _promise(limit: Limit) -> _Update:
    """Be promised the start after those that are promised."""
    update = _Update()
    update.require("promisedUntil >= nextAt")
    update.add("promisedUntil", _microseconds(limit.spacing_seconds))
    update.add("r", 1)
    return update


def _promising_anew(limit: Limit, now: float) -> _Update:
    """Have the promises end earlier by one, as long as there are some."""
    update = _Update()
    update.require(f"promisedUntil > {update.value(_microseconds(now))}")
    update.add("promisedUntil", -_microseconds(limit.spacing_seconds))
    update.add("r", 1)
    return update


def _on_time(entered: Entered, limit: Limit, item: Item | None, now: float) -> Entered:
    """When the start is that was taken, or promised, just now."""
    room, spacing = read_room(item), limit.spacing_seconds
    if not entered.granted:
        return entered._replace(at=room.promised_until - spacing)
    return entered._replace(at=limit.earliest(room.next_at - spacing, now))


def _leaving(token: str) -> _Update:
    update, holder = _Update(), HOLDER + token
    update.require(f"attribute_exists({update.name(holder)})")
    update.remove(holder)
    update.add("held", -1)
    update.add("r", 1)
    return update


def _renewing(token: str, until: float) -> _Update:
    update, holder = _Update(), HOLDER + token
    update.require(f"attribute_exists({update.name(holder)})")
    update.set(holder, _milliseconds(until))
    return update


def _change(item: Item | None, before: Room, after: Room) -> _Update:
    """Whatever was worked out, for an item that is still what it was."""
    item = item or {}
    update = _Update()
    update.require_number("r", item)
    update.add("r", 1)
    for name in before.holders.keys() - after.holders.keys():
        update.require_number(HOLDER + name, item)  # it may have been renewed
        update.remove(HOLDER + name)
    for name, until in after.holders.items():
        if before.holders.get(name) != until:
            update.set(HOLDER + name, _milliseconds(until))
    if len(after.holders) != len(before.holders):
        update.add("held", len(after.holders) - len(before.holders))
    update.require_number("given", item)  # who waits was taken into account
    if after.given != before.given:
        update.set("given", after.given)
    if after.called != before.called or "turn" not in item:
        update.set("turn", after.called)
    if after.next_at != before.next_at:
        update.set("nextAt", _microseconds(after.next_at))
    if after.promised_until != before.promised_until:
        update.set("promisedUntil", _microseconds(after.promised_until))
    return update


def read_room(item: Mapping[str, Any] | None) -> Room:
    """The room of an item; an empty one where there is none."""
    item = item or {}
    holders = {
        name.removeprefix(HOLDER): int(value["N"]) / 1000
        for name, value in item.items()
        if name.startswith(HOLDER)
    }
    return Room(
        holders,
        _number(item, "turn"),
        _number(item, "given"),
        _number(item, "nextAt") / _MICROSECONDS,
        _number(item, "promisedUntil") / _MICROSECONDS,
    )


def _number(item: Mapping[str, Any], name: str) -> int:
    return int(item.get(name, {}).get("N", 0))


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def _microseconds(seconds: float) -> int:
    return round(seconds * _MICROSECONDS)


def _ticket_key(key: str, ticket: int) -> str:
    return f"ticket/{ticket}/{key}"


def _busy(key: str) -> StorageBusy:
    return StorageBusy(f"The limit '{key}' was changed by others each time. Try again.")
