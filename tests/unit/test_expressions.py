"""The expression language of conditions and transforms: what it means, what it refuses."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from flowcraft.core.expressions import (
    MAX_DEPTH,
    MAX_EXPRESSION_LENGTH,
    MAX_RESULT_TEXT,
    MAX_STEPS,
    Evaluator,
    PropertyEvaluator,
    SafeEvaluator,
    check_expression,
    is_truthy,
)
from flowcraft.errors import ExpressionError, ExpressionLimitError, ExpressionSyntaxError

SCOPE: dict[str, Any] = {
    "a": 1,
    "zero": 0,
    "no": False,
    "nul": None,
    "s": "text",
    "list": [10, [20], {"k": 30}],
    "d": {"0": "zero", "x": {"y": {"z": "deep"}}, "odd-key": 2, "$v": 3, "_u": 4, "length": 9},
    "result": {"output": {"ok": True, "n": 5, "items": [1, 2, 3]}, "action": "go"},
    "my-node": {"total": 7},
    "größe": 8,
    "$x": 9,
    "context": {"a b": 11, "dotted.key": 12},
}


def value(expression: str, scope: Mapping[str, Any] = SCOPE) -> Any:
    return SafeEvaluator().evaluate(expression, scope)


def error(expression: str, scope: Mapping[str, Any] = SCOPE) -> ExpressionError:
    with pytest.raises(ExpressionError) as caught:
        value(expression, scope)
    return caught.value


def exactly(expected: Any, actual: Any) -> bool:
    return type(expected) is type(actual) and expected == actual


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        # literals
        ("1", 1),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("2.5E-1", 0.25),
        ("1_000", 1000),
        ("0xff", 255),
        ("'it\\'s'", "it's"),
        ('"a\\n\\t\\\\b\\x41\\u00e9\\u{1F600}"', "a\n\t\\bAé😀"),
        ('"\\ud83d\\ude00"', "😀"),
        ("'one\\\ntwo'", "onetwo"),
        ("'\x00'", "\x00"),
        ("true", True),
        ("True", True),
        ("false", False),
        ("False", False),
        ("null", None),
        ("undefined", None),
        ("None", None),
        ("[1, 'a', [],]", [1, "a", []]),
        ("[]", []),
        ("('a', 'b')", ["a", "b"]),
        ("(a,)", [1]),
        ("{}", {}),
        ("{ p: a, 'q r': s, 7: no, }", {"p": 1, "q r": "text", "7": False}),
        ("({ a, s })", {"a": 1, "s": "text"}),
        ("{ if: 1, true: 2, my-key: 3 }", {"if": 1, "true": 2, "my-key": 3}),
        ("`${s}-${a}`", "text-1"),
        ("``", ""),
        ("`$ \\` \\${ {} ${`in ${a + 1}`} ${{k: 's'}.k}`", "$ ` ${ {} in 2 s"),
        ("`a${1}`.length", 2),
        # names and members
        ("größe", 8),
        ("$x", 9),
        ("d.$v + d._u", 7),
        ("d.x.y.z", "deep"),
        ('d["odd-key"]', 2),
        ("d['x']['y'].z", "deep"),
        ("d[0]", "zero"),
        ("d[0.0]", "zero"),
        ("d.0", "zero"),
        ("list[1][0]", 20),
        ("list.2.k", 30),
        ("list[a]", [20]),
        ("list['0']", 10),
        ("list['00']", None),
        ("list[1.0]", [20]),
        ("list[0.5]", None),
        ("list[3]", None),
        ("list.length", 3),
        ("list.name", None),
        ("s.length", 4),
        ("s[0]", "t"),
        ("s[4]", None),
        ("d.length", 9),
        ("d.q", None),
        ("a.q", None),
        ("no.q", None),
        ("d.if", None),
        ('context["a b"] + context["dotted.key"]', 23),
        ("d.q?.r", None),
        ("d.q?.r.s[0]", None),
        ("d?.['x']?.y.z", "deep"),
        ("nul?.includes(1)", None),
        # operators
        ("1 + 2 * 3", 7),
        ("(1 + 2) * 3", 9),
        ("10 - 4 - 3", 3),
        ("7 / 2", 3.5),
        ("7 // 2", 3),
        ("7 % 3", 1),
        ("-7 % 3", 2),
        ("2 ** 3 ** 2", 512),
        ("-2 ** 2", -4),
        ("2 ** -1", 0.5),
        ("- - +a", 1),
        ("-a", -1),
        ("!no", True),
        ("!!s", True),
        ("!!!s", False),
        ("not not a", True),
        ("zero || s", "text"),
        ("a && zero", 0),
        ("nul ?? zero ?? 3", 0),
        ("zero or no or nul", None),
        ("a and s and list.length", 3),
        ("a || nobody", 1),
        ("zero && nobody", 0),
        ("a ?? nobody", 1),
        ("a > 0 ? 'pos' : 'neg'", "pos"),
        ("no ? 1 : nul ? 2 : 3", 3),
        ("a ? no ? 1 : 2 : 3", 2),
        ("a ?.5 : 1", 0.5),
        ("'yes' if a else 'no'", "yes"),
        ("1 if no else 2 if nul else 3", 3),
        ("a if true else nobody", 1),
        ("result.output.n >= 5 && result.output.n <= 10", True),
        ("1 < 2 < 3", True),
        ("1 < 3 < 2", False),
        ("3 > a >= 1 < 2", True),
        ("2 < 1 < nobody", False),
        ("'a' < 'b'", True),
        ("!a == no", True),
        ("not a == no", True),
        ("not a == 1", False),
        ("!a in [no]", True),
        # joining
        ("s + '!' + a", "text!1"),
        ("1 + 2 + 's'", "3s"),
        ("'' + true + null + 1.0 + -0.5", "truenull1-0.5"),
        # search
        ("2 in [1, 2]", True),
        ("'2' in [1, 2]", False),
        ("true in [1]", False),
        ("a not in [1, 2]", False),
        ("not a in [2]", True),
        ("'ex' in s", True),
        ("'x' in d and 'y' not in d", True),
        ("0 in d", True),
        ("null in d", False),
        ("[20] in list", True),
        ("s in ('text', 'other')", True),
        ("result.output.items.includes(2)", True),
        ("s.includes('ex')", True),
        ("s.startsWith('te') && s.startswith('te')", True),
        ("s.endsWith('xt') and not s.endswith('te')", True),
        # functions
        ("len(list) + len(s) + len({})", 7),
        ("min(3, 1, 2)", 1),
        ("max([1, 2.5])", 2.5),
        ("max('a', 'b')", "b"),
        ("abs(-3)", 3),
        ("round(2.567, 1)", 2.6),
        ("round(2.5)", 2),
        ("int('12') + int(2.9) + int(true)", 15),
        ("float('1') + Number(' 2.5 ')", 3.5),
        ("Number('12')", 12),
        ("Number('.5e1')", 5.0),
        ("str(1.0) + String(null)", "1null"),
        ("bool([]) && Boolean('0')", True),
    ],
)
def test_value(expression: str, expected: Any) -> None:
    """An expression has the value that its spelling promises, of the very type."""
    assert exactly(expected, value(expression))


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ("1", "1.0", True),
        ("1", "true", False),
        ("0", "false", False),
        ("1", "'1'", False),
        ("0", "null", False),
        ("''", "null", False),
        ("null", "undefined", True),
        ("d.q", "null", True),
        ("[]", "[]", True),
        ("[1, [2, {k: 3}]]", "[1.0, [2, {'k': 3.0}]]", True),
        ("[1]", "[true]", False),
        ("[1]", "[1, 2]", False),
        ("{a: 1}", "{b: 1}", False),
        ("{a: 1}", "{a: 1, b: 2}", False),
        ("[]", "{}", False),
        ("'é'", "'e\\u0301'", False),
    ],
)
@pytest.mark.parametrize("same", ["==", "==="])
def test_equality_is_strict(left: str, right: str, same: str, expected: bool) -> None:
    """Both spellings compare by kind and content, never converting, in either order."""
    opposite = same.replace("==", "!=", 1)
    assert value(f"{left} {same} {right}") is expected
    assert value(f"({right}) {same} ({left})") is expected
    assert value(f"{left} {opposite} {right}") is not expected


@pytest.mark.parametrize(
    ("expression", "scope", "expected"),
    [
        ("my-node.total === 7", {"my-node": {"total": 7}}, True),
        ("my-node.total", {"my": 9, "node": {"total": 2}}, 7),
        ("my - node", {"my-node": 0, "my": 9, "node": 2}, 7),
        ("my -node", {"my-node": 0, "my": 9, "node": 2}, 7),
        ("a-b-c", {"a-b-c": 1, "a-b": 2, "a": 3}, 1),
        ("a-b-c", {"a-b": 5, "c": 1, "a": 3, "b-c": 9}, 4),
        ("a-b-c", {"a": 5, "b-c": 1}, 4),
        ("2 * a-b.c", {"a-b": {"c": 5}}, 10),
        ("2 * a-b.c", {"a": 5, "b": {"c": 1}}, 9),
        ("step-1.x", {"step-1": {"x": 4}}, 4),
        ("step-2nd.x", {"step-2nd": {"x": 4}}, 4),
        ("a-1", {"a": 5}, 4),
        ("a-1.5", {"a": 5, "a-1": [0]}, 3.5),
        ("a-1e1", {"a": 15}, 5.0),
        ("d.total-my-node", {"d": {"total": 5}, "my-node": 2}, 3),
        ("`${my-node}`", {"my-node": 3}, "3"),
        ("'my-node'", {"my-node": 3}, "my-node"),
        ("not-a", {"not-a": 3}, 3),
        ("not-a", {"a": 3}, False),
        ("größer-als", {"größer-als": 3}, 3),
    ],
)
def test_hyphenated_names(expression: str, scope: dict[str, Any], expected: Any) -> None:
    """A hyphen without blanks is part of the longest name there is, else a minus."""
    assert exactly(expected, value(expression, scope))


def test_unknown_hyphenated_name_is_named_in_full() -> None:
    """The error about a missing hyphenated name shows that it was looked for."""
    message = str(error("other-node.total", {"x": 1}))
    assert "'other'" in message
    assert "'other-node'" in message


@pytest.mark.parametrize(
    ("expression", "fragment"),
    [
        ("nobody", "unknown name 'nobody'; known: 'a', 'zero'"),
        ("d.q.r", "'d.q' is null"),
        ("(d.q?.r).s", "'(d.q?.r)' is null"),
        ("d['q'].r + 1", "\"d['q']\" is null"),
        ("nul.includes(1)", "'nul' is null"),
        ("nul[0]", "'nul' is null"),
        ("list[-1]", "negative"),
        ("list[[]]", "not a list"),
        ("d[true]", "not true/false"),
        ("5 < '5'", "'<' cannot compare a number with a text"),
        ("nul < 1", "null with a number"),
        ("no < true", "true/false"),
        ("[1] < [2]", "a list"),
        ("true + 1", "true/false and a number"),
        ("nul + 1", "null"),
        ("[1] + [2]", "two numbers"),
        ("s + list", "a list cannot be made part of a text"),
        ("`${d}`", "a mapping cannot be made part of a text"),
        ("s * 3", "two numbers"),
        ("s - 1", "two numbers"),
        ("-s", "the sign '-' takes a number"),
        ("1 / 0", "division by zero"),
        ("1 % 0", "division by zero"),
        ("1 // 0.0", "division by zero"),
        ("0 ** -1", "division by zero"),
        ("(-8) ** 0.5", "fractional power"),
        ("1 in 5", "nothing can be 'in' a number"),
        ("1 in s", "a text contains texts"),
        ("d.includes('x')", "key in mapping"),
        ("a.includes(1)", "a number"),
        ("s.startsWith(1)", "two texts"),
        ("len(5)", "not a number"),
        ("min([])", "empty list"),
        ("max(1, 'a')", "cannot compare"),
        ("abs(s)", "abs() takes a number"),
        ("round(1.5, 99)", "0 to 15 digits"),
        ("int('1x')", "not a number"),
        ("int('٣')", "not a number"),
        ("Number('')", "not a number"),
        ("Number('Infinity')", "not a number"),
        ("float(list)", "cannot be read as a number"),
        ("int(nul)", "null cannot be read as a number"),
    ],
)
def test_evaluation_error(expression: str, fragment: str) -> None:
    """What has no value is an error that says why, and in which expression."""
    caught = error(expression)
    assert not isinstance(caught, ExpressionSyntaxError)
    assert fragment in str(caught)
    assert "(in " in str(caught)


@pytest.mark.parametrize(
    ("expression", "fragment"),
    [
        ("", "the expression is empty"),
        ("  \n", "the expression is empty"),
        ("result.output.v >", "something is missing at the end: expected a value, at character 18"),
        ("a b", "'b' was not expected, at character 3"),
        ("((a)", "expected ')'"),
        ("a)", "')' was not expected"),
        ("()", "expected a value"),
        ("[1,,2]", "expected a value"),
        ("[1 2]", "expected ','"),
        ("{a b}", "expected ',' or '}'"),
        ("{nul", "expected ','"),
        ("{null}", "expected ':'"),
        ("{[a]: 1}", "as key"),
        ("a.", "expected a name after '.'"),
        ("a.'b'", "expected a name after '.'"),
        ("a[0", "expected ']'"),
        ("a[]", "expected a value"),
        ("list[0:1]", "expected ']'"),
        ("a ? 1", "expected ':'"),
        ("a if 1", "expected 'else'"),
        ("not", "expected a value"),
        ("a not b", "was not expected"),
        ("if", "expected a value"),
        ("'abc", "the text is not closed, at character 1"),
        ("'a\nb'", "the text is not closed"),
        ("'abc\\'", "the text is not closed"),
        ("`abc", "the template is not closed"),
        ("`${a`", "the template is not closed"),
        ("`${`", "the template is not closed"),
        ("`${}`", "expected a value"),
        ("`${a b}`", "expected '}'"),
        ("`\\", "the template is not closed"),
        ("'\\q'", "has no meaning"),
        ("'\\u12'", "has no meaning"),
        ("'\\u{110000}'", "no such character"),
        ("'\\ud800'", "surrogate"),
        ("\ud800", "surrogate"),
        ("'\udfff'", "surrogate"),
        ("\x00", "has no meaning here"),
        ("a\x00", "has no meaning here"),
        ("a = 1", "compare with '==='"),
        ("a & no", "'&&' or 'and'"),
        ("a | no", "'||' or 'or'"),
        ("a; no", "no statements"),
        ("a => a", "nothing can be assigned"),
        ("#", "has no meaning here"),
        ("a is None", "compare with '=='"),
        ("typeof a", "types cannot be asked for"),
        ("new Date()", "nothing can be created"),
        ("lambda x: x", "functions cannot be written"),
        ("[x for x in list]", "no loops"),
        ("a == 1 == true", "ambiguous"),
        ("1 < a == true", "ambiguous"),
        ("1 in list in list", "ambiguous"),
        ("012", "cannot begin with 0"),
        ("1e999", "too large"),
        ("9" * 400, "too large"),
        ("1.2.3", "was not expected"),
        ("...a", "was not expected"),
        ("a ** ", "expected a value"),
        ("* a", "expected a value"),
        ("٣", "has no meaning here"),
    ],
)
def test_syntax_error(expression: str, fragment: str) -> None:
    """What does not parse is refused with its place, on evaluation and when only checked."""
    with pytest.raises(ExpressionSyntaxError) as caught:
        check_expression(expression)
    assert fragment in str(caught.value)
    assert "at character" in str(caught.value)
    assert str(error(expression)) == str(caught.value)
    str(caught.value).encode()  # can be stored


@pytest.mark.parametrize(
    "expression",
    [
        "open('f')",
        "eval('1')",
        "__import__('os')",
        "d.get('x')",
        "s.upper()",
        "s.format(a)",
        "list.append(1)",
        "s.__class__()",
        "len.__call__(s)",
        "(len)(s)",
        "len(s)(s)",
        "d['x']('y')",
        "(() => 1)()",
        "d?.constructor('return 1')()",
        "s.includes",
        "len",
    ],
)
def test_nothing_else_can_be_called(expression: str) -> None:
    """No spelling of a call gets further than the listed functions and methods."""
    if "(" in expression:
        assert isinstance(error(expression), ExpressionSyntaxError)
    else:
        assert expression == "s.includes" or "unknown name" in str(error(expression))


HIDDEN = ["__class__", "__dict__", "__init__", "__globals__", "constructor", "prototype", "secret"]


class Opaque:
    """An object whose every attribute would be a leak, and whose use would be noticed."""

    secret = "leak"

    def __getattribute__(self, name: str) -> Any:
        if name == "__class__":  # isinstance() asks for it
            return Opaque
        raise AssertionError(name)

    def __bool__(self) -> bool:
        raise AssertionError


@pytest.mark.parametrize("name", [*HIDDEN, "__getattribute__", "mro", "keys", "append"])
def test_attributes_are_out_of_reach(name: str) -> None:
    """Names of Python attributes are nothing but missing keys, also of a function's own values."""
    scope = {"d": {}, "s": "x", "items": [1], "n": 1}
    for root in scope:
        assert value(f"{root}.{name}", scope) is None
        assert value(f"{root}['{name}']", scope) is None
        assert PropertyEvaluator().evaluate(f"{root}.{name}", scope) is None
    assert value(f"d.{name}", {"d": {name: 5}}) == 5


@pytest.mark.parametrize("name", HIDDEN)
def test_objects_are_opaque(name: str) -> None:
    """An object that is not data has no members, and is never asked for any."""
    scope = {"o": Opaque()}
    assert "no members" in str(error(f"o.{name}", scope))
    assert "no members" in str(error(f"o['{name}']", scope))
    assert PropertyEvaluator().evaluate(f"o.{name}", scope) is None
    assert value("o ? 1 : 2", scope) == 1
    assert value("o == null", scope) is False


@pytest.mark.parametrize(
    "expression",
    [
        "(" * 2000 + "1" + ")" * 2000,
        "(" * 4000,
        "[" * 4000,
        "{a:" * 1300,
        "`${" * 1000 + "1" + "}`" * 200,
        "a[" * 1000,
        "len(" * 1000,
        "s.includes(" * 300,
        "1 ? " * 1000,
        "1 ? 1 : " * 500 + "1",
        "1 if 1 else " * 300 + "1",
        "2 ** " * 800 + "1",
        "-(" * 1000,
        "not (" * 800,
        "1 or 1 and 1 == 1 + 1 * (" * 150,
        "((((((1)*1+1<1 and 1 or 1)" * 100,
    ],
)
def test_nesting_is_bounded(expression: str) -> None:
    """Constructs inside one another are refused in time, whatever they are."""
    expected = (ExpressionLimitError, ExpressionSyntaxError)
    with pytest.raises(expected):
        check_expression(expression)
    closed = expression.count("(") == expression.count(")")
    if closed and "`" not in expression:
        assert isinstance(error(expression), ExpressionLimitError)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("!" * 4000 + "a", True),
        ("- " * 2000 + "a", 1),
        ("not " * 1000 + "a", True),
        ("1" + "+1" * 2000, 2001),
        ("0" + "||0" * 1300 + "||5", 5),
        ("a" + " and a" * 600, 1),
        ("1" + "<1" * 2000, False),
        ("d?" + ".q?" * 1000 + ".q", None),
        ("[" + "1," * 2000 + "].length", 2000),
    ],
)
def test_long_is_not_deep(expression: str, expected: Any) -> None:
    """Long expressions without nesting are fine, up to the bound on their length."""
    assert value(expression) == expected


def test_deepest_expressions_leave_room_on_the_stack() -> None:
    """What the bound on depth lets through also evaluates far down in the caller's stack."""
    deepest = [
        "(" * (MAX_DEPTH - 1) + "1" + ")" * (MAX_DEPTH - 1),
        "len([" * (MAX_DEPTH // 2 - 1) + "1" + "])" * (MAX_DEPTH // 2 - 1),
        "`${" * (MAX_DEPTH - 1) + "1" + "}`" * (MAX_DEPTH - 1),
        "s.includes(" * (MAX_DEPTH - 1) + "'t'" + ")" * (MAX_DEPTH - 1),
    ]

    def below(frames: int, expression: str) -> Any:
        if frames:
            return below(frames - 1, expression)
        try:
            return value(expression)
        except ExpressionError as caught:
            return caught

    for expression in deepest:
        outcome = below(250, expression)
        assert not isinstance(outcome, (ExpressionLimitError, ExpressionSyntaxError))


def test_tree_depth_is_bounded_where_brackets_are_not() -> None:
    """Few brackets can make a deep tree by precedence alone; that is refused as well."""
    expression = "1"
    for _ in range(30):
        expression = f"({expression} * 1 + 1 < 1 and 1 or 1)"
    assert isinstance(error(expression), ExpressionLimitError)


def test_length_is_bounded() -> None:
    """The longest text passes, one character more does not."""
    fits = "'" + "x" * (MAX_EXPRESSION_LENGTH - 2) + "'"
    assert len(value(fits)) == MAX_EXPRESSION_LENGTH - 2
    assert isinstance(error(fits + " "), ExpressionLimitError)
    assert isinstance(error("(" * 10_000_000), ExpressionLimitError)
    with pytest.raises(ExpressionLimitError):
        PropertyEvaluator().evaluate("x" * (MAX_EXPRESSION_LENGTH + 1), {})


@pytest.mark.parametrize(
    "expression",
    [
        "2 ** 1024",
        "10 ** 10 ** 10",
        "9 ** 9 ** 9 ** 9",
        "huge * huge",
        "huge + 1",
        "-huge",
        "'' + huge",
        "abs(huge)",
        "10.0 ** 400",
        "1e308 * 10",
        "(2 ** 1023) * 2",
        "2 ** 1023 / 1e-9",
        "int(decimal)",
        "round(decimal)",
        "float(decimal)",
        "Number('1e999')",
    ],
)
def test_numbers_are_bounded(expression: str) -> None:
    """No calculation grows beyond the bound, and none is begun that would."""
    scope = {"huge": 10**5000, "decimal": Decimal("1e999999999")}
    assert isinstance(error(expression, scope), ExpressionLimitError)


def test_largest_numbers_pass() -> None:
    """Integers stay exact up to the bound, and small powers of one cost nothing."""
    assert value("2 ** 1023") == 2**1023
    assert value("2 ** 1023 - 1 + 2 ** 1023") == 2**1024 - 1
    assert value("(-1) ** (2 ** 1000 + 1)") == -1
    assert value("1.01 ** 365") == 1.01**365


def test_text_is_bounded() -> None:
    """A text may be read whole, but not multiplied by joining it."""
    scope = {"x": "y" * (MAX_RESULT_TEXT // 2 + 1), "big": "z" * (MAX_RESULT_TEXT * 3)}
    assert value("big", scope) == scope["big"]
    assert value("x + '!'", scope) == scope["x"] + "!"
    assert isinstance(error("x + x", scope), ExpressionLimitError)
    assert isinstance(error("`${x}${x}`", scope), ExpressionLimitError)
    assert isinstance(error("(x + 'a') == (x + 'b') || " * 150 + "0", scope), ExpressionLimitError)


def test_search_is_bounded() -> None:
    """A list of a large batch can be searched, one that takes too many steps is refused."""
    scope: dict[str, Any] = {"items": list(range(100_000)), "endless": list(range(MAX_STEPS + 1))}
    assert value("99999 in items", scope) is True
    assert value("items.includes('x')", scope) is False
    for expression in (
        "-1 in endless",
        "items == items && items == items && items == items",
        "max(endless)",
        "'x' in items || 'y' in items || 'z' in items",
    ):
        assert isinstance(error(expression, scope), ExpressionLimitError)


def test_deep_data_is_compared_without_recursion() -> None:
    """Values far deeper than Python's recursion limit are compared by content."""

    def nested(core: Any) -> Any:
        for index in range(50_000):
            core = [core] if index % 2 else {"k": core}
        return core

    scope = {"one": nested(1), "other": nested(1.0), "third": nested("1")}
    assert value("one == other", scope) is True
    assert value("one == third", scope) is False
    assert value("one in [third, other]", scope) is True


def test_circular_data_ends_at_the_bound() -> None:
    """Comparing values that contain themselves ends with an error."""
    ring: list[Any] = []
    ring.append(ring)
    other: list[Any] = []
    other.append(other)
    assert isinstance(error("a == b", {"a": ring, "b": other}), ExpressionLimitError)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.0, "0"),
        (-0.0, "0"),
        (3.0, "3"),
        (-2.5, "-2.5"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (1.5e300, "1.5e+300"),
        (123456789012345680000.0, "123456789012345680000"),
        (0.000001, "0.000001"),
        (1e-7, "1e-7"),
        (1.25e-9, "1.25e-9"),
        (0.1 + 0.2, "0.30000000000000004"),
        (10**30, "1" + "0" * 30),
        (math.inf, "Infinity"),
        (-math.inf, "-Infinity"),
        (math.nan, "NaN"),
        (Decimal("1.10"), "1.10"),
    ],
)
def test_numbers_in_texts(number: Any, text: str) -> None:
    """Floats are spelled as JavaScript spells them, integers and Decimals in full."""
    assert value("'' + n", {"n": number}) == text


def test_decimals_calculate_and_compare() -> None:
    """Decimals mix with other numbers and mean what is written, independent of the thread."""
    scope = {"price": Decimal("1.10"), "minus": Decimal("-7"), "exact": Decimal("1" * 45)}
    assert value("price == 1.1 and price > 1 and price < 1.2", scope) is True
    assert exactly(Decimal("2.20"), value("price * 2", scope))
    assert value("price + 0.1 == 1.2", scope) is True
    assert value("-exact", scope) == Decimal("-" + "1" * 45)
    assert value("minus % 3", scope) == value("-7 % 3")
    assert value("minus // 2", scope) == value("-7 // 2")
    for division in ("price % 0", "price // 0", "price / 0"):
        assert "division by zero" in str(error(division, scope))
    assert "InvalidOperation" in str(error("signal + 1", {"signal": Decimal("sNaN")}))
    assert "Decimal" in str(error("price ** 2", scope))
    assert value("abs(minus)", scope) == 7
    assert value("int(price)", scope) == 1


def test_not_a_number_and_odd_decimals() -> None:
    """NaN is equal to nothing and false; a signalling Decimal is an error, not a crash."""
    scope = {"nan": math.nan, "signal": Decimal("sNaN"), "quiet": Decimal("NaN")}
    assert value("nan == nan", scope) is False
    assert value("[nan] == [nan]", scope) is False
    assert value("nan || quiet || signal || 5", scope) == 5
    assert "cannot be compared" in str(error("signal == 1", scope))
    assert "cannot be compared" in str(error("quiet < 1", scope))


def test_dates_compare_with_their_kind() -> None:
    """Opaque values of one type compare by their own rules, others not at all."""
    now = datetime(2024, 1, 1, tzinfo=UTC)
    scope = {
        "now": now,
        "later": now + timedelta(1),
        "naive": now.replace(tzinfo=None),
        "day": date(2024, 1, 1),
    }
    assert value("now < later and now != later and now == now", scope) is True
    assert "cannot be compared" in str(error("now < naive", scope))
    assert "cannot compare a datetime with a date" in str(error("now < day", scope))
    assert value("now == day", scope) is False
    assert "no members" in str(error("now.year", scope))
    assert "cannot be made part of a text" in str(error("'' + now", scope))


def test_tuples_and_sets() -> None:
    """A tuple is a list; a set can be searched and counted, but has no order."""
    scope = {"pair": (1, 2), "tags": {"a", "b"}}
    assert value("pair == [1, 2] and pair[1] == 2 and 2 in pair", scope) is True
    assert value("'a' in tags and len(tags) == 2", scope) is True
    assert "no members" in str(error("tags.length", scope))
    assert "cannot compare" in str(error("tags < tags", scope))


class Lazy(Mapping[str, Any]):
    """A scope that records which names were asked for."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.values_ = values
        self.read: list[str] = []

    def __getitem__(self, key: str) -> Any:
        self.read.append(key)
        return self.values_[key]

    def __contains__(self, key: object) -> bool:
        return key in self.values_

    def __iter__(self) -> Iterator[str]:
        raise AssertionError

    def __len__(self) -> int:
        raise AssertionError


def test_scope_is_read_lazily() -> None:
    """Only the names that decide are read from the scope, which is never iterated."""
    scope = Lazy({"a": 1, "b": 0, "c": Lazy({"x": 5})})
    assert value("a || b", scope) == 1
    assert value("a ? c.x : b", scope) == 5
    assert PropertyEvaluator().evaluate("c.x", scope) == 5
    assert scope.read == ["a", "a", "c", "c"]


def test_error_lists_few_names_of_a_large_scope() -> None:
    """The known names in an error are a few, cut to a readable length, and safe to store."""
    scope = {"\ud800" + "n" * 1000 + str(index): index for index in range(1000)}
    message = str(error("nobody", scope))
    assert len(message) < 1000
    message.encode()
    assert "known: nothing" in str(error("nobody", {}))


def test_values_are_not_quoted_in_errors() -> None:
    """Errors name kinds, keys and source, never the data, which may be private."""
    scope = {"card": "4111-1111", "n": 5}
    for expression in ("card < n", "card * n", "n in card", "int(card)", "card.x.y", "-card"):
        assert "4111" not in str(error(expression, scope))


def test_errors_do_not_outlive_evaluation() -> None:
    """A cached expression evaluates anew with every scope."""
    assert "null" in str(error("d.x.y", {"d": {}}))
    assert value("d.x.y", {"d": {"x": {"y": 1}}}) == 1
    assert "unknown" in str(error("d.x.y", {}))


def test_literals_are_fresh_each_time() -> None:
    """A list from an expression belongs to the caller: changing it changes no later result."""
    first = value("[1, {k: []}]")
    first[1]["k"].append(2)
    assert value("[1, {k: []}]") == [1, {"k": []}]


@pytest.mark.parametrize("expression", [None, 1, {"a": 1}, ["a"], b"a"])
@pytest.mark.parametrize("evaluator", [SafeEvaluator(), PropertyEvaluator()])
def test_expression_must_be_text(evaluator: Evaluator, expression: Any) -> None:
    """Anything but a text is refused with an error of the family, not with a crash."""
    with pytest.raises(ExpressionSyntaxError, match="an expression is a text"):
        evaluator.evaluate(expression, {})


def test_check_accepts_what_only_names_with_hyphens_explain() -> None:
    """A check without a scope accepts a hyphenated name that is no subtraction."""
    check_expression("step-2nd.total > 5")
    check_expression("my-node.total === 7")
    with pytest.raises(ExpressionSyntaxError, match="'b' was not expected"):
        check_expression("my-node b")


def test_hyphens_are_bounded() -> None:
    """The looks into the scope that hyphens cost are bounded."""
    assert isinstance(error("a-" * 1500 + "a"), ExpressionLimitError)
    assert value("a-" * 20 + "a", {"a": 1}) == -19
    assert value("b" * 300 + "-c", {"b" * 300: 3, "c": 1}) == 2


@pytest.mark.parametrize(
    ("candidate", "expected"),
    [
        (False, False),
        (None, False),
        (0, False),
        (0.0, False),
        (-0.0, False),
        (math.nan, False),
        (Decimal(0), False),
        (Decimal("NaN"), False),
        ("", False),
        (True, True),
        (-1, True),
        (10**400, True),
        (math.inf, True),
        (Decimal("0.1"), True),
        ("0", True),
        ("false", True),
        ([], True),
        ({}, True),
        ((), True),
        (b"", True),
        (timedelta(0), True),
    ],
)
def test_truth(candidate: Any, expected: bool) -> None:
    """Truth is JavaScript's: only false, null, zero, NaN and the empty text are false."""
    assert is_truthy(candidate) is expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a", 1),
        ("no", False),
        ("nul", None),
        ("d.x.y.z", "deep"),
        ("d.0", "zero"),
        ("d._u", 4),
        ("d.$v", 3),
        ("d.length", 9),
        ("list.0", 10),
        ("list.1.0", 20),
        ("list.01", None),
        ("list.3", None),
        ("list.99999999999999999999", None),
        ("list.length", None),
        ("s.0", None),
        ("s.length", None),
        ("a.b.c", None),
        ("nul.x.y", None),
        ("q", None),
        ("q.r", None),
        ("true", None),
        ("1", None),
        ("result.output.ok", True),
        ("d.__class__.__name__", None),
        ("d.constructor.name", None),
        ("x" + ".x" * 2000, None),
    ],
)
def test_property_path(path: str, expected: Any) -> None:
    """A path reads keys and elements; what is missing on the way is nothing, not an error."""
    assert exactly(expected, PropertyEvaluator().evaluate(path, SCOPE))


@pytest.mark.parametrize(
    "path",
    ["", " a", "a ", "a\n", ".a", "a.", "a..b", "...", "é", "a-b", "a+1", "s.x()", "a[0]", "٣"],
)
def test_property_path_refuses(path: str) -> None:
    """Anything but letters, digits, ``_`` and ``$`` between single dots is refused."""
    with pytest.raises(ExpressionSyntaxError, match="not a dotted path"):
        PropertyEvaluator().evaluate(path, SCOPE)
