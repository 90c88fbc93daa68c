"""What processes agree on beside the runs: locks, counters, marks that expire.

No run depends on it: whatever is kept here may be lost, and then something is done once more, or
a little later. So it may live in a place of its own.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Swapped(NamedTuple):
    """What became of a text that was to be exchanged for another.

    Attributes:
        done: Whether it was.
        value: What is there now: text, number of a counter, or ``None`` for nothing.
    """

    done: bool
    value: str | int | None


class CoordinationStore(Protocol):
    """Texts and counters by key, each until it expires.

    Every call is one atomic step. An item that has expired counts as absent, whether or not it is
    still stored; the time is the store's, never the caller's. ``ttl_seconds`` is how long from
    now on an item lives, more than 0; ``None`` is for ever.

    **A text names its owner.** Who sets a text of its own, made anew each time, holds the key until
    it expires, and is the only one who can prolong or delete it. An owner whose item has expired is
    one no longer, also if nobody else has taken the key: it has to set it again.
    """

    async def increment(self, key: str, by: int = 1, *, ttl_seconds: float | None = None) -> int:
        """Add to a counter, which begins at 0; gives its new number.

        With ``ttl_seconds`` the counter expires that long after this call; without, it keeps its
        time. To count per hour, name the hour in the key.

        Raises:
            ValueError: The key holds a text.
        """
        ...

    async def set_if_not_exist(
        self, key: str, value: str, *, ttl_seconds: float | None = None
    ) -> bool:
        """Set a text where there is neither text nor counter; whether it was set."""
        ...

    async def extend_ttl(self, key: str, value: str, ttl_seconds: float) -> bool:
        """Let a text live for so long from now on, if it is this one; whether it was."""
        ...

    async def delete(self, key: str, value: str | None = None) -> bool:
        """Forget a key, with ``value`` only if it holds this text; whether there was something."""
        ...

    async def get(self, key: str) -> str | int | None:
        """The text, or the number of a counter; ``None`` where there is nothing."""

    async def swap(
        self, key: str, expected: str | None, value: str | None, *, ttl_seconds: float | None = None
    ) -> Swapped:
        """Exchange a text for another, if it is the one that the caller knows.

        What several processes change together is kept as one text: each works out the next one
        from the one it knows, and begins anew with the one that it is told of otherwise. Where a
        text may come back, put something into it that never does.

        Args:
            key: The key.
            expected: The text that has to be there; ``None``: neither text nor counter.
            value: The text to put in its place; ``None`` to forget the key.
            ttl_seconds: How long from now on the new text lives; ``None`` is for ever.

        Returns:
            Whether it was exchanged, and what is there now.
        """
        ...
