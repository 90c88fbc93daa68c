"""Runs whose recorded outcome is overruled by a numbered rule of the project.

Each entry is a decision: the reference does one thing, the rule says another, and the rule
wins. At most 20; cases that allow a deviation anyway need no entry.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple


class Ruled(NamedTuple):
    """The rule that decides a run, and in a sentence what it says about it."""

    rule: str
    because: str


MOST: Final = 20

BY_RULE: Final[Mapping[str, Ruled]] = {}

BY_RULE_DURABLY: Final[Mapping[str, Ruled]] = {
    "sleep--zero": Ruled("S12", "a sleep ends by itself: nobody takes it over at once, or ever"),
}
"""The same for runs that are stored, which nobody has to take over while they sleep."""

_CAP = "it goes on until it reaches the limit of 10,000 executions"
ONLY_IN_PROCESS: Final[Mapping[str, str]] = {
    "cycles--entered_from_outside": _CAP,
    "cycles--ring_with_exit": _CAP,
    "cycles--self_edge_with_start": _CAP,
}

ONLY_ON_ONE_MACHINE: Final[Mapping[str, str]] = {
    **ONLY_IN_PROCESS,
    "cycles--infinite_any": _CAP,
    "cycles--pure_cycle": _CAP,
    "cycles--two_rings_entry_points": _CAP,
}
"""Left out where every node is a request to another process, or two."""


ENDLESS: Final = (*ONLY_ON_ONE_MACHINE, "loops--infinite")
"""All cases that run into the limit of executions, which end nowhere as recorded."""


def left_out(case: Mapping[str, Any], backend: str) -> str | None:
    """Why a case is not run on a backend."""
    if backend == "memory" or "max_executions" in case["options"]:
        return None
    names = ONLY_ON_ONE_MACHINE if backend == "aws" else ONLY_IN_PROCESS
    return names.get(str(case["name"]))


def rule_for(name: str, backend: str) -> Ruled | None:
    """The rule that decides a run on a backend, if one does."""
    rule = BY_RULE.get(name)
    return rule if rule is not None or backend == "memory" else BY_RULE_DURABLY.get(name)
