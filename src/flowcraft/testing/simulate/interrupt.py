"""Ctrl-C while many runs are played: the present one comes to its end, and nothing else begins."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from multiprocessing.sharedctypes import RawValue
from typing import Any, TypeVar

from flowcraft.adapters.system import SystemClock
from flowcraft.testing.simulate.backends import NewBackend

T = TypeVar("T")

INTERRUPTED = 130
"""The exit status of a command that was ended by Ctrl-C."""

ONCE_SECONDS = 0.5
"""Signals that are no further apart are one: some commands pass on what came already."""


class Stop:
    """Whether nothing more is to begin; processes that are given it see the same.

    Args:
        value: Where that is kept, of another one; in a place of its own by default.
    """

    def __init__(self, value: Any = None) -> None:
        # No lock: it is set while anything else may be going on in this thread.
        self.value: Any = RawValue("b", 0) if value is None else value

    @property
    def is_set(self) -> bool:
        """Whether it is so."""
        return bool(self.value.value)

    def set(self) -> None:
        """Have nothing more begin."""
        self.value.value = 1

    def until(self, things: Iterable[T]) -> Iterator[T]:
        """Things, as long as they may begin."""
        try:
            for each in things:
                if self.is_set:
                    return
                yield each
        except KeyboardInterrupt:
            if not self.is_set:
                raise

    def before(self, new_backend: NewBackend) -> Callable[..., Any]:
        """The same backend, but for no run that would begin later.

        Runs are also played to find out which ones there could be; :meth:`until` ends then.
        """

        def made(*arguments: Any, **options: Any) -> Any:
            if self.is_set:
                raise KeyboardInterrupt
            return new_backend(*arguments, **options)

        return made


@contextmanager
def noticing(stop: Stop) -> Iterator[None]:
    """Set it at the first Ctrl-C; the second one ends the process at once."""
    clock = SystemClock()
    first_at = math.inf

    def notice(*_: Any) -> None:
        nonlocal first_at
        if clock.now() > first_at + ONCE_SECONDS:
            os._exit(INTERRUPTED)
        first_at = min(first_at, clock.now())
        stop.set()

    try:
        before = signal.signal(signal.SIGINT, notice)
    except ValueError:
        # Not in the main thread: then it is for somebody else to notice.
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def unnoticed() -> Iterator[None]:
    """Hold signals back: a process that is started meanwhile begins without them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
