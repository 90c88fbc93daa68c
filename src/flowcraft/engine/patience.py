"""Trying again where a queue or store has trouble that passes.

A database that is locked for a moment must not cost an attempt that has done its work: the call
is repeated, with growing pauses, for as long as the lease lasts. What goes on for longer leaves
the message to be delivered again.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from flowcraft.errors import StorageError
from flowcraft.ports.clock import Clock

logger = logging.getLogger("flowcraft.worker")

FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 2.0


class Patient:
    """A port whose calls are repeated while its trouble may pass.

    Args:
        port: The queue or store.
        clock: The time.
        sleep_until: Waits for a time.
        seconds: How long to go on trying.
        tell: Is told the name of each call that is repeated.
    """

    def __init__(
        self,
        port: Any,
        clock: Clock,
        sleep_until: Callable[[float], Awaitable[None]],
        seconds: float,
        tell: Callable[[str], None],
    ) -> None:
        self._port = port
        self._clock = clock
        self._sleep_until = sleep_until
        self._seconds = seconds
        self._tell = tell

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._port, name)
        if not callable(value) or not inspect.iscoroutinefunction(value):
            return value

        async def call(*arguments: Any, **options: Any) -> Any:
            try:
                return await value(*arguments, **options)
            except StorageError as error:
                if not may_pass(error):
                    raise
                return await self._again(name, lambda: value(*arguments, **options), error)

        self.__dict__[name] = call
        return call

    async def _again(
        self, name: str, call: Callable[[], Awaitable[Any]], error: StorageError
    ) -> Any:
        end = self._clock.now() + self._seconds
        pause = FIRST_PAUSE_SECONDS
        while self._clock.now() + pause < end:
            logger.warning("'%s' is tried again in %g s: %s", name, pause, error)
            self._tell(name)
            await self._sleep_until(self._clock.now() + pause)
            try:
                return await call()
            except StorageError as again:
                if not may_pass(again):
                    raise
                error = again
            pause = min(LONGEST_PAUSE_SECONDS, 2 * pause)
        raise error


def may_pass(error: StorageError) -> bool:
    """Whether the same call may succeed another time."""
    return error.disposition == "retry" and not error.is_fatal
