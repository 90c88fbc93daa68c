"""From when on timers are no messages, and how often they are looked at."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spans:
    """How long what is; the same for all that share queue and stores.

    Attributes:
        hour_seconds: What is due later than that is no message yet. Entries are kept by the hour.
        ahead_seconds: How long before its time an entry becomes a message; no more than queues
            delay one for.
        every_seconds: From one sweep to the next: several of them have to come to that.
        first_seconds: How long after its start a worker sweeps for the first time.
    """

    hour_seconds: float = 3600.0
    ahead_seconds: float = 900.0
    every_seconds: float = 240.0
    first_seconds: float = 30.0
