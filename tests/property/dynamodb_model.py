"""DynamoDB as a plain model: dicts, lists, and the rules of the developer guide one by one.

It shares nothing with the fake. Conditions and updates are trees of tuples, so that it needs to
read no texts; `tests/property/dynamodb_texts.py` writes them down for the fake. Nothing in it is
there for speed.

A value is a pair of its type and its content: ``("N", Decimal(1))``, ``("L", [...])``,
``("M", {...})``, ``("SS", frozenset(...))``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

Value = tuple[str, Any]
Item = dict[str, Value]
Path = tuple[str | int, ...]
Tree = tuple[Any, ...]
"""A condition, an operand or an action: what it is, and its parts."""

ITEM_BYTES = 409_600
PAGE_BYTES = 1_048_576
OLDEST_EXPIRY_SECONDS = 5 * 365 * 86_400


class Refused(Exception):
    """A request that the model refuses."""

    def __init__(self, code: str, item: Item | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.item = item


# --- values --------------------------------------------------------------------------------------


def native(given: dict[str, Any]) -> Value:
    """A value of the model from one of boto3."""
    ((kind, content),) = given.items()
    match kind:
        case "N":
            return kind, Decimal(content)
        case "SS" | "BS":
            return kind, frozenset(content)
        case "NS":
            return kind, frozenset(Decimal(each) for each in content)
        case "L":
            return kind, [native(each) for each in content]
        case "M":
            return kind, native_item(content)
        case _:
            return kind, content


def native_item(given: dict[str, Any]) -> Item:
    """An item of the model from one of boto3."""
    return {name: native(value) for name, value in given.items()}


def given(value: Value) -> dict[str, Any]:
    """A value of boto3 from one of the model."""
    kind, content = value
    match kind:
        case "N":
            return {kind: f"{content:f}"}
        case "SS" | "BS":
            return {kind: sorted(content)}
        case "NS":
            return {kind: [f"{each:f}" for each in sorted(content)]}
        case "L":
            return {kind: [given(each) for each in content]}
        case "M":
            return {kind: given_item(content)}
        case _:
            return {kind: content}


def given_item(item: Item) -> dict[str, Any]:
    """An item of boto3 from one of the model."""
    return {name: given(value) for name, value in item.items()}


def number_bytes(number: Decimal) -> int:
    """A byte, one for each pair of digits around the point that is not all outside, one for -."""
    if number == 0:
        return 1
    whole, _, rest = f"{abs(number):f}".partition(".")
    whole = whole if len(whole) % 2 == 0 else "0" + whole
    rest = rest if len(rest) % 2 == 0 else rest + "0"
    pairs = [(whole + rest)[at : at + 2] for at in range(0, len(whole + rest), 2)]
    while pairs[0] == "00":
        pairs.pop(0)
    while pairs[-1] == "00":
        pairs.pop()
    return 1 + len(pairs) + (number < 0)


def value_bytes(value: Value) -> int:
    """How many bytes a value counts for."""
    kind, content = value
    match kind:
        case "S":
            return len(content.encode())
        case "N":
            return number_bytes(content)
        case "B":
            return len(content)
        case "SS" | "NS" | "BS":
            return sum(value_bytes((kind[0], each)) for each in content)
        case "L":
            return 3 + sum(1 + value_bytes(each) for each in content)
        case "M":
            return 3 + sum(1 + len(k.encode()) + value_bytes(v) for k, v in content.items())
        case _:
            return 1


def item_bytes(item: Item | None) -> int:
    """How many bytes an item counts for; none for one that is not there."""
    return sum(len(name.encode()) + value_bytes(value) for name, value in (item or {}).items())


def at(item: Item, path: Path) -> Value | None:
    """What stands at a path."""
    value: Value | None = ("M", item)
    for step in path:
        if value is None:
            return None
        kind, content = value
        if isinstance(step, str):
            value = content.get(step) if kind == "M" else None
        else:
            value = content[step] if kind == "L" and step < len(content) else None
    return value


def projected(item: Item, names: list[str] | None) -> Item:
    """The attributes of an item that are asked for."""
    return {name: item[name] for name in item if names is None or name in names}


# --- conditions ----------------------------------------------------------------------------------


def operand(tree: Tree, item: Item) -> Value | None:
    """What an operand of a condition is."""
    match tree:
        case ("path", path):
            return at(item, path)
        case ("given", value):
            return value  # type: ignore[no-any-return]  # it is a value
        case ("size", path):
            found = at(item, path)
            if found is None or found[0] in ("N", "BOOL", "NULL"):
                return None
            if found[0] == "S":
                return "N", Decimal(sum(1 + (ord(sign) > 0xFFFF) for sign in found[1]))
            return "N", Decimal(len(found[1]))
    raise AssertionError(tree)


def compared(sign: str, left: Value | None, right: Value | None) -> bool:
    """Whether two values are in an order."""
    if left is None or right is None or left[0] != right[0] or left[0] not in ("S", "N", "B"):
        return False
    one, other = left[1], right[1]
    if left[0] == "S":
        one, other = one.encode(), other.encode()
    orders = {"<": one < other, "<=": one <= other, ">": one > other, ">=": one >= other}
    return bool(orders[sign])


def holds(tree: Tree, item: Item) -> bool:
    """Whether a condition holds for an item; one that is not there has no attributes."""
    match tree:
        case ("and", left, right):
            return holds(left, item) and holds(right, item)
        case ("or", left, right):
            return holds(left, item) or holds(right, item)
        case ("not", inner):
            return not holds(inner, item)
        case ("exists", path):
            return at(item, path) is not None
        case ("missing", path):
            return at(item, path) is None
        case ("type", path, kind):
            found = at(item, path)
            return found is not None and found[0] == kind
    return _compares(tree, item)


def _compares(tree: Tree, item: Item) -> bool:
    first, *others = [operand(each, item) for each in tree[2:]]
    match tree[0], tree[1]:
        case "compare", "=":
            return first is not None and first == others[0]
        case "compare", "<>":
            return not (first is not None and first == others[0])
        case "compare", sign:
            return compared(sign, first, others[0])
        case "between", _:
            return compared(">=", first, others[0]) and compared("<=", first, others[1])
        case "in", _:
            return first is not None and first in others
        case "begins", _:
            return _begins(first, others[0])
        case "contains", _:
            return _contains(first, others[0])
    raise AssertionError(tree)


def _begins(value: Value | None, beginning: Value | None) -> bool:
    if value is None or beginning is None or value[0] != beginning[0]:
        return False
    return value[0] in ("S", "B") and bool(value[1].startswith(beginning[1]))


def _contains(value: Value | None, part: Value | None) -> bool:
    if value is None or part is None:
        return False
    match value[0]:
        case "S" | "B":
            return part[0] == value[0] and part[1] in value[1]
        case "L":
            return part in value[1]
        case "SS" | "NS" | "BS":
            return part[0] == value[0][0] and part[1] in value[1]
    return False


# --- updates -------------------------------------------------------------------------------------


class _Gone:
    """Stands where something was removed, until everything else has been done."""


_GONE: Any = _Gone()


def assigned(tree: Tree, item: Item) -> Value:
    """What is assigned, by the item as it was before the update."""
    match tree:
        case ("given", value):
            found: Value | None = value
        case ("path", path):
            found = at(item, path)
        case ("if_not_exists", path, otherwise):
            instead = assigned(otherwise, item)
            there = at(item, path)
            found = instead if there is None else there
        case ("append", left, right):
            one, other = assigned(left, item), assigned(right, item)
            found = ("L", one[1] + other[1]) if one[0] == other[0] == "L" else None
        case ("sum", sign, left, right):
            one, other = assigned(left, item), assigned(right, item)
            if not one[0] == other[0] == "N":
                raise Refused("ValidationException")
            found = ("N", one[1] + other[1] if sign == "+" else one[1] - other[1])
        case _:
            raise AssertionError(tree)
    if found is None:
        raise Refused("ValidationException")
    return found


def _result(action: Tree, item: Item) -> Any:
    """What an action leaves at its path: a value, nothing at all, or what is there (None)."""
    kind, path = action[:2]
    if kind == "remove":
        return _GONE
    if kind == "set":
        return assigned(action[2], item)
    value, there = action[2], at(item, path)
    if there is None:
        return value if kind == "add" else None
    if there[0] != value[0]:
        raise Refused("ValidationException")
    if kind == "add":
        return (
            (value[0], there[1] + value[1]) if value[0] == "N" else (value[0], there[1] | value[1])
        )
    left = there[1] - value[1]
    return (value[0], left) if left else _GONE


def updated(item: Item, actions: list[Tree]) -> Item:
    """What an update makes of an item."""
    results = [(action[1], _result(action, item)) for action in actions]
    root: Value = ("M", _copied(("M", item))[1])
    added: list[tuple[int, Path, Value]] = []
    for path, result in results:
        container = at(root[1], path[:-1]) if len(path) > 1 else root
        last = path[-1]
        if container is None or container[0] != ("L" if isinstance(last, int) else "M"):
            raise Refused("ValidationException")
        if result is None:
            continue
        if isinstance(last, int) and last >= len(container[1]):
            if result is not _GONE:
                added.append((last, path, result))
        else:
            container[1][last] = result
    for _, path, result in sorted(added, key=lambda each: each[0]):
        container = at(root[1], path[:-1])
        assert container is not None
        container[1].append(result)
    return _swept(root)[1]  # type: ignore[no-any-return]  # a map's content is an item


def _copied(value: Value) -> Value:
    kind, content = value
    if kind == "L":
        return kind, [_copied(each) for each in content]
    if kind == "M":
        return kind, {name: _copied(each) for name, each in content.items()}
    return value


def _swept(value: Value) -> Value:
    kind, content = value
    if kind == "L":
        return kind, [_swept(each) for each in content if each is not _GONE]
    if kind == "M":
        return kind, {name: _swept(each) for name, each in content.items() if each is not _GONE}
    return value


# --- tables --------------------------------------------------------------------------------------


@dataclass
class State:
    """What an item was from some time on; None for not there."""

    item: Item | None
    ended_at: float = float("inf")


@dataclass
class Index:
    """A global secondary index: its name, its two key attributes, and all that it has."""

    name: str
    keys: tuple[str, str]
    has: list[str]

    def row(self, item: Item | None) -> Item | None:
        """What the index has of an item; None for one that it does not have."""
        if item is None or any(key not in item for key in self.keys):
            return None
        return projected(item, self.has)

    def key_of(self, item: Item | None) -> list[Value] | None:
        """The key of an item in the index."""
        row = self.row(item)
        return None if row is None else [row[key] for key in self.keys]


@dataclass
class Write:
    """A write: Put, Update, Delete or ConditionCheck."""

    kind: str
    table: str
    key: Item
    item: Item = field(default_factory=dict)
    actions: list[Tree] | None = None
    condition: Tree | None = None
    returns_item: bool = False


@dataclass
class Table:
    """A table: all states that its items ever had, the newest first."""

    name: str
    keys: list[str]
    types: dict[str, str]
    index: Index | None = None
    states: dict[str, list[State]] = field(default_factory=dict)
    read: Decimal = Decimal(0)
    written: Decimal = Decimal(0)

    def name_of(self, item: Item) -> str:
        """The key of an item as a text."""
        return repr([item[key] for key in self.keys])

    def newest(self, name: str) -> Item | None:
        """What an item is."""
        return self.states[name][0].item if name in self.states else None

    def visible(self, name: str, now: float, limit: int, seconds: float) -> list[Item | None]:
        """What a read that may be stale can see of an item, the newest first."""
        states = self.states.get(name, [State(None)])
        earlier = [each.item for each in states[1:limit] if each.ended_at >= now - seconds]
        return [states[0].item, *earlier]

    def there(self) -> list[Item]:
        """All items."""
        return [each[0].item for each in self.states.values() if each[0].item is not None]

    def store(self, name: str, item: Item | None, now: float) -> None:
        """Give an item its next state."""
        states = self.states.setdefault(name, [State(None)])
        states[0].ended_at = now
        states.insert(0, State(item))

    def outcome(self, write: Write) -> tuple[bool, Item | None]:
        """Whether a write stores anything, and what; raises Refused."""
        old = self.newest(self.name_of(write.key))
        if write.condition is not None and not holds(write.condition, old or {}):
            shown = old if write.returns_item else None
            raise Refused("ConditionalCheckFailedException", shown)
        if write.kind == "ConditionCheck":
            return False, old
        if write.kind == "Delete":
            return old is not None, None
        new = write.item
        if write.kind == "Update":
            if old is None and write.actions and not creates(write.actions):
                return False, None
            new = {**write.key, **updated(old or {}, write.actions or [])}
        if item_bytes(new) > ITEM_BYTES:
            raise Refused("ValidationException")
        for key in self.index.keys if self.index else ():
            if key in new and new[key][0] != self.types[key]:
                raise Refused("ValidationException")
        return True, new

    def cost(self, old: Item | None, new: Item | None, stored: bool, times: int) -> dict[str, int]:
        """The write units of a write, by the table and its index."""
        units = {self.name: times * kilobytes(max(item_bytes(old), item_bytes(new)))}
        if self.index is not None and stored:
            units[self.index.name] = times * self._cost_of_index(self.index, old, new)
        return units

    def _cost_of_index(self, index: Index, old: Item | None, new: Item | None) -> int:
        before, after = index.row(old), index.row(new)
        if before == after:
            return 0
        if before and after and index.key_of(old) != index.key_of(new):
            return kilobytes(item_bytes(before)) + kilobytes(item_bytes(after))
        return kilobytes(max(item_bytes(before), item_bytes(after)))

    def has_expired(self, item: Item, now: float) -> bool:
        """Whether an item may be removed, since its time is over, and was not very long ago."""
        kind, content = item.get("ttl", ("", 0))
        return kind == "N" and now - OLDEST_EXPIRY_SECONDS < float(content) < now


def creates(actions: list[Tree]) -> bool:
    """Whether an update creates an item that is not there: one with SET or ADD does."""
    return any(action[0] in ("set", "add") for action in actions)


def kilobytes(size: int) -> int:
    """Write units: one for each kilobyte that was begun, and at least one."""
    whole, rest = divmod(size, 1024)
    return max(1, whole + (rest > 0))


def read_units(size: int, consistent: bool) -> Decimal:
    """Read units: one for each four kilobytes that were begun, half of it if it may be stale."""
    whole, rest = divmod(size, 4096)
    units = Decimal(max(1, whole + (rest > 0)))
    return units if consistent else units / 2
