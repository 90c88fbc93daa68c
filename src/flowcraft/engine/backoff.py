"""How often what a run has to do is sent again: less and less, as long as nothing happens.

A run that looks stuck may only be far back in a long queue. Each copy of its messages makes the
queue longer, so copies that are sent as often as somebody looks would breed without bound.
"""

from __future__ import annotations

from flowcraft.ports.coordination import CoordinationStore

LONGEST_WAIT_SECONDS = 86_400.0
"""However often something was sent in vain, it is sent again after a day."""


class Backoff:
    """Says whether the time to send something again has come.

    The first time is at once, since whoever asks has waited for ``first_seconds``; the second is
    twice ``first_seconds`` later, the third four times, and so on up to a day.

    Args:
        store: Where it is noted, for all who send.
        first_seconds: How long nothing happened before the first time.
    """

    def __init__(self, store: CoordinationStore, first_seconds: float) -> None:
        self._store = store
        self._first_seconds = first_seconds

    async def may_send(self, state: str, *, force: bool = False) -> bool:
        """Whether to send now; then it is noted, and the next time is further away.

        Who is told so and dies has sent nothing, and that counts: better late than twice.

        Args:
            state: What something is sent for. Another state begins anew.
            force: Send whatever was sent lately; it is noted all the same.
        """
        mark, counter = _mark(state), _counter(state)
        if force:
            await self._store.delete(mark)
        elif await self._store.get(mark) is not None:
            return False
        sent = await self._store.get(counter)
        wait = self.wait_seconds(1 + (sent if isinstance(sent, int) else 0))
        # Of those who ask at the same time one is told to send, and that one counts.
        if not await self._store.set_if_not_exist(mark, "", ttl_seconds=wait):
            return False
        # It has to outlive the wait until somebody asks again.
        await self._store.increment(counter, ttl_seconds=4 * wait)
        return True

    async def sent_nothing(self, state: str) -> None:
        """There was nothing to send after all: the waits do not grow by that."""
        await self._store.delete(_counter(state))

    def wait_seconds(self, times: int) -> float:
        """How long to wait after something was sent again so many times."""
        longest = max(LONGEST_WAIT_SECONDS, self._first_seconds)
        return min(longest, self._first_seconds * 2.0 ** min(times, 60))


def _mark(state: str) -> str:
    return f"resent/{state}"


def _counter(state: str) -> str:
    return f"resends/{state}"
