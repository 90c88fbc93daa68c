"""A task whose first turn is taken at once, by whoever makes it.

A task waits for its first turn until the event loop gets to it, and whoever waits for what it
does waits for another turn of the loop. A run of a few nodes that wait for nothing costs more
in such turns than in nodes. Python 3.12 has eager tasks for this; here a task is made as ever,
and the call that it asks the loop for is made at once, with what asyncio offers to those who
write tasks of their own ("Extending", in its documentation).
"""

from __future__ import annotations

import asyncio
import threading
from asyncio import tasks
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any

DEEPEST = 8
"""Tasks begun within one another; further ones wait for their turn, for the sake of the stack."""


class _Depth(threading.local):
    value = 0


_depth = _Depth()


def begin_task(
    coroutine: Coroutine[Any, Any, None],
    loop: asyncio.AbstractEventLoop,
    context: Context,
    made: Callable[[asyncio.Task[None]], object],
) -> None:
    """Make a task for a coroutine and take its first turn.

    Args:
        coroutine: What the task runs. An error before its first wait is raised here.
        loop: The running event loop.
        context: The task's context variables.
        made: Called with the task before it begins.
    """
    caller = asyncio.current_task(loop)
    if caller is None or _depth.value >= DEEPEST or loop.get_task_factory() is not None:
        # A factory may wrap the coroutine, or begin it at once by itself: then it is over by now.
        task = loop.create_task(coroutine, context=context)
        if not task.done():
            made(task)
        return
    task, turn = _task_and_turn(coroutine, loop, context)
    made(task)
    if turn is None:
        return
    _depth.value += 1
    tasks._leave_task(loop, caller)
    try:
        context.run(turn)
    finally:
        tasks._enter_task(loop, caller)
        _depth.value -= 1
        # Looked at also where it is raised already, or the task complains that nobody did.
        error = task.exception() if task.done() and not task.cancelled() else None
    if error is not None:
        raise error


def _task_and_turn(
    coroutine: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop, context: Context
) -> tuple[asyncio.Task[None], Callable[[], object] | None]:
    """A task, and its first turn; ``None`` where the loop is going to take that."""
    turn: Callable[[], object] | None = None

    def keep(callback: Callable[[], object], *, context: Context) -> None:
        nonlocal turn
        del context  # the one that was given
        turn = callback

    try:
        loop.call_soon = keep  # type: ignore[method-assign, assignment]
    except AttributeError:
        # It is closed to that: the loop gets to the task when it gets to it.
        return loop.create_task(coroutine, context=context), None
    try:
        task = asyncio.Task(coroutine, loop=loop, context=context)
    finally:
        del loop.call_soon
    return task, turn
