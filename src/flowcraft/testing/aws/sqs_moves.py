"""Dead-letter queues of the fake SQS: whose they are, and tasks that move messages back."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from flowcraft.adapters.aws.transport import Answer, Request
from flowcraft.ports.clock import Clock
from flowcraft.testing.aws.sqs_queue import FakeQueue
from flowcraft.testing.aws.sqs_requests import check_range, refused

PER_SECOND: Final = 500
"""The most messages that a task moves in a second."""


@dataclass(slots=True)
class Move:
    """A task that moves messages.

    Attributes:
        handle: Names it.
        source: The queue that it moves messages from.
        target: The queue that it moves them to; ``None`` for that which each came from.
        rate: How many it moves in a second.
        started_at: When it began, in seconds since the epoch.
        to_move: How many messages there were then.
        moved: How many it has moved.
        status: How it is, as SQS says it.
        reason: Why it has failed.
    """

    handle: str
    source: FakeQueue
    target: FakeQueue | None
    rate: int
    started_at: float
    to_move: int
    moved: int = 0
    status: str = "RUNNING"
    reason: str = ""


class Moves:
    """What SQS does about dead-letter queues. A task moves on whenever somebody looks at it.

    Args:
        queues: All queues by URL, as they are at any time.
        clock: The time.
    """

    def __init__(self, queues: Mapping[str, FakeQueue], clock: Clock) -> None:
        self._queues = queues
        self._clock = clock
        self._tasks: list[Move] = []
        self._numbers = itertools.count(1)
        self.handlers: dict[str, Callable[[Request], Answer]] = {
            "ListDeadLetterSourceQueues": self._list_sources,
            "StartMessageMoveTask": self._start,
            "ListMessageMoveTasks": self._list,
            "CancelMessageMoveTask": self._cancel,
        }

    def _list_sources(self, request: Request) -> Answer:
        queue = self._queues.get(request["QueueUrl"])
        if queue is None:
            raise refused("NonExistentQueue", "The specified queue does not exist.")
        urls = sorted(url for url, each in self._queues.items() if _target(each) == queue.arn)
        most = request.get("MaxResults", len(urls) or 1)
        check_range("MaxResults", most, 1000, 1)
        begin = int(request.get("NextToken", "0"))
        answer: Answer = {"queueUrls": urls[begin : begin + most]}
        if begin + most < len(urls):
            answer["NextToken"] = str(begin + most)
        return answer

    def _start(self, request: Request) -> Answer:
        source = self._by_arn(request["SourceArn"])
        if not any(_target(each) == source.arn for each in self._queues.values()):
            raise refused("InvalidParameterValue", "Source queue must be configured as a DLQ.")
        if any(task.source is source and task.status == "RUNNING" for task in self._tasks):
            text = "There is already a task running. Only one active task is allowed for a source."
            raise refused("UnsupportedOperation", text)
        rate = request.get("MaxNumberOfMessagesPerSecond", PER_SECOND)
        check_range("MaxNumberOfMessagesPerSecond", rate, PER_SECOND, 1)
        target = request.get("DestinationArn")
        now = self._clock.now()
        task = Move(
            f"task-{next(self._numbers)}",
            source,
            None if target is None else self._by_arn(target),
            rate,
            now,
            sum(message.state == "visible" for message in source.messages(now)),
        )
        self._tasks.append(task)
        return {"TaskHandle": task.handle}

    def _list(self, request: Request) -> Answer:
        source = self._by_arn(request["SourceArn"])
        tasks = [task for task in reversed(self._tasks) if task.source is source]
        for task in tasks:
            self._go_on(task)
        return {"Results": [_told(task) for task in tasks[: request.get("MaxResults", 1)]]}

    def _cancel(self, request: Request) -> Answer:
        task = next((t for t in self._tasks if t.handle == request["TaskHandle"]), None)
        if task is None:
            raise refused("ResourceNotFoundException", "There is no such task.")
        self._go_on(task)
        if task.status != "RUNNING":
            raise refused("UnsupportedOperation", f"The task is {task.status}.")
        task.status = "CANCELLED"
        return {"ApproximateNumberOfMessagesMoved": task.moved}

    def _by_arn(self, arn: str) -> FakeQueue:
        found = next((each for each in self._queues.values() if each.arn == arn), None)
        if found is None:
            raise refused(
                "ResourceNotFoundException",
                "The resource that you specified for the SourceArn parameter does not exist.",
            )
        return found

    def _go_on(self, task: Move) -> None:
        """Let a task move what it could have moved by now."""
        if task.status != "RUNNING":
            return
        now = self._clock.now()
        due = int((now - task.started_at) * task.rate)
        for entry in task.source.release(max(0, due - task.moved), now):
            target = task.target
            if target is None:
                arn = entry.source
                target = next((q for q in self._queues.values() if q.arn == arn), None)
            if target is None:
                task.source.adopt(entry, entry.source, now)
                task.status, task.reason = "FAILED", "CouldNotDetermineMessageSource"
                return
            fresh = replace(
                entry,
                message_id=f"moved-{entry.message_id}",
                receives=0,
                first_received_at=None,
                sent_at=now,
            )
            target.adopt(fresh, None, now)
            target.waiting.wake()
            task.moved += 1
        if not any(message.state == "visible" for message in task.source.messages(now)):
            task.status = "COMPLETED"


def _target(queue: FakeQueue) -> str | None:
    redrive = queue.redrive
    return None if redrive is None else redrive[0]


def _told(task: Move) -> dict[str, Any]:
    told: dict[str, Any] = {
        "Status": task.status,
        "SourceArn": task.source.arn,
        "MaxNumberOfMessagesPerSecond": task.rate,
        "ApproximateNumberOfMessagesMoved": task.moved,
        "ApproximateNumberOfMessagesToMove": task.to_move,
        "StartedTimestamp": int(task.started_at * 1000),
    }
    if task.status == "RUNNING":
        told["TaskHandle"] = task.handle
    if task.target is not None:
        told["DestinationArn"] = task.target.arn
    if task.reason:
        told["FailureReason"] = task.reason
    return told
