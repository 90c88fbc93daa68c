"""``create_flow``: the fluent way to write a blueprint together with its callables.

Every method gives back the flow itself. Names may be used before they are defined; what does
not fit together is reported by :meth:`FlowBuilder.to_blueprint`, all at once.

A callable is known to other processes by its *uses key*, ``module:qualname``. Lambdas and
functions inside of functions have such a key, too, but other processes cannot look it up.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import timedelta
from typing import Any, ClassVar, Literal, Protocol, TypeVar, Unpack, overload

from flowcraft.core import builtins
from flowcraft.core.blueprint import NodeConfig, WorkflowBlueprint, read_blueprint
from flowcraft.core.durations import parse_duration_ms
from flowcraft.core.node_options import NodeOptions, config_of, wait_params, without_none
from flowcraft.core.retry_policy import RetryPolicy
from flowcraft.core.uses import (
    Implementation,
    add_implementation,
    merge_implementations,
    uses_of,
)
from flowcraft.core.wiring import (
    Names,
    Wire,
    connect,
    find_misfits,
    gather_id,
    resolve_node,
    scatter_id,
)
from flowcraft.errors import BlueprintError, Problem

R_co = TypeVar("R_co", covariant=True)
R = TypeVar("R")
Context = Mapping[str, Any] | str | None
Inputs = str | Mapping[str, str]


class Runtime(Protocol[R_co]):
    """What can run a flow, such as ``FlowRuntime``."""

    def run(self, *args: Any, **options: Any) -> Awaitable[R_co]:
        """Run ``(flow, context)``."""

    def run_sync(self, *args: Any, **options: Any) -> R_co:
        """Run ``(flow, context)`` and wait for the end."""


def create_flow(id: str) -> FlowBuilder:
    """Begin a flow; ``id`` is the name its blueprint is known by."""
    return FlowBuilder(id)


class FlowBuilder:
    """A workflow in the making; :func:`create_flow` makes one.

    Args:
        id: The id of the blueprint.
    """

    _runtime_factory: ClassVar[Callable[[], Runtime[Any]] | None] = None

    def __init__(self, id: str) -> None:
        self.id = id
        self._nodes: dict[str, dict[str, Any]] = {}
        self._wires: list[Wire] = []
        self._batches: list[str] = []
        self._loops: dict[str, tuple[str, str]] = {}
        self._metadata: dict[str, Any] = {}
        self._registry: dict[str, Implementation] = {}
        self._children: list[FlowBuilder | WorkflowBlueprint] = []
        self._problems: list[Problem] = []
        self._built: WorkflowBlueprint | None = None

    def __repr__(self) -> str:
        return f"<flow {self.id!r}: {len(self._nodes)} nodes, {len(self._wires)} edges>"

    def node(
        self,
        id: str,
        implementation: Implementation | str,
        *,
        uses: str | None = None,
        params: Mapping[str, Any] | None = None,
        inputs: Inputs | None = None,
        config: Mapping[str, Any] | NodeConfig | None = None,
        retry: RetryPolicy | None = None,
        timeout: timedelta | float | None = None,
        fallback: str | None = None,
        compensate: str | None = None,
        join: Literal["all", "any"] | None = None,
        isolation: Literal["process"] | None = None,
        concurrency_key: str | None = None,
    ) -> FlowBuilder:
        """Add a node.

        Args:
            id: Unique in the flow; any text.
            implementation: A function, a class, or the ``uses`` key of one registered elsewhere.
            uses: The key under which a callable is registered, instead of its own name.
            params: Constants for the implementation: plain JSON values.
            inputs: Where its input comes from (rule S6): a node's id, a context key, a path
                into a node's output such as ``charge.total``, or a map of names to these.
            config: The format's ``config``, in its JSON form; the arguments below go before.
            retry: Attempts and delays.
            timeout: For one attempt, in seconds or as a ``timedelta``.
            fallback: Id of the node that runs in place of this one when it fails.
            compensate: Id of the node that undoes this one when the run fails.
            join: Whether to wait for ``"all"`` incoming edges (the default) or ``"any"``.
            isolation: ``"process"`` to run it where it can be killed.
            concurrency_key: Nodes of the same key are limited together, by what the runtime has
                as ``limits``; ``"tenant:{input.tenant}"`` is evaluated for each attempt.

        Raises:
            BlueprintError: The callable has no name, or another one has the same key.
        """
        options: NodeOptions = {
            "config": config,
            "retry": retry,
            "timeout": timeout,
            "fallback": fallback,
            "compensate": compensate,
            "join": join,
            "isolation": isolation,
            "concurrency_key": concurrency_key,
        }
        key = self._register(implementation, uses, f"node {id!r}")
        return self._add(id, key, params, inputs, options)

    def edge(
        self,
        source: str,
        target: str,
        *,
        action: str | None = None,
        condition: str | None = None,
        transform: str | None = None,
    ) -> FlowBuilder:
        """Add an edge; the name of a batch or loop stands for its first and last node.

        Args:
            source: Where it comes from.
            target: Where it leads.
            action: Taken only if the source returns this action. An edge that leaves a loop's
                name without action or condition has the action ``break``.
            condition: Taken only if this expression is true, such as ``result.output.ok``.
            transform: The target gets the value of this expression, such as ``input.total``.
        """
        return self._wire(Wire(source, target, action, condition, transform))

    def batch(
        self,
        id: str,
        worker: Implementation | str,
        *,
        uses: str | None = None,
        inputs: str | None = None,
        output_key: str | None = None,
        chunk_size: int | None = None,
        concurrency: int | None = None,
        failure_mode: Literal["fail", "collect"] | None = None,
        retry: RetryPolicy | None = None,
        timeout: timedelta | float | None = None,
        isolation: Literal["process"] | None = None,
        concurrency_key: str | None = None,
    ) -> FlowBuilder:
        """Add a batch: a worker for each item of a list (rule S11).

        It consists of the nodes ``<id>_scatter`` and ``<id>_gather``; edges name it ``id``.

        Args:
            id: The name of the batch.
            worker: A function, class or key, which gets one item as its input.
            uses: The key of the worker, as for :meth:`node`.
            inputs: Where the list comes from; by default from the predecessor.
            output_key: Context key that gets the list of results, too.
            chunk_size: Items begun together before the next ones are.
            concurrency: Items under way at once.
            failure_mode: ``"fail"`` (default) fails the batch with an item; ``"collect"``
                puts ``{"index", "error"}`` in the place of its result.
            retry: For each item.
            timeout: For each attempt of an item, in seconds or as a ``timedelta``.
            isolation: ``"process"`` to run each item where it can be killed.
            concurrency_key: Items of the same key are limited together, as for :meth:`node`; the
                ``input`` of its placeholders is the item.
        """
        key = self._register(worker, uses, f"batch {id!r}")
        given = {"gatherNodeId": gather_id(id), "outputKey": output_key}
        limits = {"chunkSize": chunk_size, "concurrency": concurrency, "failureMode": failure_mode}
        scatter = without_none({"workerUsesKey": key, **given, **limits})
        self._batches.append(id)
        self._add(
            scatter_id(id), builtins.BATCH_SCATTER, scatter, inputs,
            {
                "retry": retry, "timeout": timeout, "isolation": isolation,
                "concurrency_key": concurrency_key,
            },
        )  # fmt: skip
        self._add(gather_id(id), builtins.BATCH_GATHER, without_none(given), None, {"join": "all"})
        return self._wire(Wire(scatter_id(id), gather_id(id), implied=True))

    def loop(self, id: str, condition: str, *, start: str, end: str) -> FlowBuilder:
        """Add a loop (rule S10): its body runs again while the condition is true.

        The condition is looked at before the first round, too. Enter the loop by an edge to
        ``id`` and leave it by an edge from ``id``.

        Args:
            id: Id of the node that controls the loop.
            condition: An expression over the context.
            start: First node of the body.
            end: Last node of the body.
        """
        self._loops[id] = (start, end)
        self._add(id, builtins.LOOP_CONTROLLER, {"condition": condition}, None, {"join": "any"})
        self._wire(Wire(end, id, implied=True))
        return self._wire(Wire(id, start, builtins.CONTINUE, implied=True))

    def sleep(
        self, id: str, duration: float | str | timedelta, **options: Unpack[NodeOptions]
    ) -> FlowBuilder:
        """Add a node that sleeps and hands on its input.

        Args:
            id: Id of the node.
            duration: Milliseconds, a text such as ``"10s"``, ``"5m"``, ``"2h"`` or ``"1d"``,
                or a ``timedelta``; at most 366 days.
            **options: As for :meth:`node`.

        Raises:
            ValueError: It is no duration.
        """
        exact = parse_duration_ms(duration)
        params = {"duration": duration if isinstance(duration, str) else exact}
        return self._add(id, builtins.SLEEP, params, None, options)

    def wait(
        self,
        id: str,
        *,
        title: str | None = None,
        schema: Mapping[str, Any] | None = None,
        actions: Collection[str] | None = None,
        timeout: float | str | timedelta | None = None,
        event: str | None = None,
        correlation_key: str | None = None,
    ) -> FlowBuilder:
        """Add a node that waits for an answer from outside (rule S12).

        Args:
            id: Id of the node.
            title: What is asked, for people.
            schema: JSON Schema (draft 2020-12) of the answer; checking answers needs the extra
                ``web``.
            actions: The actions an answer may have.
            timeout: Seconds, a text such as ``"2h"`` or a ``timedelta`` after which it goes on
                with the action ``timeout``.
            event: Name of the event that is waited for, such as ``"payment.received"``: a
                durable run can then be sent it by name, whoever does not know its id.
            correlation_key: What tells the event from the same event for other runs: a
                reference as in ``inputs``, such as ``"order.id"``, to a text, a whole number or
                a UUID. It is looked up when the wait begins.

        Raises:
            ValueError: The timeout is no duration, or the schema cannot be used.
        """
        params = wait_params(title, schema, actions, timeout, event, correlation_key)
        return self._add(id, builtins.WAIT, params or None, None, {})

    def webhook(
        self,
        id: str,
        *,
        title: str | None = None,
        schema: Mapping[str, Any] | None = None,
        actions: Collection[str] | None = None,
        timeout: float | str | timedelta | None = None,
        event: str | None = None,
        correlation_key: str | None = None,
    ) -> FlowBuilder:
        """Add a node that waits for a POST to a URL of its own; arguments as for :meth:`wait`.

        The URL is what ``ctx.answer_url(id)`` gives another node, or ``client.answer_links(run)``.
        """
        params = wait_params(title, schema, actions, timeout, event, correlation_key)
        return self._add(id, builtins.WEBHOOK, params or None, None, {})

    def subflow(
        self,
        id: str,
        flow: FlowBuilder | WorkflowBlueprint | Mapping[str, Any] | str,
        *,
        inputs: Mapping[str, str] | None = None,
        outputs: Mapping[str, str] | None = None,
        **options: Unpack[NodeOptions],
    ) -> FlowBuilder:
        """Add a node that runs another workflow (rule S13).

        Args:
            id: Id of the node.
            flow: The child: a flow, a blueprint (also in JSON form), or the id of one that the
                runtime knows.
            inputs: The child's initial context: keys to references; by default the node's
                input goes to the child's start nodes.
            outputs: Context keys to set: keys to names in the child.
            **options: As for :meth:`node`.

        Raises:
            BlueprintError: A blueprint in JSON form is malformed.
            TypeError: The child is none of these.
        """
        if isinstance(flow, Mapping):
            flow = WorkflowBlueprint.from_dict(flow)
        if not isinstance(flow, str):
            if not isinstance(flow, FlowBuilder | WorkflowBlueprint):
                raise TypeError(
                    f"Subflow '{id}': the child is a flow, a blueprint or the id of one, not "
                    f"{type(flow).__name__}."
                )
            self._children.append(flow)
        params = without_none(
            {
                "blueprintId": flow if isinstance(flow, str) else flow.id,
                "inputs": None if inputs is None else dict(inputs),
                "outputs": None if outputs is None else dict(outputs),
            }
        )
        return self._add(id, builtins.SUBFLOW, params, None, options)

    def metadata(self, **values: Any) -> FlowBuilder:
        """Add to the blueprint's metadata: plain JSON values by name."""
        self._metadata.update(values)
        self._built = None
        return self

    def on_failure(self, mode: Literal["fail_fast", "continue"]) -> FlowBuilder:
        """Say whether a failed node stops the run at once (rule S4)."""
        return self.metadata(onFailure=mode)

    def cycle_entry(self, *node_ids: str) -> FlowBuilder:
        """Say where a flow starts that has no node without incoming edges (rule S1)."""
        return self.metadata(
            cycleEntryPoints=[*self._metadata.get("cycleEntryPoints", ()), *node_ids]
        )

    def to_blueprint(self) -> WorkflowBlueprint:
        """The blueprint.

        Raises:
            BlueprintError: Something is wrong with the flow; every problem is listed.
        """
        if self._built is None:
            names = self._names()
            data = {
                "id": self.id,
                "nodes": {id: resolve_node(node, names) for id, node in self._nodes.items()},
                "edges": connect(self._wires, names),
                **({"metadata": self._metadata} if self._metadata else {}),
            }
            blueprint, problems = read_blueprint(data)
            problems = (
                *self._problems,
                *problems,
                *find_misfits(blueprint, self._batches, self._wires, names),
            )
            if problems:
                raise BlueprintError(problems, blueprint_id=blueprint.id)
            self._built = blueprint
        return self._built

    @property
    def registry(self) -> Mapping[str, Implementation]:
        """Everything that was given as a callable, by ``uses`` key, child flows included.

        Raises:
            BlueprintError: Two flows register different callables under one key.
        """
        merged: dict[str, Implementation] = dict(self._registry)
        for child in self._descendants():
            if isinstance(child, FlowBuilder):
                merge_implementations(merged, child._registry, f"flow {child.id!r}")
        return merged

    @property
    def blueprints(self) -> Mapping[str, WorkflowBlueprint]:
        """The blueprints of all child flows, and of their child flows, by id.

        Raises:
            BlueprintError: A child is malformed, or two different ones have the same id.
        """
        found: dict[str, WorkflowBlueprint] = {}
        for child in self._descendants():
            blueprint = child.to_blueprint() if isinstance(child, FlowBuilder) else child
            present = found.setdefault(blueprint.id, blueprint)
            if present != blueprint or child.id == self.id:
                message = f"two different flows have the id {blueprint.id!r}; rename one of them"
                raise BlueprintError([Problem("subflow", message)], blueprint_id=self.id)
        return found

    def run(self, runtime: Runtime[R], context: Context = None, **options: Any) -> Awaitable[R]:
        """Run the flow: ``await flow.run(FlowRuntime(), {"value": 42})``.

        Args:
            runtime: What runs it.
            context: The initial context, as a mapping or JSON text.
            **options: As for ``FlowRuntime.run``.

        Returns:
            The run's result, to be awaited.
        """
        return runtime.run(self, context, **options)

    @overload
    def run_sync(self, context: Context = None, *, runtime: Runtime[R], **options: Any) -> R: ...

    @overload
    def run_sync(self, context: Context = None, *, runtime: None = None, **options: Any) -> Any: ...

    def run_sync(
        self, context: Context = None, *, runtime: Runtime[Any] | None = None, **options: Any
    ) -> Any:
        """Run the flow from code that is not async, in a runtime of its own if none is given.

        Args:
            context: The initial context, as a mapping or JSON text.
            runtime: What runs it.
            **options: As for ``FlowRuntime.run``.

        Raises:
            RuntimeError: Called where an event loop is running.
        """
        if runtime is None:
            if FlowBuilder._runtime_factory is None:
                raise RuntimeError("There is no default runtime: pass one as 'runtime='.")
            runtime = FlowBuilder._runtime_factory()
        return runtime.run_sync(self, context, **options)

    def _register(self, implementation: object, uses: str | None, name: str) -> str:
        if isinstance(implementation, str):
            if uses is not None:
                raise TypeError(f"{name}: give either a key or a callable with 'uses', not both")
            return implementation
        if not callable(implementation):
            kind = type(implementation).__name__
            raise TypeError(f"{name} needs a function, a class or a key, not a {kind}")
        if uses is not None and not isinstance(uses, str):
            raise TypeError(f"{name}: uses is text, the key of the implementation, not {uses!r}")
        key = uses if uses is not None else uses_of(implementation, name)
        add_implementation(self._registry, key, implementation, name)
        return key

    def _add(
        self,
        id: str,
        uses: str,
        params: Mapping[str, Any] | None,
        inputs: Inputs | None,
        options: NodeOptions,
    ) -> FlowBuilder:
        if id in self._nodes:
            self._problems.append(Problem(f"node {id!r}", "there are two nodes of this id"))
        config = config_of(options)
        self._nodes[id] = without_none(
            {"id": id, "uses": uses, "params": params, "inputs": inputs, "config": config or None}
        )
        self._built = None
        return self

    def _wire(self, wire: Wire) -> FlowBuilder:
        self._wires.append(wire)
        self._built = None
        return self

    def _names(self) -> Names:
        # Where a node has the name of a batch, the node keeps it; find_misfits reports that.
        batches = frozenset(batch for batch in self._batches if batch not in self._nodes)
        return Names(self._nodes, batches, {id: start for id, (start, _) in self._loops.items()})

    def _descendants(self) -> list[FlowBuilder | WorkflowBlueprint]:
        """Child flows and theirs, each once; a flow may be its own child."""
        found: list[FlowBuilder | WorkflowBlueprint] = []
        todo = list(reversed(self._children))
        seen = {id(self)}
        while todo:
            child = todo.pop()
            if id(child) not in seen:
                seen.add(id(child))
                found.append(child)
                if isinstance(child, FlowBuilder):
                    todo.extend(reversed(child._children))
        return found


def set_default_runtime_factory(factory: Callable[[], Runtime[Any]]) -> None:
    """Say what ``run_sync`` runs flows in where it is not told: the core knows no runtime."""
    FlowBuilder._runtime_factory = staticmethod(factory)
