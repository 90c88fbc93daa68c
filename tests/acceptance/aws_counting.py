"""Counts what boto3 clients ask of AWS, and what AWS would charge for it.

Hooks of the clients see every request. Write units are those that the emulator says were consumed,
and once more by the sizes of the items, as a check on both. Read units go by the sizes alone: the
emulator takes every read for a small one.
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from flowcraft.adapters.aws.sizes import WRITE_UNIT, item_size

USD_PER_WRITE_UNIT: Final = 0.625e-6
USD_PER_READ_UNIT: Final = 0.125e-6
USD_PER_SQS_REQUEST: Final = 0.40e-6
"""On demand, in us-east-1."""

READ_UNIT: Final = 4096
"""The bytes that one read unit is good for, read consistently."""

_WRITES: Final = frozenset({"PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem"})
_READS: Final = frozenset({"GetItem", "BatchGetItem"})

Parsed = Mapping[str, Any]


@dataclass
class Bill:
    """What was asked of AWS.

    Attributes:
        requests: By operation; without polls that brought nothing.
        empty_polls: Those.
        refused: Writes whose condition did not hold; they are paid for like others.
        write_units: As the emulator counts them; a refused write by the size of the item.
        sized_write_units: The same, by the sizes of the items before and after.
        read_units: By the sizes of the items.
        largest_run_item: The most that the item of a run has taken, in bytes.
    """

    requests: Counter[str] = field(default_factory=Counter)
    empty_polls: int = 0
    refused: int = 0
    write_units: float = 0.0
    sized_write_units: float = 0.0
    read_units: float = 0.0
    largest_run_item: int = 0

    @property
    def all_requests(self) -> int:
        """All of them together."""
        return self.requests.total()

    @property
    def sqs_requests(self) -> int:
        """Those to SQS."""
        return sum(count for name, count in self.requests.items() if "Message" in name)

    @property
    def usd(self) -> float:
        """What it comes to, in dollars."""
        return (
            self.write_units * USD_PER_WRITE_UNIT
            + self.read_units * USD_PER_READ_UNIT
            + self.sqs_requests * USD_PER_SQS_REQUEST
        )


class Counting:
    """Counts what clients do, from its making on.

    It knows when all is done: when the last message is deleted of those that were sent. What a
    message leads to is sent before it is deleted itself.

    Args:
        dynamodb: A boto3 client of DynamoDB.
        sqs: A boto3 client of SQS.
    """

    def __init__(self, dynamodb: Any, sqs: Any) -> None:
        self.bill = Bill()
        self._lock = threading.Lock()
        self._sizes: dict[tuple[str, str], int] = {}
        self._messages = 0
        self._is_done = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._hooks = [
            (dynamodb, "provide-client-params.dynamodb", self._ask_for_capacity),
            (dynamodb, "after-call.dynamodb", self._count_table),
            (sqs, "provide-client-params.sqs", self._note_request),
            (sqs, "before-call.sqs", self._count_sent),
            (sqs, "after-call.sqs", self._count_queue),
        ]
        for client, event, hook in self._hooks:
            client.meta.events.register(event, hook)

    def close(self) -> None:
        """Count no more."""
        for client, event, hook in self._hooks:
            client.meta.events.unregister(event, hook)

    async def until_done(self, timeout_seconds: float) -> Bill:
        """Wait until all messages are deleted, and give the bill.

        Raises:
            TimeoutError: They are not, for so long.
        """
        async with asyncio.timeout(timeout_seconds):
            await self._is_done.wait()
        with self._lock:
            return self.bill

    # -- the hooks, called in the threads of requests ---------------------------------------

    def _ask_for_capacity(
        self, params: Parsed, model: Any, context: dict[str, Any], **_: object
    ) -> Parsed:
        asked = dict(params)
        if "ReturnConsumedCapacity" in model.input_shape.members:
            asked["ReturnConsumedCapacity"] = "TOTAL"
        context["counted"] = asked
        return asked

    def _note_request(self, params: Parsed, context: dict[str, Any], **_: object) -> None:
        context["counted"] = params

    def _count_sent(self, model: Any, context: dict[str, Any], **_: object) -> None:
        if model.name == "SendMessageBatch":
            with self._lock:
                self._messages += len(context["counted"]["Entries"])

    def _count_queue(
        self, model: Any, parsed: Parsed, context: dict[str, Any], **_: object
    ) -> None:
        with self._lock:
            if model.name == "ReceiveMessage" and not parsed.get("Messages"):
                self.bill.empty_polls += 1
                return
            if model.name == "GetQueueAttributes":
                return  # a worker looks at its queue once, when it begins
            self.bill.requests[model.name] += 1
            if model.name == "SendMessageBatch":
                self._messages -= len(parsed.get("Failed", ()))
            if model.name == "DeleteMessageBatch":
                self._messages -= len(parsed.get("Successful", ()))
                if self._messages == 0:
                    self._loop.call_soon_threadsafe(self._is_done.set)

    def _count_table(
        self, model: Any, parsed: Parsed, context: dict[str, Any], **_: object
    ) -> None:
        request = context["counted"]
        with self._lock:
            self.bill.requests[model.name] += 1
            if model.name in _WRITES:
                self._count_write(model.name, request, parsed)
            elif model.name in _READS:
                self.bill.read_units += sum(_read_units(item) for item in _items_read(parsed))
            else:
                raise AssertionError(f"{model.name}: what it consumes is not counted here")

    def _count_write(self, operation: str, request: Parsed, parsed: Parsed) -> None:
        bill = self.bill
        if "Error" in parsed:
            assert parsed["Error"]["Code"] == "ConditionalCheckFailedException", parsed
            units = _write_units(item_size(parsed.get("Item", {})))
            bill.refused += 1
            bill.write_units += units
            bill.sized_write_units += units
            return
        capacity = parsed["ConsumedCapacity"]
        each = capacity if isinstance(capacity, list) else [capacity]
        bill.write_units += sum(one["CapacityUnits"] for one in each)
        for table, item in _items_written(operation, request, parsed):
            key, size = (table, str(item["runId"])), item_size(item)
            bill.sized_write_units += _write_units(max(size, self._sizes.get(key, 0)))
            self._sizes[key] = size
            if {"e", "h", "v"} <= item.keys():
                bill.largest_run_item = max(bill.largest_run_item, size)


def _write_units(size: int) -> int:
    return max(1, math.ceil(size / WRITE_UNIT))


def _read_units(item: Parsed) -> int:
    return max(1, math.ceil(item_size(item) / READ_UNIT))


def _items_read(parsed: Parsed) -> list[Parsed]:
    tables = parsed.get("Responses")
    if tables is None:
        return [parsed.get("Item", {})]
    return [item for items in tables.values() for item in items]


def _items_written(operation: str, request: Parsed, parsed: Parsed) -> list[tuple[str, Parsed]]:
    if operation == "BatchWriteItem":
        return [
            (table, each["PutRequest"]["Item"])
            for table, puts in request["RequestItems"].items()
            for each in puts
        ]
    table = request["TableName"]
    if operation == "PutItem":
        return [(table, request["Item"])]
    # An update that does not give the item back is of one that hardly grows by it: a row.
    return [(table, parsed.get("Attributes", request["Key"]))]
