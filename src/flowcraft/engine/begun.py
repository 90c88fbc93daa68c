"""A task whose first turn is taken at once, by whoever makes it.

A task waits for its first turn until the event loop gets to it, and whoever waits for what it
does waits for another turn of the loop. A run of a few nodes that wait for nothing costs more
in such turns than in nodes. Python 3.12 has eager tasks for this; here the same is done with
what asyncio offers to those who write tasks of their own ("Extending", in its documentation).
"""

from __future__ import annotations

import asyncio
import threading
from asyncio import tasks
from collections.abc import Coroutine
from contextvars import Context
from typing import Any

DEEPEST = 8
"""Tasks begun within one another; further ones wait for their turn, for the sake of the stack."""


class _Depth(threading.local):
    value = 0


_depth = _Depth()


class _Begun(Coroutine[Any, Any, None]):
    """A coroutine that may have been begun before its task gets to it."""

    __slots__ = ("_coroutine", "_first", "_is_future", "_state")

    def __init__(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self._coroutine = coroutine
        self._first: Any = None
        self._is_future = False
        self._state = "new"

    def begin(self) -> None:
        """Run up to the first wait. What is raised goes to the caller, not to the task."""
        self._state = "over"
        try:
            self._first = self._coroutine.send(None)
        except StopIteration:
            return
        self._state = "waiting"
        # A future that is waited for is marked until the task has it; others may wait for the
        # same one meanwhile. A bare ``yield``, as in ``sleep(0)``, gives nothing.
        self._is_future = bool(getattr(self._first, "_asyncio_future_blocking", None))
        if self._is_future:
            self._first._asyncio_future_blocking = False

    def send(self, value: Any) -> Any:
        """Hand over what is waited for, where that is not known yet, or go on."""
        if self._state == "waiting":
            return self._hand_over()
        if self._state == "over":
            raise StopIteration
        return self._coroutine.send(value)

    def throw(self, *error: Any) -> Any:
        """Interrupt it; one that is over takes no notice."""
        if self._state == "over":
            raise StopIteration
        if self._state == "waiting":
            kind = error[0] if isinstance(error[0], type) else type(error[0])
            # As a task does: what is waited for is cancelled, and that is what is heard of.
            cancelled = self._is_future and issubclass(kind, asyncio.CancelledError)
            if cancelled and self._first.cancel():
                return self._hand_over()
            self._first = None
        self._state = "under way"
        return self._coroutine.throw(*error)

    def _hand_over(self) -> Any:
        self._state = "under way"
        first, self._first = self._first, None
        if self._is_future:
            first._asyncio_future_blocking = True
        return first

    def close(self) -> None:
        """End it."""
        self._coroutine.close()

    def __await__(self) -> Any:
        """Not needed: a task drives it by ``send`` and ``throw``."""
        raise NotImplementedError


def begin_task(
    coroutine: Coroutine[Any, Any, None],
    loop: asyncio.AbstractEventLoop,
    context: Context,
    made: Any,
) -> None:
    """Make a task for a coroutine and take its first turn.

    Args:
        coroutine: What the task runs. An error before its first wait is raised here.
        loop: The running event loop.
        context: The task's context variables.
        made: Called with the task before it begins.
    """
    if loop.get_task_factory() is not None:
        # It may wrap the coroutine, or begin it at once by itself: then it is over by now.
        task = loop.create_task(coroutine, context=context)
        if not task.done():
            made(task)
        return
    caller = asyncio.current_task(loop)
    begun = _Begun(coroutine)
    task = loop.create_task(begun, context=context)
    made(task)
    if caller is None or _depth.value >= DEEPEST:
        return
    _depth.value += 1
    try:
        tasks._leave_task(loop, caller)
        tasks._enter_task(loop, task)
        context.run(begun.begin)
    finally:
        # An interrupt may have come between any two of these.
        now = asyncio.current_task(loop)
        if now is not caller:
            if now is not None:
                tasks._leave_task(loop, now)
            tasks._enter_task(loop, caller)
        _depth.value -= 1
