"""What a node may return, and what becomes of it."""

from __future__ import annotations

import enum
import types
from collections import OrderedDict, UserDict, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import pydantic
import pytest

from flowcraft.core.values import EXACT_SCALARS, Codec, copy_value, is_scalar, snapshot
from flowcraft.errors import SerializationError
from tests.deep import identical

DEPTH = 100_000


class Colour(enum.Enum):
    RED = "red"
    PAIR = (1, 2)


class Size(enum.IntEnum):
    BIG = 3


class Point(NamedTuple):
    x: int
    y: int


@dataclass(frozen=True)
class Item:
    name: str
    tags: list[str] = field(default_factory=list)
    colour: Colour = Colour.RED


@dataclass(frozen=True)
class Mark:
    name: str


class Model(pydantic.BaseModel):
    when: datetime
    items: list[Item]

    @pydantic.computed_field  # type: ignore[prop-decorator]
    @property
    def count(self) -> int:
        return len(self.items)


class Money:
    """A type of the user's that is no data by itself."""

    def __init__(self, cents: Any) -> None:
        self.cents = cents


MONEY = Codec(Money, "money", lambda money: {"cents": money.cents}, lambda data: Money(**data))


def money_only(cls: type) -> Codec[Any] | None:
    return MONEY if cls is Money else None


class OddZone(tzinfo):
    """A zone that stored text cannot name."""

    def utcoffset(self, moment: datetime | None) -> timedelta | None:
        return timedelta(hours=1) if moment is not None else None

    def dst(self, moment: datetime | None) -> timedelta | None:
        return None

    def tzname(self, moment: datetime | None) -> str:
        return "odd"


def nested(levels: int) -> Any:
    value: Any = "the end"
    for level in range(levels):
        value = {"in": value} if level % 2 else [value]
    return value


SCALARS = [
    None,
    True,
    7,
    10**4000,
    -0.0,
    float("inf"),
    "naïve 🐌",
    b"\x00\xff",
    Decimal("1.10"),
    UUID(int=5),
    date(2024, 2, 29),
    time(12, 30, tzinfo=UTC),
    timedelta(days=-1, microseconds=3),
    datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin")),
]


@pytest.mark.parametrize("value", SCALARS)
def test_scalars_are_shared(value: object) -> None:
    """A scalar is immutable and is given back itself, by both ways of copying."""
    assert snapshot(value) is value
    assert copy_value(value) is value
    assert is_scalar(value)
    assert type(value) in EXACT_SCALARS


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ((1, (2, "é")), [1, [2, "é"]]),
        (Point(1, 2), [1, 2]),
        (Colour.RED, "red"),
        (Colour.PAIR, [1, 2]),
        (Size.BIG, 3),
        (Item("a", ["b"]), {"name": "a", "tags": ["b"], "colour": "red"}),
        (OrderedDict(a=1), {"a": 1}),
        (defaultdict(list, a=[1]), {"a": [1]}),
        (UserDict({"a": (1,)}), {"a": [1]}),
        (types.MappingProxyType({"a": 1}), {"a": 1}),
        ({Colour.RED: 1}, {"red": 1}),
        (frozenset({1}), {1}),
        ({(1, frozenset({2})), Size.BIG}, {(1, frozenset({2})), 3}),
        (bytearray(b"x"), b"x"),
        (memoryview(b"x"), b"x"),
        (type("Text", (str,), {})("x"), "x"),
        (type("Number", (float,), {})(1.5), 1.5),
        (type("Whole", (int,), {})(2), 2),
        (type("Day", (date,), {})(2024, 1, 2), date(2024, 1, 2)),
        (
            type("Moment", (datetime,), {})(2024, 1, 2, 3, fold=1, tzinfo=UTC),
            datetime(2024, 1, 2, 3, fold=1, tzinfo=UTC),
        ),
        (time(1, 2, tzinfo=OddZone()), time(1, 2)),
        (
            datetime(2024, 1, 2, tzinfo=OddZone()),
            datetime(2024, 1, 2, tzinfo=timezone(timedelta(hours=1))),
        ),
        ([1.5, None, [True]], [1.5, None, [True]]),
    ],
)
def test_what_has_a_plain_equivalent_becomes_it(value: object, stored: object) -> None:
    """Values of richer types become the plain data that means the same, of exact types."""
    assert identical(snapshot(value), stored)
    assert identical(snapshot({"a": [value]}), {"a": [stored]})


def test_models_become_their_fields() -> None:
    """A pydantic model becomes a dict of its fields, nested ones too, computed ones left out."""
    when = datetime(2024, 1, 1, tzinfo=UTC)
    stored = snapshot(Model(when=when, items=[Item("a")]))
    assert stored == {"when": when, "items": [{"name": "a", "tags": [], "colour": "red"}]}


def test_root_models_become_their_root() -> None:
    """A pydantic model that wraps a single value becomes that value."""
    assert snapshot([pydantic.RootModel[list[Item]]([Item("a")])]) == [snapshot([Item("a")])]
    assert snapshot(pydantic.RootModel[Colour](Colour.RED)) == "red"


@pytest.mark.parametrize("copy", [snapshot, copy_value])
def test_nothing_that_can_change_is_shared(copy: Any) -> None:
    """Changing any container of the original leaves the copy as it was."""
    original = {"a": [1, {"b": [{"c"}]}], "d": {}, "e": [[]]}
    copied = copy(original)
    original["a"][1]["b"][0].add("changed")  # type: ignore[index]
    original["d"]["changed"] = 1  # type: ignore[index]
    original["e"][0].append("changed")  # type: ignore[index]
    assert copied == {"a": [1, {"b": [{"c"}]}], "d": {}, "e": [[]]}


def test_a_container_may_be_used_twice() -> None:
    """The same list in two places is no cycle; each place gets a copy of its own."""
    shared: list[Any] = [{}]
    stored = snapshot([shared, {"again": shared}])
    assert stored == [[{}], {"again": [{}]}]
    assert stored[0] is not stored[1]["again"]


@pytest.mark.parametrize("copy", [snapshot, copy_value])
def test_depth_is_not_limited_by_the_interpreter(copy: Any) -> None:
    """Values nested far beyond the recursion limit are copied."""
    value = nested(DEPTH)
    assert identical(copy(value), value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"items": [0, 1, 2, {"price": object()}]}, "output.items[3].price cannot be stored: it"),
        ({"a b": {"1": [print]}}, "output['a b']['1'][0] cannot"),
        ([{"ok": {1: 2}}], "output[0].ok cannot be stored: its key 1 is an int"),
        ({"a": "\ud800"}, r"output.a cannot be stored: the text '\ud800' holds half"),
        ({"\udfff": 1}, r"the text '\udfff' holds half"),
        ([object], "output[0] cannot be stored: it is <class 'object'>, not data"),
        ([iter([1])], "can be read only once; make it a list"),
        (3 + 4j, "register(complex, encode=..., decode=...)"),
        ({Colour.RED: 1, "red": 2}, "two of its keys become the text 'red'"),
        ({(1, Mark("a"))}, "stored sets hold only scalars and tuples of them"),
        (Money(1), "register the type with the serializer"),
    ],
)
def test_anything_else_is_refused(value: object, message: str) -> None:
    """What cannot be stored is refused with its path, its type and what to do."""
    with pytest.raises(SerializationError) as caught:
        snapshot(value, where="output")
    assert message in str(caught.value)


def test_an_unawaited_coroutine_is_named_as_such() -> None:
    """Forgetting an await is said to be just that."""

    async def work() -> None: ...

    forgotten = work()
    with pytest.raises(SerializationError, match="nobody awaited"):
        snapshot({"a": forgotten})
    forgotten.close()


def cycles() -> Iterator[Any]:
    in_list: list[Any] = [1]
    in_list.append({"me": in_list})
    yield in_list
    in_dict: dict[str, Any] = {}
    in_dict["x"] = [({"me": in_dict},)]
    yield in_dict
    item = Item("a")
    item.tags.append(item)  # type: ignore[arg-type]
    yield item


@pytest.mark.parametrize("value", list(cycles()))
def test_a_value_that_contains_itself_is_refused(value: object) -> None:
    """A cycle is an error with the way around it, instead of a walk without end."""
    with pytest.raises(SerializationError, match="contains itself"):
        snapshot(value)


def test_a_long_path_is_shortened() -> None:
    """The error for something wrong far down shows both ends of its path."""
    value: Any = object()
    for _ in range(1000):
        value = [value]
    with pytest.raises(SerializationError) as caught:
        snapshot(value)
    assert str(caught.value).startswith("value[0][0][0][0][0][0][0][0]...(984 levels)...[0]")


def test_registered_types_are_kept_as_copies() -> None:
    """An instance of a registered type stays one, shares nothing, and may hold others."""
    original = {"sum": Money([1, Money({2})])}
    for copy in (snapshot, copy_value):
        copied = copy(original, registered=money_only)
        inner = copied["sum"].cents[1]
        original["sum"].cents[1].cents.add(3)
        assert isinstance(inner, Money)
        assert inner.cents == {2}
        original["sum"].cents[1].cents.discard(3)


def test_registered_types_may_be_nested_deeply() -> None:
    """A long chain of registered instances needs no recursion either."""
    value = Money(0)
    for _ in range(10_000):
        value = Money([value])
    copied = snapshot(value, registered=money_only)
    for _ in range(10_000):
        (copied,) = copied.cents
    assert copied.cents == 0


def test_a_codec_that_fails_is_told_with_its_cause() -> None:
    """An error in a user's codec names the type and keeps the original error as the cause."""
    broken = Codec(Money, "money", lambda money: money.cents.missing, Money)
    with pytest.raises(SerializationError, match=r"'encode' of .*Money failed") as caught:
        snapshot([Money(1)], registered=lambda cls: broken if cls is Money else None)
    assert isinstance(caught.value.__cause__, AttributeError)


def test_copy_value_refuses_what_is_not_stored() -> None:
    """Copying is not a second way in: a type that snapshot would have to look at is refused."""
    with pytest.raises(SerializationError, match=r"value\[0\] .* not part of a stored value"):
        copy_value([Item("a")])


def test_sets_nested_too_deeply_are_refused() -> None:
    """Tuples in sets have to be hashed, which recurses, so their depth has a limit."""
    member: Any = 1
    for _ in range(40):
        member = (member,)
    with pytest.raises(SerializationError, match="nested more than 32 deep"):
        snapshot({member})
