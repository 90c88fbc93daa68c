"""A blueprint in the making, and what belongs to the workflow around it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from flowcraft.testing.simulate.chance import Chance
from flowcraft.testing.simulate.zoo.drawn.mix import Mix

Document = dict[str, Any]

ENDINGS: Final = ("", "", "", "", ".x", " y", "-ü", ":1", "#2", "'", "/z", "[0]")
"""A node's id may be any text."""

UNIQUE_TEXT: Final = "n"


@dataclass
class Workflow:
    """What all blueprints of one workflow have in common.

    Attributes:
        name: The id of the outermost blueprint, with which those of the others begin.
        chance: Decides about everything.
        mix: What it is made of.
        context: The initial context.
        answers: What waiting nodes are answered, by their id.
        children: The blueprints of subflows.
        undone: For each compensation, those that have to be carried out after it.
    """

    name: str
    chance: Chance
    mix: Mix
    context: Document = field(default_factory=dict)
    answers: Document = field(default_factory=dict)
    children: list[Document] = field(default_factory=list)
    undone: dict[str, set[str]] = field(default_factory=dict)
    _count: int = 0

    def number(self) -> int:
        """A number that nothing else has."""
        self._count += 1
        return self._count

    def key(self) -> str:
        """A context key that nothing else has."""
        return f"k{self.number()}"


class Paper:
    """One blueprint, to which nodes and edges are added.

    Args:
        workflow: What it belongs to.

    Attributes:
        nodes: The nodes so far.
        edges: The edges so far.
    """

    def __init__(self, workflow: Workflow) -> None:
        self.workflow = workflow
        self.nodes: list[Document] = []
        self.edges: list[Document] = []
        self._by_id: dict[str, Document] = {}

    def node(self, stem: str, uses: str, params: Document, **more: Any) -> str:
        """Add a node; gives its id."""
        workflow = self.workflow
        node_id = f"{stem}{workflow.number()}{workflow.chance.pick(ENDINGS)}"
        found = {name: value for name, value in more.items() if value not in (None, {})}
        self.nodes.append({"id": node_id, "uses": uses, "params": params, **found})
        self._by_id[node_id] = self.nodes[-1]
        return node_id

    def __getitem__(self, node_id: str) -> Document:
        return self._by_id[node_id]

    def edge(self, source: str, target: str, **more: Any) -> None:
        """Add an edge."""
        self.edges.append({"source": source, "target": target, **more})

    def configure(self, node_id: str, **config: Any) -> None:
        """Add to the config of a node."""
        self[node_id].setdefault("config", {}).update(config)

    def document(self, name: str, **metadata: Any) -> Document:
        """The blueprint, whose nodes and edges are in any order."""
        chance = self.workflow.chance
        if chance.happens(0.5):
            chance.shuffle(self.nodes)
            chance.shuffle(self.edges)
        found: Document = {"id": name, "nodes": self.nodes, "edges": self.edges}
        return found | ({"metadata": metadata} if metadata else {})
