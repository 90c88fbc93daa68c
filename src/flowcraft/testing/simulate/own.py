"""A workflow of one's own, and what its run in process has to be like before it is simulated."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from flowcraft.core.state import RunStatus
from flowcraft.engine.results import RunResult, describe_error
from flowcraft.testing.simulate.loop import SimulationError
from flowcraft.testing.simulate.story import Story, Told, Truth, complaint_of

MISSING = "ImplementationMissing"


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
            SimulationError: It ends otherwise than it may, or does not end.
        """
        told = Told(self, self.build())
        return told.try_out(self._look)

    def _look(self, result: RunResult) -> None:
        if result.status is not RunStatus.AWAITING:
            self._check_end(result)
        is_checked = self.is_settled or self.is_checked_first
        complaint = complaint_of(self, result) if is_checked else None
        if complaint is not None:
            raise SimulationError(
                f"The check does not hold of the run of '{self.name}' in process, in which nothing "
                f"goes wrong: {complaint}"
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
