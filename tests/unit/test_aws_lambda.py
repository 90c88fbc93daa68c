"""A function of AWS Lambda that works on a queue's messages, on the fakes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from flowcraft import FlowRuntime, create_flow
from flowcraft.aws import (
    DynamoDbCoordinationStore,
    SqsAdapter,
    create_sqs_reconciler,
    lambda_handler,
    reconciler_handler,
)
from flowcraft.engine.worker import Worker
from flowcraft.errors import FlowcraftError
from flowcraft.testing import VirtualClock
from flowcraft.testing.aws.sqs import FakeSqs
from tests.unit.aws_tables import CONTEXTS, COORDINATION, STATUSES, fake_tables

ARN = "arn:aws:sqs:eu-central-1:123456789012:jobs"


class Left:
    """What Lambda says of a call."""

    def __init__(self, seconds: float) -> None:
        self._milliseconds = int(seconds * 1000)

    def get_remaining_time_in_millis(self) -> int:
        """How long it may still take."""
        return self._milliseconds


class Function:
    """A function with its queue, and the event source mapping between them."""

    def __init__(self, *flows: Any, margin_seconds: float = 5.0, **options: Any) -> None:
        self.clock = VirtualClock()
        self.sqs = FakeSqs(self.clock)
        self.url = self.sqs.create("jobs")
        self.runtime = FlowRuntime(flows=list(flows))
        dynamodb = asyncio.run(fake_tables(self.clock))
        self.adapter = SqsAdapter(
            self.runtime.options,
            sqs_client=self.sqs,
            dynamodb_client=dynamodb,
            queue_url=self.url,
            context_table_name=CONTEXTS,
            status_table_name=STATUSES,
            coordination_store=DynamoDbCoordinationStore(dynamodb, COORDINATION, self.clock),
            clock=self.clock,
            **options,
        )
        self.handler = lambda_handler(self.adapter, margin_seconds=margin_seconds)
        self.reconciler = create_sqs_reconciler(adapter=self.adapter)
        self.looks = reconciler_handler(self.reconciler)

    def __enter__(self) -> Function:
        return self

    def __exit__(self, *_: object) -> None:
        self.handler._loop.run(self.adapter.stop())
        self.handler.close()
        self.looks._loop.run(self.reconciler.aclose())
        self.looks.close()

    def start(self, flow: Any, **options: Any) -> Any:
        """Start a run; gives its id."""
        return self.handler._loop.run(self.adapter.start_run(flow, **options))

    def run(self, run_id: Any) -> Any:
        """A run as it is now."""
        return self.handler._loop.run(self.adapter.get_run(run_id))

    def received(self) -> list[dict[str, Any]]:
        """What can be received now, as events have it."""
        request = {
            "QueueUrl": self.url,
            "MaxNumberOfMessages": 10,
            "WaitTimeSeconds": 0,
            "MessageAttributeNames": ["All"],
        }
        answer = self.handler._loop.run(self.sqs.call("ReceiveMessage", request))
        return [
            {
                "messageId": message["MessageId"],
                "receiptHandle": message["ReceiptHandle"],
                "body": message["Body"],
                "attributes": {"ApproximateReceiveCount": "1"},
                "messageAttributes": {
                    name: {"stringValue": value["StringValue"], "dataType": value["DataType"]}
                    for name, value in message.get("MessageAttributes", {}).items()
                },
                "eventSource": "aws:sqs",
                "eventSourceARN": ARN,
                "awsRegion": "eu-central-1",
            }
            for message in answer.get("Messages", ())
        ]

    def call(self, seconds: float = 60.0) -> int:
        """Call it with what is there, and delete what did not fail; how many failed."""
        return self.answer(self.received(), seconds)

    def answer(self, records: list[dict[str, Any]], seconds: float = 60.0) -> int:
        """Call it with records, and delete what did not fail; how many failed."""
        answer = self.handler({"Records": records}, Left(seconds))
        failed = {each["itemIdentifier"] for each in answer["batchItemFailures"]}
        for record in records:
            if record["messageId"] not in failed:
                handle = {"QueueUrl": self.url, "ReceiptHandle": record["receiptHandle"]}
                self.handler._loop.run(self.sqs.call("DeleteMessage", handle))
        return len(failed)


def left_going() -> list[str]:
    """Threads of this package that do not end; the one that watches loops has none to watch."""
    names = ("flowcraft-heartbeat", "flowcraft-node", "flowcraft-sqs", "flowcraft-dynamodb")
    threads = [each for each in threading.enumerate() if each.name.startswith(names)]
    for thread in threads:
        thread.join(5.0)
    return [each.name for each in threads if each.is_alive()]


def chain(*bodies: Callable[[Any], Any]) -> Any:
    """Nodes one after the other."""
    flow = create_flow("chain")
    for number, body in enumerate(bodies):
        flow.node(f"n{number}", body, uses=f"n{number}")
        if number:
            flow.edge(f"n{number - 1}", f"n{number}")
    return flow


async def one(_: Any) -> int:
    return 1


def test_a_run_goes_on_within_one_call() -> None:
    """A call takes a chain from its start to its end, and leaves no heartbeat and no task."""
    with Function(chain(one, one, one)) as function:
        run = function.start("chain")
        assert function.call() == 0
        assert function.run(run).status == "completed"
        assert function.received() == []
        assert left_going() == []
        function.start("chain")
        assert function.call() == 0


def test_without_time_left_nothing_begins() -> None:
    """What was received is sent anew for another call, and does not count as failed."""
    with Function(chain(one)) as function:
        run = function.start("chain")
        assert function.call(seconds=0) == 0
        assert function.run(run).outputs == {}
        assert function.call() == 0
        assert function.run(run).outputs == {"n0": 1}


def test_what_runs_at_the_deadline_is_handed_back() -> None:
    """A node that does not end in time is stopped, and begins anew in the next call at once."""
    begun: list[int] = []

    async def slow(ctx: Any) -> str:
        begun.append(ctx.attempt)
        if len(begun) == 1:
            await asyncio.Event().wait()
        return "done"

    with Function(chain(slow), margin_seconds=0.02) as function:
        run = function.start("chain")
        while not begun:  # on a machine that is busy a call may be over before
            assert function.call(seconds=0.1) == 0
        assert function.call() == 0
        assert function.run(run).outputs == {"n0": "done"}
        assert begun == [1, 1]


def test_a_node_that_cannot_be_stopped_holds_up_no_answer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its message fails, the others do not; it is not waited for beyond the deadline."""
    end = asyncio.Event()

    async def stubborn(_: Any) -> None:
        while not end.is_set():
            try:
                await end.wait()
            except asyncio.CancelledError:
                begun.append("told to stop")

    begun: list[str] = []
    flow = create_flow("other").node("n0", one, uses="n0 of other")
    with Function(chain(stubborn), flow, margin_seconds=0.1) as function:
        function.start("chain")
        other = function.start("other")
        failed = 0
        while not begun:
            failed = function.call(seconds=0.3)
        assert failed == 1
        assert function.run(other).status == "completed"
        end.set()
    assert "do not let themselves be stopped" in caplog.text


def test_what_follows_is_sent_when_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that ends after the time to go on leaves its successor to another call."""
    end = threading.Event()
    drain = Worker.drain

    def then_end(worker: Worker) -> None:
        drain(worker)
        end.set()

    monkeypatch.setattr(Worker, "drain", then_end)

    def short(_: Any) -> str:
        end.wait(30.0)
        return "short"

    with Function(chain(short, one), margin_seconds=20.0) as function:
        run = function.start("chain")
        while "n0" not in function.run(run).outputs:  # as above
            end.clear()
            assert function.call(seconds=0.1) == 0
        assert function.run(run).outputs == {"n0": "short"}
        assert function.call() == 0
        assert function.run(run).outputs == {"n0": "short", "n1": 1}


def test_a_message_that_cannot_be_read_fails_alone(caplog: pytest.LogCaptureFixture) -> None:
    """Of a batch only that one is delivered again, and the log says why."""
    with Function(chain(one)) as function:
        run = function.start("chain")
        request = {"QueueUrl": function.url, "MessageBody": "no job"}
        function.handler._loop.run(function.sqs.call("SendMessage", request))
        assert function.call() == 1
        assert function.run(run).status == "completed"
    assert "A message is left on the queue: The message is not JSON" in caplog.text


def test_a_large_message_is_read() -> None:
    """A message that says where its body is can be worked on, too."""
    flow = create_flow("ask").wait("w").node("size", lambda ctx: len(ctx.input), uses="size")
    flow.edge("w", "size")
    with Function(flow) as function:
        run = function.start("ask")
        assert function.call() == 0
        answer = "x" * 300_000
        function.handler._loop.run(function.adapter.resume_with_action(run, output=answer))
        while function.run(run).status != "completed":
            assert function.call() == 0
        assert function.run(run).outputs["size"] == 300_000


RECORD = {"messageId": "1", "body": "{}", "eventSource": "aws:sqs", "eventSourceARN": ARN}


@pytest.mark.parametrize(
    ("event", "problem"),
    [
        (None, "no list 'Records'"),
        ({"Records": "all"}, "no list 'Records'"),
        ({"Records": [1]}, r"Records\[0\] of the event is no object"),
        ({"Records": [{"eventSource": "aws:sns"}]}, "eventSource of the event is 'aws:sns'"),
        ({"Records": [RECORD, RECORD | {"body": 1}]}, r"Records\[1\]\.body .* is no text, but 1"),
        ({"Records": [RECORD | {"eventSourceARN": ARN + "2"}]}, "of the queue 'jobs2'"),
    ],
)
def test_other_events_are_refused(event: Any, problem: str) -> None:
    """An event that is not of the queue is refused with its place, so that nothing is deleted."""
    with Function() as function, pytest.raises(ValueError, match=problem):
        function.handler(event, Left(60))


@pytest.mark.parametrize("margin_seconds", [0, -1, 900])
def test_the_margin_is_a_time_within_a_call(margin_seconds: float) -> None:
    """A margin that leaves no time, or none to hand back, is refused."""
    with pytest.raises(ValueError, match="margin_seconds is more than 0, and less than 900"):
        Function(margin_seconds=margin_seconds)


def test_a_call_without_the_context_of_lambda_says_so() -> None:
    """What tells no time that is left is named, by both functions."""
    with Function(chain(one)) as function:
        for call in (function.handler, function.looks):
            with pytest.raises(TypeError, match=r"no get_remaining_time_in_millis.*not None"):
                call({"Records": []}, None)  # type: ignore[arg-type]


def test_a_function_that_is_called_in_an_event_loop_says_what_to_call() -> None:
    """Nothing is begun that nobody awaits."""
    with Function(chain(one)) as function:

        async def work() -> None:
            with pytest.raises(FlowcraftError, match=r"use 'await adapter.handle_job\(body\)'"):
                function.handler({"Records": []}, Left(60))
            with pytest.raises(FlowcraftError, match=r"use 'await reconciler.run\(\)'"):
                function.looks({}, Left(60))

        asyncio.run(work())


def test_functions_are_made_of_an_adapter_and_of_its_reconciler() -> None:
    """A client, or the adapter in the place of its reconciler, is refused by its kind."""
    with Function(chain(one)) as function:
        client: Any = function.adapter.sync
        for make in (lambda_handler, lambda each: create_sqs_reconciler(adapter=each)):
            with pytest.raises(TypeError, match="is an SqsAdapter, not a BlockingClient"):
                make(client)
        adapter: Any = function.adapter
        with pytest.raises(TypeError, match=r"create_sqs_reconciler\(adapter=…\).*SqsAdapter"):
            reconciler_handler(adapter)


def test_a_schedule_looks_for_stuck_runs() -> None:
    """A run whose message is gone is found by the function that a schedule calls."""
    with Function(chain(one)) as function:
        run = function.start("chain")
        [record] = function.received()
        handle = {"QueueUrl": function.url, "ReceiptHandle": record["receiptHandle"]}
        function.handler._loop.run(function.sqs.call("DeleteMessage", handle))
        function.clock.advance(3600)
        stats = function.looks({"source": "aws.scheduler"}, Left(60))
        assert (stats["stalled_runs"], stats["reconciled_runs"]) == (1, 1)
        assert function.call() == 0
        assert function.run(run).status == "completed"


def test_a_look_without_time_says_so() -> None:
    """A look that does not end before the deadline tells what to do about it."""
    with Function(chain(one)) as function:
        function.start("chain")
        with pytest.raises(FlowcraftError, match="Give the function more time"):
            function.looks({}, Left(0))
