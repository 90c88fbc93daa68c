"""Texts by key: blueprints as runs were started with them, and whatever is too large elsewhere."""

from __future__ import annotations

from typing import Protocol


class BlobStore(Protocol):
    """Texts by key."""

    async def put(self, key: str, text: str, *, replace: bool = False) -> None:
        """Keep a text; one that is there already stays, unless it is to be replaced."""

    async def get(self, key: str) -> str | None:
        """The text kept under a key, or ``None``."""

    async def delete(self, key: str) -> None:
        """Forget a text; one that is not there is no error."""
