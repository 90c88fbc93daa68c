"""What the figures have to be, and whether they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median
from typing import Final

from benchmarks.durable.cases import DBOS, FULL, NORMAL
from benchmarks.durable.fleet import Batch, Hops, Shared
from benchmarks.goals import Verdict
from benchmarks.rounds import Measured, Spread

LEAST_NODES_PER_SECOND: Final = 3_000.0
# That many against the 310 steps a second that DBOS reached at best on a machine like ours.
LEAST_OVER_DBOS: Final = 9.7
MOST_OF_LARGE_BATCH: Final = 1.10
LARGE_BATCH: Final = 100_000

# Nobody asked for these: they are what the documentation leads to expect.
MOST_HOP_WITHIN_MS: Final = 5.0
MOST_HOP_ACROSS_MS: Final = 200.0

_RATE: Final = "nodes a second and process, normal"
_OVER_DBOS: Final = "times as fast as DBOS, both full"


def rate(one: Measured, contender: str) -> Spread | None:
    """Nodes (or items) a second, over the rounds."""
    costs = one.costs.get(contender)
    return Spread.of([1e6 / cost for cost in costs]) if costs else None


def of_rates(measured: Sequence[Measured]) -> list[Verdict]:
    """The goals of what runs within one process; items of a batch are no nodes."""
    rates, over = [], []
    for one in measured:
        ours = rate(one, NORMAL)
        if ours is not None and one.case.shape != "batch":
            wanted = LEAST_NODES_PER_SECOND
            rates.append(Verdict(_RATE, one.case.name, wanted, False, ours.middle, ours))
        times = one.ratio(DBOS, FULL)
        if times is not None:
            wanted = LEAST_OVER_DBOS
            over.append(Verdict(_OVER_DBOS, one.case.name, wanted, False, times.middle, times))
    return rates + over


def of_hops(within: Hops | None, across: Hops | None) -> Iterator[Verdict]:
    """The goals of hops, which are about the median."""
    goal = "hop through the queue, ms"
    for hops, case, wanted in (
        (within, "within one process", MOST_HOP_WITHIN_MS),
        (across, "to another process", MOST_HOP_ACROSS_MS),
    ):
        if hops is not None:
            spread = hops.spread
            yield Verdict(goal, case, wanted, True, spread.middle, spread)


def of_processes(found: Shared | None) -> Iterator[Verdict]:
    """One worker process that does nothing else, and two on one file together."""
    if found is not None:
        for case, rates in (("one worker process", found.one), ("two on one file", found.two)):
            spread = Spread.of(rates)
            wanted = LEAST_NODES_PER_SECOND
            yield Verdict("nodes a second, normal", case, wanted, False, median(rates), spread)


def of_batches(found: Sequence[Batch]) -> Iterator[Verdict]:
    """What an item costs in a large batch, beside one in a small; others have no goal."""
    if len(found) == 2 and found[1].items >= LARGE_BATCH:
        small, large = found
        case = f"{large.items:,} items over {small.items:,}"
        times, wanted = growth(small, large), MOST_OF_LARGE_BATCH
        yield Verdict("cost of a further item", case, wanted, True, times.middle, times)


def growth(small: Batch, large: Batch) -> Spread:
    """How many times as much a further item costs in the large batch, and in each round."""
    middle = large.microseconds_beyond / small.microseconds_beyond
    fixed, others = median(small.fixed), small.items - 1
    each = [(seconds - fixed) / others * 1e6 for seconds in small.seconds]
    ratios = [large.microseconds_beyond / cost for cost in each]
    return Spread(min(ratios), middle, max(ratios))
