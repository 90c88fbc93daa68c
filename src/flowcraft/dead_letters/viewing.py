"""One look through a box: what it receives is hidden meanwhile, and visible again afterwards."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Final, Self

from flowcraft.errors import StorageError
from flowcraft.ports.clock import Clock
from flowcraft.ports.letters import LetterBox, RawLetter

logger = logging.getLogger("flowcraft")

WAIT_SECONDS: Final = 1
"""How long one receive waits. Any wait makes SQS ask all of its servers instead of some."""

FRUITLESS: Final = 3
"""After so many receives that bring nothing new, there is nothing more."""

RENEW_SHARE: Final = 0.5
"""After this share of the time that letters are hidden for, they are hidden anew."""


class Viewing:
    """Receives the letters of a box, each once, as ``async with``.

    What was received is hidden from others until the end, so that it does not come again and
    again in the place of what has not come yet. However the block is left, Ctrl-C included, what
    is still there is made visible. A process that is killed cannot do so: then letters come back
    by themselves, a minute after they were last hidden.

    Args:
        box: The box.
        clock: The time.
        expected: About how many letters there are to receive.
    """

    def __init__(self, box: LetterBox, clock: Clock, expected: int) -> None:
        self._box = box
        self._clock = clock
        self._expected = expected
        self._held: dict[str, str] = {}
        self._gone: set[str] = set()
        self._fruitless = 0
        self._renew_at: float | None = None
        self._poll: asyncio.Future[Sequence[RawLetter]] | None = None
        self._again: list[RawLetter] = []

    @property
    def seen(self) -> int:
        """How many letters have come, those included that are gone since."""
        return len(self._held.keys() | self._gone)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            await self._take_in()
            await self._box.release(tuple(self._held.values()))
        except StorageError as trouble:
            logger.warning("Dead letters stay hidden for a minute yet: %s", trouble)

    async def _take_in(self) -> None:
        """Wait for a receive that was broken off: what it brings would stay hidden."""
        if self._poll is None:
            return
        await asyncio.wait([self._poll])
        if self._poll.cancelled() or self._poll.exception() is not None:
            return  # it brought nothing
        for letter in self._poll.result():
            if letter.id not in self._gone:
                self._held[letter.id] = letter.handle

    async def more(self, limit: int) -> list[RawLetter]:
        """Letters that have not come before, at most so many; none at the end."""
        while limit > 0 and not self._is_at_end():
            await self._renew()
            new = self._new(await self._receive(limit))
            if new:
                self._fruitless = 0
                return new
            self._fruitless += 1
        return []

    def _is_at_end(self) -> bool:
        if self._fruitless >= FRUITLESS:
            return True
        # SQS counts approximately: that it has counted no more is reason enough for one look less.
        return self._fruitless > 0 and self.seen >= self._expected

    async def _receive(self, limit: int) -> Sequence[RawLetter]:
        self._poll = asyncio.ensure_future(self._box.receive(limit, WAIT_SECONDS))
        received = await asyncio.shield(self._poll)
        self._poll = None
        return received

    def _new(self, received: Sequence[RawLetter]) -> list[RawLetter]:
        new: dict[str, RawLetter] = {}
        for letter in received:
            if letter.id in self._gone:
                self._again.append(letter)
                continue
            if letter.id not in self._held:
                new[letter.id] = letter
            self._held[letter.id] = letter.handle  # the latest handle is the one that is good
        return list(new.values())

    async def _renew(self) -> None:
        """Go on hiding what has come, before it comes again."""
        now = self._clock.now()
        if self._renew_at is not None and now < self._renew_at:
            return
        seconds = await self._box.hold(tuple(self._held.values()))
        self._renew_at = now + seconds * RENEW_SHARE

    def take_again(self) -> list[RawLetter]:
        """Copies that came of letters that are gone: all there is to do is to delete them."""
        again, self._again = self._again, []
        return again

    def forget(self, ids: Iterable[str]) -> None:
        """These letters are gone for good."""
        for id_ in ids:
            self._held.pop(id_, None)
            self._gone.add(id_)
