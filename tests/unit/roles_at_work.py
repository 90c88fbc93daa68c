"""What the roles do all day, on fakes: between them they make every request that there is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from unittest.mock import patch

from flowcraft import Limit, NodeContext, RetryPolicy, create_flow
from flowcraft.adapters.aws.transport import AwsError
from flowcraft.adapters.system import SystemClock
from flowcraft.aws import create_sqs_reconciler
from flowcraft.core.limits import Visitor
from flowcraft.dead_letters import Selection, open_dead_letters
from flowcraft.doctor import fleet as doctor
from flowcraft.doctor import mappings
from flowcraft.engine.links import LinkTarget
from flowcraft.engine.schedule_options import DeclaredSchedule
from flowcraft.errors import NobodyWaits, RunNotFound
from flowcraft.ports.objects import PART_BYTES
from flowcraft.testing import VirtualClock
from tests.unit.aws_tables import incompressible
from tests.unit.dead_letters import passing
from tests.unit.guarded import Book, guarded
from tests.unit.iam import ACCOUNT
from tests.unit.role_fleet import CONTEXTS, COORDINATION, PLACE, QUEUE, STATUSES, RoleFleet

Ctx = NodeContext[Any]
DAY = 86_400.0
KEPT = 7 * DAY
LARGE = incompressible(80_000)
FILE = bytes(PART_BYTES + 1)


# --- flows ---------------------------------------------------------------------------------


async def numbers(_: Ctx) -> list[int]:
    return list(range(5))


async def passed(ctx: Ctx) -> Any:
    return ctx.input


async def slow(ctx: Ctx) -> Any:
    """Longer than a lease, so that it is prolonged, and the message kept hidden."""
    await asyncio.sleep(0.4)
    return ctx.input


async def large(ctx: Ctx) -> dict[str, Any]:
    return {"text": LARGE, "file": await ctx.blobs.put("file", FILE)}


async def breaks_off(ctx: Ctx) -> str:
    """A file that cannot be read to its end: what was begun is given up."""

    async def pieces() -> AsyncIterator[bytes]:
        yield bytes(PART_BYTES)
        yield b"more"
        raise OSError("the disk is gone")

    with suppress(OSError):
        await ctx.blobs.put("broken", pieces())
    return "given up"


async def fails_once(ctx: Ctx) -> str:
    if await ctx.context.get("broken", True):
        raise ValueError("not yet")
    return "mended"


def everyday() -> list[Any]:
    """A flow with one of everything, and those that people have to do with."""
    child = create_flow("child").node("x", passed)
    flow = create_flow("all").node("list", numbers).node("slow", slow, concurrency_key="db")
    flow.batch("each", passed, uses="item").edge("list", "each").edge("each", "slow")
    flow.subflow("sub", child).edge("slow", "sub").node("large", large).edge("sub", "large")
    flow.node("broken", breaks_off).edge("large", "broken")
    flow.wait("approve").edge("broken", "approve")
    flow.wait("paid", event="payment", correlation_key="order").edge("approve", "paid")
    bad = create_flow("bad").node("n", fails_once).node("m", passed).edge("n", "m")
    return [flow, bad, create_flow("ask").wait("w", timeout="300d")]


def family() -> Any:
    """A run with values beside it, a batch in shards, a child run."""
    flow = create_flow("family").node("list", numbers)
    flow.batch("b", passed, uses="member").edge("list", "b")
    flow.subflow("c", create_flow("kin").node("x", heavy)).edge("b", "c")
    return flow.node("y", heavy).edge("c", "y")


async def heavy(ctx: Ctx) -> str:
    """A value that is an object, or one that is in an item beside the run's."""
    return incompressible(40_000 if ctx.node_id == "x" else 3_000)


# --- scenarios -----------------------------------------------------------------------------


async def until(is_so: Callable[[], Awaitable[bool]]) -> None:
    """Wait for what a worker does in real time."""
    async with asyncio.timeout(20):
        while not await is_so():
            await asyncio.sleep(0.01)


async def a_day_at_work(books: dict[str, Book]) -> None:
    """A starter starts runs and answers them, a worker works, people look and steer."""
    fleet = await RoleFleet(SystemClock(), books).open()
    flows = everyday()
    starter = fleet.client("starter", *flows, shard_items=2)
    viewer, operator = fleet.client("viewer"), fleet.client("operator", *flows)
    options: Any = {"lease_seconds": 0.3, "poll_seconds": 0.2, "reconcile_every_seconds": 0.5}
    limits = {"db": Limit(concurrency=1)}
    async with fleet.adapter(*flows, limits=limits, **options), starter, viewer, operator:

        async def is_in(run_id: str, status: str) -> None:
            async def look() -> bool:
                return str((await viewer.get_run(run_id)).status) == status

            await until(look)

        given = {"order": 7, "given": LARGE}
        run = await starter.start_run("all", given, run_id="all", idempotency_key="k")
        await is_in("all", "awaiting")
        await starter.resume_with_action("all", output=LARGE, node_id="approve")
        await until(lambda: _waits(starter, 7))
        result = (await run.result(timeout=20)).raise_for_status()
        await _look(fleet, viewer, result.outputs["large"]["file"])
        await _steer(operator, is_in)


async def _waits(starter: Any, order: int) -> bool:
    """Whether an event has found the run that waits for it."""
    with suppress(NobodyWaits):
        await starter.send_event(event="payment", correlation_key=order)
        return True
    return False


async def _look(fleet: RoleFleet, viewer: Any, file: Any) -> None:
    assert len((await viewer.list_runs(limit=10)).runs) >= 2
    assert await viewer.blobs.get(file) == FILE
    assert await fleet.context("viewer", "all").get("given") == LARGE
    assert await viewer.schedules.list() == ()
    await viewer.drain_report()
    with suppress(RunNotFound):
        await viewer.get_run("nobody")
    assert await fleet.objects("viewer").read("runs/nobody/e/v/0") is None


async def _steer(operator: Any, is_in: Callable[[str, str], Awaitable[None]]) -> None:
    for name in ("ask1", "ask2"):
        await operator.start_run("ask", run_id=name)
        await is_in(name, "awaiting")
    await operator.pause_run("ask1")
    await is_in("ask1", "paused")
    await operator.patch_context("ask1", {"note": LARGE})
    await operator.continue_run("ask1")
    await is_in("ask1", "awaiting")
    await operator.skip_node("ask1", "w", 1)
    await is_in("ask1", "completed")
    await operator.cancel_run("ask2", reason="not wanted")
    await is_in("ask2", "cancelled")
    await operator.start_run("bad", run_id="bad")
    await is_in("bad", "failed")
    again = await operator.retry_failed("bad")
    await is_in(str(again), "failed")
    fresh = await operator.rerun_from("all", "broken", inputs={"broken": LARGE})
    await is_in(str(fresh), "awaiting")
    for name in ("ask1", "bad"):
        await operator.delete_run(name)


@asynccontextmanager
async def in_virtual_time(
    books: dict[str, Book], *flows: Any, indexed: bool = False, limits: Any = None
) -> AsyncIterator[tuple[RoleFleet, Any, VirtualClock]]:
    """A fleet, and a worker that is handed its messages."""
    clock = VirtualClock()
    fleet = await RoleFleet(clock, books, indexed=indexed).open()
    options: Any = {"heartbeat": False, "retention_seconds": KEPT, "shard_items": 2}
    worker = fleet.adapter(*flows, limits=limits, **options)
    yield fleet, worker, clock
    await worker.stop()


async def runs_that_expire(books: dict[str, Book]) -> None:
    """Runs are removed by whoever looks, and by whoever starts one of the same id."""
    flows = [family(), create_flow("ask").wait("w", timeout="300d")]
    async with in_virtual_time(books, *flows) as (fleet, worker, clock):
        kept: Any = {"retention_seconds": KEPT, "shard_items": 2}
        clients = {
            "worker": worker,
            **{r: fleet.client(r, *flows, **kept) for r in ("starter", "operator", "reconciler")},
        }
        for role, client in clients.items():
            for start_again in (False, True):
                run_id = f"of {role}"
                await worker.start_run("family", run_id=run_id, idempotency_key=run_id)
                await fleet.work(worker)
                assert (await worker.get_run(run_id)).status == "completed"
                if role == "operator" and not start_again:
                    await client.delete_run(run_id)
                clock.advance(KEPT + 3700)
                if start_again:
                    await client.start_run("ask", run_id=run_id, idempotency_key=run_id)
                    await fleet.work(worker)
                    await worker.delete_run(run_id, force=True)
                elif role != "starter":
                    await client.reconcile()
        for client in clients.values():
            await client.aclose()


async def timers_that_take_hours(books: dict[str, Book]) -> None:
    """Starts, sleeps and time limits of hours are kept, dropped, and sent by whoever sweeps."""
    sleeping = create_flow("sleeping").sleep("s", "2h").node("n", passed).edge("s", "n")
    flows = [sleeping, create_flow("ask").wait("w", timeout="300d")]
    async with in_virtual_time(books, *flows) as (fleet, worker, clock):
        for role in ("starter", "operator", "worker", "reconciler"):
            client = worker if role == "worker" else fleet.client(role, *flows)
            sweeps = worker if role == "starter" else client
            later = datetime.fromtimestamp(clock.now(), UTC) + timedelta(hours=2)
            names = [f"{role} {flow}" for flow in ("sleeping", "ask")]
            for name in names:
                await client.start_run(name.split()[1], run_id=name, start_at=later)
            for _ in range(5 * 6):
                clock.advance(600)
                await sweeps.reconcile()
                await fleet.work(worker)
            assert (await client.get_run(names[0])).status == "completed"
            if role in ("starter", "operator"):
                await client.resume_with_action(names[1], output=1)
            await fleet.work(worker)
            await worker.delete_run(names[1], force=True)
            if role != "worker":
                await client.aclose()


async def removals_that_broke_off(books: dict[str, Book]) -> None:
    """A run with a timer, in line for a place, was hidden; whoever starts it again removes it."""
    waiting = create_flow("waiting").wait("w", timeout="300d")
    waiting.node("n", passed, concurrency_key="db").node("text", large)
    limits = {"db": Limit(rate=1, per_seconds=3600)}
    async with in_virtual_time(books, waiting, limits=limits) as (fleet, worker, clock):
        for role in ("starter", "operator", "worker", "reconciler"):
            client = fleet.client(role, waiting, limits=limits)
            station = await worker._opened()
            visitor = Visitor(f"held by {role}", DAY)
            await station.limits.enter("db", limits["db"], visitor, clock.now())
            await worker.start_run("waiting", run_id=role)
            await fleet.work(worker)
            epoch = (await worker._read(role)).epoch
            await station.runs.remove(role, epoch, only_hide=True)
            await client.start_run("waiting", run_id=role)
            await worker.delete_run(role, force=True)
            if role != "worker":
                await client.aclose()


async def links_that_are_used(books: dict[str, Book]) -> None:
    """Whoever serves links reads a run with large values and a large blueprint, and answers it."""
    flow = bulky(7, "asks").node("big", large).wait("w").edge("big", "w").wait("v").edge("n", "v")
    async with in_virtual_time(books, flow) as (fleet, worker, _):
        starter, answerer = fleet.client("starter", flow), fleet.client("answerer")
        await starter.start_run("asks", run_id="r")
        await fleet.work(worker)
        with suppress(RunNotFound):
            await answerer.look_at_link(LinkTarget("gone", "e", "w", (), "approval", None, 0.0))
        for link in await starter.answer_links("r"):
            target = answerer.read_link(link.url.rpartition("/")[2], "approval")
            assert (await answerer.look_at_link(target)).standing == "open"
            await answerer.answer_by_link(target, LARGE)
        await fleet.work(worker)
        assert (await starter.get_run("r")).status == "completed"
        for each in (starter, answerer):
            await each.aclose()


async def links_without_a_bucket(books: dict[str, Book]) -> None:
    """Where there is no bucket, large answers and the values of runs are in the table."""
    flow = create_flow("asks").node("n", passed, inputs="given").wait("w").wait("v")
    flow.edge("n", "w").edge("w", "v")
    nowhere: Any = {"payload_bucket": None, "s3_client": None}
    fleet = await RoleFleet(VirtualClock(), books).open()
    worker = fleet.adapter(flow, heartbeat=False, **nowhere)
    starter = fleet.client("starter", flow, **nowhere)
    answerer = fleet.client("answerer", **nowhere)
    given = {"given": incompressible(900_000)}
    await starter.start_run("asks", given, run_id="r")
    for _ in "wv":
        await fleet.work(worker)
        (link,) = await starter.answer_links("r")
        target = answerer.read_link(link.url.rpartition("/")[2], "approval")
        assert (await answerer.look_at_link(target)).standing == "open"
        await answerer.answer_by_link(target, incompressible(900_000, seed=3))
    await fleet.work(worker)
    assert (await starter.get_run("r")).status == "completed"
    for each in (starter, answerer):
        await each.aclose()
    await worker.stop()


async def schedules(books: dict[str, Book]) -> None:
    """An operator keeps schedules, a reconciler and a worker start what is due, a viewer looks."""
    report = create_flow("report").node("n", passed)
    async with in_virtual_time(books, report) as (fleet, worker, clock):
        operator, viewer = fleet.client("operator", report), fleet.client("viewer")
        reconciler = create_sqs_reconciler(adapter=fleet.adapter(report, role="reconciler"))
        plan = operator.schedules
        context = {"given": LARGE, "region": "eu"}
        await plan.create("s", report, every="5m", overlap="allow", context=context)
        await plan.create("t", "report", cron="0 9 * * *", paused=True)
        await plan.update("s", every="10m", context={"given": incompressible(60_000, seed=2)})
        for look in (reconciler.run, worker.schedules.fire_due, operator.schedules.fire_due):
            clock.advance(601)
            await look()
            await fleet.work(worker)
        await plan.pause("s", "for now")
        await plan.resume("s")
        await plan.trigger("s")
        await fleet.work(worker)
        assert len(await viewer.schedules.list()) == 2
        assert (await viewer.schedules.get("s")).id == "s"
        assert len((await viewer.list_runs(tags={"schedule": "s"})).runs) == 4
        for name in ("s", "t"):
            await plan.delete(name)
        for each in (operator, viewer, reconciler):
            await each.aclose()


async def runs_that_stand_still(books: dict[str, Book]) -> None:
    """Messages are lost, rows too, values of nobody are left: whoever looks sees to it."""
    for indexed in (False, True):
        await _stand_still(books, indexed)


async def _stand_still(books: dict[str, Book], indexed: bool) -> None:
    ask = create_flow("ask").wait("w").node("n", passed).edge("w", "n")
    one = create_flow("one").node("n", passed, retry=RetryPolicy(max_attempts=2))
    async with in_virtual_time(books, ask, one, indexed=indexed) as (fleet, worker, clock):
        for role in ("reconciler", "operator", "worker"):
            client = worker if role == "worker" else fleet.client(role)
            for run_id in ("stuck", "rowless", "gone"):
                await worker.start_run("ask", run_id=f"{role} {run_id}")
            await fleet.work(worker)
            await worker.start_run("one", run_id=f"{role} lost")
            await fleet.sqs.call("PurgeQueue", {"QueueUrl": fleet.url})
            await _lose(fleet, STATUSES, f"{role} rowless")
            await _lose(fleet, CONTEXTS, f"{role} gone")
            clock.advance(2 * DAY)
            stats = await client.reconcile()
            assert stats.mended_rows >= 1
            assert stats.reconciled_runs >= 1
            clock.advance(600)
            await client.reconcile()
            await fleet.work(worker)
            assert (await client.get_run(f"{role} lost")).status == "completed"
            if role != "worker":
                await client.aclose()


async def _lose(fleet: RoleFleet, table: str, run_id: str) -> None:
    request = {"TableName": table, "Key": {"runId": {"S": run_id}}}
    await fleet.dynamodb.call("DeleteItem", request)


def bulky(number: int, name: str = "bulky") -> Any:
    """A version of a flow whose blueprint is an object."""
    params = {"text": incompressible(60_000, seed=number)}
    return create_flow(name).node("n", passed, params=params)


async def blueprints_that_are_large(books: dict[str, Book]) -> None:
    """Blueprints are objects, too; a later one takes the place of the latest of its name."""
    fleet = await RoleFleet(VirtualClock(), books).open()
    for number in (1, 2):
        async with fleet.adapter(bulky(number), heartbeat=False, poll_seconds=1e9):
            pass
        starter = fleet.client("starter", bulky(number))
        # The second of two who bring the same one along takes its own away.
        starts = (starter.start_run(bulky(10 + number)) for _ in "ab")
        for run in await asyncio.gather(*starts):
            assert (await starter.get_run(run)).blueprint_id == "bulky"
        declared = DeclaredSchedule(id="s", flow=bulky(20 + number), every="5m")
        adapter = fleet.adapter(bulky(20 + number), role="reconciler", schedules=[declared])
        reconciler = create_sqs_reconciler(adapter=adapter)
        await reconciler.run()
        for each in (starter, reconciler):
            await each.aclose()


async def answers_that_are_lost(books: dict[str, Book]) -> None:
    """An upload whose end was not heard of is looked for; one that fails is given up."""
    fleet = await RoleFleet(VirtualClock(), books).open()
    for role in ("worker", "starter", "operator", "reconciler", "answerer"):
        objects = fleet.objects(role)
        for place in ("runs", "texts"):
            key = f"{place}/{role}/0"
            uploads = [await objects.begin(key) for _ in "ab"]
            parts = [await objects.add(key, upload, 1, b"all of it") for upload in uploads]
            assert await objects.finish(key, uploads[0], parts[:1])
            await objects.give_up(key, uploads[1])
            assert not await objects.finish(key, uploads[1], parts[1:])
            if role == "answerer":  # which deletes nothing, and is told that something is not there
                assert await objects.read(f"{key}/gone") is None
            else:
                await objects.delete_all(key)


async def letters_that_are_dead(books: dict[str, Book]) -> None:
    """An operator looks at dead letters, sends them back, one or all, and deletes the others."""
    clock = VirtualClock()
    fleet = await RoleFleet(clock, books).open()
    operator = fleet.client("operator", create_flow("ask").wait("w"))

    async def bury() -> None:
        for number in range(2):
            await operator.start_run("ask", run_id=f"{clock.now()} {number}")
        while fleet.sqs.messages(fleet.url):
            request = {"QueueUrl": fleet.url, "VisibilityTimeout": 0, "MaxNumberOfMessages": 10}
            await fleet.sqs.call("ReceiveMessage", request)
        clock.advance(1)

    async with open_dead_letters(operator) as letters:
        await bury()
        first, _ = (await passing(clock, letters.look())).letters
        only = Selection.of([first.id])
        assert (await passing(clock, letters.redrive(only))).done == 1
        assert (await passing(clock, letters.delete(Selection.of()))).done == 1
        await bury()
        assert (await passing(clock, letters.redrive())).by == "task"
        await bury()

        def give_up(_: int) -> None:
            moving.cancel()

        moving = asyncio.ensure_future(letters.redrive(tell=give_up))
        await passing(clock, asyncio.gather(moving, return_exceptions=True))
        assert moving.cancelled()
        clock.advance(60)
        assert (await passing(clock, letters.purge())).by == "purge"
    await operator.aclose()


class Answers:
    """Services as far as the doctor asks for what the fakes do not have.

    Args:
        transport: Carries everything else out; without it everything else is denied.
    """

    def __init__(self, transport: Any = None) -> None:
        self._transport = transport

    async def call(self, operation: str, request: Any) -> Any:
        if operation in ANSWERS:
            return ANSWERS[operation]
        if self._transport is None:
            raise AwsError("AccessDenied", "denied", operation=operation, status=403)
        return await self._transport.call(operation, request)


ANSWERS: dict[str, Any] = {
    "DescribeContinuousBackups": {},
    "GetBucketPolicyStatus": {},
    "GetCallerIdentity": {"Arn": f"arn:aws:iam::{ACCOUNT}:user/somebody", "Account": ACCOUNT},
    "GetMetricStatistics": {"Datapoints": []},
    "GetPublicAccessBlock": {},
}


async def a_look_by_the_doctor(books: dict[str, Book]) -> None:
    """Viewers and operators have everything looked at, and are denied nothing of it."""
    for role in ("viewer", "operator"):
        fleet = await RoleFleet(SystemClock(), books, indexed=True).open()
        aws = guarded(
            books[role],
            sqs=fleet.sqs,
            dynamodb=Answers(fleet.dynamodb),
            s3=Answers(fleet.s3),
            cloudwatch=Answers(),
        )
        looked_at = doctor.Fleet(
            client=partial(_service, aws),
            queue=QUEUE,
            context_table=CONTEXTS,
            status_table=STATUSES,
            coordination_table=COORDINATION,
            payload_bucket=PLACE,
        )
        # It also tries what workers may do, which is no part of what these roles do.
        with patch.object(doctor, "permission_checks", lambda *_: []):
            found = await doctor.examine_fleet(looked_at)
        assert {each.check for each in found.findings if "denied" in each.found} == {mappings.NAME}


def _service(aws: Any, name: str) -> Any:
    """The service; who asks is told to anybody, and IAM and Lambda are denied."""
    return aws.get(name) or Answers()


async def names_that_are_looked_up(books: dict[str, Book]) -> None:
    """Each command finds the queue by its name, where the settings say no more."""
    fleet = await RoleFleet(VirtualClock(), books).open()
    for role in books:
        sqs = fleet.transports(role)["sqs"]
        assert (await sqs.call("GetQueueUrl", {"QueueName": QUEUE}))["QueueUrl"] == fleet.url


SCENARIOS = (
    a_day_at_work,
    runs_that_expire,
    links_that_are_used,
    links_without_a_bucket,
    timers_that_take_hours,
    removals_that_broke_off,
    blueprints_that_are_large,
    schedules,
    runs_that_stand_still,
    answers_that_are_lost,
    names_that_are_looked_up,
    letters_that_are_dead,
    a_look_by_the_doctor,
)
