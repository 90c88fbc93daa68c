"""Numbers as people read them."""

from __future__ import annotations

from typing import Final

_UNITS: Final = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))


def counted(count: int, noun: str, plural: str = "") -> str:
    """A number of things: ``1 run``, ``2 runs``."""
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def span(seconds: float) -> str:
    """A length of time, to the unit that tells enough: ``4 days``, ``90 minutes``."""
    for size, noun in _UNITS:
        if seconds >= 2 * size or (seconds >= size and seconds % size == 0):
            return counted(round(seconds / size), noun)
    return f"{seconds:.3g} seconds"


def size(count: float) -> str:
    """A number of bytes."""
    for unit in ("bytes", "KB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def few(names: list[str], most: int = 3) -> str:
    """Some names of many."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


def short(text: str, most: int = 200) -> str:
    """The first line of what somebody else says, and not all of a long one."""
    line = text.strip().partition("\n")[0]
    return line if len(line) <= most else f"{line[: most - 1]}…"
