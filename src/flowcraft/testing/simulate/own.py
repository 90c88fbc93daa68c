"""A workflow of one's own, and what its run in process has to be like before it is simulated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from flowcraft.core.builtins import WAIT
from flowcraft.core.state import RunStatus
from flowcraft.engine.results import RunResult, describe_error
from flowcraft.testing.simulate.loop import SimulationError
from flowcraft.testing.simulate.story import Story, Told, Truth, complaint_of, short
from flowcraft.testing.simulate.world import LONGEST_BODY_SECONDS

MISSING = "ImplementationMissing"
ORDERS = 3
SHOWN_DIFFERENCES = 10
HOW_TO_COMPARE = (
    "Runs are compared with each other, so what comes of one must not depend on chance, on the "
    "time, on which of two nodes is faster, or on what another run has left. Give a function that "
    "builds a fresh flow for each run, let nodes that may run at once write different keys, and "
    "put something fixed in place of chance and time; or pass is_settled=False and a check."
)


@dataclass(frozen=True)
class OwnStory(Story):
    """The story of a workflow of one's own.

    Attributes:
        may_end: How its run in process may end.
        is_checked_first: Whether the check looks at that run even where not every run comes to
            the same.
    """

    may_end: tuple[str, ...] = ("completed",)
    is_checked_first: bool = False

    @cached_property
    def truth(self) -> Truth:
        """What comes of it in process, without anything going wrong.

        Raises:
            SimulationError: It ends otherwise than it may, waits for what nobody answers, does not
                end, or comes to something else another time.
            ValueError: There is an answer for what is no wait.
        """
        told = Told(self, self.build())
        truth = told.try_out(lambda result: self._look(told, result))
        if self.is_settled:
            for order in range(1, ORDERS + 1):
                self._compare(truth, order)
        return truth

    def _look(self, told: Told, result: RunResult) -> None:
        self._check_answers(told, result)
        if result.status is RunStatus.AWAITING:
            self._check_waits(result)
        else:
            self._check_end(result)
        is_checked = self.is_settled or self.is_checked_first
        complaint = complaint_of(self, result) if is_checked else None
        if complaint is not None:
            raise SimulationError(
                f"The check does not hold of the run of '{self.name}' in process, in which nothing "
                f"goes wrong: {complaint}"
            )

    def _check_answers(self, told: Told, result: RunResult) -> None:
        """See that what is answered waits."""
        waits = {node.id for node in told.nodes if node.uses == WAIT}
        others = {node.id for node in told.nodes} - waits
        # Nodes that are added by others show in the result alone.
        unknown = sorted(
            name for name in self.answers if name not in waits and name not in result.states
        )
        unknown += sorted(others & set(self.answers))
        if unknown:
            known = ", ".join(map(repr, sorted(waits))) or "none"
            raise ValueError(
                f"answers= has {unknown[0]!r}, and there is no wait of this name in '{self.name}'. "
                f"Waits: {known}."
            )

    def _check_waits(self, result: RunResult) -> None:
        """See that somebody answers what it waits for."""
        if self.people and not self.is_settled:
            return
        name = result.awaiting[0].node_id if result.awaiting else "?"
        why = f"for an answer that nobody gives: pass answers={{{name!r}: …}}"
        if name in self.answers:
            why = "again and again, after a hundred answers"
        raise SimulationError(f"The run of '{self.name}' in process waits at '{name}' {why}.")

    def _compare(self, truth: Truth, order: int) -> None:
        """See that it comes to the same in another order, where bodies take their time."""
        complaints: list[str | None] = []
        longest_seconds = LONGEST_BODY_SECONDS if order > 1 else 0.0
        again = Told(self, self.build()).try_out(
            lambda result: complaints.append(complaint_of(self, result)),
            order=order,
            longest_seconds=longest_seconds,
        )
        found = list(_differences(truth.summary, again.summary))
        found += [f"then the check does not hold: {each}" for each in complaints if each]
        if found:
            lines = "\n".join(f"  - {each}" for each in found[:SHOWN_DIFFERENCES])
            raise SimulationError(
                f"'{self.name}' comes to one thing and then to another in process, where nothing "
                f"goes wrong:\n{lines}\n{HOW_TO_COMPARE}"
            )

    def _check_end(self, result: RunResult) -> None:
        """See that the run ended as it may, so that there is something to compare with."""
        is_missing = any(each.type == MISSING for each in result.errors)
        if str(result.status) in self.may_end and not is_missing:
            return
        errors = "\n".join(map(describe_error, result.errors)) or "  - no error is left"
        how = (
            "Give the flow what it lacks."
            if is_missing
            else "Mend it, or give what it needs in context=, runtime= or in place of a service; "
            f"if this is how it is to end, pass statuses=({str(result.status)!r},)."
        )
        raise SimulationError(
            f"The run of '{self.name}' in process, in which nothing goes wrong, is "
            f"{result.status}, so there is nothing to simulate:\n{errors}\n{how}"
        )


def _differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[str]:
    """What differs between two summaries of a run."""
    named = {
        "outputs": "the output of node {!r}",
        "context": "context key {!r}",
        "states": "the state of node {!r}",
    }
    for name, value in one.items():
        if name not in named:
            if value != other[name]:
                yield f"its {name}: {short(value)}, and then {short(other[name])}"
            continue
        for key in sorted({*value, *other[name]}):
            before, then = value.get(key, _ABSENT), other[name].get(key, _ABSENT)
            if before != then:
                yield f"{named[name].format(key)}: {_shown(before)}, and then {_shown(then)}"


def _shown(value: Any) -> str:
    return "none" if value is _ABSENT else short(value)


_ABSENT = object()
