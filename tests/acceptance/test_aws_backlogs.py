"""Queues of a fleet that are long, purged, or read by workers that cannot do what they find."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from flowcraft import FlowRuntime, NodeContext, Registry, create_flow
from flowcraft.adapters.aws.rows import HEARTBEAT_SECONDS
from flowcraft.adapters.aws.transport import Request
from flowcraft.engine.reconcile import ReconciliationStats
from flowcraft.errors import FlowcraftError
from tests.acceptance.aws_worker_world import AwsWorld, play
from tests.unit.aws_tables import CONTEXTS, STATUSES
from tests.unit.durable import LEASE_SECONDS

STALLED_SECONDS = 2 * LEASE_SECONDS
BACKLOG_SECONDS = 120
LAYERS, WIDTH = 6, 10


def put_back(world: AwsWorld) -> int:
    """How often the message was put back; its last copy may not be deleted yet."""
    return max(message.put_back for message in world.messages())


def test_messages_that_are_put_back_never_become_dead_letters() -> None:
    """20 puts-back in a rolling deploy, with 3 receives allowed: no dead letter, one body."""

    async def work(world: AwsWorld) -> None:
        flow = create_flow("draw").node("draw", world.body("a picture"), uses="draw")
        world.knows(flow)
        plain = FlowRuntime(registry=Registry())
        old = [await world.process(None, plain.options) for _ in range(2)]
        await world.client.start_run("draw", run_id="run")
        await world.until(lambda: put_back(world) >= 20, "20 puts-back")
        assert world.bodies == Counter()
        for process in old:
            await process.kill()
        await world.process()
        run = await world.finish("run")
        assert run.outputs == {"draw": "a picture"}
        assert list(world.bodies.values()) == [1]
        assert world.dead_letters() == []

    play(work, max_receives=3)


def layers(world: AwsWorld) -> None:
    """Six layers of ten nodes, each of which follows all of the layer before."""
    flow, one = create_flow("layers"), world.body(1)
    for layer in range(LAYERS):
        for number in range(WIDTH):
            node = f"{layer}-{number}"
            flow.node(node, one, uses="one")
            for before in range(WIDTH if layer else 0):
                flow.edge(f"{layer - 1}-{before}", node)
    world.knows(flow)


class OneDuplicate:
    """Sends one message twice, and lets all of them wait behind a backlog.

    Args:
        number: Which message, from 0.
    """

    def __init__(self, number: int) -> None:
        self._left = number

    def __call__(self, operation: str, request: Request) -> Request:
        if operation != "SendMessageBatch":
            return request
        entries = []
        for entry in request["Entries"]:
            late = {**entry, "DelaySeconds": max(BACKLOG_SECONDS, entry["DelaySeconds"])}
            entries.append(late)
            if self._left == 0:
                entries.append({**late, "Id": "1000"})
            self._left -= 1
        return {**request, "Entries": entries}


@pytest.mark.parametrize(
    ("number", "stalled_seconds"),
    [
        pytest.param(0, None, id="of the start"),
        pytest.param(14, STALLED_SECONDS, id="in the middle, stalled before it comes"),
    ],
)
def test_a_duplicate_does_not_breed_behind_a_backlog(
    number: int, stalled_seconds: float | None
) -> None:
    """One duplicate in six full layers of ten, 120 s behind: two messages per node at most."""
    assert sent_for_layers(number, stalled_seconds) <= 2 * LAYERS * WIDTH


def test_a_doubled_start_doubles_its_own_layer_and_no_other() -> None:
    """Of a start that comes twice, and later than the reconciler, the first layer pays alone.

    The reconciler sends that layer before the start is heard of, and once more after; each
    delivery of the start, and the one that is put off, sends it, too: 2.3 messages per node in all.
    """
    usual = sent_for_layers(LAYERS * WIDTH * 10, STALLED_SECONDS)
    assert usual <= 2 * LAYERS * WIDTH
    assert sent_for_layers(0, STALLED_SECONDS) <= usual + 2 * WIDTH


def sent_for_layers(number: int, stalled_seconds: float | None) -> int:
    """How many messages six layers of ten take, one of which is sent twice."""

    async def work(world: AwsWorld) -> None:
        layers(world)
        world.aws.meddle = OneDuplicate(number)
        for _ in range(2):
            await world.process(
                reconcile_every_seconds=20.0, stalled_threshold_seconds=stalled_seconds
            )
        await world.client.start_run("layers", run_id="run")
        run = await world.finish("run")
        assert run.status == "completed"
        assert len(world.bodies) == LAYERS * WIDTH
        assert set(world.bodies.values()) == {1}
        assert world.dead_letters() == []

    return play(work).aws.entries.total()


async def purged(world: AwsWorld) -> None:
    """A run of which one node is done, and nothing on the queue."""
    await world.client.start_run("pair", run_id="run")
    await world.aws.sqs.call("PurgeQueue", {"QueueUrl": world.aws.url})
    await world.advance(STALLED_SECONDS + 1)
    assert world.bodies == Counter()


def pair(world: AwsWorld) -> None:
    """Two nodes, the second of which starts a child run with two more."""
    child = create_flow("child").node("third", world.body(3)).node("fourth", world.body(4))
    child.edge("third", "fourth")
    flow = create_flow("pair").node("first", world.body(1)).subflow("second", "child")
    world.knows(child, flow.edge("first", "second"))


async def reconciled(world: AwsWorld) -> ReconciliationStats:
    """One look at all runs."""
    return await world.client.reconcile(stalled_threshold_seconds=STALLED_SECONDS)


def test_a_queue_that_was_purged_is_filled_again() -> None:
    """Runs whose messages are gone go on after a look, and end; finished runs are left alone."""

    async def work(world: AwsWorld) -> None:
        pair(world)
        await purged(world)
        assert await reconciled(world) == ReconciliationStats(1, 1, 1, 0)
        await world.process()
        run = await world.finish("run")
        assert run.status == "completed"
        assert set(world.bodies.values()) == {1}
        assert len(world.bodies) == 3
        await world.advance(STALLED_SECONDS + 1)
        assert await reconciled(world) == ReconciliationStats(0, 0, 0, 0)

    play(work)


def test_reconcilers_and_workers_at_once_do_no_harm() -> None:
    """Two looks at a time, over and over beside live workers: each body runs once."""

    async def work(world: AwsWorld) -> None:
        pair(world)
        layers(world)
        world.aws.meddle = OneDuplicate(5)
        for _ in range(3):
            await world.process()
        for number in range(3):
            await world.client.start_run("pair", run_id=f"pair-{number}")
        await world.client.start_run("layers", run_id="layers")
        for _ in range(60):
            await asyncio.gather(reconciled(world), reconciled(world))
            await world.advance(20.0)
        for run_id in world.run_ids():
            assert world.status(run_id) == "completed"
        assert set(world.bodies.values()) == {1}
        assert len(world.bodies) == LAYERS * WIDTH + 3 * 3
        assert world.doubled() == []
        assert world.messages() == []
        assert world.dead_letters() == []

    play(work)


async def put_row(world: AwsWorld, row: dict[str, Any]) -> None:
    """Write a row by hand."""
    await world.aws.dynamodb.call("PutItem", {"TableName": STATUSES, "Item": row})


async def row_of(world: AwsWorld, run_id: str) -> dict[str, Any] | None:
    """The row of a run as the table has it."""
    request = {"TableName": STATUSES, "Key": {"runId": {"S": run_id}}, "ConsistentRead": True}
    row: dict[str, Any] | None = (await world.aws.dynamodb.call("GetItem", request)).get("Item")
    return row


def test_a_row_that_is_wrong_is_mended() -> None:
    """A row that is behind its run, by hand or by a lost write, is as it should be after a look."""

    async def work(world: AwsWorld) -> None:
        pair(world)
        await world.process()
        await world.client.start_run("pair", run_id="run")
        begun = await row_of(world, "run")
        assert begun is not None
        await world.finish("run")
        right = await row_of(world, "run")
        assert right is not None
        assert right["status"] == {"S": "completed"}
        await put_row(world, begun)
        await world.advance(STALLED_SECONDS + 1)
        await reconciled(world)
        mended = await row_of(world, "run")
        assert mended is not None
        assert (mended["status"], mended["r"]) == (right["status"], right["r"])
        assert set(world.bodies.values()) == {1}
        assert world.messages() == []

    play(work)


def test_a_row_that_was_deleted_comes_back() -> None:
    """A run whose row is gone goes on, and has its row again as soon as anything happens."""

    async def work(world: AwsWorld) -> None:
        flow = create_flow("asks").node("first", world.body(1)).wait("answer")
        world.knows(flow.node("last", world.body(2)).edge("first", "answer").edge("answer", "last"))
        await world.process()
        await world.client.start_run("asks", run_id="run")
        await world.until(lambda: world.status("run") == "awaiting", "the wait")
        request = {"TableName": STATUSES, "Key": {"runId": {"S": "run"}}}
        await world.aws.dynamodb.call("DeleteItem", request)
        await world.client.resume_with_action("run")
        await world.finish("run")
        row = await row_of(world, "run")
        assert row is not None
        assert row["status"] == {"S": "completed"}
        (listed,) = (await world.client.list_runs()).runs
        assert (listed.run_id, listed.status) == ("run", "completed")

    play(work)


def test_a_row_that_was_deleted_comes_back_with_the_heartbeat() -> None:
    """A run whose row is gone while its nodes succeed one another has it again in a minute."""

    async def work(world: AwsWorld) -> None:
        async def long(ctx: Any) -> None:
            await world.clock.sleep(HEARTBEAT_SECONDS)

        flow = create_flow("long")
        for number in range(4):
            flow.node(f"n{number}", long, uses="long")
            if number:
                flow.edge(f"n{number - 1}", f"n{number}")
        world.knows(flow)
        await world.process()
        await world.client.start_run("long", run_id="run")
        await world.advance(1.0)
        request = {"TableName": STATUSES, "Key": {"runId": {"S": "run"}}}
        await world.aws.dynamodb.call("DeleteItem", request)
        end = world.clock.now() + 2 * HEARTBEAT_SECONDS
        await world.until(lambda: world.clock.now() >= end, "two minutes")
        row = await row_of(world, "run")
        assert row is not None
        assert row["status"] == {"S": "running"}
        assert (await world.finish("run")).status == "completed"

    play(work)


def test_rows_of_another_system_are_left_alone() -> None:
    """A reconciler neither changes nor counts rows and items that have none of our marks."""
    row = {
        "runId": {"S": "theirs"},
        "status": {"S": "running"},
        "lastUpdated": {"N": "1700000000000"},
    }
    item = {"runId": {"S": "theirs"}, "status": {"S": "running"}, "input": {"S": "{}"}}

    async def work(world: AwsWorld) -> None:
        pair(world)
        await world.process()
        await put_row(world, row)
        await world.aws.dynamodb.call("PutItem", {"TableName": CONTEXTS, "Item": item})
        await purged(world)
        assert await reconciled(world) == ReconciliationStats(1, 1, 1, 0)
        await world.finish("run")
        assert await row_of(world, "theirs") == row
        key = {"TableName": CONTEXTS, "Key": {"runId": {"S": "theirs"}}}
        assert (await world.aws.dynamodb.call("GetItem", key))["Item"] == item
        listed = (await world.client.list_runs()).runs
        assert sorted(run.run_id for run in listed) == ["run", "run/second::1"]

    play(work)


@pytest.mark.parametrize("table", [CONTEXTS, STATUSES])
def test_no_run_is_started_under_an_id_of_another_system(table: str) -> None:
    """An id that another system has in either table is refused; what it has stays as it is."""
    theirs = {
        "runId": {"S": "theirs"},
        "status": {"S": "running"},
        "lastUpdated": {"N": "1700000000000"},
    }

    async def work(world: AwsWorld) -> None:
        pair(world)
        await world.process()
        await world.aws.dynamodb.call("PutItem", {"TableName": table, "Item": theirs})
        with pytest.raises(FlowcraftError, match=f"The table '{table}' has an item 'theirs'"):
            await world.client.start_run("pair", run_id="theirs")
        assert world.messages() == []
        assert world.aws.dynamodb.items(table).count(theirs) == 1
        await world.client.start_run("pair", run_id="ours")
        assert (await world.finish("ours")).status == "completed"

    play(work)


HOUR_SECONDS = 3600.0


@pytest.mark.parametrize("dies", [False, True], ids=["it ends", "its worker dies"])
def test_a_node_may_take_longer_than_sqs_hides_a_message(
    dies: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """A node of 13 hours runs once, with one receive allowed; or again if its worker dies."""

    async def work(world: AwsWorld) -> None:
        end, begun = asyncio.Event(), world.body("done")

        async def long(ctx: NodeContext[Any]) -> Any:
            result = await begun(ctx)
            await end.wait()
            return result

        flow = create_flow("long").node("long", long)
        await world.knows(flow).client.start_run(flow, run_id="run")
        one = await world.process(lease_seconds=HOUR_SECONDS)
        await world.until(lambda: bool(world.bodies), "the node")
        two = await world.process(lease_seconds=HOUR_SECONDS)
        for _ in range(13 * 3):
            await world.advance(HOUR_SECONDS / 3)
            await one.beat()
            await two.beat()
        if dies:
            await one.kill()
        end.set()
        assert (await world.finish("run")).outputs == {"long": "done"}
        assert list(world.bodies.values()) == [2 if dies else 1]
        await world.advance(2 * HOUR_SECONDS)
        assert world.bodies_of_messages() == world.dead_letters() == []

    play(work, max_receives=2 if dies else 1, visibility_seconds=HOUR_SECONDS)
    assert "12 hours" not in caplog.text
