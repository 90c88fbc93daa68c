"""Which attempt the running code belongs to, for whoever writes the log.

A context variable: what a node starts in its task, and what runs in a thread for it, has it too.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, NamedTuple

from flowcraft.core.plan import Iteration, iteration_of_key

if TYPE_CHECKING:
    from flowcraft.engine.attempt import Attempt


class Whereabouts(NamedTuple):
    """An attempt, as the log names it."""

    run_id: str
    blueprint_id: str
    node_id: str
    attempt: int
    iteration: Iteration


WHEREABOUTS: ContextVar[Whereabouts | None] = ContextVar("flowcraft_whereabouts", default=None)
"""The attempt that the running code belongs to; ``None`` outside of one."""


def stand_in(attempt: Attempt) -> None:
    """From now on the running code belongs to an attempt."""
    run = attempt.run
    WHEREABOUTS.set(
        Whereabouts(
            run.state.run_id,
            run.plan.blueprint.id,
            attempt.node.id,
            attempt.command.attempt,
            iteration_of_key(attempt.key),
        )
    )


def leave() -> None:
    """It belongs to none any more."""
    WHEREABOUTS.set(None)
