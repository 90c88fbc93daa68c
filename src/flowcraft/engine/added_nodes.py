"""Reading the definitions of nodes that a running node adds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flowcraft.core.blueprint import read_blueprint
from flowcraft.core.definitions import NodeDefinition
from flowcraft.errors import BlueprintError


def read_nodes(nodes: Iterable[Any], node_id: str) -> tuple[NodeDefinition, ...]:
    """Node definitions from their JSON form, or copies of such.

    Raises:
        BlueprintError: They are malformed; every problem is listed.
    """
    # Objects are read anew, too: what they hold may be the node's own, to be changed later.
    raw = [node.to_dict() if isinstance(node, NodeDefinition) else node for node in nodes]
    blueprint, problems = read_blueprint({"id": node_id, "nodes": raw, "edges": []})
    if problems:
        raise BlueprintError(problems, blueprint_id=f"added by node '{node_id}'")
    return blueprint.nodes
