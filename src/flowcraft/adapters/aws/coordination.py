"""Locks, counters and marks in a DynamoDB table keyed ``coordinationKey``.

An item has the attributes ``value`` (a string, or a number that counts), ``expiresAt`` (when it
expires, in milliseconds since the epoch), ``ttl`` (the same in seconds, rounded up, for DynamoDB
to remove it some time later) and ``request`` (which call set it). What has expired counts as
absent, whether or not DynamoDB has removed it yet.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any, Final

from flowcraft.adapters.aws.arguments import check_client, check_named
from flowcraft.adapters.aws.failures import Resource, Service
from flowcraft.adapters.aws.limits import DynamoDbLimits
from flowcraft.adapters.aws.service_time import ServiceTime, Timed
from flowcraft.adapters.aws.transport import AwsError, Transport
from flowcraft.adapters.system import SystemClock, SystemIdentifiers
from flowcraft.errors import StorageBusy
from flowcraft.ports.clock import Clock, Identifiers
from flowcraft.ports.coordination import Swapped

KEY: Final = "coordinationKey"
TRIES: Final = 10
"""How often a counter that has just expired is begun anew against others who do the same."""

# Names of attributes that DynamoDB would take for words of its own.
_NAMES: Final = {"#value": "value", "#ttl": "ttl"}
_LIVES: Final = "(attribute_not_exists(expiresAt) OR expiresAt > :now)"
_IS_FREE: Final = f"attribute_not_exists({KEY}) OR expiresAt <= :now"
_COUNTS: Final = f"attribute_not_exists({KEY}) OR (attribute_type(#value, :number) AND {_LIVES})"
_IS_OURS: Final = f"#value = :value AND {_LIVES}"
_TELL: Final = {"ReturnValuesOnConditionCheckFailure": "ALL_OLD"}

Item = dict[str, Any]


class DynamoDbCoordinationStore:
    """Texts and counters that expire, in a DynamoDB table.

    Every call is one conditional request; only a counter that has expired takes two, and now and
    then :meth:`swap`. Time is that
    of AWS, so that the clocks of the workers need not agree. Each method raises a
    ``StorageError`` if the table cannot be used.

    After a request whose answer was lost, a call that sets a text still tells whether it did. A
    counter may count such a call twice.

    Args:
        client: A boto3 client (``boto3.client("dynamodb")``), or a transport.
        table_name: The table; its partition key is ``coordinationKey``, a string. Let DynamoDB
            remove what has expired by the attribute ``ttl``.
        clock: The time, of AWS by default.
        identifiers: Where the ids of calls come from.

    Attributes:
        limits: What is kept here of limits by key.

    Raises:
        TypeError: ``client`` is none of DynamoDB.
    """

    def __init__(
        self,
        client: Any,
        table_name: str,
        clock: Clock | None = None,
        *,
        identifiers: Identifiers | None = None,
    ) -> None:
        check_client("client", client, "dynamodb")
        check_named("table_name", table_name, "table")
        if clock is not None and not callable(getattr(clock, "now", None)):
            raise TypeError(f"clock is an object with now(), not {clock!r}.")
        transport = _transport(client)
        if clock is None:
            clock = ServiceTime(SystemClock())
            transport = Timed(transport, clock)
        self._clock = clock
        self._table_name = table_name
        self._service = Service(transport, Resource("table", table_name, KEY))
        self.limits = DynamoDbLimits(self._service, table_name, clock)
        self._own = (identifiers or SystemIdentifiers()).new_run_id()
        self._numbers = itertools.count(1)

    async def increment(self, key: str, by: int = 1, *, ttl_seconds: float | None = None) -> int:
        """Add to a counter, which begins at 0; gives its new number.

        Raises:
            ValueError: The key holds a text.
        """
        for _ in range(TRIES):
            now = self._clock.now()
            try:
                return await self._count(key, by, now, ttl_seconds)
            except AwsError as error:
                item = error.answer.get("Item") or await self._read(key)
            if item is None:
                continue
            if not _has_expired(item, now):
                if "N" in item.get("value", {}):
                    continue
                raise ValueError(f"'{key}' holds a text: it is no counter.")
            if await self._set(key, {"N": str(by)}, now, ttl_seconds):
                return by
        raise StorageBusy(
            f"The counter '{key}' in the {self._service.resource} was begun anew by others each "
            "time. Try again."
        )

    async def _count(self, key: str, by: int, now: float, ttl_seconds: float | None) -> int:
        update, values = "ADD #value :by", {":by": {"N": str(by)}, ":number": {"S": "N"}}
        names = {"#value": "value"}
        if ttl_seconds is not None:
            update += " SET expiresAt = :expires, #ttl = :ttl"
            values |= _times(now + ttl_seconds)
            names = _NAMES
        answer = await self._service.call(
            "UpdateItem",
            {
                **self._item(key),
                "UpdateExpression": update,
                "ConditionExpression": _COUNTS,
                "ExpressionAttributeNames": names,
                "ExpressionAttributeValues": {**values, **_now(now)},
                "ReturnValues": "UPDATED_NEW",
                "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
            },
        )
        return int(answer["Attributes"]["value"]["N"])

    async def set_if_not_exist(
        self, key: str, value: str, *, ttl_seconds: float | None = None
    ) -> bool:
        """Set a text where there is neither text nor counter; whether it was set."""
        return await self._set(key, {"S": value}, self._clock.now(), ttl_seconds)

    async def _set(self, key: str, value: Item, now: float, ttl_seconds: float | None) -> bool:
        return (await self._put(key, value, now, ttl_seconds, _free(now))).done

    async def swap(
        self, key: str, expected: str | None, value: str | None, *, ttl_seconds: float | None = None
    ) -> Swapped:
        """Exchange a text for another, if it is the one that the caller knows.

        One request; a second one where there is nothing, and should be. If the answer to the
        request that forgets a key was lost, it may be told that there was nothing.
        """
        now = self._clock.now()
        condition = _free(now) if expected is None else _ours(expected, now)
        if value is not None:
            return await self._put(key, {"S": value}, now, ttl_seconds, condition)
        if expected is None:
            there = await self.get(key)
            return Swapped(there is None, there)
        try:
            await self._service.call("DeleteItem", self._item(key) | condition | _TELL)
        except AwsError as error:
            return Swapped(False, await self._there(key, error, now))
        return Swapped(True, None)

    async def _put(
        self, key: str, value: Item, now: float, ttl_seconds: float | None, condition: Item
    ) -> Swapped:
        request = {"S": f"{self._own}/{next(self._numbers)}"}
        item = {KEY: {"S": key}, "value": value, "request": request}
        if ttl_seconds is not None:
            times = _times(now + ttl_seconds)
            item |= {"expiresAt": times[":expires"], "ttl": times[":ttl"]}
        put = {"TableName": self._table_name, "Item": item, **condition, **_TELL}
        try:
            await self._service.call("PutItem", put)
        except AwsError as error:
            # boto3 repeats a request whose answer was lost: then it is refused by its own effect.
            if error.answer.get("Item", {}).get("request") != request:
                return Swapped(False, await self._there(key, error, now))
        return Swapped(True, _value_of(item))

    async def _there(self, key: str, refusal: AwsError, now: float) -> str | int | None:
        item = refusal.answer.get("Item") or await self._read(key)
        return None if item is None or _has_expired(item, now) else _value_of(item)

    async def extend_ttl(self, key: str, value: str, ttl_seconds: float) -> bool:
        """Let a text live for so long from now on, if it is this one; whether it was."""
        now = self._clock.now()
        return await self._is_done(
            "UpdateItem",
            {
                **self._item(key),
                "UpdateExpression": "SET expiresAt = :expires, #ttl = :ttl",
                "ConditionExpression": _IS_OURS,
                "ExpressionAttributeNames": _NAMES,
                "ExpressionAttributeValues": {
                    ":value": {"S": value},
                    **_times(now + ttl_seconds),
                    **_now(now),
                },
            },
        )

    async def delete(self, key: str, value: str | None = None) -> bool:
        """Forget a key, with ``value`` only if it holds this text; whether there was something."""
        request: Item = {
            **self._item(key),
            "ConditionExpression": f"attribute_exists({KEY}) AND {_LIVES}",
            "ExpressionAttributeValues": _now(self._clock.now()),
        }
        if value is not None:
            request |= _ours(value, self._clock.now())
        return await self._is_done("DeleteItem", request)

    async def get(self, key: str) -> str | int | None:
        """The text, or the number of a counter; ``None`` where there is nothing."""
        item = await self._read(key)
        return None if item is None or _has_expired(item, self._clock.now()) else _value_of(item)

    async def _read(self, key: str) -> Item | None:
        answer = await self._service.call("GetItem", {**self._item(key), "ConsistentRead": True})
        item: Item | None = answer.get("Item")
        return item

    async def _is_done(self, operation: str, request: Item) -> bool:
        try:
            await self._service.call(operation, request)
        except AwsError:
            return False
        return True

    def _item(self, key: str) -> Item:
        return {"TableName": self._table_name, "Key": {KEY: {"S": key}}}


def _transport(client: Any) -> Transport:
    """The transport that was given, or one for a boto3 client."""
    if hasattr(client, "call"):
        transport: Transport = client
        return transport
    # Here, so that those who bring a transport need no boto3.
    from flowcraft.adapters.aws.client import BotoTransport  # noqa: PLC0415

    return BotoTransport(client)


def _free(now: float) -> Item:
    """Requires that there is nothing."""
    return {"ConditionExpression": _IS_FREE, "ExpressionAttributeValues": _now(now)}


def _ours(text: str, now: float) -> Item:
    """Requires that a text is there."""
    return {
        "ConditionExpression": _IS_OURS,
        "ExpressionAttributeNames": {"#value": "value"},
        "ExpressionAttributeValues": {":value": {"S": text}, **_now(now)},
    }


def _value_of(item: Mapping[str, Any]) -> str | int | None:
    value = item.get("value", {})
    if "N" in value:
        return int(value["N"])
    text: str | None = value.get("S")
    return text


def _now(now: float) -> Item:
    return {":now": {"N": str(_milliseconds(now))}}


def _times(expires_at: float) -> Item:
    """When an item expires, exactly, and for DynamoDB to remove it."""
    milliseconds = _milliseconds(expires_at)
    return {
        ":expires": {"N": str(milliseconds)},
        ":ttl": {"N": str(math.ceil(milliseconds / 1000))},
    }


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def _has_expired(item: Mapping[str, Any], now: float) -> bool:
    expires_at = item.get("expiresAt", {}).get("N")
    return expires_at is not None and int(expires_at) <= _milliseconds(now)
