"""What is wrong with messages, tables, queues and permissions: said clearly, and nothing lost."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from flowcraft import FlowRuntime, create_flow
from flowcraft.adapters.aws.transport import AwsError, Request
from flowcraft.aws import DynamoDbCoordinationStore, SqsAdapter
from flowcraft.engine.jobs import Job, write_job
from flowcraft.errors import StorageUnavailable
from flowcraft.ports.queue import Outgoing
from tests.acceptance.aws_worker_world import AwsWorld, play
from tests.emulators import aws
from tests.emulators.aws import AwsNames
from tests.unit.aws_tables import CONTEXTS, COORDINATION, STATUSES
from tests.unit.durable import LEASE_SECONDS

MAX_RECEIVES = 3
TROUBLE_SECONDS = 180.0
UNREADABLE = {
    "no JSON": "no JSON",
    "cut off": '{"v":1,"runId":"run","epoch":"e","bluepr',
    "an array": "[1, 2]",
    "of another system": '{"runId":"run","blueprintId":"pair","nodeId":"first"}',
    "from the future": '{"v":99,"runId":"run","epoch":"e","blueprintId":"pair","thread":"t"}',
    "with other types": '{"v":1,"runId":7,"epoch":"e","blueprintId":"pair","thread":"t"}',
    "with an unknown event": json.dumps(
        {
            "v": 1,
            "runId": "run",
            "epoch": "e",
            "blueprintId": "pair",
            "thread": "t",
            "event": '{"type":"Unheard"}',
        }
    ),
}


def pair(world: AwsWorld) -> None:
    """Two nodes."""
    flow = create_flow("pair").node("first", world.body(1)).node("second", world.body(2))
    world.knows(flow.edge("first", "second"))


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged as an error."""
    return [each.getMessage() for each in caplog.records if each.levelno >= logging.ERROR]


def test_messages_that_cannot_be_read_become_dead_letters(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Each is logged once, is never deleted, and holds nobody up; the redrive policy takes it."""

    async def work(world: AwsWorld) -> None:
        pair(world)
        await world.process()
        await world.ports.queue.send([Outgoing(body) for body in UNREADABLE.values()])
        await world.client.start_run("pair", run_id="run")
        await world.until(lambda: world.status("run") == "completed", "the end")
        await world.advance((MAX_RECEIVES + 1) * LEASE_SECONDS)
        assert world.messages() == []
        assert sorted(world.dead_letters()) == sorted(UNREADABLE.values())
        said = errors(caplog)
        assert len(said) == len(UNREADABLE)
        assert all("is left on the queue: " in text for text in said)
        assert "another system, or by a newer version" in " ".join(said)

    play(work, max_receives=MAX_RECEIVES)


def test_messages_for_what_is_not_there_are_dropped(caplog: pytest.LogCaptureFixture) -> None:
    """For an unknown run, an earlier start of a run, or an unknown node: nothing happens."""

    async def work(world: AwsWorld) -> None:
        pair(world)
        await world.process()
        await world.client.start_run("pair", run_id="run")
        await world.finish("run")
        facts = world.facts("run")
        record = world.record("run")
        assert record is not None
        job = Job("run", record.head.epoch, "pair", "thread", "17.1", "nobody", 1)
        strays = [
            replace(job, run_id="unknown"),
            replace(job, epoch="earlier"),
            job,
            replace(job, place="no place at all"),
        ]
        await world.send(*strays)
        await world.advance(LEASE_SECONDS)
        assert world.messages() == []
        assert world.dead_letters() == []
        assert world.facts("run") == facts
        assert set(world.bodies.values()) == {1}
        assert errors(caplog) == []

    play(work, max_receives=MAX_RECEIVES)


def test_a_run_whose_blueprint_is_gone_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    """The message is left, with an error that names run and cure; other runs go on."""

    async def work(world: AwsWorld) -> None:
        pair(world)
        await world.client.start_run("pair", run_id="run")
        (job,) = world.messages()
        record = world.record("run")
        assert record is not None
        kept = [
            item
            for item in world.aws.dynamodb.items(CONTEXTS)
            if record.head.blueprint_hash in item["runId"]["S"]
        ]
        for item in kept:
            request = {"TableName": CONTEXTS, "Key": {"runId": item["runId"]}}
            await world.aws.dynamodb.call("DeleteItem", request)
        assert kept
        other = FlowRuntime(flows=[create_flow("other").node("only", world.body(3))])
        await world.process(None, other.options)
        await world.advance(LEASE_SECONDS)
        body = write_job(job, world.runtime.options.serializer)
        assert world.bodies_of_messages() == [body]
        (said,) = {text for text in errors(caplog) if "trouble" in text}
        assert "Run 'run'" in said
        assert "backup" in caplog.text
        # A worker that has the flow stores it when it begins, and the run goes on.
        await world.process()
        assert (await world.finish("run")).status == "completed"

    play(work)


def failing(code: str, *operations: str) -> Callable[[str, Request], Request]:
    """Refuses requests."""

    def meddle(operation: str, request: Request) -> Request:
        if operation in operations:
            raise AwsError(code, "as told", operation=operation)
        return request

    return meddle


TABLES = ("GetItem", "PutItem", "UpdateItem", "BatchGetItem", "Scan", "TransactWriteItems")
QUEUES = ("ReceiveMessage", "SendMessageBatch", "DeleteMessageBatch")
TROUBLES = {
    "tables throttled": ("ProvisionedThroughputExceededException", TABLES),
    "writes throttled": ("ThrottlingException", ("UpdateItem",)),
    "no permission to write": ("AccessDeniedException", ("UpdateItem",)),
    "no permission to read": ("AccessDeniedException", ("GetItem", "BatchGetItem")),
    "no permission to receive": ("AccessDenied", ("ReceiveMessage",)),
    "no permission to send": ("AccessDenied", ("SendMessageBatch",)),
    "no permission to delete": ("AccessDenied", ("DeleteMessageBatch",)),
    "credentials expired": ("ExpiredTokenException", TABLES + QUEUES),
    "queue deleted": ("QueueDoesNotExist", QUEUES),
    "table deleted": ("ResourceNotFoundException", TABLES),
}


@pytest.mark.parametrize("name", TROUBLES)
def test_a_worker_outlives_trouble(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """Three minutes of it amid runs lose and double nothing; errors name resource and cure."""
    code, operations = TROUBLES[name]

    async def work(world: AwsWorld) -> None:
        async def slow(ctx: Any) -> str:
            world.count(ctx)
            await world.clock.sleep(5.0)
            return "slept"

        flow = create_flow("fan").node("in", world.body(1))
        for number in range(5):
            flow.node(f"n{number}", slow, uses="slow").node(f"m{number}", world.body(number))
            flow.edge("in", f"n{number}").edge(f"n{number}", f"m{number}")
        world.knows(flow)
        await world.process()
        await world.client.start_run("fan", run_id="run-0")
        await world.until(lambda: len(world.bodies) >= 6, "slow nodes")
        await world.client.start_run("fan", run_id="run-1")
        end = world.clock.now() + TROUBLE_SECONDS
        world.aws.meddle = failing(code, *operations)
        await in_trouble(world, end)
        world.aws.meddle = None
        for number in range(2):
            assert (await world.finish(f"run-{number}")).status == "completed"
        assert set(world.bodies.values()) == {1}
        assert world.doubled() == []
        assert world.dead_letters() == []
        resource = CONTEXTS if operations[0] not in QUEUES else world.aws.url
        assert resource in caplog.text
        if "throttled" not in name:
            cures = ("Allow ", "Look at its name", "credentials")
            assert any(each in caplog.text for each in cures)

    play(work, max_receives=1000)


async def in_trouble(world: AwsWorld, end: float) -> None:
    """Let time pass with processes that keep their messages as well as they can."""
    while world.clock.now() < end:
        due = world.clock.next_due
        assert due is not None
        world.clock.advance_to(max(due, world.clock.now()))
        for process in world.processes:
            try:
                await process.beat()
            except Exception as error:
                logging.getLogger("flowcraft.worker").info("As the heartbeat logs it: %s", error)
        await world.settle()


# --- on an emulator ------------------------------------------------------------------------


async def one(ctx: Any) -> int:
    return 1


KINDS = ("missing", "keyed otherwise", "with a sort key")
WRONG = [f"{table} {kind}" for table in (CONTEXTS, STATUSES, COORDINATION) for kind in KINDS]
WRONG += ["queue missing", "queue is FIFO"]


@pytest.mark.slow
@pytest.mark.parametrize("wrong", WRONG)
def test_resources_that_cannot_be_used_are_named(
    ministack: str, aws_names: AwsNames, wrong: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Tables and queues that are missing, or of a wrong kind: the error names them and the cure."""
    sqs, dynamodb = aws.client("sqs", ministack), aws.client("dynamodb", ministack)
    names = aws_names
    for table, key in (
        (CONTEXTS, "runId"),
        (STATUSES, "runId"),
        (COORDINATION, "coordinationKey"),
    ):
        how = wrong.removeprefix(table).strip() if wrong.startswith(table) else ""
        create(dynamodb, getattr(names, table), key, how)
    url = sqs.create_queue(QueueName=names.queue)["QueueUrl"]
    if wrong == "queue missing":
        url += "-not"
    elif wrong == "queue is FIFO":
        attributes = {"FifoQueue": "true"}
        url = sqs.create_queue(QueueName=f"{names.queue}.fifo", Attributes=attributes)["QueueUrl"]
    flow = create_flow("one").node("one", one)
    adapter = SqsAdapter(
        FlowRuntime(flows=[flow]).options,
        coordination_store=DynamoDbCoordinationStore(dynamodb, names.coordination),
        sqs_client=sqs,
        dynamodb_client=dynamodb,
        queue_url=url,
        context_table_name=names.contexts,
        status_table_name=names.statuses,
        poll_seconds=1,
        reconcile_every_seconds=0.2,
    )
    resource = {"q": url, "c": names.contexts, "s": names.statuses}[wrong[0]]
    if wrong.startswith(COORDINATION):
        resource = names.coordination

    async def work() -> str:
        try:
            async with adapter:
                run = await adapter.start_run("one", {})
                result = await adapter.wait_for_run(run, timeout=10)
                assert result.outputs == {"one": 1}  # no run depends on locks
                while wrong.startswith(COORDINATION) and resource not in caplog.text:
                    await asyncio.sleep(0.05)
                return caplog.text
        except StorageUnavailable as error:
            return str(error)

    said = asyncio.run(asyncio.wait_for(work(), 20))
    sqs.close()
    dynamodb.close()
    assert resource in said
    if wrong.startswith("queue"):
        assert "standard queue" in said
    else:
        key = "coordinationKey" if wrong.startswith(COORDINATION) else "runId"
        assert f"partition key is '{key}'" in said or f"the partition key '{key}'" in said


def create(dynamodb: Any, name: str, key: str, how: str) -> None:
    """Create a table, unless it is to be missing."""
    if how == "missing":
        return
    keys = ["id"] if how == "keyed otherwise" else [key]
    if how == "with a sort key":
        keys.append("place")
    kinds = ("HASH", "RANGE")
    dynamodb.create_table(
        TableName=name,
        KeySchema=[
            {"AttributeName": each, "KeyType": kind}
            for each, kind in zip(keys, kinds, strict=False)
        ],
        AttributeDefinitions=[{"AttributeName": each, "AttributeType": "S"} for each in keys],
        BillingMode="PAY_PER_REQUEST",
    )
