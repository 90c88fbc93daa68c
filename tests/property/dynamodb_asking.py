"""A fake of DynamoDB beside its model: whatever is asked is counted in both."""

from __future__ import annotations

import itertools
from collections.abc import Coroutine
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from flowcraft.adapters.aws.transport import AwsError
from flowcraft.testing import VirtualClock
from flowcraft.testing.aws import FakeDynamoDb
from tests.property.dynamodb_model import (
    ITEM_BYTES,
    Index,
    Item,
    Refused,
    Table,
    Write,
    given_item,
    item_bytes,
    native_item,
    projected,
)
from tests.property.dynamodb_queries import creation
from tests.property.dynamodb_texts import (
    INDEX,
    ITEMS,
    PLACES,
    ROWS,
    USUAL,
    Request,
    number,
    request_of,
    writes,
)

START = 1_000_000_000
STALE_STATES = 3
STALE_SECONDS = 10


@dataclass
class Walk:
    """Somebody who reads a table page by page, while others write."""

    operation: str
    request: Request
    there: dict[str, Item]
    touched: set[str] = field(default_factory=set)
    found: list[str] = field(default_factory=list)
    start: Request | None = None
    over: bool = False


class Asking(RuleBasedStateMachine):
    """Two tables, one of them with an index, in the fake and in the model."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = VirtualClock(START)
        self.lags = itertools.cycle([0])
        self.fake = FakeDynamoDb(
            self.clock,
            choose=lambda count: min(next(self.lags), count - 1),
            stale_states=STALE_STATES,
            stale_seconds=STALE_SECONDS,
        )
        index = Index(INDEX, ("g", "u"), ["k", "r", "g", "u", "n"])
        self.items = Table(ITEMS, ["k"], {"k": "S"})
        self.rows = Table(ROWS, ["k", "r"], {"k": "S", "r": "N", "g": "S", "u": "N"}, index)
        self.tables = {ITEMS: self.items, ROWS: self.rows}
        self.done: dict[str, tuple[float, list[Write]]] = {}
        self.open: list[Walk] = []
        for table in self.tables.values():
            self.ask("CreateTable", creation(table), counted=False)
            spec = {"Enabled": True, "AttributeName": "ttl"}
            self.ask(
                "UpdateTimeToLive",
                {"TableName": table.name, "TimeToLiveSpecification": spec},
                counted=False,
            )

    # --- asking ----------------------------------------------------------------------------------

    @property
    def now(self) -> float:
        return self.clock.now()

    def ask(self, operation: str, request: Request, counted: bool = True) -> tuple[str, Request]:
        """The code of the fake's error, empty for none, and its answer."""
        if counted:
            request = {**request, "ReturnConsumedCapacity": "INDEXES"}
        try:
            return "", at_once(self.fake.call(operation, request))
        except AwsError as error:
            return error.code, dict(error.answer)

    def refused(
        self, code: str, operation: str, request: Request, item: Item | None = None
    ) -> Request:
        """The answer with which a request is refused, and the item in it."""
        found, answer = self.ask(operation, request)
        assert found == code
        assert item_of(answer, "Item") == item
        return answer

    def answered(self, operation: str, request: Request) -> Request:
        """The answer to a request that is carried out."""
        code, answer = self.ask(operation, request)
        assert code == ""
        return answer

    def charge(
        self, answer: Request | None, *costs: tuple[Table, dict[str, Any]], read: bool
    ) -> None:
        """Count units, and see that the answer tells of the same."""
        told: dict[str, dict[str, Decimal]] = {}
        for table, units in costs:
            for name, number_of_units in units.items():
                of_table = told.setdefault(table.name, {table.name: Decimal(0)})
                of_table[name] = of_table.get(name, Decimal(0)) + number_of_units
                if read:
                    table.read += number_of_units
                else:
                    table.written += number_of_units
        if answer is None:
            return
        found = answer["ConsumedCapacity"]
        found = found if isinstance(found, list) else [found]
        assert {each["TableName"]: _units(each) for each in found} == {
            table: (sum(units.values()), {k: v for k, v in units.items() if v or k == table})
            for table, units in told.items()
        }

    def store(self, table: Table, write: Write, new: Item | None) -> None:
        """Give an item of the model its next state."""
        name = table.name_of(write.key)
        table.store(name, new, self.now)
        for walk in self.open:
            if walk.request["TableName"] == table.name:
                walk.touched.add(name)

    def visible(self, table: Table, name: str, consistent: bool) -> list[Item | None]:
        """What a read may see of an item, the newest first."""
        if consistent:
            return [table.newest(name)]
        return table.visible(name, self.now, STALE_STATES, STALE_SECONDS)

    def late(self, given_lags: tuple[int, ...]) -> None:
        """Reads that may be stale see what was so many states ago."""
        self.lags = itertools.cycle(given_lags)

    # --- writes ---

    @initialize(which=st.integers(0, 2**15 - 1))
    def begin(self, which: int) -> None:
        """There may be items to begin with."""
        self.populate(which)

    @rule(which=st.integers(0, 2**15 - 1))
    def populate(self, which: int) -> None:
        """Items of a usual form come to stand at some of all the keys."""
        some = []
        for place, (name, key) in enumerate(PLACES):
            if which >> place & 1:
                item = {**USUAL, "n": number(str(place)), **key}
                if name == ROWS:
                    item |= {"g": ("S", "xy"[place % 2]), "u": number(str(place % 3))}
                some.append(Write("Put", name, key, item))
        if some:
            self.write_batch(some)

    def written(self, write: Write, values: str) -> None:
        """Write one item, and see that both do the same."""
        table = self.tables[write.table]
        old = table.newest(table.name_of(write.key))
        operation, request = f"{write.kind}Item", request_of(write) | {"ReturnValues": values}
        try:
            stored, new = table.outcome(write)
        except Refused as refusal:
            self.refused(refusal.code, operation, request, refusal.item)
            if refusal.code == "ConditionalCheckFailedException":
                self.charge(None, (table, table.cost(old, old, False, 1)), read=False)
            return
        answer = self.answered(operation, request)
        self.charge(answer, (table, table.cost(old, new, stored, 1)), read=False)
        told = old if values.endswith("OLD") else new
        if values.startswith("UPDATED"):
            told = projected(told or {}, [action[1][0] for action in write.actions or ()])
        assert item_of(answer, "Attributes") == (None if values == "NONE" else told or None)
        if stored:
            self.store(table, write, new)

    def filled(self, name: str, key: Item, over: int, put: bool) -> None:
        """Have an item of the largest size, or of so many bytes more."""
        table = self.tables[name]
        old = {} if put else table.newest(table.name_of(key)) or {}
        rest = {each: old[each] for each in old if each != "big"} or key
        pad = "S", "p" * (ITEM_BYTES - item_bytes({**rest, "big": ("S", "")}) + over)
        write = Write("Put", name, key, item={**key, "big": pad})
        if not put:
            write = Write("Update", name, key, actions=[("set", ("big",), ("given", pad))])
        self.written(write, "NONE")

    @rule(some=st.lists(writes(("Put", "Delete")), min_size=1, max_size=5))
    def write_batch(self, some: list[Write]) -> None:
        """Somebody writes several items, without conditions."""
        requests: dict[str, list[Request]] = {}
        for each in some:
            each.condition = None
            body: Request = {"DeleteRequest": {"Key": given_item(each.key)}}
            if each.kind == "Put":
                body = {"PutRequest": {"Item": given_item(each.item)}}
            requests.setdefault(each.table, []).append(body)
        request = {"RequestItems": requests}
        names = [self.tables[each.table].name_of(each.key) + each.table for each in some]
        try:
            outcomes = [self.tables[each.table].outcome(each) for each in some]
        except Refused:
            outcomes = []
        if not outcomes or len(set(names)) < len(names):
            self.refused("ValidationException", "BatchWriteItem", request)
            return
        answer = self.answered("BatchWriteItem", request)
        assert answer["UnprocessedItems"] == {}
        costs = []
        for each, (stored, new) in zip(some, outcomes, strict=True):
            table = self.tables[each.table]
            old = table.newest(table.name_of(each.key))
            costs.append((table, table.cost(old, new, stored, 1)))
        self.charge(answer, *costs, read=False)
        for each, (stored, new) in zip(some, outcomes, strict=True):
            if stored:
                self.store(self.tables[each.table], each, new)

    @rule(seconds=st.sampled_from([1, 5, 11, 50, 601, 4_000]))
    def time_passes(self, seconds: int) -> None:
        """Nothing happens for a while."""
        self.clock.advance(seconds)

    # --- what holds always -----------------------------------------------------------------------

    @invariant()
    def both_have_the_same(self) -> None:
        """Both have the same items, of the same sizes, and have consumed the same."""
        for name, table in self.tables.items():
            found = [native_item(item) for item in self.fake.items(name)]
            by_key = {table.name_of(item): item for item in found}
            assert len(by_key) == len(found)
            assert by_key == {table.name_of(item): item for item in table.there()}
            for item in table.there():
                key = {each: item[each] for each in table.keys}
                assert self.fake.size_of(name, given_item(key)) == item_bytes(item)
            assert self.fake.read_units_of(name) == table.read
            assert self.fake.write_units_of(name) == table.written


def _units(told: Request) -> tuple[Decimal, dict[str, Decimal]]:
    """The units that an answer tells of: all of them, and those of the table and its indexes."""
    parts = {told["TableName"]: told["Table"], **told.get("GlobalSecondaryIndexes", {})}
    units = {name: Decimal(part["CapacityUnits"]) for name, part in parts.items()}
    return Decimal(told["CapacityUnits"]), units


def item_of(answer: Request, name: str) -> Item | None:
    return native_item(answer[name]) if name in answer else None


def at_once(work: Coroutine[Any, Any, Request]) -> Request:
    """What a coroutine gives that waits for nothing."""
    try:
        work.send(None)
    except StopIteration as end:
        answer: Request = end.value
        return answer
    raise AssertionError("the fake has waited for something")
