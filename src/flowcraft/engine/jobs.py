"""The messages of the queue: what a worker is to carry on with.

A message stands for a *thread* of a run: the work that began with it and whatever that made
ready. It is deleted when nothing of the thread is left to do. It may name a *place*, an attempt
at something that is to be carried out, or bring an *event*, something that is to happen (a timer,
somebody's wish, the end of a child run).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from flowcraft.core import events as ev
from flowcraft.engine.encoded import plain
from flowcraft.engine.facts import event_data, read_event, storable
from flowcraft.engine.serializer import Serializer
from flowcraft.errors import CodecError, SerializationError
from flowcraft.ports.clock import LATEST

VERSION: Final = 1

LONGEST_PUT_BACK_SECONDS: Final = 30.0
LARGEST: Final = 2**53
"""What counts up from 0 stays below it, and so exact in any JSON."""

_NEVER_SENT: Final = (
    ev.RunStarted,
    ev.ShardStarted,
    ev.NodeSucceeded,
    ev.NodeFailed,
    ev.NodeLost,
    ev.NodeStopped,
    ev.NodeHeldBack,
    ev.ItemSucceeded,
    ev.ItemFailed,
    ev.ItemLost,
    ev.ItemStopped,
    ev.ItemHeldBack,
    ev.UndoSettled,
    ev.UndoLost,
    ev.LookedAt,
)


class Unreadable(StrEnum):
    """Why a message cannot be read."""

    NOT_JSON = "not JSON"
    NOT_OURS = "of another system"  # or of somebody who sent something by hand
    NEWER = "of a newer version"
    ENCODED = "encoded"  # and there is no codec, or not the right one
    DAMAGED = "damaged"


class UnreadableJob(SerializationError):
    """A message is none of ours, or of a newer version.

    Args:
        message: What is wrong with it.
        kind: The same for programs.
    """

    def __init__(self, message: str, kind: Unreadable = Unreadable.DAMAGED) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Job:
    """A message.

    Attributes:
        run_id: The run.
        epoch: Which start of the run; a message of another one does nothing.
        blueprint_id: The run's blueprint, for people and for other systems on the same queue.
        thread: What the message stands for.
        place: The attempt it is sent for, if it is for one.
        node_id: The node of that attempt, for people.
        attempt: Its number, for people.
        event: What is to happen, if it brings that.
        event_id: Makes the event happen once, however often the message is delivered.
        due_at: When it is to happen, in seconds since the epoch.
        put_back: How often the message was put back, because its implementation is missing.
        first_at: When it was put back for the first time.
        since: Of how many facts what they lead to has messages of its own already. The message
            only watches over what its thread did later.
        group: Whose run it is, for queues that are fair among those.
        limit_key: The key whose limit the attempt waits for.
        ticket: Its place in the line of that key.
        waits: How often it was put off for that.
        ready_at: When it was to be worked on, where somebody measures how late that happens.
        trace: The span that it was sent from, as a ``traceparent``; not part of its text.
    """

    run_id: str
    epoch: str
    blueprint_id: str
    thread: str
    place: str | None = None
    node_id: str | None = None
    attempt: int | None = None
    event: ev.Event | None = None
    event_id: str | None = None
    due_at: float | None = None
    put_back: int = 0
    first_at: float | None = None
    since: int = 0
    group: str | None = None
    limit_key: str | None = None
    ticket: int | None = None
    waits: int = 0
    ready_at: float | None = None
    trace: str | None = None

    @property
    def put_back_seconds(self) -> float:
        """How long it is put back for: longer each time, up to half a minute."""
        return min(LONGEST_PUT_BACK_SECONDS, 0.5 * 1.5 ** min(self.put_back, 20))

    def put_off(self, now: float) -> Job:
        """The same, put back once more."""
        first_at = now if self.first_at is None else self.first_at
        return replace(self, put_back=self.put_back + 1, first_at=first_at)

    def watching(self, since: int) -> Job:
        """One that sees to what its thread does from a fact on."""
        return replace(
            self,
            place=None,
            event=None,
            event_id=None,
            due_at=None,
            since=since,
            limit_key=None,
            ticket=None,
            waits=0,
        )


_NAMES: Final = {
    "run_id": "runId",
    "epoch": "epoch",
    "blueprint_id": "blueprintId",
    "thread": "thread",
    "place": "place",
    "node_id": "nodeId",
    "attempt": "attempt",
    "event_id": "eventId",
    "due_at": "dueAt",
    "put_back": "putBack",
    "first_at": "firstAt",
    "since": "since",
    "group": "group",
    "limit_key": "limitKey",
    "ticket": "ticket",
    "waits": "waits",
    "ready_at": "readyAt",
}
_REQUIRED: Final = ("run_id", "epoch", "blueprint_id", "thread")
_SOUGHT: Final = ("run_id", "epoch", "thread", "place", "event_id")


def write_job(job: Job, serializer: Serializer) -> str:
    """A message as text."""
    data: dict[str, Any] = {"v": VERSION}
    for name, key in _NAMES.items():
        value = getattr(job, name)
        if value is not None and (value != 0 or name == "ticket"):
            data[key] = value
    if job.event is not None:
        data["event"] = serializer.dumps(event_data(job.event))
    return _text(data)


def _text(data: dict[str, Any]) -> str:
    return storable(json.dumps(data, ensure_ascii=False, separators=(",", ":")))


def event_in(text: str) -> str | None:
    """What a message brings, as text; ``None`` if it brings nothing, or is no message at all."""
    if '"event"' not in text:
        return None
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return None
    event = data.get("event") if isinstance(data, dict) else None
    return event if isinstance(event, str) else None


def with_event(text: str, event: str) -> str:
    """A message that brings another text, of one that brings something."""
    return _text({**json.loads(text), "event": event})


def read_job(text: str, serializer: Serializer) -> Job:
    """The message that :func:`write_job` wrote.

    Raises:
        UnreadableJob: It is no JSON, of another shape, or of a newer version.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnreadableJob(f"The message is not JSON: {error}.", Unreadable.NOT_JSON) from error
    if not isinstance(data, dict):
        raise UnreadableJob("The message is JSON, but no object.", Unreadable.NOT_OURS)
    version = data.get("v")
    if type(version) is not int or not 1 <= version <= VERSION:
        what = "none" if version is None else repr(version)
        is_newer = type(version) is int and version > VERSION
        raise UnreadableJob(
            f"The message has the version {what}; this worker reads up to {VERSION}. It was sent "
            "by another system, or by a newer version of this one.",
            Unreadable.NEWER if is_newer else Unreadable.NOT_OURS,
        )
    fields: dict[str, Any] = {name: data.get(key) for name, key in _NAMES.items()}
    missing = [_NAMES[name] for name in _REQUIRED if not isinstance(fields[name], str)]
    if missing:
        raise UnreadableJob(f"The message lacks {', '.join(missing)}.")
    for name in ("put_back", "since", "waits"):
        fields[name] = fields[name] or 0
    wrong = [_NAMES[name] for name, value in fields.items() if not _fits(name, value)]
    if wrong:
        raise UnreadableJob(f"The message has something else than expected as {', '.join(wrong)}.")
    event = data.get("event")
    if not isinstance(event, str | None):
        raise UnreadableJob("The message's event is no text.")
    try:
        if event is not None:
            fields["event"] = _sent(read_event(serializer.loads(plain(event, "It"))))
        return Job(**fields)
    except (SerializationError, CodecError, TypeError) as error:
        kind = Unreadable.ENCODED if isinstance(error, CodecError) else Unreadable.DAMAGED
        raise UnreadableJob(f"The message's event cannot be read: {error}", kind) from error


def _sent(event: ev.Event) -> ev.Event:
    """An event that messages bring: outcomes come from whoever holds the lease, and no other."""
    if isinstance(event, _NEVER_SENT):
        raise SerializationError(f"No message brings {type(event).__name__}.")
    return event


def _fits(name: str, value: Any) -> bool:
    if value is None:
        return True
    if name in ("due_at", "first_at", "ready_at"):
        return type(value) in (int, float) and 0 <= value < LATEST
    if name in ("attempt", "put_back", "since", "ticket", "waits"):
        return type(value) is int and 0 <= value < LARGEST
    if not isinstance(value, str):
        return False
    # No store finds what is named by half a character.
    return name not in _SOUGHT or value.isascii() or value == storable(value)


class PutOff(Exception):
    """The message is to come again later; no attempt is used up and no receive is counted."""

    def __init__(self, seconds: float, job: Job | None = None) -> None:
        super().__init__(seconds)
        self.seconds = seconds
        self.job = job


class Leave(Exception):
    """The message is left as it is: it comes again by itself when its visibility ends."""
