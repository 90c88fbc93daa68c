"""Counting what is asked of AWS for each run, and keeping it with the run at no further request.

Two transports look at the requests that pass. Each request is of some runs, and each of them has
its share. What DynamoDB says that a request consumed (``ReturnConsumedCapacity`` costs nothing) is
gathered here, and added to the run's item along with the next update of it, which is made anyway:
four numbers in some 20 bytes. That update counts itself, by what the update before it consumed.

It is a count, and no ledger:

- What a process has gathered and not added yet is lost when the process ends. It is what was asked
  for since its last write of the run: reads, and shares of messages.
- Where there was no answer, nobody knows whether the update was made: what was to be added is added
  again, so the count may be too high by that.
- What is asked for when the item is written for the last time, the row and the deletion of the
  message, is not in the item; whoever reads it adds what that usually is.
- What a client reads of a run counts only if it also writes.
"""

from __future__ import annotations

import json
import re
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any, Final

from flowcraft.adapters.aws.item import is_ours
from flowcraft.adapters.aws.parts import SEPARATOR
from flowcraft.adapters.aws.sizes import WRITE_UNIT, item_size
from flowcraft.adapters.aws.spending import Spent, pack_spent
from flowcraft.adapters.aws.transport import Answer, AwsError, Request, Transport

BILLED_BYTES: Final = 65_536
"""SQS bills each part of this size of what a request carries as a request."""

KEPT_RUNS: Final = 4_096
KEPT_HANDLES: Final = 20_000

_WRITES: Final = frozenset(
    {"PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem", "TransactWriteItems"}
)
_READS: Final = frozenset({"GetItem", "BatchGetItem"})
_RUN_ID: Final = re.compile(r'"runId":("(?:[^"\\]|\\.)*")')
_ADD: Final = re.compile(r"\bADD\b")
_ROOM_FOR_IT: Final = 24


class Meter:
    """What was gathered of each run, and is not in its item yet. Several threads may use it."""

    def __init__(self) -> None:
        self._gathered: OrderedDict[str, Spent] = OrderedDict()
        self._latest: OrderedDict[str, float] = OrderedDict()
        self._handles: OrderedDict[str, str] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, run_id: str, spent: Spent) -> None:
        """Gather what was asked for, for a run."""
        with self._lock:
            before = self._gathered.pop(run_id, Spent())
            self._gathered[run_id] = before.plus(spent)
            while len(self._gathered) > KEPT_RUNS:
                self._gathered.popitem(last=False)

    def take(self, run_id: str, more: Spent) -> Spent:
        """What is to be added to a run's item, in whole steps; the rest stays gathered."""
        with self._lock:
            whole, rest = self._gathered.pop(run_id, Spent()).plus(more).split()
            self._gathered[run_id] = rest
            return whole

    def latest(self, run_id: str) -> float:
        """The write units of a run's latest write; 1 if there was none."""
        return self._latest.get(run_id, 1.0)

    def note_latest(self, run_id: str, units: float) -> None:
        """Remember the write units of a run's latest write."""
        with self._lock:
            self._latest.pop(run_id, None)
            self._latest[run_id] = units
            while len(self._latest) > KEPT_RUNS:
                self._latest.popitem(last=False)

    def note_handle(self, handle: str, run_id: str) -> None:
        """Remember which run a delivery is of."""
        with self._lock:
            self._handles[handle] = run_id
            while len(self._handles) > KEPT_HANDLES:
                self._handles.popitem(last=False)

    def run_of(self, handle: str, *, is_last: bool) -> str | None:
        """Which run a delivery is of, if that is known."""
        with self._lock:
            return self._handles.pop(handle, None) if is_last else self._handles.get(handle)


class MeteredTables:
    """DynamoDB, with a look at what is asked for, for which run.

    Args:
        transport: Carries the requests out.
        context_table_name: The table of run items.
        meter: What is gathered.
    """

    def __init__(self, transport: Transport, context_table_name: str, meter: Meter) -> None:
        self._transport = transport
        self._context_table_name = context_table_name
        self._meter = meter

    async def call(self, operation: str, request: Request) -> Answer:
        """Carry out a request; see ``Transport.call``."""
        if operation not in _WRITES and operation not in _READS:
            return await self._transport.call(operation, request)
        asked = {"ReturnConsumedCapacity": "TOTAL", **request}
        if operation == "TransactWriteItems":
            added, runs = self._in_transaction(asked)
        else:
            runs = _runs_of(operation, request)
            added = self._with_what_is_spent(operation, asked, runs)
        try:
            answer = await self._transport.call(operation, asked)
        except AwsError as error:
            if added is not None:
                self._meter.add(runs[0], added)
            if error.is_refused_condition:
                self._count(operation, runs, _refused_units(error), added)
            raise
        self._count(operation, runs, _consumed(answer), added)
        return answer

    def _count(self, operation: str, runs: list[str], units: float, added: Spent | None) -> None:
        """Gather what a request consumed."""
        if added is None:
            self._share(operation, runs, units, 1.0)
            return
        # It has counted itself already, as well as it could know.
        self._share(operation, runs, units - self._meter.latest(runs[0]), 0.0)
        self._meter.note_latest(runs[0], units)

    def _with_what_is_spent(
        self, operation: str, asked: dict[str, Any], runs: list[str]
    ) -> Spent | None:
        """Have a write of a run's item add what is spent; gives that, or ``None`` for others."""
        if asked.get("TableName") != self._context_table_name or len(runs) != 1:
            return None
        if operation == "PutItem" and is_ours(asked["Item"]):
            spent, asked["Item"] = self._new_item(runs[0], asked["Item"], 1.0)
            return spent
        expression = asked.get("UpdateExpression", "")
        if operation != "UpdateItem" or SEPARATOR in runs[0] or _ADD.search(expression):
            return None
        spent = self._taken(runs[0])
        added = dict(enumerate(pack_spent(spent).items()))
        names = {f"#spent{at}": name for at, (name, _) in added.items()}
        values = {f":spent{at}": value for at, (_, value) in added.items()}
        adds = ", ".join(f"#spent{at} :spent{at}" for at in added)
        asked["UpdateExpression"] = f"{expression} ADD {adds}".strip()
        asked["ExpressionAttributeNames"] = asked.get("ExpressionAttributeNames", {}) | names
        asked["ExpressionAttributeValues"] = asked.get("ExpressionAttributeValues", {}) | values
        return spent

    def _in_transaction(self, asked: dict[str, Any]) -> tuple[Spent | None, list[str]]:
        """Have a run that begins together with its key begin with what was spent."""
        for place, each in enumerate(asked["TransactItems"]):
            put = each.get("Put")
            if put is None or not is_ours(put["Item"]):
                continue
            run_id = str(put["Item"]["runId"]["S"])
            # A write of a transaction counts twice, and the key is another one.
            spent, item = self._new_item(run_id, put["Item"], 2.0, more_units=2.0)
            items = list(asked["TransactItems"])
            items[place] = {**each, "Put": {**put, "Item": item}}
            asked["TransactItems"] = items
            return spent, [run_id]
        return None, []

    def _new_item(
        self, run_id: str, item: Mapping[str, Any], factor: float, *, more_units: float = 0.0
    ) -> tuple[Spent, dict[str, Any]]:
        """A run's item with what it has cost so far, its first write included."""
        size = item_size(item) + _ROOM_FOR_IT
        units = float(-(-size // WRITE_UNIT)) * factor + more_units
        self._meter.note_latest(run_id, units)
        spent = self._taken(run_id)
        return spent, {**item, **pack_spent(spent)}

    def _taken(self, run_id: str) -> Spent:
        own = Spent(requests=1.0, write_units=self._meter.latest(run_id))
        return self._meter.take(run_id, own)

    def _share(self, operation: str, runs: list[str], units: float, requests: float) -> None:
        for run_id in set(runs):
            part = runs.count(run_id) / len(runs)
            writes, reads = (units, 0.0) if operation in _WRITES else (0.0, units)
            self._meter.add(run_id, Spent(requests * part, 0.0, writes * part, reads * part))


class MeteredQueue:
    """SQS, with a look at what is asked for, for which run.

    Args:
        transport: Carries the requests out.
        meter: What is gathered.
    """

    def __init__(self, transport: Transport, meter: Meter) -> None:
        self._transport = transport
        self._meter = meter

    async def call(self, operation: str, request: Request) -> Answer:
        """Carry out a request; see ``Transport.call``."""
        answer = await self._transport.call(operation, request)
        if operation == "ReceiveMessage":
            messages = answer.get("Messages", ())
            for message in messages:
                run_id = _run_in(message["Body"])
                if run_id is not None:
                    self._meter.note_handle(message["ReceiptHandle"], run_id)
            self._share([message["Body"] for message in messages])
        elif operation == "SendMessageBatch":
            self._share([entry["MessageBody"] for entry in request["Entries"]])
        elif operation in ("DeleteMessageBatch", "ChangeMessageVisibilityBatch"):
            is_last = operation == "DeleteMessageBatch"
            entries = request["Entries"]
            for entry in entries:
                run_id = self._meter.run_of(entry["ReceiptHandle"], is_last=is_last)
                self._add(run_id, 1 / len(entries))
        return answer

    def _share(self, bodies: list[str]) -> None:
        size = sum(len(body) for body in bodies)  # what is not ASCII is rare, and short
        billed = max(1, -(-size // BILLED_BYTES))
        for body in bodies:
            self._add(_run_in(body), billed / len(bodies))

    def _add(self, run_id: str | None, requests: float) -> None:
        if run_id is not None:
            self._meter.add(run_id, Spent(requests, requests))


# --- what a request is about ---------------------------------------------------------------


def _run_in(body: str) -> str | None:
    """The run that a message is of."""
    found = _RUN_ID.search(body)
    return None if found is None else str(json.loads(found.group(1)))


def _runs_of(operation: str, request: Request) -> list[str]:
    """The runs that a request is about, once for each item; what is of none is left out."""
    keys: Iterable[Mapping[str, Any]]
    if operation == "BatchGetItem":
        keys = [key for wanted in request["RequestItems"].values() for key in wanted["Keys"]]
    elif operation == "BatchWriteItem":
        keys = [_written(put) for puts in request["RequestItems"].values() for put in puts]
    else:
        keys = [request.get("Key") or request["Item"]]
    ids = (str(key.get("runId", {}).get("S", "")).partition(SEPARATOR)[0] for key in keys)
    return [run_id for run_id in ids if run_id]


def _written(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    if "PutRequest" in entry:
        item: Mapping[str, Any] = entry["PutRequest"]["Item"]
        return item
    key: Mapping[str, Any] = entry["DeleteRequest"]["Key"]
    return key


def _consumed(answer: Answer) -> float:
    """The units that an answer says were consumed; 1 where it does not say."""
    told = answer.get("ConsumedCapacity")
    if told is None:
        return 1.0
    each = told if isinstance(told, list) else [told]
    return sum(float(one.get("CapacityUnits", 0.0)) for one in each)


def _refused_units(error: AwsError) -> float:
    """The units of a write whose condition did not hold: those of the item that is there."""
    item = error.answer.get("Item")
    return 1.0 if not item else max(1.0, float(-(-item_size(item) // WRITE_UNIT)))
