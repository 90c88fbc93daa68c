"""Requests that read items by their keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from flowcraft.testing.aws.dynamodb_errors import refused
from flowcraft.testing.aws.dynamodb_items import Item, copy_of_item, taken_item
from flowcraft.testing.aws.dynamodb_paths import Tree, parts
from flowcraft.testing.aws.dynamodb_requests import (
    Expressions,
    Request,
    check_parameters,
    flag,
    table_named,
)
from flowcraft.testing.aws.dynamodb_shelves import Key, place_of
from flowcraft.testing.aws.dynamodb_tables import State, Table
from flowcraft.testing.aws.dynamodb_usage import Usage, read_units

BATCH_READS: Final = 100
TRANSACTION_READS: Final = 100
BATCH_BYTES: Final = 16 * 1024 * 1024


def shown(item: Item, tree: Tree | None) -> Item:
    """A copy of an item, or of the parts that a projection asks for."""
    return copy_of_item(item) if tree is None else parts(item, tree)


class Reader:
    """Carries out requests that read items by their keys.

    Args:
        tables: The tables by name.
    """

    def __init__(self, tables: Mapping[str, Table]) -> None:
        self._tables = tables

    def get_item(self, request: Request, now: float) -> dict[str, Any]:
        """Carry out GetItem."""
        usage = Usage(request.get("ReturnConsumedCapacity"))
        table, key, tree = self._wanted(request, now)
        consistent = flag(request, "ConsistentRead")
        state = table.seen(key, consistent, now)
        usage.read(table, read_units(state.size, consistent))
        found = {} if state.item is None else {"Item": shown(state.item, tree)}
        return {**found, **usage.single()}

    def _wanted(self, request: Request, now: float) -> tuple[Table, Key, Tree | None]:
        table = table_named(self._tables, request["TableName"], now)
        expressions = Expressions(request)
        tree = expressions.projection()
        expressions.finish()
        return table, _key(table, request["Key"]), tree

    def transact_get_items(self, request: Request, now: float) -> dict[str, Any]:
        """Carry out TransactGetItems."""
        usage = Usage(request.get("ReturnConsumedCapacity"))
        entries = request["TransactItems"]
        if not isinstance(entries, list | tuple) or not 0 < len(entries) <= TRANSACTION_READS:
            raise refused(f"TransactItems is a list of 1 to {TRANSACTION_READS} reads")
        wanted = [self._wanted(_get(entry), now) for entry in entries]
        if len({(table.name, key) for table, key, _ in wanted}) < len(wanted):
            raise refused("A transaction cannot include more than one operation on one item")
        responses = []
        for table, key, tree in wanted:
            state = table.newest(key)
            usage.read(table, 2 * read_units(state.size, consistent=True))
            responses.append({} if state.item is None else {"Item": shown(state.item, tree)})
        return {"Responses": responses, **usage.several()}

    def batch_get_item(self, request: Request, now: float) -> dict[str, Any]:
        """Carry out BatchGetItem.

        Items come in an order that means nothing, as on AWS. Keys behind 16 MB are left over.
        """
        usage = Usage(request.get("ReturnConsumedCapacity"))
        requests = request["RequestItems"]
        if not isinstance(requests, Mapping) or not requests:
            raise refused("RequestItems has to name at least one table")
        reads = [self._batch(name, wanted, now) for name, wanted in requests.items()]
        count = sum(len(read.keys) for read in reads)
        if count > BATCH_READS:
            raise refused(f"A batch has at most {BATCH_READS} keys, not {count}")
        room = BATCH_BYTES
        for read in reads:
            room = read.carry_out(room, usage, now)
        return {
            "Responses": {read.table.name: read.found() for read in reads},
            "UnprocessedKeys": {read.table.name: read.rest() for read in reads if read.left},
            **usage.several(),
        }

    def _batch(self, name: object, wanted: Any, now: float) -> _BatchRead:
        table = table_named(self._tables, name, now)
        check_parameters("Keys of BatchGetItem", wanted)
        return _BatchRead(table, wanted)


class _BatchRead:
    """What a BatchGetItem wants of one table, and has of it."""

    def __init__(self, table: Table, wanted: Request) -> None:
        given = wanted["Keys"]
        if not isinstance(given, list | tuple) or not given:
            raise refused(f"Keys has to have at least one key of table {table.name}")
        expressions = Expressions(wanted)
        self._tree = expressions.projection()
        expressions.finish()
        self._consistent = flag(wanted, "ConsistentRead")
        self._wanted = wanted
        self.table = table
        self.keys = [_key(table, key) for key in given]
        if len(set(self.keys)) < len(self.keys):
            raise refused("The keys of a batch may not contain duplicates")
        self.left: list[Any] = []
        self._states: list[tuple[Key, State]] = []

    def carry_out(self, room: int, usage: Usage, now: float) -> int:
        """Read until the room is used up; tells what is left of it."""
        for key, given in zip(self.keys, self._wanted["Keys"], strict=True):
            state = self.table.seen(key, self._consistent, now)
            room -= state.size
            if room < 0:
                self.left.append(copy_of_item(taken_item(given)))
                continue
            usage.read(self.table, read_units(state.size, self._consistent))
            self._states.append((key, state))
        return room

    def found(self) -> list[Item]:
        """The items that are there."""
        self._states.sort(key=lambda pair: (place_of(pair[0][0])[:2], pair[0][1:]))
        return [shown(state.item, self._tree) for _, state in self._states if state.item]

    def rest(self) -> dict[str, Any]:
        """The request for what was left over."""
        return {**self._wanted, "Keys": self.left}


def _key(table: Table, given: object) -> Key:
    key = taken_item(given)
    table.schema.check_key(key)
    return table.schema.key_of(key)


def _get(entry: object) -> Mapping[str, Any]:
    if not isinstance(entry, Mapping) or set(entry) != {"Get"}:
        raise refused("A read of a transaction is a Get")
    check_parameters("Get", entry["Get"])
    wanted: Mapping[str, Any] = entry["Get"]
    return wanted
