"""The fake of DynamoDB against a model of tables that is plain enough to be seen to be right.

The model keeps every state that an item ever had, and works everything out again each time. It
takes the fake's word for the order of scans, and of rows of an index with the same sort key.

Where the fake is at liberty, so is the model, since AWS documents no more:

- which of the last states a read sees that is not consistent, is told to both;
- what is removed of expired items, and when, is up to the fake (`expire`);
- a page ends before the item with which it would have more than 1 MB;
- a refused condition costs what the item costs that is there, and so does every write of a
  transaction that is cancelled; a write that does not fit its item costs nothing.

Wrong requests, such as overlapping paths, are for `tests/contract/test_fake_dynamodb_agreement.py`.
"""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    multiple,
    rule,
    run_state_machine_as_test,
)

from tests.property.dynamodb_asking import Asking, Walk, item_of
from tests.property.dynamodb_model import (
    PAGE_BYTES,
    Index,
    Item,
    Refused,
    Table,
    Write,
    given_item,
    holds,
    item_bytes,
    native_item,
    projected,
    read_units,
)
from tests.property.dynamodb_queries import (
    NAMES,
    Pages,
    Wanted,
    complete,
    page_of,
    pages,
    pages_request,
    sorting,
)
from tests.property.dynamodb_texts import (
    INDEX,
    ITEMS,
    KEYS,
    PLACES,
    ROWS,
    Request,
    keys,
    moves,
    request_of,
    writes,
)

TOKEN_SECONDS = 600

RETURNED = {
    "Put": ("NONE", "ALL_OLD"),
    "Delete": ("NONE", "ALL_OLD"),
    "Update": ("NONE", "ALL_OLD", "ALL_NEW", "UPDATED_OLD", "UPDATED_NEW"),
}
lags = st.sampled_from([(0,), (1,), (2,), (0, 2), (1, 0, 2)])


class Writers(Asking):
    """People who write under conditions, update and delete, some of them several items at once."""

    @rule(write=writes(("Update",)), returned=st.integers(0, 4))
    def update(self, write: Write, returned: int) -> None:
        """Somebody updates an item."""
        self.write(write, returned)

    @rule(write=writes(), returned=st.integers(0, 4))
    def write(self, write: Write, returned: int) -> None:
        """Somebody puts, updates or deletes an item."""
        choices = RETURNED[write.kind]
        values = choices[returned % len(choices)]
        if any(len(action[1]) > 1 for action in write.actions or ()):
            # What AWS tells of parts of attributes is not documented where a list has moved.
            values = values.replace("UPDATED", "ALL")
        self.written(write, values)

    @rule(
        some=st.lists(
            writes(("Put", "Update", "Delete", "ConditionCheck")), min_size=1, max_size=4
        ),
        token=st.sampled_from([None, None, "one", "two"]),
        later=st.sampled_from([None, 1, TOKEN_SECONDS - 1, TOKEN_SECONDS + 1]),
    )
    def transact(self, some: list[Write], token: str | None, later: int | None) -> None:
        """Somebody writes several items, or none of them, and again if no answer has come."""
        self.transacted(some, token)
        if token in self.done and later is not None:
            self.clock.advance(later)
            self.transacted(some, token)

    def transacted(self, some: list[Write], token: str | None) -> None:
        """Write several items, or none of them."""
        request: Request = {"TransactItems": [{each.kind: request_of(each)} for each in some]}
        if token is not None:
            request["ClientRequestToken"] = token
        names = [self.tables[each.table].name_of(each.key) + each.table for each in some]
        if len(set(names)) < len(names):
            self.refused("ValidationException", "TransactWriteItems", request)
        elif token is not None and token in self.done and self.done[token][0] > self.now:
            self._again(token, some, request)
        elif self._transacted(some, request) and token is not None:
            self.done[token] = self.now + TOKEN_SECONDS, some

    def _again(self, token: str, some: list[Write], request: Request) -> None:
        if some != self.done[token][1]:
            self.refused("IdempotentParameterMismatchException", "TransactWriteItems", request)
            return
        answer = self.answered("TransactWriteItems", request)
        costs = []
        for each in some:
            table = self.tables[each.table]
            size = item_bytes(table.newest(table.name_of(each.key)))
            costs.append((table, {table.name: 2 * read_units(size, True)}))
        self.charge(answer, *costs, read=True)

    def _transacted(self, some: list[Write], request: Request) -> bool:
        reasons: list[tuple[str, Item | None]] = []
        outcomes = []
        for each in some:
            try:
                outcomes.append(self.tables[each.table].outcome(each))
                reasons.append(("None", None))
            except Refused as refusal:
                failed = refusal.code.startswith("Conditional")
                code = "ConditionalCheckFailed" if failed else "ValidationError"
                outcomes.append((False, None))
                reasons.append((code, refusal.item))
        cancelled = any(code != "None" for code, _ in reasons)
        costs = []
        for each, (stored, new) in zip(some, outcomes, strict=True):
            table = self.tables[each.table]
            old = table.newest(table.name_of(each.key))
            none = cancelled or not stored
            costs.append((table, table.cost(old, old if none else new, not none, 2)))
        if cancelled:
            answer = self.refused("TransactionCanceledException", "TransactWriteItems", request)
            found = answer["CancellationReasons"]
            assert [(each["Code"], item_of(each, "Item")) for each in found] == reasons
            self.charge(None, *costs, read=False)
            return False
        self.charge(self.answered("TransactWriteItems", request), *costs, read=False)
        for each, (stored, new) in zip(some, outcomes, strict=True):
            if stored:
                self.store(self.tables[each.table], each, new)
        return True

    @rule(place=keys(), over=st.sampled_from([0, 1, -9_000]), put=st.booleans())
    def fill(self, place: tuple[str, Item], over: int, put: bool) -> None:
        """An item becomes as large as items may be, or larger."""
        self.filled(*place, over, put)


class Readers(Asking):
    """People who read by key and page by page, some of them stale states, while others write."""

    walks = Bundle("walks")

    @rule(partition=st.sampled_from(KEYS), over=st.sampled_from([-1_000, -100_000, -250_000]))
    def fill_many(self, partition: str, over: int) -> None:
        """The items of a partition become so large that few of them are a page."""
        for name, key in PLACES:
            if name == ROWS and key["k"][1] == partition:
                self.filled(name, key, over, True)

    @rule(some=st.lists(moves(), min_size=1, max_size=3))
    def move(self, some: list[Write]) -> None:
        """Items come, go, change, or move within the index."""
        for write in some:
            self.written(write, "NONE")

    @rule(place=keys(), consistent=st.booleans(), lag=lags, names=st.sampled_from(NAMES))
    def get(
        self,
        place: tuple[str, Item],
        consistent: bool,
        lag: tuple[int, ...],
        names: list[str] | None,
    ) -> None:
        """Somebody reads an item."""
        table, key = self.tables[place[0]], place[1]
        request: Request = {"TableName": table.name, "Key": given_item(key)}
        request["ConsistentRead"] = consistent
        if names:
            request["ProjectionExpression"] = ", ".join(names)
        self.late(lag)
        answer = self.answered("GetItem", request)
        states = self.visible(table, table.name_of(key), consistent)
        seen = states[min(lag[0], len(states) - 1)]
        assert item_of(answer, "Item") == (None if seen is None else projected(seen, names))
        units = {table.name: read_units(item_bytes(seen), consistent)}
        self.charge(answer, (table, units), read=True)

    @rule(some=st.lists(keys(), min_size=1, max_size=4), consistent=st.booleans(), lag=lags)
    def get_batch(
        self, some: list[tuple[str, Item]], consistent: bool, lag: tuple[int, ...]
    ) -> None:
        """Somebody reads several items, each by itself."""
        requests: Request = {}
        for name, key in some:
            of_table = requests.setdefault(name, {"Keys": [], "ConsistentRead": consistent})
            of_table["Keys"].append(given_item(key))
        names = [self.tables[name].name_of(key) + name for name, key in some]
        self.late(lag)
        if len(set(names)) < len(names):
            self.refused("ValidationException", "BatchGetItem", {"RequestItems": requests})
            return
        answer = self.answered("BatchGetItem", {"RequestItems": requests})
        assert answer["UnprocessedKeys"] == {}
        found = {
            (name, self.tables[name].name_of(item)): item
            for name, items in answer["Responses"].items()
            for item in map(native_item, items)
        }
        assert len(found) == sum(len(items) for items in answer["Responses"].values())
        costs = []
        for name, key in some:
            table = self.tables[name]
            seen = found.pop((name, table.name_of(key)), None)
            states = self.visible(table, table.name_of(key), consistent)
            if len(lag) == 1:
                states = [states[min(lag[0], len(states) - 1)]]
            assert seen in states
            costs.append((table, {name: read_units(item_bytes(seen), consistent)}))
        assert found == {}
        self.charge(answer, *costs, read=True)

    @rule(some=st.lists(keys(), min_size=1, max_size=3), lag=lags)
    def get_together(self, some: list[tuple[str, Item]], lag: tuple[int, ...]) -> None:
        """Somebody reads several items at one moment."""
        reads = [{"Get": {"TableName": name, "Key": given_item(key)}} for name, key in some]
        request = {"TransactItems": reads}
        self.late(lag)
        names = [self.tables[name].name_of(key) + name for name, key in some]
        if len(set(names)) < len(names):
            self.refused("ValidationException", "TransactGetItems", request)
            return
        answer = self.answered("TransactGetItems", request)
        newest = [self.tables[name].newest(self.tables[name].name_of(key)) for name, key in some]
        assert [item_of(each, "Item") for each in answer["Responses"]] == newest
        costs = [
            (self.tables[name], {name: 2 * read_units(item_bytes(item), True)})
            for (name, _), item in zip(some, newest, strict=True)
        ]
        self.charge(answer, *costs, read=True)

    # --- pages -----------------------------------------------------------------------------------

    @rule(asked=pages(), lag=lags)
    def read_pages(self, asked: Pages, lag: tuple[int, ...]) -> None:
        """Somebody queries or scans a table or its index, to the end."""
        table = self.rows if asked.where == INDEX else self.tables[asked.where]
        index = table.index if asked.where == INDEX else None
        operation, request = pages_request(asked, table)
        candidates = [
            [self._row(asked, index, item) for item in self.visible(table, name, asked.consistent)]
            for name in table.states
        ]
        self.late(lag)
        if len(lag) > 1:
            self._any_states(operation, request, table, index, candidates)
            return
        rows = [states[min(lag[0], len(states) - 1)] for states in candidates]
        there = [row for row in rows if row is not None]
        found = self._walked(operation, request, there, Wanted(table, index, asked, plain=True))
        assert len(found) == len(there)
        assert {table.name_of(row): row for row in found} == {table.name_of(r): r for r in there}
        sort = asked.partition and (index.keys[1] if index else "r" if "r" in table.keys else None)
        if sort:
            order = [row[sort][1] for row in found]
            assert order == sorted(order, reverse=not asked.forward)
        if asked.limit or asked.only or asked.names:
            complete(request, asked)
            self._walked(operation, request, found, Wanted(table, index, asked))

    def _row(self, asked: Pages, index: Index | None, item: Item | None) -> Item | None:
        """What a query or a scan may find of an item; None for nothing."""
        row = index.row(item) if index else item
        if row is None or asked.partition is None:
            return row
        partition, sort = index.keys if index else ("k", "r")
        if row[partition][1] != asked.partition:
            return None
        if asked.sort is not None and not holds(sorting(asked.sort, sort), row):
            return None
        return row

    def _any_states(
        self,
        operation: str,
        request: Request,
        table: Table,
        index: Index | None,
        candidates: list[list[Item | None]],
    ) -> None:
        """Each item is seen in one of its states, and no two of them."""
        answer = self.answered(operation, request)
        found = {table.name_of(item): item for item in map(native_item, answer["Items"])}
        assert len(found) == len(answer["Items"])
        size = sum(item_bytes(item) for item in found.values())
        place = index.name if index else table.name
        units = {place: read_units(size, bool(request.get("ConsistentRead")))}
        self.charge(answer, (table, units), read=True)
        for name, states in zip(table.states, candidates, strict=True):
            seen = found.pop(name, None)
            assert seen in states or (seen is None and "LastEvaluatedKey" in answer)
        assert found == {}

    def _walked(
        self, operation: str, request: Request, rows: list[Item], wanted: Wanted
    ) -> list[Item]:
        """All pages, each of which has to be right; those wanted plainly in any order."""
        found: list[Item] = []
        start: Request = {}
        place = wanted.index.name if wanted.index else wanted.table.name
        limit = None if wanted.plain else wanted.asked.limit
        at = 0
        while True:
            answer = self.answered(operation, {**request, **start})
            items = [native_item(item) for item in answer["Items"]]
            found.extend(items)
            page = items if wanted.plain else page_of(rows[at:], limit)
            at += len(page)
            size = sum(map(item_bytes, page))
            units = {place: read_units(size, wanted.asked.consistent)}
            self.charge(answer, (wanted.table, units), read=True)
            if not wanted.plain:
                assert items == wanted.of(page)
            assert (answer["ScannedCount"], answer["Count"]) == (len(page), len(items))
            assert size <= PAGE_BYTES
            last = answer.get("LastEvaluatedKey")
            if last is None:
                assert at == len(rows)
                assert len(page) != limit
                return found
            assert native_item(last) == {name: page[-1][name] for name in wanted.keys}
            assert len(page) == limit or at < len(rows)
            start = {"ExclusiveStartKey": last}

    @rule(
        target=walks,
        name=st.sampled_from([ITEMS, ROWS]),
        partition=st.sampled_from([None, *KEYS]),
        limit=st.integers(1, 2),
    )
    def begin_walk(self, name: str, partition: str | None, limit: int) -> Any:
        """Somebody begins to read a table page by page, and others write meanwhile."""
        table = self.tables[name]
        if len(self.open) > 3:
            return multiple()
        asked = Pages(name, partition, None, True, True, None, None, limit)
        operation, request = pages_request(asked, table)
        there = {
            table.name_of(item): item
            for item in table.there()
            if self._row(asked, None, item) is not None
        }
        walk = Walk(operation, {**request, "Limit": limit}, there)
        self.open.append(walk)
        return walk

    @rule(walk=walks)
    def go_on(self, walk: Walk) -> None:
        """Whoever reads page by page reads the next page."""
        if walk.over:
            return
        table = self.tables[walk.request["TableName"]]
        start = {"ExclusiveStartKey": walk.start} if walk.start else {}
        answer = self.answered(walk.operation, {**walk.request, **start})
        items = [native_item(item) for item in answer["Items"]]
        units = {table.name: read_units(sum(map(item_bytes, items)), True)}
        self.charge(answer, (table, units), read=True)
        for item in items:
            name = table.name_of(item)
            assert item == table.newest(name)
            assert name not in walk.found, "it was on an earlier page"
            walk.found.append(name)
        walk.start = answer.get("LastEvaluatedKey")
        if walk.start is None:
            untouched = walk.there.keys() - walk.touched
            assert untouched <= set(walk.found), "a page has left something out"
            walk.over = True
            self.open.remove(walk)

    # --- time ------------------------------------------------------------------------------------

    @rule(limit=st.sampled_from([None, 1]), only=st.sampled_from([None, ITEMS, ROWS]))
    def expire(self, limit: int | None, only: str | None) -> None:
        """AWS removes some of what has expired."""
        before = {
            (table.name, table.name_of(item)): item
            for table in self.tables.values()
            for item in table.there()
            if only in (None, table.name) and table.has_expired(item, self.now)
        }
        removed = self.fake.expire(only, limit)
        assert removed == (len(before) if limit is None else min(limit, len(before)))
        gone = []
        for name, table in self.tables.items():
            there = {table.name_of(native_item(item)) for item in self.fake.items(name)}
            gone += [key for key in before if key[0] == name and key[1] not in there]
        assert len(gone) == removed
        for name, _ in gone:
            assert only in (None, name)
        for place in gone:
            table = self.tables[place[0]]
            key = {name: before[place][name] for name in table.keys}
            self.store(table, Write("Delete", table.name, key), None)


OFTEN = settings(
    max_examples=settings().max_examples // 2,
    stateful_step_count=40,
    suppress_health_check=[HealthCheck.too_slow],
    # Without the explanation of a failure, which traces every line, and some Pythons do not bear.
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
)


def test_what_is_written_is_as_in_the_model() -> None:
    """Conditions, updates, transactions and batches leave the same items, at the same cost."""
    run_state_machine_as_test(Writers, settings=OFTEN)


def test_what_is_read_is_as_in_the_model() -> None:
    """Reads by key, pages, indexes, stale states and expiry show what the model allows."""
    run_state_machine_as_test(Readers, settings=OFTEN)
