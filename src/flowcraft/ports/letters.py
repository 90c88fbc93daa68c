"""Dead letters: messages that were delivered in vain, where the backend keeps them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from flowcraft.errors import StorageError


@dataclass(frozen=True, slots=True)
class RawLetter:
    """A dead letter as the backend gives it.

    Attributes:
        id: What the queue calls the message.
        handle: Names this receive of it.
        body: Its text as it is on the queue, which may refer to a larger one elsewhere.
        receives: How often it was received, this time included.
        sent_at: When it was sent, in seconds since the epoch; ``None`` if nobody knows.
        first_received_at: When it was received for the first time, likewise.
        source: The queue that it was moved from, as the backend names it (an ARN); ``None`` if
            nobody knows.
        attributes: What the backend says of it, by its names.
        message_attributes: What its sender has attached, as the backend has it.
        problem: Why there is no text, where that is so.
    """

    id: str
    handle: str
    body: str
    receives: int
    sent_at: float | None = None
    first_received_at: float | None = None
    source: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    message_attributes: Mapping[str, Any] = field(default_factory=dict)
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class BoxFacts:
    """What is known of a place for dead letters before any is received.

    Attributes:
        name: What it is called.
        source: The queue that its letters are sent back to, as letters name it.
        waiting: About how many letters can be received.
        hidden: About how many were received by somebody a moment ago, and are hidden.
        sources: All queues whose letters come here, as letters name them; ``None`` if that
            cannot be told.
        forwards_after: After how many receives a letter goes on to another queue; ``None`` for
            never.
        purgeable: Whether all that is there can be deleted at once.
    """

    name: str
    source: str
    waiting: int
    hidden: int
    sources: tuple[str, ...] | None
    forwards_after: int | None = None
    purgeable: bool = False

    @property
    def is_shared(self) -> bool:
        """Whether letters of other queues may come here."""
        return self.sources is None or any(each != self.source for each in self.sources)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A letter that could not be sent back, or not be deleted.

    Attributes:
        id: The letter.
        was_sent: Whether it was sent back before: then it is there twice, which does no harm.
        reason: What the backend says.
    """

    id: str
    was_sent: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of letters.

    Attributes:
        done: The ids of those of which nothing is left.
        refused: The others.
        error: Why going on is of no use, where that is so.
    """

    done: tuple[str, ...] = ()
    refused: tuple[Refusal, ...] = ()
    error: StorageError | None = None


class LetterBox(Protocol):
    """A place for dead letters. Each method raises a ``StorageError`` if it cannot be used."""

    async def facts(self) -> BoxFacts:
        """What is known of it."""
        ...

    async def receive(self, limit: int, wait_seconds: float) -> Sequence[RawLetter]:
        """Some letters, hidden from others for as long as :meth:`hold` says; may repeat some."""
        ...

    async def hold(self, handles: Sequence[str]) -> float:
        """Hide letters from now on; gives for how many seconds."""
        ...

    async def release(self, handles: Sequence[str]) -> None:
        """Let others have letters at once."""

    async def redrive(self, letters: Sequence[RawLetter]) -> Settled:
        """Send letters back to the queues that they came from, then delete them here.

        Where this breaks off, a letter is there twice, or still here; it is never lost.
        """
        ...

    async def delete(self, letters: Sequence[RawLetter]) -> Settled:
        """Delete letters for good."""
        ...

    async def purge(self) -> None:
        """Delete all that is there, whosever it is."""
