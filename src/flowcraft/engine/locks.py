"""A lock in the coordination store: held by one at a time, and lost by whoever is late."""

from __future__ import annotations

from flowcraft.ports.clock import Clock, Identifiers
from flowcraft.ports.coordination import CoordinationStore


class Lock:
    """The right to do something that one is to do at a time.

    It is a right for a time only: whoever holds it and is held up may find that another has it
    meanwhile. So what is done under it must do no harm if two do it.

    Args:
        store: Where it is.
        key: Its name.
        seconds: How long it is held unless it is prolonged.
        clock: Says when it is to be prolonged.
        identifiers: Gives a fresh owner each time that it is taken.
    """

    def __init__(
        self,
        store: CoordinationStore,
        key: str,
        seconds: float,
        clock: Clock,
        identifiers: Identifiers,
    ) -> None:
        self._store = store
        self._key = key
        self._seconds = seconds
        self._clock = clock
        self._identifiers = identifiers
        self._owner: str | None = None
        self._since = 0.0

    async def take(self) -> bool:
        """Take it, or prolong it if it is held here; whether it is held now."""
        return await self._prolong() or await self._set()

    async def keep(self) -> bool:
        """Prolong it once a third of its time has passed; whether it is still held."""
        if self._owner is not None and self._clock.now() - self._since < self._seconds / 3:
            return True
        return await self._prolong()

    async def give_up(self) -> None:
        """Let others have it."""
        owner, self._owner = self._owner, None
        if owner is not None:
            await self._store.delete(self._key, owner)

    async def _set(self) -> bool:
        # The owner stays if the answer is lost: the next try finds out what became of it.
        self._owner = self._identifiers.new_run_id()
        self._since = self._clock.now()
        if not await self._store.set_if_not_exist(
            self._key, self._owner, ttl_seconds=self._seconds
        ):
            self._owner = None
        return self._owner is not None

    async def _prolong(self) -> bool:
        if self._owner is None:
            return False
        now = self._clock.now()
        if await self._store.extend_ttl(self._key, self._owner, self._seconds):
            self._since = now
            return True
        self._owner = None
        return False
