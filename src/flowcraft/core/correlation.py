"""Which event a wait is for: its name, and a key that tells it from the same event of others (S12).

A wait may name what it waits for, so that whoever sends it need not know the run. The key is
found out when the wait begins, and kept with it: what changes afterwards does not matter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Final, NamedTuple
from uuid import UUID  # the type alone: nothing here makes ids

from flowcraft.core.inputs import resolve_reference
from flowcraft.core.plan import Key, PlanNode
from flowcraft.core.state import CORRELATION, WAITING, Record
from flowcraft.core.step import Step

EVENT, CORRELATION_KEY = "event", "correlationKey"

MAX_CHARACTERS: Final = 250
"""Of an event's name, and of a key: both go into an index of whatever keeps the runs."""


class Correlation(NamedTuple):
    """An event as a wait and a sender name it.

    Attributes:
        event: Its name.
        key: What tells it from the same event of others; ``None`` where nothing has to.
    """

    event: str
    key: str | None = None


class BadParameter(ValueError):
    """A parameter of a node is none of what it may be."""

    def __init__(self, name: str, problem: object) -> None:
        super().__init__(f"parameter '{name}': {problem}")


def problems(params: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is wrong with the parameters of a wait whatever the run: names and what they need."""
    event, reference = params.get(EVENT), params.get(CORRELATION_KEY)
    if event is not None and (problem := _text_problem(event)):
        yield EVENT, problem
    if reference is None:
        return
    if not isinstance(reference, str) or not reference:
        yield CORRELATION_KEY, f"must be a reference as in 'inputs', not {_shown(reference)}"
    if event is None:
        yield CORRELATION_KEY, f"means nothing without '{EVENT}', the name of the event"


def correlate(step: Step, node: PlanNode, key: Key) -> Correlation | None:
    """Which event an instance that begins to wait is for; ``None`` for one that names none.

    Raises:
        BadParameter: A parameter is wrong, or the key is nothing, or cannot be a key.
    """
    params = node.definition.params
    for name, problem in problems(params):
        raise BadParameter(name, f"{problem}.")
    event, reference = params.get(EVENT), params.get(CORRELATION_KEY)
    if event is None or reference is None:
        return None if event is None else Correlation(event)
    value = resolve_reference(step, reference, key)
    if value is None:
        raise BadParameter(
            CORRELATION_KEY,
            f"'{reference}' is nothing when the wait begins, so no event could be told to be "
            "for it. Name a node's output, a path into one, or a context key.",
        )
    try:
        return Correlation(event, key_text(value))
    except ValueError as error:
        raise BadParameter(CORRELATION_KEY, f"'{reference}' is no key: {error}") from None


def expected(event: str, key: Any = None) -> Correlation:
    """An event as a sender names it.

    Args:
        event: Its name.
        key: Its key, a stored value; ``None`` for an event without one.

    Raises:
        ValueError: One of them is none of what it may be.
    """
    if problem := _text_problem(event):
        raise ValueError(f"The name of an event {problem}.")
    return Correlation(event, None if key is None else key_text(key))


def key_text(value: Any) -> str:
    """The text of a correlation key: one text, whoever gives it and in whatever type.

    Text stays as it is. Whole numbers are their decimal digits, ``42`` and ``42.0`` the same;
    UUIDs are in the usual form, in small letters.

    Raises:
        ValueError: It is something else, empty, or too long.
    """
    if (number := _whole(value)) is not None or isinstance(value, UUID):
        return str(value if number is None else number)
    if not isinstance(value, str):
        raise ValueError(
            f"A correlation key is text, a whole number of at most {MAX_CHARACTERS} digits or a "
            f"UUID, not of the type {type(value).__name__}."
        )
    if problem := _text_problem(value):
        raise ValueError(f"A correlation key {problem}.")
    return value


def correlation_of(record: Record) -> Correlation | None:
    """Which event an instance waits for now, if it waits and names one."""
    if record.status is not WAITING or not record.values:
        return None
    kept = record.values.get(CORRELATION)
    return None if kept is None else Correlation(*kept)


def _text_problem(value: Any) -> str | None:
    if not isinstance(value, str):
        return f"must be text, not {_shown(value)}"
    if not value:
        return "must not be empty"
    if len(value) > MAX_CHARACTERS:
        return f"has at most {MAX_CHARACTERS} characters, not {len(value)}"
    return None


def _whole(value: Any) -> int | None:
    """A whole number of bearable length, of whatever type."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    if isinstance(value, Decimal):
        # Nothing is computed of a number with millions of digits.
        is_whole = value.is_finite() and value.adjusted() < MAX_CHARACTERS
        is_whole = is_whole and value == value.to_integral_value()
    elif isinstance(value, float):
        is_whole = value.is_integer() and abs(value) < 10.0**MAX_CHARACTERS
    else:
        is_whole = abs(value) < 10**MAX_CHARACTERS
    return int(value) if is_whole else None


def _shown(value: Any) -> str:
    return "empty" if value == "" else type(value).__name__
