"""The figures as tables for a terminal, and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.durable.cases import ALL, BARE_NORMAL, DBOS, DBOS_WAL, PAIRS, TITLES
from benchmarks.durable.fleet import Batch, Hops, Shared
from benchmarks.durable.goals import (
    growth,
    of_batches,
    of_hops,
    of_processes,
    of_rates,
    rate,
)
from benchmarks.goals import Verdict
from benchmarks.report import Found, figure, goal_as_json, goals, table
from benchmarks.rounds import Spread


@dataclass(slots=True)
class Results(Found):
    """Everything one run of the benchmarks of durable runs found.

    Attributes:
        within: Hops within a process.
        across: Hops to another process.
        shared: One worker process, and two on one file.
        batches: A small batch and a large one.
    """

    within: Hops | None = None
    across: Hops | None = None
    shared: Shared | None = None
    batches: list[Batch] = field(default_factory=list)

    def verdicts(self) -> list[Verdict]:
        """The goals, judged; what was not measured is not."""
        return [
            *of_rates(self.measured),
            *of_hops(self.within, self.across),
            *of_processes(self.shared),
            *of_batches(self.batches),
        ]


def as_text(results: Results) -> str:
    """All tables."""
    parts = [results.heading(TITLES, BARE_NORMAL, "a bare transaction")]
    if results.measured:
        parts.append("Nodes (items) a second: the median of the rounds\n" + _rates(results))
        parts.append(_beside_dbos(results))
    if results.within or results.across:
        parts.append("From the end of a node to the beginning of another\n" + _hops(results))
    if results.shared:
        parts.append(_shared(results.shared))
    if results.batches:
        parts.append("Batches by a worker process of their own\n" + _batches(results.batches))
    parts.append("Goals: the median (smallest to largest)\n" + goals(results.verdicts()))
    return "\n\n".join(parts)


def as_json(results: Results) -> dict[str, Any]:
    """The same as data, with every round."""
    return {
        **results.circumstances(),
        "rates": [
            {"case": one.case.name, "microseconds_per_node": one.costs} for one in results.measured
        ],
        "hops_within": asdict(results.within) if results.within else None,
        "hops_across": asdict(results.across) if results.across else None,
        "processes": asdict(results.shared) if results.shared else None,
        "batches": [asdict(batch) for batch in results.batches],
        "goals": [goal_as_json(verdict) for verdict in results.verdicts()],
    }


def _rates(results: Results) -> str:
    names = [name for name in ALL if any(name in one.costs for one in results.measured)]
    rows = [["", *(TITLES[name] for name in names)]]
    for one in results.measured:
        rates = [rate(one, name) for name in names]
        cells = ["" if found is None else f"{found.middle:,.0f}" for found in rates]
        rows.append([one.case.name, *cells])
    return table(rows)


def _beside_dbos(results: Results) -> str:
    cases = [one for one in results.measured if {DBOS, DBOS_WAL} & one.costs.keys()]
    if not cases:
        return "Beside DBOS: not measured."
    rows = [["ours and theirs", *(one.case.name for one in cases)]]
    for ours, theirs, what in PAIRS:
        times = [one.ratio(theirs, ours) for one in cases]
        cells = [f"{figure(each.middle)} ({_range(each)})" if each else "" for each in times]
        rows.append([f"{TITLES[ours]}; {TITLES[theirs]}: {what}", *cells])
    return "Times as fast as DBOS: the median of the rounds (smallest to largest)\n" + table(rows)


def _hops(results: Results) -> str:
    rows = [["milliseconds", "median", "smallest to largest", "hops", "led elsewhere"]]
    for title, hops in (
        ("through the queue, within one process", results.within),
        ("to another process, which has to look", results.across),
    ):
        if hops is not None:
            spread, count = hops.spread, len(hops.milliseconds)
            rows.append(
                [title, figure(spread.middle), _range(spread), str(count), str(hops.others)]
            )
    return table(rows)


def _shared(shared: Shared) -> str:
    one, two, ratio = Spread.of(shared.one), Spread.of(shared.two), shared.ratio
    shares = " and ".join(f"{share:.0%}" for share in shared.shares)
    return (
        "40 chains of 100 by worker processes on one file, nodes a second\n"
        f"one {one.middle:,.0f}, two {two.middle:,.0f} together (they ran {shares}); "
        f"two in ones: {figure(ratio.middle)} ({_range(ratio)})"
    )


def _batches(batches: Sequence[Batch]) -> str:
    rows = [["", "seconds", "µs an item", "µs a further item", "peak memory, MB"]]
    for each in batches:
        seconds = Spread.of(each.seconds)
        rows.append(
            [
                f"{each.items:,} items",
                figure(seconds.middle),
                f"{each.microseconds:,.0f}",
                f"{each.microseconds_beyond:,.0f}",
                f"{each.peak_bytes / 1e6:,.0f}",
            ]
        )
    text = table(rows)
    if len(batches) == 2:
        small, large = batches
        whole = large.microseconds / small.microseconds
        times = growth(small, large)
        text += (
            f"\nAn item costs {figure(whole)} times as much in the large batch, "
            f"a further item {figure(times.middle)} times ({_range(times)})."
        )
    return text


def _range(spread: Spread) -> str:
    return f"{figure(spread.low)} to {figure(spread.high)}"
