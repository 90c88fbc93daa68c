"""Blueprints in the making: nodes and edges, stubs, and what could not be taken over."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from flowcraft.core.blueprint import WorkflowBlueprint
from flowcraft.importing.asl_resources import python_name
from flowcraft.importing.findings import Finding, FindingKind

StubKind = Literal["task", "choice"]

RESERVED: Final = frozenset({"choice", "create_runtime", "state_nodes", "task"})
"""Names that the module of the functions has for other things."""


@dataclass(slots=True)
class Stub:
    """A function that somebody has to write.

    Attributes:
        name: Its name in the module.
        uses: The key that blueprints name it by.
        kind: Whether it does the work of a state, or chooses where to go on.
        about: What it has to do, in lines.
    """

    name: str
    uses: str
    kind: StubKind
    about: list[str]


@dataclass(slots=True)
class Import:
    """All that comes of one definition.

    Attributes:
        name: The id of the outermost blueprint, and the first part of all keys.
        taken: Names that no helper node may have: those of all states.
        findings: What could not be taken over as it was.
        stubs: Functions by the key that blueprints name them by.
        blueprints: Finished ones; the outermost is the first.
    """

    name: str
    taken: set[str]
    findings: list[Finding] = field(default_factory=list)
    stubs: dict[str, Stub] = field(default_factory=dict)
    blueprints: list[WorkflowBlueprint] = field(default_factory=list)
    _origins: dict[str, str] = field(default_factory=dict)

    def find(self, place: str, message: str, advice: str, kind: FindingKind = "lost") -> None:
        """List what could not be taken over."""
        self.findings.append(Finding(place, message, advice, kind))

    def stub(self, name: str, about: Iterable[str], kind: StubKind = "task") -> str:
        """The key of a function of this name; states that share it add what they say of it."""
        function, number = python_name(name), 2
        function = f"{function}_state" if function in RESERVED else function
        first = function
        while self._origins.setdefault(function, name) != name:
            function, number = f"{first}_{number}", number + 1
        uses = f"{self.name}.{function}"
        known = self.stubs.setdefault(uses, Stub(function, uses, kind, []))
        known.about += [line for line in about if line not in known.about]
        return uses


class Assembly:
    """One blueprint in the making."""

    def __init__(self, whole: Import, blueprint_id: str) -> None:
        self.whole = whole
        self.id = blueprint_id
        self._nodes: dict[str, dict[str, Any]] = {}
        self._edges: list[dict[str, Any]] = []

    def node(
        self,
        node_id: str,
        uses: str,
        params: Mapping[str, Any] | None = None,
        *,
        config: Mapping[str, Any] | None = None,
        inputs: str | Mapping[str, str] | None = None,
    ) -> str:
        """Add a node, and give its id back."""
        node: dict[str, Any] = {"id": node_id, "uses": uses}
        fields = {"params": params, "inputs": inputs, "config": config}
        node.update((key, value) for key, value in fields.items() if value)
        self._nodes[node_id] = node
        return node_id

    def helper(self, state: str, word: str) -> str:
        """An id for a node that belongs to a state, such as ``Charge (catch)``."""
        name, number = f"{state} ({word})", 2
        while name in self._nodes or name in self.whole.taken:
            name, number = f"{state} ({word} {number})", number + 1
        return name

    def configure(self, node_id: str, **config: Any) -> None:
        """Add to the configuration of a node."""
        self._nodes[node_id].setdefault("config", {}).update(config)

    def feed(self, node_id: str, inputs: str) -> None:
        """Say where a node's input comes from."""
        self._nodes[node_id]["inputs"] = inputs

    def edge(self, source: str, target: str, **fields: str) -> None:
        """Add an edge, with ``action``, ``condition`` and ``transform`` as they are given."""
        edge = {"source": source, "target": target, **fields}
        if edge not in self._edges:
            self._edges.append(edge)

    def targets(self) -> set[str]:
        """The ids of the nodes that an edge leads to."""
        return {edge["target"] for edge in self._edges}

    def finish(self, metadata: Mapping[str, Any]) -> WorkflowBlueprint:
        """The blueprint. An error ends an execution at once, so it is to fail fast."""
        document = {
            "id": self.id,
            "nodes": list(self._nodes.values()),
            "edges": self._edges,
            "metadata": {"onFailure": "fail_fast", **metadata},
        }
        return WorkflowBlueprint.from_dict(document)
