"""The plans of blueprints, each made once for as long as somebody has the blueprint."""

from __future__ import annotations

import hashlib
import logging
import marshal
import threading
import weakref
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from flowcraft.core.blueprint import WorkflowBlueprint
from flowcraft.core.expressions import Evaluator
from flowcraft.core.plan import Plan, build_plan

logger = logging.getLogger("flowcraft")

KEPT_PARTS = 100_000
"""Nodes and edges, in all, of blueprints in JSON form that are kept for their next run.

With their plans they take some 40 MB. One that is larger is kept until another one comes.
"""


class Plans:
    """Makes the plans of blueprints, and keeps them as long as the blueprints live.

    Args:
        evaluator: Compiles conditions and transforms.
        kept_parts: How many nodes and edges of blueprints in JSON form are kept.
    """

    def __init__(self, evaluator: Evaluator, kept_parts: int = KEPT_PARTS) -> None:
        self._evaluator = evaluator
        self._kept_parts = kept_parts
        self._plans: dict[int, tuple[weakref.ref[WorkflowBlueprint], Plan]] = {}
        # The one that was used last comes last.
        self._read: dict[bytes, WorkflowBlueprint] = {}
        self._parts = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._plans)

    def plan_of(self, blueprint: WorkflowBlueprint) -> Plan:
        """The blueprint's plan.

        Raises:
            BlueprintError: The blueprint cannot be run.
        """
        known = self._plans.get(id(blueprint))
        if known is not None and known[0]() is blueprint:
            return known[1]
        # The plan is of a twin: it must not keep alive what it goes with.
        plan = build_plan(replace(blueprint), self._evaluator)
        place, plans = id(blueprint), self._plans

        def forget(gone: weakref.ref[WorkflowBlueprint]) -> None:
            # Something else may be at this place in memory by now.
            if place in plans and plans[place][0] is gone:
                plans.pop(place, None)

        plans[place] = (weakref.ref(blueprint, forget), plan)
        return plan

    def read(self, data: Mapping[str, Any]) -> WorkflowBlueprint:
        """The blueprint of a JSON form; the same one as before where the data are the same.

        Raises:
            BlueprintError: It is malformed; every problem is listed with its place.
        """
        key = _fingerprint(data)
        if key is None:
            return WorkflowBlueprint.from_dict(data)
        with self._lock:
            found = self._read.pop(key, None)
            if found is not None:
                self._read[key] = found
                return found
        blueprint = WorkflowBlueprint.from_dict(data)
        with self._lock:
            self._keep(key, blueprint)
        return blueprint

    def _keep(self, key: bytes, blueprint: WorkflowBlueprint) -> None:
        before = self._read.pop(key, None)
        self._parts += _parts(blueprint) - (_parts(before) if before is not None else 0)
        self._read[key] = blueprint
        while self._parts > self._kept_parts and len(self._read) > 1:
            oldest = next(iter(self._read))
            self._parts -= _parts(self._read.pop(oldest))


def _parts(blueprint: WorkflowBlueprint) -> int:
    return len(blueprint.nodes) + len(blueprint.edges)


def _fingerprint(data: Mapping[str, Any]) -> bytes | None:
    """What tells data apart, types included; ``None`` for more than plain JSON data.

    Written as bytes much faster than read; nothing is ever read back from them. In version 2 of
    the notation equal data give equal bytes, wherever the texts in them come from.
    """
    try:
        return hashlib.blake2b(marshal.dumps(cast("Any", data), 2), digest_size=32).digest()
    except ValueError:
        return None
