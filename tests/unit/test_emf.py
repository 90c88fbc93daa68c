"""Metrics as lines of CloudWatch's embedded metric format."""

from __future__ import annotations

import asyncio
import io
import json
import threading
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest

from flowcraft import create_flow
from flowcraft.adapters.system import SystemClock
from flowcraft.emf import KEPT_VALUES, METRICS, MOST_SERIES, OTHERS, EmfTelemetry
from flowcraft.engine import measuring
from flowcraft.testing import VirtualClock
from tests.unit.durable import World, play

UNITS = {"Count", "Seconds"}


def written(telemetry: EmfTelemetry, stream: io.StringIO) -> list[dict[str, Any]]:
    """What is written now, each line checked by the specification."""
    start = len(stream.getvalue())
    telemetry.flush()
    lines = stream.getvalue()[start:].splitlines()
    assert all(len(line.encode()) < 256 * 1024 for line in lines)
    documents = [json.loads(line) for line in lines]
    for document in documents:
        check(document)
    return documents


def check(document: dict[str, Any]) -> None:
    """See that a document is one by the "Specification: Embedded metric format".

    A root with ``_aws``, in it a timestamp in milliseconds and directives; every dimension and
    every metric that these name is a member of the root, text or numbers.
    """
    about = document["_aws"]
    assert set(about) == {"Timestamp", "CloudWatchMetrics"}
    assert type(about["Timestamp"]) is int
    assert about["CloudWatchMetrics"]
    named = {"_aws"}
    for directive in about["CloudWatchMetrics"]:
        assert set(directive) == {"Namespace", "Dimensions", "Metrics"}
        assert 1 <= len(directive["Namespace"]) <= 1024
        assert directive["Dimensions"]
        for dimensions in directive["Dimensions"]:
            assert len(dimensions) == len(set(dimensions)) <= 30
            for name in dimensions:
                assert isinstance(document[name], str)
                assert 1 <= len(document[name]) <= 1024
                named.add(name)
        assert 1 <= len(directive["Metrics"]) <= 100
        for metric in directive["Metrics"]:
            assert set(metric) == {"Name", "Unit"}
            assert metric["Unit"] in UNITS
            value = document[metric["Name"]]
            values = value if isinstance(value, list) else [value]
            assert 1 <= len(values) <= 100
            assert all(type(each) in (int, float) for each in values)
            named.add(metric["Name"])
        assert len({metric["Name"] for metric in directive["Metrics"]}) == len(directive["Metrics"])
    assert set(document) == named


def silent(**options: Any) -> tuple[EmfTelemetry, io.StringIO]:
    """A telemetry that writes when it is told to, and where it does."""
    stream = io.StringIO()
    return EmfTelemetry(stream, interval_seconds=None, **options), stream


def test_a_run_becomes_metrics() -> None:
    """Counters are summed, durations are lists, by blueprint; nothing is written twice."""

    async def story(world: World) -> None:
        telemetry, stream = silent(clock=world.clock)

        async def fails(ctx: Any) -> None:
            world.clock.advance(2.5)
            raise ValueError("no")

        flow = create_flow("f").node("a", world.body(1)).node("b", fails).edge("a", "b")
        await world.knows(flow).client.start_run("f", run_id="run")
        await world.process(telemetry=telemetry)
        await world.finish("run")
        documents = written(telemetry, stream)
        by_labels = {
            tuple(
                document[name]
                for name in document["_aws"]["CloudWatchMetrics"][0]["Dimensions"][-1]
            ): document
            for document in documents
        }
        assert by_labels["f",]["AttemptDuration"] == [0.0, 2.5]
        assert by_labels["f",]["Attempts"] == 2
        assert by_labels["f",]["NodeDuration"] == [0.0, 2.5]
        assert by_labels["f", "ValueError"]["NodeFailures"] == 1
        assert by_labels["f", "ValueError"]["AttemptFailures"] == 1
        assert by_labels["f", "failed"]["RunsFinished"] == 1
        assert by_labels[()]["JobsReceived"] == 1
        assert by_labels[()]["JobsInFlight"] == 1
        assert written(telemetry, stream) == []

    play(story)


def test_every_metric_of_the_workers_is_shown() -> None:
    """The table of what workers count has a name in CloudWatch for each, and no other names."""
    rows = (measuring.__doc__ or "").splitlines()
    told = {row.split("``")[1] for row in rows if row.startswith("| ``") and "span" not in row}
    assert told == set(METRICS)
    names = Counter(each.name for each in METRICS.values())
    assert set(names.values()) == {1}
    assert {"StalledRuns", "DeadLetters", "QueueAge", "NodeFailures"} <= set(names)


def test_sets_of_dimensions_hold_the_sum_of_all() -> None:
    """An alarm on all failures needs no dimension; each blueprint, and error in it, has a sum."""
    telemetry, stream = silent(dimensions={"Stage": "prod"})
    about = {"blueprint": "f", "node": "n", "error": "ValueError"}
    telemetry.count("flowcraft.node.failures", 2, about)
    (document,) = written(telemetry, stream)
    (directive,) = document["_aws"]["CloudWatchMetrics"]
    assert directive["Namespace"] == "Flowcraft"
    assert directive["Dimensions"] == [
        ["Stage"],
        ["Stage", "Blueprint"],
        ["Stage", "Blueprint", "Error"],
    ]
    assert (document["Stage"], document["Blueprint"], document["Error"]) == (
        *("prod", "f", "ValueError"),
    )
    assert document["NodeFailures"] == 2


def test_nodes_are_told_apart_on_request() -> None:
    """With ``by_node`` each node is a metric of its own."""
    telemetry, stream = silent(by_node=True)
    for node in ("a", "b"):
        about = {"blueprint": "f", "node": node, "outcome": "succeeded"}
        telemetry.record("flowcraft.attempt.duration", 1.0, about)
    assert [document["Node"] for document in written(telemetry, stream)] == ["a", "b"]


def test_what_there_is_too_much_of_is_counted_together() -> None:
    """However many blueprints there are, the number of metrics is bounded, and nothing is lost."""
    telemetry, stream = silent()
    many = MOST_SERIES + 100
    for number in range(many):
        telemetry.count("flowcraft.batch.items.started", 1, {"blueprint": f"f{number}"})
    documents = written(telemetry, stream)
    assert len(documents) == MOST_SERIES + 1
    assert sum(document["BatchItemsStarted"] for document in documents) == many
    assert documents[-1]["Blueprint"] == OTHERS


def test_many_durations_are_thinned_out() -> None:
    """A line holds 100 values at most, a minute a bounded number, and attempts are counted all."""
    telemetry, stream = silent()
    many = 5 * KEPT_VALUES
    for number in range(many):
        telemetry.record("flowcraft.attempt.duration", float(number), {"blueprint": "f"})
    documents = written(telemetry, stream)
    values = [value for document in documents for value in document["AttemptDuration"]]
    assert KEPT_VALUES / 2 <= len(values) <= KEPT_VALUES
    steps = {after - before for before, after in pairwise(values)}
    assert len(steps) == 1
    assert sum(document.get("Attempts", 0) for document in documents) == many


def test_what_is_in_flight_stays_so() -> None:
    """The most of an interval is written, and what is still in flight is in the next one, too."""
    telemetry, stream = silent()
    for amount in (1, 1, 1, -1):
        telemetry.count("flowcraft.jobs.in_flight", amount, {})
    assert [document["JobsInFlight"] for document in written(telemetry, stream)] == [3]
    assert [document["JobsInFlight"] for document in written(telemetry, stream)] == [2]
    telemetry.count("flowcraft.jobs.in_flight", -2, {})
    assert [document["JobsInFlight"] for document in written(telemetry, stream)] == [2]
    assert written(telemetry, stream) == []


def test_a_thread_writes_in_time() -> None:
    """What was gathered is written by itself, also where nothing happens any more."""
    seen = threading.Event()

    class Watched(io.StringIO):
        def flush(self) -> None:
            seen.set()

    stream = Watched()
    telemetry = EmfTelemetry(stream, interval_seconds=0.01)
    telemetry.count("flowcraft.jobs.received", 3, {})
    assert seen.wait(10)
    assert json.loads(stream.getvalue().splitlines()[0])["JobsReceived"] == 3


def test_a_stream_that_fails_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """What could not be written is lost and logged once, and the thread goes on."""
    written_at_last = threading.Event()
    left = [1, 2]

    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            if left:
                left.pop()
                raise OSError("no space")
            written_at_last.set()
            return len(text)

    telemetry = EmfTelemetry(Broken(), interval_seconds=0.01)
    while not written_at_last.wait(0.01):
        telemetry.count("flowcraft.jobs.received", 1, {})
    assert [each.getMessage() for each in caplog.records] == [
        "Metrics could not be written; it is not logged again"
    ]


def test_names_that_nobody_knows_are_left_out() -> None:
    """A metric of a later version, and a dimension without a value, break nothing."""
    telemetry, stream = silent(clock=SystemClock())
    telemetry.count("flowcraft.of.tomorrow", 1, {})
    telemetry.record("flowcraft.of.tomorrow", 1.0, {})
    assert written(telemetry, stream) == []
    telemetry.record("flowcraft.jobs.queue_age", 1.0, {"blueprint": ""})
    telemetry.record("flowcraft.jobs.queue_age", 1.0, {"blueprint": "b" * 2000})
    assert [len(document["Blueprint"]) for document in written(telemetry, stream)] == [6, 1024]
    with telemetry.span("flowcraft.attempt", {}) as span:
        span.set_attribute("outcome", "succeeded")


@pytest.mark.parametrize(
    "options",
    [
        {"namespace": ""},
        {"interval_seconds": 0},
        {"dimensions": {"": "x"}},
        {"dimensions": {"Stage": ""}},
        {"dimensions": {"Blueprint": "x"}},
        {"dimensions": {"QueueAge": "x"}},
        {"dimensions": {f"d{number}": "x" for number in range(28)}},
    ],
)
def test_what_cannot_be_written_is_refused(options: dict[str, Any]) -> None:
    """A namespace, an interval or a dimension that CloudWatch would not take is refused at once."""
    with pytest.raises(ValueError, match=r"\."):
        EmfTelemetry(**options)


def test_a_worker_that_ends_writes_what_it_has() -> None:
    """The metrics of its last minute are not lost with it."""

    async def story(world: World) -> None:
        telemetry, stream = silent(clock=VirtualClock())
        flow = create_flow("f").node("a", world.body(1))
        await world.knows(flow).client.start_run("f", run_id="run")
        process = await world.process(telemetry=telemetry, drain_timeout_seconds=0.0)
        await world.settle()
        stopping = asyncio.ensure_future(process.worker.stop())
        while not stopping.done():
            due = world.clock.next_due
            if due is not None:
                world.clock.advance_to(due)
            await asyncio.sleep(0)
        assert '"JobsReceived":1' in stream.getvalue()

    play(story)
