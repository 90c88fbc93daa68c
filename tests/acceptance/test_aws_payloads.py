"""Large values and files on an emulator of SQS, DynamoDB and S3, through boto3."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import pytest

from flowcraft import FlowRuntime, NodeContext, create_flow
from flowcraft.aws import DynamoDbCoordinationStore, SqsAdapter
from flowcraft.client import FlowClient
from flowcraft.codecs import AesGcmCodec, ChainedCodec, CompressionCodec
from flowcraft.errors import StorageCorrupt, StorageUnavailable
from flowcraft.ports.objects import PART_BYTES
from tests.emulators.aws import AwsNames, client, create_queue, create_tables
from tests.unit.aws_tables import incompressible

Ctx = NodeContext[Any]
LARGE = incompressible(300_000)
SIZE = 2 * PART_BYTES + 12_345


def flow(source: Path, target: Path) -> Any:
    """A large value and a large file, from one node to the next."""

    async def give(ctx: Ctx) -> dict[str, Any]:
        return {"text": LARGE, "file": await ctx.blobs.put("file.bin", source)}

    async def take(ctx: Ctx) -> list[Any]:
        saved = await ctx.blobs.save_to(ctx.input["file"], target)
        return [len(ctx.input["text"]), hashlib.sha256(saved.read_bytes()).hexdigest()]

    return create_flow("payloads").node("give", give).node("take", take).edge("give", "take")


@pytest.mark.slow
@pytest.mark.parametrize("is_coded", [False, True], ids=["plain", "coded"])
def test_a_run_with_large_values_and_files(
    ministack: str, aws_names: AwsNames, tmp_path: Path, is_coded: bool
) -> None:
    """They are in the bucket, come back as they were, and are gone with the run."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(bytes(range(256)) * (SIZE // 256 + 1))
    sqs, dynamodb = client("sqs", ministack), client("dynamodb", ministack)
    s3 = client("s3", ministack)
    create_tables(dynamodb, aws_names)
    s3.create_bucket(Bucket=aws_names.bucket)
    common: dict[str, Any] = {
        "sqs_client": sqs,
        "dynamodb_client": dynamodb,
        "queue_url": create_queue(sqs, aws_names.queue),
        "context_table_name": aws_names.contexts,
        "status_table_name": aws_names.statuses,
        "coordination_store": DynamoDbCoordinationStore(dynamodb, aws_names.coordination),
        "s3_client": s3,
        "payload_bucket": f"{aws_names.bucket}/team/flows",
        "codec": ChainedCodec(CompressionCodec(), AesGcmCodec(bytes(32))) if is_coded else None,
    }
    flows = [flow(source, target)]

    def keys() -> list[str]:
        listed = s3.list_objects_v2(Bucket=aws_names.bucket)
        return [each["Key"] for each in listed.get("Contents", [])]

    async def work() -> None:
        options = FlowRuntime(flows=flows).options
        async with (
            SqsAdapter(options, **common, poll_seconds=1.0) as adapter,
            FlowClient.aws(**common) as people,
        ):
            run = await adapter.start_run("payloads", {"given": LARGE}, run_id="a run/1")
            result = (await run.result(timeout=60)).raise_for_status()
            expected = hashlib.sha256(source.read_bytes()).hexdigest()
            assert result.outputs["take"] == [len(LARGE), expected]
            assert all(key.startswith("team/flows/runs/a+run%2F1/") for key in keys())
            assert {key.split("/")[5] for key in keys()} == {"f", "v"}
            file = result.outputs["give"]["file"]
            again = await people.blobs.save_to(file, tmp_path / "again")
            assert again.read_bytes() == source.read_bytes()
            s3.delete_object(Bucket=aws_names.bucket, Key=f"team/flows/{file['blob']}")
            with pytest.raises(StorageCorrupt, match=f"bucket '{aws_names.bucket}' is missing"):
                await people.blobs.get(file)
            await people.delete_run("a run/1")
            assert keys() == []

    asyncio.run(work())
    for each in (sqs, dynamodb, s3):
        each.close()


@pytest.mark.slow
def test_a_missing_bucket_is_named(ministack: str, aws_names: AwsNames) -> None:
    """A start with a large value is refused with the bucket's name and what to do, and no run."""
    sqs, dynamodb = client("sqs", ministack), client("dynamodb", ministack)
    s3 = client("s3", ministack)
    create_tables(dynamodb, aws_names)

    async def work() -> None:
        options = FlowRuntime(flows=[flow(Path(), Path())]).options
        people = FlowClient.aws(
            options,
            sqs_client=sqs,
            dynamodb_client=dynamodb,
            queue_url=create_queue(sqs, aws_names.queue),
            context_table_name=aws_names.contexts,
            status_table_name=aws_names.statuses,
            coordination_store=DynamoDbCoordinationStore(dynamodb, aws_names.coordination),
            s3_client=s3,
            payload_bucket=aws_names.bucket,
        )
        async with people:
            with pytest.raises(StorageUnavailable, match=f"no bucket '{aws_names.bucket}'"):
                await people.start_run("payloads", {"given": LARGE}, run_id="r")
            assert (await people.list_runs()).runs == ()

    asyncio.run(work())
    for each in (sqs, dynamodb, s3):
        each.close()
