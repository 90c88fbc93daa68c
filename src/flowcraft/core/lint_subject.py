"""What lint looks at, and what it reports: shared by the modules with the rules."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from flowcraft.core.blueprint import NodeDefinition, WorkflowBlueprint, read_blueprint, written_form
from flowcraft.core.builtins import BATCH_SCATTER
from flowcraft.core.definitions import DuplicateId
from flowcraft.core.graph import (
    helper_relations,
    reach,
    start_node_ids,
    strongly_connected_components,
    successors,
)
from flowcraft.core.reading import Step, format_place
from flowcraft.errors import Problem

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class LintIssue:
    """One finding.

    Attributes:
        code: What kind of finding, such as ``ORPHAN_NODE``; texts may change, codes do not.
        message: What is wrong, where, and what to do, for a person.
        severity: ``error`` if the workflow cannot work as written, else ``warning``.
        node_id: The node concerned.
        related_id: Another node concerned, such as the other end of an edge.
        place: Path into the document, such as ``nodes[2].config.fallback``, where it is known.
    """

    code: str
    message: str
    severity: Severity = "error"
    node_id: str | None = None
    related_id: str | None = None
    place: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The finding in JSON terms; fields without a value are left out."""
        fields = {
            "code": self.code,
            "message": self.message,
            "severity": self.severity,
            "nodeId": self.node_id,
            "relatedId": self.related_id,
            "place": self.place,
        }
        return {name: value for name, value in fields.items() if value is not None}


class Subject:
    """A blueprint under examination, with what several rules want to know of it.

    Attributes:
        blueprint: What could be read.
        problems: What could not.
        has_edges: Whether the document has the field ``edges``.
    """

    def __init__(self, blueprint: WorkflowBlueprint | Mapping[str, Any]) -> None:
        # A blueprint made by hand was never checked: reading it back does that.
        is_object = isinstance(blueprint, WorkflowBlueprint)
        document = (
            written_form(blueprint) if isinstance(blueprint, WorkflowBlueprint) else blueprint
        )
        self._document: Any = document
        self.blueprint, self.problems = read_blueprint(document)
        self.has_edges = is_object or self._field("edges") is not None

    @cached_property
    def index_of(self) -> Mapping[str, int]:
        """A number for each id, in document order."""
        ids = dict.fromkeys(node.id for node in self.blueprint.nodes)
        return {node_id: index for index, node_id in enumerate(ids)}

    @cached_property
    def ids(self) -> list[str]:
        """The ids by number."""
        return list(self.index_of)

    @cached_property
    def following(self) -> list[list[int]]:
        """The numbers of the nodes that the edges of each node lead to."""
        return successors(self.blueprint, self.index_of)

    @cached_property
    def rank(self) -> list[int]:
        """A number for each node that is greater than those of all nodes that lead to it.

        The nodes of a cycle have the same.
        """
        rank = [0] * len(self.ids)
        parts = strongly_connected_components(len(self.ids), self.following)
        for number, part in enumerate(reversed(parts)):
            for index in part:
                rank[index] = number
        return rank

    @cached_property
    def running(self) -> list[bool]:
        """Whether each node can run: its ways in are edges, fallbacks, compensations, batches."""
        leading = [list(targets) for targets in self.following]
        for node, helper in helper_relations(self.blueprint, self.index_of):
            leading[node].append(helper)
        for node_definition in self.blueprint.nodes:
            gather = node_definition.params.get("gatherNodeId")
            is_scatter = node_definition.uses == BATCH_SCATTER
            if is_scatter and isinstance(gather, str) and gather in self.index_of:
                leading[self.index_of[node_definition.id]].append(self.index_of[gather])
        starts = (self.index_of[node_id] for node_id in start_node_ids(self.blueprint))
        return reach(leading, starts)

    def node_place(self, index: int, *steps: Step) -> str | None:
        """The path of something in the node at a position."""
        return self._place("nodes", index, steps)

    def edge_place(self, index: int, *steps: Step) -> str | None:
        """The path of something in the edge at a position."""
        return self._place("edges", index, steps)

    def nodes_using(self, uses: Collection[str]) -> Iterable[tuple[int, NodeDefinition]]:
        """The nodes of some kinds, with their positions."""
        for index, node in enumerate(self.blueprint.nodes):
            if node.uses in uses:
                yield index, node

    def _place(self, part: str, index: int, steps: tuple[Step, ...]) -> str | None:
        if not self._are_positions_kept:
            return None  # some parts could not be read: positions are not those of the document
        keys = self._keys[part]
        return format_place((part, index if keys is None else keys[index], *steps))

    @cached_property
    def _are_positions_kept(self) -> bool:
        return all(_keeps_positions(problem) for problem in self.problems)

    @cached_property
    def _keys(self) -> dict[str, list[Any] | None]:
        """The keys of nodes and edges where the document has them as mappings."""
        fields = {name: self._field(name) for name in ("nodes", "edges")}
        return {
            name: list(value) if isinstance(value, Mapping) else None
            for name, value in fields.items()
        }

    def _field(self, name: str) -> Any:
        return self._document.get(name) if isinstance(self._document, Mapping) else None


def _keeps_positions(problem: Problem) -> bool:
    """Whether a problem leaves all nodes and edges where they are, because none was left out."""
    place = problem.place
    if isinstance(problem, DuplicateId) or not place.startswith(("nodes", "edges")):
        return True
    return "." in place and not place.endswith((".id", ".source", ".target"))
