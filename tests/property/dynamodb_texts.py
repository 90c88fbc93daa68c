"""Conditions and updates of the model of DynamoDB: drawn, and written down as AWS has them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from tests.property.dynamodb_model import Item, Path, Tree, Value, Write, given, given_item

Request = dict[str, Any]

ITEMS, ROWS, INDEX = "model-items", "model-rows", "by-group"

# --- texts ---------------------------------------------------------------------------------------


class Writer:
    """Writes expressions down, and notes their ``#names`` and ``:values``."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self.values: dict[str, Any] = {}

    def path(self, path: Path) -> str:
        """A document path; every second attribute by a ``#name``, and reserved words."""
        text = ""
        for step in path:
            if isinstance(step, int):
                text += f"[{step}]"
                continue
            name = step
            if step in ("ttl", "t", "m"):
                name = f"#{step}"
                self.names[name] = step
            text += f".{name}" if text else name
        return text

    def value(self, value: Value) -> str:
        """A ``:value``."""
        name = f":v{len(self.values)}"
        self.values[name] = given(value)
        return name

    def operand(self, tree: Tree) -> str:
        """An operand of a condition or of an update."""
        match tree:
            case ("path", path):
                return self.path(path)
            case ("given", value):
                return self.value(value)
            case ("size", path):
                return f"size({self.path(path)})"
            case ("if_not_exists", path, otherwise):
                return f"if_not_exists({self.path(path)}, {self.operand(otherwise)})"
            case ("append", left, right):
                return f"list_append({self.operand(left)}, {self.operand(right)})"
            case ("sum", sign, left, right):
                return f"{self.operand(left)} {sign} {self.operand(right)}"
        raise AssertionError(tree)

    def condition(self, tree: Tree) -> str:
        """A condition."""
        match tree:
            case ("and" | "or" as word, left, right):
                return f"{self._within(left)} {word.upper()} {self._within(right)}"
            case ("not", inner):
                return f"NOT {self._within(inner)}"
            case ("exists", path):
                return f"attribute_exists({self.path(path)})"
            case ("missing", path):
                return f"attribute_not_exists({self.path(path)})"
            case ("type", path, kind):
                return f"attribute_type({self.path(path)}, {self.value(('S', kind))})"
        first, *others = [self.operand(each) for each in tree[2:]]
        match tree[0], tree[1]:
            case "compare", sign:
                return f"{first} {sign} {others[0]}"
            case "between", _:
                return f"{first} BETWEEN {others[0]} AND {others[1]}"
            case "in", _:
                return f"{first} IN ({', '.join(others)})"
            case "begins", _:
                return f"begins_with({first}, {others[0]})"
            case "contains", _:
                return f"contains({first}, {others[0]})"
        raise AssertionError(tree)

    def _within(self, tree: Tree) -> str:
        text = self.condition(tree)
        return f"({text})" if tree[0] in ("and", "or", "not") else text

    def update(self, actions: list[Tree]) -> str:
        """An update expression: its clauses in the order in which the actions come."""
        clauses: dict[str, list[str]] = {}
        for kind, path, *more in actions:
            text = self.path(path)
            if kind == "set":
                text += f" = {self.operand(more[0])}"
            elif kind != "remove":
                text += f" {self.value(more[0])}"
            clauses.setdefault(kind.upper(), []).append(text)
        return " ".join(f"{word} {', '.join(texts)}" for word, texts in clauses.items())

    def into(self, request: Request) -> Request:
        """A request with the names and values of its expressions."""
        if self.names:
            request["ExpressionAttributeNames"] = self.names
        if self.values:
            request["ExpressionAttributeValues"] = self.values
        return request


def request_of(write: Write) -> Request:
    """A write as the parameters of a request, or of a part of a transaction."""
    writer = Writer()
    request: Request = {"TableName": write.table}
    if write.kind == "Put":
        request["Item"] = given_item(write.item)
    else:
        request["Key"] = given_item(write.key)
    if write.actions is not None:
        request["UpdateExpression"] = writer.update(write.actions)
    if write.condition is not None:
        request["ConditionExpression"] = writer.condition(write.condition)
    if write.returns_item:
        request["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
    return writer.into(request)


# --- what is drawn -------------------------------------------------------------------------------


def number(text: str) -> Value:
    """A number."""
    return "N", Decimal(text)


NUMBERS = [number(text) for text in ("0", "1", "-2", "2.50", "100", "0.1", "12345.678")]
TEXTS: list[Value] = [("S", text) for text in ("a", "ab", "é", "\U0001f600", "")]
BYTES: list[Value] = [("B", content) for content in (b"a", b"\x00\xff", b"ab")]
OTHERS: list[Value] = [("BOOL", True), ("BOOL", False), ("NULL", True)]
SETS: list[Value] = [
    *(("SS", frozenset(each)) for each in (["a"], ["a", "b"], ["b", "é"])),
    *(("NS", frozenset(map(Decimal, each))) for each in (["1"], ["1", "2.50"])),
    ("BS", frozenset([b"a", b"ab"])),
]
LISTS: list[Value] = [
    ("L", []),
    ("L", [("S", "a"), ("S", "b"), ("S", "c")]),
    ("L", [number("1"), ("M", {"n": number("1")})]),
]
MAPS: list[Value] = [
    ("M", {}),
    ("M", {"n": number("1"), "l": LISTS[1], "s": SETS[1]}),
    ("M", {"n": ("S", "a"), "m": ("M", {"n": number("7")})}),
]
ORDERED = [*NUMBERS, *TEXTS, *BYTES]
VALUES = [*ORDERED, *OTHERS, *SETS, *LISTS, *MAPS]

PATHS: list[Path] = [
    *(("n",), ("t",), ("l",), ("m",), ("s",), ("q",), ("b",), ("zz",), ("k",)),
    *(("m", "n"), ("m", "l"), ("m", "s"), ("m", "m", "n"), ("m", "l", 1), ("l", 0), ("l", 1, "n")),
    *(("l", 9), ("zz", "n")),
]
TARGETS = [path for path in PATHS if path != ("k",)] + [("m", "zz"), ("l", 7), ("l", 2)]

paths = st.sampled_from(PATHS)
_low = st.sampled_from([number(text) for text in "0123"])
values = st.sampled_from(VALUES)


@st.composite
def items(draw: st.DrawFn) -> Item:
    """The attributes of an item without its key: most have the types that updates suppose."""
    usual = {
        "n": NUMBERS,
        "t": TEXTS,
        "l": LISTS,
        "m": MAPS,
        "s": SETS[:3],
        "q": SETS[3:5],
        "b": VALUES,
    }
    there = draw(st.integers(0, 2 ** len(usual) - 1))
    return {
        name: draw(st.sampled_from(choices))
        for place, (name, choices) in enumerate(usual.items())
        if there >> place & 1
    }


@st.composite
def conditions(draw: st.DrawFn, levels: int = 0, only: tuple[Path, ...] = ()) -> Tree:
    """A condition that AWS finds well formed."""
    some = st.sampled_from(only) if only else paths
    kind = draw(st.integers(0, 12 if levels < 2 else 9))
    path = draw(some)
    if kind <= 1:
        return ("exists" if kind else "missing"), path
    if kind == 2:
        return "type", path, draw(st.sampled_from(["S", "N", "L", "M", "SS", "BOOL"]))
    if kind > 9:
        first = draw(conditions(levels + 1, only))
        if kind == 12:
            return "not", first
        return ("and" if kind == 10 else "or"), first, draw(conditions(levels + 1, only))
    first = draw(st.sampled_from([("path", path), ("path", path), ("size", path)]))
    other = ("path", draw(some))
    ordered = ("given", draw(_low if first[0] == "size" else st.sampled_from(ORDERED)))
    anything = ("given", draw(values))
    if kind <= 4:
        sign = draw(st.sampled_from(["=", "<>"]))
        value = ordered if draw(st.booleans()) else anything
        return "compare", sign, first, value if kind == 3 or other == first else other
    if kind <= 6:
        sign = draw(st.sampled_from(["<", "<=", ">", ">="]))
        return "compare", sign, first, ordered if kind == 5 or other == first else other
    if kind == 7:
        among = draw(st.sampled_from([NUMBERS, TEXTS, BYTES]))
        ends = [draw(st.sampled_from(among)), draw(st.sampled_from(among))]
        ends.sort(key=lambda end: end[1].encode() if end[0] == "S" else end[1])
        return "between", "", first, ("given", ends[0]), ("given", ends[1])
    if kind == 8:
        more = [("given", draw(values))] if other == first else [other]
        return "in", "", first, anything, *more
    if draw(st.booleans()):
        return "begins", "", ("path", path), ("given", draw(st.sampled_from([*TEXTS, *BYTES])))
    return "contains", "", ("path", path), anything


@st.composite
def _assigned(draw: st.DrawFn) -> Tree:
    kind = draw(st.integers(0, 5))
    value: Tree = ("given", draw(values))
    if kind == 0:
        return "path", draw(paths)
    if kind == 1:
        path, instead = draw(paths), draw(paths)
        # AWS wants the operands to be distinct.
        return "if_not_exists", path, value if path == instead else ("path", instead)
    if kind == 2:
        ends: list[Tree] = [
            ("path", draw(st.sampled_from([("l",), ("m", "l")]))),
            ("given", draw(st.sampled_from(LISTS))),
        ]
        return "append", *draw(st.permutations(ends))
    if kind <= 4:
        counted: Tree = ("path", draw(st.sampled_from([("n",), ("m", "n")])))
        if draw(st.booleans()):
            counted = ("if_not_exists", counted[1], ("given", NUMBERS[0]))
        other: Tree = ("given", draw(st.sampled_from(NUMBERS)))
        return "sum", draw(st.sampled_from("+-")), counted, other
    return value


@st.composite
def updates(draw: st.DrawFn) -> list[Tree]:
    """The actions of an update, none of them at a path that another one is at or within."""
    actions: list[Tree] = []
    for _ in range(draw(st.integers(1, 4))):
        action = draw(st.one_of(_set, _set, _remove, _add, _delete, _in_list))
        if not any(_conflict(action[1], each[1]) for each in actions):
            actions.append(action)
    return actions


_top = st.sampled_from([("n",), ("t",), ("zz",), ("b",), ("m", "n"), ("m", "zz")])
_targets = st.one_of(_top, _top, st.sampled_from(TARGETS))
_set = st.tuples(st.just("set"), _targets, _assigned())
_remove = st.tuples(st.just("remove"), _targets)
_counters = st.sampled_from([("n",), ("n",), ("m", "n"), ("zz",), ("t",)])
_sets = st.sampled_from([("s",), ("s",), ("q",), ("m", "s"), ("zz",)])
_members = st.sampled_from(SETS[:5])
_add = st.one_of(
    st.tuples(st.just("add"), _counters, st.sampled_from(NUMBERS)),
    st.tuples(st.just("add"), _sets, _members),
)
_delete = st.tuples(st.just("delete"), _sets, _members)
_elements = st.sampled_from([("l", place) for place in (0, 1, 2, 3, 7, 9)])
_in_list = st.one_of(
    st.tuples(st.just("remove"), _elements),
    st.tuples(st.just("set"), _elements, st.tuples(st.just("given"), values)),
)


def _conflict(one: Path, other: Path) -> bool:
    """Whether AWS refuses two paths in one update."""
    for mine, theirs in zip(one, other, strict=False):
        if mine != theirs:
            return isinstance(mine, int) is not isinstance(theirs, int)
    return True


KEYS = ("a", "b", "c")
SORTS = ("0", "1", "2.5", "-1")


PLACES: list[tuple[str, Item]] = [
    *((ITEMS, {"k": ("S", key)}) for key in KEYS),
    *((ROWS, {"k": ("S", key), "r": number(sort)}) for key in KEYS for sort in SORTS),
]
"""Every table with each of its keys."""

USUAL: Item = {
    "t": ("S", "\U0001f600b"),
    "l": LISTS[1],
    "m": MAPS[1],
    "s": SETS[1],
    "q": SETS[4],
}
"""The attributes of a usual item."""


@st.composite
def keys(draw: st.DrawFn, table: str | None = None) -> tuple[str, Item]:
    """A table, and a key of it."""
    table = table or draw(st.sampled_from([ITEMS, ROWS]))
    key: Item = {"k": ("S", draw(st.sampled_from(KEYS)))}
    if table == ROWS:
        key["r"] = number(draw(st.sampled_from(SORTS)))
    return table, key


@st.composite
def writes(draw: st.DrawFn, kinds: tuple[str, ...] = ("Put", "Update", "Delete")) -> Write:
    """A write with or without a condition."""
    table, key = draw(keys())
    kind = draw(st.sampled_from(kinds))
    write = Write(kind, table, key)
    if kind == "Put":
        write.item = {**draw(items()), **draw(_more_of(table)), **key}
    if kind == "Update":
        write.actions = draw(updates())
    if kind == "ConditionCheck" or draw(st.integers(0, 2)) == 2:
        write.condition = draw(conditions())
        write.returns_item = draw(st.booleans())
    return write


@st.composite
def _more_of(draw: st.DrawFn, table: str) -> Item:
    """When an item expires, and where it stands in the index."""
    more: Item = {}
    # In seconds since the epoch; the clock of the machine begins at 1,000,000,000.
    after = draw(st.sampled_from([None, None, 0, 60, 4_000]))
    if after is not None:
        more["ttl"] = number(str(1_000_000_000 + after))
    if table == ROWS and draw(st.integers(0, 3)):
        more["g"] = "S", draw(st.sampled_from("xy"))
        more["u"] = draw(st.sampled_from([number("0"), number("1"), number("2"), ("S", "a")]))
        if draw(st.integers(0, 5)) == 0:
            del more["g"]
    return more


@st.composite
def moves(draw: st.DrawFn) -> Write:
    """A write that gives an item another place in the index, or none, or takes it away."""
    table, key = draw(keys())
    if draw(st.integers(0, 3)) == 0:
        return Write("Delete", table, key)
    if draw(st.integers(0, 2)) == 0:
        return Write("Put", table, key, {**USUAL, **draw(_more_of(table)), **key})
    name = draw(st.sampled_from(["g", "u", "n"]))
    if draw(st.integers(0, 3)) == 0:
        return Write("Update", table, key, actions=[("remove", (name,))])
    value: Value = ("S", draw(st.sampled_from("xy"))) if name == "g" else draw(_low)
    return Write("Update", table, key, actions=[("set", (name,), ("given", value))])
