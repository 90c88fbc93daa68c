"""Telemetry of a fleet: spans in the attributes of messages, requests counted, dead letters."""

from __future__ import annotations

import asyncio
import io
import json
from typing import Any

import pytest

from flowcraft import create_flow
from flowcraft.adapters.aws.queue import MAX_BYTES, TRACE
from flowcraft.adapters.aws.transport import AwsError
from flowcraft.emf import EmfTelemetry
from flowcraft.errors import StorageError
from flowcraft.ports.queue import Outgoing
from flowcraft.testing import TelemetryRecorder
from tests.unit.aws_fleet import FakeFleet
from tests.unit.aws_sqs import Place, play
from tests.unit.test_aws_lambda import Function, Left, chain, one
from tests.unit.traces import Exported, tree

SPAN = f"00-{1:032x}-{2:016x}-01"
ATTRIBUTE_BYTES = len(TRACE) + len("String") + len(SPAN)


def test_a_span_is_an_attribute_of_its_message() -> None:
    """It is sent beside the body, comes with each delivery, and without one nothing is sent."""

    async def story(place: Place) -> None:
        await place.queue.send([Outgoing("traced", trace=SPAN), Outgoing("plain")])
        (request,) = place.aws.of("SendMessageBatch")
        assert [entry.get("MessageAttributes") for entry in request["Entries"]] == [
            {TRACE: {"DataType": "String", "StringValue": SPAN}},
            None,
        ]
        for receives in (1, 2):
            found = {each.body: each for each in await place.queue.receive(10, 0)}
            assert (found["traced"].trace, found["plain"].trace) == (SPAN, None)
            assert found["traced"].receives == receives
            await place.pass_time(31)

    play(story)


def test_a_span_counts_into_the_size_of_a_message() -> None:
    """SQS counts names, types and values of attributes; what is too large is refused at once."""

    async def story(place: Place) -> None:
        most = MAX_BYTES - ATTRIBUTE_BYTES
        await place.queue.send([Outgoing("x" * most, trace=SPAN)])
        with pytest.raises(StorageError, match=f"has {MAX_BYTES + 1} bytes"):
            await place.queue.send([Outgoing("x" * (most + 1), trace=SPAN)])
        await place.queue.send([Outgoing("x" * (most // 2), trace=SPAN)] * 2)
        requests = place.aws.of("SendMessageBatch")
        assert [len(request["Entries"]) for request in requests] == [1, 1, 1]

    play(story)


def requests_of(fleet: FakeFleet) -> dict[str, int]:
    """How often each operation was asked for; polls come as time passes."""
    names = [each.partition(" ")[0] for each in fleet.sent]
    return {name: names.count(name) for name in sorted(set(names) - {"ReceiveMessage"})}


def run_on(fleet: FakeFleet, **options: Any) -> None:
    """Run a chain on a fleet, from its start until its message is gone."""

    async def main() -> None:
        options_of_all = {"reconcile_every_seconds": None, "schedules_every_seconds": None}
        flow = create_flow("f").node("a", one, uses="a").node("b", one, uses="b").edge("a", "b")
        async with fleet.adapter(flow, **options_of_all, **options) as adapter:
            run = await adapter.start_run("f")
            # Nobody waits for the run: looks at it would be requests, as many as there is time for.
            async with asyncio.timeout(30):
                while fleet.sqs.messages(fleet.queue_url):
                    await asyncio.sleep(0.01)
            assert (await run.get()).status == "completed"

    asyncio.run(main())


def test_a_fleet_tells_one_tree_at_no_further_request() -> None:
    """With tracing and counting a run takes the requests that it takes without."""
    plain, traced = asyncio.run(FakeFleet.made()), asyncio.run(FakeFleet.made())
    exported = Exported()
    run_on(plain)
    run_on(traced, telemetry=exported.telemetry)
    assert requests_of(traced) == requests_of(plain)
    assert tree(exported.spans()) == [
        "run f completed",
        "  node a succeeded",
        "    attempt a #1 succeeded",
        "  node b succeeded",
        "    attempt b #1 succeeded",
    ]


def test_requests_are_counted_by_operation() -> None:
    """Each request is told with its service, and what AWS called the error if it was refused."""
    fleet, told = asyncio.run(FakeFleet.made()), TelemetryRecorder()
    run_on(fleet, telemetry=told)
    name = "flowcraft.aws.requests"
    assert told.total(name, service="sqs", operation="DeleteMessageBatch", outcome="ok") == 1
    writes = requests_of(fleet)
    assert told.total(name, operation="UpdateItem") == writes["UpdateItem"]
    assert told.total(name, operation="SendMessageBatch") == writes["SendMessageBatch"]
    assert told.seconds("flowcraft.jobs.queue_age", blueprint="f")


def test_a_refused_request_is_counted_as_such() -> None:
    """The outcome of a request that AWS refuses is the name of the error."""

    class Gone:
        async def call(self, operation: str, request: Any) -> Any:
            raise AwsError("QueueDoesNotExist", "no such queue", operation=operation)

    async def main() -> TelemetryRecorder:
        fleet, told = await FakeFleet.made(), TelemetryRecorder()
        fleet.sqs = Gone()  # type: ignore[assignment]
        adapter = fleet.adapter(telemetry=told)
        with pytest.raises(StorageError):
            await adapter.start()
        return told

    told = asyncio.run(main())
    about = {"service": "sqs", "operation": "GetQueueAttributes"}
    assert told.total("flowcraft.aws.requests", **about, outcome="QueueDoesNotExist") == 1


def test_a_message_that_is_left_for_the_last_time_is_a_dead_letter() -> None:
    """What no worker can read is counted when it is received as often as the queue allows."""

    async def main() -> TelemetryRecorder:
        fleet, told = await FakeFleet.made(), TelemetryRecorder()
        dead = fleet.sqs.arn(fleet.sqs.create("dead"))
        policy = json.dumps({"deadLetterTargetArn": dead, "maxReceiveCount": 1})
        fleet.queue_url = fleet.sqs.create("strict", VisibilityTimeout=30, RedrivePolicy=policy)
        send = {"QueueUrl": fleet.queue_url, "MessageBody": "what?"}
        await fleet.sqs.call("SendMessage", send)
        async with fleet.adapter(telemetry=told), asyncio.timeout(30):
            while not told.total("flowcraft.jobs.handled", outcome="unreadable"):
                await asyncio.sleep(0.01)
        return told

    assert asyncio.run(main()).total("flowcraft.jobs.exhausted") == 1


def test_a_function_of_lambda_goes_on_with_the_trace() -> None:
    """The attribute that Lambda hands over leads to the span that the message was sent from."""
    exported = Exported()
    with Function(chain(one, one), telemetry=exported.telemetry) as function:
        run = function.start("chain")
        records = function.received()
        (record,) = records
        said = record["messageAttributes"][TRACE]
        assert said["stringValue"].endswith("-01")
        said["stringValue"] = said["stringValue"][:-2] + "00"
        assert function.answer(records) == 0
        assert function.run(run).status == "completed"
    # The message says that the trace is not kept, and is believed.
    assert exported.spans() == []


def test_a_call_of_lambda_writes_its_metrics_at_its_end() -> None:
    """Between two calls the process is frozen: nothing is kept until the next one."""
    stream = io.StringIO()
    telemetry = EmfTelemetry(stream, interval_seconds=None)
    with Function(chain(one), telemetry=telemetry) as function:
        function.start("chain")
        assert stream.getvalue() == ""
        assert function.call() == 0
        assert '"RunsFinished":1' in stream.getvalue()
        before = len(stream.getvalue())
        function.looks({}, Left(60))
        assert '"StalledRuns":0' in stream.getvalue()[before:]
