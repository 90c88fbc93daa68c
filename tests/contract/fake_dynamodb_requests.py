"""Requests to DynamoDB drawn by lot: few keys, few attributes, every construct of expressions."""

from __future__ import annotations

import random
from typing import Any

Request = dict[str, Any]

ITEMS = "agreement-items"
ROWS = "agreement-rows"
INDEX = "by-group"

TABLES: list[Request] = [
    {
        "TableName": ITEMS,
        "KeySchema": [{"AttributeName": "k", "KeyType": "HASH"}],
        "AttributeDefinitions": [{"AttributeName": "k", "AttributeType": "S"}],
        "BillingMode": "PAY_PER_REQUEST",
    },
    {
        "TableName": ROWS,
        "KeySchema": [
            {"AttributeName": "k", "KeyType": "HASH"},
            {"AttributeName": "r", "KeyType": "RANGE"},
        ],
        "AttributeDefinitions": [
            {"AttributeName": "k", "AttributeType": "S"},
            {"AttributeName": "r", "AttributeType": "N"},
            {"AttributeName": "g", "AttributeType": "S"},
            {"AttributeName": "u", "AttributeType": "N"},
        ],
        "BillingMode": "PAY_PER_REQUEST",
        "GlobalSecondaryIndexes": [
            {
                "IndexName": INDEX,
                "KeySchema": [
                    {"AttributeName": "g", "KeyType": "HASH"},
                    {"AttributeName": "u", "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["n"]},
            }
        ],
    },
]

_NUMBERS = ["0", "1", "-2", "2.50", "1e2", "0.1"]
_TEXTS = ["a", "ab", "é", "tok"]
_BYTES = [b"a", b"\x00\xff", b"ab"]
_PATHS = [
    *("n", "t", "l", "m", "s", "q", "b", "d"),
    *("m.n", "m.l", "m.s", "m.m", "m.l[0]", "m.l[1]", "m.m.n", "m.x", "m.x.y"),
    *("l[0]", "l[1]", "l[2]", "l[9]", "l[0].n", "l[1][0]", "d[0]", "zz", "zz.a", "zz[0]"),
]
_TARGETS = [
    *("n", "t", "l", "m", "s", "q", "b", "d", "fresh", "zz"),
    *("m.n", "m.x", "m.l", "m.s", "m.l[0]", "m.l[9]", "l[0]", "l[1]", "l[9]", "l[7]"),
]
_SIZED = ["l", "s", "q"]
_COMPARISONS = ["=", "<>", "<", "<=", ">", ">="]


class Drawer:
    """Draws requests, one after the other.

    Args:
        seed: Of the lots.
        simple: Leave out what ministack is known to do otherwise: it takes two attributes that
            are not there for equal, removes elements of a list one after the other instead of
            all at once and after it has appended, appends in the order of the text instead of
            that of the indices, compares numbers in sets as texts, refuses begins_with where
            one type is S and the other B, lets numbers have a size, and finds no bytes in bytes.
    """

    def __init__(self, seed: int, simple: bool = False) -> None:
        self._simple = simple
        self._members = [*_NUMBERS[:3], "0.1"] if simple else _NUMBERS
        self._random = random.Random(seed)
        self.pick = self._random.choice
        self.number = self._random.randrange

    def request(self) -> tuple[str, Request]:
        """An operation, and its parameters."""
        kinds = [
            *[self._update] * 8,
            *[self._put] * 4,
            self._delete,
            self._get,
            self._query,
            self._query_index,
            self._scan,
            self._transact,
            self._transact_get,
            self._batch_write,
            self._batch_get,
        ]
        return self.pick(kinds)()

    def once_in(self, times: int) -> bool:
        """True once in so many times."""
        return self.number(times) == 0

    # --- values ------------------------------------------------------------------------------

    def scalar(self) -> Request:
        """A text, a number, bytes, a truth value or null."""
        kinds: list[Request] = [
            {"N": self.pick(_NUMBERS)},
            {"S": self.pick(_TEXTS)},
            {"B": self.pick(_BYTES)},
            {"BOOL": self.pick([True, False])},
            {"NULL": True},
        ]
        return self.pick([*kinds[:2], *kinds])

    def some_set(self) -> Request:
        """A set."""
        count = 1 + self.number(3)
        kinds: list[tuple[str, list[Any]]] = [("SS", _TEXTS), ("NS", self._members), ("BS", _BYTES)]
        kind, members = self.pick(kinds)
        return {kind: self._random.sample(members, min(count, len(members)))}

    def value(self, levels: int = 0) -> Request:
        """Any value."""
        if levels > 2 or self.number(5) < 3:
            return self.scalar()
        if self.once_in(3):
            return self.some_set()
        if self.once_in(2):
            return {"L": [self.value(levels + 1) for _ in range(self.number(4))]}
        names = self._random.sample(["n", "l", "m", "x", "s"], self.number(3))
        return {"M": {name: self.value(levels + 1) for name in names}}

    def _attributes(self) -> Request:
        texts = {"L": [{"S": text} for text in "abcd"[: self.number(5)]]}
        usual: Request = {
            "n": {"N": self.pick(_NUMBERS)},
            "t": {"S": self.pick(_TEXTS)},
            "l": self.pick([texts, {"L": [self.value(1) for _ in range(self.number(4))]}]),
            "m": {"M": {"n": {"N": "1"}, "l": texts, "s": {"SS": ["a", "b"]}}},
            "s": {"SS": self._random.sample(_TEXTS, 2)},
            "q": {"NS": self._random.sample(self._members, 2)},
            "b": {"B": self.pick(_BYTES)},
            "d": self.value(),
        }
        return {name: usual[name] for name in usual if not self.once_in(4)}

    def key(self, table: str) -> Request:
        """A key of a table."""
        key: Request = {"k": {"S": self.pick("abc")}}
        return key if table == ITEMS else key | {"r": {"N": self.pick(["0", "1", "2.5", "-1"])}}

    def _table(self) -> str:
        return self.pick([ITEMS, ROWS])

    def _item(self, table: str) -> Request:
        item = self.key(table) | self._attributes()
        if table == ROWS and not self.once_in(3):
            item |= {"g": {"S": self.pick("xy")}, "u": {"N": self.pick(["0", "1", "2"])}}
        return item

    # --- expressions ---------------------------------------------------------------------------

    def path(self, request: Request, paths: list[str] = _PATHS) -> str:
        """A document path; some of its names are given as ``#names``."""
        path = self.pick(paths)
        if self.once_in(3):
            name = path.split(".")[0].split("[")[0]
            request.setdefault("ExpressionAttributeNames", {})[f"#{name}"] = name
            path = f"#{path}"
        return path

    def target(self, request: Request) -> str:
        """A path to be updated; most are possible if the item is there."""
        return self.written(request) if self.once_in(4) else self._target()

    def _target(self) -> str:
        return self.pick([path for path in _TARGETS if self._may_be_written(path)])

    def written(self, request: Request) -> str:
        """Any path, to be updated."""
        return self.path(request, [path for path in _PATHS if self._may_be_written(path)])

    def _may_be_written(self, path: str) -> bool:
        """Whether it may become of any type; elements of lists are for `_list_work` if simple."""
        return not self._simple or (path not in _SIZED and "[" not in path)

    def size(self, request: Request) -> str:
        """The size of something."""
        return f"size({self.path(request, _SIZED if self._simple else _PATHS)})"

    def given(self, request: Request, value: Request) -> str:
        """A ``:value``."""
        values = request.setdefault("ExpressionAttributeValues", {})
        name = f":v{len(values)}"
        values[name] = value
        return name

    def operand(self, request: Request) -> str:
        """A side of a comparison."""
        kind = self.number(8)
        if kind < 4:
            return self.path(request)
        return self.other_operand(request) if kind < 6 else self.size(request)

    def other_operand(self, request: Request) -> str:
        """The other side of a comparison."""
        if self._simple or self.once_in(2):
            return self.given(request, self.scalar() if self.number(4) else self.value())
        return self.operand(request)

    def condition(self, request: Request, levels: int = 0) -> str:
        """A condition."""
        kind = self.number(14 if levels < 2 else 9)
        if kind < 3:
            comparison = self.pick(_COMPARISONS)
            return f"{self.operand(request)} {comparison} {self.other_operand(request)}"
        if kind == 3:
            kinds = [("N", ["-2", "1"]), ("S", ["a", "tok"])]
            sort, ends = self.pick(kinds)
            values = self.pick([[{sort: end} for end in ends], [self.scalar(), self.scalar()]])
            bounds = [self.given(request, value) for value in values]
            return f"{self.operand(request)} BETWEEN {bounds[0]} AND {bounds[1]}"
        if kind == 4:
            others = ", ".join(self.other_operand(request) for _ in range(1 + self.number(3)))
            return f"{self.operand(request)} IN ({others})"
        if kind < 7:
            function = self.pick(["attribute_exists", "attribute_not_exists"])
            return f"{function}({self.path(request)})"
        if kind == 7:
            function = self.pick(["contains"] if self._simple else ["begins_with", "contains"])
            path = self.path(request, _SIZED if self._simple else _PATHS)
            return f"{function}({path}, {self.other_operand(request)})"
        if kind == 8:
            name = self.given(request, {"S": self.pick(["S", "N", "L", "M", "SS", "BOOL"])})
            return f"attribute_type({self.path(request)}, {name})"
        if kind == 9:
            return f"NOT {self.condition(request, levels + 1)}"
        if kind == 10:
            return f"({self.condition(request, levels + 1)}) AND {self.condition(request, 2)}"
        word = self.pick(["AND", "OR", "and"])
        return f"{self.condition(request, levels + 1)} {word} {self.condition(request, levels + 1)}"

    def _sum_operand(self, request: Request) -> str:
        kind = self.number(4)
        if kind == 0:
            return self.given(request, {"N": self.pick(_NUMBERS)})
        if kind == 1:
            otherwise = {"N": "7"} if self.number(4) else self.value()
            return f"if_not_exists({self.path(request)}, {self.given(request, otherwise)})"
        return self.path(request) if self.once_in(6) else self.pick(["n", "n", "m.n"])

    def _assigned(self, request: Request) -> str:
        kind = self.number(8)
        if kind < 3:
            return self.given(request, self.value())
        if kind == 3:
            return self.target(request)
        if kind < 6:
            left, right = self._sum_operand(request), self._sum_operand(request)
            return f"{left} {self.pick('+-')} {right}"
        if kind == 6:
            return f"if_not_exists({self.path(request)}, {self.operand_of_update(request)})"
        ends = [self.pick(["l", "m.l"]), self.given(request, {"L": [self.value(1)]})]
        self._random.shuffle(ends)
        return f"list_append({', '.join(ends)})"

    def operand_of_update(self, request: Request) -> str:
        """A path or a ``:value``."""
        return self.path(request) if self.once_in(2) else self.given(request, self.value())

    def _list_work(self, request: Request) -> tuple[list[str], list[str]]:
        """Removals and additions of the same list, as a journal has them."""
        name = self.pick(["l", "l", "m.l"])
        removed = self._random.sample(range(6), self.number(4))
        added = self._random.sample([4, 5, 9, 9999, 10000], self.number(3))
        added = [index for index in added if index not in removed]
        if self._simple:
            removed.sort(reverse=True)
            added.sort()
            if removed and added:
                request["ConditionExpression"] = f"attribute_exists({name}[{removed[0]}])"
        sets = [f"{name}[{index}] = {self.given(request, self.value(1))}" for index in added]
        return sets, [f"{name}[{index}]" for index in removed]

    def update_expression(self, request: Request) -> str:
        """An update expression."""
        sets: list[str] = []
        removes: list[str] = []
        if self.once_in(2):
            sets, removes = self._list_work(request)
        else:
            for _ in range(self.number(3)):
                sets.append(f"{self.target(request)} = {self._assigned(request)}")
            removes = [self.target(request) for _ in range(self.number(5) // 2)]
        adds = [self._addition(request) for _ in range(self.number(6) // 4)]
        deletes = [self._deletion(request)] if self.once_in(5) else []
        clauses = {"SET": sets, "REMOVE": removes, "ADD": adds, "DELETE": deletes}
        words = [word for word, actions in clauses.items() if actions]
        self._random.shuffle(words)
        text = " ".join(f"{word} {', '.join(clauses[word])}" for word in words)
        return text or f"SET zz = {self.given(request, self.value())}"

    def _addition(self, request: Request) -> str:
        number: Request = {"N": self.pick(_NUMBERS)}
        if self.once_in(6):
            path, value = self.written(request), self.pick([number, self.some_set()])
            return f"{path} {self.given(request, value)}"
        texts: Request = {"SS": self._random.sample(_TEXTS, 2)}
        numbers: Request = {"NS": self._random.sample(self._members, 2)}
        usual = [("n", number), ("m.n", number), ("fresh", number), ("q", numbers)]
        path, value = self.pick([*usual, ("s", texts), ("m.s", texts)])
        return f"{path} {self.given(request, value)}"

    def _deletion(self, request: Request) -> str:
        texts = {"SS": self._random.sample(_TEXTS, 1 + self.number(3))}
        numbers = {"NS": self._random.sample(self._members, 1 + self.number(3))}
        path, value = self.pick([("s", texts), ("m.s", texts), ("q", numbers)])
        if self.once_in(6):
            path, value = self.written(request), self.some_set()
        return f"{path} {self.given(request, value)}"

    # --- requests ------------------------------------------------------------------------------

    def _maybe_condition(self, request: Request, once_in: int = 2) -> None:
        if self.once_in(once_in):
            condition = self.condition(request)
            if "ConditionExpression" in request:
                condition = f"{request['ConditionExpression']} AND ({condition})"
            request["ConditionExpression"] = condition
            if self.once_in(2):
                request["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"

    def _update(self) -> tuple[str, Request]:
        table = self._table()
        request: Request = {"TableName": table, "Key": self.key(table)}
        if not self.once_in(30):
            request["UpdateExpression"] = self.update_expression(request)
        self._maybe_condition(request)
        if "UpdateExpression" not in request:
            return "UpdateItem", request | {"ReturnValues": "ALL_NEW"}
        request["ReturnValues"] = self.pick(
            ["NONE", "ALL_OLD", "ALL_NEW", "ALL_NEW", "UPDATED_OLD", "UPDATED_NEW"]
        )
        return "UpdateItem", request

    def _put(self) -> tuple[str, Request]:
        table = self._table()
        request: Request = {"TableName": table, "Item": self._item(table)}
        self._maybe_condition(request, once_in=4)
        request["ReturnValues"] = self.pick(["NONE", "ALL_OLD"])
        return "PutItem", request

    def _delete(self) -> tuple[str, Request]:
        table = self._table()
        request: Request = {"TableName": table, "Key": self.key(table)}
        self._maybe_condition(request)
        request["ReturnValues"] = self.pick(["NONE", "ALL_OLD"])
        return "DeleteItem", request

    def _maybe_projection(self, request: Request) -> None:
        if self.once_in(3):
            paths = [self.path(request) for _ in range(1 + self.number(3))]
            request["ProjectionExpression"] = ", ".join(paths)

    def _get(self) -> tuple[str, Request]:
        table = self._table()
        request: Request = {"TableName": table, "Key": self.key(table), "ConsistentRead": True}
        self._maybe_projection(request)
        return "GetItem", request

    def _query(self) -> tuple[str, Request]:
        request: Request = {"TableName": ROWS, "ConsistentRead": True}
        self._conditions_of_query(request, "k", "r", self.pick("abc"))
        return "Query", request

    def _query_index(self) -> tuple[str, Request]:
        request: Request = {"TableName": ROWS, "IndexName": INDEX}
        self._conditions_of_query(request, "g", "u", self.pick("xy"))
        return "Query", request

    def _conditions_of_query(self, request: Request, key: str, sort: str, text: str) -> None:
        conditions = [f"{key} = {self.given(request, {'S': text})}"]
        bounds = sorted(self._random.sample(["0", "1", "2"], 2))
        if self.once_in(2):
            sign = self.pick(["=", "<", "<=", ">", ">=", "BETWEEN"])
            low = self.given(request, {"N": bounds[0]})
            if sign == "BETWEEN":
                conditions.append(f"{sort} BETWEEN {low} AND {self.given(request, {'N': '2'})}")
            else:
                conditions.append(f"{sort} {sign} {low}")
        self._random.shuffle(conditions)
        request["KeyConditionExpression"] = " AND ".join(conditions)
        request["ScanIndexForward"] = self.pick([True, False])
        self._page(request)

    def _page(self, request: Request) -> None:
        if self.once_in(3):
            request["FilterExpression"] = self.condition(request)
        if self.once_in(2):
            request["Limit"] = 1 + self.number(4)
        self._maybe_projection(request)

    def _scan(self) -> tuple[str, Request]:
        request: Request = {"TableName": self._table(), "ConsistentRead": True}
        self._page(request)
        return "Scan", request

    def _transact(self) -> tuple[str, Request]:
        actions = []
        keys = set()
        for _ in range(1 + self.number(3)):
            operation, request = self.pick([self._update, self._put, self._delete])()
            request.pop("ReturnValues")
            kind = operation.removesuffix("Item")
            of = request.get("Key") or request["Item"]
            key = str((request["TableName"], of["k"], of.get("r")))
            if key in keys or (kind == "Update" and "UpdateExpression" not in request):
                continue
            keys.add(key)
            if kind == "Delete" and "ConditionExpression" in request and self.once_in(2):
                kind = "ConditionCheck"
            actions.append({kind: request})
        return "TransactWriteItems", {"TransactItems": actions}

    def _transact_get(self) -> tuple[str, Request]:
        reads = []
        for _ in range(1 + self.number(3)):
            _, request = self._get()
            request.pop("ConsistentRead")
            reads.append({"Get": request})
        return "TransactGetItems", {"TransactItems": reads}

    def _batch_write(self) -> tuple[str, Request]:
        tables: Request = {}
        for _ in range(1 + self.number(3)):
            table = self._table()
            put = {"PutRequest": {"Item": self._item(table)}}
            delete = {"DeleteRequest": {"Key": self.key(table)}}
            tables.setdefault(table, []).append(self.pick([put, delete]))
        return "BatchWriteItem", {"RequestItems": tables}

    def _batch_get(self) -> tuple[str, Request]:
        tables: Request = {}
        for _ in range(1 + self.number(4)):
            table = self._table()
            wanted = tables.setdefault(table, {"Keys": [], "ConsistentRead": True})
            wanted["Keys"].append(self.key(table))
        return "BatchGetItem", {"RequestItems": tables}
