"""The command: what is asked for, and doing it."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import contenders
from benchmarks.cases import (
    FLOOR,
    FLOWCRAFT,
    LANGGRAPH,
    MEMORY_NODES,
    MILLION,
    NPM,
    QUICK_SIZES,
    SIZES,
    Case,
    engine_cases,
    information_cases,
)
from benchmarks.goals import missed
from benchmarks.report import Found, Results, as_json, as_text
from benchmarks.rounds import QUICK, Measured, Settings, ask_each, measure_case
from benchmarks.workers import Asked

ALL = (FLOOR, FLOWCRAFT, NPM, LANGGRAPH)
ABOUT_LIMIT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Wishes:
    """What was asked for on the command line."""

    sizes: tuple[int, ...]
    contenders: tuple[str, ...]
    settings: Settings
    information: bool
    json_file: Path | None
    strict: bool


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks and print the tables.

    Returns:
        0; 1 if a contender failed, or with ``--strict`` if a goal was missed.
    """
    wishes = read_arguments(arguments)
    results = run(wishes, contenders.start, tell_on_terminal)
    show(as_text(results), as_json(results), wishes.json_file)
    return exit_code(results, strict=wishes.strict)


def show(text: str, data: Mapping[str, Any], json_file: Path | None) -> None:
    """Print the tables, and write the figures to a file where that is asked for."""
    tell_on_terminal("")
    print(text)
    if json_file is not None:
        json_file.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def exit_code(results: Found, *, strict: bool) -> int:
    """0 if all that was begun came through, and, if strict, every goal is met."""
    return int(bool(results.failures or (strict and missed(results.verdicts()))))


def read_arguments(arguments: Sequence[str] | None) -> Wishes:
    """The command line, understood; ends the process with a message if it cannot be."""
    given = _parser().parse_args(arguments)
    sizes = given.sizes or (QUICK_SIZES if given.quick else SIZES)
    if given.million:
        sizes = (*sizes, MILLION)
    settings = QUICK if given.quick else Settings()
    if given.rounds:
        settings = replace(settings, rounds=given.rounds)
    if max(sizes) > SIZES[-1]:
        settings = replace(settings, limit_seconds=900.0)
    return Wishes(
        sizes=tuple(sorted(set(sizes))),
        contenders=tuple(name for name in ALL if name not in given.without),
        settings=settings,
        information=not given.sizes,
        json_file=given.json,
        strict=given.strict,
    )


def run(wishes: Wishes, start: Callable[[str], Asked], tell: Callable[[str], None]) -> Results:
    """Start the contenders, measure every case, end them.

    Args:
        wishes: What to do.
        start: Starts a contender by name; may raise ``Unavailable``.
        tell: Told what is done now.
    """
    results = Results(machine=machine(wishes.settings.rounds))
    failed = results.failures.__setitem__
    workers: dict[str, Asked] = {}
    try:
        start_all(wishes.contenders, start, tell, results, workers)

        def measured(cases: Iterable[Case]) -> Iterator[Measured]:
            for case in cases:
                if workers.keys() & set(case.contenders):
                    tell(f"{case.name} …")
                    yield measure_case(case, workers, wishes.settings, failed)

        results.measured += measured(engine_cases(wishes.sizes))
        if wishes.information:
            results.information += measured(information_cases())
            tell("memory …")
            memory, limit = {"do": "memory", "nodes": MEMORY_NODES}, wishes.settings.limit_seconds
            for _, answer in ask_each([FLOWCRAFT], memory, workers, limit, failed):
                results.memory = answer
    finally:
        for worker in workers.values():
            worker.close()
    return results


def start_all(
    names: Sequence[str],
    start: Callable[[str], Asked],
    tell: Callable[[str], None],
    results: Found,
    workers: dict[str, Asked],
) -> None:
    """Start the contenders that can be started, and note who they are, or why not."""
    for name in names:
        tell(f"starting {name} …")
        try:
            workers[name] = start(name)
        except contenders.Unavailable as error:
            results.skipped[name] = str(error)
    about, failed = {"do": "about"}, results.failures.__setitem__
    for name, answer in ask_each(names, about, workers, ABOUT_LIMIT_SECONDS, failed):
        results.abouts[name] = answer


def machine(rounds: int) -> dict[str, Any]:
    """Where and when something is measured."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processors": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "rounds": rounds,
    }


def tell_on_terminal(what: str) -> None:
    """Show what is done now on the terminal's last line; nothing clears it."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{what}", end="", file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="What the engine costs per node, beside a bare event loop and other engines.",
        epilog="docs/benchmarks.md describes the method.",
    )
    parser.add_argument(
        "--quick", action="store_true", help="fewer and shorter rounds, sizes up to 3,000"
    )
    parser.add_argument(
        "--sizes",
        type=_sizes,
        metavar="N,N",
        help="these sizes, and no more than the chains and fans",
    )
    parser.add_argument(
        "--million", action="store_true", help="1,000,000 nodes, too (takes some GB of memory)"
    )
    add_usual_options(parser, ALL)
    return parser


def add_usual_options(parser: argparse.ArgumentParser, contenders: Sequence[str]) -> None:
    """The options that all benchmarks have."""
    parser.add_argument("--rounds", type=positive, metavar="N", help="rounds for each case")
    parser.add_argument(
        "--without",
        type=names_among(contenders),
        default=(),
        metavar="NAME,NAME",
        help=f"leave out contenders: {', '.join(contenders)}",
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the figures to a file, too"
    )
    parser.add_argument("--strict", action="store_true", help="exit with 1 if a goal is missed")


def _sizes(text: str) -> tuple[int, ...]:
    sizes = tuple(int(part.replace("_", "")) for part in text.split(","))
    if min(sizes) < 3:
        raise argparse.ArgumentTypeError("a graph has at least 3 nodes")
    return sizes


def positive(text: str) -> int:
    """A number of a command line that is at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def names_among(known: Sequence[str]) -> Callable[[str], tuple[str, ...]]:
    """Names of a command line, separated by commas."""

    def names(text: str) -> tuple[str, ...]:
        found = tuple(text.split(","))
        unknown = ", ".join(sorted(set(found) - set(known)))
        if unknown:
            raise argparse.ArgumentTypeError(f"there is no {unknown}: {', '.join(known)}")
        return found

    return names
