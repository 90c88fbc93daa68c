"""Executing a class node: its steps, of which only ``exec`` is repeated."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any

from flowcraft.core.commands import RunItem, RunNode
from flowcraft.core.retries import may_retry
from flowcraft.engine.failures import error_info, is_fatal, is_retryable

if TYPE_CHECKING:
    from flowcraft.engine.attempt import Attempt
    from flowcraft.engine.context import BaseNodeContext
    from flowcraft.engine.nodes import Implementation


_STOPS = (asyncio.CancelledError, KeyboardInterrupt, GeneratorExit)
"""What ends more than the node; all else that is raised is an error of it, ``SystemExit`` too."""


class Held:
    """A class node between two attempts of its ``exec``: what ``prep`` made stays in hand.

    ``writes`` is the number of context writes of ``prep``, or ``None`` before it has run;
    ``plain_steps`` are those that are called in a thread.
    """

    __slots__ = ("ctx", "instance", "plain_steps", "prepared", "writes")

    def __init__(
        self, instance: Any, ctx: BaseNodeContext[Any], plain_steps: frozenset[str]
    ) -> None:
        self.instance = instance
        self.ctx = ctx
        self.plain_steps = plain_steps
        self.prepared: Any = None
        self.writes: int | None = None


async def run_class(
    attempt: Attempt,
    implementation: Implementation,
    ctx: BaseNodeContext[Any],
    held: Held | None,
) -> Any:
    """Run the steps of an attempt and give what ``post`` returns.

    An error after which ``exec`` is tried again leaves the node held for the next attempt. Any
    other is told to ``recover`` and is final: ``attempt.retryable`` is cleared.
    """
    held = held or Held(implementation.call(), ctx, implementation.plain_steps)
    try:
        if held.writes is None:
            held.prepared = await _step(attempt, held, "prep")
            held.writes = len(ctx._commit())
        result = await _exec_or_fallback(attempt, held)
        return await _step(attempt, held, "post", result)
    except _STOPS:
        raise
    except BaseException as error:
        if attempt.command_key not in attempt.run.held:
            attempt.retryable = False
            await _recover(attempt, held, error)
        raise


async def _exec_or_fallback(attempt: Attempt, held: Held) -> Any:
    try:
        return await _step(attempt, held, "exec", held.prepared)
    except _STOPS:
        raise
    except BaseException as error:
        # What a failed attempt wrote leaves no trace (S8).
        held.ctx._roll_back(held.writes or 0)
        if _will_retry(attempt, error):
            attempt.run.held[attempt.command_key] = held
            raise
        if is_fatal(error):
            raise
        return await _step(attempt, held, "fallback", error)


def _will_retry(attempt: Attempt, error: BaseException) -> bool:
    """Whether the decision core will ask for another attempt after this error."""
    if not is_retryable(error) or attempt.run.state.stopping is not None:
        return False
    config, command = attempt.node.definition.config, attempt.command
    return may_retry(config, command.attempt, error_info(error), _lost_before(attempt))


def _lost_before(attempt: Attempt) -> int:
    state, command = attempt.run.state, attempt.command
    if isinstance(command, RunNode):
        return state.records[command.key].lost
    if isinstance(command, RunItem):
        item = state.items.get((command.key, command.item))
        return item.lost if item is not None else 0
    return 0


async def _step(attempt: Attempt, held: Held, name: str, *arguments: Any) -> Any:
    """Call a step; one that takes too long fails with ``NodeTimeout``, like any other error."""
    try:
        result = await _call(attempt, held, name, *arguments)
    except asyncio.CancelledError:
        if attempt.stop_reason == "timeout":
            raise attempt.forgive_timeout() from None
        if attempt.is_stopped:
            raise
        raise attempt.cancelled_itself() from None
    except _STOPS:
        raise
    except BaseException as error:
        if attempt.stop_reason == "timeout":
            raise attempt.forgive_timeout() from error
        raise
    if attempt.is_late:
        raise attempt.forgive_timeout()
    return result


async def _call(attempt: Attempt, held: Held, name: str, *arguments: Any) -> Any:
    method, ctx = getattr(held.instance, name), held.ctx
    if name not in held.plain_steps:
        result = method(ctx, *arguments)
    else:
        twin = ctx._for_thread()
        result = await attempt.run.host.threads.call(method, twin, *arguments)
        ctx._take_over(twin)
    return await result if inspect.isawaitable(result) else result


async def _recover(attempt: Attempt, held: Held, error: BaseException) -> None:
    try:
        await _call(attempt, held, "recover", error)
    except _STOPS:
        raise
    except BaseException:
        # With a codec what a node raises is nobody's to read.
        is_told = not attempt.run.host.is_coded
        text = "'recover' of node '%s' raised"
        held.ctx.logger.error(text, held.ctx.node_id, exc_info=is_told)
