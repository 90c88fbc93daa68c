"""A worker as a process: it starts although there is trouble, and ends at a signal."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable
from typing import Any

import pytest

from flowcraft import FlowRuntime, create_flow
from flowcraft.adapters.aws.transport import CONNECTION_FAILED, Answer, AwsError, Request
from flowcraft.aws import DynamoDbCoordinationStore, SqsAdapter
from flowcraft.errors import StorageError, StorageUnavailable
from flowcraft.testing import VirtualClock
from flowcraft.testing.aws.sqs import FakeSqs
from tests.unit.aws_tables import CONTEXTS, COORDINATION, STATUSES, fake_tables
from tests.unit.runs import drive

START = "GetQueueAttributes"
"""The first request of a worker."""


async def nothing(ctx: Any) -> None:
    pass


class Sqs:
    """A queue that ends the worker as soon as it is polled, and has trouble before.

    Args:
        clock: The time.
        meet: Is given the number of each first request, and raises something or not.
    """

    def __init__(self, clock: VirtualClock, meet: Callable[[int], None]) -> None:
        self.sqs = FakeSqs(clock)
        self.url = self.sqs.create("jobs")
        self.starts = 0
        self.is_polled = False
        self._meet = meet

    async def call(self, operation: str, request: Request) -> Answer:
        """Carry out a request; see ``Transport.call``."""
        if operation == START:
            self.starts += 1
            self._meet(self.starts)
        if operation == "ReceiveMessage" and not self.is_polled:
            self.is_polled = True
            signal.raise_signal(signal.SIGTERM)
        return await self.sqs.call(operation, request)


def worker(meet: Callable[[int], None]) -> tuple[SqsAdapter, Sqs, VirtualClock]:
    """An adapter that is about to be a worker process."""
    clock = VirtualClock(autojump=True, busy=lambda: False)
    sqs = Sqs(clock, meet)
    dynamodb = drive(fake_tables(clock))
    adapter = SqsAdapter(
        FlowRuntime(flows=[create_flow("flow").node("nothing", nothing)]).options,
        sqs_client=sqs,
        dynamodb_client=dynamodb,
        queue_url=sqs.url,
        context_table_name=CONTEXTS,
        status_table_name=STATUSES,
        coordination_store=DynamoDbCoordinationStore(dynamodb, COORDINATION, clock),
        clock=clock,
        heartbeat=False,
    )
    return adapter, sqs, clock


def no_answer() -> AwsError:
    """What a request comes to whose connection is closed."""
    return AwsError(CONNECTION_FAILED, "closed", operation=START, status=0)


def test_a_worker_process_starts_although_its_first_requests_fail(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Two answers that are lost as it starts are asked for again, and are told of."""

    def meet(number: int) -> None:
        if number <= 2:
            raise no_answer()

    adapter, sqs, _ = worker(meet)
    with caplog.at_level(logging.WARNING, logger="flowcraft.worker"):
        adapter.run()
    assert sqs.is_polled
    told = [each.getMessage() for each in caplog.records]
    assert sum("The worker cannot start yet" in each for each in told) == 2


def test_a_worker_process_waits_no_longer_than_a_lease() -> None:
    """Where the trouble as it starts does not pass, it ends with the error, some 30 s later."""

    def meet(number: int) -> None:
        raise no_answer()

    adapter, sqs, clock = worker(meet)
    began = clock.now()
    with pytest.raises(StorageError, match="cannot be reached"):
        adapter.run()
    assert sqs.starts > 10
    assert 25 < clock.now() - began <= 30


def test_a_worker_process_does_not_wait_for_what_will_not_pass() -> None:
    """A queue that is not there is told at once."""

    def meet(number: int) -> None:
        raise AwsError("NonExistentQueue", "no such queue", operation=START)

    adapter, sqs, clock = worker(meet)
    began = clock.now()
    with pytest.raises(StorageUnavailable):
        adapter.run()
    assert (sqs.starts, clock.now() - began) == (1, 0)


def test_a_worker_process_that_cannot_start_yet_ends_at_a_signal() -> None:
    """SIGTERM while it waits for trouble to pass ends it, without an error."""

    def meet(number: int) -> None:
        if number == 3:
            signal.raise_signal(signal.SIGTERM)
        raise no_answer()

    adapter, sqs, _ = worker(meet)
    adapter.run()
    assert (sqs.starts, sqs.is_polled) == (3, False)
