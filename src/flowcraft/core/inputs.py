"""What a node is given (rule S6)."""

from __future__ import annotations

from typing import Any

from flowcraft.core.context import HAS_OUTPUT, INPUTS, ContextView
from flowcraft.core.plan import Key, Link, PlanNode, iteration_of_key
from flowcraft.core.state import RESCUED, STAND_IN_OUTPUT, SUCCEEDED, Record
from flowcraft.core.step import Step

_NOTHING: Any = object()


def resolve_input(step: Step, node: PlanNode, key: Key, fired: int, origin: Key) -> Any:
    """The input of an instance that starts now.

    Args:
        step: The decision in the making.
        node: The instance's node.
        key: The instance.
        fired: The link that alone started it, or -1.
        origin: The instance at the other end of that link.
    """
    inputs = node.inputs
    if inputs is None:
        if fired < 0:
            return _from_links(step, node, key)
        link, record = step.plan.links[fired], step.record(origin)
        # A fallback is given nothing (S4).
        return _handed_on(record, link) if record is not None and link.edges else None
    if isinstance(inputs, str):
        transformed = _transformed_value(step, node, key, fired, origin)
        return transformed if transformed is not _NOTHING else resolve_reference(step, inputs, key)
    return {name: resolve_reference(step, text, key) for name, text in inputs.items()}


def resolve_reference(step: Step, text: str, key: Key) -> Any:
    """What a reference stands for, or ``None``.

    ``_key`` is a context key; a node's id is its output, else the context key of that name;
    ``node.path.to`` reaches into a node's output. A node id that itself has dots goes first.
    """
    view = step.context
    if text.startswith("_"):
        return view.lookup(text)
    value = _output(step, view, text, key)
    if value is not _NOTHING:
        return value
    value = view.lookup(text, _NOTHING)
    if value is not _NOTHING:
        return value
    return _by_path(step, view, text, key)


def _by_path(step: Step, view: ContextView, text: str, key: Key) -> Any:
    parts = text.split(".")
    for length in range(len(parts) - 1, 0, -1):
        value = _output(step, view, ".".join(parts[:length]), key)
        if value is not _NOTHING:
            return _descend(value, parts[length:])
    return None


def _descend(value: Any, path: list[str]) -> Any:
    for part in path:
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, list) and part.isascii() and part.isdigit():
            index = int(part)
            value = value[index] if index < len(value) else None
        else:
            return None
    return value


def _output(step: Step, view: ContextView, node_id: str, key: Key) -> Any:
    """A node's output as the instance ``key`` sees it: its own iteration's before a later one."""
    index = step.plan.index_of.get(node_id)
    if index is None:
        return _NOTHING
    loops = step.plan.nodes[index].loops
    mine = step.node(key).loops
    if loops and mine[: len(loops)] == loops:
        record = step.record((index, iteration_of_key(key)[: len(loops)]))
        if record is not None and record.status in HAS_OUTPUT:
            return record.output
    return view.output_of(node_id, _NOTHING)


def _from_links(step: Step, node: PlanNode, key: Key) -> Any:
    nodes = step.plan.nodes
    values = {
        nodes[link.source].id: record.output if record.values is None else _handed_on(record, link)
        for link, record in _taken(step, node, key)
    }
    if len(values) == 1:
        return next(iter(values.values()))
    if values:
        return values
    if not step.state.context and not step.changes.context:
        return None
    return step.context.lookup(INPUTS + node.id)


def _transformed_value(step: Step, node: PlanNode, key: Key, fired: int, origin: Key) -> Any:
    """The value of taken links that have a transform; they go before ``inputs`` as text."""
    if fired >= 0:
        record = step.record(origin)
        values = record.values if record is not None else None
        return values[fired] if values and fired in values else _NOTHING
    values_of_links = [
        (link, record.values[link.index])
        for link, record in _taken(step, node, key)
        if record.values is not None and link.index in record.values
    ]
    if len(values_of_links) > 1:
        return {step.plan.nodes[link.source].id: value for link, value in values_of_links}
    return values_of_links[0][1] if values_of_links else _NOTHING


def _taken(step: Step, node: PlanNode, key: Key) -> list[tuple[Link, Record]]:
    """The taken links into an instance that waits for all of them, with their sources' records."""
    taken: list[tuple[Link, Record]] = []
    changed, known = step.changes.records, step.state.records
    for link in node.into:
        if not link.edges:
            continue  # a fallback is given nothing (S4)
        origin = link.source if link.direct else _origin(step, link, key)
        if origin is not None:
            record = changed.get(origin) or known.get(origin)
            if record is not None and took(record, link):
                taken.append((link, record))
    return taken


def _origin(step: Step, link: Link, key: Key) -> Key | None:
    """The instance a link into ``key`` comes from."""
    shared = iteration_of_key(key)[: link.common]
    if any(iteration_of_key(key)[link.common :]):
        return None  # it entered a loop, in the loop's first iteration only
    if link.leaves:
        origin: Key | None = step.get("exits", (link.index, shared))
        return origin
    return (link.source, shared) if shared else link.source


def took(record: Record, link: Link) -> bool:
    """Whether an instance took a link that leaves its node."""
    if record.status is SUCCEEDED:
        return record.taken is None or link.index in record.taken
    return record.status is RESCUED and link.index in (record.taken or ())


def _handed_on(record: Record, link: Link) -> Any:
    """What a taken link hands on: the output of its source, transformed if it says so."""
    if record.values is None:
        return record.output
    if link.index in record.values:
        return record.values[link.index]
    return record.values.get(STAND_IN_OUTPUT, record.output)
