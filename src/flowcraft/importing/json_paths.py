"""JSONPath as Amazon States Language uses it: read values, and write one at a reference path.

A path begins with ``$`` (the state's input), ``$$`` (what is known of the execution) or ``$name``
(a variable), and goes on by ``.name``, ``['name']``, ``[0]``, ``[-1]``, ``[*]``, ``.*``,
``[1:3]`` and ``..name``. Filters (``[?(…)]``) are not understood.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final


class PathError(ValueError):
    """A path that is none, or that leads nowhere in the data."""


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a path: to a key, an index, a slice, or everything; ``deep`` at any depth."""

    key: str | None = None
    index: int | None = None
    cut: slice | None = None
    deep: bool = False

    @property
    def is_single(self) -> bool:
        """Whether it leads to one place at most."""
        return not self.deep and (self.key is not None or self.index is not None)


@dataclass(frozen=True, slots=True)
class Path:
    """A parsed path: where it begins, and its steps."""

    text: str
    root: str
    steps: tuple[Step, ...]

    @property
    def is_single(self) -> bool:
        """Whether it leads to one place at most, as a reference path does."""
        return all(step.is_single for step in self.steps)


_ROOT: Final = re.compile(r"\$\$|\$[A-Za-z_]\w*|\$")
_STEP: Final = re.compile(
    r"""(?P<deep>\.\.)?\.?(?:
        (?P<name>[^\s.\[\]'"()*?,:$@]+)
      | (?P<star>\*|\[\s*\*\s*\])
      | \[\s*(?P<index>-?\d+)\s*\]
      | \[\s*(?P<cut>-?\d*:-?\d*(?::-?\d*)?)\s*\]
      | \[\s*'(?P<single>(?:[^'\\]|\\.)*)'\s*\]
      | \[\s*"(?P<double>(?:[^"\\]|\\.)*)"\s*\]
    )""",
    re.VERBOSE,
)
_ESCAPED: Final = re.compile(r"\\(.)")


def parse_path(text: str) -> Path:
    """Read a path.

    Raises:
        PathError: It is none, or uses what is not understood, such as a filter.
    """
    root = _ROOT.match(text)
    if root is None:
        raise PathError(f"'{text}' is no path: it begins with '$'")
    at, steps = root.end(), []
    while at < len(text):
        found = _STEP.match(text, at)
        if found is None or found.end() == at or not _is_joined(text, at, found):
            what = "a filter" if text.startswith("[?", at) else f"'{text[at : at + 12]}'"
            raise PathError(f"'{text}': {what} is not understood in a path")
        steps.append(_step(found))
        at = found.end()
    return Path(text, root.group(), tuple(steps))


def _is_joined(text: str, at: int, found: re.Match[str]) -> bool:
    """A bare name needs a dot before it, a bracket none."""
    return text[at] in ".[" or found["name"] is None


def _step(found: re.Match[str]) -> Step:
    deep = found["deep"] is not None
    if found["star"]:
        return Step(deep=deep)
    if found["index"]:
        return Step(index=int(found["index"]), deep=deep)
    if found["cut"]:
        ends = [int(end) if end else None for end in found["cut"].split(":")]
        if ends[2:] == [0]:
            raise PathError("a slice cannot go in steps of 0")
        return Step(cut=slice(*ends), deep=deep)
    name = found["name"]
    if name is None:
        quoted = found["single"] if found["single"] is not None else found["double"]
        name = _ESCAPED.sub(r"\1", quoted)
    return Step(key=name, deep=deep)


def read_path(path: Path, value: Any) -> Any:
    """What a path leads to: one value, or the list of all where it may lead to several.

    Raises:
        PathError: A path to a single place leads nowhere.
    """
    found: list[Any] = [value]
    for step in path.steps:
        found = [part for each in found for part in _follow(step, each)]
    if not path.is_single:
        return found
    if not found:
        raise PathError(f"'{path.text}' leads nowhere in the data")
    return found[0]


def _follow(step: Step, value: Any) -> Iterator[Any]:
    for place in _depths(value) if step.deep else [value]:
        yield from _parts(step, place)


def _parts(step: Step, value: Any) -> Iterable[Any]:
    if step.key is not None:
        return [value[step.key]] if isinstance(value, dict) and step.key in value else []
    if step.index is not None:
        inside = isinstance(value, list) and -len(value) <= step.index < len(value)
        return [value[step.index]] if inside else []
    if step.cut is not None:
        return value[step.cut] if isinstance(value, list) else []
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else []


def _depths(value: Any) -> Iterator[Any]:
    """A value and all that is in it, at any depth."""
    todo = [value]
    while todo:
        place = todo.pop()
        yield place
        inner = list(place.values()) if isinstance(place, dict) else place
        if isinstance(inner, list):
            todo.extend(reversed(inner))


def write_path(path: Path, document: Any, value: Any) -> Any:
    """A copy of a document with a value at a place, which is made where it is missing.

    Raises:
        PathError: The path may lead to several places, or into something that has no keys.
    """
    if not path.is_single:
        raise PathError(f"'{path.text}' is no reference path: it may lead to several places")
    return _written(path, path.steps, document, value)


def _written(path: Path, steps: tuple[Step, ...], document: Any, value: Any) -> Any:
    if not steps:
        return value
    step, rest = steps[0], steps[1:]
    if step.key is not None and isinstance(document, dict):
        return {**document, step.key: _written(path, rest, document.get(step.key, {}), value)}
    if step.index is not None and isinstance(document, list) and step.index < len(document):
        changed = list(document)
        changed[step.index] = _written(path, rest, document[step.index], value)
        return changed
    raise PathError(f"nothing can be put at '{path.text}': the data has no such place")
