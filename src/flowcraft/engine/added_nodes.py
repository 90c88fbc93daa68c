"""Reading the definitions of nodes that a running node adds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flowcraft.core.blueprint import read_blueprint
from flowcraft.core.definitions import NodeDefinition
from flowcraft.errors import BlueprintError


def read_nodes(nodes: Iterable[Any], node_id: str) -> tuple[NodeDefinition, ...]:
    """Node definitions from their JSON form, or as they are.

    Raises:
        BlueprintError: They are malformed; every problem is listed.
    """
    definitions = []
    raw = [node for node in nodes if not isinstance(node, NodeDefinition)]
    blueprint, problems = read_blueprint({"id": node_id, "nodes": raw, "edges": []})
    if problems:
        raise BlueprintError(problems, blueprint_id=f"added by node '{node_id}'")
    read = iter(blueprint.nodes)
    for node in nodes:
        definitions.append(node if isinstance(node, NodeDefinition) else next(read))
    return tuple(definitions)
