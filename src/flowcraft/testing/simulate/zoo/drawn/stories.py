"""Stories about drawn workflows, each of which a number decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Final

from flowcraft.core.blueprint import WorkflowBlueprint
from flowcraft.core.limits import Limit
from flowcraft.engine.results import RunResult
from flowcraft.engine.runtime import FlowRuntime, Runnable
from flowcraft.testing.simulate.answering import answer
from flowcraft.testing.simulate.chance import Chance
from flowcraft.testing.simulate.story import Role, Story
from flowcraft.testing.simulate.undoing import check_order
from flowcraft.testing.simulate.zoo.drawn.document import Document, Paper, Workflow
from flowcraft.testing.simulate.zoo.drawn.mix import mix_of
from flowcraft.testing.simulate.zoo.drawn.nodes import REGISTRY
from flowcraft.testing.simulate.zoo.drawn.parts import LIMIT_KEY, SEED
from flowcraft.testing.simulate.zoo.drawn.region import Region
from flowcraft.testing.simulate.zoo.people import (
    cancel_anywhere,
    pause_anywhere,
    reconcile_anywhere,
)

RANDOM: Final = "random"
MOST_PARTS: Final = 8
STEERED: Final = 0.3
"""How likely people do something."""

FEW_ITEMS: Final = 2
"""Batches of more items are cut into shards, in half of the workflows."""


@dataclass(frozen=True)
class Drawing:
    """A workflow that was drawn.

    Attributes:
        document: The blueprint.
        children: Those of its subflows.
        context: The initial context.
        answers: What waiting nodes are answered, by their id.
        undone: For each compensation those that have to be carried out after it.
        limits: What is limited.
    """

    document: Document
    children: tuple[Document, ...]
    context: Mapping[str, Any]
    answers: Mapping[str, Any]
    undone: Mapping[str, frozenset[str]]
    limits: Mapping[str, Limit]

    @property
    def fails_fast(self) -> bool:
        """Whether the first failure stops everything."""
        return bool(self.document.get("metadata"))


def drawing(number: int) -> Drawing:
    """The workflow that a number decides."""
    chance = Chance(RANDOM, number)
    workflow = Workflow(f"{RANDOM}-{number}", chance, mix_of(chance))
    workflow.context |= {SEED: chance.below(1000), "yes": True, "no": False}
    paper = Paper(workflow)
    region = Region(paper)
    region.draw(2 + chance.below(MOST_PARTS - 1))
    for part in region.parts:
        if chance.happens(0.1):
            workflow.context[f"_inputs.{part.entry}"] = ["given", chance.below(10)]
    metadata = {"onFailure": "fail_fast"} if chance.happens(0.07) else {}
    return Drawing(
        paper.document(workflow.name, **metadata),
        tuple(workflow.children),
        workflow.context,
        workflow.answers,
        {name: frozenset(others) for name, others in workflow.undone.items()},
        {LIMIT_KEY: Limit(concurrency=1 + chance.below(2))} if workflow.mix.limited else {},
    )


@lru_cache(maxsize=16)
def drawn_story(number: int) -> Story:
    """The story of the workflow that a number decides."""
    found, chance = drawing(number), Chance(RANDOM, number, "story")
    people: list[Role] = [answer] if found.answers else []
    role = (
        chance.pick((pause_anywhere, cancel_anywhere, reconcile_anywhere))
        if chance.happens(STEERED)
        else None
    )
    if role is not None:
        people.append(role)
    is_settled = role is not cancel_anywhere and not found.fails_fast

    @cache
    def built() -> tuple[FlowRuntime, Runnable]:
        children = {each["id"]: WorkflowBlueprint.from_dict(each) for each in found.children}
        runtime = FlowRuntime(registry=REGISTRY, blueprints=children, limits=found.limits)
        return runtime, WorkflowBlueprint.from_dict(found.document)

    def check(run: RunResult) -> None:
        check_order(run, found.undone)

    return Story(
        f"{RANDOM}:{number}",
        built,
        found.context,
        tuple(people),
        found.answers,
        is_settled,
        ("completed", "failed", "cancelled")
        if role is cancel_anywhere
        else ("completed", "failed"),
        FEW_ITEMS if chance.happens(0.5) else 500,
        check,
    )
