"""The names that users of a fleet meet: adapter, client, context, reconciler; on the fakes."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from flowcraft import FlowRuntime, create_flow
from flowcraft.aws import (
    DynamoDbContext,
    DynamoDbCoordinationStore,
    SqsAdapter,
    create_sqs_reconciler,
)
from flowcraft.client import FlowClient
from flowcraft.engine.jobs import UnreadableJob
from flowcraft.errors import InvalidRunState, RunNotFound, StorageBusy, StorageUnavailable
from flowcraft.testing import VirtualClock
from flowcraft.testing.aws.sqs import FakeSqs
from tests.unit.aws_tables import CONTEXTS, COORDINATION, STATUSES, fake_tables
from tests.unit.runs import drive


class Fleet:
    """An adapter that is not started: messages are handed to it one by one."""

    def __init__(self, clock: VirtualClock, *flows: Any) -> None:
        self.clock = clock
        self.runtime = FlowRuntime(flows=list(flows))

    async def open(self) -> Fleet:
        """Create queue and tables."""
        self.sqs = FakeSqs(self.clock)
        self.url = self.sqs.create("jobs")
        self.dynamodb = await fake_tables(self.clock)
        self.resources: dict[str, Any] = {
            "sqs_client": self.sqs,
            "dynamodb_client": self.dynamodb,
            "queue_url": self.url,
            "context_table_name": CONTEXTS,
            "status_table_name": STATUSES,
            "coordination_store": DynamoDbCoordinationStore(
                self.dynamodb, COORDINATION, self.clock
            ),
        }
        self.adapter = SqsAdapter(
            self.runtime.options, **self.resources, clock=self.clock, heartbeat=False
        )
        return self

    async def work(self) -> int:
        """Hand over all messages that are there, one after the other; how many."""
        count = 0
        while bodies := await self._receive():
            for handle, body in bodies:
                assert await self.adapter.handle_job(body)
                await self.sqs.call(
                    "DeleteMessage", {"QueueUrl": self.url, "ReceiptHandle": handle}
                )
                count += 1
        return count

    async def _receive(self) -> list[tuple[str, str]]:
        request = {"QueueUrl": self.url, "MaxNumberOfMessages": 10, "WaitTimeSeconds": 0}
        answer = await self.sqs.call("ReceiveMessage", request)
        return [(each["ReceiptHandle"], each["Body"]) for each in answer.get("Messages", ())]

    async def close(self) -> None:
        """End."""
        await self.adapter.stop()


async def price(ctx: Any) -> int:
    return int(ctx.input) * 2


async def ship(ctx: Any) -> str:
    return f"shipped for {await ctx.context.get('note', 'nobody')}"


order = (
    create_flow("order")
    .node("price", price, inputs="amount")
    .wait("approve")
    .node("ship", ship)
    .edge("price", "approve")
    .edge("approve", "ship")
)


def test_a_run_goes_from_job_to_job() -> None:
    """Jobs handed in one by one bring a run to its wait, and after the answer to its end."""

    async def work() -> None:
        fleet = await Fleet(VirtualClock(), order).open()
        run = await fleet.adapter.start_run("order", {"amount": 21})
        await fleet.work()
        assert (await run.get()).status == "awaiting"
        await fleet.adapter.resume_with_action(run, "yes")
        await fleet.work()
        stored = await run.get()
        assert (stored.status, stored.outputs["price"]) == ("completed", 42)
        assert fleet.sqs.messages(fleet.url) == []
        await fleet.close()

    drive(work())


def test_a_client_needs_no_registry() -> None:
    """A client starts a run by its id, once a worker has brought the blueprint along."""

    async def work() -> None:
        fleet = await Fleet(VirtualClock(), order).open()
        assert await fleet.work() == 0
        await fleet.adapter.handle_job(json.dumps(JOB_OF_NOBODY))
        async with FlowClient.aws(**fleet.resources) as client:
            run = await client.start_run("order", {"amount": 1}, idempotency_key="k")
            assert await client.start_run("order", {"amount": 2}, idempotency_key="k") == run
            await fleet.work()
            listed = [each.run_id for each in (await client.list_runs(status="awaiting")).runs]
            assert listed == [run]
        await fleet.close()

    drive(work())


JOB_OF_NOBODY = {
    "v": 1,
    "runId": "nobody",
    "epoch": "e",
    "blueprintId": "order",
    "thread": "t",
    "nodeId": "price",
}


@pytest.mark.parametrize("body", ["no JSON", "[]", "{}", '{"runId": "a", "nodeId": "b"}'])
def test_a_job_that_cannot_be_read_is_refused(body: str) -> None:
    """A message that is not one of this package raises; it is for the caller to leave it."""

    async def work() -> None:
        fleet = await Fleet(VirtualClock(), order).open()
        with pytest.raises(UnreadableJob):
            await fleet.adapter.handle_job(body)
        await fleet.close()

    drive(work())


def test_the_context_of_a_run_is_read_and_written_while_it_is_paused() -> None:
    """A context by itself reads at any time, and writes only while the run is paused."""

    async def work() -> None:
        clock = VirtualClock()
        fleet = await Fleet(clock, order).open()
        run = await fleet.adapter.start_run("order", {"amount": 1, "count": 1})
        await fleet.work()
        context = DynamoDbContext(str(run), client=fleet.dynamodb, table_name=CONTEXTS, clock=clock)
        assert await context.get("price") == 2
        assert await context.get("missing", "default") == "default"
        with pytest.raises(InvalidRunState, match="paused"):
            await context.set("note", "Ada")
        await fleet.adapter.pause_run(run)
        await fleet.work()
        await context.set("note", "Ada")
        await context.add("count", 2)
        assert await context.delete("amount")
        assert not await context.has("amount")
        await fleet.adapter.continue_run(run)
        await fleet.adapter.resume_with_action(run, "yes")
        await fleet.work()
        stored = await run.get()
        assert (stored.outputs["ship"], stored.context["count"]) == ("shipped for Ada", 3)
        await fleet.close()

    drive(work())


def test_the_context_of_no_run_is_an_error() -> None:
    """Reading the context of a run that is not there says so."""

    async def work() -> None:
        clock = VirtualClock()
        fleet = await Fleet(clock, order).open()
        context = DynamoDbContext("none", client=fleet.dynamodb, table_name=CONTEXTS, clock=clock)
        with pytest.raises(RunNotFound, match="'none'"):
            await context.to_dict()

    drive(work())


def test_a_reconciler_brings_back_what_was_purged() -> None:
    """A run whose messages are gone is found by its row, and goes on; then nothing is stuck."""

    async def work() -> None:
        fleet = await Fleet(VirtualClock(), order).open()
        run = await fleet.adapter.start_run("order", {"amount": 1})
        await fleet.sqs.call("PurgeQueue", {"QueueUrl": fleet.url})
        reconciler = create_sqs_reconciler(
            adapter=fleet.adapter,
            dynamodb_client=fleet.dynamodb,
            status_table_name=STATUSES,
            stalled_threshold_seconds=300,
        )
        assert (await reconciler.run()).stalled_runs == 0
        fleet.clock.advance(301)
        stats = await reconciler.run()
        assert (stats.scanned_items, stats.stalled_runs, stats.reconciled_runs) == (1, 1, 1)
        await fleet.work()
        assert (await run.get()).status == "awaiting"
        fleet.clock.advance(1_000)
        assert (await reconciler.run()).stalled_runs == 0
        await reconciler.aclose()
        await fleet.close()

    drive(work())


def test_a_reconciler_is_for_the_table_of_its_adapter() -> None:
    """Another status table than the adapter's is refused."""

    async def work() -> None:
        fleet = await Fleet(VirtualClock(), order).open()
        with pytest.raises(ValueError, match="'statuses', not 'others'"):
            create_sqs_reconciler(adapter=fleet.adapter, status_table_name="others")

    drive(work())


def test_a_fifo_queue_is_refused() -> None:
    """An adapter on a FIFO queue says why that cannot work, and what to do."""

    async def work() -> None:
        fleet = await Fleet(VirtualClock(), order).open()
        fleet.resources["queue_url"] = fleet.url + ".fifo"
        adapter = SqsAdapter(fleet.runtime.options, **fleet.resources, clock=fleet.clock)
        with pytest.raises(StorageUnavailable, match="Create a standard queue"):
            await adapter.start()

    drive(work())


def real(fleet: Fleet, locks: DynamoDbCoordinationStore) -> SqsAdapter:
    """An adapter that is started, with another table for locks."""
    resources = fleet.resources | {"coordination_store": locks}
    return SqsAdapter(fleet.runtime.options, **resources, poll_seconds=0.01)


def test_a_worker_without_a_table_for_locks_does_not_start() -> None:
    """That there is no such table is told by `start`, and not by the log alone some time later."""

    async def work() -> None:
        fleet = await Fleet(VirtualClock(), order).open()
        adapter = real(fleet, DynamoDbCoordinationStore(fleet.dynamodb, "nowhere"))
        with pytest.raises(StorageUnavailable, match=r"no table 'nowhere'.*'coordinationKey'"):
            await adapter.start()

    asyncio.run(work())


def test_a_worker_starts_although_the_table_for_locks_is_busy(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What passes by itself keeps no worker from starting; the log has it in one line."""

    class Busy(DynamoDbCoordinationStore):
        calls = 0

        async def get(self, key: str) -> str | int | None:
            self.calls += 1
            if self.calls == 1:
                raise StorageBusy("The table 'locks' is throttled.")
            return await super().get(key)

    async def work() -> None:
        fleet = await Fleet(VirtualClock(), order).open()
        async with real(fleet, Busy(fleet.dynamodb, COORDINATION)):
            pass

    asyncio.run(work())
    (told,) = [each for each in caplog.records if "is throttled" in each.getMessage()]
    assert told.getMessage().startswith("Locks and schedules cannot be used yet: The table")
    assert told.exc_info is None


@pytest.mark.parametrize("run_id", ["", "x" * 5_000])
def test_an_id_that_no_item_can_have_is_of_no_run(run_id: str) -> None:
    """Who asks for a run by an id that DynamoDB refuses is told that there is none."""

    async def work() -> None:
        fleet = await Fleet(VirtualClock()).open()
        for verb in (fleet.adapter.get_run, fleet.adapter.delete_run, fleet.adapter.cancel_run):
            with pytest.raises(RunNotFound):
                await verb(run_id)
        await fleet.close()

    drive(work())


@pytest.mark.parametrize(
    ("options", "error", "expected"),
    [
        ({"payload_bucket": 5}, TypeError, "payload_bucket is the name of a bucket, not 5"),
        ({"payload_bucket": "/prefix"}, ValueError, "'bucket' or 'bucket/with/a/prefix'"),
        ({"shard_items": 1.5}, TypeError, "shard_items is a whole number"),
        ({"shard_items": True}, TypeError, "shard_items is a whole number"),
        ({"stalled_threshold_seconds": "long"}, TypeError, "stalled_threshold_seconds is a number"),
    ],
)
def test_options_that_cannot_be_are_named(
    options: dict[str, Any], error: type[Exception], expected: str
) -> None:
    """What would fail only when a batch, a file or a look comes to it is refused at once."""

    async def work() -> None:
        fleet = await Fleet(VirtualClock()).open()
        more: dict[str, Any] = {}
        if "payload_bucket" in options:
            more["s3_client"] = fleet.dynamodb
        with pytest.raises(error, match=expected):
            SqsAdapter(fleet.runtime.options, **fleet.resources, **more, **options)
        for wrong in ({"blueprint_id": 5}, {"after": 5}):
            with pytest.raises(TypeError, match="is text, not 5"):
                await fleet.adapter.list_runs(**wrong)  # type: ignore[arg-type]
        await fleet.close()

    drive(work())
