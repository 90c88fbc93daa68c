"""Stored data decoded into annotated types: nothing guessed, nothing lost, errors with a path."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    NotRequired,
    Optional,
    TypedDict,
    TypeVar,
    Union,
)
from uuid import UUID

import pydantic
import pytest

from flowcraft.core.values import snapshot
from flowcraft.engine.typing_input import decode_as
from flowcraft.errors import InputError
from tests.deep import identical

T = TypeVar("T")
OrderId = NewType("OrderId", int)


class Colour(enum.Enum):
    RED = "red"
    PAIR = (1, 2)


class Size(enum.IntEnum):
    BIG = 3


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


class Point(NamedTuple):
    x: int
    y: int = 0


class Options(TypedDict):
    name: str
    retries: NotRequired[int]


class Loose(TypedDict, total=False):
    name: str


@dataclass(frozen=True)
class Item:
    price: int
    colour: Colour = Colour.RED
    total: int = field(init=False, default=0)


@dataclass(slots=True)
class Order:
    items: list[Item]
    when: datetime | None = None
    at: Point | None = None
    options: Options | None = None


@dataclass
class Tree:
    name: str
    children: list[Tree] = field(default_factory=list)


@dataclass
class Box(Generic[T]):
    inside: T
    more: list[T]


@dataclass
class Cat:
    name: str


@dataclass
class Dog:
    name: str
    breed: str


@dataclass
class Unresolvable:
    what: NoSuchName  # type: ignore[name-defined]  # noqa: F821


@dataclass
class Positive:
    number: int

    def __post_init__(self) -> None:
        if self.number <= 0:
            raise ValueError("must be positive")


@dataclass
class Part:
    price: int


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    given: int = pydantic.Field(alias="givenName")
    inner: list[Part] = []

    @pydantic.computed_field  # type: ignore[prop-decorator]
    @property
    def count(self) -> int:
        return len(self.inner)


class Plain:
    """A class that nothing is known about."""


PLAIN = Plain()
ID = UUID(int=7)
WHEN = datetime(2024, 1, 2, 3, 4, tzinfo=UTC)

FITS: list[tuple[Any, Any, Any]] = [
    (Any, [1], [1]),
    (object, {"a": 1}, {"a": 1}),
    (T, 1, 1),
    (None, None, None),
    (bool, True, True),
    (int, 3, 3),
    (float, 1.5, 1.5),
    (float, 2, 2.0),
    (str, "x", "x"),
    (bytes, b"x", b"x"),
    (Decimal, Decimal("1.10"), Decimal("1.10")),
    (Decimal, "1.10", Decimal("1.10")),
    (Decimal, 9.99, Decimal("9.99")),
    (Decimal, 3, Decimal(3)),
    (datetime, WHEN, WHEN),
    (datetime, "2024-01-02T03:04:00+00:00", WHEN),
    (datetime, "2024-01-02T03:04:00Z", WHEN),
    (date, "2024-01-02", date(2024, 1, 2)),
    (time, "03:04", time(3, 4)),
    (timedelta, timedelta(1), timedelta(1)),
    (UUID, str(ID), ID),
    (Colour, "red", Colour.RED),
    (Colour, [1, 2], Colour.PAIR),
    (Colour, Colour.RED, Colour.RED),
    (Size, 3, Size.BIG),
    (Rights, 3, Rights.READ | Rights.WRITE),
    (Literal["a", 1], 1, 1),
    (Literal[Colour.RED], "red", Colour.RED),
    (list, [1, "a"], [1, "a"]),
    (list[float], [1, 2.5], [1.0, 2.5]),
    (Sequence[int], [1], [1]),
    (Iterable[int], [1], [1]),
    (tuple, [1, "a"], (1, "a")),
    (tuple[int, ...], [1, 2], (1, 2)),
    (tuple[int, str], [1, "a"], (1, "a")),
    (tuple[()], [], ()),
    (set[str], {"a"}, {"a"}),
    (set[Colour], ["red"], {Colour.RED}),
    (frozenset[int], {1}, frozenset({1})),
    (AbstractSet[int], [1], {1}),
    (dict, {"a": 1}, {"a": 1}),
    (dict[str, float], {"a": 1}, {"a": 1.0}),
    (dict[int, str], {"-3": "x"}, {-3: "x"}),
    (dict[Colour, int], {"red": 1}, {Colour.RED: 1}),
    (Mapping[str, list[int]], {"a": [1]}, {"a": [1]}),
    (
        Optional[int],  # noqa: UP045 written by many
        None,
        None,
    ),
    (int | None, 1, 1),
    (float | int, 3, 3),
    (str | datetime, "2024-01-02", "2024-01-02"),
    (datetime | str, "hello", "hello"),
    (
        Union[list[int], int],  # noqa: UP007
        [1],
        [1],
    ),
    (Annotated[int, "unit"], 1, 1),
    (list[Annotated[int, ["unhashable"]]], [1], [1]),
    (OrderId, 3, 3),
    (Plain, PLAIN, PLAIN),
    (Point, [1, 2], Point(1, 2)),
    (Point, [1], Point(1)),
    (Point, {"x": 1}, Point(1)),
    (Options, {"name": "a", "extra": 1}, {"name": "a", "extra": 1}),
    (Loose, {}, {}),
    (Item, {"price": 1, "unknown": 2, "total": 9}, Item(1)),
    (
        Order,
        {"items": [{"price": 1, "colour": "red"}], "at": [1, 2]},
        Order([Item(1)], None, Point(1, 2)),
    ),
    (Box[int], {"inside": 1, "more": [2]}, Box(1, [2])),
    (Box[Item], {"inside": {"price": 1}, "more": []}, Box(Item(1), [])),
    (Box, {"inside": "x", "more": [1]}, Box("x", [1])),
    (Cat | Dog, {"name": "a", "breed": "b"}, Dog("a", "b")),
    (Cat | Dog, {"name": "a"}, Cat("a")),
    (Tree, {"name": "a", "children": [{"name": "b"}]}, Tree("a", [Tree("b")])),
    (Model, {"given": 1, "inner": [{"price": 2}]}, Model(givenName=1, inner=[Part(2)])),
    (Model, {"givenName": 1}, Model(givenName=1)),
    (pydantic.RootModel[list[int]], [1], pydantic.RootModel[list[int]]([1])),
    (list[Model], [{"given": 1}], [Model(givenName=1)]),
]


@pytest.mark.parametrize(("annotation", "value", "decoded"), FITS)
def test_data_that_fits(annotation: Any, value: Any, decoded: Any) -> None:
    """Data becomes a value of the annotated type, and so does data inside of lists and dicts."""
    found = decode_as(annotation, value)
    assert found == decoded
    assert type(found) is type(decoded)
    assert decode_as(list[annotation], [value]) == [decoded]
    assert decode_as(dict[str, annotation], {"a": value}) == {"a": decoded}


MISFITS: list[tuple[Any, Any, str]] = [
    (int, True, "input: expected int, got bool True"),
    (int, 1.0, "input: expected int, got float 1.0"),
    (int, "1", "input: expected int, got text '1'"),
    (bool, 1, "input: expected bool, got int 1"),
    (float, True, "expected float, got bool True"),
    (float, 2**53 + 1, "a float cannot hold"),
    (float, 10**400, "a float cannot hold"),
    (str, None, "expected text, got null"),
    (None, 0, "expected null, got int 0"),
    (bytes, "x", "expected bytes, got text 'x'"),
    (Decimal, "x", "expected Decimal, got text 'x'"),
    (Decimal, True, "expected Decimal, got bool True"),
    (datetime, "yesterday", "expected datetime or its ISO 8601 text, got text 'yesterday'"),
    (date, WHEN, "expected date or its ISO 8601 text, got datetime"),
    (UUID, "x", "expected UUID or its text"),
    (Colour, "blue", "expected one of 'red', <tuple of 2> (Colour), got text 'blue'"),
    (Size, True, "(Size), got bool True"),
    (Size, 4, "expected one of 3 (Size), got int 4"),
    (Literal["a", 1], True, "expected one of 'a', 1, got bool True"),
    (list[int], "ab", "expected list, got text 'ab'"),
    (list[int], {"a": 1}, "expected list, got dict of 1"),
    (list[int], [1, [2]], "input[1]: expected int, got list of 1"),
    (tuple[int, str], [1], "expected list of 2, got list of 1"),
    (set[int], [1, 1], "duplicates"),
    (set[Any], [[1]], "its members cannot be in a set"),
    (dict[str, int], [], "expected dict, got list of 0"),
    (dict[str, int], {"a b": "x"}, "input['a b']: expected int"),
    (dict[int, int], {"01": 1}, "input['01']: expected int, got text '01'"),
    (int | str, [], "expected int or str, got list of 0"),
    (int | None, "x", "expected int or null, got text 'x'"),
    (Order, {"items": [{"price": "x"}]}, "input.items[0].price: expected int, got text 'x'"),
    (Order, {"items": [{"price": 1}, {}]}, "input.items[1]: 'price' is missing, which Item needs"),
    (Order | None, {"items": [{"price": None}]}, "input.items[0].price: expected int, got null"),
    (Order, {"items": [], "options": {}}, "input.options: 'name' is missing"),
    (Order, [1], "expected dict (Order), got list of 1"),
    (Options, {"name": "a", "retries": "x"}, "input.retries: expected int"),
    (Point, [1, 2, 3], "expected list of 2 (Point), got list of 3"),
    (Point, {}, "'x' is missing"),
    (Box[int], {"inside": 1, "more": ["x"]}, "input.more[0]: expected int"),
    (Positive, {"number": 0}, "Positive refused it: ValueError: must be positive"),
    (Unresolvable, {"what": 1}, "the annotations of Unresolvable cannot be resolved"),
    (Model, {"given": "x"}, "input.given: Input should be a valid integer"),
    (Model, {"given": 1, "inner": [{}]}, "input.inner[0].price: Field required"),
    (Plain, {}, "expected an instance of Plain, got dict of 0"),
    (list["Item"], [1], "nothing can be decoded into the annotation"),
]


@pytest.mark.parametrize(("annotation", "value", "message"), MISFITS)
def test_data_that_does_not_fit(annotation: Any, value: Any, message: str) -> None:
    """Wrong data is refused with the path, what was expected and what was there."""
    with pytest.raises(InputError) as caught:
        decode_as(annotation, value)
    assert message in str(caught.value)


def test_what_nodes_return_comes_back_as_what_it_was() -> None:
    """Dataclasses, enums and models survive being stored as data, at a typed receiver."""
    order = Order([Item(1, Colour.PAIR)], WHEN, Point(1, 2), {"name": "a", "retries": 2})
    model = Model(givenName=1, inner=[Part(2)])
    for value in (order, model, Box(inside=1, more=[2]), Rights.READ):
        assert decode_as(type(value), snapshot(value)) == value


def test_the_root_of_paths_can_be_named() -> None:
    """The path starts with what the value is."""
    with pytest.raises(InputError, match=r"^answer\[0\]: "):
        decode_as(list[int], ["x"], where="answer")


def test_depth_is_bounded_where_types_recurse() -> None:
    """A recursive type takes 80 levels of data; 10,000 are an error, not a crash."""
    for levels, is_fine in ((80, True), (10_000, False)):
        data: dict[str, Any] = {"name": "leaf"}
        for _ in range(levels):
            data = {"name": "n", "children": [data]}
        if is_fine:
            assert decode_as(Tree, data).children[0].name == "n"
        else:
            with pytest.raises(InputError, match="nested more than 200 levels deep"):
                decode_as(Tree, data)


def test_data_of_unknown_type_may_be_deep() -> None:
    """Below ``Any`` nothing is walked, so any depth is fine."""
    data: Any = 1
    for _ in range(100_000):
        data = [data]
    assert decode_as(dict[str, Any], {"a": data})["a"] is data


def test_unions_do_not_depend_on_the_order_for_exact_types() -> None:
    """The member of the value's own type wins over one that it could be turned into."""
    for annotation in (int | float, float | int):
        assert identical([decode_as(annotation, 3), decode_as(annotation, 3.0)], [3, 3.0])
