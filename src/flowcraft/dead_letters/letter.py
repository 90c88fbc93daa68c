"""A dead letter as people see it: why it is one, whose it is, what sending it back would do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from flowcraft.ports.letters import RawLetter


class Cause(StrEnum):
    """Why a message was delivered in vain."""

    NOT_JSON = "not-json"
    NOT_OURS = "not-ours"
    NEWER_VERSION = "newer-version"
    DAMAGED = "damaged"
    ENCODED = "encoded"
    BODY_MISSING = "body-missing"
    RUN_GONE = "run-gone"
    RUN_UNREADABLE = "run-unreadable"
    IMPLEMENTATION_MISSING = "implementation-missing"
    DELIVERED_TOO_OFTEN = "delivered-too-often"


MEANINGS: Final[Mapping[Cause, str]] = {
    Cause.NOT_JSON: "the body is no JSON: nobody can read it; delete it",
    Cause.NOT_OURS: "another system sent it, such as the TypeScript adapter: it is for its workers",
    Cause.NEWER_VERSION: "a newer version of this package sent it: deploy that, then redrive",
    Cause.DAMAGED: "the body is not what was sent: nobody can read it; delete it",
    Cause.ENCODED: "it passed a codec: give workers the codec and its key, then redrive",
    Cause.BODY_MISSING: "its large body cannot be read from the bucket or table: see each letter",
    Cause.RUN_GONE: "its run was deleted, or has expired: there is nothing left to do; delete it",
    Cause.RUN_UNREADABLE: "the record of its run cannot be read: mend that, then redrive",
    Cause.IMPLEMENTATION_MISSING: (
        "no worker had the implementation of its node: deploy one that has, then redrive"
    ),
    Cause.DELIVERED_TOO_OFTEN: (
        "workers died over it or had trouble, time after time: see to that, then redrive"
    ),
}
"""What each cause means, and what helps."""

READABLE: Final = frozenset(
    {
        Cause.RUN_GONE,
        Cause.RUN_UNREADABLE,
        Cause.IMPLEMENTATION_MISSING,
        Cause.DELIVERED_TOO_OFTEN,
    }
)
"""The causes of letters that are jobs of ours, whatever else is wrong."""


class Standing(StrEnum):
    """How a run stands to a letter."""

    WAITING = "waiting"  # it needs what the letter brings, and nobody is at it
    IN_HAND = "in hand"  # a worker is at it, by another delivery or message
    CARRIED_ON = "carried on"  # others have done what it is for, or it can no longer be done
    OVER = "over"
    GONE = "gone"
    UNKNOWN = "unknown"  # it was not looked at, or could not be


@dataclass(frozen=True, slots=True)
class LetterRun:
    """The run that a letter is about.

    Attributes:
        run_id: The run; for a part of a large batch the run that the batch belongs to.
        blueprint_id: Its blueprint.
        status: Its status; ``None`` if it is gone, or was not read.
        standing: How it stands to the letter.
        node_id: The node that the letter is for, if it is for one.
        attempt: The number of that attempt.
        brings: What the letter brings, such as ``TimerFired``; ``None`` if it brings nothing.
        detail: More about it, for people: why it cannot be read, say.
        is_replaceable: Whether somebody sends again what the letter brings, where it is needed:
            not an answer, or a wish.
    """

    run_id: str
    blueprint_id: str | None = None
    status: str | None = None
    standing: Standing = Standing.UNKNOWN
    node_id: str | None = None
    attempt: int | None = None
    brings: str | None = None
    detail: str | None = None
    is_replaceable: bool = True


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter.

    Attributes:
        id: What the queue calls it.
        cause: Why it is one.
        reason: The same in a sentence, with what was found.
        is_ours: Whether it came from this queue; ``None`` if nobody knows.
        source: The name of the queue that it came from, if that is known.
        body: Its text as it is on the queue.
        receives: How often it was received, the look at it included.
        sent_at: When it was sent, if that is known.
        first_received_at: When it was received for the first time, likewise.
        run: The run it is about, where that can be read.
        attributes: What the queue says of it, by the queue's names.
        message_attributes: What its sender has attached.
    """

    id: str
    cause: Cause
    reason: str
    is_ours: bool | None
    source: str | None
    body: str
    receives: int
    sent_at: datetime | None = None
    first_received_at: datetime | None = None
    run: LetterRun | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    message_attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def redriving(self) -> str:
        """What becomes of it when it is sent back, in a sentence."""
        if self.is_ours is False:
            return f"It is of the queue '{self.source}', and goes back there with --foreign only."
        if self.is_ours is None:
            return "Nobody knows which queue it came from, so that it cannot be sent back."
        standing = None if self.run is None else self.run.standing
        status = "" if self.run is None or self.run.status is None else f" ({self.run.status})"
        if standing is Standing.OVER:
            return f"Does nothing: the run is over{status}."
        if standing in _BY_STANDING:
            return _BY_STANDING[standing]
        return _BY_CAUSE[self.cause]

    @property
    def deleting(self) -> str:
        """What is lost when it is deleted, in a sentence."""
        run = self.run
        if self.cause in (Cause.NOT_JSON, Cause.DAMAGED):
            return "Nothing is lost but the body, which nobody can read."
        if self.cause not in READABLE:
            return "What is lost is not known: it cannot be read here."
        if run is None or run.standing is Standing.UNKNOWN:
            return "What is lost is not known: the run could not be looked at."
        if run.standing is not Standing.WAITING:
            return "Nothing is lost."
        if run.is_replaceable:
            return "Nothing is lost: workers that look for stuck runs send it again."
        return f"What it brings ({run.brings}) is lost: nobody sends it again."

    def to_dict(self) -> dict[str, Any]:
        """The letter as JSON data; times in ISO 8601, bytes of attributes as their length."""
        run = self.run
        return {
            "id": self.id,
            "cause": str(self.cause),
            "reason": self.reason,
            "ours": self.is_ours,
            "source": self.source,
            "sentAt": _iso(self.sent_at),
            "firstReceivedAt": _iso(self.first_received_at),
            "receives": self.receives,
            "run": None
            if run is None
            else {
                "runId": run.run_id,
                "blueprintId": run.blueprint_id,
                "status": run.status,
                "standing": str(run.standing),
                "nodeId": run.node_id,
                "attempt": run.attempt,
                "brings": run.brings,
                "detail": run.detail,
            },
            "redriving": self.redriving,
            "deleting": self.deleting,
            "body": self.body,
            "attributes": dict(self.attributes),
            "messageAttributes": {
                name: value.get("StringValue", f"{len(value.get('BinaryValue', b''))} bytes")
                for name, value in self.message_attributes.items()
            },
        }


_BY_STANDING: Final[Mapping[Standing | None, str]] = {
    Standing.IN_HAND: "Does nothing: a worker has it in hand.",
    Standing.CARRIED_ON: "Does nothing: the run went on without it.",
    Standing.GONE: "Does nothing: there is no such run any more.",
}
_BACK_HERE: Final = "It comes back here: no worker can read it."
_BY_CAUSE: Final[Mapping[Cause, str]] = {
    Cause.NOT_JSON: _BACK_HERE,
    Cause.NOT_OURS: "It is for the workers of the system that sent it; ours leave it alone.",
    Cause.NEWER_VERSION: "Workers of the version that sent it can read it; others cannot.",
    Cause.DAMAGED: _BACK_HERE,
    Cause.ENCODED: "Workers with the codec and its key can read it; others cannot.",
    Cause.BODY_MISSING: "It comes back here, unless what it refers to is there again.",
    Cause.RUN_GONE: "Does nothing: there is no such run any more.",
    Cause.RUN_UNREADABLE: "It comes back here, unless the record of the run is mended.",
    Cause.IMPLEMENTATION_MISSING: "The run goes on, if a worker has the implementation now.",
    Cause.DELIVERED_TOO_OFTEN: "The run goes on with it.",
}


def letter_of(
    raw: RawLetter,
    cause: Cause,
    reason: str,
    *,
    is_ours: bool | None,
    run: LetterRun | None = None,
) -> Letter:
    """A letter of what the queue gives, and what was found out about it."""
    return Letter(
        id=raw.id,
        cause=cause,
        reason=reason,
        is_ours=is_ours,
        source=None if raw.source is None else raw.source.rpartition(":")[2],
        body=raw.body,
        receives=raw.receives,
        sent_at=_time(raw.sent_at),
        first_received_at=_time(raw.first_received_at),
        run=run,
        attributes=raw.attributes,
        message_attributes=raw.message_attributes,
    )


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def _iso(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat(timespec="milliseconds")
