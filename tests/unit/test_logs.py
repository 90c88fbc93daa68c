"""The log as JSON: what a line is about is in fields of its own."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider

from flowcraft import create_flow
from flowcraft.engine.whereabouts import WHEREABOUTS
from flowcraft.logs import JsonFormatter, worker_name
from tests.unit.durable import World, play

RUN = "run"


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What the logger of the application and that of the package write, as JSON."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter(worker="w1"))
    loggers = [logging.getLogger(name) for name in ("flowcraft", "shop")]
    before = [each.level for each in loggers]
    for each in loggers:
        each.addHandler(handler)
        each.setLevel(logging.INFO)
    yield stream
    for each, level in zip(loggers, before, strict=True):
        each.removeHandler(handler)
        each.setLevel(level)


def lines_of(stream: io.StringIO) -> list[dict[str, Any]]:
    """The lines, as data."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_tells_run_node_and_attempt(log: io.StringIO) -> None:
    """What a node logs, by whatever logger and in whatever thread, says which attempt it was."""

    async def story(world: World) -> None:
        async def first(ctx: Any) -> None:
            ctx.logger.info("by the context")
            logging.getLogger("shop").info("by a logger of its own: %s", 7)

        def second(ctx: Any) -> None:
            logging.getLogger("shop").info("in a thread")

        flow = create_flow("f").node("a", first).node("b", second).edge("a", "b")
        await world.knows(flow).client.start_run("f", run_id=RUN)
        await world.process()
        while world.status(RUN) != "completed":  # a thread takes real time
            await asyncio.sleep(0.001)
        assert WHEREABOUTS.get() is None

    play(story)
    lines = {line["message"]: line for line in lines_of(log)}
    where = {"run_id": RUN, "blueprint_id": "f", "attempt": 1, "worker": "w1", "level": "INFO"}
    for message, node_id in (
        *(("by the context", "a"), ("by a logger of its own: 7", "a"), ("in a thread", "b")),
    ):
        assert lines[message].items() >= {**where, "node_id": node_id}.items()
    finish = lines[f"workflow:finish (completed): run {RUN}"]
    assert (finish["run_id"], finish["event"]) == (RUN, "workflow:finish")
    assert "node_id" not in finish


def test_a_line_outside_of_a_run_is_plain() -> None:
    """Time, level, logger, message and worker are always there, and nothing that is not known."""
    record = logging.LogRecord("shop", logging.WARNING, __file__, 1, "hello %s", ("you",), None)
    record.created = 1_700_000_000.25
    assert json.loads(JsonFormatter(worker="w1").format(record)) == {
        "timestamp": "2023-11-14T22:13:20.250Z",
        "level": "WARNING",
        "logger": "shop",
        "message": "hello you",
        "worker": "w1",
    }
    assert json.loads(JsonFormatter().format(record))["worker"] == worker_name()


def test_only_fields_that_are_named_are_written() -> None:
    """What else hangs on a record may be a secret: it is written only where somebody asks."""
    record = logging.LogRecord("shop", logging.INFO, __file__, 1, "paid", (), None)
    record.card = "4111"
    record.order = "o1"
    record.iteration = (2, 1)
    text = JsonFormatter(extra=["order"]).format(record)
    assert "4111" not in text
    assert json.loads(text)["order"] == "o1"
    assert json.loads(text)["iteration"] == [2, 1]
    with pytest.raises(ValueError, match="'worker' is a field of every line"):
        JsonFormatter(extra=["worker"])


def test_a_line_names_the_current_span() -> None:
    """Logs and traces are found by each other."""
    record = logging.LogRecord("shop", logging.INFO, __file__, 1, "paid", (), None)
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("shop")
    with tracer.start_as_current_span("request") as span:
        line = json.loads(JsonFormatter().format(record))
    context = span.get_span_context()
    assert line["trace_id"] == f"{context.trace_id:032x}"
    assert line["span_id"] == f"{context.span_id:016x}"
    assert "trace_id" not in json.loads(JsonFormatter().format(record))


def test_an_exception_is_a_field() -> None:
    """A traceback is one field of one line, however many lines it has itself."""
    try:
        raise ValueError("no")
    except ValueError as error:
        info = (type(error), error, error.__traceback__)
    record = logging.LogRecord("shop", logging.ERROR, __file__, 1, "broken", (), info)
    text = JsonFormatter().format(record)
    assert "\n" not in text
    assert json.loads(text)["error"].endswith("ValueError: no")
