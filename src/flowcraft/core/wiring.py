"""How the builder's names become edges: a batch and a loop each stand for several.

A batch ``b`` is two nodes, ``b_scatter`` and ``b_gather``: an edge to ``b`` enters the first,
an edge from ``b`` leaves the second. A loop is its controller: an edge from it that says
nothing else leaves the loop (action ``break``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from flowcraft.core.blueprint import WorkflowBlueprint
from flowcraft.core.builtins import BREAK, CONTINUE, WAIT, WEBHOOK
from flowcraft.errors import Problem


@dataclass(frozen=True, slots=True)
class Wire:
    """An edge as the builder was told: its ends may be names of batches and loops.

    ``implied`` edges come from ``batch`` or ``loop``; one the user gives takes their place.
    """

    source: str
    target: str
    action: Any = None
    condition: str | None = None
    transform: str | None = None
    implied: bool = False


@dataclass(frozen=True, slots=True)
class Names:
    """What names stand for: ``loops`` maps controllers to the first node of their body."""

    nodes: Collection[str]
    batches: Collection[str]
    loops: Mapping[str, str]

    def entry(self, name: str) -> str:
        """The node that an edge to ``name`` enters."""
        return scatter_id(name) if name in self.batches else name

    def exit(self, name: str) -> str:
        """The node that an edge from ``name`` leaves."""
        return gather_id(name) if name in self.batches else name

    def reference(self, text: str) -> str:
        """An ``inputs`` reference, where the name of a batch stands for its results."""
        if text in self.batches:
            return gather_id(text)
        name, dot, path = text.partition(".")
        return f"{gather_id(name)}{dot}{path}" if name in self.batches else text


def scatter_id(batch: str) -> str:
    """The id of the node that hands out the items of a batch."""
    return f"{batch}_scatter"


def gather_id(batch: str) -> str:
    """The id of the node that collects the results of a batch."""
    return f"{batch}_gather"


def connect(wires: Iterable[Wire], names: Names) -> list[dict[str, Any]]:
    """The edges in their JSON form, in the order in which they were given."""
    resolved = [_resolve(wire, names) for wire in wires]
    told = {_way(wire) for wire in resolved if not wire.implied}
    return [_to_dict(wire) for wire in resolved if not (wire.implied and _way(wire) in told)]


def find_misfits(
    blueprint: WorkflowBlueprint, batches: Iterable[str], wires: Iterable[Wire], names: Names
) -> list[Problem]:
    """What is no problem of the format, but can only be a mistake in a program."""
    problems = [
        Problem(f"batch {batch!r}", "there is also a node of this id")
        for batch in batches
        if batch in names.nodes
    ]
    problems += _find_unknown(wires, names)
    for node in blueprint.nodes:
        for role in ("fallback", "compensate"):
            helper = getattr(node.config, role)
            if helper is not None and helper not in names.nodes:
                message = f"the {role} {helper!r} is no node of this flow"
                problems.append(Problem(f"node {node.id!r}", message))
    for entry in blueprint.cycle_entry_points:
        if entry not in names.nodes:
            problems.append(Problem("cycle_entry", f"{entry!r} is no node of this flow"))
    return problems


def resolve_node(node: Mapping[str, Any], names: Names) -> dict[str, Any]:
    """The node with the names of batches in references and ``fallback`` resolved."""
    resolved = dict(node)
    inputs = node.get("inputs")
    if isinstance(inputs, str):
        resolved["inputs"] = names.reference(inputs)
    elif isinstance(inputs, Mapping):
        resolved["inputs"] = {
            name: names.reference(text) if isinstance(text, str) else text
            for name, text in inputs.items()
        }
    params = node.get("params") or {}
    if node["uses"] in (WAIT, WEBHOOK) and isinstance(params.get("correlationKey"), str):
        reference = names.reference(params["correlationKey"])
        resolved["params"] = {**params, "correlationKey": reference}
    config = node.get("config")
    if config and isinstance(config.get("fallback"), str):
        resolved["config"] = {**config, "fallback": names.entry(config["fallback"])}
    return resolved


def _find_unknown(wires: Iterable[Wire], names: Names) -> list[Problem]:
    """A problem for every end of an edge that is no node."""
    problems = []
    for wire in wires:
        for end, node in (
            ("source", names.exit(wire.source)),
            ("target", names.entry(wire.target)),
        ):
            if node not in names.nodes:
                place = f"edge {wire.source!r} -> {wire.target!r}"
                name = wire.source if end == "source" else wire.target
                problems.append(Problem(place, f"the {end} {name!r} is no node of this flow"))
    return problems


def _resolve(wire: Wire, names: Names) -> Wire:
    action = wire.action
    if wire.source in names.loops and action is None and wire.condition is None:
        action = CONTINUE if wire.target == names.loops[wire.source] else BREAK
    source, target = names.exit(wire.source), names.entry(wire.target)
    return replace(wire, source=source, target=target, action=action)


def _way(wire: Wire) -> tuple[str, str, bool]:
    return wire.source, wire.target, wire.action == CONTINUE


def _to_dict(wire: Wire) -> dict[str, Any]:
    fields = {
        "source": wire.source,
        "target": wire.target,
        "action": wire.action,
        "condition": wire.condition,
        "transform": wire.transform,
    }
    return {name: value for name, value in fields.items() if value is not None}
