"""Connections over which no request comes whole: they are closed, so that they keep nobody out.

A server that waits for ever for the rest of a request can be kept busy with a few bytes now and
then, until it has no room for another connection.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

REQUEST_SECONDS: Final = 30.0
"""How long a request may take to come, with its body."""

CROWD: Final = 300
"""Connections at once from which on there is less patience."""

CROWDED_SECONDS: Final = 3.0


@dataclass(slots=True)
class SlowSenders:
    """Closes connections that take too long to send a request.

    Attributes:
        seconds: How long one may take.
        crowd: From so many connections on there is less patience.
        crowded_seconds: How much there is then.
    """

    seconds: float = REQUEST_SECONDS
    crowd: int = CROWD
    crowded_seconds: float = CROWDED_SECONDS
    _since: dict[Any, tuple[Any, float]] = field(default_factory=dict)

    def look(self, connections: Iterable[Any], now: float) -> None:
        """Look at all connections, and close those that have taken too long.

        Args:
            connections: All that are open, as uvicorn has them: each with ``cycle``, the last
                request that has begun to come, and ``transport``.
            now: The time, in seconds.
        """
        there = list(connections)
        seconds = self.seconds if len(there) < self.crowd else self.crowded_seconds
        before, self._since = self._since, {}
        for each in there:
            cycle = each.cycle
            if not _is_sending(cycle):
                continue
            known, since = before.get(each, (cycle, now))
            if known is not cycle:
                since = now
            if now - since >= seconds:
                each.transport.close()
            else:
                self._since[each] = cycle, since


def _is_sending(cycle: Any) -> bool:
    """Whether a request is still to come, in part or whole."""
    return cycle is None or cycle.response_complete or cycle.more_body
