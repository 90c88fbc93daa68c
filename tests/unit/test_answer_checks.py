"""Answers are checked against the schema of their wait, on every way in and in bounded time."""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from jsonschema import Draft202012Validator

from flowcraft import FlowRuntime, create_flow, lint_blueprint
from flowcraft.core.answer_schemas import problems
from flowcraft.engine import answer_checks
from flowcraft.engine.answer_checks import answer_problems
from flowcraft.errors import AnswerRefused, FlowcraftError, InvalidRunState
from tests.unit.durable import World
from tests.unit.runs import drive

ORDER = {
    "type": "object",
    "properties": {
        "amount": {"type": "number", "exclusiveMinimum": 0},
        "kind": {"enum": ["a", "b"]},
        "lines": {"type": "array", "items": {"$ref": "#/$defs/line"}, "maxItems": 3},
    },
    "required": ["amount"],
    "additionalProperties": False,
    "$defs": {"line": {"type": "object", "properties": {"n": {"type": "integer"}}}},
}


def told(schema: Any, value: Any) -> list[str]:
    """What is wrong with an answer."""
    return [f"{each.place} {each.message}".strip() for each in answer_problems(schema, "w", value)]


@pytest.mark.parametrize(
    ("value", "wrong"),
    [
        ({"amount": 1, "lines": [{"n": 1}]}, []),
        ({}, ["amount is missing"]),
        ({"amount": "x"}, ["amount must be a number, not text"]),
        (
            {"amount": 0, "kind": "c"},
            ["amount must be more than 0", 'kind must be one of "a", "b"'],
        ),
        ({"amount": 1, "more": 2}, ["more is not expected"]),
        (
            {"amount": 1, "lines": [{}, {"n": 1.5}]},
            ["lines[1].n must be a whole number, not a number"],
        ),
        ({"amount": 1, "lines": [{}] * 4}, ["lines has more than 3 items"]),
        ([], ["must be an object, not a list"]),
        (None, ["must be an object, not null"]),
    ],
)
def test_problems_name_their_places(value: Any, wrong: list[str]) -> None:
    """Each thing that is wrong is told with its path in the answer, in words of ours."""
    assert told(ORDER, value) == wrong


@pytest.mark.parametrize(
    ("schema", "value", "wrong"),
    [
        ({"const": {"a": 1}}, 2, 'must be {"a": 1}'),
        ({"type": ["string", "null"]}, 1, "must be text or null, not a number"),
        ({"pattern": "^a+$"}, "b", 'must match the pattern "^a+$"'),
        ({"format": "date"}, "2030-02-30", "must be a date such as 2030-01-31"),
        (
            {"format": "date-time"},
            "2030-01-01 09:00",
            "must be a time such as 2030-01-31T09:00:00Z",
        ),
        ({"format": "email"}, "ada", "must be an e-mail address"),
        ({"format": "uri"}, "no address", "must be an address such as https://example.org/"),
        ({"format": "uuid"}, "123", "must be a UUID"),
        ({"uniqueItems": True}, [1, {"a": [1]}, {"a": [1.0]}], "has the same item twice"),
        ({"multipleOf": 5}, 7, "must be a multiple of 5"),
        ({"minLength": 2, "maxLength": 3}, "a", "has fewer than 2 characters"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, 1, "fits none of the alternatives"),
        (
            {"oneOf": [{"type": "number"}, {"minimum": 1}]},
            2,
            "does not fit exactly one of the alternatives",
        ),
        ({"not": {"type": "null"}}, None, "is what it must not be"),
        (False, 1, "is not expected"),
        ({"properties": {"a": False}}, {"a": 1}, "a is not expected"),
        (
            {"patternProperties": {"^x": {"type": "string"}}},
            {"xa": 1},
            "xa must be text, not a number",
        ),
        ({"propertyNames": {"maxLength": 1}}, {"ab": 1}, "has more than 1 characters"),
        ({"dependentRequired": {"a": ["b"]}}, {"a": 1}, "lacks what goes with another value"),
        ({"contains": {"const": 1}}, [2], "lacks an item that has to be in it"),
        ({"unevaluatedProperties": False}, {"a": 1}, "has values that are not expected"),
    ],
)
def test_keywords_say_what_they_want(schema: Any, value: Any, wrong: str) -> None:
    """Whatever a keyword asks for is said in a sentence that goes on from the place."""
    assert told(schema, value) == [wrong]


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"uniqueItems": True}, [1, True, "1", {"a": 1}, {"a": True}]),
        ({"type": "integer"}, 2.0),
        ({"type": "integer"}, Decimal("12")),
        ({"type": "number", "multipleOf": 0.5}, Decimal("1.5")),
        ({"type": "string", "format": "date"}, date(2030, 1, 31)),
        ({"type": "string", "format": "date-time"}, datetime(2030, 1, 31, tzinfo=UTC)),
        ({"type": "string", "format": "date-time"}, "2030-01-31T09:00:00.123456789Z"),
        ({"type": "string", "format": "uuid"}, UUID(int=7)),
        ({"format": "hostname"}, "what nobody asserts"),
        ({"format": "date"}, 1),
        (
            {
                "$ref": "#tree",
                "$defs": {"t": {"$anchor": "tree", "type": "array", "items": {"$ref": "#tree"}}},
            },
            [[], [[]]],
        ),
        ({"if": {"type": "string"}, "then": {"minLength": 1}, "else": {"type": "null"}}, None),
        ({"allOf": [{"properties": {"a": True}}], "unevaluatedProperties": False}, {"a": 1}),
        (True, object()),
    ],
)
def test_what_fits_is_taken(schema: Any, value: Any) -> None:
    """Values in stored form count as the JSON that they stand for."""
    assert told(schema, value) == []


def test_types_that_json_lacks_fit_no_type() -> None:
    """Bytes, for instance, are no text."""
    assert told({"type": "string"}, b"x") == ["must be text, not a Python bytes"]


def test_at_most_so_many_problems_are_told() -> None:
    """However much is wrong, an error stays short enough to be read."""
    assert len(told({"items": {"type": "string"}}, list(range(500)))) == answer_checks.MOST_PROBLEMS


def test_no_message_repeats_a_large_answer() -> None:
    """What was sent is not sent back: messages have words of ours, and a bounded length."""
    wrong = told({"type": "object"}, "x" * 100_000) + told({"enum": ["y" * 9_000]}, "x" * 100_000)
    assert max(map(len, wrong)) < 200


def nested(depth: int) -> Any:
    """A value in so many lists."""
    value: Any = None
    for _ in range(depth):
        value = {"x": value}
    return value


EXPLOSIVE = {
    "$defs": {
        "t": {
            "anyOf": [
                {"properties": {"x": {"$ref": "#/$defs/t"}}, "required": ["x", "y"]},
                {"properties": {"x": {"$ref": "#/$defs/t"}}, "required": ["x", "z"]},
            ]
        }
    },
    "$ref": "#/$defs/t",
}


@pytest.mark.parametrize(
    ("schema", "value", "wrong"),
    [
        (EXPLOSIVE, nested(50), "takes too long to be checked"),
        ({"type": "object"}, nested(100), "is nested more than 60 deep"),
        ({"pattern": "(a|b)*a(a|b){300}c"}, "ab" * 20_000, "takes too long to be checked"),
    ],
)
def test_spiteful_answers_are_refused(
    schema: Any, value: Any, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that would take for ever, or is too deep, is refused for that."""
    monkeypatch.setattr(answer_checks, "MOST_WORK", 20_000)
    assert told(schema, value) == [wrong]


def test_large_answers_that_are_harmless_are_taken() -> None:
    """Thousands of items of a quarter of a megabyte cost less than there is."""
    lines = [{"n": number} for number in range(10_000)]
    assert told({"type": "array", "uniqueItems": True, "items": {"required": ["n"]}}, lines) == []
    assert told({"pattern": "^[A-Za-z0-9+/]*$"}, "Ab" * 100_000) == []


# --- schemas ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "place", "problem"),
    [
        (5, "", "must be a schema, not the number 5"),
        ({"type": "strin"}, "type", "must be one of array, boolean"),
        ({"type": []}, "type", "must be one of array"),
        ({"properties": {"a": {"minimum": "1"}}}, "properties.a.minimum", "must be a number"),
        ({"properties": []}, "properties", "must be an object"),
        ({"items": {"maxLength": -1}}, "items.maxLength", "must be a whole number of at least 0"),
        ({"items": {"maxLength": 1.5}}, "items.maxLength", "must be a whole number"),
        ({"anyOf": []}, "anyOf", "must be a list that is not empty"),
        ({"anyOf": [{"enum": []}]}, "anyOf[0].enum", "must be a list that is not empty"),
        ({"required": ["a", "a"]}, "required", "must be a list of different texts"),
        ({"dependentRequired": {"a": "b"}}, "dependentRequired", "with lists of texts"),
        ({"multipleOf": 0}, "multipleOf", "larger than 0"),
        ({"uniqueItems": "yes"}, "uniqueItems", "must be true or false"),
        ({"title": 1}, "title", "must be text"),
        ({"pattern": "(?=a)"}, "pattern", "cannot be used: the pattern cannot be read"),
        ({"pattern": 1}, "pattern", "must be text"),
        ({"patternProperties": {"(": True}}, "patternProperties['(']", "a group has no end"),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, "['$schema']", "other drafts"),
        ({"$ref": "https://example.org/schema"}, "['$ref']", "are not fetched"),
        ({"$ref": "#/$defs/gone"}, "['$ref']", "leads to '#/$defs/gone'"),
        ({"x": {"type": 1}, "$ref": "#/x"}, "['$ref']", "is no schema in this one"),
        ({"$ref": "#"}, "", "leads back to itself"),
        (
            {
                "$defs": {
                    "a": {"allOf": [{"$ref": "#/$defs/b"}]},
                    "b": {"not": {"$ref": "#/$defs/a"}},
                }
            },
            "['$defs'].a",
            "leads back to itself",
        ),
        ({"properties": {"a": {"$id": "urn:x"}}}, "properties.a['$id']", "only be at the top"),
        ({"patternProperties": {"a": True}, "unevaluatedProperties": False}, "", "not supported"),
        ({"enum": list(range(6_000))}, "", "larger than the 5,000 values"),
        ({"allOf": [{}] * 600}, "", "more than the 500 schemas"),
    ],
)
def test_schemas_are_checked(schema: Any, place: str, problem: str) -> None:
    """A schema that cannot be used is refused with the place in it."""
    found = problems(schema)
    assert any(where == place and problem in why for where, why in found), found
    assert answered_with(schema) is not None


def test_schemas_are_not_nested_for_ever() -> None:
    """A schema that is too deep to be walked is refused."""
    schema: dict[str, Any] = {}
    for _ in range(60):
        schema = {"not": schema}
    assert any("nested more than 40 deep" in why for _, why in problems(schema))


def answered_with(schema: Any) -> str | None:
    """What an answer is told where the blueprint was not checked before."""
    try:
        answer_problems(schema, "w", 1)
    except FlowcraftError as error:
        return str(error)
    return None


@pytest.mark.parametrize(
    "schema",
    [
        ORDER,
        EXPLOSIVE,
        True,
        False,
        {},
        {"$schema": "https://json-schema.org/draft/2020-12/schema"},
    ],
)
def test_good_schemas_have_no_problems(schema: Any) -> None:
    """What the draft allows, and is bounded, is accepted; also by the package that reads it."""
    assert problems(schema) == []
    Draft202012Validator.check_schema(schema)


WRONG: list[Any] = [
    None,
    True,
    -1,
    1.5,
    "",
    "x",
    [],
    [1],
    ["a", "a"],
    {},
    {"a": 1},
    {"a": ["b", "b"]},
]


@pytest.mark.parametrize("keyword", sorted(Draft202012Validator.VALIDATORS))
def test_no_keyword_reaches_the_package_with_a_value_that_it_cannot_have(keyword: str) -> None:
    """Whatever the draft's own schema refuses is refused here, too, before it is used."""
    for value in WRONG:
        if problems({keyword: value}) == []:
            Draft202012Validator.check_schema({keyword: value})


def test_the_builder_and_lint_refuse_a_bad_schema() -> None:
    """Whoever builds a flow hears at once, whoever lints a blueprint hears the place."""
    with pytest.raises(ValueError, match=r"schema: properties\.a\.type must be one of"):
        create_flow("f").wait("w", schema={"properties": {"a": {"type": "x"}}})
    node = {"id": "w", "uses": "webhook", "params": {"schema": {"required": "a"}}}
    result = lint_blueprint({"id": "f", "nodes": [node], "edges": []})
    (issue,) = result.issues
    assert (issue.code, issue.severity, issue.node_id) == ("BAD_SCHEMA", "error", "w")
    assert issue.place == "nodes[0].params.schema"
    assert "required must be a list" in issue.message


# --- ways in -----------------------------------------------------------------------------------

flow = create_flow("f").wait("w", schema=ORDER, event="paid", actions=["yes", "no"])
later = create_flow("g").sleep("s", "1h").wait("w", schema=ORDER).edge("s", "w")


def test_an_answer_in_process_is_checked() -> None:
    """`resume` refuses what does not fit, for a wait that has begun and for one that has not."""

    async def scene() -> None:
        runtime = FlowRuntime()
        for each in (flow, later):
            result = await runtime.run(each, timers="return")
            with pytest.raises(AnswerRefused, match="amount is missing") as refused:
                await runtime.resume(each, result, node_id="w", output={}, timers="return")
            assert [problem.place for problem in refused.value.problems] == ["amount"]
        result = await runtime.run(flow)
        ended = await runtime.resume(flow, result, output={"amount": 3})
        assert ended.outputs["w"] == {"amount": 3}

    asyncio.run(scene())


def test_durable_answers_are_checked_before_anything_is_sent() -> None:
    """`resume_with_action` and both kinds of `send_event` refuse, and nothing is changed."""

    async def scene() -> None:
        world = World().knows(flow)
        await world.process()
        client = world.client
        run = await client.start_run("f", run_id="r")
        await world.settle()
        for attempt in (
            client.resume_with_action("r", "yes", {}),
            client.send_event("r", "w", {}),
            client.send_event(event="paid", output={}),
        ):
            with pytest.raises(AnswerRefused, match="amount is missing") as refused:
                await attempt
            assert refused.value.problems[0].place == "amount"
        with pytest.raises(InvalidRunState, match="takes the actions"):
            await client.send_event(event="paid", output={"amount": 1}, action="perhaps")
        await world.settle()
        assert str((await client.get_run(run)).status) == "awaiting"
        await client.send_event(event="paid", output={"amount": 1}, action="yes")
        await world.settle()
        assert (await client.get_run(run)).outputs == {"w": {"amount": 1}}
        await world.end()

    drive(scene())


def test_without_the_package_no_answer_slips_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where jsonschema is not installed an answer to a schema is refused, naming the extra."""
    real = builtins.__import__

    def without(name: str, *arguments: Any, **more: Any) -> Any:
        if name.partition(".")[0] in ("jsonschema", "referencing"):
            raise ImportError(name)
        return real(name, *arguments, **more)

    answer_checks._validator_of.cache_clear()
    monkeypatch.setattr(builtins, "__import__", without)
    try:
        with pytest.raises(FlowcraftError, match=r"pip install 'flowcraft-sqs\[web\]'"):
            answer_problems(ORDER, "w", {"amount": 1})
        assert answer_problems(None, "w", {"amount": 1}) == []
    finally:
        monkeypatch.undo()


def test_a_schema_is_never_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a schema refers to, no address is opened for it."""
    import urllib.request  # noqa: PLC0415

    def opened(*_: Any, **__: Any) -> Any:
        raise AssertionError("fetched")

    monkeypatch.setattr(urllib.request, "urlopen", opened)
    schema: Mapping[str, Any] = {"properties": {"a": {"$ref": "http://127.0.0.1:1/x"}}}
    assert "are not fetched" in (answered_with(schema) or "")
