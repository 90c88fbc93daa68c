"""One queue of the fake SQS: its messages, and who may have them when."""

from __future__ import annotations

import heapq
import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, Protocol

from flowcraft.adapters.waiting import Waiting
from flowcraft.testing.aws.sqs_requests import MAX_VISIBILITY_SECONDS, check_range, refused

NOISY_MESSAGES: Final = 30
NOISY_SHARE: Final = 0.1
"""A group is noisy with so many messages in flight, that are more than this share of all: what AWS
says of fair queues. AWS also looks at the time that a group's messages take; this does not."""

IN_FLIGHT_LIMIT: Final = 120_000
"""Messages of a standard queue that may be received and not deleted at a time."""

State = Literal["visible", "delayed", "in flight"]


class Choices(Protocol):
    """Chance: decides by a seed, so that a test comes to the same each time."""

    def below(self, bound: int, /) -> int:
        """A whole number from 0 up to ``bound``, which is not among them."""
        ...

    def fraction(self) -> float:
        """A number from 0 up to 1, which is not among them."""
        ...


@dataclass(frozen=True, slots=True)
class Unkindness:
    """What a standard queue may do, and how likely it does, from 0 to 1.

    Attributes:
        shuffles: Messages come in any order.
        delivers_twice: A message that is received can be received by another one, too.
        delivers_deleted: A message that was deleted comes again.
        delivers_fewer: A receive brings fewer messages than there are.
        delivers_none: A receive brings nothing at once, although there are messages, or it was
            to wait for some.
        obeys_old_handles: A receipt handle of an earlier receive still deletes and hides.
        fails_entries: An entry of a batch fails for no fault of its own.
        swallows: A poll whose receiver has given up goes on, and hides what comes.
    """

    shuffles: bool = True
    delivers_twice: float = 0.02
    delivers_deleted: float = 0.01
    delivers_fewer: float = 0.1
    delivers_none: float = 0.05
    obeys_old_handles: float = 0.3
    fails_entries: float = 0.01
    swallows: float = 1.0


KIND: Final = Unkindness(False, 0, 0, 0, 0, 0, 0, 0)
"""Nothing of this; messages come in the order in which they became visible."""


@dataclass(frozen=True, slots=True)
class SqsMessage:
    """A message, as a test sees it. Times are in seconds since the epoch."""

    id: str
    body: str
    state: State
    receives: int
    sent_at: float
    visible_at: float


@dataclass(slots=True, eq=False)
class Entry:
    """A message on the queue, or a further copy of one."""

    number: int
    message_id: str
    body: str
    sent_at: float
    visible_at: float
    attributes: Mapping[str, Any] = field(default_factory=dict)
    group: str | None = None
    trace: str | None = None
    source: str | None = None
    receives: int = 0
    received_at: float = 0.0
    first_received_at: float | None = None
    hidden: bool = True

    @property
    def in_flight(self) -> bool:
        """Whether it was received, and is hidden since."""
        return self.hidden and self.receives > 0


class Dice:
    """Decides which of the things that may happen do."""

    def __init__(self, choices: Choices | None, unkindness: Unkindness) -> None:
        self.kinds = unkindness
        self._choices = choices

    def happens(self, probability: float) -> bool:
        """Whether something happens that does so with this probability."""
        if self._choices is None or probability <= 0:
            return False
        return self._choices.fraction() < probability

    def below(self, bound: int) -> int:
        """Any whole number from 0 up to ``bound``, which is not among them."""
        return 0 if self._choices is None or bound < 2 else self._choices.below(bound)


class FakeQueue:
    """A standard queue.

    Args:
        name: Its name.
        attributes: Its attributes, all of them, as texts.
        waiting: Who waits for messages.
        dice: Decides what is unkind.
        in_flight_limit: How many messages may be received and not deleted.
        bury: Moves a message to the queue of a name (an ARN); also told whence, and when.
    """

    def __init__(
        self,
        name: str,
        attributes: dict[str, str],
        waiting: Waiting,
        dice: Dice,
        in_flight_limit: int,
        bury: Callable[[str, Entry, str, float], None],
    ) -> None:
        self.name = name
        self.attributes = attributes
        self.waiting = waiting
        self.purged_at = -60.0
        self.in_flight = 0
        self._flying: Counter[str] = Counter()
        # Messages of noisy groups that others were preferred to, by group.
        self._aside: dict[str, list[int]] = {}
        self._dice = dice
        self._in_flight_limit = in_flight_limit
        self._bury = bury
        self._numbers = itertools.count(1)
        self._entries: dict[int, Entry] = {}
        self._copies: dict[str, list[int]] = {}
        # Numbers of those that can be received; some of them may be gone by now.
        self._visible: list[int] = []
        # When those that are hidden get visible; some of it may have changed since.
        self._hidden: list[tuple[float, int]] = []
        self._abandoned: list[tuple[float, int, int]] = []

    def __getitem__(self, name: str) -> int:
        """An attribute that is a number."""
        return int(self.attributes[name])

    @property
    def arn(self) -> str:
        """What other queues call it."""
        return self.attributes["QueueArn"]

    @property
    def fifo(self) -> bool:
        """Whether it is a FIFO queue."""
        return "FifoQueue" in self.attributes

    @property
    def redrive(self) -> tuple[str, int] | None:
        """Where messages go that were received too often, and how often that is."""
        policy = self.attributes.get("RedrivePolicy")
        if not policy:
            return None
        data = json.loads(policy)
        return data["deadLetterTargetArn"], int(data["maxReceiveCount"])

    def is_full(self, now: float) -> bool:
        """Whether as many messages are in flight as may be."""
        self._uncover(now)
        return self.in_flight >= self._in_flight_limit

    # -- sending ----------------------------------------------------------------------------

    def send(self, message: Mapping[str, Any], message_id: str, now: float) -> None:
        """Take up a message."""
        delay = message.get("DelaySeconds", self["DelaySeconds"])
        entry = Entry(
            next(self._numbers),
            message_id,
            message["MessageBody"],
            now,
            now + delay,
            message.get("MessageAttributes", {}),
            message.get("MessageGroupId"),
            message.get("MessageSystemAttributes", {}).get("AWSTraceHeader", {}).get("StringValue"),
        )
        # Polls that nobody waits for get what comes before their end, and nothing else.
        self._serve_abandoned(now)
        self._add(entry, now)
        self._serve_abandoned(now)

    def adopt(self, entry: Entry, source: str | None, now: float) -> None:
        """Take up a message from another queue, where it was received too often."""
        moved = replace(entry, number=next(self._numbers), source=source, visible_at=now)
        self._add(moved, now)

    def release(self, limit: int, now: float) -> list[Entry]:
        """Give up messages that can be received, at most so many: a task moves them elsewhere."""
        self._uncover(now)
        given: list[Entry] = []
        while len(given) < limit and (entry := self._pick(now)) is not None:
            self._remove(entry)
            given.append(entry)
        return given

    def _add(self, entry: Entry, now: float) -> None:
        self._entries[entry.number] = entry
        self._copies.setdefault(entry.message_id, []).append(entry.number)
        entry.hidden = entry.visible_at > now
        if entry.hidden:
            heapq.heappush(self._hidden, (entry.visible_at, entry.number))
            self._fly(entry, int(entry.in_flight))
        else:
            self._visible.append(entry.number)

    def _uncover(self, now: float) -> None:
        """Make visible what is due, and drop what was kept for too long."""
        while self._hidden and self._hidden[0][0] <= now:
            _, number = heapq.heappop(self._hidden)
            entry = self._entries.get(number)
            if entry is not None and entry.hidden and entry.visible_at <= now:
                self._fly(entry, -int(entry.in_flight))
                entry.hidden = False
                self._visible.append(number)

    def next_due(self) -> float:
        """When a hidden message may get visible, in seconds since the epoch."""
        return self._hidden[0][0] if self._hidden else float("inf")

    # -- receiving --------------------------------------------------------------------------

    def take(self, limit: int, visibility: int, now: float) -> list[tuple[Entry, str]]:
        """Receive messages.

        Args:
            limit: How many at most.
            visibility: For how many seconds they are hidden.
            now: The time.

        Returns:
            Each with its receipt handle.
        """
        self._serve_abandoned(now)
        self._uncover(now)
        if self._dice.happens(self._dice.kinds.delivers_fewer):
            limit = 1 + self._dice.below(limit)
        return self._take(limit, visibility, now)

    def _take(self, limit: int, visibility: int, now: float) -> list[tuple[Entry, str]]:
        taken: list[tuple[Entry, str]] = []
        # A copy, or one that is not hidden at all, is for the next receive.
        twins: list[Entry] = []
        unhidden: list[int] = []
        redrive = self.redrive
        while len(taken) < limit and self.in_flight < self._in_flight_limit:
            entry = self._pick(now)
            if entry is None:
                break
            if redrive is not None and entry.receives >= redrive[1]:
                self._move(entry, redrive[0], now)
                continue
            entry.receives += 1
            entry.received_at = entry.visible_at = now
            if entry.first_received_at is None:
                entry.first_received_at = now
            taken.append((entry, self._handle(entry)))
            if visibility > 0:
                self._fly(entry, 1)
                entry.hidden, entry.visible_at = True, now + visibility
                heapq.heappush(self._hidden, (entry.visible_at, entry.number))
            else:
                unhidden.append(entry.number)
            if self._dice.happens(self._dice.kinds.delivers_twice):
                twins.append(replace(entry, number=next(self._numbers), visible_at=now))
        self._visible += unhidden
        for twin in twins:
            self._add(twin, now)
        return taken

    def _move(self, entry: Entry, arn: str, now: float) -> None:
        """Move one that was received too often, unless there is no such queue any more."""
        self._remove(entry)
        self._bury(arn, entry, self.arn, now)

    def _fly(self, entry: Entry, by: int) -> None:
        """Count a message that is in flight now, or is no longer."""
        self.in_flight += by
        if entry.group is not None:
            self._flying[entry.group] += by

    def is_noisy(self, group: str | None) -> bool:
        """Whether the messages of other groups are preferred to those of this one."""
        if group is None:
            return False  # a message without a group is one of its own
        flying = self._flying[group]
        return flying >= NOISY_MESSAGES and flying > NOISY_SHARE * self.in_flight

    def _pick(self, now: float) -> Entry | None:
        """Any message, or the next one; those of noisy groups where there is no other."""
        for group in [each for each in self._aside if not self.is_noisy(each)]:
            self._visible[:0] = self._aside.pop(group)
        while (entry := self._next(self._visible, now)) is not None:
            if not self.is_noisy(entry.group):
                return entry
            assert entry.group is not None
            self._aside.setdefault(entry.group, []).append(entry.number)
        for group in tuple(self._aside):
            entry = self._next(self._aside[group], now)
            if not self._aside[group]:
                del self._aside[group]
            if entry is not None:
                return entry
        return None

    def _next(self, visible: list[int], now: float) -> Entry | None:
        """Take a message from those that can be received."""
        retention = self["MessageRetentionPeriod"]
        while visible:
            index = self._dice.below(len(visible)) if self._dice.kinds.shuffles else 0
            if index:
                visible[index], visible[-1] = visible[-1], visible[index]
                number = visible.pop()
            else:
                number = visible.pop(0)
            entry = self._entries.get(number)
            if entry is None:
                continue
            if entry.sent_at + retention <= now:
                self._remove(entry)
                continue
            return entry
        return None

    def abandon(self, deadline: float, limit: int, visibility: int) -> None:
        """A receiver has given up; its poll may go on until its end all the same."""
        if self._dice.happens(self._dice.kinds.swallows):
            self._abandoned.append((deadline, limit, visibility))

    def _serve_abandoned(self, now: float) -> None:
        """Let polls without a receiver take what came before their end."""
        while self._abandoned:
            deadline, limit, visibility = self._abandoned[0]
            when = min(now, deadline)
            self._uncover(when)
            if not self._take(limit, visibility, when) and now < deadline:
                return
            self._abandoned.pop(0)

    # -- deliveries -------------------------------------------------------------------------

    def _handle(self, entry: Entry) -> str:
        return f"{self.name}:{entry.number}:{entry.receives}"

    def _find(self, handle: str) -> tuple[Entry | None, bool]:
        """The message of a receipt handle, if it is there, and whether the handle is its last."""
        name, _, rest = handle.partition(":")
        number, _, receives = rest.partition(":")
        if name != self.name or not (number.isdecimal() and receives.isdecimal()):
            text = f'The input receipt handle "{handle}" is not a valid receipt handle.'
            raise refused("ReceiptHandleIsInvalid", text)
        entry = self._entries.get(int(number))
        return entry, entry is not None and entry.receives == int(receives)

    def delete(self, handle: str, now: float) -> None:
        """Forget a message, if the handle is of its last receive.

        Raises:
            AwsError: It is no handle.
        """
        self._uncover(now)
        entry, is_last = self._find(handle)
        if entry is None or not (is_last or self._obeys_old()):
            return
        for number in self._copies.pop(entry.message_id, []):
            copy = self._entries.pop(number, None)
            if copy is not None:
                self._fly(copy, -int(copy.in_flight))
        if self._dice.happens(self._dice.kinds.delivers_deleted):
            again = replace(entry, number=next(self._numbers))
            again.visible_at = max(now, entry.visible_at)
            self._add(again, now)

    def change(self, handle: str, seconds: int, now: float) -> None:
        """Hide a delivery for so long from now on.

        Raises:
            AwsError: It cannot be hidden: it is no handle, an old one, of a message that is gone
                or visible again, or the time would be too long.
        """
        self._uncover(now)
        check_range("VisibilityTimeout", seconds, MAX_VISIBILITY_SECONDS)
        entry, is_last = self._find(handle)
        if entry is None or not (is_last or self._obeys_old()):
            text = (
                f"Value {handle} for parameter ReceiptHandle is invalid. Reason: Message does "
                "not exist or is not available for visibility timeout change."
            )
            raise refused("InvalidParameterValue", text)
        if not entry.in_flight:
            raise refused("MessageNotInflight", "The message referred to isn't in flight.")
        if now + seconds > entry.received_at + MAX_VISIBILITY_SECONDS:
            text = (
                f"Value {seconds} for parameter VisibilityTimeout is invalid. Reason: Total "
                "VisibilityTimeout for the message is beyond the limit [43200 seconds]"
            )
            raise refused("InvalidParameterValue", text)
        entry.visible_at = now + seconds
        heapq.heappush(self._hidden, (entry.visible_at, entry.number))

    def _obeys_old(self) -> bool:
        return self._dice.happens(self._dice.kinds.obeys_old_handles)

    def _remove(self, entry: Entry) -> None:
        del self._entries[entry.number]
        copies = self._copies[entry.message_id]
        copies.remove(entry.number)
        if not copies:
            del self._copies[entry.message_id]

    def purge(self) -> None:
        """Forget all messages."""
        self._entries.clear()
        self._copies.clear()
        self._visible.clear()
        self._hidden.clear()
        self._aside.clear()
        self._flying.clear()
        self.in_flight = 0

    # -- looking ----------------------------------------------------------------------------

    def messages(self, now: float) -> Iterator[SqsMessage]:
        """All that is there, copies included, in the order in which it was sent."""
        self._uncover(now)
        retention = self["MessageRetentionPeriod"]
        for entry in self._entries.values():
            if entry.sent_at + retention > now:
                yield SqsMessage(
                    entry.message_id,
                    entry.body,
                    _state(entry),
                    entry.receives,
                    entry.sent_at,
                    entry.visible_at,
                )


def _state(entry: Entry) -> State:
    if not entry.hidden:
        return "visible"
    return "in flight" if entry.receives else "delayed"
