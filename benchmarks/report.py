"""The figures as a table for a terminal, and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.cases import FLOOR, FLOWCRAFT, LANGGRAPH, NPM, SHAPES
from benchmarks.goals import Verdict, verdicts
from benchmarks.rounds import Measured, Spread

MOST_UNREST = 1.3
CONTENDERS = {FLOOR: "bare loop", FLOWCRAFT: "flowcraft", NPM: "npm", LANGGRAPH: "LangGraph"}


@dataclass(slots=True)
class Found:
    """What a run of benchmarks found, whatever it measured.

    Attributes:
        machine: Date, processor count and the like.
        abouts: By contender its name, version and settings.
        skipped: By contender why it did not take part.
        failures: By contender, or by part, why it failed.
        measured: The cases that have goals, in order.
    """

    machine: Mapping[str, Any]
    abouts: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    measured: list[Measured] = field(default_factory=list)

    def verdicts(self) -> list[Verdict]:
        """The goals, judged; here there are none."""
        return []

    def heading(self, titles: Mapping[str, str], floor: str, what: str) -> str:
        """Where it was measured, who took part and who did not, and whether there was peace.

        Args:
            titles: What contenders are called; a part is called what it is.
            floor: The contender that the others are measured by.
            what: What that does, in words.
        """
        machine = self.machine
        lines = [f"{machine['date']}, {machine['processors']} processors, {machine['system']}"]
        for name, about in self.abouts.items():
            settings = f", {about['settings']}" if "settings" in about else ""
            lines.append(f"  {titles[name]}: {about['name']} ({about['version']}){settings}")
        lines += [f"  {titles[name]} is left out: {why}" for name, why in self.skipped.items()]
        lines += [
            f"  {titles.get(name, name)} FAILED: {why}" for name, why in self.failures.items()
        ]
        return "\n".join([*lines, *unrest(self.measured, floor, what)])

    def circumstances(self) -> dict[str, Any]:
        """The same as data."""
        return {
            "machine": dict(self.machine),
            "contenders": {name: dict(about) for name, about in self.abouts.items()},
            "skipped": self.skipped,
            "failed": self.failures,
        }


@dataclass(slots=True)
class Results(Found):
    """Everything one run of the benchmarks in process found.

    Attributes:
        information: The cases without a goal.
        memory: Bytes per node.
    """

    information: list[Measured] = field(default_factory=list)
    memory: Mapping[str, float] | None = None

    def verdicts(self) -> list[Verdict]:
        """The goals, judged."""
        return verdicts(self.measured, self.memory)


def as_text(results: Results) -> str:
    """All tables."""
    parts = [
        results.heading(CONTENDERS, FLOOR, "the bare loop"),
        "Microseconds per node: the median of the rounds\n" + _costs(results.measured),
    ]
    if results.information:
        parts.append("For information\n" + _information(results.information))
    if results.memory:
        parts.append(_memory(results.memory))
    parts.append(
        "Goals: the median of the rounds (smallest to largest)\n" + goals(results.verdicts())
    )
    return "\n\n".join(parts)


def as_json(results: Results) -> dict[str, Any]:
    """The same as data; costs are microseconds per node in each round."""
    return {
        **results.circumstances(),
        "cases": [_case(one) for one in (*results.measured, *results.information)],
        "memory": None if results.memory is None else dict(results.memory),
        "goals": [goal_as_json(verdict) for verdict in results.verdicts()],
    }


def goal_as_json(verdict: Verdict) -> dict[str, Any]:
    """A goal as data."""
    return {
        "goal": verdict.goal,
        "case": verdict.case,
        "wanted": verdict.wanted,
        "at_most": verdict.at_most,
        "found": verdict.found,
        "reached": verdict.reached,
    }


def table(rows: Sequence[Sequence[str]]) -> str:
    """Text in columns, the first to the left and all others to the right; row 0 is the head."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]

    def line(row: Sequence[str]) -> str:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        return "  ".join(cells).rstrip()

    return "\n".join(
        [line(rows[0]), "  ".join("-" * width for width in widths), *map(line, rows[1:])]
    )


def unrest(measured: Iterable[Measured], floor: str, what: str) -> list[str]:
    """A warning if a floor itself moved: then the machine had other things to do."""
    floors = [cost for one in measured if (cost := one.cost(floor))]
    if not floors:
        return []
    low, high = min(floor.low for floor in floors), max(floor.high for floor in floors)
    if high <= MOST_UNREST * low:
        return []
    return [f"  The machine was busy: {what} took from {low:.1f} to {high:.1f} µs a node."]


def _costs(measured: Iterable[Measured]) -> str:
    rows = [["", *CONTENDERS.values(), "plan"]]
    for one in measured:
        costs = [one.cost(name) for name in CONTENDERS]
        plan = one.details.get(FLOWCRAFT, {}).get("planning_seconds")
        built = "" if plan is None else f"{plan / one.case.nodes * 1e6:.1f}"
        rows.append([one.case.name, *map(_number, costs), built])
    return table(rows)


def _information(measured: Iterable[Measured]) -> str:
    rows = [["", *CONTENDERS.values(), "a second"]]
    for one in measured:
        costs = [one.cost(name) for name in CONTENDERS]
        last = next((cost for cost in reversed(costs[:2]) if cost), None)
        speed = "" if last is None else f"{1e6 / last.middle:,.0f}"
        rows.append([one.case.name, *map(_number, costs), speed])
    return table(rows)


def _memory(memory: Mapping[str, float]) -> str:
    return (
        f"Memory, bytes per node: {memory['run_bytes']:.0f} held by a finished run beyond its "
        f"outputs,\n{memory['peak_bytes']:.0f} at its peak, {memory['plan_bytes']:.0f} held by "
        "the plan, which all runs of a blueprint share."
    )


def goals(found: Sequence[Verdict]) -> str:
    """The goals as a table, with what was found and whether that will do."""
    if not found:
        return "None could be judged."
    rows = [["", "where", "goal", "found", "rounds", ""]]
    for verdict in found:
        sign = "at most" if verdict.at_most else "at least"
        spread = verdict.spread
        rows.append(
            [
                verdict.goal,
                verdict.case,
                f"{sign} {verdict.wanted:,g}",
                figure(verdict.found),
                f"{figure(spread.low)} to {figure(spread.high)}" if spread else "",
                "pass" if verdict.reached else "MISS",
            ]
        )
    passed = sum(verdict.reached for verdict in found)
    return table(rows) + f"\n\n{passed} of {len(found)} goals reached."


def _case(one: Measured) -> dict[str, Any]:
    return {
        "shape": one.case.shape,
        "nodes": one.case.nodes,
        "has_goals": one.case.shape in SHAPES,
        "microseconds_per_node": one.costs,
        "prepared": {name: dict(details) for name, details in one.details.items()},
    }


def _number(spread: Spread | None) -> str:
    return "" if spread is None else f"{spread.middle:.1f}"


def figure(number: float) -> str:
    """A number in as many digits as are of interest."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.2f}"
