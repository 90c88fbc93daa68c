"""Nodes with ``isolation: process``: each attempt in a process of its own, which can be killed.

A process is started for an attempt and ends with it. It imports the node by the name of its
module, so nothing but JSON passes between the two. Reads of the context are questions to this
process, which answers what the node may see; writes come back with the result. The other side
is :mod:`.isolated`.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import TYPE_CHECKING, Any

from flowcraft.core.commands import RunItem
from flowcraft.core.values import snapshot
from flowcraft.engine.annotations import plain_function
from flowcraft.engine.blobs import AttemptBlobs
from flowcraft.engine.child import Child, log
from flowcraft.engine.class_nodes import Held, run_class
from flowcraft.engine.context import BaseNodeContext
from flowcraft.engine.failures import Carried, message_of
from flowcraft.engine.isolated_blobs import answered
from flowcraft.engine.naming import Unnamed, main_module, target_of
from flowcraft.engine.nodes import Implementation, Node, NodeResult
from flowcraft.engine.wire import Message, ParentWire, read_failure
from flowcraft.errors import FlowcraftError, NodeTimeout, ProcessDied

if TYPE_CHECKING:
    from flowcraft.engine.attempt import Attempt

START_SECONDS = 60.0
"""How long a process may take to start and to import the node."""

_MISSING: Any = object()


async def run_isolated(
    attempt: Attempt, implementation: Implementation, ctx: BaseNodeContext[Any]
) -> Any:
    """Carry out an attempt in a process of its own and give what the node returns.

    Raises:
        Carried: The node failed; this is what is known of its error.
        ProcessDied: The process ended before the node did.
        FlowcraftError: The node cannot be imported in another process.
    """
    isolated = IsolatedNode(attempt, implementation, ctx)
    try:
        await isolated.start()
        if implementation.kind == "class":
            return await run_class(attempt, implementation, ctx, Held(isolated, ctx, frozenset()))
        return await isolated.call()
    finally:
        await isolated.close()


def stays_inside(implementation: Implementation) -> bool:
    """Whether it is called in this process whatever the node's config says: a fake of a test."""
    return getattr(implementation.call, "__flowcraft_stays_inside__", False)


class IsolatedNode:
    """A node in a process of its own; of a class it stands in the place of the instance.

    A step that ran out of time took the process with it. What follows, ``fallback`` or
    ``recover``, then gets another one.
    """

    def __init__(
        self, attempt: Attempt, implementation: Implementation, ctx: BaseNodeContext[Any]
    ) -> None:
        self._attempt = attempt
        self._implementation = implementation
        self._ctx = ctx
        self._child: Child | None = None

    async def start(self) -> None:
        """Start the process, and have the node ready in it.

        Raises:
            NodeTimeout: That took longer than :data:`START_SECONDS`.
        """
        begin, node_id = self._begin(), self._ctx.node_id
        wire = ParentWire(self._attempt.run.host.options.serializer)
        begin.update(wire.pack(self._values()))
        # A node has as much time as it has in this process: starting another is not its work.
        left_ms = self._attempt.pause()
        try:
            async with asyncio.timeout(START_SECONDS):
                self._child = await Child.spawn(node_id, wire)
                await self._exchange(begin)
        except TimeoutError:
            raise NodeTimeout(
                f"The process of node '{node_id}' was not ready within {START_SECONDS:g} s: what "
                "does its module do as it is imported?",
                node_id=node_id,
            ) from None
        finally:
            if left_ms is not None:
                self._attempt.arm(left_ms)

    async def call(self) -> Any:
        """Call the function."""
        return await self._step("call")

    async def prep(self, _ctx: Any) -> None:
        """Do the step; what it makes stays in the process."""
        await self._step("prep")

    async def exec(self, _ctx: Any, _prepared: Any) -> None:
        """Do the step; what it makes stays in the process."""
        await self._step("exec")

    async def fallback(self, _ctx: Any, error: BaseException) -> None:
        """Do the step, after another ``prep`` where the process is gone."""
        if self._child is None:
            if not self._has_own("fallback"):
                raise error
            await self.start()
            await self._order("prep")
        await self._step("fallback", error)

    async def post(self, _ctx: Any, _result: Any) -> Any:
        """Do the last step and give what the node returns."""
        return await self._step("post")

    async def recover(self, _ctx: Any, error: BaseException) -> None:
        """Do the step, where the class has one of its own."""
        if self._has_own("recover"):
            if self._child is None:
                await self.start()
            await self._step("recover", error)

    async def close(self) -> None:
        """Let the process end; kill it if it does not."""
        child, self._child = self._child, None
        if child is not None:
            await child.close()

    def _has_own(self, step: str) -> bool:
        return getattr(plain_function(self._implementation.call), step) is not getattr(Node, step)

    async def _step(self, name: str, error: BaseException | None = None) -> Any:
        told = await self._order(name, error)
        assert self._child is not None
        outcome, writes = self._child.wire.unpack(told)
        buffer = self._ctx._context_buffer()
        for op, key, value in writes:
            buffer.write(op, key, value)
        if outcome.keys() == {"output"}:
            return outcome["output"]
        return NodeResult(
            outcome["output"], outcome["action"], outcome["nodes"], error=outcome["error"]
        )

    async def _order(self, name: str, error: BaseException | None = None) -> Message:
        # An error of the child's own is there as it was raised.
        given = None
        if error is not None and not isinstance(error, Carried):
            given = {"type": type(error).__name__, "message": message_of(error)}
        deadline = self._attempt.deadline
        order = {
            "do": name,
            "keep": len(self._ctx._commit()),
            "error": given,
            "deadline": None if deadline is None else deadline.when,
        }
        return await self._exchange(order)

    async def _exchange(self, order: Message) -> Message:
        child = self._child
        if child is None:
            raise ProcessDied(f"The process of node '{self._ctx.node_id}' has ended.")
        try:
            await child.tell(order)
            while (message := await child.hear())["is"] not in ("done", "ready", "failed"):
                await self._answer(child, message)
        except BaseException:
            self._child = None
            await child.kill()
            raise
        if message["is"] == "failed":
            raise Carried(*read_failure(message))
        return message

    async def _answer(self, child: Child, message: Message) -> None:
        attempt = self._attempt
        if message["is"] == "progress":
            told = child.wire.unpack(message)
            attempt.run.report_progress(attempt.key, attempt.command.attempt, *told)
        elif message["is"] == "log":
            log(message["record"])
        else:
            try:
                if message["is"] == "blob":
                    answer = await answered(AttemptBlobs(attempt), message)
                else:
                    answer = self._found(child.wire, message)
            except Exception as error:
                answer = {"refused": message_of(error)}
            await child.tell({**answer, "id": message["id"]})

    def _found(self, wire: ParentWire, question: Message) -> Message:
        if question["is"] == "answer_url":
            return {"url": self._ctx._answer_url(question["node"], **question["options"])}
        if question["is"] == "type":
            return {"named": wire.named(question["name"])}
        if question["is"] == "all":
            return wire.pack(self._attempt.run.whole_context(self._attempt.seen))
        value = self._ctx._read(question["key"], _MISSING)
        return {} if value is _MISSING else wire.pack(value)

    def _begin(self) -> Message:
        ctx = self._ctx
        try:
            target, args, keywords = target_of(self._implementation.call)
        except Unnamed as unnamed:
            raise FlowcraftError(
                f"Node '{ctx.node_id}' asks for `isolation: process`, but "
                f"{self._implementation.name} cannot be imported in another process: {unnamed}. "
                "Define the function or class at the top level of a module and register it as it "
                "is.",
                is_fatal=True,
            ) from None
        return {
            "do": "begin",
            "target": target,
            "args": args,
            "keywords": keywords,
            "main": main_module(),
            "argv": sys.argv,
            "levels": _levels(),
            "facts": {
                "run_id": ctx.run_id,
                "blueprint_id": ctx.blueprint_id,
                "node_id": ctx.node_id,
                "iteration": ctx.iteration,
                "attempt": ctx.attempt,
                "max_attempts": ctx.max_attempts,
                "idempotency_key": ctx.idempotency_key,
            },
        }

    def _values(self) -> list[Any]:
        """Parameters, input, and what was written around the node so far."""
        ctx, command = self._ctx, self._attempt.command
        codec_for = self._attempt.run.host.options.serializer.codec_for
        params = {} if isinstance(command, RunItem) else dict(self._attempt.node.definition.params)
        # A middleware may have put something else there.
        value = snapshot(ctx.input, registered=codec_for, where="input")
        return [params, value, [list(write) for write in ctx._commit()]]


def _levels() -> dict[str, int]:
    root = logging.getLogger()
    named = {
        name: each.level
        for name, each in tuple(root.manager.loggerDict.items())
        if isinstance(each, logging.Logger) and each.level
    }
    return {"": root.level, **named}
