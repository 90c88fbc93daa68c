"""What the figures have to be, and whether they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.cases import FLOOR, FLOWCRAFT, LANGGRAPH, NPM, SHAPES
from benchmarks.rounds import Measured, Spread

MOST_FLOORS: Final = 2.5
MOST_RISE: Final = 1.30
FLAT_FROM: Final = 100
MOST_BYTES: Final = 1024.0
LEAST_OVER_NPM: Final = {10: 1.0, 100: 1.0, 1_000: 4.0, 3_000: 10.0}
LEAST_OVER_LANGGRAPH: Final = 15.0

_IN_FLOORS: Final = "cost in bare loops"
_OVER_NPM: Final = "times as fast as npm"
_OVER_LANGGRAPH: Final = "times as fast as LangGraph"
_ORDER: Final = (_IN_FLOORS, _OVER_NPM, _OVER_LANGGRAPH)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A goal and what was measured.

    Attributes:
        goal: What is asked for, in words.
        case: Where, such as ``chain of 10``.
        wanted: The bound.
        at_most: Whether the bound is an upper one.
        found: What was measured.
        spread: Smallest to largest over the rounds, where there are rounds.
    """

    goal: str
    case: str
    wanted: float
    at_most: bool
    found: float
    spread: Spread | None = None

    @property
    def reached(self) -> bool:
        """Whether the goal is met."""
        return self.found <= self.wanted if self.at_most else self.found >= self.wanted


def verdicts(measured: Sequence[Measured], memory: Mapping[str, float] | None) -> list[Verdict]:
    """Every goal that the figures allow to judge; what was not measured is not judged."""
    found = [verdict for one in measured for verdict in _of_case(one)]
    # By goal, and then in the order in which the cases were measured.
    found.sort(key=lambda verdict: _ORDER.index(verdict.goal))
    found += _flatness(measured)
    if memory is not None:
        goal, case = "bytes per finished node", "chain"
        found.append(Verdict(goal, case, MOST_BYTES, True, memory["run_bytes"]))
    return found


def missed(found: Iterable[Verdict]) -> list[Verdict]:
    """The goals that are not met."""
    return [verdict for verdict in found if not verdict.reached]


def _of_case(one: Measured) -> list[Verdict]:
    case = one.case
    if case.shape not in SHAPES:
        return []
    found = []
    floors = one.ratio(FLOWCRAFT, FLOOR)
    if floors:
        found.append(Verdict(_IN_FLOORS, case.name, MOST_FLOORS, True, floors.middle, floors))
    npm = one.ratio(NPM, FLOWCRAFT)
    if npm and case.nodes in LEAST_OVER_NPM:
        wanted = LEAST_OVER_NPM[case.nodes]
        found.append(Verdict(_OVER_NPM, case.name, wanted, False, npm.middle, npm))
    langgraph = one.ratio(LANGGRAPH, FLOWCRAFT)
    if langgraph:
        wanted = LEAST_OVER_LANGGRAPH
        found.append(
            Verdict(_OVER_LANGGRAPH, case.name, wanted, False, langgraph.middle, langgraph)
        )
    return found


def _flatness(measured: Sequence[Measured]) -> list[Verdict]:
    """How much dearer the dearest size is than the cheapest, counted in bare loops.

    Sizes are measured one after the other; counted in bare loops of the same rounds, what the
    machine did meanwhile cancels out.
    """
    found = []
    for shape in SHAPES:
        floors = {
            one.case.nodes: ratio.middle
            for one in measured
            if one.case.shape == shape and one.case.nodes >= FLAT_FROM
            if (ratio := one.ratio(FLOWCRAFT, FLOOR))
        }
        if len(floors) > 1:
            rise = max(floors.values()) / min(floors.values())
            case = f"{shape}s of {min(floors):,} to {max(floors):,}"
            found.append(Verdict("dearest size over cheapest", case, MOST_RISE, True, rise))
    return found
