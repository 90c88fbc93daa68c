"""Nodes and a frame for the workflows of the zoo."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from flowcraft.core.builder import FlowBuilder
from flowcraft.core.limits import Limit
from flowcraft.engine.runtime import FlowRuntime, Runnable
from flowcraft.ports.codec import AnyCodec
from flowcraft.testing.simulate.story import Check, Role, Story

_NUMBERS = itertools.count(1)


def node(result: Any = None) -> Callable[[Any], Any]:
    """A node that gives a result: a value, or what a function makes of the node's context."""

    async def body(ctx: Any) -> Any:
        return result(ctx) if callable(result) else result

    # A key of its own in the registry.
    body.__qualname__ = f"zoo_{next(_NUMBERS)}"
    return body


def passed_on(ctx: Any) -> Any:
    """The input."""
    return ctx.input


def story(
    name: str,
    build: Callable[[], FlowBuilder],
    *,
    context: Mapping[str, Any] | None = None,
    people: tuple[Role, ...] = (),
    answers: Mapping[str, Any] | None = None,
    is_settled: bool = True,
    statuses: tuple[str, ...] = ("completed",),
    shard_items: int = 500,
    check: Check | None = None,
    limits: Mapping[str, Limit] | None = None,
    codec: Callable[[str], AnyCodec] | None = None,
    is_deleted: bool = False,
    starts: int = 1,
    new_process: Callable[..., Any] | None = None,
) -> Story:
    """A story about a flow whose nodes keep nothing, so that it is built once."""

    @cache
    def built() -> tuple[FlowRuntime, Runnable]:
        flow = build()
        return FlowRuntime(flows=[flow], limits=limits), flow.to_blueprint()

    return Story(
        name,
        built,
        context or {},
        people,
        answers or {},
        is_settled,
        statuses,
        shard_items,
        check,
        codec=codec,
        is_deleted=is_deleted,
        starts=starts,
        new_process=new_process,
    )
