"""A fleet on an emulator in which each has the policy of its role, and nothing more is allowed."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest

from flowcraft import FlowRuntime, NodeContext, create_flow
from flowcraft.aws import DynamoDbCoordinationStore, SqsAdapter, create_sqs_reconciler
from flowcraft.client import FlowClient
from flowcraft.errors import StorageUnavailable
from flowcraft.provisioning.policies import ROLES, Resources, policy
from tests.acceptance.aws_denying import denying_client
from tests.emulators.aws import AwsNames, client, create_queue, create_tables
from tests.unit.aws_tables import incompressible
from tests.unit.guarded import Book
from tests.unit.iam import ACCOUNT, REGION, Policy

Ctx = NodeContext[Any]
LARGE = incompressible(60_000)


async def numbers(_: Ctx) -> list[int]:
    return list(range(4))


async def double(ctx: Ctx) -> int:
    return int(ctx.input) * 2


async def large(ctx: Ctx) -> dict[str, Any]:
    return {"text": LARGE, "file": await ctx.blobs.put("report", b"all of it")}


def order() -> Any:
    """A batch in shards, a large value, a file, and a question."""
    flow = create_flow("order").node("list", numbers).batch("each", double).edge("list", "each")
    return flow.node("large", large).edge("each", "large").wait("ok").edge("large", "ok")


class Fleet:
    """Queue, tables and bucket, with clients by role.

    Args:
        endpoint: The emulator.
        names: Of the resources.
    """

    def __init__(self, endpoint: str, names: AwsNames) -> None:
        self._endpoint = endpoint
        self._names = names
        self._admin = {each: client(each, endpoint) for each in ("sqs", "dynamodb", "s3")}
        create_tables(self._admin["dynamodb"], names, status_index=True)
        sqs = self._admin["sqs"]
        self.url = create_queue(sqs, names.queue, dead_letters=names.dead_letters)
        self._admin["s3"].create_bucket(Bucket=names.bucket)
        made = Resources.named(
            region=REGION,
            account=ACCOUNT,
            queue=names.queue,
            context_table=names.contexts,
            status_table=names.statuses,
            coordination_table=names.coordination,
            bucket=f"{names.bucket}/fleet",
        )
        letters = made.queue.replace(names.queue, names.dead_letters)
        resources = replace(made, dead_letter_queue=letters)
        self.books: dict[str, Book] = {
            role: Book(Policy(policy(role, resources))) for role in ROLES
        }
        self.opened: list[Any] = list(self._admin.values())

    def as_(self, role: str) -> dict[str, Any]:
        """What adapters and clients of a role are given."""
        book = self.books[role]
        sqs, dynamodb, s3 = (denying_client(each, self._endpoint, book) for each in self._admin)
        self.opened += [sqs, dynamodb, s3]
        return {
            "sqs_client": sqs,
            "dynamodb_client": dynamodb,
            "queue_url": self.url,
            "context_table_name": self._names.contexts,
            "status_table_name": self._names.statuses,
            "coordination_store": DynamoDbCoordinationStore(dynamodb, self._names.coordination),
            "s3_client": s3,
            "payload_bucket": f"{self._names.bucket}/fleet",
        }

    def close(self) -> None:
        """Close the connections."""
        for each in self.opened:
            each.close()


@pytest.mark.slow
def test_a_fleet_works_where_nothing_is_allowed_but_by_policy(
    ministack: str, aws_names: AwsNames
) -> None:
    """Each role does its work and is denied nothing, but for a viewer that wishes to cancel."""
    fleet = Fleet(ministack, aws_names)
    options = FlowRuntime(flows=[order()]).options

    async def work() -> None:
        async with AsyncExitStack() as stack:
            starter, answerer, operator, viewer = [
                await stack.enter_async_context(FlowClient.aws(options, **fleet.as_(role)))
                for role in ("starter", "answerer", "operator", "viewer")
            ]
            worker = SqsAdapter(options, **fleet.as_("worker"), poll_seconds=0.2, shard_items=2)
            await stack.enter_async_context(worker)
            for run_id in ("r", "unwanted"):
                await starter.start_run("order", {"given": LARGE}, run_id=run_id)
                await _until(viewer, run_id, "awaiting")
            await answerer.resume_with_action("r", output="yes")
            result = (await starter.wait_for_run("r", timeout=30)).outputs
            assert await viewer.blobs.get(result["large"]["file"]) == b"all of it"
            with pytest.raises(StorageUnavailable, match="access to sqs:SendMessage is denied"):
                await viewer.cancel_run("unwanted")
            await operator.cancel_run("unwanted")
            await _until(viewer, "unwanted", "cancelled")
            await operator.delete_run("unwanted")
            assert [each.run_id for each in (await viewer.list_runs()).runs] == ["r"]
            adapter = SqsAdapter(options, **fleet.as_("reconciler"))
            reconciler = create_sqs_reconciler(adapter=adapter)
            stack.push_async_callback(reconciler.aclose)
            assert (await reconciler.run()).failed_runs == 0

    asyncio.run(work())
    fleet.close()
    refused = {role: sorted(map(str, book.refused)) for role, book in fleet.books.items()}
    queue = fleet.books["viewer"].policy.document["Statement"][0]["Resource"][0]
    assert refused == {role: [] for role in ROLES} | {"viewer": [f"sqs:SendMessage on {queue}"]}
    assert all(book.asked for book in fleet.books.values())


async def _until(viewer: Any, run_id: str, status: str) -> None:
    async with asyncio.timeout(30):
        while str((await viewer.get_run(run_id)).status) != status:
            await asyncio.sleep(0.02)
