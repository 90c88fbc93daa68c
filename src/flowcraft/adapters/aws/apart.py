"""What takes its time is done in a thread, so that others have their turn meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar

T = TypeVar("T")

IN_THREAD_BYTES: Final = 1024 * 1024
"""What is smaller is compressed in the event loop, within some ten milliseconds."""


async def apart(size: int, work: Callable[[], T]) -> T:
    """Do something about so many bytes: in a thread, if they are many."""
    return work() if size < IN_THREAD_BYTES else await asyncio.to_thread(work)
