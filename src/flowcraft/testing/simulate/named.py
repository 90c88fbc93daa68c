"""Workflows and backends by the names that the command has for them."""

from __future__ import annotations

import importlib
import shlex
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from flowcraft.core.blueprint import WorkflowBlueprint
from flowcraft.errors import FlowcraftError
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
        ValueError: There is no such flow, it cannot be simulated, or two have one name.
    """
    if not flows:
        return Zoo(STORIES | LONGER)
    stories: dict[str, Story] = {}
    texts: dict[str, str] = {}
    for text in flows:
        story = _own(text)
        if story.name in stories:
            raise ValueError(
                f"{texts[story.name]!r} and {text!r} are both called {story.name!r}: "
                "workflows that are simulated together have ids of their own."
            )
        stories[story.name], texts[story.name] = story, text
    return stories


@cache
def _own(text: str) -> Story:
    module, _, name = text.partition(":")
    if not (module and name):
        raise ValueError(f"{text!r} is no flow: write module:name.")
    found = _imported(text, module, name)
    is_flow = isinstance(found, WorkflowBlueprint | Mapping) or hasattr(found, "to_blueprint")
    if not (is_flow or isinstance(found, Story) or callable(found)):
        raise ValueError(
            f"{text!r} is no flow, no function that gives one and nothing that story_of gives: it "
            f"is of type {type(found).__name__}."
        )
    try:
        made = found() if callable(found) and not is_flow else found
        return made if isinstance(made, Story) else story_of(found)
    except FlowcraftError as error:
        raise ValueError(f"{text!r} cannot be simulated: {error}") from error
    except Exception as error:
        raise ValueError(f"{text!r} gives no flow: {_told(error)}") from error


def _imported(text: str, module: str, name: str) -> Any:
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module}.".startswith(f"{error.name}."):
            raise ValueError(
                f"{text!r} is not there: no module {error.name!r} is found."
            ) from error
        raise ValueError(
            f"{module!r} cannot be imported: it needs {error.name!r}, which is not installed."
        ) from error
    except Exception as error:
        raise ValueError(f"{module!r} cannot be imported: {_told(error)}") from error
    try:
        return getattr(found, name)
    except AttributeError as error:
        raise ValueError(f"{text!r} is not there: {module!r} has no {name!r}.") from error


def _told(error: Exception) -> str:
    """An error of somebody's own code, with its place."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({last.filename}, line {last.lineno})"


def replay_with(flows: Sequence[str], backend: str) -> Callable[[Scenario], str]:
    """Tells the command that runs a scenario again."""
    more = [option for flow in flows for option in ("--flow", flow)]
    if backend != "memory":
        more += ["--backend", backend]

    def replay(scenario: Scenario) -> str:
        return f"{COMMAND} {shlex.join([*more, *scenario.options()])}"

    return replay
