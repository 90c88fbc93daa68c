"""`python -m benchmarks.simulated`: how many runs the simulator plays in a second.

What can be looked for in an hour is decided by that. A turn of the simulated event loop, with all
that the engine and the fakes do in it, is counted in turns of a bare one.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any, Final

from benchmarks.command import machine, positive, show, tell_on_terminal
from benchmarks.report import table
from benchmarks.rounds import Spread
from flowcraft.testing.simulate.campaign import at_random
from flowcraft.testing.simulate.named import BACKENDS, backend_named
from flowcraft.testing.simulate.play import play
from flowcraft.testing.simulate.zoo import STORIES

ROUNDS: Final = 5
QUICK_ROUNDS: Final = 2
SEED: Final = 1
TURNS: Final = 20_000
"""Turns of the bare loop in a round."""


@dataclass(slots=True)
class Rates:
    """What the rounds of one backend gave, each with other scenarios.

    Attributes:
        runs: Runs a second.
        requests: Requests a second, of all processes.
        turns: Microseconds for a turn of the event loop.
        in_bare_turns: The same in turns of a bare loop.
    """

    runs: list[float] = field(default_factory=list)
    requests: list[float] = field(default_factory=list)
    turns: list[float] = field(default_factory=list)
    in_bare_turns: list[float] = field(default_factory=list)


def bare_turn_seconds(turns: int = TURNS) -> float:
    """What a turn of asyncio's own event loop takes in which a task does nothing."""

    async def main() -> None:
        for _ in range(turns):
            await asyncio.sleep(0)

    began = perf_counter()
    asyncio.run(main())
    return (perf_counter() - began) / turns


def measure(
    backends: Sequence[str],
    rounds: int,
    runs: int,
    tell: Callable[[str], None] = tell_on_terminal,
) -> Mapping[str, Rates]:
    """Play scenarios that a seed decides, the same ones on every machine.

    Args:
        backends: Where runs and messages are kept: ``memory``, ``aws``.
        rounds: How many rounds there are; in each, every backend and the bare loop have a turn.
        runs: How many runs a backend plays in a round.
        tell: Told what is done now.
    """
    found = {name: Rates() for name in backends}
    stories = list(STORIES.values())
    scenarios = {
        name: iter(at_random(stories, SEED, new_backend=backend_named(name))) for name in backends
    }
    for number in range(rounds):
        for name in backends:
            tell(f"round {number + 1} of {rounds}, {name} …")
            # What a workflow comes to in process is worked out once, when it is first met.
            chosen = list(islice(scenarios[name], runs))
            for scenario in chosen:
                _ = STORIES[scenario.graph].truth
            bare, began = bare_turn_seconds(), perf_counter()
            played = [play(STORIES[each.graph], each, backend_named(name)) for each in chosen]
            seconds = perf_counter() - began
            turns = sum(each.turns for each in played)
            rates = found[name]
            rates.runs.append(runs / seconds)
            rates.requests.append(sum(sum(each.made.values()) for each in played) / seconds)
            rates.turns.append(seconds / turns * 1e6)
            rates.in_bare_turns.append(seconds / turns / bare)
    return found


def as_text(rates: Mapping[str, Rates]) -> str:
    """The figures as a table."""
    heading = ["", "runs a second", "requests a second", "µs a turn", "in bare turns"]
    return table([heading, *(_row(name, each) for name, each in rates.items())])


def _row(name: str, rates: Rates) -> list[str]:
    runs, ratio = Spread.of(rates.runs), Spread.of(rates.in_bare_turns)
    return [
        name,
        f"{runs.middle:.1f} ({runs.low:.1f} to {runs.high:.1f})",
        f"{Spread.of(rates.requests).middle:.0f}",
        f"{Spread.of(rates.turns).middle:.1f}",
        f"{ratio.middle:.0f} ({ratio.low:.0f} to {ratio.high:.0f})",
    ]


def as_json(rates: Mapping[str, Rates], rounds: int) -> dict[str, Any]:
    """The figures of each round as data."""
    names = ("runs", "requests", "turns", "in_bare_turns")
    by_name = {one: {name: getattr(rates[one], name) for name in names} for one in rates}
    return {"machine": machine(rounds), "backends": by_name}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.simulated",
        description="How many simulated runs a core plays in a second.",
        epilog="docs/benchmarks.md describes the method.",
    )
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--rounds", type=positive, metavar="N", help="rounds for each backend")
    parser.add_argument("--backend", choices=list(BACKENDS), help="this one alone")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures, too")
    given = parser.parse_args(arguments)
    rounds = given.rounds or (QUICK_ROUNDS if given.quick else ROUNDS)
    # One round has each workflow once, so that all rounds are alike.
    rates = measure([given.backend] if given.backend else list(BACKENDS), rounds, len(STORIES))
    show(as_text(rates), as_json(rates, rounds), given.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
