"""The command: what is asked for, and doing it."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.command import (
    add_usual_options,
    exit_code,
    machine,
    names_among,
    show,
    start_all,
    tell_on_terminal,
)
from benchmarks.durable import contenders, fleet
from benchmarks.durable.cases import ALL, BATCHES, PARTS, QUICK_BATCHES, rate_cases
from benchmarks.durable.report import Results, as_json, as_text
from benchmarks.rounds import Settings, measure_case
from benchmarks.workers import Asked

USUAL = Settings(rounds=5, seconds=0.2, warm_up_seconds=0.2)
QUICK = Settings(rounds=3, seconds=0.1, warm_up_seconds=0.1)
PART_LIMIT_SECONDS = 900.0
"""When a part that does not come to an end is given up."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What was asked for on the command line."""

    parts: tuple[str, ...]
    contenders: tuple[str, ...]
    settings: Settings
    hops: int
    batches: tuple[int, int]
    json_file: Path | None
    strict: bool


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks and print the tables.

    Returns:
        0; 1 if something failed, or with ``--strict`` if a goal was missed.
    """
    wishes = read_arguments(arguments)
    results = run(wishes, contenders.start, tell_on_terminal)
    show(as_text(results), as_json(results), wishes.json_file)
    return exit_code(results, strict=wishes.strict)


def read_arguments(arguments: Sequence[str] | None) -> Wishes:
    """The command line, understood; ends the process with a message if it cannot be."""
    given = _parser().parse_args(arguments)
    settings = QUICK if given.quick else USUAL
    if given.rounds:
        settings = replace(settings, rounds=given.rounds)
    parts = ("batches",) if given.batch else given.only
    return Wishes(
        parts=tuple(part for part in PARTS if part in parts),
        contenders=tuple(name for name in ALL if name not in given.without),
        settings=settings,
        hops=10 if given.quick else 20,
        batches=given.batch or (QUICK_BATCHES if given.quick else BATCHES),
        json_file=given.json,
        strict=given.strict,
    )


def run(wishes: Wishes, start: Callable[[str], Asked], tell: Callable[[str], None]) -> Results:
    """Measure what is wished for, one part after the other.

    Args:
        wishes: What to do.
        start: Starts a contender by name; may raise ``Unavailable``.
        tell: Told what is done now.
    """
    results = Results(machine=machine(wishes.settings.rounds))
    if "rates" in wishes.parts:
        _measure_rates(wishes, start, tell, results)
    for part, measure in _PARTS.items():
        if part in wishes.parts:
            tell(f"{part} …")
            _measure_part(part, measure(wishes, results), results)
    return results


def _measure_rates(
    wishes: Wishes, start: Callable[[str], Asked], tell: Callable[[str], None], results: Results
) -> None:
    workers: dict[str, Asked] = {}
    try:
        start_all(wishes.contenders, start, tell, results, workers)
        for case in rate_cases():
            if workers.keys() & set(case.contenders):
                tell(f"{case.name} …")
                failed = results.failures.__setitem__
                results.measured.append(measure_case(case, workers, wishes.settings, failed))
    finally:
        for worker in workers.values():
            worker.close()


def _measure_part(part: str, measuring: Awaitable[None], results: Results) -> None:
    """A part that fails is named, and the others go on."""

    async def limited() -> None:
        async with asyncio.timeout(PART_LIMIT_SECONDS):
            await measuring

    try:
        asyncio.run(limited())
    except Exception as error:
        results.failures[part] = f"{type(error).__name__}: {error}"


async def _hops(wishes: Wishes, results: Results) -> None:
    results.within = await fleet.hops_within(wishes.hops)
    results.across = await fleet.hops_across(wishes.hops)


async def _processes(wishes: Wishes, results: Results) -> None:
    results.shared = await fleet.shared(wishes.settings.rounds)


async def _batches(wishes: Wishes, results: Results) -> None:
    results.batches += await fleet.batches(*wishes.batches)


_PARTS: dict[str, Callable[[Wishes, Results], Awaitable[Any]]] = {
    "hops": _hops,
    "processes": _processes,
    "batches": _batches,
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.durable",
        description="What durable runs on SQLite cost, beside bare transactions and DBOS.",
        epilog="docs/benchmarks.md describes the method.",
    )
    parser.add_argument(
        "--quick", action="store_true", help="fewer and shorter rounds, a smaller large batch"
    )
    parser.add_argument(
        "--only",
        type=names_among(PARTS),
        default=PARTS,
        metavar="NAME,NAME",
        help=f"these parts: {', '.join(PARTS)}",
    )
    parser.add_argument(
        "--batch",
        type=_two_sizes,
        metavar="N,N",
        help="batches of these two sizes, and nothing else (1000,100000)",
    )
    add_usual_options(parser, ALL)
    return parser


def _two_sizes(text: str) -> tuple[int, int]:
    sizes = sorted(int(part.replace("_", "")) for part in text.split(","))
    if len(sizes) != 2 or not 2 <= sizes[0] < sizes[1]:
        raise argparse.ArgumentTypeError("two sizes, the smaller one at least 2: 1000,100000")
    return sizes[0], sizes[1]
