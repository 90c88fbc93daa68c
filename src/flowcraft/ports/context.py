"""The context of a run, as whoever reads and writes it needs to know it."""

from __future__ import annotations

from typing import Any, Protocol


class AsyncContext(Protocol):
    """The shared values of a run by key: what ``ctx.context`` of an async node is.

    Values handed out are copies. When a write becomes visible is for the implementation to say:
    that of a node does so together with its output, or not at all (rule S8).
    """

    async def get(self, key: str, default: Any = None) -> Any:
        """The value of ``key``, or ``default``."""

    async def has(self, key: str) -> bool:
        """Whether ``key`` has a value (``None`` is one)."""
        ...

    async def set(self, key: str, value: Any) -> None:
        """Write a key.

        Raises:
            SerializationError: The value cannot be stored.
        """

    async def delete(self, key: str) -> bool:
        """Remove a key; whether it was there."""
        ...

    async def add(self, key: str, by: int | float = 1) -> None:
        """Add ``by`` to a number; parallel writers lose nothing."""

    async def to_dict(self) -> dict[str, Any]:
        """A copy of everything, engine keys included."""
        ...
