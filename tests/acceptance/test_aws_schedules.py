"""Schedules of real workers on an emulator: they start runs by the clock, each tick once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import pytest

from flowcraft import FlowRuntime, create_flow
from flowcraft.aws import (
    DynamoDbCoordinationStore,
    SqsAdapter,
    create_sqs_reconciler,
    reconciler_handler,
)
from tests.emulators.aws import AwsNames, client, create_queue, create_tables
from tests.unit.test_aws_lambda import Left

SECONDS = 60
RUNS = 5


class Fleet:
    """Adapters on the same queue and tables.

    Attributes:
        seen: What runs were told of their schedule, in the order in which they were.
        grown: Is set whenever there is more of that.
    """

    def __init__(self, endpoint: str, names: AwsNames) -> None:
        self._sqs, self._dynamodb = client("sqs", endpoint), client("dynamodb", endpoint)
        self._names = names
        create_tables(self._dynamodb, names)
        self._url = create_queue(self._sqs, names.queue, visibility_seconds=30)
        self.seen: list[dict[str, Any]] = []
        self.grown = asyncio.Event()

    def adapter(self, **options: Any) -> SqsAdapter:
        """An adapter, with clients of its own."""

        async def note(ctx: Any) -> None:
            self.seen.append(await ctx.context.get("_schedule"))
            self.grown.set()

        return SqsAdapter(
            FlowRuntime(flows=[create_flow("report").node("note", note)]).options,
            sqs_client=self._sqs,
            dynamodb_client=self._dynamodb,
            queue_url=self._url,
            context_table_name=self._names.contexts,
            status_table_name=self._names.statuses,
            coordination_store=DynamoDbCoordinationStore(self._dynamodb, self._names.coordination),
            **{"poll_seconds": 1, "schedules_every_seconds": 0.5, **options},
        )

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait until what runs were told is enough."""
        async with asyncio.timeout(SECONDS):
            while not is_so():
                self.grown.clear()
                await self.grown.wait()


def played(work: Callable[[Fleet], Awaitable[None]], endpoint: str, names: AwsNames) -> None:
    """Let something happen in a fleet."""

    async def main() -> None:
        await work(Fleet(endpoint, names))

    asyncio.run(main())


def in_a_row(ticks: list[str]) -> bool:
    """Whether these are ticks of every second, none twice and none left out."""
    seconds = [int(datetime.fromisoformat(each).timestamp()) for each in ticks]
    return seconds == list(range(seconds[0], seconds[0] + len(seconds)))


@pytest.mark.slow
def test_two_workers_start_a_run_every_second(ministack: str, aws_names: AwsNames) -> None:
    """A schedule of every second: each tick one run, also when the worker that looks is stopped."""

    async def work(fleet: Fleet) -> None:
        first, second = fleet.adapter(), fleet.adapter()
        async with first:
            await first.schedules.create("s", "report", every="1s", overlap="allow")
        async with second:
            async with fleet.adapter():
                await fleet.until(lambda: len(fleet.seen) >= RUNS)
            count = len(fleet.seen)
            await fleet.until(lambda: len(fleet.seen) >= count + RUNS)
            info = await second.schedules.pause("s")
            started = [each for each in info.ticks if each.run_id]
            await fleet.until(lambda: len(fleet.seen) >= len(started))
        due = [each["due_at"] for each in fleet.seen]
        assert len(due) == len(set(due))
        assert in_a_row(sorted(due))

    played(work, ministack, aws_names)


@pytest.mark.slow
def test_a_function_starts_what_is_due(ministack: str, aws_names: AwsNames) -> None:
    """Without workers that look: the reconciler's function starts a run for what is due."""

    async def work(fleet: Fleet) -> None:
        worker = fleet.adapter(schedules_every_seconds=None)
        function = reconciler_handler(create_sqs_reconciler(adapter=fleet.adapter()))
        async with worker:
            await worker.schedules.create("s", "report", every="1s", overlap="allow")
            while not fleet.seen:
                await asyncio.to_thread(function, {}, Left(60))
            await worker.schedules.delete("s")
        assert fleet.seen[0]["id"] == "s"
        function.close()

    played(work, ministack, aws_names)
