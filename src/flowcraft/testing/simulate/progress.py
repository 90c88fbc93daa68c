"""How far many runs have come, on a terminal."""

from __future__ import annotations

from typing import TextIO

from flowcraft.adapters.system import SystemClock
from flowcraft.testing.simulate.campaign import Report

AGAIN_SECONDS = 0.2
CLEAR = "\r\x1b[K"


class Progress:
    """A line that is written over again and again; nothing where there is no terminal.

    Args:
        stream: Where it is written.
        total: How many runs there will be; ``None`` if nobody knows.
    """

    def __init__(self, stream: TextIO, total: int | None) -> None:
        self._stream = stream
        self._of_all = "" if total is None else f" of {total}"
        self._is_shown = stream.isatty()
        self._clock = SystemClock()
        self._next_at = 0.0
        self._is_there = False

    def show(self, report: Report) -> None:
        """Say how many runs there were so far, unless that was said just now."""
        if not self._is_shown or (now := self._clock.now()) < self._next_at:
            return
        self._next_at = now + AGAIN_SECONDS
        self._is_there = True
        text = f"{report.runs}{self._of_all} runs, {report.violated} violations"
        self._stream.write(f"{CLEAR}{text}")
        self._stream.flush()

    def clear(self) -> None:
        """Take the line away, so that something else can be written."""
        if self._is_there:
            self._is_there = False
            self._stream.write(CLEAR)
            self._stream.flush()
