"""Scenarios as the options of a command, read again."""

from __future__ import annotations

import argparse
import math
import re
import shlex
from collections.abc import Sequence
from typing import Final

from flowcraft.testing.simulate.faults import KINDS, Fault, Kind
from flowcraft.testing.simulate.scenario import Scenario

PROCESS: Final = re.compile(r"(worker|client|stranger|older)-[1-9][0-9]*")
"""The names that processes have; which of them there are is seen when the run is over."""


def count(text: str) -> int:
    """A number of things, of which there is at least one.

    Raises:
        argparse.ArgumentTypeError: The text is none.
    """
    if not re.fullmatch(r"[0-9]+", text) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1")
    return int(text)


def probability(text: str) -> float:
    """A probability, from 0 to 1.

    Raises:
        argparse.ArgumentTypeError: The text is none.
    """
    value = _number(text)
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"{text!r} is no probability: they are from 0 to 1")
    return value


def seconds(text: str) -> float:
    """A time in seconds, finite and not negative.

    Raises:
        argparse.ArgumentTypeError: The text is none.
    """
    value = _number(text)
    if not 0.0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds: they are from 0")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


NUMBERS: Final = {
    "workers": (count, "N", "how many workers there are (1)"),
    "concurrency": (count, "N", "how many messages each works on at once (10)"),
    "noise": (probability, "P", "how likely it is that a request fails or is slow (0)"),
    "skew_seconds": (seconds, "S", "how far the clocks of processes may be off (0)"),
}
SWITCHES: Final = {
    "doubles": "messages are delivered twice",
    "slow": "nodes take their time, some longer than a lease lasts",
    "stranger": "one worker knows none of the nodes",
    "reconciler": "workers look for stuck runs",
    "stale": "old messages come once more when all is over",
    "older": "one worker has another version of the workflow",
}


def add_scenario_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a scenario to a parser; those that are not given are not there."""
    group = parser.add_argument_group("one run, as a violation names it")
    group.add_argument("--one", action="store_true", help="run this one, and show what happens")
    for name, (kind, metavar, text) in NUMBERS.items():
        group.add_argument(
            option(name), type=kind, default=argparse.SUPPRESS, metavar=metavar, help=text
        )
    for name, text in SWITCHES.items():
        group.add_argument(option(name), action="store_true", default=argparse.SUPPRESS, help=text)


def given_of_one(options: argparse.Namespace) -> list[str]:
    """The options that were given and say what a single run is like."""
    return [option(name) for name in (*NUMBERS, *SWITCHES) if name in options]


def scenario_of(options: argparse.Namespace) -> Scenario:
    """The scenario that options name.

    Raises:
        ValueError: They name no single one, or a fault that no process can have.
    """
    if len(options.graph) != 1:
        raise ValueError("One run is of one workflow: name it with --graph.")
    given = vars(options)
    named = {name: given[name] for name in (*NUMBERS, *SWITCHES) if name in given}
    faults = tuple(Fault.read(text) for text in options.fault)
    _check_processes(faults)
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
        hint = " A fault of one request goes with --one." if ":" in unknown[0] else ""
        raise ValueError(f"There is no fault {unknown[0]!r}. There are: {', '.join(KINDS)}.{hint}")
    return tuple(Kind(text) for text in texts)


def _check_processes(faults: Sequence[Fault]) -> None:
    requests: set[tuple[str, int]] = set()
    for fault in faults:
        if not PROCESS.fullmatch(fault.process):
            raise ValueError(
                f"The fault {str(fault)!r} is of a process that never is: they are called "
                "worker-1, worker-2 and so on, client-1 and so on, stranger-1 and older-1."
            )
        request = (fault.process, fault.number)
        if request in requests:
            raise ValueError(
                f"Two faults are of request {fault.number} of {fault.process}: a request has one."
            )
        requests.add(request)


def option(name: str) -> str:
    """How a command is given what has a name."""
    return f"--{name.replace('_', '-')}"
