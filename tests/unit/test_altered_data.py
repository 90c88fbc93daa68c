"""Messages and facts of another shape are refused where they are read, and change no run."""

from __future__ import annotations

import json
from typing import Any

import pytest

from flowcraft import create_flow
from flowcraft.engine.facts import read_event
from flowcraft.engine.jobs import UnreadableJob, read_job
from flowcraft.engine.serializer import JsonSerializer
from flowcraft.errors import SerializationError
from flowcraft.ports.queue import Outgoing
from tests.unit.durable import World, play

JOB = {"v": 1, "runId": "run", "epoch": "e", "blueprintId": "f", "thread": "t"}
FAILURE = ["ValueError", "m", ["ValueError"], False, "a", 1, [["OSError", "c"]], None, []]

UNSHAPED: dict[str, list[Any]] = {
    "a number for a truth": ["ChildRests", 0, 1, 2],
    "a text for a number": ["ChildRests", 0, 1, True, "2"],
    "a truth for a number": ["RetryDue", 0, True],
    "a place from the end": ["ItemRetryDue", 0, -1, 1],
    "a node from the end": ["TimerFired", -1],
    "a truth for a node": ["TimerFired", True],
    "an iteration of texts": ["TimerFired", [0, ["1"]]],
    "more than an iteration": ["TimerFired", [0, [1], 2]],
    "no node where one is needed": ["TimerFired", None],
    "no number": ["Spent", float("nan"), 1],
    "writes of another kind": ["ContextPatched", [["clear", "key", 1]]],
    "a write without a key": ["ContextPatched", [["set", 1, 1]]],
    "a text for a context": ["ChildSettled", 0, 1, True, "context", {}],
    "a failure without a message": [
        "ChildSettled",
        0,
        1,
        False,
        {},
        {},
        None,
        ["E", 1, *FAILURE[2:]],
    ],
    "a failure with other names": [
        "ChildSettled",
        0,
        1,
        False,
        {},
        {},
        None,
        ["E", "m", [1], *FAILURE[3:]],
    ],
    "a cost of texts": ["ChildSettled", 0, 1, True, {}, {}, None, None, ["1"]],
    "nodes that are none": ["NodeSucceeded", 0, 1, None, None, [], [{"id": 7}]],
}


@pytest.mark.parametrize("name", UNSHAPED)
def test_an_event_of_another_shape_is_refused(name: str) -> None:
    """What has another type than an event has there is told of by its field, or by its value."""
    with pytest.raises(SerializationError, match="This is no event that this version knows"):
        read_event(UNSHAPED[name])


def test_a_failure_of_a_child_is_read() -> None:
    """What was refused above is taken as it is written."""
    event: Any = read_event(
        ["ChildSettled", [0, [1]], 1, False, {}, {}, None, FAILURE, [1, 1, 0, 0, 2.5]]
    )
    assert event.key == (0, (1,))
    assert event.error.causes == (("OSError", "c"),)
    assert event.cost.usd == 2.5


WRONG: dict[str, dict[str, Any]] = {
    "a truth for a version": {"v": True},
    "no version yet": {"v": 0},
    "due at no time": {"dueAt": float("nan")},
    "due never": {"dueAt": float("inf")},
    "due after all time": {"dueAt": 1e300},
    "due before all time": {"dueAt": -1},
    "put back without end": {"putBack": 10**400},
    "facts from the end": {"since": -1},
    "half a character": {"runId": "\ud800"},
    "an outcome": {"event": json.dumps(["NodeSucceeded", 0, 1, "forged"])},
    "a start": {"event": json.dumps(["RunStarted", "run", {}])},
}


@pytest.mark.parametrize("name", WRONG)
def test_a_message_that_no_worker_sends_is_refused(name: str) -> None:
    """What is out of bounds is told of, and no message brings outcomes or starts."""
    with pytest.raises(UnreadableJob, match=r"version|expected as|No message brings"):
        read_job(json.dumps(JOB | WRONG[name]), JsonSerializer())


def test_a_word_of_a_child_that_was_altered_keeps_its_parent_from_nothing() -> None:
    """A message that says of a child what none says is left, and the parent comes to its end."""

    async def story(world: World) -> None:
        node = {"id": "s", "uses": "subflow", "params": {"blueprintId": "inner"}}
        world.knows(create_flow("inner").wait("v"))
        await world.process()
        await world.client.start_run({"id": "f", "nodes": [node], "edges": []}, run_id="run")
        await world.settle()
        record = world.record("run")
        assert record is not None
        data = JOB | {"epoch": record.head.epoch, "event": json.dumps(["ChildRests", 0, 1, 2])}
        await world.ports.queue.send([Outgoing(json.dumps(data))])
        await world.settle()
        assert world.status("run") == "awaiting"
        await world.client.resume_with_action("run/s::1", "yes")
        await world.until(lambda: world.status("run") == "completed", "the end")

    play(story)
