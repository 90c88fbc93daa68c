"""Rules of choices, and simple JSONata, as expressions: they hold for the same data."""

from __future__ import annotations

from typing import Any

import pytest

from flowcraft import ExpressionError, SafeEvaluator
from flowcraft.core.expressions import check_expression
from flowcraft.importing.asl_conditions import Untranslatable, translate_rule
from flowcraft.importing.jsonata import NotSimple, translate

Rule = dict[str, Any]


def holds(text: str, data: Any, **context: Any) -> bool:
    """Whether an edge with this condition is taken: what has no value is false."""
    check_expression(text)
    try:
        scope = {"result": {"output": data}, "context": context}
        return bool(SafeEvaluator().evaluate(text, scope))
    except ExpressionError:
        return False


NOTHING: list[Any] = [{}, {"a": None}, None]
OTHERS: list[Any] = [{"a": True}, {"a": [1]}, {"a": {"b": 1}}]


@pytest.mark.parametrize(
    ("rule", "yes", "no"),
    [
        ({"StringEquals": "x"}, ["x"], ["y", 1, None]),
        ({"StringLessThan": "m"}, ["a"], ["z", 1, True]),
        ({"StringGreaterThanEquals": "m"}, ["m", "z"], ["a", 5]),
        ({"NumericEquals": 5}, [5, 5.0], [4, "5", True]),
        ({"NumericLessThan": 5}, [4, -1.5], [5, "4", False]),
        ({"NumericLessThanEquals": 5}, [5], [6]),
        ({"NumericGreaterThan": 5}, [6], [5, "6"]),
        ({"NumericGreaterThanEquals": 5}, [5], [4]),
        ({"BooleanEquals": True}, [True], [False, 1, "true"]),
        (
            {"TimestampLessThan": "2024-01-01T00:00:00Z"},
            ["2023-12-31T23:59:59Z"],
            ["2024-01-01T00:00:00Z", 5],
        ),
        ({"TimestampGreaterThanEquals": "2024-01-01T00:00:00Z"}, ["2024-01-01T00:00:00Z"], [""]),
        ({"StringMatches": "log-*.txt"}, ["log-.txt", "log-5.txt"], ["log.txt", "log-5", 5]),
        ({"StringMatches": "a*a"}, ["aa", "aba"], ["a", "ab"]),
        ({"StringMatches": "*x*"}, ["axb", "x"], ["b", ["x"], 5]),
        ({"StringMatches": "*.pdf"}, ["a.pdf"], ["a.txt", None]),
        ({"StringMatches": "a\\*b"}, ["a*b"], ["axb"]),
        ({"StringMatches": "*"}, ["", "x"], [5, None]),
        ({"IsNull": True}, [None], [0, "", False]),
        ({"IsNull": False}, [0, ""], [None]),
        ({"IsPresent": True}, [None, 0], []),
        ({"IsNumeric": True}, [3, 2.5], ["3", "x", True, None, [], {}]),
        ({"IsNumeric": False}, ["3", True, None, []], [3]),
        ({"IsString": True}, ["", "x"], [1, None, [], {}, True]),
        ({"IsString": False}, [1, None, {}], [""]),
        ({"IsBoolean": True}, [True, False], [0, "true", None]),
        ({"IsBoolean": False}, [0, None], [False]),
        ({"IsTimestamp": True}, ["2024-01-01T00:00:00Z"], ["yesterday, at noon sharp", 5, None]),
    ],
)
def test_each_operator_holds_for_what_it_names(rule: Rule, yes: list[Any], no: list[Any]) -> None:
    """A comparison holds for its values, and for none of another kind; so does its negation."""
    for negated in (False, True):
        whole = {"Not": {"Variable": "$.a", **rule}} if negated else {"Variable": "$.a", **rule}
        [condition], _ = translate_rule(whole, "here")
        assert [holds(condition.text, {"a": value}) for value in yes] == [not negated] * len(yes)
        # Of exotic kinds, such as a list of texts, no negation is asked here.
        plain = [value for value in no if not negated or not isinstance(value, list | dict)]
        assert [holds(condition.text, {"a": value}) for value in plain] == [negated] * len(plain)


@pytest.mark.parametrize("data", [*NOTHING, *OTHERS, {"a": "x"}, {"a": 7}])
@pytest.mark.parametrize(
    ("operator", "good"),
    [
        ("StringEqualsPath", {"a": "x", "b": "x"}),
        ("StringLessThanPath", {"a": "a", "b": "b"}),
        ("NumericEqualsPath", {"a": 1, "b": 1.0}),
        ("NumericGreaterThanPath", {"a": 2, "b": 1}),
        ("BooleanEqualsPath", {"a": True, "b": True}),
        ("TimestampGreaterThanPath", {"a": "2024-01-02T00:00:00Z", "b": "2024-01-01T00:00:00Z"}),
    ],
)
def test_two_places_are_compared_if_both_are_of_the_kind(
    operator: str, good: Any, data: Any
) -> None:
    """Two values of another kind are no match, however they compare."""
    [condition], _ = translate_rule({"Variable": "$.a", operator: "$.b"}, "here")
    assert holds(condition.text, good)
    assert not holds(condition.text, data)
    numbers_as_texts = {"a": 2, "b": 1} if operator.startswith(("String", "Time")) else {"a": "b"}
    assert not holds(condition.text, {"b": "a", **numbers_as_texts})


def test_presence_is_told_from_null() -> None:
    """A key with null is there; one below something that is not there is not."""
    [deep], _ = translate_rule({"Variable": "$.a.b", "IsPresent": True}, "here")
    [absent], _ = translate_rule({"Variable": "$.a.b", "IsPresent": False}, "here")
    [element], _ = translate_rule({"Variable": "$['a b'][1]", "IsPresent": True}, "here")
    assert holds(deep.text, {"a": {"b": None}})
    assert not holds(absent.text, {"a": {"b": None}})
    for data in [*NOTHING, {"a": {}}]:
        assert not holds(deep.text, data)
        assert holds(absent.text, data)
    assert holds(element.text, {"a b": [None, None]})
    assert not holds(element.text, {"a b": [None]})


def test_rules_are_combined() -> None:
    """And, Or and Not nest; an Or at the top is several conditions."""
    number = {"Variable": "$.n", "NumericGreaterThan": 5}
    flag = {"Variable": "$.f", "BooleanEquals": True}
    [both], _ = translate_rule({"And": [number, {"Or": [flag, {"Not": number}]}]}, "here")
    assert holds(both.text, {"n": 6, "f": True})
    assert not holds(both.text, {"n": 6})
    either, _ = translate_rule({"Or": [number, flag]}, "here")
    assert [holds(each.text, {"n": "text", "f": True}) for each in either] == [False, True]
    [neither], _ = translate_rule({"Not": {"Or": [number, flag]}}, "here")
    assert holds(neither.text, {"n": "text", "f": False})
    assert not holds(neither.text, {"n": "text", "f": True})


def test_conditions_that_cannot_hold_at_once_are_told_apart() -> None:
    """Different texts, kinds and ranges of one place exclude each other; other places do not."""

    def one(**operator: Any) -> Any:
        [condition], _ = translate_rule({"Variable": "$.a", **operator}, "here")
        return condition

    assert one(StringEquals="x").excludes(one(StringEquals="y"))
    assert not one(StringEquals="x").excludes(one(StringEquals="x"))
    assert one(StringEquals="x").excludes(one(NumericEquals=1))
    assert one(NumericLessThan=5).excludes(one(NumericGreaterThanEquals=5))
    assert not one(NumericLessThanEquals=5).excludes(one(NumericGreaterThanEquals=5))
    assert not one(NumericLessThan=5).excludes(one(NumericLessThan=3))
    assert one(IsNull=True).excludes(one(BooleanEquals=True))
    [other], _ = translate_rule({"Variable": "$.b", "StringEquals": "y"}, "here")
    assert not one(StringEquals="x").excludes(other)


@pytest.mark.parametrize(
    "rule",
    [
        {"Variable": "$..a", "IsNull": True},
        {"Variable": "$.a[*]", "IsNull": True},
        {"Variable": "$.a[-1]", "IsNull": True},
        {"Variable": "$$.Execution.Id", "StringEquals": "x"},
        {"Variable": "$.a[?(@.b)]", "IsNull": True},
        {"Variable": "$.a", "StringMatches": "*a*b"},
        {"And": [{"Variable": "$.a", "StringEqualsPath": "a"}]},
    ],
)
def test_what_no_condition_says_is_refused_with_its_place(rule: Rule) -> None:
    """Paths with many values, the execution, and patterns with several stars are not translated."""
    with pytest.raises(Untranslatable) as refused:
        translate_rule(rule, "here")
    assert refused.value.place.startswith("here.")


def test_variables_are_read_from_the_context() -> None:
    """``$name`` is the context key of this name."""
    [condition], _ = translate_rule({"Variable": "$limit.low", "NumericEquals": 3}, "here")
    assert holds(condition.text, {}, **{"$limit": {"low": 3}})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("$states.input.a.b", 5),
        ("$states.input.list[1]", 20),
        ("$states.input.`a key`", "k"),
        ("'it\\'s ' & $states.input.a.b & ' ' & $states.input.none", "it's 5 "),
        ("$count($states.input.list) + 1", 3),
        ("$states.input.a.b > 4 and $not($states.input.none)", True),
        ("$states.input.none > 4 or $exists($states.input.a)", True),
        ("$states.input.none > 4 ? 'y' : 'n'", "n"),
        ("{'k': [1, $states.input.a.b], \"l\": null}", {"k": [1, 5], "l": None}),
        ("5 in $states.input.list", False),
        ("-(2 - 5) * 2 % 4", 2),
        ("$contains('abc', 'b') = true", True),
        ("$states.context.Execution.Id", "run"),
        ("$total + $round(1.26, 1)", 8.3),
    ],
)
def test_simple_jsonata_has_the_same_value(text: str, value: Any) -> None:
    """Paths, operators, literals and some functions are translated."""
    data = {"a": {"b": 5}, "list": [10, 20], "a key": "k"}
    scope = {
        "states": {"input": data, "context": {"Execution": {"Id": "run"}}},
        "variables": {"total": 7},
    }
    translated = translate(f"{{% {text} %}}")
    assert SafeEvaluator().evaluate(translated.text, scope) == value


@pytest.mark.parametrize(
    "text",
    [
        "$sum($states.input.a)",
        "$states.input.a[b > 5]",
        "$states.input.*",
        "$states.input.a[-1]",
        "($x := 1; $x)",
        "$states.input.a ~> $count",
        "function($x) { $x }",
        "$states.nothing",
        "$",
        "a.b",
        "1 +",
        "'open",
        "(" * 50 + "1" + ")" * 50,
    ],
)
def test_other_jsonata_is_refused(text: str) -> None:
    """What is not understood is never translated into something else."""
    with pytest.raises(NotSimple):
        translate(text)


def test_conditions_in_jsonata_see_the_input_and_variables() -> None:
    """A condition stands on an edge, which knows nothing else."""
    condition = translate("{% $states.input.n >= $least %}", "condition")
    assert holds(condition.text, {"n": 5}, **{"$least": 5})
    assert not holds(condition.text, {}, **{"$least": 5})
    with pytest.raises(NotSimple):
        translate("$states.context.Execution.Id", "condition")
