"""Requests that write: each is worked out first, and then stored as a whole."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from flowcraft.testing.aws.dynamodb_conditions import Condition
from flowcraft.testing.aws.dynamodb_errors import Refusal, refused
from flowcraft.testing.aws.dynamodb_items import (
    Item,
    copy_of_item,
    size_of_attribute,
    taken_item,
)
from flowcraft.testing.aws.dynamodb_paths import parts
from flowcraft.testing.aws.dynamodb_requests import (
    Expressions,
    Request,
    check_parameters,
    choice,
    table_named,
)
from flowcraft.testing.aws.dynamodb_shelves import Key
from flowcraft.testing.aws.dynamodb_tables import State, Table, absent, state_of
from flowcraft.testing.aws.dynamodb_updates import Update
from flowcraft.testing.aws.dynamodb_usage import Usage, read_units

ITEM_BYTES: Final = 409_600
BATCH_WRITES: Final = 25
TRANSACTION_WRITES: Final = 100
TRANSACTION_BYTES: Final = 4 * 1024 * 1024
BATCH_BYTES: Final = 16 * 1024 * 1024
TOKEN_SECONDS: Final = 600.0
_TOKEN_LENGTH: Final = 36

_RETURN_VALUES: Final = {
    "PutItem": ("NONE", "ALL_OLD"),
    "DeleteItem": ("NONE", "ALL_OLD"),
    "UpdateItem": ("NONE", "ALL_OLD", "UPDATED_OLD", "ALL_NEW", "UPDATED_NEW"),
}


@dataclass(slots=True)
class Write:
    """A write that is understood, and whose condition has not been looked at.

    Attributes:
        table: Where it goes.
        key: Of which item.
        key_item: The key attributes.
        condition: What has to hold, if anything.
        expressions: The expressions of the request.
        returns_item: Whether a refusal holds the item.
        item: The item of a put.
        update: What an update does.
        kind: Put, Update, Delete or ConditionCheck.
    """

    table: Table
    key: Key
    key_item: Item
    condition: Condition | None
    expressions: Expressions
    returns_item: bool
    kind: str
    item: Item | None = None
    update: Update | None = None

    def failure(self) -> Refusal | None:
        """Why the condition does not allow it, if it does not."""
        old = self.table.newest(self.key)
        if self.condition is None or self.condition.holds(old.item or {}, self.expressions.values):
            return None
        answer = {}
        if self.returns_item and old.item is not None:
            answer["Item"] = copy_of_item(old.item)
        return Refusal("ConditionalCheckFailedException", "The condition does not hold", answer)

    def state(self) -> State | None:
        """What becomes of the item; None if it stays as it is.

        Raises:
            Refusal: The update does not fit the item, or the item would be too large.
        """
        if self.kind == "ConditionCheck":
            return None
        if self.kind == "Delete":
            return None if self.table.newest(self.key).item is None else absent()
        state = self._updated() if self.kind == "Update" else state_of(self.item or {})
        if state is not None:
            self._check(state)
        return state

    def _updated(self) -> State | None:
        old = self.table.newest(self.key)
        if self.update is None:
            return old if old.item is not None else state_of(self.key_item)
        if old.item is None:
            if self.update.only_takes_away:
                return None
            new = self.update.of({}, self.expressions.values)
            return state_of({**self.key_item, **new})
        new = self.update.of(old.item, self.expressions.values)
        sizes = dict(old.sizes)
        for name in self.update.names:
            if name in new:
                sizes[name] = size_of_attribute(name, new[name])
            else:
                sizes.pop(name, None)
        return state_of(new, sizes)

    def _check(self, state: State) -> None:
        if state.size > ITEM_BYTES:
            raise refused(
                f"The item size has exceeded the limit of {ITEM_BYTES} bytes: {state.size}"
            )
        assert state.item is not None
        for index in self.table.indexes.values():
            index.schema.check_index(state.item)


class Writer:
    """Carries out requests that write.

    Args:
        tables: The tables by name.
    """

    def __init__(self, tables: Mapping[str, Table]) -> None:
        self._tables = tables
        self._tokens: dict[str, tuple[float, object]] = {}

    def put_item(self, request: Request, now: float) -> dict[str, Any]:
        """Carry out PutItem."""
        return self._single("Put", "PutItem", request, now)

    def update_item(self, request: Request, now: float) -> dict[str, Any]:
        """Carry out UpdateItem."""
        return self._single("Update", "UpdateItem", request, now)

    def delete_item(self, request: Request, now: float) -> dict[str, Any]:
        """Carry out DeleteItem."""
        return self._single("Delete", "DeleteItem", request, now)

    def _single(self, kind: str, operation: str, request: Request, now: float) -> dict[str, Any]:
        usage = Usage(request.get("ReturnConsumedCapacity"))
        returned = choice(request, "ReturnValues", *_RETURN_VALUES[operation])
        write = self._understood(kind, request, now)
        old = write.table.newest(write.key)
        failure = write.failure()
        if failure is not None:
            usage.write(write.table, old, None)
            raise failure
        new = write.state()
        usage.write(write.table, old, new)
        if new is not None:
            write.table.write(write.key, _own(new), now)
        attributes = _returned(returned, old, new, write.update)
        return {**({"Attributes": attributes} if attributes else {}), **usage.single()}

    def _understood(self, kind: str, request: Request, now: float) -> Write:
        table = table_named(self._tables, request["TableName"], now)
        item = taken_item(request["Item" if kind == "Put" else "Key"])
        if kind == "Put":
            table.schema.check_item(item)
        else:
            table.schema.check_key(item)
        expressions = Expressions(request)
        update = expressions.update() if kind == "Update" else None
        condition = expressions.condition("ConditionExpression")
        expressions.finish()
        if update is not None:
            _check_no_key(table, update)
        returned = choice(request, "ReturnValuesOnConditionCheckFailure", "NONE", "ALL_OLD")
        return Write(
            table=table,
            key=table.schema.key_of(item),
            key_item={name: item[name] for name in table.schema.names},
            condition=condition,
            expressions=expressions,
            returns_item=returned == "ALL_OLD",
            kind=kind,
            item=item if kind == "Put" else None,
            update=update,
        )

    def batch_write_item(self, request: Request, now: float) -> dict[str, Any]:
        """Carry out BatchWriteItem."""
        usage = Usage(request.get("ReturnConsumedCapacity"))
        writes = self._batch(request["RequestItems"], now)
        _check_distinct(writes)
        # All of them are worked out before the first is stored: a wrong one refuses the batch.
        states = [(write, write.state()) for write in writes]
        if sum(state.size for _, state in states if state is not None) > BATCH_BYTES:
            raise refused(f"A batch has at most {BATCH_BYTES} bytes")
        for write, state in states:
            usage.write(write.table, write.table.newest(write.key), state)
            if state is not None:
                write.table.write(write.key, _own(state), now)
        return {"UnprocessedItems": {}, **usage.several()}

    def _batch(self, requests: object, now: float) -> list[Write]:
        if not isinstance(requests, Mapping) or not requests:
            raise refused("RequestItems has to name at least one table")
        writes = []
        for table, entries in requests.items():
            if not isinstance(entries, list | tuple) or not entries:
                raise refused(f"RequestItems has to have at least one write to {table}")
            for entry in entries:
                kind, parameters = _entry(entry)
                writes.append(self._understood(kind, {"TableName": table, **parameters}, now))
        if len(writes) > BATCH_WRITES:
            raise refused(f"A batch has at most {BATCH_WRITES} writes, not {len(writes)}")
        return writes

    def transact_write_items(self, request: Request, now: float) -> dict[str, Any]:
        """Carry out TransactWriteItems."""
        usage = Usage(request.get("ReturnConsumedCapacity"))
        token = request.get("ClientRequestToken")
        if token is not None and not (isinstance(token, str) and 0 < len(token) <= _TOKEN_LENGTH):
            raise refused(f"ClientRequestToken has 1 to {_TOKEN_LENGTH} characters, not {token!r}")
        writes = self._transaction(request["TransactItems"], now)
        if token is not None and self._was_done(token, request["TransactItems"], now):
            for write in writes:
                size = write.table.newest(write.key).size
                usage.read(write.table, 2 * read_units(size, consistent=True))
            return usage.several()
        self._carry_out(writes, usage, now)
        if token is not None:
            done = copy.deepcopy(request["TransactItems"])
            self._tokens[token] = (now + TOKEN_SECONDS, done)
        return usage.several()

    def _transaction(self, entries: object, now: float) -> list[Write]:
        if not isinstance(entries, list | tuple) or not 0 < len(entries) <= TRANSACTION_WRITES:
            raise refused(f"TransactItems is a list of 1 to {TRANSACTION_WRITES} writes")
        writes = []
        for entry in entries:
            kind, parameters = _action(entry)
            writes.append(self._understood(kind, parameters, now))
        _check_distinct(writes)
        if sum(_payload(write) for write in writes) > TRANSACTION_BYTES:
            raise refused(f"The size of a transaction cannot exceed {TRANSACTION_BYTES} bytes")
        return writes

    def _was_done(self, token: str, entries: object, now: float) -> bool:
        self._tokens = {key: done for key, done in self._tokens.items() if done[0] > now}
        done = self._tokens.get(token)
        if done is None:
            return False
        if done[1] != entries:
            raise Refusal(
                "IdempotentParameterMismatchException",
                f"ClientRequestToken {token} was used for another transaction",
            )
        return True

    def _carry_out(self, writes: list[Write], usage: Usage, now: float) -> None:
        reasons: list[dict[str, Any]] = []
        states: list[State | None] = []
        for write in writes:
            state, reason = _outcome(write)
            states.append(state)
            reasons.append(reason)
        cancelled = any(reason["Code"] != "None" for reason in reasons)
        for write, state in zip(writes, states, strict=True):
            new = None if cancelled else state
            usage.write(write.table, write.table.newest(write.key), new, factor=2)
            if new is not None:
                write.table.write(write.key, _own(new), now)
        if cancelled:
            codes = ", ".join(reason["Code"] for reason in reasons)
            raise Refusal(
                "TransactionCanceledException",
                f"Transaction cancelled, please refer to the reasons: [{codes}]",
                {"CancellationReasons": reasons},
            )


def _outcome(write: Write) -> tuple[State | None, dict[str, Any]]:
    """What a write of a transaction makes of its item, and why it cannot."""
    failure = write.failure()
    if failure is not None:
        reason = {"Code": "ConditionalCheckFailed", "Message": failure.message}
        return None, {**reason, **failure.answer}
    try:
        return write.state(), {"Code": "None"}
    except Refusal as error:
        return None, {"Code": "ValidationError", "Message": error.message}


def _own(state: State) -> State:
    """A state that can be given to an item: one that is the item's already is not changed."""
    return State(state.item, state.sizes, state.size)


def _returned(returned: str, old: State, new: State | None, update: Update | None) -> Item | None:
    state = old if returned.endswith("OLD") or new is None else new
    if returned == "NONE" or state.item is None:
        return None
    if returned.startswith("ALL"):
        return copy_of_item(state.item)
    return None if update is None else parts(state.item, update.tree)


def _check_no_key(table: Table, update: Update) -> None:
    for name in table.schema.names:
        if name in update.names:
            raise refused(f"Cannot update attribute {name}: it is part of the key")


def _check_distinct(writes: list[Write]) -> None:
    if len({(write.table.name, write.key) for write in writes}) < len(writes):
        raise refused("A request cannot include more than one operation on one item")


def _entry(entry: object) -> tuple[str, Mapping[str, Any]]:
    if isinstance(entry, Mapping) and len(entry) == 1:
        ((kind, parameters),) = entry.items()
        if kind == "PutRequest" and isinstance(parameters, Mapping) and set(parameters) == {"Item"}:
            return "Put", parameters
        if (
            kind == "DeleteRequest"
            and isinstance(parameters, Mapping)
            and set(parameters) == {"Key"}
        ):
            return "Delete", parameters
    raise refused("A write of a batch is a PutRequest with an Item or a DeleteRequest with a Key")


def _action(entry: object) -> tuple[str, Mapping[str, Any]]:
    if isinstance(entry, Mapping) and len(entry) == 1:
        ((kind, parameters),) = entry.items()
        if kind in ("Put", "Update", "Delete", "ConditionCheck"):
            check_parameters(kind, parameters)
            return kind, parameters
    raise refused("A write of a transaction is one of Put, Update, Delete, ConditionCheck")


def _payload(write: Write) -> int:
    given: Item = {**write.key_item, **(write.item or {}), **write.expressions.values}
    return sum(size_of_attribute(name, value) for name, value in given.items())
