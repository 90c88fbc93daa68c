"""Scenarios as the options of a command, read again."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from typing import Any

from flowcraft.testing.simulate.faults import KINDS, Fault, Kind
from flowcraft.testing.simulate.scenario import Scenario

NUMBERS = ("workers", "concurrency")
MEASURES = ("noise", "skew_seconds")
SWITCHES = ("doubles", "slow", "stranger", "reconciler", "stale", "older")


def add_scenario_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a scenario to a parser."""
    group = parser.add_argument_group("one run, as a violation names it")
    group.add_argument("--one", action="store_true", help="run this one, and show what happens")
    for name in NUMBERS:
        group.add_argument(_option(name), type=int, default=_default(name), metavar="N")
    for name in MEASURES:
        group.add_argument(_option(name), type=float, default=_default(name), metavar="X")
    for name in SWITCHES:
        group.add_argument(_option(name), action="store_true")


def scenario_of(options: argparse.Namespace) -> Scenario:
    """The scenario that options name.

    Raises:
        ValueError: They name no single one.
    """
    if len(options.graph) != 1:
        raise ValueError("One run is of one workflow: name it with --graph.")
    named = {name: getattr(options, name) for name in (*NUMBERS, *MEASURES, *SWITCHES)}
    faults = tuple(Fault.read(text) for text in options.fault)
    return Scenario(options.graph[0], options.seed, faults=faults, **named)


def read_scenario(text: str) -> Scenario:
    """The scenario that a text of options names.

    Raises:
        ValueError: It names none.
    """
    parser = argparse.ArgumentParser(exit_on_error=False, add_help=False)
    parser.add_argument("--graph", action="append", default=[])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fault", action="append", default=[])
    add_scenario_options(parser)
    try:
        options, unknown = parser.parse_known_args(shlex.split(text))
    except argparse.ArgumentError as error:
        raise ValueError(f"{text!r} is no scenario: {error}") from error
    if unknown:
        raise ValueError(f"{text!r} is no scenario: nobody knows {' '.join(unknown)}.")
    return scenario_of(options)


def kinds_of(texts: Sequence[str]) -> tuple[Kind, ...]:
    """The kinds of fault that are named; all of them if none is.

    Raises:
        ValueError: There is no such kind.
    """
    if not texts:
        return KINDS
    unknown = sorted(set(texts) - set(KINDS))
    if unknown:
        raise ValueError(f"There is no fault {unknown[0]!r}. There are: {', '.join(KINDS)}.")
    return tuple(Kind(text) for text in texts)


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _default(name: str) -> Any:
    return Scenario.__dataclass_fields__[name].default
