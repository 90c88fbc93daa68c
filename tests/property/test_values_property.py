"""Values of every shape: storing, copying, writing, reading and decoding them loses nothing."""

from __future__ import annotations

import contextlib
import enum
import json
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any, Literal, NamedTuple, TypedDict
from uuid import UUID
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from flowcraft.core.values import copy_value, snapshot
from flowcraft.engine.json_text import read_deep, write_deep
from flowcraft.engine.serializer import JsonSerializer
from flowcraft.engine.typing_input import decode_as
from flowcraft.errors import InputError, SerializationError
from tests.deep import identical

SERIALIZER = JsonSerializer()

texts = st.text(max_size=8) | st.sampled_from(["$type", "value", '"$type":', "\\", "\u2028", "a.b"])
offsets = st.timedeltas(timedelta(hours=-23, minutes=-59), timedelta(hours=23, minutes=59))
zones = (
    st.none()
    | st.builds(timezone, offsets)
    | st.sampled_from([ZoneInfo("UTC"), ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Kathmandu")])
)
folds = st.integers(0, 1)
moments = st.builds(
    lambda moment, zone, fold: moment.replace(tzinfo=zone, fold=fold),
    st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29)),  # noqa: DTZ001 zones come later
    zones,
    folds,
)
times = st.builds(
    lambda moment, zone, fold: moment.replace(tzinfo=zone, fold=fold), st.times(), zones, folds
)
integers = st.integers() | st.integers(-(10**700), 10**700)
scalars = (
    st.none()
    | st.booleans()
    | integers
    | st.floats()
    | texts
    | st.binary(max_size=8)
    | moments
    | times
    | st.dates()
    | st.timedeltas()
    | st.decimals()
    | st.uuids()
)
members = st.recursive(
    scalars.filter(lambda value: not (isinstance(value, Decimal) and value.is_snan())),
    lambda inner: st.lists(inner, max_size=2).map(tuple) | st.frozensets(inner, max_size=2),
    max_leaves=4,
)
values = st.recursive(
    scalars | st.sets(members, max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)
anything = st.recursive(
    values | st.complex_numbers() | st.just(object) | st.text(st.characters(categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.integers() | st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(values)
def test_a_stored_value_stays_what_it_is(value: Any) -> None:
    """Storing what is stored already, and copying it, change nothing."""
    assert identical(snapshot(value), value)
    assert identical(copy_value(value), value)


@given(values)
def test_text_and_back(value: Any) -> None:
    """A value read back from its text is the same, and its text is the same again."""
    text = SERIALIZER.dumps(value)
    back = SERIALIZER.loads(text)
    assert identical(back, value)
    assert SERIALIZER.dumps(back) == text
    assert SERIALIZER.dumps(copy_value(value)) == text
    json.loads(text, parse_constant=_no_constant)


def _no_constant(name: str) -> Any:
    raise AssertionError(f"{name} is not JSON")


@given(anything)
def test_what_can_be_stored_can_be_written(value: Any) -> None:
    """Anything is either refused when it is stored, or survives being written from then on."""
    try:
        stored = snapshot(value)
    except SerializationError:
        return
    text = SERIALIZER.dumps(stored)
    assert text.encode("utf-8")
    assert identical(SERIALIZER.loads(text), stored)


plain_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


@given(plain_json, st.sampled_from([None, 2]))
def test_the_deep_reader_and_writer_agree_with_the_library(value: Any, indent: int | None) -> None:
    """Where the standard library can do it, the iterative reader and writer do the same."""
    text = json.dumps(value, indent=indent)
    assert identical(read_deep(text, dict), value)
    compact = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    assert write_deep(value, lambda item: item) == compact


@given(st.text(st.sampled_from('[]{}",: 01e-.ntrufalse\\$typevd'), max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Broken text is refused by an error of ours, and by both readers alike."""
    outcomes = []
    for read in (json.loads, lambda text: read_deep(text, dict)):
        try:
            outcomes.append(read(text))
        except ValueError:
            outcomes.append(ValueError)
    assert identical(*outcomes)
    with contextlib.suppress(SerializationError):
        SERIALIZER.loads(text)


class Colour(enum.Enum):
    RED = "red"
    ONE = 1


class Point(NamedTuple):
    x: int
    label: str | None


class Options(TypedDict):
    level: Literal["low", 3, None]


@dataclass
class Inner:
    amount: Decimal
    points: tuple[Point, ...]


@dataclass
class Outer:
    when: datetime | date
    inner: Inner | None
    by_colour: dict[Colour, list[float]]
    by_number: dict[int, set[bytes]]
    options: Options
    either: int | str | list[bool]
    id: UUID
    rest: Any


points = st.builds(Point, st.integers(), st.none() | texts)
outers = st.builds(
    Outer,
    when=moments | st.dates(),
    inner=st.none() | st.builds(Inner, st.decimals(allow_nan=False), st.lists(points).map(tuple)),
    by_colour=st.dictionaries(
        st.sampled_from([Colour.RED]), st.lists(st.floats(allow_nan=False)), max_size=1
    ),
    by_number=st.just({}),
    options=st.fixed_dictionaries({"level": st.sampled_from(["low", 3, None])}),
    either=st.integers() | texts | st.lists(st.booleans()),
    id=st.uuids(),
    rest=st.none(),
)


@given(outers)
def test_typed_data_arrives_as_what_it_was(value: Outer) -> None:
    """A dataclass that is stored as data, and written, is the same at a typed receiver."""
    data = SERIALIZER.loads(SERIALIZER.dumps(snapshot(value)))
    assert decode_as(Outer, data) == value


ANNOTATIONS: list[Any] = [
    int,
    float,
    str,
    Decimal,
    datetime,
    time,
    UUID,
    Colour,
    Point,
    Options,
    Outer,
    list[int] | None,
    dict[int, Any],
    tuple[int, str],
    set[str],
    int | str | Inner,
    Literal[1, "a"],
]


@given(st.sampled_from(ANNOTATIONS), values)
def test_decoding_gives_a_value_or_an_input_error(annotation: Any, value: Any) -> None:
    """Whatever comes, a decoder answers with a value or with an error that has a path."""
    problem = "input: none"
    try:
        decode_as(annotation, value)
    except InputError as error:
        problem = str(error)
    assert problem.startswith("input")
    assert ": " in problem
