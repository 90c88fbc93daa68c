"""Writing down what ran: how often, with which input, and the events that were emitted."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from flowcraft.engine.bus import FlowEvent
from flowcraft.engine.context import NodeContext

_ITEM: Final = re.compile(r"(.*)\[(\d+)\]", re.DOTALL)
_KEPT_INPUTS: Final = 5
_CLIPPED_AFTER: Final = 40
_RENAMED: Final = {"node_id": "nodeId", "is_fatal": "isFatal"}
_DETAILS: Final = frozenset(
    {
        "action",
        "attempt",
        "fallback",
        "isFatal",
        "key",
        "message",
        "op",
        "result",
        "status",
        "target",
    }
)


class Recorder:
    """What happened in one run or resume, in the form of the case files.

    Behaviours report their calls themselves (``started``, ``called``), which is exact. What
    the engine carries out itself is known from its events.

    Args:
        blueprints: The blueprints of the case; the nodes of each by id.
        root: The id of the run; nodes of any other run are a child's.
        behaviours: The ``uses`` keys that report for themselves.
    """

    def __init__(
        self, blueprints: Iterable[Mapping[str, Any]], root: str, behaviours: Iterable[str]
    ) -> None:
        self.root = root
        self.executions: dict[str, dict[str, Any]] = {}
        self.events: list[list[Any]] = []
        self._behaviours = frozenset(behaviours)
        self._uses = dict(_uses_keys(blueprints))
        self._batches: dict[str, str] = {}
        self._items: dict[str, str] = {}

    def started(self, ctx: NodeContext[Any]) -> None:
        """A behaviour was started; further attempts are not further starts."""
        if ctx.attempt == 1:
            self._record(self._name_of(ctx), "count", ctx.input)

    def called(self, ctx: NodeContext[Any]) -> None:
        """A behaviour was called: an attempt."""
        self._record(self._name_of(ctx), "attempts")

    def listen(self, event: FlowEvent) -> None:
        """Take note of an event of the engine."""
        name = self._item_name(event) or self._place(event.run_id, event.blueprint_id)(
            event.node_id or ""
        )
        self.events.append(_shortened(event, name))
        if event.type != "node:start" or self._reports_itself(event):
            return
        if event.attempt == 1:
            self._record(name, "count", event.payload.get("input"))
        self._record(name, "attempts")

    def error_name(self, node_id: str | None) -> str | None:
        """The name of the node of an error; items of batches are named as recorded."""
        return node_id and self._items.get(node_id, node_id)

    def _record(self, name: str, part: str, *given: Any) -> None:
        record = self.executions.setdefault(name, {"count": 0, "attempts": 0, "inputs": []})
        record[part] += 1
        record["inputs"] += given
        if record["count"] > _CLIPPED_AFTER:
            record["inputs_clipped"] = True
            del record["inputs"][_KEPT_INPUTS:]

    def _name_of(self, ctx: NodeContext[Any]) -> str:
        place = self._place(ctx.run_id, ctx.blueprint_id)
        instance, _, item = ctx.idempotency_key.rpartition("#")
        found = _ITEM.fullmatch(ctx.node_id)
        if instance and found and found[2] == item:
            return place(self._named_item(instance, found[1], found[2]))
        return place(ctx.node_id)

    def _item_name(self, event: FlowEvent) -> str | None:
        name = event.payload.get("name")
        found = _ITEM.fullmatch(name) if isinstance(name, str) and "item" in event.payload else None
        if found is None:
            return None
        iteration = "/".join(map(str, event.iteration))
        instance = f"{event.run_id}:{event.node_id}:{iteration}"
        place = self._place(event.run_id, event.blueprint_id)
        return place(self._named_item(instance, found[1], found[2]))

    def _named_item(self, batch: str, worker: str, item: str) -> str:
        """The recorded form ``worker_UUID_item``; the id stands for the batch."""
        number = len(self._batches) + 1
        uuid = self._batches.setdefault(batch, f"00000000-0000-4000-8000-{number:012x}")
        name = f"{worker}_{uuid}_{item}"
        self._items.setdefault(f"{worker}[{item}]", name)
        return name

    def _place(self, run_id: str, blueprint_id: str) -> Callable[[str], str]:
        prefix = "" if run_id == self.root else f"{blueprint_id}/"
        return lambda node_id: prefix + node_id

    def _reports_itself(self, event: FlowEvent) -> bool:
        name = event.payload.get("name")
        if isinstance(name, str) and "item" in event.payload:
            return name.rpartition("[")[0] in self._behaviours
        uses = self._uses.get((event.blueprint_id, event.node_id))
        # Nodes that are not in any blueprint were added by the run; they use behaviours.
        return uses is None or uses in self._behaviours


def _uses_keys(
    blueprints: Iterable[Mapping[str, Any]],
) -> Iterable[tuple[tuple[str, str | None], str]]:
    for blueprint in blueprints:
        nodes = blueprint.get("nodes") or ()
        for node in nodes.values() if isinstance(nodes, Mapping) else nodes:
            if isinstance(node, Mapping) and isinstance(node.get("uses"), str):
                yield (blueprint.get("id") or "", node.get("id")), node["uses"]


def _shortened(event: FlowEvent, name: str) -> list[Any]:
    """An event as the case files write it; values of outputs are not part of it."""
    payload = {_RENAMED.get(key, key): value for key, value in event.payload.items()}
    details = {key: value for key, value in payload.items() if key in _DETAILS}
    if event.type == "node:retry" and event.attempt is not None:
        details["attempt"] = event.attempt
    subject = name if event.node_id is not None else None
    return [event.type, subject, details] if details else [event.type, subject]
