"""Running flows in tests: with a check that nothing is left behind, and a record of events."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Mapping
from typing import Any, TypeVar

from flowcraft import FlowEvent, FlowRuntime, NodeContext, RunResult, SyncNodeContext
from flowcraft.engine.runtime import Runnable

T = TypeVar("T")
Ctx = NodeContext[Any]
SyncCtx = SyncNodeContext[Any]

PATIENCE_SECONDS = 60.0
"""How long a test may take before it is taken for one that hangs."""


def drive(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in a fresh event loop; no task may be left when it ends."""

    async def checked() -> T:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await work
        finally:
            await asyncio.sleep(0)
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not left, f"tasks are left behind: {left}"

    return asyncio.run(checked())


def run(
    flow: Runnable,
    context: Mapping[str, Any] | str | None = None,
    *,
    runtime: FlowRuntime | None = None,
    **options: Any,
) -> RunResult:
    """Run a flow in a loop of its own, and see that no task is left."""
    return drive((runtime or FlowRuntime()).run(flow, context, **options))


class Events(list[FlowEvent]):
    """A listener that keeps what it is told."""

    def __call__(self, event: FlowEvent) -> None:
        self.append(event)

    def names(self, *nodes: str, kinds: Iterable[str] = ()) -> list[str]:
        """``type node`` of each event, of some nodes or kinds only where they are given."""
        wanted = tuple(kinds)
        return [
            f"{event.type} {event.node_id}" if event.node_id else event.type
            for event in self
            if (not nodes or event.node_id in nodes) and (not wanted or event.type in wanted)
        ]

    def of(self, kind: str) -> list[FlowEvent]:
        """The events of one type."""
        return [event for event in self if event.type == kind]


async def one(ctx: Ctx) -> int:
    """A node that gives 1."""
    return 1


async def echo(ctx: Ctx) -> Any:
    """A node that gives its input."""
    return ctx.input


async def turns(count: int = 5) -> None:
    """Let the event loop turn a few times."""
    for _ in range(count):
        await asyncio.sleep(0)
