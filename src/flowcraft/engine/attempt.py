"""One attempt at a node: calling what the user wrote, and reporting how it ended."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from flowcraft.core import events as ev
from flowcraft.core.builtins import BUILTIN_USES
from flowcraft.core.commands import RunItem, RunNode, RunUndo
from flowcraft.core.definitions import NodeDefinition
from flowcraft.core.plan import Key, Plan, PlanNode, index_of_key
from flowcraft.core.state import new_tuple
from flowcraft.core.value_types import PLAIN
from flowcraft.core.values import EXACT_SCALARS, snapshot
from flowcraft.engine.added_nodes import read_nodes
from flowcraft.engine.class_nodes import Held, run_class
from flowcraft.engine.context import BaseNodeContext, NodeContext, SyncNodeContext
from flowcraft.engine.failures import error_info, is_retryable, text_of
from flowcraft.engine.isolation import run_isolated, stays_inside
from flowcraft.engine.nodes import Implementation, NodeResult
from flowcraft.engine.registry import missing_text
from flowcraft.engine.typing_input import decode_as
from flowcraft.errors import (
    FlowcraftError,
    ImplementationMissing,
    NodeTimeout,
)
from flowcraft.ports.clock import Clock

if TYPE_CHECKING:
    from flowcraft.engine.view import RunView

Job = RunNode | RunItem | RunUndo


class Deadline:
    """When an attempt has to be over, and what stops it then."""

    __slots__ = ("timer", "when")

    def __init__(self, clock: Clock, timeout_ms: float, stop: Callable[[], None]) -> None:
        self.when = clock.now() + timeout_ms / 1000
        self.timer = clock.call_at(self.when, stop)


class Attempt:
    """An attempt under way.

    Attributes:
        stop_reason: Set when it was asked to stop: ``"stopped"`` or ``"timeout"``.
        task: The runner that executes it.
        retryable: Whether another attempt may follow if this one fails.
        deadline: When it has to be over, where the node has a timeout.
        key: The instance it is about; of a compensation the one that is undone.
        node: The node that is executed; of an item of a batch the scatter node.
        forgiven: Whether its time was up, and what follows is given all the time it needs.
        seen: The number of the last decision whose effects it may see.
    """

    __slots__ = (
        "__weakref__",
        "command",
        "ctx",
        "deadline",
        "forgiven",
        "implementation",
        "key",
        "node",
        "retryable",
        "run",
        "seen",
        "stop_reason",
        "task",
    )

    def __init__(self, run: RunView, command: Job, task: asyncio.Task[None]) -> None:
        self.run = run
        self.command = command
        self.task = task
        self.seen = run.past.sequence
        self.ctx: BaseNodeContext[Any] | None = None
        self.stop_reason: str | None = None
        self.retryable = True
        self.deadline: Deadline | None = None
        self.forgiven = False
        if isinstance(command, RunNode):
            self.key = key = command.key
            self.node = node = run.plan.nodes[key if isinstance(key, int) else key[0]]
            uses = node.definition.uses
        else:
            self.key, self.node, uses = _subject(run.plan, command)
        self.implementation: Implementation | None = run.host.find(uses)

    @property
    def uses(self) -> str:
        """The registry key of what is called."""
        command = self.command
        return command.uses if isinstance(command, RunItem) else self.node.definition.uses

    @property
    def can_begin(self) -> bool:
        """Whether there is something to call; a built-in as a batch's worker fails as it runs."""
        return self.implementation is not None or self.uses in BUILTIN_USES

    def stop(self, reason: str) -> None:
        """Ask the attempt to end; a coroutine is cancelled, a thread is told."""
        if self.stop_reason is None:
            self.stop_reason = reason
            self.warn()
            self.task.cancel()

    def stop_unless_undoing(self) -> None:
        """Ask it to end with its run; what undoes the run's work is what that ends with."""
        if not isinstance(self.command, RunUndo):
            self.stop("stopped")

    def warn(self) -> None:
        """Tell the node that it should stop; a thread can only be told."""
        if self.ctx is not None:
            self.ctx.cancelled.cancel()

    async def perform(self) -> ev.Event:
        """Carry out the attempt.

        Returns:
            The event that tells the decision core how it ended. Nothing is raised but what
            ends the process.
        """
        try:
            if self.stop_reason is not None:
                raise asyncio.CancelledError  # by who was told that it begins
            implementation = self.implementation
            if implementation is None:
                raise self._missing()
            config = self.node.definition.config
            if config.timeout_ms is not None:
                self.arm(config.timeout_ms)
            inside = config.isolation is None or stays_inside(implementation)
            if inside and implementation.kind == "async" and not self.run.host.middleware:
                outcome = implementation.call(self._context(implementation, None))
                if type(outcome) is CoroutineType or inspect.isawaitable(outcome):
                    outcome = await outcome
            else:
                outcome = await self._call(implementation, inside)
            if self.deadline is not None and self.is_late:
                raise self._timed_out()
            return self._success(outcome)
        except asyncio.CancelledError as error:
            return self._cancelled(error)
        except (KeyboardInterrupt, SystemExit) as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            return self._failure(error)
        except BaseException as error:
            if self.stop_reason == "timeout" and not isinstance(error, NodeTimeout):
                # What a node makes of being stopped is not why it failed.
                late = self._timed_out()
                late.__cause__ = error
                return self._failure(late)
            return self._failure(error)
        finally:
            if self.deadline is not None:
                self.deadline.timer.cancel()

    def arm(self, timeout_ms: float) -> None:
        """Have the attempt stopped when this time is over."""
        clock = self.run.host.clock
        self.deadline = Deadline(clock, timeout_ms, lambda: self.stop("timeout"))

    def pause(self) -> float | None:
        """Let no time run for now; gives the milliseconds that are left, if they are bounded."""
        deadline = self.deadline
        if deadline is None or self.forgiven:
            return None
        deadline.timer.cancel()
        self.deadline = None
        return max(0.0, (deadline.when - self.run.host.clock.now()) * 1000)

    @property
    def is_late(self) -> bool:
        """Whether time was up, also if the event loop was kept from noticing."""
        deadline = self.deadline
        if self.stop_reason is None and deadline is not None and not self.forgiven:
            return self.run.host.clock.now() > deadline.when
        return self.stop_reason == "timeout"

    async def _call(self, implementation: Implementation, inside: bool) -> Any:
        kind = implementation.kind
        held = self.run.held.pop(self.command_key, None) if kind == "class" else None
        # What an isolated node had made is gone with its process.
        ctx = self._context(implementation, held if inside else None, decoded=inside)
        middleware = self.run.host.middleware

        async def call() -> Any:
            if not inside:
                return await run_isolated(self, implementation, ctx)
            if kind == "class":
                return await run_class(self, implementation, ctx, held)
            if kind == "sync":
                threads = self.run.host.threads
                result = await threads.call(implementation.call, ctx)
            else:
                result = implementation.call(ctx)
            return await result if inspect.isawaitable(result) else result

        return await _wrapped(call, ctx, middleware)() if middleware else await call()

    def _missing(self) -> FlowcraftError:
        if self.uses in BUILTIN_USES:
            if isinstance(self.command, RunUndo):
                return FlowcraftError(
                    f"'{self.uses}' is carried out by the engine and undoes nothing. Name a node "
                    "with a function or class of its own under 'compensate'.",
                    is_fatal=True,
                )
            return FlowcraftError(
                f"'{self.uses}' is carried out by the engine and cannot handle the items of a "
                "batch. Use a registered function or class as the worker.",
                is_fatal=True,
            )
        text = missing_text(self.uses, self.run.host.known.keys())
        return ImplementationMissing(text, node_id=self.node.id, is_fatal=True)

    @property
    def command_key(self) -> tuple[Any, ...]:
        """Identifies what is attempted, whatever the attempt."""
        command = self.command
        if isinstance(command, RunNode):
            return ("node", command.key)
        if isinstance(command, RunItem):
            return ("item", command.key, command.item)
        return ("undo", command.target)

    def _context(
        self, implementation: Implementation, held: Held | None, *, decoded: bool = True
    ) -> BaseNodeContext[Any]:
        ctx: BaseNodeContext[Any]
        if held is not None:
            ctx = held.ctx
            ctx._origin, ctx._cancelled = self, None
        else:
            value = self.command.input
            input_type = implementation.input_type if decoded else None
            if type(value) not in EXACT_SCALARS:
                value = self.run.copied(value)
            if input_type is not None:
                value = decode_as(input_type, value)
            factory = SyncNodeContext if implementation.kind == "sync" else NodeContext
            ctx = factory(self, value)
        self.ctx = ctx
        return ctx

    def _success(self, outcome: Any) -> ev.Event:
        command, ctx = self.command, self.ctx
        assert ctx is not None
        if type(command) is RunNode and type(outcome) in PLAIN:
            writes = () if ctx._buffer is None else ctx._commit()
            parts = (command.key, command.attempt, outcome, None, writes, ())
            return new_tuple(ev.NodeSucceeded, parts)
        if isinstance(command, RunUndo):
            return ev.UndoSettled(command.target, command.attempt)
        action: Any = None
        dynamic: tuple[NodeDefinition, ...] = ()
        if isinstance(outcome, NodeResult):
            if outcome.error is not None:
                raise FlowcraftError(text_of(outcome.error), node_id=self.node.id)
            action = checked_action(outcome.action)
            if outcome.dynamic_nodes:
                dynamic = read_nodes(outcome.dynamic_nodes, self.node.id)
            outcome = outcome.output
        output = outcome
        if type(outcome) not in PLAIN:
            codec_for = self.run.host.options.serializer.codec_for
            output = snapshot(outcome, registered=codec_for, where="output")
        writes = ctx._commit()
        if isinstance(command, RunItem):
            return ev.ItemSucceeded(command.key, command.item, command.attempt, output, writes)
        return ev.NodeSucceeded(command.key, command.attempt, output, action, writes, dynamic)

    @property
    def is_stopped(self) -> bool:
        """Whether the engine has cancelled it, and not the node itself."""
        return self.stop_reason is not None or self.run.host.closing

    def cancelled_itself(self) -> FlowcraftError:
        """Have no cancellation pending any more; gives the error it ends with."""
        self._uncancel()
        return FlowcraftError("The node cancelled itself (CancelledError).")

    def _cancelled(self, error: BaseException) -> ev.Event:
        if self.stop_reason is None and self.run.host.closing:
            raise error
        self._uncancel()
        command = self.command
        if self.stop_reason == "timeout":
            return self._failure(self._timed_out())
        if self.stop_reason is None:
            return self._failure(self.cancelled_itself())
        if isinstance(command, RunNode):
            return ev.NodeStopped(command.key, command.attempt)
        if isinstance(command, RunItem):
            return ev.ItemStopped(command.key, command.item, command.attempt)
        return self._failure(error)

    def forgive_timeout(self) -> NodeTimeout:
        """Let a step that ran out of time be followed by others; gives the error it ends with."""
        self._uncancel()
        self.stop_reason = None
        self.forgiven = True
        if self.deadline is not None:
            self.deadline.timer.cancel()
        if self.ctx is not None:
            self.ctx._cancelled = None
        return self._timed_out()

    def _uncancel(self) -> None:
        while self.task.cancelling():
            self.task.uncancel()

    def _timed_out(self) -> NodeTimeout:
        timeout_ms = self.node.definition.config.timeout_ms
        return NodeTimeout(
            f"Node '{self.node.id}' did not finish within its timeout of {timeout_ms:g} ms.",
            node_id=self.node.id,
        )

    def _failure(self, error: BaseException) -> ev.Event:
        retryable = self.retryable and is_retryable(error)
        command, info = self.command, error_info(error)
        if isinstance(command, RunUndo):
            return ev.UndoSettled(command.target, command.attempt, info)
        if isinstance(command, RunItem):
            return ev.ItemFailed(command.key, command.item, command.attempt, info, retryable)
        started = not isinstance(error, ImplementationMissing)
        return ev.NodeFailed(command.key, command.attempt, info, retryable, started)


def _wrapped(
    call: Callable[[], Awaitable[Any]], ctx: Any, middleware: tuple[Any, ...]
) -> Callable[[], Awaitable[Any]]:
    for layer in reversed(middleware):
        call = layer.bind(ctx, call)
    return call


def checked_action(action: Any) -> Any:
    """An action as it may be: text, or another JSON scalar.

    Raises:
        FlowcraftError: It is something else.
    """
    if action is None or isinstance(action, str | int | float | bool):
        return action
    raise FlowcraftError(f"An action is text, not {type(action).__name__}.")


def _subject(plan: Plan, command: RunItem | RunUndo) -> tuple[Key, PlanNode, str]:
    """The instance that an item of a batch or a compensation is about, its node, and the uses."""
    if isinstance(command, RunItem):
        return command.key, plan.nodes[index_of_key(command.key)], command.uses
    node = plan.nodes[command.node]
    return command.target, node, node.definition.uses
