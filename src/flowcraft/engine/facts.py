"""Facts as text: an event of the core, with what expressions gave when it was decided."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from flowcraft.core import events as ev
from flowcraft.core.state import Usage
from flowcraft.engine.added_nodes import read_nodes
from flowcraft.engine.encoded import plain
from flowcraft.engine.saved import error_data, key_data, read_error, read_key
from flowcraft.engine.serializer import Serializer
from flowcraft.engine.shapes import check_shape, check_writes
from flowcraft.engine.tape import Recording
from flowcraft.errors import FlowcraftError, SerializationError

FORMAT: Final = 1
"""Goes up when older versions could no longer read what is written."""

_TYPES: Final[Mapping[str, type[Any]]] = {
    cls.__name__: cls
    for cls in (
        ev.RunStarted,
        ev.NodeSucceeded,
        ev.NodeFailed,
        ev.NodeLost,
        ev.NodeStopped,
        ev.NodeHeldBack,
        ev.RetryDue,
        ev.TimerFired,
        ev.AnswerReceived,
        ev.ItemSucceeded,
        ev.ItemFailed,
        ev.ItemLost,
        ev.ItemStopped,
        ev.ItemRetryDue,
        ev.ItemHeldBack,
        ev.ItemsRetried,
        ev.ShardStarted,
        ev.ShardAdvanced,
        ev.ShardRests,
        ev.ShardSettled,
        ev.ChildSettled,
        ev.ChildRests,
        ev.UndoSettled,
        ev.UndoLost,
        ev.UndoRetryDue,
        ev.Spent,
        ev.CancelRequested,
        ev.PauseRequested,
        ev.ContinueRequested,
        ev.ContextPatched,
        ev.RetryRequested,
        ev.SkipRequested,
    )
}

Turn = tuple[Callable[[Any], Any], Callable[[Any], Any]]


def _writes_data(writes: Sequence[ev.Write]) -> list[Any]:
    return [list(write) for write in writes]


def _read_writes(data: Sequence[Any]) -> tuple[ev.Write, ...]:
    writes = tuple(ev.Write(*write) for write in data)
    check_writes(writes)
    return writes


def _read_cost(data: Sequence[Any]) -> Usage:
    cost = Usage(*data)
    check_shape(cost)
    return cost


_TURNS: Final[Mapping[str, Turn]] = {
    "key": (key_data, read_key),
    "target": (key_data, read_key),
    "error": (error_data, read_error),
    "errors": (
        lambda errors: [error_data(error) for error in errors],
        lambda data: tuple(read_error(error) for error in data),
    ),
    "writes": (_writes_data, _read_writes),
    "item_writes": (
        lambda pairs: [[item, _writes_data(writes)] for item, writes in pairs],
        lambda data: tuple((item, _read_writes(writes)) for item, writes in data),
    ),
    "cost": (list, _read_cost),
    "dynamic": (
        lambda nodes: [node.to_dict() for node in nodes],
        lambda data: read_nodes(data, "?") if data else (),
    ),
}
"""How fields that are not plain values are written and read; ``None`` stays what it is."""


class Told(NamedTuple):
    """What a fact says."""

    event: ev.Event
    tape: Recording


def event_data(event: ev.Event) -> list[Any]:
    """An event as plain values: its name, then its fields."""
    name = type(event).__name__
    data: list[Any] = [name]
    for field, value in zip(event._fields, event, strict=True):
        turn = _TURNS.get(field)
        data.append(value if turn is None or value is None else turn[0](value))
    if isinstance(event, ev.RunStarted) and event.caller is None:
        del data[-1]  # few runs have it, and each start is as short as it was before
    return data


def read_event(data: Any) -> ev.Event:
    """The event that :func:`event_data` wrote.

    Raises:
        SerializationError: It is no event that this version knows.
    """
    try:
        name, *values = data
        cls = _TYPES[name]
        fields = [
            value if value is None or field not in _TURNS else _TURNS[field][1](value)
            for field, value in zip(cls._fields, values, strict=False)
        ]
        event: ev.Event = cls(*fields)
        check_shape(event)
    except (AttributeError, FlowcraftError, LookupError, TypeError, ValueError) as error:
        raise SerializationError(f"This is no event that this version knows: {error!r}.") from error
    return event


def write_fact(event: ev.Event, tape: Recording, serializer: Serializer) -> str:
    """A fact as text."""
    return storable(serializer.dumps([FORMAT, event_data(event), tape]))


def storable(text: str) -> str:
    """JSON text that can be stored as UTF-8.

    Values are refused if they hold half a character, but the text of an exception may: that of
    a file name which is no UTF-8, for example. Here it becomes JSON's escape for it.
    """
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def read_fact(text: str, serializer: Serializer) -> Told:
    """The fact that :func:`write_fact` wrote.

    Raises:
        SerializationError: It was written by a newer version, or is damaged.
        CodecError: It is encoded.
    """
    data = serializer.loads(plain(text, "The fact"))
    if not isinstance(data, list) or len(data) != 3 or not isinstance(data[0], int):
        raise SerializationError("This is not a fact of a run.")
    if data[0] > FORMAT:
        raise SerializationError(
            f"The fact has the format {data[0]}, and this version reads {FORMAT}: it was written "
            "by a newer version. Update this worker."
        )
    return Told(read_event(data[1]), data[2])
