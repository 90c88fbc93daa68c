"""Interleaved rounds: in each, every contender runs the same graph for a while, in turn.

What disturbs the machine for a moment then disturbs all of them, and a ratio taken within one
round says more than two medians taken minutes apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import Any

from benchmarks.cases import Case
from benchmarks.workers import Asked, ContenderFailed

LARGE = 100_000


@dataclass(frozen=True, slots=True)
class Settings:
    """How thoroughly to measure.

    Attributes:
        rounds: How many rounds each case has.
        seconds: How long a contender runs a graph in one round; at least once.
        warm_up_seconds: How long it does so before the first round.
        limit_seconds: How long it may take to answer before it is given up.
    """

    rounds: int = 15
    seconds: float = 0.1
    warm_up_seconds: float = 0.5
    limit_seconds: float = 120.0

    def rounds_for(self, case: Case) -> int:
        """The number of rounds: a third for graphs of which one run takes a second or more."""
        return self.rounds if case.nodes < LARGE else max(1, self.rounds // 3)


QUICK = Settings(rounds=5, seconds=0.05, warm_up_seconds=0.2)


@dataclass(frozen=True, slots=True)
class Spread:
    """Smallest, middle and largest of some numbers."""

    low: float
    middle: float
    high: float

    @classmethod
    def of(cls, numbers: list[float]) -> Spread:
        """The spread of at least one number."""
        return cls(min(numbers), median(numbers), max(numbers))


@dataclass(slots=True)
class Measured:
    """What the rounds of one case gave.

    Attributes:
        case: What was run.
        costs: By contender the microseconds per node in each round.
        details: By contender what it measured while it prepared.
    """

    case: Case
    costs: dict[str, list[float]] = field(default_factory=dict)
    details: dict[str, Mapping[str, float]] = field(default_factory=dict)

    def cost(self, contender: str) -> Spread | None:
        """Microseconds per node, or ``None`` for one that did not take part."""
        costs = self.costs.get(contender)
        return Spread.of(costs) if costs else None

    def ratio(self, contender: str, other: str) -> Spread | None:
        """How many times as much ``contender`` costs, round by round."""
        pairs = zip(self.costs.get(contender, ()), self.costs.get(other, ()), strict=False)
        ratios = [one / two for one, two in pairs]
        return Spread.of(ratios) if ratios else None


def measure_case(
    case: Case,
    workers: MutableMapping[str, Asked],
    settings: Settings,
    failed: Callable[[str, str], None],
) -> Measured:
    """Measure one case with those of its contenders that are there.

    Args:
        case: What to run.
        workers: The contenders' processes by name; one that fails is closed and taken out.
        settings: How thoroughly.
        failed: Told of a contender that fails, and why; the others go on without it.
    """
    measured = Measured(case)
    asked = partial(ask_each, workers=workers, limit_seconds=settings.limit_seconds, failed=failed)
    prepare = {"do": "prepare", "shape": case.shape, "nodes": case.nodes}
    prepare["warm_up_seconds"] = settings.warm_up_seconds
    for name, details in asked(case.contenders, prepare):
        measured.details[name] = details
        measured.costs[name] = []
    for number in range(settings.rounds_for(case)):
        # Every other round goes backwards, so that nobody always follows the same one.
        order = tuple(measured.costs)[:: 1 if number % 2 == 0 else -1]
        for name, answer in asked(order, {"do": "measure", "seconds": settings.seconds}):
            cost = answer["seconds"] / (answer["runs"] * case.nodes)
            measured.costs[name].append(cost * 1e6)
        for name in measured.costs.keys() - workers.keys():
            del measured.costs[name]
    return measured


def ask_each(
    names: Iterable[str],
    request: Mapping[str, Any],
    workers: MutableMapping[str, Asked],
    limit_seconds: float,
    failed: Callable[[str, str], None],
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Ask one worker after the other; those that are not there are passed over."""
    for name in names:
        worker = workers.get(name)
        if worker is None:
            continue
        try:
            answer = worker.ask(request, limit_seconds)
        except ContenderFailed as error:
            workers.pop(name).close()
            failed(name, str(error))
        else:
            yield name, answer
