"""Waits that name their event, and a key that tells it from others' (rule S12)."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from flowcraft import FlowRuntime, create_flow, lint_blueprint
from flowcraft.core import events as ev
from flowcraft.core.correlation import (
    MAX_CHARACTERS,
    Correlation,
    correlation_of,
    expected,
    key_text,
)
from flowcraft.core.plan import Key
from flowcraft.core.state import CORRELATION, NodeStatus, Record
from flowcraft.engine.awaited import Awaited, awaited_text
from flowcraft.engine.saved import read_state, state_data
from tests.property.drive import Run, blueprint, chain, edge, node
from tests.unit.runs import Events, drive, echo
from tests.unit.runs import run as run_flow

UUID_TEXT = "0f8fad5b-d9cb-469f-a165-70867728950e"


def waiting(key: str | None = "order.id", output: Any = None, **context: Any) -> Run:
    """A node `order` and a wait behind it that names an event."""
    params = {"event": "paid"} | ({} if key is None else {"correlationKey": key})
    nodes = [node("order"), node("w", "wait", params=params)]
    run = Run(blueprint(nodes, chain("order", "w"))).start(context)
    run.ok("order", output=output)
    return run


def awaited(run: Run) -> list[Correlation | None]:
    """What each instance of the wait is for."""
    return [correlation_of(record) for record in run.state.records.values() if record.values]


# -- keys -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("A-1", "A-1"),
        (" 42 ", " 42 "),
        (42, "42"),
        (-7, "-7"),
        (42.0, "42"),
        (-0.0, "0"),
        (Decimal("42.00"), "42"),
        (Decimal("4.2E+1"), "42"),
        (10**249, "1" + "0" * 249),
        (UUID(UUID_TEXT.upper()), UUID_TEXT),
    ],
)
def test_a_key_has_one_text(value: Any, text: str) -> None:
    """Equal numbers are one key whatever their type, a UUID is its usual form, text is itself."""
    assert key_text(value) == text
    assert expected("paid", value) == Correlation("paid", text)


@pytest.mark.parametrize(
    "value",
    [
        *(True, 1.5, float("inf"), float("nan"), 1e300, 10**250, [], {}, b"x", object()),
        *(Decimal("1.5"), Decimal("NaN"), Decimal("1E+999999")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_a_key_is_refused(value: Any) -> None:
    """Truth values, fractions, numbers without end and containers are told by their type."""
    with pytest.raises(ValueError, match=f"not of the type {type(value).__name__}"):
        key_text(value)


@pytest.mark.parametrize(
    ("event", "key", "message"),
    [
        ("", None, "must not be empty"),
        (5, None, "must be text, not int"),
        ("x" * (MAX_CHARACTERS + 1), None, "at most 250 characters, not 251"),
        ("paid", "", "A correlation key must not be empty"),
        ("paid", "x" * (MAX_CHARACTERS + 1), "A correlation key has at most 250 characters"),
    ],
)
def test_a_sender_is_told_what_is_wrong(event: Any, key: Any, message: str) -> None:
    """Names and keys are texts of bearable length."""
    with pytest.raises(ValueError, match=message):
        expected(event, key)


# -- waits ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "output", "context", "text"),
    [
        ("order.id", {"id": 7}, {}, "7"),
        ("order.lines.0", {"lines": ["a"]}, {}, "a"),
        ("order", UUID(UUID_TEXT), {}, UUID_TEXT),
        ("number", None, {"number": "N1"}, "N1"),
        ("_tenant", None, {"_tenant": "T1"}, "T1"),
        (None, None, {}, None),
    ],
)
def test_the_key_is_looked_up_like_inputs(
    key: str | None, output: Any, context: dict[str, Any], text: str | None
) -> None:
    """S12, S6: a path into an output, an output, a context key, or an event without a key."""
    assert awaited(waiting(key, output, **context)) == [Correlation("paid", text)]


@pytest.mark.parametrize(
    ("params", "output", "message"),
    [
        ({"correlationKey": "order.id"}, {}, "parameter 'correlationKey': 'order.id' is nothing"),
        ({"correlationKey": "order.id"}, {"id": None}, "'order.id' is nothing when the wait"),
        ({"correlationKey": "ghost"}, {}, "'ghost' is nothing"),
        ({"correlationKey": "order"}, {"id": 1}, "'order' is no key: .* not of the type dict"),
        ({"correlationKey": "order"}, True, "not of the type bool"),
        ({"correlationKey": "order"}, "", "must not be empty"),
        ({"correlationKey": 5}, None, "must be a reference as in 'inputs', not int"),
        ({"event": 5}, None, "parameter 'event': must be text, not int"),
        ({"event": ""}, None, "parameter 'event': must not be empty"),
        ({"event": None, "correlationKey": "order"}, "x", "means nothing without 'event'"),
    ],
)
def test_a_wait_that_could_not_be_found_fails(
    params: dict[str, Any], output: Any, message: str
) -> None:
    """S12: it says which parameter, and its fallback takes over as for any failure."""
    nodes = [
        node("order"),
        node("w", "wait", params={"event": "paid"} | params, fallback="help"),
        node("v", "webhook", params={"event": "paid"} | params),
        node("help"),
    ]
    run = Run(blueprint(nodes, [edge("order", "w"), edge("order", "v")])).start()
    run.ok("order", output=output)
    assert run.running() == ["help"]
    (failed,) = run.state.errors
    assert (failed.node_id, failed.type) == ("v", "ValueError")
    assert re.search(message, failed.message), failed.message


def test_each_iteration_waits_for_its_own_event() -> None:
    """S10, S12: in a loop the key is looked up anew, and what the wait began with stays."""
    params = {"event": "paid", "correlationKey": "next"}
    loop = node("l", "loop-controller", params={"condition": "n < 2"}, joinStrategy="any")
    nodes = [loop, node("next"), node("w", "wait", params=params), node("end")]
    edges = [edge("l", "next", "continue"), *chain("next", "w", "l"), edge("l", "end", "break")]
    run = Run(blueprint(nodes, edges)).start({"n": 0})
    for number in range(2):
        run.ok("next", number, output=f"k{number}", writes=(ev.Write("add", "n", 1),))
        assert awaited(run) == [Correlation("paid", f"k{number}")]
        run.send(ev.AnswerReceived((2, (number,)), None))
    assert (awaited(run), run.running()) == ([], ["end"])


def test_an_answer_that_came_first_needs_no_key() -> None:
    """S12: a wait that is over at once looks nothing up."""
    params = {"event": "paid", "correlationKey": "ghost"}
    nodes = [node("a"), node("w", "wait", params=params), node("b")]
    run = Run(blueprint(nodes, chain("a", "w", "b"))).start()
    run.send(ev.AnswerReceived(None, "early", None, "w"))
    run.ok("a")
    assert run.inputs()["b"] == "early"


@pytest.mark.parametrize(
    "end",
    [
        ev.AnswerReceived(1, "x"),
        ev.TimerFired(1),
        ev.CancelRequested(None),
        ev.SkipRequested(1, None),
    ],
)
def test_a_wait_that_is_over_is_for_nothing(end: ev.Event) -> None:
    """S12: answered, out of time, cancelled or skipped, it awaits nothing any more."""
    params = {"event": "paid", "timeout": "1s"}
    nodes = [node("a"), node("w", "wait", params=params), node("b")]
    run = Run(blueprint(nodes, chain("a", "w", "b"))).start()
    run.ok("a")
    assert awaited(run) == [Correlation("paid")]
    run.now = 1.0
    run.send(end)
    assert [correlation_of(record) for record in run.state.records.values()] == [None] * len(
        run.state.records
    )


def test_a_saved_run_knows_what_it_waits_for() -> None:
    """Saved as text and read again, a run awaits the same events."""
    flow = create_flow("f").node("order", echo, inputs="order")
    flow.wait("w", event="paid", correlation_key="order.id").wait("v", event="sent").wait("u")
    flow.edge("order", "w")
    result = run_flow(flow, {"order": {"id": 7}})
    named = {wait.node_id: (wait.event, wait.correlation_key) for wait in result.awaiting}
    assert named == {"w": ("paid", "7"), "v": ("sent", None), "u": (None, None)}
    resumed = drive(FlowRuntime().resume(flow, result.state, node_id="u"))
    assert {w.node_id: (w.event, w.correlation_key) for w in resumed.awaiting} == {
        "w": ("paid", "7"),
        "v": ("sent", None),
    }
    state = waiting(output={"id": "A"}).state
    assert read_state(state_data(state)).records == state.records


def test_listeners_hear_what_a_wait_is_for() -> None:
    """S16: the event tells name and key; a wait without any says nothing of them."""
    runtime = FlowRuntime()
    heard = Events()
    runtime.subscribe(heard)
    flow = create_flow("f").wait("w", event="paid", correlation_key="number").wait("v")
    run_flow(flow, {"number": 7}, runtime=runtime)
    payloads = {event.node_id: event.payload for event in heard.of("node:awaiting")}
    assert payloads["w"]["event"] == "paid"
    assert payloads["w"]["correlation_key"] == "7"
    assert "event" not in payloads["v"]


# -- writing flows ----------------------------------------------------------------------------


def test_the_builder_writes_them() -> None:
    """`wait` and `webhook` take both; the name of a batch leads to its results."""
    flow = create_flow("f").batch("b", echo, inputs="items")
    flow.wait("w", event="paid", correlation_key="b.0").webhook("h", event="sent").edge("b", "w")
    params = {each.id: each.params for each in flow.to_blueprint().nodes}
    assert params["w"] == {"event": "paid", "correlationKey": "b_gather.0"}
    assert params["h"] == {"event": "sent"}


def test_parameters_of_other_nodes_are_theirs() -> None:
    """What looks like a reference in the parameters of one's own node is left alone."""
    flow = create_flow("f").batch("b", echo, inputs="items")
    flow.node("a", echo, params={"correlationKey": "b"})
    assert flow.to_blueprint().nodes[-1].params == {"correlationKey": "b"}


@pytest.mark.parametrize(
    ("params", "found"),
    [
        ({"event": "paid", "correlationKey": "a.id"}, []),
        ({"event": "paid", "correlationKey": "key"}, []),
        ({"event": 5}, [("BAD_PARAM", "event")]),
        ({"event": ""}, [("BAD_PARAM", "event")]),
        ({"event": "paid", "correlationKey": ["a"]}, [("BAD_PARAM", "correlationKey")]),
        ({"correlationKey": "a"}, [("BAD_PARAM", "correlationKey")]),
        (
            {"event": "paid", "correlationKey": "ghost.id"},
            [("LOOSE_REFERENCE", "correlationKey")],
        ),
    ],
)
@pytest.mark.parametrize("uses", ["wait", "webhook"])
def test_lint_finds_what_could_not_work(
    uses: str, params: dict[str, Any], found: list[tuple[str, str]]
) -> None:
    """What the engine would refuse is an error, a path into nothing a warning, with its place."""
    nodes = [node("a"), node("w", uses, params=params)]
    issues = lint_blueprint(blueprint(nodes, chain("a", "w"))).issues
    assert [(issue.code, (issue.place or "").rpartition(".")[2]) for issue in issues] == found


# -- what a run awaits ------------------------------------------------------------------------


def record(event: str | None, key: str | None = None) -> Record:
    """An instance that waits, for an event if one is given."""
    values = None if event is None else {CORRELATION: [event, key]}
    return Record(NodeStatus.WAITING, values=values)


def test_events_have_texts_of_their_own() -> None:
    """No two events have the same text, whatever characters are in them."""
    pairs = [
        ("a", None),
        ("a", "b"),
        ("a\x00b", None),
        ('a", "b', None),
        ("a", 'b", "c'),
        ("b", "a"),
    ]
    texts = {awaited_text(Correlation(*pair)) for pair in pairs}
    assert len(texts) == len(pairs)


def test_events_come_and_go_with_their_waits() -> None:
    """Each is there once, in order, as long as any node waits for it."""
    awaited = Awaited()
    begun: dict[Key, Record] = {
        1: record("b"),
        2: record("a", "k"),
        3: record("b"),
        4: record(None),
    }
    both: tuple[str, ...] = (awaited_text(Correlation("a", "k")), awaited_text(Correlation("b")))
    assert awaited.after(begun) == both
    assert not awaited.texts
    awaited.note(begun)
    assert awaited.texts == both
    over: dict[Key, Record] = {1: begun[1]._replace(status=NodeStatus.SUCCEEDED), 4: begun[4]}
    assert awaited.after(over) == both
    awaited.note(over)
    last: dict[Key, Record] = {3: begun[3]._replace(status=NodeStatus.CANCELLED)}
    assert awaited.after(last) == both[:1]
    assert awaited.after({3: begun[3]}) is awaited.texts
    awaited.note(last)
    assert awaited.texts == both[:1]


def test_what_a_state_awaits_can_be_noted_as_a_whole() -> None:
    """A run that is read as a state, not as its facts, awaits the same."""
    awaited = Awaited()
    awaited.note(waiting(output={"id": 7}).state.records)
    assert awaited.texts == (awaited_text(Correlation("paid", "7")),)
