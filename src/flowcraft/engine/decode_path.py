"""Where in a value a decoder is, and how it says what it found there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from flowcraft.core.value_types import shown

MAX_DEPTH: Final = 200
"""Decoders call each other, so data must not be nested deeper within its annotated type.

Data under ``Any`` is taken as it is and may be of any depth.
"""


class Path:
    """A place in a value, as a link to the place around it: free to make, told only in errors."""

    __slots__ = ("depth", "parent", "step")

    def __init__(self, step: str | int, parent: Path | None = None) -> None:
        self.step = step
        self.parent = parent
        self.depth: int = 0 if parent is None else parent.depth + 1
        if self.depth > MAX_DEPTH:
            raise Mismatch(parent or self, f"nested more than {MAX_DEPTH} levels deep")

    def __str__(self) -> str:
        if self.parent is None:
            return str(self.step)
        steps: list[str] = []
        place: Path = self
        while place.parent is not None:
            steps.append(_step(place.step))
            place = place.parent
        if len(steps) > 16:
            steps[8:-8] = [f"...({len(steps) - 16} levels)..."]
        return f"{place.step}{''.join(reversed(steps))}"


def _step(step: str | int) -> str:
    if isinstance(step, int):
        return f"[{step}]"
    return f".{step}" if step.isidentifier() else f"[{step!a}]"


class Mismatch(Exception):
    """A value that does not fit its annotated type, and where."""

    def __init__(self, path: Path, problem: str, *, is_other_kind: bool = False) -> None:
        super().__init__(path, problem)
        self.path = path
        self.problem = problem
        self.is_other_kind = is_other_kind

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}"


Decoder = Callable[[Any, Path], Any]


def expected(what: str, value: Any, path: Path) -> Mismatch:
    """The error for a value of another kind."""
    return Mismatch(path, f"expected {what}, got {got(value)}", is_other_kind=True)


def got(value: Any) -> str:
    """A value as an error shows it, with its kind."""
    if value is None:
        return "null"
    if isinstance(value, str):
        return f"text {shown(value)}"
    if isinstance(value, (list, dict, set)):
        return f"{type(value).__name__} of {len(value)}"
    return f"{type(value).__name__} {shown(value)}"
