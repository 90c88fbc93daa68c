"""A queue on the fake SQS, with a look at the requests, and requests that fail as told."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from flowcraft.adapters.aws.queue import SqsQueue
from flowcraft.adapters.aws.transport import Answer, AwsError, Request
from flowcraft.testing import VirtualClock
from flowcraft.testing.aws.sqs import FakeSqs
from tests.unit.runs import drive

Meddle = Callable[[str, Request], Answer | AwsError | None]
"""Answers or refuses a request in the place of SQS, or leaves it to it."""


class Watched:
    """A transport that records requests, and lets a test meddle with them."""

    def __init__(self, sqs: FakeSqs) -> None:
        self.sqs = sqs
        self.requests: list[tuple[str, Request]] = []
        self.meddle: Meddle | None = None

    async def call(self, operation: str, request: Request) -> Answer:
        self.requests.append((operation, request))
        verdict = self.meddle(operation, request) if self.meddle is not None else None
        if isinstance(verdict, AwsError):
            raise verdict
        return verdict if verdict is not None else await self.sqs.call(operation, request)

    def of(self, operation: str) -> list[Request]:
        """The requests of one kind."""
        return [request for name, request in self.requests if name == operation]


class Place:
    """A fake SQS with a queue, and the adapter on it."""

    def __init__(self, sqs: FakeSqs, clock: VirtualClock, url: str, **options: Any) -> None:
        self.clock = clock
        self.sqs = sqs
        self.url = url
        self.aws = Watched(sqs)
        self.queue = SqsQueue(self.aws, url, clock, **{"linger_seconds": 0.1, **options})

    async def pass_time(self, seconds: float) -> None:
        """Let time pass, and what is due happen."""
        await self.clock.settle()
        end = self.clock.now() + seconds
        while (due := self.clock.next_due) is not None and due <= end:
            self.clock.advance_to(max(due, self.clock.now()))
            await self.clock.settle()
        self.clock.advance_to(end)
        await self.clock.settle()

    def bodies(self) -> list[str]:
        """What is on the queue, whoever may have it."""
        return sorted(message.body for message in self.sqs.messages(self.url))


def play(
    story: Callable[[Place], Coroutine[Any, Any, None]],
    *,
    sqs: Callable[[VirtualClock], FakeSqs] = FakeSqs,
    options: dict[str, Any] | None = None,
    **attributes: Any,
) -> Place:
    """Let a story take place on an open queue, which is closed afterwards."""
    clock = VirtualClock()
    fake = sqs(clock)
    place = Place(fake, clock, fake.create("jobs", **attributes), **(options or {}))

    async def work() -> None:
        await place.queue.open()
        place.aws.requests.clear()
        await story(place)

    drive(work())
    return place
