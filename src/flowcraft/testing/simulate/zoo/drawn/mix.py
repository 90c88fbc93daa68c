"""What a drawn workflow is made of: how likely each kind of part is in it."""

from __future__ import annotations

from dataclasses import dataclass

from flowcraft.testing.simulate.chance import Chance


@dataclass(frozen=True)
class Mix:
    """How likely the parts of a workflow are, each from 0 to 1.

    Attributes:
        composites: That a part is no single task.
        choices: That an edge has a condition or an action.
        transforms: That an edge has a transform.
        anys: That a node that could takes any of its edges.
        failures: That a task fails in some round.
        fallbacks: That a task has a fallback.
        undos: That a node has a compensation.
        reads: That a task reads what others wrote, or has ``inputs``.
        crossings: That an edge leaves a loop from its middle.
        limited: That a task has a key with a limit.
        padded: That an output is large.
        hours: That a pause is one of an hour or two.
    """

    composites: float
    choices: float
    transforms: float
    anys: float
    failures: float
    fallbacks: float
    undos: float
    reads: float
    crossings: float
    limited: float
    padded: float
    hours: float


def mix_of(chance: Chance) -> Mix:
    """A mix by chance. Most workflows lack something: what is rare shows where it is alone."""
    return Mix(
        composites=chance.pick((0.15, 0.4, 0.7)),
        choices=chance.pick((0.0, 0.15, 0.4)),
        transforms=chance.pick((0.0, 0.0, 0.3)),
        anys=chance.pick((0.0, 0.3)),
        failures=chance.pick((0.0, 0.15, 0.4)),
        fallbacks=chance.pick((0.2, 0.6)),
        undos=chance.pick((0.0, 0.2, 0.5)),
        reads=chance.pick((0.1, 0.4)),
        crossings=chance.pick((0.0, 0.4)),
        limited=chance.pick((0.0, 0.0, 0.0, 0.0, 0.5)),
        padded=chance.pick((0.0, 0.0, 0.0, 0.2)),
        hours=chance.pick((0.0, 0.0, 0.0, 0.0, 0.2)),
    )
