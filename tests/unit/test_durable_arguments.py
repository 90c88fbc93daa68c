"""What cannot be meant is refused, by name and before anything is stored."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from flowcraft import FlowRuntime, create_flow
from flowcraft.adapters.system import SystemIdentifiers
from flowcraft.codecs import CompressionCodec
from flowcraft.engine.client import FlowClient
from flowcraft.engine.worker import Worker
from flowcraft.memory import MemoryAdapter, MemoryStorage
from flowcraft.sqlite import SqliteAdapter
from tests.unit.durable import World, play

RUN = "run"

Verb = Callable[[Any], Awaitable[Any]]

REFUSED: dict[str, tuple[Verb, type[Exception], str]] = {
    "flow": (lambda c: c.start_run(5), TypeError, r"flow is a flow, .*, not 5 \(int\)"),
    "tags": (lambda c: c.start_run("f", tags={"a": 1}), TypeError, "The tag 'a' is text"),
    "a name of a tag": (lambda c: c.start_run("f", tags={1: "a"}), TypeError, "name of a tag"),
    "tags that are none": (lambda c: c.start_run("f", tags=["a"]), TypeError, "texts by name"),
    "a tag without a name": (lambda c: c.start_run("f", tags={"": "a"}), ValueError, "empty name"),
    "half a tag": (lambda c: c.start_run("f", tags={"a": "\ud800"}), ValueError, "surrogates"),
    "key": (lambda c: c.start_run("f", idempotency_key={}), TypeError, "idempotency_key is text"),
    "no key": (lambda c: c.start_run("f", idempotency_key=""), ValueError, "leave it out"),
    "start_at": (lambda c: c.start_run("f", start_at=5.0), TypeError, "start_at is a datetime"),
    "year 1": (
        lambda c: c.start_run("f", start_at=datetime.fromisoformat("0001-01-01")),
        ValueError,
        "start_at is out of range",
    ),
    "year 1 somewhere": (
        lambda c: c.start_run("f", start_at=datetime.fromisoformat("0001-01-01T00:00+14:00")),
        ValueError,
        "start_at is out of range",
    ),
    "year 10000": (
        lambda c: c.start_run("f", start_at=datetime.fromisoformat("9999-12-31T23:00-12:00")),
        ValueError,
        "start_at is out of range",
    ),
    "run_id": (lambda c: c.get_run(None), TypeError, "run_id is text, not None"),
    "half a run_id": (lambda c: c.wait_for_run("\ud800"), ValueError, "lone surrogates"),
    "limit": (lambda c: c.list_runs(limit=1.5), ValueError, "limit is a whole number"),
    "large limit": (lambda c: c.list_runs(limit=10**30), ValueError, "limit is a whole number"),
    "created_from": (lambda c: c.list_runs(created_from=5), TypeError, "created_from is a date"),
    "tags to find": (lambda c: c.list_runs(tags={"a": {}}), TypeError, "The tag 'a' is text"),
    "node_id": (lambda c: c.resume_with_action(RUN, node_id=5), TypeError, "node_id is a node's"),
    "reason": (lambda c: c.cancel_run(RUN, reason=5), TypeError, "reason is text"),
    "keys": (lambda c: c.patch_context(RUN, {1: 1}), TypeError, "A key is text"),
    "delete": (lambda c: c.patch_context(RUN, delete="abc"), TypeError, r"write \['abc'\]"),
    "new_run_id": (
        lambda c: c.rerun_from(RUN, "w", new_run_id="\ud800"),
        ValueError,
        "run_id holds",
    ),
    "empty new_run_id": (
        lambda c: c.rerun_from(RUN, "w", new_run_id=""),
        ValueError,
        "run_id",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_argument_that_cannot_be_meant_is_refused(name: str) -> None:
    """The error names the argument and what it was; nothing is sent."""
    verb, error, message = REFUSED[name]

    async def story(world: World) -> None:
        flow = create_flow("f").wait("w")
        await world.knows(flow).client.start_run("f", run_id=RUN)
        before = world.messages()
        with pytest.raises(error, match=message):
            await verb(world.client)
        assert world.messages() == before
        assert world.run_ids() == [RUN]

    play(story)


def test_a_client_takes_what_can_be_meant() -> None:
    """Texts of any script are labels, keys and reasons."""

    async def story(world: World) -> None:
        flow = create_flow("f").wait("w")
        client: FlowClient = world.knows(flow).client
        run = await client.start_run("f", tags={"für": "日本"}, idempotency_key="ключ")
        page = await client.list_runs(
            tags={"für": "日本"}, created_from=datetime(1980, 1, 1, tzinfo=UTC)
        )
        assert [each.run_id for each in page.runs] == [run]
        await client.cancel_run(run, reason="überflüssig")

    play(story)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"concurrency": 1.5}, TypeError),
        ({"concurrency": "5"}, TypeError),
        ({"concurrency": True}, TypeError),
        ({"concurrency": 0}, ValueError),
        ({"lease_seconds": float("inf")}, ValueError),
        ({"poll_seconds": float("nan")}, ValueError),
        ({"lease_seconds": "30"}, TypeError),
        ({"drain_timeout_seconds": -1}, ValueError),
        ({"implementation_timeout_seconds": None}, TypeError),
    ],
)
def test_a_worker_refuses_numbers_that_it_could_not_work_with(
    options: dict[str, Any], error: type[Exception]
) -> None:
    """Half a hand or a lease without an end: said when it is made, not by standing still."""
    storage = MemoryStorage()
    with pytest.raises(error, match=next(iter(options))):
        Worker(
            storage.open_ports,
            FlowRuntime().options,
            clock=storage.clock,
            identifiers=SystemIdentifiers(),
            **options,
        )


MISTAKES: dict[str, tuple[Callable[[], Any], str]] = {
    "a runtime for its options": (
        lambda: MemoryAdapter(FlowRuntime()),  # type: ignore[arg-type]
        r"runtime_options is FlowRuntime\(…\).options, not a FlowRuntime: write runtime.options",
    ),
    "on SQLite": (
        lambda: SqliteAdapter("runs.db", FlowRuntime()),  # type: ignore[arg-type]
        "write runtime.options",
    ),
    "by a client": (
        lambda: SqliteAdapter.client_of("runs.db", FlowRuntime()),  # type: ignore[arg-type]
        "write runtime.options",
    ),
    "an option that there is not": (
        lambda: MemoryAdapter(FlowRuntime().options, lease=3),
        "MemoryAdapter has no option 'lease'. It has: codec, .*, lease_seconds, .*, schedules, ",
    ),
    "a class for a codec": (
        lambda: MemoryAdapter(FlowRuntime().options, codec=CompressionCodec),  # type: ignore[arg-type]
        r"codec is an object .* encode\(text\) and decode\(text\), not the class CompressionCodec",
    ),
    "a key for a codec": (
        lambda: MemoryAdapter(FlowRuntime().options, codec=b"secret"),  # type: ignore[arg-type]
        r"decode\(text\), not a bytes\.$",
    ),
    "half a codec": (
        lambda: SqliteAdapter.client_of("runs.db", codec={}),  # type: ignore[arg-type]
        "not a dict",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_backend_is_not_made_of_something_else(mistake: str) -> None:
    """What is usually mixed up is told when the backend is made, with what to write instead."""
    make, message = MISTAKES[mistake]
    with pytest.raises(TypeError, match=message):
        make()
