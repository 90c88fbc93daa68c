"""The process of a node with ``isolation: process``, which :mod:`.isolation` starts.

It imports what the registry of its parent holds under the node's key, carries out one step after
the other as it is told to, and ends. A plain function has the main thread to itself; async
functions and classes have an event loop there.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import Any, NoReturn

from flowcraft.core.definitions import NodeDefinition
from flowcraft.core.values import CodecLookup, snapshot
from flowcraft.engine.attempt import checked_action
from flowcraft.engine.context import BaseNodeContext
from flowcraft.engine.failures import text_of
from flowcraft.engine.isolated_context import Facts, IsolatedContext, IsolatedSyncContext, Place
from flowcraft.engine.isolated_link import Link, log_to
from flowcraft.engine.naming import Importing, imported
from flowcraft.engine.nodes import Implementation, NodeResult, describe
from flowcraft.engine.threads import DaemonThreads
from flowcraft.engine.typing_input import decode_as
from flowcraft.engine.wire import ChildWire, Message, failure
from flowcraft.errors import FlowcraftError, NodeTimeout, ProcessDied

_FOUND_BY_PARENT: dict[str, type[FlowcraftError]] = {
    "NodeTimeout": NodeTimeout,
    "ProcessDied": ProcessDied,
}


class Stopped(SystemExit):
    """The parent wants the node to stop: raised in a plain function, so that it can clean up."""


class Work:
    """The node: what to call, with which context, and what its steps have made so far.

    Attributes:
        implementation: What to call.
        ctx: The context it is called with.
        instance: Of a class, the instance.
        error: What the last step raised.
    """

    def __init__(self, link: Link, begin: Message) -> None:
        self.implementation = _implementation(begin)
        self._link = link
        self.wire = ChildWire(
            lambda name: link.ask({"is": "type", "name": name})["named"],
            partial(imported, main=begin["main"]),
        )
        self.ctx = self._context(begin)
        self.instance: Any = None
        self.error: BaseException | None = None
        self._prepared: Any = None
        self._result: Any = None
        self._threads = DaemonThreads()

    def _context(self, begin: Message) -> BaseNodeContext[Any]:
        params, input_, writes = self.wire.unpack(begin)
        if self.implementation.input_type is not None:
            input_ = decode_as(self.implementation.input_type, input_)
        self._place = Place(self._link, self.wire, Facts(**begin["facts"]), params)
        make = IsolatedSyncContext if self.implementation.kind == "sync" else IsolatedContext
        ctx = make(self._place, input_)
        buffer = ctx._context_buffer()
        for op, key, value in writes:
            buffer.write(op, key, value)
        return ctx

    def make_instance(self) -> None:
        """Make the instance of a class."""
        if self.implementation.kind == "class":
            self.instance = self.implementation.call()

    def call(self) -> Any:
        """Call the function."""
        return self.implementation.call(self.ctx)

    async def step(self, order: Message) -> Any:
        """Carry out a step; what it gives is of interest where it is the last."""
        name = order["do"]
        if name == "call":
            outcome = self.call()
            return await outcome if inspect.isawaitable(outcome) else outcome
        if name == "prep":
            self._prepared = await self._method("prep")
        elif name == "exec":
            self._result = await self._method("exec", self._prepared)
        elif name == "fallback":
            self._result = await self._method("fallback", self._error_of(order))
        elif name == "post":
            return await self._method("post", self._result)
        else:
            await self._method("recover", self._error_of(order))
        return None

    async def _method(self, name: str, *arguments: Any) -> Any:
        method, ctx = getattr(self.instance, name), self.ctx
        if name in self.implementation.plain_steps:
            twin = ctx._for_thread()
            result = await self._threads.call(method, twin, *arguments)
            ctx._take_over(twin)
        else:
            result = method(ctx, *arguments)
        return await result if inspect.isawaitable(result) else result

    def _error_of(self, order: Message) -> BaseException:
        """The error a step is told of: what was raised here, or what the parent found."""
        given = order["error"]
        if given is None:
            assert self.error is not None
            return self.error
        cls = _FOUND_BY_PARENT.get(given["type"], FlowcraftError)
        return cls(given["message"], node_id=self.ctx.node_id)

    def begin_step(self, order: Message) -> None:
        """Note the time, and take back what failed steps have written."""
        self._place.deadline = order["deadline"]
        if order["keep"] < len(self.ctx._commit()):
            self.ctx._roll_back(order["keep"])

    def done(self, order: Message, outcome: Any) -> Message:
        """What to tell of a step that ended well.

        Raises:
            SerializationError: What it gives cannot be stored.
        """
        told = _as_data(outcome, self.wire.codec_for)
        writes = [list(write) for write in self.ctx._commit()[order["keep"] :]]
        return {"is": "done", "value": self.wire.dumps([told, writes])}

    def failed(self, error: BaseException) -> Message:
        """What to tell of a step that failed."""
        self.error = error
        return failure(error)


def _implementation(begin: Message) -> Implementation:
    Importing.under_way = True
    try:
        call = imported(begin["target"], begin["main"])
        if begin["args"] or begin["keywords"]:
            call = partial(call, *begin["args"], **begin["keywords"])
        return describe(call)
    finally:
        Importing.under_way = False


def _as_data(outcome: Any, codec_for: CodecLookup) -> dict[str, Any]:
    if not isinstance(outcome, NodeResult):
        return {"output": snapshot(outcome, registered=codec_for, where="output")}
    nodes = [
        node.to_dict() if isinstance(node, NodeDefinition) else node
        for node in outcome.dynamic_nodes
    ]
    return {
        "output": snapshot(outcome.output, registered=codec_for, where="output"),
        "action": checked_action(outcome.action),
        "nodes": snapshot(nodes, registered=codec_for, where="dynamic_nodes"),
        "error": None if outcome.error is None else text_of(outcome.error),
    }


# Doing what the parent wants ---------------------------------------------------------------


def serve_plain(link: Link, work: Work) -> None:
    """Call a plain function, in the main thread: what stops the process stops the function."""

    def stop(number: int, _frame: FrameType | None) -> NoReturn:
        work.ctx.cancelled.cancel()
        raise Stopped(128 + number)

    signal.signal(signal.SIGTERM, stop)
    link.tell({"is": "ready"})
    while (order := link.orders.get())["do"] != "end":
        work.begin_step(order)
        try:
            outcome = work.call()
            if inspect.isawaitable(outcome):
                outcome = asyncio.run(_awaited(outcome))
            told = work.done(order, outcome)
        except Stopped:
            raise
        except BaseException as error:
            told = work.failed(error)
        link.tell(told)


async def _awaited(outcome: Awaitable[Any]) -> Any:
    return await outcome


async def serve(link: Link, work: Work) -> None:
    """Call an async function, or the steps of a class, in an event loop."""
    loop, orders = asyncio.get_running_loop(), asyncio.Queue[Message]()
    task = asyncio.current_task()
    assert task is not None

    def stop() -> None:
        work.ctx.cancelled.cancel()
        task.cancel()

    if sys.platform != "win32":
        loop.add_signal_handler(signal.SIGTERM, stop)
    link.deliver_to(lambda order: _soon(loop, lambda: orders.put_nowait(order)))
    try:
        work.make_instance()
    except BaseException as error:
        link.tell(work.failed(error))
        return
    link.tell({"is": "ready"})
    while (order := await orders.get())["do"] != "end":
        link.tell(await _told(work, order))
        if work.ctx.cancelled:
            return


async def _told(work: Work, order: Message) -> Message:
    work.begin_step(order)
    try:
        return work.done(order, await work.step(order))
    except asyncio.CancelledError:
        if work.ctx.cancelled:
            raise
        text = "The node cancelled itself (CancelledError)."
        return work.failed(FlowcraftError(text))
    except BaseException as error:
        return work.failed(error)


def _soon(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    # A loop that is closed raises: the process is about to end.
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(call)


def main() -> None:
    """Carry out a node: called in a process that was started for it."""
    link = Link()
    link.start()
    begin = link.orders.get()
    sys.argv[:] = begin["argv"]
    log_to(link, begin["levels"])
    try:
        work = Work(link, begin)
    except BaseException as error:
        link.tell(failure(error))
        return
    try:
        if work.implementation.kind == "sync":
            serve_plain(link, work)
        else:
            asyncio.run(serve(link, work))
    except (Stopped, asyncio.CancelledError):
        # As if it had not been caught: whoever looks at the exit status sees the signal.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
    finally:
        sys.stdout.flush()
