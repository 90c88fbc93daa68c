"""Workflows and backends by the names that the command has for them."""

from __future__ import annotations

import importlib
import shlex
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from flowcraft.testing.simulate.backends import NewBackend
from flowcraft.testing.simulate.scenario import Scenario
from flowcraft.testing.simulate.story import Story
from flowcraft.testing.simulate.users import story_of
from flowcraft.testing.simulate.zoo import LONGER, STORIES
from flowcraft.testing.simulate.zoo.drawn import RANDOM, drawn_story

COMMAND = "python -m flowcraft.testing.simulate"
BACKENDS = {
    "memory": "flowcraft.testing.simulate.backends:MemoryBackend",
    "aws": "flowcraft.testing.simulate.aws:AwsBackend",
}
"""Found when they are asked for: each brings much along."""


def backend_named(name: str) -> NewBackend:
    """What makes the place for runs and messages.

    Raises:
        ValueError: There is none of this name.
    """
    if name not in BACKENDS:
        raise ValueError(f"There is no backend {name!r}. There are: {', '.join(BACKENDS)}.")
    module, _, attribute = BACKENDS[name].partition(":")
    found: NewBackend = getattr(importlib.import_module(module), attribute)
    return found


class Zoo(dict[str, Story]):
    """The workflows that come along, and those that are drawn, such as ``random:12345``."""

    def __missing__(self, name: str) -> Story:
        kind, _, number = name.partition(":")
        if kind != RANDOM or not number.isdecimal():
            raise KeyError(name)
        return drawn_story(int(number))

    def __contains__(self, name: object) -> bool:
        try:
            self[name]  # type: ignore[index]  # any object may be asked for
        except KeyError:
            return False
        return True


def stories_named(flows: Sequence[str]) -> dict[str, Story]:
    """The workflows of the zoo, or those of one's own where there are some, by their names.

    Raises:
        ValueError: There is no such flow.
    """
    if not flows:
        return Zoo(STORIES | LONGER)
    stories = [_own(text) for text in flows]
    return {story.name: story for story in stories}


@cache
def _own(text: str) -> Story:
    module, colon, name = text.partition(":")
    if not colon:
        raise ValueError(f"{text!r} is no flow: write module:name.")
    try:
        found: Any = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{text!r} is not there: {error}") from error
    return found if isinstance(found, Story) else story_of(found)


def replay_with(flows: Sequence[str], backend: str) -> Callable[[Scenario], str]:
    """Tells the command that runs a scenario again."""
    more = [option for flow in flows for option in ("--flow", flow)]
    if backend != "memory":
        more += ["--backend", backend]

    def replay(scenario: Scenario) -> str:
        return f"{COMMAND} {shlex.join([*more, *scenario.options()])}"

    return replay
