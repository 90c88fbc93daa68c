"""Large values: in a bucket where there is one, and refused in time where there is none."""

from __future__ import annotations

import asyncio
import logging
import re
from typing import Any

import pytest

from flowcraft import FlowRuntime, NodeContext, create_flow
from flowcraft.adapters.aws.large_messages import LARGE_BYTES
from flowcraft.adapters.aws.parts import CHUNK_BYTES, OBJECT_BYTES, VALUE_LIMIT_BYTES
from flowcraft.aws import DynamoDbContext, SqsAdapter
from flowcraft.errors import StorageCorrupt, StorageError, StorageFull, StorageUnavailable
from tests.unit.aws_fleet import BUCKET, FakeFleet, until
from tests.unit.aws_tables import CONTEXTS, incompressible
from tests.unit.runs import drive

Ctx = NodeContext[Any]
# Random characters are compressed by a fifth.
LARGE = incompressible(4 * OBJECT_BYTES)
SMALL = incompressible(OBJECT_BYTES // 2)
HUGE = incompressible(2 * LARGE_BYTES, seed=2)


def flow(output: str = LARGE) -> Any:
    """A node with a large output, and one that tells how long it is."""

    async def give(ctx: Ctx) -> str:
        return output

    async def measure(ctx: Ctx) -> int:
        return len(ctx.input)

    return create_flow("large").node("give", give).node("size", measure).edge("give", "size")


async def finished(adapter: Any, name: str = "large", context: Any = None, **options: Any) -> Any:
    """A run that has come to its end."""
    run = await adapter.start_run(name, context, **options)
    return await run.result(timeout=90)


def test_what_is_large_is_in_the_bucket_and_goes_with_the_run() -> None:
    """A large output is one object, read by workers and clients; ``delete_run`` deletes it."""

    async def work() -> None:
        fleet = await FakeFleet.made()
        async with fleet.adapter(flow()) as adapter:
            result = await finished(adapter, context={"given": SMALL}, run_id="a run/1")
            assert result.outputs == {"give": LARGE, "size": len(LARGE)}
            (key,) = fleet.s3.objects(BUCKET)
            assert key.startswith("runs/a+run%2F1/")
            assert fleet.s3.calls["PutObject"] == 1
            assert LARGE[:200] not in repr(fleet.dynamodb.items(CONTEXTS))
            async with fleet.client() as client:
                assert (await client.get_run("a run/1")).outputs["give"] == LARGE
            await adapter.delete_run("a run/1")
            assert fleet.s3.objects(BUCKET) == {}

    drive(work())


def test_what_is_small_costs_no_request_of_s3() -> None:
    """A run with small values makes no request to S3 before it is deleted."""

    async def work() -> None:
        fleet = await FakeFleet.made()
        async with fleet.adapter(flow(SMALL)) as adapter:
            await finished(adapter)
            assert fleet.s3.calls.total() == 0

    drive(work())


def test_everything_that_may_be_large_goes_there() -> None:
    """Contexts, blueprints, answers with their messages: each is an object, found by everybody."""

    async def keep(ctx: Ctx) -> None:
        await ctx.context.set("kept", LARGE)

    params = {"text": incompressible(3 * OBJECT_BYTES, seed=3)}
    large = create_flow("everything").node("keep", keep, params=params).wait("answer")
    large.edge("keep", "answer")

    async def work() -> None:
        fleet = await FakeFleet.made()
        async with fleet.client(large) as client:
            await client.start_run("everything", {"given": LARGE}, run_id="r")
            kinds = sorted(key.split("/")[0] for key in fleet.s3.objects(BUCKET))
            assert kinds == ["runs", "texts"]
            async with fleet.adapter(large) as adapter:
                while (await client.get_run("r")).status != "awaiting":
                    await asyncio.sleep(0.01)
            await client.resume_with_action("r", output=HUGE)
            (message,) = fleet.sqs.messages(fleet.queue_url)
            assert len(message.body) < 1000
            assert '"runId":"r"' in message.body
            assert "m" in fleet.kinds()
            async with fleet.adapter(large) as adapter:
                result = await client.wait_for_run("r", timeout=90)
                assert result.outputs["answer"] == HUGE
                assert result.context["kept"] == result.context["given"] == LARGE
                await adapter.delete_run("r")
            assert {key.split("/")[0] for key in fleet.s3.objects(BUCKET)} == {"texts"}

    drive(work())


def test_a_message_of_a_run_that_was_deleted_does_nothing() -> None:
    """A large message whose run is gone, and its object with it, is dropped like any other."""
    asking = create_flow("asking").wait("answer")

    async def work() -> None:
        fleet = await FakeFleet.made()
        async with fleet.client(asking) as client:
            await client.start_run("asking", run_id="r")
            async with fleet.adapter(asking):
                await until(lambda: not fleet.sqs.messages(fleet.queue_url))
            await client.resume_with_action("r", output=HUGE)
            (message,) = fleet.sqs.messages(fleet.queue_url)
            async with fleet.adapter(asking) as adapter:
                await client.wait_for_run("r", timeout=90)
                await until(lambda: not fleet.sqs.messages(fleet.queue_url))
                await adapter.delete_run("r")
                assert await adapter.handle_job(message.body)

    drive(work())


def test_a_context_of_its_own_reads_them() -> None:
    """``DynamoDbContext`` reads large values by the bucket, and says what it lacks without one."""

    async def work() -> None:
        fleet = await FakeFleet.made()
        async with fleet.adapter(flow()) as adapter:
            await finished(adapter, context={"given": LARGE}, run_id="r")
        given: dict[str, Any] = {"client": fleet.dynamodb, "table_name": CONTEXTS}
        context = DynamoDbContext("r", **given, s3_client=fleet.s3, payload_bucket=BUCKET)
        assert await context.get("given") == LARGE
        with pytest.raises(StorageUnavailable, match=r"kept in S3.*payload_bucket"):
            await DynamoDbContext("r", **given).get("given")

    drive(work())


# -- without a bucket -----------------------------------------------------------------------


def test_without_a_bucket_the_table_takes_24_megabytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to the limit a value is in the table; beyond, the node fails and nothing is written."""
    assert VALUE_LIMIT_BYTES == 64 * CHUNK_BYTES == 24_903_680
    # The limit itself takes minutes on the fake.
    monkeypatch.setattr("flowcraft.adapters.aws.parts.VALUE_LIMIT_BYTES", 100_000)

    async def work() -> None:
        fleet = await FakeFleet.made()
        async with fleet.adapter(flow(LARGE), bucket=None) as adapter:
            assert (await finished(adapter)).outputs["size"] == len(LARGE)
        before = len(fleet.dynamodb.items(CONTEXTS))
        async with fleet.adapter(flow(incompressible(200_000)), bucket=None) as adapter:
            result = await finished(adapter, run_id="too-large")
            assert result.status == "failed"
            (error,) = result.errors
            assert error.type == "StorageFull"
            assert "100,000 is the most" in error.message
            assert "s3_client, payload_bucket" in error.message
        # The run and the blueprint, but nothing of the value.
        assert len(fleet.dynamodb.items(CONTEXTS)) <= before + 2
        assert fleet.s3.calls.total() == 0

    drive(work())


def test_a_start_that_is_too_large_writes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A context beyond the limit is refused, and there is no run."""
    monkeypatch.setattr("flowcraft.adapters.aws.parts.VALUE_LIMIT_BYTES", 10_000)

    async def work() -> None:
        fleet = await FakeFleet.made()
        async with fleet.client(flow(), bucket=None) as client:
            with pytest.raises(StorageFull, match="10,000 is the most"):
                await client.start_run("large", {"given": LARGE}, run_id="r")
            runs = [item["runId"]["S"] for item in fleet.dynamodb.items(CONTEXTS)]
            assert not any(run.startswith("r") for run in runs)
            assert fleet.sqs.messages(fleet.queue_url) == []

    drive(work())


def test_an_answer_that_is_too_large_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who sends what no run could take is told so, and nothing is sent or stored."""
    monkeypatch.setattr("flowcraft.adapters.aws.parts.VALUE_LIMIT_BYTES", 300_000)
    asking = create_flow("asking").wait("answer")

    async def work() -> None:
        fleet = await FakeFleet.made()
        async with fleet.client(asking, bucket=None) as client:
            await client.start_run("asking", run_id="r")
            async with fleet.adapter(asking, bucket=None):
                await until(lambda: not fleet.sqs.messages(fleet.queue_url))
            before = fleet.dynamodb.items(CONTEXTS)
            with pytest.raises(StorageFull, match=r"300,000 is the most.*payload_bucket"):
                await client.resume_with_action("r", output=HUGE)
            assert fleet.sqs.messages(fleet.queue_url) == []
            assert fleet.dynamodb.items(CONTEXTS) == before

    drive(work())


def test_a_child_run_whose_result_is_too_large_fails_its_node(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All values of a child run may be more than its parent can take; its result alone is not."""
    monkeypatch.setattr("flowcraft.adapters.aws.parts.VALUE_LIMIT_BYTES", 300_000)

    async def give(ctx: Ctx) -> str:
        return incompressible(250_000, seed=int(ctx.node_id))

    child = create_flow("child").node("1", give).node("2", give).edge("1", "2")
    all_of_it = create_flow("all").subflow("below", "child", outputs={"one": "1"})
    result_alone = create_flow("result").subflow("below", "child")

    async def work() -> None:
        fleet = await FakeFleet.made()
        async with fleet.adapter(child, all_of_it, result_alone, bucket=None) as adapter:
            result = await finished(adapter, "result")
            assert result.outputs == {"below": incompressible(250_000, seed=2)}
            result = await finished(adapter, "all")
            assert result.status == "failed"
            (error,) = result.errors
            assert (error.type, error.node_id) == ("StorageFull", "below")
            assert "payload_bucket" in error.message
            await until(lambda: not fleet.sqs.messages(fleet.queue_url))

    drive(work())


def test_files_need_a_bucket() -> None:
    """``ctx.blobs`` without a bucket fails the node at once, and says what is missing."""

    async def keep(ctx: Ctx) -> Any:
        return await ctx.blobs.put("file", b"x")

    async def work() -> None:
        fleet = await FakeFleet.made()
        async with fleet.adapter(create_flow("f").node("keep", keep), bucket=None) as adapter:
            (error,) = (await finished(adapter, "f")).errors
            assert error.type == "StorageUnavailable"
            assert "s3_client and payload_bucket" in error.message

    drive(work())


def test_client_and_bucket_go_together() -> None:
    """One without the other is refused when the adapter is made."""
    given = FakeFleet().common(None)
    for more in ({"payload_bucket": "b"}, {"s3_client": object()}):
        with pytest.raises(ValueError, match="go together"):
            SqsAdapter(FlowRuntime().options, **(given | more))


def test_a_process_without_the_bucket_leaves_runs_alone(caplog: pytest.LogCaptureFixture) -> None:
    """A worker that lacks the bucket says so and changes nothing; one that has it goes on."""

    async def work() -> None:
        fleet = await FakeFleet.made()
        async with fleet.client(flow()) as client:
            await client.start_run("large", {"given": LARGE}, run_id="r")
            async with fleet.adapter(flow(), bucket=None, lease_seconds=2.0):
                await until(lambda: "payload_bucket" in caplog.text)
            # Its message comes back when its visibility ends.
            (message,) = fleet.sqs.messages(fleet.queue_url)
            async with fleet.adapter(flow()) as adapter:
                assert await adapter.handle_job(message.body)
                assert (await client.wait_for_run("r", timeout=90)).status == "completed"

    drive(work())


# -- when something goes wrong --------------------------------------------------------------


@pytest.mark.parametrize(
    ("break_it", "mend", "text"),
    [
        (lambda s3: s3.drop(BUCKET), lambda s3: s3.create(BUCKET), "no bucket 'payloads'"),
        (lambda s3: s3.deny(["PutObject"]), lambda s3: s3.deny(), "s3:PutObject"),
        (
            lambda s3: s3.fail("ExpiredToken", "The provided token has expired."),
            lambda s3: s3.fail(None),
            "does not take the credentials.*Renew them",
        ),
        (
            lambda s3: s3.fail("SlowDown", "Please reduce your request rate.", 503),
            lambda s3: s3.fail(None),
            "more requests than it takes",
        ),
        (
            lambda s3: s3.fail("PermanentRedirect", "elsewhere", 301),
            lambda s3: s3.fail(None),
            "another region.*region_name",
        ),
    ],
    ids=["no bucket", "no permission", "expired credentials", "slow down", "another region"],
)
@pytest.mark.parametrize("with_file", [False, True], ids=["value", "file"])
def test_trouble_with_the_bucket_fails_no_run(
    break_it: Any, mend: Any, text: str, with_file: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """In the middle of a run the bucket cannot be used: that is said, and then the run goes on."""
    caplog.set_level(logging.WARNING)
    bodies = []

    async def give(ctx: Ctx) -> Any:
        bodies.append(ctx.attempt)
        break_it(fleet.s3)
        return await ctx.blobs.put("file", b"content") if with_file else LARGE

    broken = create_flow("large").node("give", give)
    fleet: Any = None

    async def work() -> None:
        nonlocal fleet
        fleet = await FakeFleet.made()
        async with fleet.adapter(broken, lease_seconds=1.0) as adapter:
            run = await adapter.start_run("large")
            await until(lambda: re.search(text, caplog.text, re.DOTALL))
            assert (await adapter.get_run(run)).status == "running"
            mend(fleet.s3)
            result = await run.result(timeout=90)
            assert result.status == "completed"
            if with_file:
                assert await adapter.blobs.get(result.outputs["give"]) == b"content"
            else:
                assert result.outputs["give"] == LARGE
        assert bodies == [1]

    drive(work())


@pytest.mark.parametrize(
    ("data", "how"), [(None, "is missing"), (b"something else", "is damaged"), (b"", "is damaged")]
)
def test_a_damaged_or_missing_object_is_named(data: bytes | None, how: str) -> None:
    """Whoever opens the run is told which object of which bucket is not what it was."""

    async def work() -> None:
        fleet = await FakeFleet.made()
        async with fleet.adapter(flow()) as adapter:
            await finished(adapter, run_id="r")
        (key,) = fleet.s3.objects(BUCKET)
        fleet.s3.meddle(BUCKET, key, data)
        async with fleet.client() as client:
            with pytest.raises(StorageCorrupt, match=f"'{key}' in the bucket '{BUCKET}'") as raised:
                await client.get_run("r")
            assert how in str(raised.value)

    drive(work())


@pytest.mark.parametrize(
    ("data", "how"), [(None, "is missing"), (b"something else", "not what was put")]
)
def test_a_damaged_blueprint_is_named(data: bytes | None, how: str) -> None:
    """The same for texts, such as blueprints."""
    large = create_flow("large").node("n", lambda ctx: 1, params={"p": LARGE})

    async def work() -> None:
        fleet = await FakeFleet.made()
        async with fleet.client(large) as client:
            await client.start_run("large", run_id="r")
        (key,) = fleet.s3.objects(BUCKET)
        fleet.s3.meddle(BUCKET, key, data)
        async with fleet.client() as client:
            with pytest.raises(StorageCorrupt, match=f"'{key}' in the bucket '{BUCKET}'") as raised:
                await client.get_run("r")
            assert how in str(raised.value)

    drive(work())


def test_a_client_is_told_at_once() -> None:
    """A start whose value cannot be stored is an error for who starts it, and there is no run."""

    async def work() -> None:
        fleet = await FakeFleet.made()
        fleet.s3.drop(BUCKET)
        async with fleet.client(flow()) as client:
            with pytest.raises(StorageError, match="There is no bucket 'payloads'"):
                await client.start_run("large", {"given": LARGE}, run_id="r")
            fleet.s3.create(BUCKET)
            await client.start_run("large", {"given": LARGE}, run_id="r")
            assert (await client.get_run("r")).context["given"] == LARGE

    drive(work())
