"""Nodes that can be imported in another process, for the tests of ``isolation: process``."""

from __future__ import annotations

import asyncio
import atexit
import ctypes
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from flowcraft import FlowcraftError, Node, NodeContext, NodeResult, SyncNodeContext, node

Ctx = NodeContext[Any]
SyncCtx = SyncNodeContext[Any]


@dataclass
class Order:
    """Typed input."""

    customer: str
    quantities: list[int]


@dataclass(frozen=True)
class Money:
    """A type that is registered."""

    amount: Decimal
    currency: str

    def to_data(self) -> dict[str, Any]:
        return {"amount": self.amount, "currency": self.currency}

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> Money:
        return cls(data["amount"], data["currency"])


class Declined(LookupError):
    """An error of the application."""


def note_process(ctx: Ctx | SyncCtx, name: str = "pid") -> None:
    """Leave this process's number where the test finds it."""
    path = Path(ctx.params["directory"], name)
    path.with_suffix(".new").write_text(str(os.getpid()))
    path.with_suffix(".new").rename(path)


async def number(ctx: Ctx) -> int:
    return os.getpid()


def plain_number(ctx: SyncCtx) -> int:
    return os.getpid()


class NumberOfClass(Node[Any, int]):
    async def exec(self, ctx: Ctx, prepared: Any) -> int:
        return os.getpid()


async def about(ctx: Ctx) -> dict[str, Any]:
    assert ctx.deadline is not None
    return {
        "input": ctx.input,
        "params": dict(ctx.params),
        "ids": [ctx.run_id, ctx.blueprint_id, ctx.node_id, ctx.idempotency_key],
        "counts": [ctx.iteration, ctx.attempt, ctx.max_attempts],
        "deadline": (ctx.deadline - datetime.now(UTC)).total_seconds(),
        "cancelled": bool(ctx.cancelled),
    }


def plain_about(ctx: SyncCtx) -> dict[str, Any]:
    return {"ids": [ctx.run_id, ctx.blueprint_id, ctx.node_id, ctx.idempotency_key]}


@node
async def typed(ctx: NodeContext[Order]) -> Order:
    return Order(ctx.input.customer.upper(), [sum(ctx.input.quantities)])


def pay(ctx: SyncNodeContext[Money]) -> Money:
    assert isinstance(ctx.input, Money)
    return Money(ctx.input.amount * 2, ctx.input.currency)


async def values(ctx: Ctx) -> Any:
    given = await ctx.context.get("given")
    return {"given": given, "again": ctx.input}


async def context(ctx: Ctx) -> dict[str, Any]:
    before = await ctx.context.get("key"), await ctx.context.has("none")
    await asyncio.gather(ctx.context.set("key", "new"), ctx.context.add("count", 2))
    gone = await ctx.context.delete("old"), await ctx.context.delete("none")
    after = await ctx.context.get("key"), await ctx.context.get("old", "no"), ctx.input
    everything = await ctx.context.to_dict()
    return {
        "before": before,
        "gone": gone,
        "after": after,
        "everything": sorted(key for key in everything if not key.startswith("_")),
        "count": everything["count"],
    }


def plain_context(ctx: SyncCtx) -> dict[str, Any]:
    before = ctx.context.get("key"), ctx.context.has("none")
    ctx.context.set("plain", ctx.context.to_dict()["key"])
    ctx.context.add("count", 3)
    return {"before": before, "count": ctx.context.get("count")}


async def look_twice(ctx: Ctx) -> list[Any]:
    first = await ctx.context.get("shared")
    Path(ctx.params["directory"], "looked").touch()
    while not Path(ctx.params["directory"], "written").exists():
        await asyncio.sleep(0.01)
    return [first, await ctx.context.get("shared"), await ctx.context.get("other")]


async def write_and_fail(ctx: Ctx) -> NoReturn:
    await ctx.context.set("left", "behind")
    raise Declined("no")


def engine_key(ctx: SyncCtx) -> None:
    ctx.context.set("_mine", 1)


def route(ctx: SyncCtx) -> NodeResult[str]:
    return NodeResult("chosen", action="left")


def result_error(ctx: SyncCtx) -> NodeResult[Any]:
    return NodeResult(error=ValueError("as a result"))


def plan(ctx: SyncCtx) -> NodeResult[Any]:
    extra = [{"id": f"part-{n}", "uses": "number"} for n in range(2)]
    return NodeResult({"gatherNodeId": "collect"}, dynamic_nodes=extra)


def attempts(ctx: SyncCtx) -> list[int]:
    if ctx.attempt < 3:
        raise Declined(f"attempt {ctx.attempt}")
    return [ctx.attempt, ctx.max_attempts]


def fail_with_cause(ctx: SyncCtx) -> NoReturn:
    try:
        raise KeyError("inner")
    except KeyError as error:
        raise Declined("outer") from error


async def fail_group(ctx: Ctx) -> NoReturn:
    raise ExceptionGroup("several", [Declined("one"), FlowcraftError("two", is_fatal=True)])


def fatal(ctx: SyncCtx) -> NoReturn:
    raise FlowcraftError("no use", is_fatal=True)


def leave(ctx: SyncCtx) -> NoReturn:
    sys.exit(3)


async def cancel_itself(ctx: Ctx) -> NoReturn:
    raise asyncio.CancelledError


def odd_output(ctx: SyncCtx) -> Any:
    return {"connection": object()}


def large(ctx: SyncCtx) -> str:
    return "ä" * 5_000_000


def noisy(ctx: SyncCtx) -> str:
    print('{"is": "done"}')
    os.write(1, b"raw\n")
    subprocess.run(["echo", "from a command"], check=True)
    return "read nothing: " + repr(sys.stdin.read())


def logs(ctx: SyncCtx) -> None:
    ctx.logger.warning("seen %s", "here", extra={"order": 7, "odd": {1}})
    logging.getLogger("shop").info("also seen")
    logging.getLogger("shop.quiet").debug("not seen")


async def beats(ctx: Ctx) -> None:
    await ctx.heartbeat(0.5, {"step": Decimal(2)})
    with suppress(Exception):
        await ctx.heartbeat(1.0, object())


def plain_beats(ctx: SyncCtx) -> None:
    ctx.heartbeat(0.25)


async def wants_dependency(ctx: Ctx) -> Any:
    return ctx.dependency(Order)


def with_partial(ctx: SyncCtx, factor: int, *, unit: str = "") -> str:
    return f"{ctx.input * factor}{unit}"


class WithArguments(Node[Any, Any]):
    def __init__(self, name: str) -> None:
        self.name = name

    def exec(self, ctx: Any, prepared: Any) -> Any:
        return self.name


def fork(ctx: SyncCtx) -> int:
    """A process that is forked, and goes on when the node is done."""
    worker = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    worker.start()
    assert worker.pid is not None
    Path(ctx.params["directory"], "grandchild").write_text(str(worker.pid))
    os._exit(0)


def start_command(ctx: SyncCtx) -> int:
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]).pid


# Dying --------------------------------------------------------------------------------------


def exit_at_once(ctx: SyncCtx) -> NoReturn:
    os._exit(7)


async def kill_itself(ctx: Ctx) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def crash(ctx: SyncCtx) -> None:
    ctypes.string_at(0)


def die_once(ctx: SyncCtx) -> int:
    if ctx.attempt == 1:
        os._exit(1)
    return ctx.attempt


# Being killed -------------------------------------------------------------------------------


def spin(ctx: SyncCtx) -> NoReturn:
    note_process(ctx)
    while True:
        pass


async def spin_async(ctx: Ctx) -> NoReturn:
    note_process(ctx)
    while True:
        pass


def spin_deaf(ctx: SyncCtx) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    note_process(ctx)
    while True:
        pass


def clean_up(ctx: SyncCtx) -> NoReturn:
    note_process(ctx)
    try:
        while True:
            time.sleep(0.01)
    finally:
        Path(ctx.params["directory"], "cleaned").write_text(str(bool(ctx.cancelled)))


async def clean_up_async(ctx: Ctx) -> NoReturn:
    note_process(ctx)
    try:
        while True:
            await asyncio.sleep(0.01)
    finally:
        Path(ctx.params["directory"], "cleaned").write_text(str(bool(ctx.cancelled)))


def slow_to_end(ctx: SyncCtx) -> str:
    atexit.register(time.sleep, 60)
    note_process(ctx)
    return "done"


# Classes ------------------------------------------------------------------------------------


class Steps(Node[Any, Any]):
    """Writes down its steps."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    async def prep(self, ctx: Ctx) -> Any:
        self.steps.append(f"prep {ctx.attempt}")
        await ctx.context.set("prepared", ctx.attempt)
        return partial(int, "7")  # nothing that could leave the process

    def exec(self, ctx: Any, prepared: Any) -> Any:
        self.steps.append(f"exec {ctx.attempt}")
        ctx.context.set("tried", ctx.attempt)
        if ctx.params.get("fail"):
            raise Declined("exec")
        return prepared()

    async def fallback(self, ctx: Ctx, error: BaseException) -> Any:
        self.steps.append(f"fallback {type(error).__name__}")
        return type(error).__name__

    async def post(self, ctx: Ctx, result: Any) -> NodeResult[Any]:
        return NodeResult({"steps": self.steps, "result": result}, action="next")


class Killed(Steps):
    """Its ``exec`` takes the process with it, or all of the time."""

    def exec(self, ctx: Any, prepared: Any) -> Any:
        ctx.context.set("tried", ctx.attempt)
        if ctx.params.get("spin"):
            spin(ctx)
        os._exit(5)


class Recovering(Node[Any, Any]):
    """Fails in ``post``, or dies in ``exec``."""

    def exec(self, ctx: Any, prepared: Any) -> Any:
        if ctx.params.get("die"):
            os._exit(5)

    async def post(self, ctx: Ctx, result: Any) -> NoReturn:
        raise Declined("post")

    async def recover(self, ctx: Ctx, error: BaseException) -> None:
        Path(ctx.params["directory"], "recovered").write_text(f"{type(error).__name__}: {error}")


async def blobs_async(ctx: NodeContext[Any]) -> dict[str, Any]:
    """Keep and read files, and try a reference that is none."""

    async def pieces() -> AsyncIterator[bytes]:
        yield b"made there, "
        yield b"in pieces"

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "file")
        path.write_bytes(b"at a path")
        kept = await ctx.blobs.put("path", path)
        saved = await ctx.blobs.save_to(ctx.input, Path(directory, "saved"))
        assert saved.read_bytes() == await ctx.blobs.get(ctx.input)
    try:
        await ctx.blobs.get({"blob": "no"})
    except FlowcraftError as error:
        refused = error.message
    made = await ctx.blobs.put("made", pieces())
    read = b"".join([piece async for piece in ctx.blobs.open(ctx.input)]).decode()
    return {"read": read, "made": made, "path": kept, "refused": refused}


def blobs_plain(ctx: SyncNodeContext[Any]) -> dict[str, Any]:
    """The same, as a plain function."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "file")
        path.write_bytes(b"at a path")
        kept = ctx.blobs.put("path", path)
        saved = ctx.blobs.save_to(ctx.input, Path(directory, "saved"))
        assert saved.read_bytes() == ctx.blobs.get(ctx.input)
    try:
        ctx.blobs.get({"blob": "no"})
    except FlowcraftError as error:
        refused = error.message
    made = ctx.blobs.put("made", [b"made there, ", b"in pieces"])
    read = b"".join(ctx.blobs.open(ctx.input)).decode()
    return {"read": read, "made": made, "path": kept, "refused": refused}


async def asks_for_a_link(ctx: Ctx) -> dict[str, str]:
    """The link of a wait, and what is said of one that is none."""
    refused = ""
    try:
        await ctx.answer_url("nowhere")
    except FlowcraftError as error:
        refused = str(error)
    return {"url": await ctx.answer_url("w", action="yes"), "refused": refused}
