"""The reconciler of a fleet: what it reports, how thorough it is, and that it harms nobody."""

from __future__ import annotations

import logging
from dataclasses import replace
from itertools import islice
from typing import Any

import pytest

from flowcraft import create_flow
from flowcraft.adapters.aws.transport import Answer, AwsError, Request
from flowcraft.aws import ReconciliationStats, SqsAdapter, create_sqs_reconciler
from flowcraft.engine import depths
from flowcraft.engine.depths import RECORDS_EVERY_SECONDS, ROWS_EVERY_SECONDS, Depths
from flowcraft.ports.suspicion import Depth
from flowcraft.testing import VirtualClock
from flowcraft.testing.simulate.campaign import at_random, run_all
from flowcraft.testing.simulate.named import backend_named
from flowcraft.testing.simulate.zoo import STORIES
from tests.unit.aws_tables import CONTEXTS, STATUSES, Watched
from tests.unit.runs import drive
from tests.unit.test_aws_adapter import Fleet, order

MIXED = ("event", "sleep-beside", "subflow", "batch", "retry", "pause")

waiting = create_flow("waiting").wait("approve", event="paid")


class Denied(Watched):
    """The fake; the context table may not be scanned."""

    async def call(self, operation: str, request: Request) -> Answer:
        """Carry out a request."""
        if operation == "Scan" and request["TableName"] == CONTEXTS:
            raise AwsError("AccessDeniedException", "no", operation=operation)
        return await super().call(operation, request)


async def opened() -> Fleet:
    """A fleet with a flow that works, and one that waits."""
    return await Fleet(VirtualClock(), order, waiting).open()


def reconciler_of(fleet: Fleet, **more: Any) -> Any:
    """A reconciler whose requests are looked at."""
    fleet.dynamodb = more.pop("service", None) or Watched(fleet.dynamodb)  # type: ignore[assignment]
    return create_sqs_reconciler(
        adapter=fleet.adapter,
        dynamodb_client=fleet.dynamodb,
        stalled_threshold_seconds=300,
        **more,
    )


async def delete_row(fleet: Fleet, run_id: str) -> None:
    """Delete a row by hand."""
    key = {"runId": {"S": run_id}}
    await fleet.dynamodb.call("DeleteItem", {"TableName": STATUSES, "Key": key})


def test_it_tells_what_it_did() -> None:
    """Runs looked at, stuck, got going, and not readable; rows mended; finished runs in none."""

    async def work() -> None:
        fleet = await opened()
        await fleet.adapter.start_run("order", {"amount": 1}, run_id="over")
        await fleet.work()
        await fleet.adapter.resume_with_action("over", "yes")
        await fleet.work()
        await fleet.adapter.start_run("waiting", run_id="rests")
        await fleet.work()
        await delete_row(fleet, "rests")
        for run_id in ("stuck", "damaged"):
            await fleet.adapter.start_run("order", {"amount": 1}, run_id=run_id)
        await fleet.sqs.call("PurgeQueue", {"QueueUrl": fleet.url})
        request = {"TableName": CONTEXTS, "Key": {"runId": {"S": "damaged"}}}
        await fleet.dynamodb.call("UpdateItem", {**request, "UpdateExpression": "REMOVE f"})
        fleet.clock.advance(301)
        reconciler = reconciler_of(fleet)
        assert await reconciler.run() == ReconciliationStats(2, 1, 1, 1, 1)
        assert await reconciler.run() == ReconciliationStats(2, 1, 0, 1, 0)
        assert "over" not in str(fleet.dynamodb.requests)  # type: ignore[attr-defined]
        assert await fleet.adapter.send_event(event="paid") == ["rests"]
        await reconciler.aclose()
        await fleet.close()

    drive(work())


def test_reading_the_records_is_not_needed_for_the_rest(caplog: pytest.LogCaptureFixture) -> None:
    """Without the permission to scan the context table an error says so, and runs get going."""

    async def work() -> None:
        fleet = await opened()
        await fleet.adapter.start_run("order", {"amount": 1}, run_id="stuck")
        await fleet.sqs.call("PurgeQueue", {"QueueUrl": fleet.url})
        fleet.clock.advance(301)
        reconciler = reconciler_of(fleet, service=Denied(fleet.dynamodb))
        assert (await reconciler.run()).reconciled_runs == 1
        await reconciler.aclose()
        await fleet.close()

    with caplog.at_level(logging.ERROR):
        drive(work())
    assert "Missing rows could not be looked for" in caplog.text
    assert "dynamodb:Scan" in caplog.text


def test_thorough_looks_are_rare_and_one_does_them_for_all() -> None:
    """Once a day records, once an hour rows; two who look often ask for it once an hour each."""

    async def work() -> None:
        fleet = await opened()
        station = await fleet.adapter._opened()
        told: dict[Depth, int] = dict.fromkeys(Depth, 0)
        both = [Depths(station) for _ in range(2)]
        for _ in range(int(RECORDS_EVERY_SECONDS / 600)):
            for each in both:
                told[await each.of_this_look()] += 1
            fleet.clock.advance(600)
        hours = int(RECORDS_EVERY_SECONDS / ROWS_EVERY_SECONDS)
        assert (told[Depth.RECORDS], told[Depth.ROWS]) == (1, hours - 1)
        fleet.clock.advance(ROWS_EVERY_SECONDS)
        assert await both[1].of_this_look() is Depth.RECORDS
        await fleet.close()

    drive(work())


def test_stores_that_keep_rows_with_the_records_are_never_looked_at_thoroughly() -> None:
    """There is nothing to compare, so nothing is asked for."""

    class Station:
        class Runs:
            rows_are_apart = False

        runs, coordination, clock = Runs(), None, VirtualClock()

    assert drive(Depths(Station()).of_this_look()) is Depth.SUSPECTS  # type: ignore[arg-type]


@pytest.mark.parametrize("segments", [0, 101, 1.5, True])
def test_a_number_of_segments_that_makes_no_sense_is_refused(segments: Any) -> None:
    """Both the adapter and the reconciler say what they take."""

    async def work() -> None:
        fleet = await opened()
        with pytest.raises((TypeError, ValueError), match="scan_segments"):
            reconciler_of(fleet, scan_segments=segments)
        with pytest.raises((TypeError, ValueError), match="scan_segments"):
            SqsAdapter(fleet.runtime.options, **fleet.resources, scan_segments=segments)
        await fleet.close()

    drive(work())


def test_tables_are_read_in_segments() -> None:
    """The status table and the context table are read in as many parts as were asked for."""

    async def work() -> None:
        fleet = await opened()
        reconciler = reconciler_of(fleet, scan_segments=3)
        await reconciler.run()
        scans = [
            (request["TableName"], request["Segment"])
            for name, request in fleet.dynamodb.requests  # type: ignore[attr-defined]
            if name == "Scan"
        ]
        # The last one is for runs that somebody began to delete.
        tables = (STATUSES, CONTEXTS, STATUSES)
        assert scans == [(table, n) for table in tables for n in range(3)]
        await reconciler.aclose()
        await fleet.close()

    drive(work())


def test_simulated_reconcilers_beside_live_workers_do_no_harm(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Workers that all look for stuck runs, thoroughly each time, while everything goes wrong."""
    monkeypatch.setattr(depths, "ROWS_EVERY_SECONDS", 30.0)
    monkeypatch.setattr(depths, "RECORDS_EVERY_SECONDS", 90.0)
    backend = backend_named("aws")
    drawn = at_random([STORIES[name] for name in MIXED], 3, new_backend=backend)
    scenarios = [
        replace(each, reconciler=True, workers=max(2, each.workers)) for each in islice(drawn, 20)
    ]
    report = run_all(STORIES, scenarios, backend)
    assert report.ok, "\n\n".join(map(str, report.violations))
    assert report.runs == 20
