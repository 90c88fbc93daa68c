"""Runs that are deleted, or expire, on fakes of SQS and DynamoDB: what is left of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from flowcraft import RetryPolicy, create_flow
from flowcraft.adapters.aws.blobs import PREFIX
from flowcraft.aws import DynamoDbCoordinationStore, SqsAdapter
from flowcraft.engine import removing
from flowcraft.engine.calendar import CURSOR
from flowcraft.errors import CodecError, InvalidRunState, RunNotFound
from flowcraft.ports.queue import Outgoing
from flowcraft.testing import VirtualClock
from tests.unit.aws_tables import CONTEXTS, COORDINATION, STATUSES
from tests.unit.runs import drive
from tests.unit.test_aws_adapter import Fleet

DAY = 86_400.0
KEPT = 7 * DAY


class Died(BaseException):
    """The process is gone."""


class Mortal:
    """A transport of a process that dies at a request.

    Args:
        transport: Carries the requests out.
        last: The number of the request that it does not outlive; 0 for none.
        after: Whether that request is carried out.
    """

    def __init__(self, transport: Any, last: int = 0, *, after: bool = False) -> None:
        self._transport = transport
        self._last = last
        self._after = after
        self.made: list[str] = []

    async def call(self, operation: str, request: Any) -> Any:
        """Carry out a request."""
        self.made.append(operation)
        if len(self.made) == self._last and not self._after:
            raise Died
        answer = await self._transport.call(operation, request)
        if len(self.made) == self._last:
            raise Died
        return answer


async def numbers(_: Any) -> list[str]:
    """Items that are large enough to be kept beside the run."""
    return [f"{number}" * 900 for number in range(5)]


async def passed(ctx: Any) -> Any:
    """What it is given."""
    return ctx.input


def text(length: int, seed: int) -> str:
    """A text that no compression makes small."""
    return "".join(chr(0x4E00 + (7919 * n * n + seed) % 20_000) for n in range(length))


async def large(ctx: Any) -> str:
    """A text that is kept beside the run."""
    return text(600, ctx.attempt)


async def medium(ctx: Any) -> str:
    """One of those that fill the run's item."""
    return text(90, len(ctx.node_id) + ord(ctx.node_id[-1]))


def family() -> Any:
    """A run with values beside it, a batch in shards, a child run, more facts than a segment."""
    child = create_flow("child").node("x", large).node("y", passed).edge("x", "y")
    flow = create_flow("family").node("list", numbers)
    flow.batch("b", passed, uses="item").edge("list", "b").subflow("c", child).edge("b", "c")
    before = "c"
    for number in range(60):
        name = f"n{number}"
        flow.node(name, large if number % 20 == 0 else medium, uses=f"u{number}")
        flow.edge(before, name)
        before = name
    return flow


class Kept(Fleet):
    """A fleet whose runs are kept for a week after their end.

    Attributes:
        left_after: The keys of what is in the tables without any run.
    """

    def __init__(self, clock: VirtualClock, *flows: Any, kept: float | None = KEPT) -> None:
        super().__init__(clock, *flows)
        self._kept = kept

    async def open(self) -> Kept:
        """Create queue and tables."""
        await super().open()
        self.adapter = self.with_retention(self._kept)
        return self

    def with_retention(self, seconds: float | None, **more: Any) -> SqsAdapter:
        """An adapter of another process."""
        resources = {**self.resources, **more}
        return SqsAdapter(
            self.runtime.options,
            **resources,
            clock=self.clock,
            heartbeat=False,
            retention_seconds=seconds,
            shard_items=2,
        )

    async def run(self, flow_id: str, run_id: str, **options: Any) -> None:
        """Run a flow to its end, or until it waits."""
        await self.adapter.start_run(flow_id, run_id=run_id, **options)
        await self.work()

    def mortal(self, last: int = 0, *, after: bool = False) -> tuple[SqsAdapter, Mortal]:
        """An adapter of a process that dies at a request to DynamoDB."""
        mortal = Mortal(self.dynamodb, last, after=after)
        store = DynamoDbCoordinationStore(mortal, COORDINATION, self.clock)
        resources = {"dynamodb_client": mortal, "coordination_store": store}
        return self.with_retention(self._kept, **resources), mortal

    def left(self) -> list[str]:
        """The keys of all that is stored, but for blueprints and marks of those who look."""
        found = [f"context {item['runId']['S']!r}" for item in self.dynamodb.items(CONTEXTS)]
        found = [each for each in found if PREFIX not in each and repr(PREFIX)[1:-1] not in each]
        found += [f"row {item['runId']['S']}" for item in self.dynamodb.items(STATUSES)]
        for item in self.dynamodb.items(COORDINATION):
            key = item["coordinationKey"]["S"]
            if key != CURSOR and not key.startswith(("looked/", "sweeper", "reconciler")):
                found.append(f"coordination {key}")
        found += [str(message) for message in self.sqs.messages(self.url)]
        return found


def with_fleet(
    case: Callable[[Kept], Awaitable[None]], *flows: Any, kept: float | None = KEPT
) -> None:
    """Run a case on a fleet of its own."""

    async def work() -> None:
        fleet = await Kept(VirtualClock(), *flows, kept=kept).open()
        await case(fleet)
        await fleet.close()

    drive(work())


def test_a_run_goes_with_all_that_belongs_to_it() -> None:
    """A run with a child, shards, segments, values and a key is deleted: nothing is left."""

    async def case(fleet: Kept) -> None:
        await fleet.run("family", "r", idempotency_key="key")
        assert (await fleet.adapter.get_run("r")).status == "completed"
        before = fleet.left()
        for what in ("\\x1fs\\x1f", "\\x1fv\\x1f", "\\x1fkey", "r/c::1", "r/b", "row r"):
            assert any(what in each for each in before), f"{what} is not there"
        await fleet.adapter.delete_run("r")
        assert fleet.left() == []

    with_fleet(case, family())


def test_a_run_expires_with_all_that_belongs_to_it() -> None:
    """A week after its end it is absent for everybody, and a look removes all of it."""

    async def case(fleet: Kept) -> None:
        await fleet.run("family", "r", idempotency_key="key")
        fleet.clock.advance(KEPT - 1)
        await fleet.adapter.reconcile()
        assert (await fleet.adapter.get_run("r")).status == "completed"
        fleet.clock.advance(2)
        with pytest.raises(RunNotFound):
            await fleet.adapter.get_run("r")
        with pytest.raises(RunNotFound):
            await fleet.adapter.rerun_from("r", "list")
        # The child runs that are in lists go with it.
        listed = (await fleet.adapter.list_runs()).runs
        assert [each.run_id for each in listed] == ["r/c::1"]
        fleet.clock.advance(3600)
        await fleet.adapter.reconcile()
        assert fleet.left() == []
        assert (await fleet.adapter.list_runs()).runs == ()

    with_fleet(case, family())


def test_item_and_row_say_when_dynamodb_may_remove_them() -> None:
    """`ttl` is set by the write that ends the run, in the item and in the row, and not before."""

    async def case(fleet: Kept) -> None:
        await fleet.run("ask", "r")
        assert not any("ttl" in item for item in fleet.dynamodb.items(STATUSES))
        await fleet.adapter.resume_with_action("r", output=1)
        await fleet.work()
        (row,) = fleet.dynamodb.items(STATUSES)
        (item,) = (each for each in fleet.dynamodb.items(CONTEXTS) if each["runId"]["S"] == "r")
        expires_at = fleet.clock.now() + KEPT
        assert float(row["expiresAt"]["N"]) == float(item["t"]["N"]) == expires_at
        assert row["ttl"] == item["ttl"]
        assert float(row["ttl"]["N"]) == expires_at + 7 * DAY

    with_fleet(case, create_flow("ask").wait("w"))


def test_expiry_costs_no_request_of_a_run() -> None:
    """A run that is to expire makes the same requests as one that is kept for ever."""

    async def requests(kept: float | None) -> int:
        fleet = await Kept(VirtualClock(), family(), kept=kept).open()
        fleet.adapter, mortal = fleet.mortal()
        await fleet.run("family", "r")
        await fleet.close()
        return len(mortal.made)

    async def work() -> None:
        assert await requests(KEPT) == await requests(None) > 20

    drive(work())


def test_an_id_and_a_key_are_free_when_their_run_has_expired() -> None:
    """Before anybody has removed it another run begins in its place; old messages do nothing."""

    async def case(fleet: Kept) -> None:
        await fleet.run("family", "r", idempotency_key="key")
        epoch = (await fleet.adapter._read("r")).epoch
        fleet.clock.advance(KEPT + 1)
        await fleet.run("ask", "r", idempotency_key="key")
        assert (await fleet.adapter.get_run("r")).status == "awaiting"
        late = f'{{"v":1,"runId":"r","epoch":"{epoch}","blueprintId":"family","thread":"t"}}'
        assert await fleet.adapter.handle_job(late)
        assert (await fleet.adapter.get_run("r")).status == "awaiting"
        assert [each.run_id for each in (await fleet.adapter.list_runs()).runs] == ["r"]
        fleet.clock.advance(KEPT + 7200)
        await fleet.adapter.reconcile()
        assert (await fleet.adapter.get_run("r")).status == "awaiting"
        await fleet.adapter.cancel_run("r")
        await fleet.work()
        await fleet.adapter.delete_run("r")
        assert fleet.left() == []

    with_fleet(case, family(), create_flow("ask").wait("w", timeout="300d"))


def test_runs_that_were_over_before_expire_too() -> None:
    """What ended when nothing expired is removed by the first thorough look at last."""

    async def case(fleet: Kept) -> None:
        await fleet.run("family", "r")
        fleet.clock.advance(KEPT + 3600)
        await fleet.adapter.reconcile()
        assert (await fleet.adapter.get_run("r")).status == "completed"
        later = fleet.with_retention(KEPT)
        await fleet.run("ask", "live")
        fleet.clock.advance(2 * DAY)
        await later.reconcile()
        with pytest.raises(RunNotFound):
            await later.get_run("r")
        assert (await later.get_run("live")).status == "awaiting"
        await later.cancel_run("live")
        await fleet.work()
        await later.delete_run("live")
        assert fleet.left() == []
        await later.stop()

    with_fleet(case, family(), create_flow("ask").wait("w"), kept=None)


def test_very_many_that_expire_are_removed_look_by_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one look does not come to the next one goes on with, a minute and no hour later."""
    monkeypatch.setattr(removing, "REMOVED_AT_ONCE", 2)
    monkeypatch.setattr(removing, "BATCHES", 2)

    async def case(fleet: Kept) -> None:
        for number in range(7):
            await fleet.run("one", f"r{number}")
        fleet.clock.advance(KEPT + 3600)
        left = []
        for _ in range(2):
            await fleet.adapter.reconcile()
            left.append(len(fleet.dynamodb.items(STATUSES)))
            fleet.clock.advance(60)
        assert left == [3, 0]

    with_fleet(case, create_flow("one").node("a", passed))


def test_runs_that_cannot_be_removed_keep_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that cannot be read here stay, however many they are, and all others go."""
    monkeypatch.setattr(removing, "REMOVED_AT_ONCE", 2)
    real = removing.remove_run

    async def remove(station: Any, run_id: str, epoch: str) -> None:
        if run_id not in ("r2", "r5"):
            raise CodecError("It is encoded with another key.")
        await real(station, run_id, epoch)

    monkeypatch.setattr(removing, "remove_run", remove)

    async def case(fleet: Kept) -> None:
        for number in range(7):
            await fleet.run("one", f"r{number}")
        fleet.clock.advance(KEPT + 3600)
        await fleet.adapter.reconcile()
        left = {item["runId"]["S"] for item in fleet.dynamodb.items(STATUSES)}
        assert left == {"r0", "r1", "r3", "r4", "r6"}

    with_fleet(case, create_flow("one").node("a", passed))


def test_a_live_run_is_not_deleted_unless_by_force() -> None:
    """It is refused; by force it goes, with its timers, and its messages do nothing."""

    async def case(fleet: Kept) -> None:
        await fleet.run("nap", "r")
        with pytest.raises(InvalidRunState, match="force"):
            await fleet.adapter.delete_run("r")
        assert any(each.startswith("coordination due/") for each in fleet.left())
        await fleet.adapter.resume_with_action("r", output=1, node_id="w")
        await fleet.adapter.delete_run("r", force=True)
        await fleet.work()
        assert fleet.left() == []
        with pytest.raises(RunNotFound):
            await fleet.adapter.delete_run("r")

    child = create_flow("below").sleep("s", "3d")
    with_fleet(case, create_flow("nap").subflow("c", child).wait("w", timeout="9d"))


def test_a_child_is_not_deleted_without_its_parent() -> None:
    """A run would miss its child; deleted itself, it takes the child along."""

    async def case(fleet: Kept) -> None:
        await fleet.run("family", "r")
        with pytest.raises(InvalidRunState, match="belongs to another run"):
            await fleet.adapter.delete_run("r/c::1")

    with_fleet(case, family())


def test_a_node_that_runs_while_its_run_is_deleted_counts_for_nothing() -> None:
    """The outcome of what was running is dropped, and nothing of the run comes back."""
    fleets: list[Kept] = []

    async def deleting(_: Any) -> str:
        await fleets[0].adapter.delete_run("r", force=True)
        return "done"

    flow = create_flow("f").node("a", deleting, retry=RetryPolicy(max_attempts=3))
    flow.node("b", passed).edge("a", "b")

    async def case(fleet: Kept) -> None:
        fleets.append(fleet)
        await fleet.run("f", "r")
        assert fleet.left() == []

    with_fleet(case, flow)


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("flow_id", ["family", "nap"])
def test_whoever_deletes_may_die_at_any_request(flow_id: str, after: bool) -> None:
    """The run is there as it was, or absent for all; doing it again, or waiting, ends it."""
    child = create_flow("below").sleep("s", "3d")
    nap = create_flow("nap").subflow("c", child).wait("w", timeout="9d")
    status = {"family": "completed", "nap": "awaiting"}[flow_id]

    async def dies_at(number: int, again: bool) -> bool:
        """Whether there was such a request."""
        fleet = await Kept(VirtualClock(), family(), nap).open()
        await fleet.run(flow_id, "r", idempotency_key="key")
        adapter, mortal = fleet.mortal(number, after=after)
        with suppress(Died):
            await adapter.delete_run("r", force=True)
        await adapter.stop()
        await check_and_end(fleet, status, again)
        await fleet.close()
        return len(mortal.made) >= number

    number = 1
    while drive(dies_at(number, again=number % 2 == 0)):
        number += 1
    assert number > 15


async def check_and_end(fleet: Kept, status: str, again: bool) -> None:
    """See that a run is whole or absent, and that its removal ends."""
    adapter = fleet.with_retention(KEPT)
    try:
        run = await adapter.get_run("r")
    except RunNotFound:
        listed = [each.run_id for each in (await adapter.list_runs()).runs]
        assert "r" not in listed
        assert [each for each in listed if not each.startswith("r/")] == []
        is_there = False
    else:
        assert run.status == status
        is_there = True
    fleet.clock.advance(2 * 3600)
    await fleet.work()
    if is_there or again:
        try:
            await adapter.delete_run("r", force=True)
        except RunNotFound:
            assert not is_there
    fleet.clock.advance(3600)
    await adapter.reconcile()
    await fleet.work()
    assert fleet.left() == []
    await adapter.stop()


def test_large_messages_expire() -> None:
    """A body that is kept in the table may be removed once no message refers to it any more."""

    async def case(fleet: Kept) -> None:
        body = "x" * 250_000 + text(10_000, 1)
        async with fleet.adapter._open_ports() as ports:
            for _ in range(2):
                await ports.queue.send([Outgoing(body)])
                (item,) = fleet.dynamodb.items(CONTEXTS)
                assert float(item["ttl"]["N"]) == fleet.clock.now() + 20 * DAY
                assert await ports.queue.whole(fleet.sqs.messages(fleet.url)[-1].body) == body
                fleet.clock.advance(DAY)

    with_fleet(case)
