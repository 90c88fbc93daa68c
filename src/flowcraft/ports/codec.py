"""Turning payloads into something else before they are stored: encryption, compression."""

from __future__ import annotations

from typing import Protocol


class Codec(Protocol):
    """Encodes payloads on their way to queue and stores, and decodes them on their way back.

    Payloads are what belongs to users: the facts of runs with all outputs and contexts, what
    messages bring, blueprints. What is needed to find and order things stays readable: ids of
    runs, blueprints and nodes, attempts, statuses, times, tags, idempotency keys.

    ``decode(encode(text))`` is ``text``. Encoding the same text twice may give different texts.
    Both are called in the event loop, of several threads at once perhaps, and are quick.
    """

    def encode(self, text: str) -> str:
        """The text to be stored."""
        ...

    def decode(self, text: str) -> str:
        """The text that :meth:`encode` was given; whatever is raised, it cannot be decoded."""
        ...
