"""Interleaved rounds: in each, every contender runs the same graph for a while, in turn.

What disturbs the machine for a moment then disturbs all of them, and a ratio taken within one
round says more than two medians taken minutes apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median

from benchmarks.cases import Case
from benchmarks.workers import Asked, ContenderFailed


@dataclass(frozen=True, slots=True)
class Settings:
    """How thoroughly to measure.

    Attributes:
        rounds: How many rounds each case has.
        seconds: How long a contender runs a graph in one round; at least once.
        warm_up_seconds: How long it does so before the first round.
        limit_seconds: How long it may take to answer before it is given up.
    """

    rounds: int = 7
    seconds: float = 0.2
    warm_up_seconds: float = 0.5
    limit_seconds: float = 120.0


QUICK = Settings(rounds=3, seconds=0.05, warm_up_seconds=0.2)


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
    workers: Mapping[str, Asked],
    settings: Settings,
    failed: Callable[[str, str], None],
) -> Measured:
    """Measure one case with those of its contenders that are there.

    Args:
        case: What to run.
        workers: The contenders' processes by name.
        settings: How thoroughly.
        failed: Told of a contender that fails, and why; the others go on without it.
    """
    measured = Measured(case)
    present = [name for name in case.contenders if name in workers]
    request = {"do": "prepare", "shape": case.shape, "nodes": case.nodes}
    request["warm_up_seconds"] = settings.warm_up_seconds

    def attempt(name: str, step: Callable[[], None]) -> None:
        try:
            step()
        except ContenderFailed as error:
            present.remove(name)
            measured.costs.pop(name, None)
            failed(name, str(error))

    def prepare(name: str) -> None:
        measured.details[name] = workers[name].ask(request, settings.limit_seconds)
        measured.costs[name] = []

    def measure(name: str) -> None:
        wish = {"do": "measure", "seconds": settings.seconds}
        answer = workers[name].ask(wish, settings.limit_seconds)
        executed = answer["runs"] * case.nodes
        measured.costs[name].append(answer["seconds"] / executed * 1e6)

    for name in tuple(present):
        attempt(name, lambda name=name: prepare(name))  # type: ignore[misc]
    for number in range(settings.rounds):
        # Every other round goes backwards, so that nobody always follows the same one.
        for name in present[:: 1 if number % 2 == 0 else -1]:
            attempt(name, lambda name=name: measure(name))  # type: ignore[misc]
    return measured
