"""The HTTP application of a fleet on AWS: the same answers, and what they cost in requests."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from flowcraft.web import create_app
from tests.unit.aws_fleet import FakeFleet
from tests.unit.runs import drive
from tests.unit.web.stage import FLOWS, Web


@asynccontextmanager
async def fleet_web() -> AsyncIterator[tuple[FakeFleet, Web]]:
    """A fleet on fakes, and an application without a worker."""
    fleet = await FakeFleet.made()
    client = fleet.client(*FLOWS)
    async with client, create_app(client) as app:
        yield fleet, Web(app)


def requests(fleet: FakeFleet) -> Counter[str]:
    """How many requests of each kind were made since the last time."""
    found = Counter(each.partition(" ")[0] for each in fleet.sent)
    fleet.sent.clear()
    return found


def test_runs_of_a_fleet_are_started_seen_and_steered() -> None:
    """What is asked of a fleet is answered as documented, its health included."""

    async def work() -> None:
        async with fleet_web() as (_, web):
            body = {"flow": "order", "context": {"amount": 1}, "runId": "a/b"}
            await web.call("POST", "/runs", body, status=201)
            assert (await web.call("GET", "/session"))["storage"] == "apart"
            assert [run["runId"] for run in (await web.call("GET", "/runs"))["runs"]] == ["a/b"]
            assert (await web.call("GET", "/runs/a%2Fb"))["cost"]["requests"] > 0
            health = await web.call("GET", "/health")
            assert health["queue"] == {
                "ready": 1,
                "inHand": 0,
                "delayed": 0,
                "oldestSeconds": None,
            }
            await web.call("POST", "/runs/a%2Fb/cancel", {"reason": "x"})
            await web.call("GET", "/drain-report")
            await web.call("GET", "/blueprints/order")
            told = await web.call("GET", "/dead-letters", status=503)
            assert "redrive policy" in told["detail"]
            await web.call("DELETE", "/runs/a%2Fb?force=true")

    drive(work())


def test_who_watches_a_run_costs_one_read_for_each_look() -> None:
    """However many watch, a look at a run takes one read of its item, and nothing else."""

    async def work() -> None:
        async with fleet_web() as (fleet, web):
            body = {"flow": "order", "context": {"amount": 1}, "runId": "r"}
            await web.call("POST", "/runs", body, status=201)
            async with (
                web.stream("/runs/r/events") as one,
                web.stream("/runs/r/events") as two,
                web.stream("/runs/r/events"),
            ):
                await one.event(), await two.event()
                ((_, lookout),) = web.app.stage.live.lookouts.items()
                looks = lookout.looks
                requests(fleet)
                await web.app.stage.client.pause_run("r")
                requests(fleet)
                web.app.stage.live.nudge("r")
                await one.event(), await two.event()
                assert lookout.looks == looks + 1
                assert requests(fleet) == {"GetItem": 1}

    drive(work())


def test_a_page_of_the_list_reads_the_rows_once() -> None:
    """A page takes one pass over the rows, and as many batches of reads as it has runs."""

    async def work() -> None:
        async with fleet_web() as (fleet, web):
            for number in range(5):
                body = {"flow": "order", "context": {"amount": 1}, "runId": f"r{number}"}
                await web.call("POST", "/runs", body, status=201)
            requests(fleet)
            page = await web.call("GET", "/runs?limit=3")
            assert (len(page["runs"]), page["read"]) == (3, 3)
            # Whether there is an index is asked once an hour.
            assert requests(fleet) == {"DescribeTable": 1, "Scan": 1, "BatchGetItem": 1}
            assert (page["rowsRead"], page["scanned"]) == (5, True)
            page = await web.call("GET", "/runs?q=r4")
            assert (len(page["runs"]), page["read"]) == (1, 5)
            assert requests(fleet) == {"Scan": 1, "BatchGetItem": 1}

    drive(work())


def test_health_is_asked_for_by_many_and_found_once() -> None:
    """Whoever asks within some seconds is told what was found for another one."""

    async def work() -> None:
        async with fleet_web() as (fleet, web):
            first = await web.call("GET", "/health")
            assert requests(fleet)
            assert await web.call("GET", "/health") == first
            assert not requests(fleet)

    drive(work())
