"""What is configured wrongly is told of at once, by the name of the argument; all else works."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowcraft import FlowRuntime, Limit, NodeContext, RetryPolicy, create_flow
from flowcraft.aws import (
    DynamoDbContext,
    DynamoDbCoordinationStore,
    SqsAdapter,
    create_sqs_reconciler,
)
from flowcraft.core.schedules import Spec
from flowcraft.engine.schedule_options import spec_of
from flowcraft.engine.timetables import timetable_of
from flowcraft.errors import BlueprintError, FlowcraftError, InputError
from flowcraft.memory import MemoryAdapter
from flowcraft.sqlite import SqliteAdapter
from tests.unit.test_aws_arguments import Ready, resources

NAN, INF = math.nan, math.inf
NO_NUMBER: list[Any] = ["5", "", [], True, -1, NAN, -INF, 10**30, object()]
NO_POSITIVE = [*NO_NUMBER, 0, INF]
NO_THRESHOLD = ["5", [], True, -1, 0, NAN, object()]
NO_WHOLE = [*NO_NUMBER, 1.5, 0]
NO_TEXT: list[Any] = [5, b"x", "", ["x"], object()]
NO_NAME = [*NO_TEXT, "\ud800", "\x00"]
NO_OBJECT: list[Any] = [5, "x", ["x"], object(), object]
NO_LIST: list[Any] = [5, object()]
NO_FLAG: list[Any] = [5, "yes", None, ["x"]]
OPTIONS = FlowRuntime().options


async def node(ctx: NodeContext[Any]) -> int:
    return 1


def fleet(**options: Any) -> Any:
    return SqsAdapter(OPTIONS, **{**resources(), **options})


def reconciler(**options: Any) -> Any:
    return create_sqs_reconciler(**{"adapter": fleet(), **options})


def context(run_id: Any = "run", **options: Any) -> Any:
    return DynamoDbContext(run_id, **{"client": Ready(), "table_name": "contexts", **options})


def store(client: Any = None, table_name: Any = "locks", **options: Any) -> Any:
    return DynamoDbCoordinationStore(Ready() if client is None else client, table_name, **options)


def file(path: Any = "runs.db", runtime_options: Any = OPTIONS, **options: Any) -> Any:
    return SqliteAdapter(path, runtime_options, **options)


def memory(**options: Any) -> Any:
    return MemoryAdapter(OPTIONS, **options)


def limit(**options: Any) -> Any:
    return Limit(**{"rate": 5, **options})


def built(**options: Any) -> Any:
    flow: Any = create_flow("f")
    return flow.node("a", node, **options).to_blueprint()


def declared(**options: Any) -> None:
    start = {} if "every" in options else {"cron": "* * * * *"}
    timetable_of(spec_of({**start, **options}, Spec("")))


WORKER: dict[str, Sequence[Any]] = {
    "concurrency": [*NO_WHOLE, None],
    "lease_seconds": [*NO_POSITIVE, None],
    "poll_seconds": NO_POSITIVE,
    "drain_timeout_seconds": [*NO_NUMBER, None],
    "implementation_timeout_seconds": [*NO_NUMBER, None],
    "reconcile_every_seconds": NO_POSITIVE,
    "schedules_every_seconds": NO_POSITIVE,
    "stalled_threshold_seconds": NO_THRESHOLD,
    "shard_items": [each for each in NO_WHOLE if each != 10**30],
    "retention_seconds": NO_POSITIVE,
    "codec": NO_OBJECT,
    "telemetry": NO_OBJECT,
    "clock": NO_OBJECT,
    "identifiers": NO_OBJECT,
}
REFUSED: list[tuple[Callable[..., Any], dict[str, Sequence[Any]]]] = [
    (
        fleet,
        {
            **WORKER,
            "queue_url": NO_NAME,
            "context_table_name": NO_NAME,
            "status_table_name": NO_NAME,
            "scan_segments": NO_WHOLE,
            "payload_bucket": NO_NAME,
            "prices": NO_OBJECT,
            "coordination_store": NO_OBJECT[:-1],
            "sqs_client": NO_OBJECT[:-1],
            "dynamodb_client": NO_OBJECT[:-1],
            "s3_client": NO_OBJECT[:-1],
        },
    ),
    (reconciler, {"stalled_threshold_seconds": NO_THRESHOLD, "scan_segments": NO_WHOLE}),
    (
        context,
        {
            "run_id": NO_NAME,
            "client": NO_OBJECT[:-1],
            "table_name": NO_NAME,
            "runtime_options": NO_OBJECT,
            "codec": NO_OBJECT,
            "clock": NO_OBJECT,
            "payload_bucket": NO_NAME,
        },
    ),
    (store, {"client": NO_OBJECT[:-1], "table_name": NO_NAME, "clock": NO_OBJECT[:-1]}),
    (
        file,
        {
            **WORKER,
            "path": NO_TEXT,
            "durability": [*NO_TEXT, "x"],
            "runtime_options": NO_OBJECT,
        },
    ),
    (memory, WORKER),
    (
        RetryPolicy,
        {
            "max_attempts": ["5", [], True, 0, 1.5, NAN],
            "delay": [*NO_THRESHOLD[:4], INF, timedelta(-1)],
            "max_delay": [*NO_THRESHOLD[:4], INF, timedelta(-1)],
            "backoff": [*NO_THRESHOLD[:4], INF],
            "jitter": NO_FLAG,
            "retry_on": NO_LIST,
            "give_up_on": NO_LIST,
        },
    ),
    (
        limit,
        {
            "concurrency": NO_WHOLE,
            "rate": NO_WHOLE,
            "per_seconds": [*NO_POSITIVE, None],
            "burst": [*NO_WHOLE, None],
        },
    ),
    (
        FlowRuntime,
        {
            "flows": [*NO_LIST, "x"],
            "blueprints": [*NO_LIST, "x"],
            "registry": [*NO_LIST, "x"],
            "dependencies": [*NO_LIST, "x"],
            "serializer": NO_OBJECT,
            "middleware": [*NO_LIST, "x"],
            "evaluator": NO_OBJECT,
            "concurrency": ["5", [], True, NAN, 1.5],
            "listeners": [*NO_LIST, "x"],
            "strict": NO_FLAG,
            "max_executions": [each for each in NO_WHOLE if each != 10**30],
            "limits": [5, "x", object()],
            "clock": NO_OBJECT,
            "identifiers": NO_OBJECT,
            "files_directory": [5, ["x"], object()],
        },
    ),
    (
        built,
        {
            "timeout": [*NO_NUMBER, INF],
            "concurrency_key": [5, b"x", ["x"], object(), "\ud800"],
            "fallback": [5, b"x", ["x"], object(), "\ud800", "z"],
            "compensate": [5, b"x", ["x"], object(), "\ud800", "z"],
            "join": [*NO_NAME, "some"],
            "uses": [*NO_TEXT, "\ud800"],
            "isolation": [*NO_NAME, "thread"],
            "inputs": [5, b"x", ["x"], object(), {"a": 5}, "\ud800"],
            "params": [5, b"x", ["x"], object(), {"a": object()}],
            "retry": NO_OBJECT,
        },
    ),
    (
        declared,
        {
            "cron": [*NO_NAME, "x", "* * *", "99 * * * *", "* * 31 2 *"],
            "time_zone": [*NO_NAME, "Nowhere/Land"],
            "every": [*NO_NUMBER, 0, INF, "soon"],
            "overlap": [*NO_TEXT, "x"],
        },
    ),
]
CASES = [
    pytest.param(make, argument, values, id=f"{make.__name__}-{argument}")
    for make, arguments in REFUSED
    for argument, values in arguments.items()
]
JOINED = {"concurrency_key": "concurrencyKey", "join": "joinStrategy"}


@pytest.mark.parametrize(("make", "argument", "values"), CASES)
def test_what_cannot_work_is_refused_by_name(
    make: Callable[..., Any], argument: str, values: Sequence[Any]
) -> None:
    """Other types, empty, negative, endless and huge: the error names the argument, at once."""
    for value in values:
        with pytest.raises((TypeError, ValueError, FlowcraftError)) as caught:
            make(**{argument: value})
        said = str(caught.value)
        assert JOINED.get(argument, argument) in said, (value, said)


CRON = st.lists(
    st.sampled_from(["*", "*/5", "1-3", "0", "59", "60", "L", "5L", "?", "MON", "1,2", "-1", "é"]),
    max_size=7,
).map(" ".join)


@given(CRON | st.text(max_size=20))
def test_any_cron_text_is_a_timetable_or_an_error_that_names_it(text: str) -> None:
    """Whatever the text: it can be declared, or the error begins with the name of the option."""
    try:
        declared(cron=text)
    except InputError as error:
        said = str(error)
    else:
        said = "cron"
    assert said.startswith("cron")


@given(
    st.dictionaries(
        st.sampled_from(["maxRetries", "retryDelay", "timeout", "backoff", "jitter", "retryOn"]),
        st.sampled_from(["x", -1, 0, 1, 1.5, NAN, INF, 1e300, None, [], {}, True, ["ValueError"]]),
    )
)
def test_any_configuration_is_read_or_refused_at_its_place(
    config: dict[str, Any],
) -> None:
    """Each wrong key is one problem, with its place."""
    try:
        create_flow("f").node("a", node, config=config).to_blueprint()
    except BlueprintError as error:
        places = [problem.place for problem in error.problems]
    else:
        places = []
    assert all(place.rpartition(".")[2].partition("[")[0] in config for place in places)
