"""Runs whose recorded outcome is overruled by a numbered rule of the project.

Each entry is a decision: the reference does one thing, the rule says another, and the rule
wins. At most 20; cases that allow a deviation anyway need no entry.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple


class Ruled(NamedTuple):
    """The rule that decides a run, and in a sentence what it says about it."""

    rule: str
    because: str


MOST: Final = 20

BY_RULE: Final[Mapping[str, Ruled]] = {}
