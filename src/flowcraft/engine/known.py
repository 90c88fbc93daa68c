"""Where a run looks up what its blueprints name: implementations, and other blueprints."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Protocol

from flowcraft.core.blueprint import WorkflowBlueprint
from flowcraft.engine.nodes import Implementation
from flowcraft.engine.registry import Registry

if TYPE_CHECKING:
    from flowcraft.engine.runtime import Flow, FlowRuntime


class Known(Protocol):
    """Where a run looks up what its blueprints name."""

    def find(self, key: str) -> Implementation | None:
        """The implementation of a ``uses`` key."""

    def keys(self) -> Collection[str]:
        """The ``uses`` keys of all implementations."""
        ...

    def blueprint(self, blueprint_id: str) -> WorkflowBlueprint | None:
        """A blueprint by id."""

    def blueprint_ids(self) -> list[str]:
        """The ids of all blueprints."""


class KnownToRuntime:
    """What the runtime was given, and the blueprint that is run, which may be its own subflow."""

    def __init__(self, runtime: FlowRuntime, own: WorkflowBlueprint | None = None) -> None:
        self._runtime = runtime
        self._own = own
        self.find = runtime.registry.find
        self.keys = runtime.registry.keys

    def blueprint(self, blueprint_id: str) -> WorkflowBlueprint | None:
        """A blueprint by id."""
        if self._own is not None and self._own.id == blueprint_id:
            return self._own
        return self._runtime.blueprints.get(blueprint_id)

    def blueprint_ids(self) -> list[str]:
        """The ids of all blueprints."""
        return sorted(self._runtime.blueprints)


class KnownToFlow:
    """What a flow brings along, in front of what the runtime was given.

    It is not registered: two flows, or two versions of one in a notebook, may use the same
    names on one runtime.
    """

    def __init__(self, runtime: FlowRuntime, flow: Flow) -> None:
        self._runtime = runtime
        self._registry = Registry(flow.registry)
        # A flow may be its own subflow.
        own = flow.to_blueprint()
        self._blueprints = {**flow.blueprints, own.id: own}

    def find(self, key: str) -> Implementation | None:
        """The implementation of a ``uses`` key."""
        return self._registry.find(key) or self._runtime.registry.find(key)

    def keys(self) -> Collection[str]:
        """The ``uses`` keys of all implementations."""
        return {**self._registry, **self._runtime.registry}

    def blueprint(self, blueprint_id: str) -> WorkflowBlueprint | None:
        """A blueprint by id."""
        own = self._blueprints.get(blueprint_id)
        return own or self._runtime.blueprints.get(blueprint_id)

    def blueprint_ids(self) -> list[str]:
        """The ids of all blueprints."""
        return sorted({*self._blueprints, *self._runtime.blueprints})
