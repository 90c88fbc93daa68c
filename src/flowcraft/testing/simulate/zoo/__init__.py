"""Workflows to be simulated: one of each kind, and some that are hard."""

from __future__ import annotations

from flowcraft.testing.simulate.story import Story
from flowcraft.testing.simulate.zoo import (
    budgets,
    deploys,
    failures,
    functions,
    people,
    shapes,
    times,
)

STORIES: dict[str, Story] = {
    story.name: story
    for module in (shapes, times, failures, people, deploys, budgets, functions)
    for story in module.STORIES
}
