"""What is tested: a flow or blueprint, and the names a test may use for its nodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from flowcraft.core import builtins
from flowcraft.core import events as ev
from flowcraft.core.blueprint import WorkflowBlueprint
from flowcraft.core.values import snapshot
from flowcraft.engine import answering, arguments
from flowcraft.engine.known import Known
from flowcraft.engine.local import LocalRun, execute
from flowcraft.engine.runtime import FlowRuntime, Runnable
from flowcraft.engine.session import Session
from flowcraft.errors import FlowcraftError


class Subject:
    """A workflow under test, as its runtime sees it.

    Attributes:
        blueprint: The blueprint.
        known: Where its implementations and the blueprints of its subflows are found.
    """

    def __init__(self, runtime: FlowRuntime, flow: Runnable) -> None:
        self.blueprint, self.known = _resolve(runtime, flow)

    def has(self, name: str) -> bool:
        """Whether ``name`` is a node, a node of a subflow or an item of a batch.

        A node of a subflow is named ``subflow/node``, an item of a batch ``worker[3]``.
        """
        blueprint: WorkflowBlueprint | None = self.blueprint
        rest = name
        while blueprint is not None:
            if _is_in(blueprint, rest):
                return True
            inner = [n for n in blueprint.nodes if rest.startswith(f"{n.id}/")]
            if not inner:
                return False
            rest = rest.removeprefix(f"{inner[0].id}/")
            child = inner[0].params.get("blueprintId")
            blueprint = self.known.blueprint(child) if isinstance(child, str) else None
        return False

    def refuse(self, name: str, others: Iterable[str]) -> FlowcraftError:
        """What to raise for a name that no node has; ``others`` are known beside the nodes."""
        names = dict.fromkeys([node.id for node in self.blueprint.nodes])
        names |= dict.fromkeys(others)
        return FlowcraftError(
            f"The workflow '{self.blueprint.id}' has no node '{name}'. It has: {', '.join(names)}."
        )


def _is_in(blueprint: WorkflowBlueprint, name: str) -> bool:
    worker, bracket, _ = name.rpartition("[")
    for node in blueprint.nodes:
        scatters = node.uses == builtins.BATCH_SCATTER
        is_item = bracket and scatters and node.params.get("workerUsesKey") == worker
        if node.id == name or is_item:
            return True
    return False


def open_session(runtime: FlowRuntime, known: Known) -> Session:
    """A session of the runtime in which nothing is under way yet."""
    return Session(runtime, known, execute, runtime.options.concurrency, wait_for_timers=True)


class Answer:
    """An answer for a waiting node of a live run, checked and ready to be given.

    Attributes:
        target: The instance it goes to; without a key, the node that is going to wait.

    Raises:
        InvalidRunState: The run does not wait for it; the message lists what it waits for.
        AnswerRefused: The output does not fit the wait's schema.
        SerializationError: The output cannot be stored.
    """

    def __init__(
        self, run: LocalRun, node_id: str | Sequence[str] | None, output: Any, action: Any
    ) -> None:
        codec_for = run.session.runtime.options.serializer.codec_for
        value = snapshot(output, registered=codec_for, where="output")
        self.target = answering.find(run, node_id, action, value)
        self._event = ev.AnswerReceived(self.target.key, value, action, self.target.node_id)

    def give(self) -> None:
        """Let the run have the answer."""
        if self.target.key is not None:
            self.target.run.disarm(self.target.key)
        self.target.run.feed(self._event)


def initial_context(
    runtime: FlowRuntime, context: Mapping[str, Any] | str | None
) -> dict[str, Any]:
    """The initial context in stored form.

    Raises:
        FlowcraftError: It is no mapping of names, or no JSON.
        SerializationError: It holds something that cannot be stored.
    """
    return arguments.initial_context(context, runtime.options.serializer.codec_for)


def _resolve(runtime: FlowRuntime, flow: Runnable) -> tuple[WorkflowBlueprint, Known]:
    return runtime._resolve(flow)
