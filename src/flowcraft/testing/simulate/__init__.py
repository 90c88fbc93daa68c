"""Simulation of durable workflows: virtual time, one seed, and everything that can go wrong.

:func:`simulate` runs a workflow of yours many times on real workers, while processes die, stall
and lose answers, and messages come twice. ``python -m flowcraft.testing.simulate`` does so with
the workflows that this package brings along, or with yours: :func:`story_of` has what it needs to
know of one. Both tell how to run again what went wrong.
"""

from flowcraft.testing.simulate.campaign import Report, Violation
from flowcraft.testing.simulate.chance import Chance
from flowcraft.testing.simulate.faults import Fault, FaultyPort, Kind, Life
from flowcraft.testing.simulate.invariants import Problem
from flowcraft.testing.simulate.loop import SimulationError, SimulationLoop, Standstill
from flowcraft.testing.simulate.play import Played, play
from flowcraft.testing.simulate.processes import Person
from flowcraft.testing.simulate.scenario import Scenario
from flowcraft.testing.simulate.story import Story
from flowcraft.testing.simulate.users import simulate, story_of

__all__ = [
    "Chance",
    "Fault",
    "FaultyPort",
    "Kind",
    "Life",
    "Person",
    "Played",
    "Problem",
    "Report",
    "Scenario",
    "SimulationError",
    "SimulationLoop",
    "Standstill",
    "Story",
    "Violation",
    "play",
    "simulate",
    "story_of",
]
