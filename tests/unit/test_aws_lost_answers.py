"""Runs on DynamoDB whose requests are carried out without an answer, late, or beside others."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import Any

import pytest

from flowcraft.adapters.aws import records as records_module
from flowcraft.adapters.aws.creating import LONGEST_RUN_ID_BYTES
from flowcraft.adapters.aws.runs import DynamoDbRuns
from flowcraft.adapters.aws.transport import CONNECTION_FAILED, Answer, AwsError, Request
from flowcraft.engine.coding import CodedRuns, Coder
from flowcraft.errors import StorageBusy, StorageError
from flowcraft.ports.runs import Entry, Held, Query, Row, Verdict
from flowcraft.testing import VirtualClock
from flowcraft.testing.clock import START
from flowcraft.testing.conformance.helpers import (
    claim,
    create,
    done,
    head,
    holding,
    log,
    record,
    write,
)
from tests.unit.aws_tables import (
    CONTEXTS,
    STATUSES,
    Watched,
    fake_tables,
    incompressible,
    items,
)
from tests.unit.runs import drive

WAITS = Row("awaiting", awaits=("paid",))


class Lossy(Watched):
    """The fake; the answer of one request may get lost, or boto3 may send it twice."""

    lose: str | None = None
    twice: str | None = None

    async def call(self, operation: str, request: Request) -> Answer:
        """Carry out a request."""
        answer = await super().call(operation, request)
        if operation == self.lose:
            self.lose = None
            raise AwsError(CONNECTION_FAILED, "no answer", operation=operation, status=0)
        if operation == self.twice and request["TableName"] == CONTEXTS:
            self.twice = None
            return await super().call(operation, request)
        return answer


class Fleet:
    """The tables, and processes."""

    def __init__(self) -> None:
        self.clock = VirtualClock()

    async def open(self) -> Fleet:
        """Create the tables."""
        self.table = Lossy(await fake_tables(self.clock))
        self.runs = self.connect()
        return self

    def connect(self) -> DynamoDbRuns:
        """The runs of another process."""
        return DynamoDbRuns(self.table, CONTEXTS, STATUSES, self.clock)

    async def keys(self) -> list[str]:
        """The keys of all items in the context table."""
        return sorted(item["runId"]["S"] for item in await items(self.table.transport, CONTEXTS))


# --- verdicts ------------------------------------------------------------------------------


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("how", ["forgotten", "renewed"])
def test_a_commit_whose_answer_was_lost_is_done(
    how: str, exact: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked again it is done, its claim granted: whatever became known of the run meanwhile."""
    monkeypatch.setattr(records_module, "KNOWN_RUNS", 1)

    async def work() -> None:
        fleet = await Fleet().open()
        await create(fleet.runs)
        await done(fleet.runs, 1, claim=claim())
        more: dict[str, Any] = {"holding": holding(), "claim": claim("next", "p2"), "exact": exact}
        fleet.table.lose = "UpdateItem"
        with pytest.raises(StorageError):
            await write(fleet.runs, 1, "a", **more)
        if how == "forgotten":
            await create(fleet.runs, "other")
        else:
            await fleet.runs.read("run")
        written = await write(fleet.runs, 1, "a", **more)
        assert (written.verdict, written.first, written.granted) == (Verdict.DONE, 1, True)
        assert await log(fleet.runs) == ["begin", "a"]

    drive(work())


def test_a_claim_along_whose_answer_was_lost_is_granted_also_where_it_would_be_left_out() -> None:
    """The same call again is granted what it has, though claims are made apart by now."""

    async def work() -> None:
        fleet = await Fleet().open()
        await create(fleet.runs)
        await done(fleet.runs, 1, claim=claim())
        more: dict[str, Any] = {"holding": holding(), "claim": claim("next", "p2")}
        fleet.table.lose = "UpdateItem"
        with pytest.raises(StorageError):
            await write(fleet.runs, 1, "a", **more)
        known = fleet.runs._records.known("run")
        assert known is not None
        for _ in range(3):
            known.note_claim_along(came_late=True)
        assert (await write(fleet.runs, 1, "a", **more)).granted

    drive(work())


@pytest.mark.parametrize("how", ["forgotten", "renewed", "known"])
def test_a_takeover_whose_answer_was_lost_is_done(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked again, who took over has the next attempt: else nobody would, and it would be lost."""
    monkeypatch.setattr(records_module, "KNOWN_RUNS", 1)

    async def work() -> None:
        fleet = await Fleet().open()
        await create(fleet.runs)
        await done(fleet.runs, 1, claim=claim())
        fleet.clock.advance(31)
        await fleet.runs.read("run")
        more: dict[str, Any] = {
            "holding": holding(expired=True),
            "claim": claim("next", "attempt 2"),
        }
        fleet.table.lose = "UpdateItem"
        with pytest.raises(StorageError):
            await write(fleet.runs, 1, "lost", **more)
        if how == "forgotten":
            await create(fleet.runs, "other")
        elif how == "renewed":
            await fleet.runs.read("run")
        written = await write(fleet.runs, 1, "lost", **more)
        assert (written.verdict, written.first, written.granted) == (Verdict.DONE, 1, True)
        assert await log(fleet.runs) == ["begin", "lost"]

    drive(work())


def test_a_takeover_by_another_is_not_taken_for_ones_own() -> None:
    """Two say the same of a worker that is gone; the second is told that the lease is not his."""

    async def work() -> None:
        fleet = await Fleet().open()
        await create(fleet.runs)
        await done(fleet.runs, 1, claim=claim())
        fleet.clock.advance(31)
        await fleet.runs.read("run")
        over, other = holding(expired=True), fleet.connect()
        await other.read("run")
        await done(fleet.runs, 1, "lost", holding=over, claim=claim("first", "attempt 2"))
        written = await write(other, 1, "lost", holding=over, claim=claim("second", "attempt 2"))
        assert (written.verdict, written.granted) == (Verdict.LOST, False)

    drive(work())


@pytest.mark.parametrize("how", ["fails", "hangs"])
def test_trouble_with_one_run_costs_the_leases_of_no_other(how: str) -> None:
    """Of leases that are prolonged together, those of other runs are, whatever one request does."""

    async def work() -> None:
        fleet = await Fleet().open()
        for run_id in ("first", "second", "third"):
            await create(fleet.runs, run_id)
            await done(fleet.runs, 1, run_id=run_id, claim=claim())
        carry_out, hangs = fleet.table.call, asyncio.Event()

        async def call(operation: str, request: Request) -> Answer:
            if operation == "UpdateItem" and request["Key"]["runId"]["S"] == "first":
                if how == "hangs":
                    await hangs.wait()
                raise AwsError("InternalServerError", status=500)
            return await carry_out(operation, request)

        fleet.table.call = call  # type: ignore[method-assign]
        fleet.clock.advance(20)
        helds = [Held(run_id, "place", "token") for run_id in ("first", "second", "third")]
        renewing = asyncio.ensure_future(fleet.runs.renew(helds, 30.0))
        for _ in range(100):
            await asyncio.sleep(0)
        hangs.set()
        with pytest.raises(StorageError):
            await renewing
        for run_id, until in (("first", 30), ("second", 50), ("third", 50)):
            found = await record(fleet.connect(), run_id)
            assert [lease.expires_at - START for lease in found.leases] == [until]

    drive(work())


class Salted:
    """A codec that gives something else each time, as ciphers do."""

    def __init__(self) -> None:
        self._numbers = count()

    def encode(self, text: str) -> str:
        """The text, behind a number."""
        return f"{next(self._numbers)}:{text}"

    def decode(self, text: str) -> str:
        """The text."""
        return text.partition(":")[2]


def test_a_commit_whose_answer_was_lost_is_done_also_with_a_cipher() -> None:
    """Tried again it is sent as it was, though a codec would give something else by now."""

    async def work() -> None:
        fleet = await Fleet().open()
        runs = CodedRuns(fleet.runs, Coder(Salted()))
        await create(runs)
        await done(runs, 1, claim=claim())
        more: dict[str, Any] = {"holding": holding(), "claim": claim("next", "p2")}
        fleet.table.lose = "UpdateItem"
        with pytest.raises(StorageError):
            await write(runs, 1, "a", **more)
        written = await write(runs, 1, "a", **more)
        assert (written.verdict, written.first, written.granted) == (Verdict.DONE, 1, True)
        assert await log(runs) == ["begin", "a"]

    drive(work())


# --- beginning -----------------------------------------------------------------------------


def test_a_start_that_is_sent_twice_has_a_row() -> None:
    """boto3 repeats it, as its answer was lost: an earlier run's row is replaced all the same."""

    async def work() -> None:
        fleet = await Fleet().open()
        await create(fleet.runs, epoch="earlier", status="completed")
        await fleet.table.transport.call(
            "DeleteItem", {"TableName": CONTEXTS, "Key": {"runId": {"S": "run"}}}
        )
        fleet.table.twice = "PutItem"
        await fleet.connect().create(head(), [Entry("begin", START)], "t")
        (row,) = await items(fleet.table.transport, STATUSES)
        assert row["status"] == {"S": "running"}

    drive(work())


# --- keys ----------------------------------------------------------------------------------


def test_a_late_removal_leaves_the_key_to_the_run_that_has_it_by_now() -> None:
    """The key of a run that others removed, and started again meanwhile, is still its key."""

    async def work() -> None:
        fleet = await Fleet().open()
        await create(fleet.runs, key="k", epoch="earlier")

        async def start_again(operation: str, request: Request) -> None:
            if operation == "DeleteItem" and "\x1fkey" in request["Key"]["runId"]["S"]:
                fleet.table.before = None
                await fleet.connect().remove("run", "earlier")
                assert (await fleet.connect().create(head(key="k"), [], "t")).is_new

        fleet.table.before = start_again
        await fleet.runs.remove("run", "earlier")
        fleet.table.before = None
        other = await fleet.runs.create(head("other", key="k"), [], "t")
        assert (other.head.run_id, other.is_new) == ("run", False)

    drive(work())


def test_a_key_is_not_taken_from_a_run_that_has_it_again() -> None:
    """Whoever found its run gone comes too late if that was started again meanwhile."""

    async def work() -> None:
        fleet = await Fleet().open()
        await create(fleet.runs, key="k", epoch="earlier")
        await fleet.table.transport.call(
            "DeleteItem", {"TableName": CONTEXTS, "Key": {"runId": {"S": "run"}}}
        )
        transactions = 0

        async def start_again(operation: str, request: Request) -> None:
            nonlocal transactions
            transactions += operation == "TransactWriteItems"
            if transactions == 2:
                fleet.table.before = None
                assert (await fleet.connect().create(head(key="k"), [], "t")).is_new

        fleet.table.before = start_again
        other = await fleet.runs.create(head("other", epoch="o", key="k"), [], "t")
        assert (other.head.run_id, other.is_new) == ("run", False)

    drive(work())


# --- removing ------------------------------------------------------------------------------


def test_a_run_with_equal_large_facts_is_removed() -> None:
    """What two facts refer to is deleted once."""

    async def work() -> None:
        fleet = await Fleet().open()
        await create(fleet.runs)
        large = incompressible(2_000)
        await done(fleet.runs, 1, large)
        await done(fleet.runs, 2, large)
        await fleet.runs.remove("run", "epoch")
        assert await fleet.keys() == []

    drive(work())


def test_a_removal_that_is_sent_twice_leaves_nothing() -> None:
    """boto3 repeats the deletion of the item: refused by its own effect it goes on."""

    async def work() -> None:
        fleet = await Fleet().open()
        await create(fleet.runs, key="k")
        await done(fleet.runs, 1, incompressible(2_000))
        fleet.table.twice = "DeleteItem"
        await fleet.runs.remove("run", "epoch")
        assert await fleet.keys() == []
        assert await items(fleet.table.transport, STATUSES) == []

    drive(work())


# --- rows ----------------------------------------------------------------------------------


def test_a_row_stays_owed_while_an_earlier_one_is_written() -> None:
    """A row that could not be written is written by the next write, whatever came in between."""

    async def work() -> None:
        fleet = await Fleet().open()
        await create(fleet.runs)
        gate, rows = asyncio.Event(), 0

        async def meddle(operation: str, request: Request) -> None:
            nonlocal rows
            if operation != "PutItem" or request["TableName"] != STATUSES:
                return
            rows += 1
            if rows == 1:
                await gate.wait()
            elif rows == 3:  # the second one writes the first one's row before it begins
                gate.set()
                raise AwsError("ThrottlingException", "not now", operation=operation)

        fleet.table.before = meddle
        first = asyncio.create_task(done(fleet.runs, 1, "a", row=Row("paused")))
        while not rows:
            await asyncio.sleep(0)
        with pytest.raises(StorageError):
            await write(fleet.runs, 2, "b", row=WAITS)
        await first
        await done(fleet.runs, 3, "c")
        (row,) = await items(fleet.table.transport, STATUSES)
        assert row["status"] == {"S": "awaiting"}

    drive(work())


# --- renewing ------------------------------------------------------------------------------


def test_a_lease_that_another_version_named_otherwise_is_not_asked_for_without_end() -> None:
    """A renewal that is refused again and again, though its lease is there, is given up."""

    async def work() -> None:
        fleet = await Fleet().open()
        await create(fleet.runs)
        await done(fleet.runs, 1, claim=claim(place="place/1"))
        await fleet.table.transport.call(
            "UpdateItem",
            {
                "TableName": CONTEXTS,
                "Key": {"runId": {"S": "run"}},
                "UpdateExpression": "SET l.#old = l.#new REMOVE l.#new",
                "ExpressionAttributeNames": {"#old": "place/1", "#new": "place/"},
            },
        )
        fleet.table.requests.clear()
        with pytest.raises(StorageBusy, match="time after time"):
            await fleet.runs.renew([Held("run", "place/1", "token")], 30.0)
        assert len(fleet.table.requests) < 50

    drive(work())


# --- limits --------------------------------------------------------------------------------


@pytest.mark.parametrize("claims", [False, True])
def test_many_facts_that_came_while_others_were_settled_are_settled(claims: bool) -> None:
    """However many they are, an expression stays under 4 KB."""

    async def work() -> None:
        fleet = await Fleet().open()
        await create(fleet.runs)
        known = fleet.runs._records.known("run")
        assert known is not None
        for number in range(600):
            known.is_folding = True
            if claims:
                await done(fleet.runs, 1 + number, claim=claim(f"t{number}", f"{number}/1"))
                known.is_folding = True
            more = {"holding": holding(f"t{number}", f"{number}/1")} if claims else {}
            await done(fleet.runs, 1 + number, f"fact {number}", **more)
        known.is_folding = False
        for number in range(600, 620):
            await done(fleet.runs, 1 + number, f"fact {number}")
        assert len(await log(fleet.runs)) == 621
        assert len(known.item.tail) < 20
        assert len(known.item.leases) < 20

    drive(work())


# --- damaged items -------------------------------------------------------------------------


@pytest.mark.parametrize("change", ["REMOVE f", "SET v = :v", "SET h = :h"])
def test_a_run_that_cannot_be_read_does_not_hide_the_others(
    change: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A list leaves it out and an error tells of it; its row stays."""

    async def work() -> None:
        fleet = await Fleet().open()
        for run_id in ("damaged", "fine"):
            await create(fleet.runs, run_id)
        values = {":v": {"N": "99"}} if ":v" in change else {":h": {"B": b""}}
        request: dict[str, Any] = {
            "TableName": CONTEXTS,
            "Key": {"runId": {"S": "damaged"}},
            "UpdateExpression": change,
        }
        if ":" in change:
            request["ExpressionAttributeValues"] = values
        await fleet.table.transport.call("UpdateItem", request)
        fleet.clock.advance(10_000)
        assert [each.run_id for each in await fleet.connect().find(Query())] == ["fine"]
        assert len(await items(fleet.table.transport, STATUSES)) == 2

    drive(work())
    assert "Run 'damaged' cannot be read" in caplog.text


# --- long names ----------------------------------------------------------------------------


def test_a_long_key_is_kept_by_its_hash() -> None:
    """An idempotency key may be longer than a key of a table."""

    async def work() -> None:
        fleet = await Fleet().open()
        keys = ["k" * 3_000 + end for end in "ab"]
        for number, key in enumerate(keys):
            assert (await fleet.runs.create(head(f"run{number}", key=key), [], "t")).is_new
        again = await fleet.runs.create(head("other", key=keys[1]), [], "t")
        assert (again.head.run_id, again.is_new) == ("run1", False)

    drive(work())


def test_a_run_id_that_leaves_no_room_for_keys_is_refused_before_anything_is_written() -> None:
    """With the longest run id there may be segments and large facts; a longer one says so."""

    async def work() -> None:
        fleet = await Fleet().open()
        epoch = "0b9d5e0e-6d4b-4a8e-9b1e-0d6e3f1c2a3b"
        longest = "r" * LONGEST_RUN_ID_BYTES
        await create(fleet.runs, longest, epoch=epoch)
        entries = (Entry(incompressible(2_000), START),)
        await done(fleet.runs, 1, run_id=longest, epoch=epoch, entries=entries)
        with pytest.raises(StorageError, match="bytes is the most") as told:
            await create(fleet.runs, longest + "r")
        assert told.value.is_fatal
        assert len(await items(fleet.table.transport, STATUSES)) == 1

    drive(work())
