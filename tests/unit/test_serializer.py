"""Stored values as text: exact, deterministic, of any depth, and deaf to what data asks for."""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pydantic
import pytest

from flowcraft.core.values import copy_value, snapshot
from flowcraft.engine.serializer import JsonSerializer, Serializer
from flowcraft.errors import SerializationError
from tests.deep import identical

BERLIN = ZoneInfo("Europe/Berlin")


class Point:
    """A type of the user's."""

    def __init__(self, x: Any) -> None:
        self.x = x


class Level(enum.Enum):
    LOW = 1
    SPAN = (1, 2)


@dataclass(frozen=True)
class Line:
    price: Decimal
    level: Level = Level.LOW


@dataclass
class Order:
    lines: list[Line]
    note: str | None = None
    total: Decimal = field(init=False, default=Decimal(0))


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    given: int = pydantic.Field(alias="givenName")
    lines: list[Line]

    @pydantic.computed_field  # type: ignore[prop-decorator]
    @property
    def count(self) -> int:
        return len(self.lines)


@pytest.fixture
def serializer() -> JsonSerializer:
    return JsonSerializer()


ROUND_TRIPS: list[Any] = [
    None,
    False,
    0,
    -(2**63),
    10**600,
    [10**5000],
    [-(7**9000), 1],
    -0.0,
    5e-324,
    0.1,
    float("nan"),
    [float("inf"), {"a": -float("inf")}],
    "",
    'quotes " and \\ and \u2028 and 🐌 and \x00',
    '"$type":',
    b"",
    bytes(range(256)),
    Decimal("-0.00"),
    Decimal("NaN"),
    UUID(int=2**127),
    date(1, 1, 1),
    datetime(2024, 1, 2, 3, 4, 5, 678901),  # noqa: DTZ001 naive ones are values too
    datetime(2024, 10, 27, 2, 30, fold=1),  # noqa: DTZ001
    datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=BERLIN),
    datetime(2024, 1, 2, tzinfo=UTC),
    datetime(2024, 1, 2, tzinfo=timezone(-timedelta(hours=3, seconds=7))),
    datetime(2024, 1, 2, tzinfo=timezone(timedelta(microseconds=-1))),
    time(23, 59, 59, 999999),
    time(1, tzinfo=timezone(timedelta(microseconds=1))),
    time(1, 30, fold=1, tzinfo=BERLIN),
    time(1, 30, tzinfo=UTC),
    timedelta.min,
    timedelta.max,
    set(),
    {1, "1", None, 1.5, b"x", date(2024, 1, 1)},
    {(1, (2, frozenset({3, "a"}))), frozenset()},
    {"$type": "datetime", "value": "2024-01-01"},
    {"$type": None},
    {"$type": {"$type": {"value": [{"$type": {1, 2}}]}}},
    {'x"$type': 1, "when": date(2024, 1, 1)},
    {"": [], " ": {}, "ключ": [[], {}]},
]


@pytest.mark.parametrize("value", ROUND_TRIPS)
def test_round_trip(serializer: JsonSerializer, value: Any) -> None:
    """Every stored value comes back as it was, alone and inside of others."""
    for whole in (value, [value, {"a": value}]):
        text = serializer.dumps(whole)
        assert identical(serializer.loads(text), whole)
        assert text.encode("utf-8")


@pytest.mark.parametrize("value", [[1, 2.5, "é"], {"a": None, "b": [True]}, "x", 3])
def test_plain_data_is_plain_json(serializer: JsonSerializer, value: Any) -> None:
    """What JSON has is written as any other program would write it."""
    assert json.loads(serializer.dumps(value)) == value


def test_tags_are_as_documented(serializer: JsonSerializer) -> None:
    """The text of an extra type is an object that says its type, readable for others."""
    assert serializer.dumps([date(2024, 1, 2), b"hi"]) == (
        '[{"$type":"date","value":"2024-01-02"},{"$type":"bytes","value":"aGk="}]'
    )


def test_equal_sets_have_equal_text(serializer: JsonSerializer) -> None:
    """The order of a set's members, which Python varies, does not show."""
    one = {8, 0, 16, "b", "a", (2, 1), frozenset({3})}
    other: set[Any] = set()
    for member in ["a", frozenset({3}), 16, (2, 1), 0, "b", 8]:
        other.add(member)
    assert serializer.dumps(one) == serializer.dumps(other)


@pytest.mark.parametrize(
    ("bottom", "depth"),
    [
        ("x", 100_000),
        (float("nan"), 2000),
        ({"$type": 1}, 2000),
        ({1, 2}, 2000),
        (datetime(2024, 1, 1, tzinfo=UTC), 2000),
    ],
)
def test_depth_is_not_limited_by_the_interpreter(
    serializer: JsonSerializer, bottom: Any, depth: int
) -> None:
    """Values nested far beyond the recursion limit are written and read back."""
    value = bottom
    for level in range(depth):
        value = {"in": value, "n": level} if level % 2 else [[], value, {}]
    text = serializer.dumps(value)
    assert identical(serializer.loads(text), value)


def test_both_writers_agree(serializer: JsonSerializer) -> None:
    """A NaN beside it, which takes the slower writer, changes nothing about other values."""
    for value in ROUND_TRIPS:
        fast = serializer.dumps([value])
        assert serializer.dumps([value, float("nan")])[: len(fast) - 1] == fast[:-1]


MALFORMED = [
    " ,",
    "nul",
    "[1,2",
    "[1,]",
    "[1 2]",
    '{"a" 1}',
    '{"a":1,}',
    "{1:2}",
    '"open',
    "1 2",
    '{"a":1}]',
    "[1}",
]


@pytest.mark.parametrize("text", MALFORMED)
def test_malformed_text_is_refused(serializer: JsonSerializer, text: str) -> None:
    """Text that is not JSON is an error of ours at any depth."""
    for whole in (text, "[" * 5000 + text + "]" * 5000):
        with pytest.raises(SerializationError, match="cannot be read back"):
            serializer.loads(whole)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"$type":"os.system","value":"true"}', "'os.system' is not known here; register"),
        ('{"$type":"builtins.print"}', "not known here"),
        ('{"$type":3,"value":1}', "'$type' is 3"),
        ('{"$type":"datetime"}', "malformed 'datetime'"),
        ('{"$type":"timedelta","value":"x"}', "malformed 'timedelta'"),
        ('{"$type":"datetime","value":3}', "malformed 'datetime'"),
        ('{"$type":"datetime","value":"2024-01-01","zone":"Mars/Base"}', "package 'tzdata'"),
        ('{"$type":"datetime","value":"2024-01-01","zone":"../../etc/passwd"}', "malformed"),
        ('{"$type":"set","value":[[1]]}', "malformed 'set'"),
        ('{"$type":"decimal","value":"x"}', "malformed 'decimal'"),
        ('{"$type":"bytes","value":"*"}', "malformed 'bytes'"),
        ('{"$type":"dict","value":[[1,2]]}', "malformed 'dict'"),
    ],
)
def test_data_chooses_no_class(serializer: JsonSerializer, text: str, message: str) -> None:
    """A tag that was not registered, or a malformed one, is refused and never looked up."""
    with pytest.raises(SerializationError) as caught:
        serializer.loads(f"[{text}]")
    assert message in str(caught.value)


def test_hashing_cannot_be_driven_too_deep(serializer: JsonSerializer) -> None:
    """Stored text with tuples nested without end is refused before it is hashed."""
    text = '{"$type":"tuple","value":[' * 5000 + "]}" * 5000
    with pytest.raises(SerializationError, match="nested too deeply"):
        serializer.loads(text)


@pytest.mark.parametrize(
    ("value", "message"),
    [(object(), "it is an object"), ({(1, 2): 3}, "keys must be text"), ([Point(1)], "register")],
)
def test_other_values_cannot_be_written(
    serializer: JsonSerializer, value: Any, message: str
) -> None:
    """What is not a stored value is refused by the writer, too."""
    with pytest.raises(SerializationError, match=message):
        serializer.dumps(value)


def test_a_cycle_cannot_be_written(serializer: JsonSerializer) -> None:
    """A value that contains itself ends in an error, not in endless text."""
    value: list[Any] = []
    value.append({"a": value})
    with pytest.raises(SerializationError, match="contains itself"):
        serializer.dumps(value)


def test_a_registered_type_is_kept(serializer: JsonSerializer) -> None:
    """Registered instances come back as instances, whatever they hold."""
    serializer.register(Point, encode=lambda p: (p.x,), decode=lambda data: Point(data[0]))
    value = snapshot([Point({"a": Point({1})})], registered=serializer.codec_for)
    back = copy_value(serializer.loads(serializer.dumps(value)), registered=serializer.codec_for)
    assert isinstance(back[0], Point)
    assert back[0].x["a"].x == {1}


def test_registered_types_may_be_nested_deeply(serializer: JsonSerializer) -> None:
    """A long chain of registered instances is written and read without recursion."""
    serializer.register(Point, encode=lambda p: p.x, decode=Point)
    value = Point(0)
    for _ in range(5000):
        value = Point([value])
    back = serializer.loads(serializer.dumps(value))
    for _ in range(5000):
        (back,) = back.x
    assert back.x == 0


def test_dataclasses_enums_and_models_need_no_functions(serializer: JsonSerializer) -> None:
    """They know their own fields; nested ones and fields set by hand come back as well."""
    for cls in (Order, Level, Model):
        serializer.register(cls)
    order = Order([Line(Decimal("1.5"), Level.SPAN)])
    order.total = Decimal(9)
    model = Model(givenName=1, lines=[Line(Decimal(2))])
    value = [order, Level.SPAN, model]
    stored = snapshot(value, registered=serializer.codec_for)
    assert stored == value
    assert stored[0] is not order
    assert serializer.loads(serializer.dumps(stored)) == value


def test_register_works_as_a_decorator(serializer: JsonSerializer) -> None:
    """It gives the class back, and registering it once more changes nothing."""
    assert serializer.register(Line) is Line
    assert serializer.register(Line) is Line
    assert serializer.loads(serializer.dumps(Line(Decimal(1)))) == Line(Decimal(1))


def test_a_tag_can_be_chosen(serializer: JsonSerializer) -> None:
    """The given tag stands in the text, so that the class may be renamed later."""
    serializer.register(Line, tag="order-line/1")
    assert '"$type":"order-line/1"' in serializer.dumps(Line(Decimal(1)))


@pytest.mark.parametrize(
    ("cls", "tag", "message"),
    [
        (Point, None, "needs both 'encode' and 'decode'"),
        (Line, "datetime", "not one of the serializer's own"),
        (Line, "", "not empty"),
        (dict, None, "stored already"),
        (Level, "taken", "registered as 'taken'"),
    ],
)
def test_what_cannot_be_registered(
    serializer: JsonSerializer, cls: type, tag: str | None, message: str
) -> None:
    """A registration that could not work, or would change another, is refused."""
    serializer.register(Order, tag="taken")
    with pytest.raises(SerializationError, match=message):
        serializer.register(cls, tag)


def test_the_default_fits_the_protocol(serializer: JsonSerializer) -> None:
    """The default serializer is what the protocol asks of a user's own."""
    as_protocol: Serializer = serializer
    assert as_protocol.loads(as_protocol.dumps(1)) == 1
