"""What the fields of stored data may be, so that what was altered is refused where it is read.

An event of another shape would be decided about all the same: a number where there is to be a
truth value counts work twice, a negative place of an item is one from the end. The shapes are
those of the annotations.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from types import UnionType
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

from flowcraft.core.events import Write
from flowcraft.core.state import ErrorInfo

_CONTAINERS: Final[Mapping[Any, tuple[type, ...]]] = {
    Mapping: (dict,),
    Sequence: (list, tuple),
    tuple: (tuple,),
}
_OPERATIONS: Final = frozenset({"set", "delete", "add"})


def check_shape(value: tuple[Any, ...]) -> None:
    """See that the fields of a named tuple are what its annotations say.

    Raises:
        ValueError: One is something else; the message names it.
    """
    for name, shape, field in zip(*_shapes(type(value)), value, strict=True):
        kind = type(field)
        if shape is None:
            continue
        if kind not in shape:
            raise ValueError(f"{name} is {'missing' if field is None else kind.__name__}")
        if (kind is int or kind is float) and not 0 <= field < math.inf:
            raise ValueError(f"{name} is {field}")


def check_error(error: ErrorInfo) -> None:
    """See that a failure that was read is one."""
    check_shape(error)
    texts = [*error.names, *(text for cause in error.causes for text in cause)]
    if not all(type(text) is str for text in texts):
        raise ValueError("an error has names or causes that are no texts")
    if not all(type(number) is int for number in error.iteration):
        raise ValueError("an error has an iteration that is no numbers")


def check_writes(writes: Sequence[Write]) -> None:
    """See that context writes that were read are some."""
    for write in writes:
        check_shape(write)
        if write.op not in _OPERATIONS:
            raise ValueError(f"a context write has the operation {write.op!r}")


@cache
def _shapes(cls: type) -> tuple[tuple[str, ...], tuple[tuple[type, ...] | None, ...]]:
    """The names of the fields of a named tuple, and the types that each may have."""
    hints = get_type_hints(cls)
    return tuple(hints), tuple(_types(hint) for hint in hints.values())


def _types(hint: Any) -> tuple[type, ...] | None:
    """The types that a value may have by its annotation; ``None`` for any."""
    if hint is Any:
        return None
    if hint is float:
        return (float, int)
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        parts = [_types(part) for part in get_args(hint)]
        if None in parts:
            return None
        return tuple(kind for part in parts if part is not None for kind in part)
    kind: type = origin or hint
    return _CONTAINERS.get(kind, (kind,))
