"""Workflows to be simulated: one of each kind, and some that are hard."""

from __future__ import annotations

from flowcraft.testing.simulate.story import Story
from flowcraft.testing.simulate.zoo import (
    budgets,
    deleted,
    deploys,
    failures,
    functions,
    hard,
    limits,
    long,
    payloads,
    people,
    schedules,
    shapes,
    times,
    undoing,
)

MODULES = (
    shapes,
    times,
    failures,
    people,
    deploys,
    payloads,
    schedules,
    budgets,
    limits,
    long,
    deleted,
    functions,
    undoing,
)

STORIES: dict[str, Story] = {story.name: story for module in MODULES for story in module.STORIES}

LONGER: dict[str, Story] = {story.name: story for story in (*long.LONGER, *hard.STORIES)}
"""Those that are simulated only when they are named."""
