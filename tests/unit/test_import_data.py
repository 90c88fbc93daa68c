"""Paths, templates and intrinsic functions of Amazon States Language."""

from __future__ import annotations

from typing import Any

import pytest

from flowcraft.importing import StateError
from flowcraft.importing.intrinsics import IntrinsicError, carry_out, parse_call
from flowcraft.importing.json_paths import PathError, parse_path, read_path, write_path
from flowcraft.importing.state_data import Known, output_of, payload_of, placed

STORE = {
    "books": [{"t": "a", "n": 1}, {"t": "b", "n": 2}, {"t": "c"}],
    "a key": {"it's": 5},
    "nested": {"n": 3},
}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("$", STORE),
        ("$.nested.n", 3),
        ("$['a key']['it\\'s']", 5),
        ('$["a key"]', {"it's": 5}),
        ("$.books[0].t", "a"),
        ("$.books[-1].t", "c"),
        ("$.books[*].t", ["a", "b", "c"]),
        ("$.books[*].n", [1, 2]),
        ("$.books[0:2].t", ["a", "b"]),
        ("$.books[::2].t", ["a", "c"]),
        ("$.nested.*", [3]),
        ("$..n", [1, 2, 3]),
        ("$.nothing[*]", []),
    ],
)
def test_a_path_leads_to_a_value_or_to_all_of_them(path: str, value: Any) -> None:
    """Keys, indexes, slices, wildcards and descent are followed."""
    assert read_path(parse_path(path), STORE) == value


@pytest.mark.parametrize("path", ["$.nothing", "$.books[7]", "$.books.t", "$.nested.n.m"])
def test_a_path_to_one_place_has_to_lead_somewhere(path: str) -> None:
    """What is not there is an error, as it is in Step Functions."""
    with pytest.raises(PathError, match="leads nowhere"):
        read_path(parse_path(path), STORE)


@pytest.mark.parametrize(
    "path", ["", "a", "$.", "$.a..", "$.a[?(@.b)]", "$a b", "$.a[", "$.a[x]", "$[::0]", "$.a$"]
)
def test_what_is_no_path_is_refused(path: str) -> None:
    """Filters, and what does not end, are not read as something else."""
    with pytest.raises(PathError):
        parse_path(path)


def test_a_value_is_put_at_a_place_of_a_copy() -> None:
    """Keys that are missing are made; the document stays what it was."""
    document = {"a": 1, "list": [1, 2]}
    assert write_path(parse_path("$.b.c"), document, 5) == {**document, "b": {"c": 5}}
    assert write_path(parse_path("$.list[1]"), document, 5) == {"a": 1, "list": [1, 5]}
    assert write_path(parse_path("$"), document, 5) == 5
    assert document == {"a": 1, "list": [1, 2]}
    assert placed(None, document, 5) is document
    for path in ("$.a.b", "$.list[9]", "$.list[*]"):
        with pytest.raises(StateError, match="place") as refused:
            placed(path, document, 5)
        assert type(refused.value).__name__ == "States.ResultPathMatchFailure"


DATA = {"name": "Ada", "n": 3, "list": [1, 2, 2, 3], "json": '{"a": 1}', "map": {"x": 1}}


@pytest.mark.parametrize(
    ("call", "value"),
    [
        ("States.Format('{} is {}, \\{\\}', $.name, $.list)", "Ada is [1,2,2,3], {}"),
        ("States.StringToJson($.json)", {"a": 1}),
        ("States.JsonToString($.map)", '{"x":1}'),
        ("States.Array(1, 'two, \\'2\\'', $.n, null, true)", [1, "two, '2'", 3, None, True]),
        ("States.ArrayPartition($.list, 3)", [[1, 2, 2], [3]]),
        ("States.ArrayContains($.list, 3)", True),
        ("States.ArrayContains($.list, '3')", False),
        ("States.ArrayRange(1, 9, 4)", [1, 5, 9]),
        ("States.ArrayGetItem($.list, $.n)", 3),
        ("States.ArrayLength($.list)", 4),
        ("States.ArrayUnique($.list)", [1, 2, 3]),
        ("States.Base64Decode(States.Base64Encode($.name))", "Ada"),
        ("States.Hash('', 'SHA-1')", "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
        ("States.JsonMerge($.map, States.StringToJson($.json), false)", {"x": 1, "a": 1}),
        ("States.MathAdd($.n, -1.5)", 1.5),
        ("States.StringSplit('a,b.c', '.,')", ["a", "b", "c"]),
        ("States.Format('{}', $['name'])", "Ada"),
    ],
)
def test_intrinsic_functions(call: str, value: Any) -> None:
    """Each function gives what the specification says, also inside of another one."""
    assert carry_out(parse_call(call), lambda path: read_path(path, DATA), "seed") == value


@pytest.mark.parametrize(
    "call",
    [
        "States.Nothing()",
        "States.Array(1",
        "States.Array(1 2)",
        "States.Array(,)",
        "States.Array(1) + 1",
        "Format('x')",
        "States.Array(" * 20 + ")" * 20,
    ],
)
def test_what_is_no_call_is_refused(call: str) -> None:
    """A call that does not end, or of an unknown function, is not guessed at."""
    with pytest.raises(IntrinsicError):
        parse_call(call)


@pytest.mark.parametrize(
    "call",
    [
        "States.Format('{}')",
        "States.Format('x', 1)",
        "States.ArrayLength(5)",
        "States.ArrayRange(1, 9999, 1)",
        "States.ArrayPartition(States.Array(1), 0)",
        "States.StringToJson('{')",
        "States.Base64Decode('!')",
        "States.Hash('x', 'CRC')",
        "States.JsonMerge($, $, true)",
    ],
)
def test_arguments_that_make_no_sense_are_an_error_of_the_state(call: str) -> None:
    """They are errors by the name that Retry and Catch know."""
    known = Known({}, {}, {}, "seed")
    with pytest.raises(StateError) as failed:
        known.dynamic(call)
    assert type(failed.value).__name__ == "States.IntrinsicFailure"


def test_chance_is_the_same_for_the_same_attempt() -> None:
    """Random numbers and ids depend on the node and iteration alone, and are in their range."""

    def drawn(call: str, seed: str) -> Any:
        return carry_out(parse_call(call), lambda path: None, seed)

    uuid = "States.UUID()"
    assert drawn(uuid, "a") == drawn(uuid, "a") != drawn(uuid, "b")
    assert len(drawn(uuid, "a")) == 36
    numbers = {drawn("States.MathRandom(5, 8)", str(seed)) for seed in range(50)}
    assert numbers == {5, 6, 7}
    pair = drawn("States.Array(States.UUID(), States.UUID())", "a")
    assert pair[0] != pair[1]


def test_a_state_shapes_its_input_and_its_result() -> None:
    """InputPath, Parameters, ResultSelector, ResultPath and OutputPath follow one another."""
    data = {
        "InputPath": "$.in",
        "Parameters": {"a.$": "$.x", "deep": [{"b.$": "$$.Execution.Id"}], "c": "$.x"},
        "ResultSelector": {"r.$": "$.result"},
        "ResultPath": "$.in.out",
        "OutputPath": "$.in",
    }
    known = Known({"in": {"x": 1}}, {"Execution": {"Id": "run"}}, {}, "seed")
    assert payload_of(data, known) == {"a": 1, "deep": [{"b": "run"}], "c": "$.x"}
    after = Known(known.input, {}, {}, "seed", result={"result": 9, "more": 1})
    assert output_of(data, after) == {"x": 1, "out": {"r": 9}}


def test_paths_that_are_null_give_nothing() -> None:
    """InputPath and OutputPath of null are an empty object; ResultPath of null keeps the input."""
    known = Known({"a": 1}, {}, {}, "seed", result=5)
    assert payload_of({"InputPath": None}, known) == {}
    assert output_of({"OutputPath": None}, known) == {}
    assert output_of({"ResultPath": None}, known) == {"a": 1}


def test_what_leads_nowhere_fails_the_state_by_its_name() -> None:
    """A missing input is not retried, a missing parameter is an error that can be caught."""
    known = Known({}, {}, {"v": 1}, "seed")
    with pytest.raises(StateError) as runtime:
        payload_of({"InputPath": "$.x"}, known)
    assert (type(runtime.value).__name__, runtime.value.is_fatal) == ("States.Runtime", True)
    with pytest.raises(StateError) as parameter:
        payload_of({"Parameters": {"a.$": "$.x"}}, known)
    assert type(parameter.value).__name__ == "States.ParameterPathFailure"
    with pytest.raises(StateError, match="has no value"):
        known.dynamic("$w")
    assert known.dynamic("$v") == 1
    with pytest.raises(StateError) as query:
        known.evaluate("{% states.input.a.b %}")
    assert type(query.value).__name__ == "States.QueryEvaluationError"
