"""Decoders of lists, tuples, sets, dicts, and of unions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from flowcraft.engine.decode_path import Decoder, Mismatch, Path, expected, got
from flowcraft.engine.decode_scalars import as_it_is


def decode_list(item: Decoder, value: Any, path: Path) -> list[Any]:
    """A list of items of one type."""
    if not isinstance(value, (list, tuple)):
        raise expected("list", value, path)
    return _items(item, value, path)


def decode_tuple(item: Decoder, value: Any, path: Path) -> tuple[Any, ...]:
    """A tuple of any length, from a list."""
    if not isinstance(value, (list, tuple)):
        raise expected("list", value, path)
    return tuple(_items(item, value, path))


def decode_fixed_tuple(items: tuple[Decoder, ...], value: Any, path: Path) -> tuple[Any, ...]:
    """A tuple with a type for each place, from a list."""
    if not isinstance(value, (list, tuple)) or len(value) != len(items):
        raise expected(f"list of {len(items)}", value, path)
    return tuple(
        item(part, Path(index, path))
        for index, (item, part) in enumerate(zip(items, value, strict=True))
    )


def decode_set(make: Callable[[Any], Any], item: Decoder, value: Any, path: Path) -> Any:
    """A set, also from a list without duplicates."""
    if not isinstance(value, (set, frozenset, list)):
        raise expected("set or list", value, path)
    items = _items(item, value, path)
    try:
        members = make(items)
    except TypeError as error:
        raise Mismatch(path, f"its members cannot be in a set: {error}") from error
    if len(members) != len(items):
        raise Mismatch(path, f"expected a set, got {got(value)} with duplicates")
    return members


def decode_dict(
    key_type: Any, key: Decoder, item: Decoder, value: Any, path: Path
) -> dict[Any, Any]:
    """A dict; stored keys are text, from which keys of other types are decoded."""
    if not isinstance(value, dict):
        raise expected("dict", value, path)
    if key_type in (str, Any) and item is as_it_is:
        return value
    decoded: dict[Any, Any] = {}
    for text, part in value.items():
        inner = Path(text if isinstance(text, str) else repr(text), path)
        decoded[_key(key_type, key, text, inner)] = item(part, inner)
    return decoded


class Option(NamedTuple):
    """A member of a union."""

    annotation: Any
    kind: Any
    decode: Decoder

    def __str__(self) -> str:
        if self.annotation is type(None):
            return "null"
        return str(getattr(self.annotation, "__qualname__", self.annotation))


def decode_union(options: tuple[Option, ...], value: Any, path: Path) -> Any:
    """The member that fits best: of the value's own type, else knowing all of its keys."""
    failures: list[Mismatch] = []
    for option in sorted(options, key=lambda option: _distance(option, value)):
        try:
            return option.decode(value, path)
        except Mismatch as mismatch:
            failures.append(mismatch)
    telling = [
        failure for failure in failures if failure.path is not path or not failure.is_other_kind
    ]
    if telling:  # the value was of a member's kind, but something about it was wrong
        raise max(telling, key=lambda failure: failure.path.depth)
    raise expected(" or ".join(map(str, options)), value, path)


def _distance(option: Option, value: Any) -> int:
    if type(value) is option.kind:
        return 0
    known = getattr(option.kind, "__annotations__", None)
    if isinstance(value, dict) and isinstance(known, dict):
        names = known_names(option.kind)
        return 1 if value.keys() <= names else 2
    return 1


def known_names(kind: Any) -> set[str]:
    """The names of the fields of a class, inherited ones and pydantic aliases included."""
    names: set[str] = set()
    for parent in getattr(kind, "__mro__", (kind,)):
        names.update(getattr(parent, "__annotations__", ()))
    for name, info in getattr(kind, "model_fields", {}).items():
        names.update({name, getattr(info, "alias", None) or name})
    return names


def _items(item: Decoder, value: Iterable[Any], path: Path) -> list[Any]:
    if item is as_it_is:
        return list(value)
    return [item(part, Path(index, path)) for index, part in enumerate(value)]


def _key(key_type: Any, decode: Decoder, text: Any, path: Path) -> Any:
    if key_type is int and isinstance(text, str):
        try:
            number = int(text)
        except ValueError:
            number = 0
        if str(number) == text:
            return number
    return decode(text, path)
