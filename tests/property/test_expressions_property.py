"""Any text is an expression or an error, and expressions mean what the two languages mean."""

from __future__ import annotations

import operator
import string
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flowcraft.core.expression_kinds import MAX_INTEGER_BITS
from flowcraft.core.expressions import (
    MAX_EXPRESSION_LENGTH,
    PropertyEvaluator,
    SafeEvaluator,
    check_expression,
    is_truthy,
)
from flowcraft.errors import ExpressionError, ExpressionSyntaxError

SAFE = SafeEvaluator()
SCOPE: dict[str, Any] = {
    "a": 1,
    "b": -2.5,
    "s": "text",
    "n": None,
    "l": [1, "x", [True]],
    "d": {"k": {"k": [0]}, "a-b": 1},
    "a-b": 7,
}
SYMBOLS = """
    ` ${ } { ( ) [ ] . ?. , : ? ; = $ + - * / // % ** == === != !== < <= > >= && || ?? !
    in not and or if else true None undefined
    a b s n l d a-b k 0 1 2.5 1e9 .5 'x' "y" 'un é ٣
    len( min( int( str( .length .includes( .startswith( __class__ .__mro__
"""
PIECES = [*SYMBOLS.split(), " ", "\n", "\\", "\\u{41}", "\ud800", "\x00", "\u2028"]
texts = st.text(max_size=40) | st.lists(st.sampled_from(PIECES), max_size=30).map("".join)
spaced = st.lists(st.sampled_from(PIECES), max_size=20).map(" ".join)

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.floats(allow_nan=False, allow_infinity=False, width=16)
    | st.text(max_size=3)
)
data = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3)
    ),
    max_leaves=8,
)


def is_plain(value: Any) -> bool:
    """Whether a value is made of JSON types only."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and is_plain(item) for key, item in value.items())
    if isinstance(value, list):
        return all(map(is_plain, value))
    if isinstance(value, int):
        return value.bit_length() <= MAX_INTEGER_BITS
    return value is None or isinstance(value, (float, str))


@given(texts | spaced)
@example("(" * MAX_EXPRESSION_LENGTH)
@example("`${" * 1300)
@example("a-" * 2000 + "a")
@example("9" * 4000 + "**" + "9" * 90)
def test_any_text_is_a_value_or_an_error(text: str) -> None:
    """Whatever the text, the outcome is plain data or an error of the family."""
    try:
        outcome = SAFE.evaluate(text, SCOPE)
    except ExpressionError as error:
        outcome = str(error)
        outcome.encode()  # a message can be stored whatever the text
    assert is_plain(outcome)


@given(texts | spaced)
def test_checking_agrees_with_evaluating(text: str) -> None:
    """What the check refuses does not evaluate in any scope."""
    try:
        check_expression(text)
    except ExpressionError:
        with pytest.raises(ExpressionError):
            SAFE.evaluate(text, SCOPE)


paths = st.lists(
    st.sampled_from(["a", "l", "d", "k", "0", "1", ".", ".", ".", "_", "$", "é", "-", "["])
).map("".join)


@given(texts | paths)
def test_any_text_is_a_path_or_an_error(text: str) -> None:
    """Exactly the texts of allowed characters between single dots are paths."""
    allowed = set(string.ascii_letters + string.digits + "_$")
    is_path = all(part and allowed.issuperset(part) for part in text.split("."))
    if is_path:
        assert is_plain(PropertyEvaluator().evaluate(text, SCOPE))
    else:
        with pytest.raises(ExpressionSyntaxError):
            PropertyEvaluator().evaluate(text, SCOPE)


@given(st.data())
def test_evaluation_changes_nothing(draw: st.DataObject) -> None:
    """The scope is the same after an expression as before."""
    text = draw.draw(spaced)
    before = repr(SCOPE)
    try:
        SAFE.evaluate(text, SCOPE)
    except ExpressionError:
        pass
    finally:
        assert repr(SCOPE) == before


# ---------------------------------------------------------------- against Python

Tree = tuple[str, Callable[[], Any]]

OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
}


def numeral(number: int | float) -> Tree:
    text = repr(number)
    return (f"({text})" if number < 0 or text[0] == "-" else text), lambda: number


def binary(left: Tree, symbol: str, right: Tree) -> Tree:
    calculate = OPERATORS[symbol]
    return f"({left[0]} {symbol} {right[0]})", lambda: calculate(left[1](), right[1]())


def negative(operand: Tree) -> Tree:
    return f"-{operand[0]}", lambda: -operand[1]()


numerals = st.builds(
    numeral,
    st.integers(-100, 100)
    | st.floats(-1e6, 1e6, allow_nan=False).map(lambda number: round(number, 3)),
)
calculations = st.recursive(
    numerals,
    lambda inner: (
        st.builds(binary, inner, st.sampled_from(sorted(OPERATORS)), inner)
        | st.builds(negative, inner)
    ),
    max_leaves=12,
)


@given(calculations)
def test_arithmetic_is_that_of_python(tree: Tree) -> None:
    """Every calculation gives the number and type that Python gives, or the same failure."""
    text, expected = tree
    try:
        number = expected()
    except ZeroDivisionError:
        with pytest.raises(ExpressionError, match="division by zero"):
            SAFE.evaluate(text, {})
        return
    actual = SAFE.evaluate(text, {})
    assert (type(actual), repr(actual)) == (type(number), repr(number))


@given(st.lists(st.integers(1, 50), min_size=2, max_size=12), st.data())
def test_precedence_is_that_of_python(numbers: list[int], draw: st.DataObject) -> None:
    """Without brackets, operators bind as in Python: compared with grouping by hand."""
    symbols = [draw.draw(st.sampled_from(sorted(OPERATORS))) for _ in numbers[1:]]
    text = str(numbers[0])
    for symbol, number in zip(symbols, numbers[1:], strict=True):
        text += f" {symbol} {number}"
    try:
        expected = grouped(numbers, symbols)
    except ZeroDivisionError:
        with pytest.raises(ExpressionError, match="division by zero"):
            SAFE.evaluate(text, {})
        return
    assert SAFE.evaluate(text, {}) == expected


def grouped(numbers: list[int], symbols: list[str]) -> Any:
    """Calculate products first, then sums, from left to right."""
    terms: list[Any] = [numbers[0]]
    signs: list[str] = []
    for symbol, number in zip(symbols, numbers[1:], strict=True):
        if symbol in "+-":
            signs.append(symbol)
            terms.append(number)
        else:
            terms[-1] = OPERATORS[symbol](terms[-1], number)
    total = terms[0]
    for sign, term in zip(signs, terms[1:], strict=True):
        total = OPERATORS[sign](total, term)
    return total


# ---------------------------------------------------------------- two spellings, one meaning

Pair = tuple[str, str]

leaves: st.SearchStrategy[Pair] = st.sampled_from(
    [
        ("true", "True"),
        ("false", "False"),
        ("null", "None"),
        ("0", "0"),
        ("a", "a"),
        ("s", "s"),
        ("n", "n"),
        ("l.length", "len(l)"),
        ("s.startsWith('t')", "s.startswith('t')"),
        ("l.includes(1)", "(1 in l)"),
        ("`${a}!`", "(str(a) + '!')"),
        ("d.k.k[0]", "d['k']['k'][0]"),
    ]
)


def joined(javascript: str, python: str) -> Callable[[Pair, Pair], Pair]:
    return lambda one, other: (
        f"({one[0]} {javascript} {other[0]})",
        f"({one[1]} {python} {other[1]})",
    )


def pairs_of(inner: st.SearchStrategy[Pair]) -> st.SearchStrategy[Pair]:
    return st.one_of(
        st.builds(joined("&&", "and"), inner, inner),
        st.builds(joined("||", "or"), inner, inner),
        st.builds(joined("===", "=="), inner, inner),
        st.builds(joined("!==", "!="), inner, inner),
        st.builds(lambda one: (f"!({one[0]})", f"(not {one[1]})"), inner),
        st.builds(
            lambda test, yes, no: (
                f"({test[0]} ? {yes[0]} : {no[0]})",
                f"({yes[1]} if {test[1]} else {no[1]})",
            ),
            inner,
            inner,
            inner,
        ),
    )


@given(st.recursive(leaves, pairs_of, max_leaves=15))
def test_spellings_agree(pair: Pair) -> None:
    """An expression means the same in the spelling of either language."""
    javascript, python = (SAFE.evaluate(text, SCOPE) for text in pair)
    assert (type(javascript), javascript) == (type(python), python)


# ---------------------------------------------------------------- values


def strictly_equal(one: Any, other: Any) -> bool:
    """The meaning of equality, written down a second time and recursively."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(strictly_equal, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(
            strictly_equal(item, other[key]) for key, item in one.items()
        )
    return bool(one == other)


@given(data, data)
def test_equality(one: Any, other: Any) -> None:
    """Equality holds by content and kind, is symmetric, and is what searching uses."""
    scope = {"one": one, "other": other}
    expected = strictly_equal(one, other)
    assert SAFE.evaluate("one == other", scope) is expected
    assert SAFE.evaluate("other === one", scope) is expected
    assert SAFE.evaluate("one in [other]", scope) is expected
    assert SAFE.evaluate("one == one and [one] == [one]", scope) is True


@given(data)
def test_truth_decides_everywhere_alike(value: Any) -> None:
    """Choice, negation, both and either agree with the published meaning of truth."""
    scope = {"v": value}
    truth = is_truthy(value)
    assert SAFE.evaluate("v ? true : false", scope) is truth
    assert SAFE.evaluate("!v", scope) is not truth
    assert SAFE.evaluate("bool(v)", scope) is truth
    assert SAFE.evaluate("(v && 'yes') === 'yes'", scope) is truth
    assert SAFE.evaluate("(v || 'no') !== 'no' || v === 'no'", scope) is truth


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_spelling_of_numbers_reads_back(number: float) -> None:
    """The text of a float is the shortest spelling of exactly this float."""
    text = SAFE.evaluate("'' + n", {"n": number})
    assert float(text) == number
    assert len(text.partition("e")[0].replace(".", "").strip("-0")) <= 17
    assert SAFE.evaluate("float(t) == n", {"t": text, "n": number}) is True


@given(st.text(max_size=20))
def test_quoting_reads_back(text: str) -> None:
    """Any text can be written as a literal, in both kinds of quotes and as a template."""
    escaped = "".join(f"\\u{{{ord(character):x}}}" for character in text)
    for quote in "'\"`":
        literal = f"{quote}{escaped}{quote}"
        if any(0xD800 <= ord(character) <= 0xDFFF for character in text):
            continue
        assert SAFE.evaluate(literal, {}) == text


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=12), data)
def test_any_key_can_be_read(key: str, value: Any) -> None:
    """Every key there can be is readable through brackets, at the root through `context`."""
    escaped = "".join(f"\\u{{{ord(character):x}}}" for character in key)
    assert SAFE.evaluate(f'context["{escaped}"]', {"context": {key: value}}) is value


@given(st.lists(st.sampled_from(["a", "bc", "d1", "é"]), min_size=2, max_size=6), st.data())
def test_hyphenated_names_take_the_longest(parts: list[str], draw: st.DataObject) -> None:
    """Reading parts between hyphens follows the rule: the longest name there is, from the left."""
    spans = [
        "-".join(parts[start:end])
        for start in range(len(parts))
        for end in range(start + 1, len(parts) + 1)
    ]
    present = {*parts, *draw.draw(st.sets(st.sampled_from(spans)))}
    scope = {name: 3**index for index, name in enumerate(sorted(present))}
    expected, start = None, 0
    while start < len(parts):
        end = max(
            end for end in range(start + 1, len(parts) + 1) if "-".join(parts[start:end]) in scope
        )
        number = scope["-".join(parts[start:end])]
        expected = number if expected is None else expected - number
        start = end
    assert SAFE.evaluate("-".join(parts), scope) == expected


@given(st.integers(0, 200), st.sampled_from(["(", "[", "len([", "!(", "1+(", "`${", "a?", "{a:"]))
def test_stack_stays_shallow(depth: int, opening: str) -> None:
    """However an expression nests, it uses a bounded part of the stack."""
    closing = {"(": ")", "[": "]", "len([": "])", "!(": ")", "1+(": ")", "`${": "}`", "{a:": "}"}
    text = opening * depth + "1" + closing.get(opening, ":0") * depth
    limit = sys.getrecursionlimit()
    frame, used = sys._getframe(), 0
    while frame.f_back is not None:
        frame, used = frame.f_back, used + 1
    sys.setrecursionlimit(used + 600)
    try:
        SAFE.evaluate(text, {"a": 1})
    except ExpressionError:
        pass
    finally:
        sys.setrecursionlimit(limit)


LARGE: dict[str, Any] = {
    "l": list(range(10_000)),
    "m": list(range(10_000)),
    "t": "x" * 50_000,
    "u": "x" * 49_999 + "y",
    "d": {str(number): [number] for number in range(5_000)},
    "e": {str(number): [number] for number in range(5_000)},
}
COSTLY = [
    *("l == m", "l != m", "d == e", "t == u", "t < u", "[l, l, l] == [m, m, m]", "l.includes(-1)"),
    *(
        "-1 in l",
        "u in l",
        "'y' in t",
        "t + u",
        "(t + t).includes('y')",
        "len(t + u)",
        "`${t}${u}`",
    ),
    *("[t, t, t]", "{a: t, b: l}", "t.startsWith(u)", "str(l)", "min(l[0], 3)", "5 ** 400"),
]
SIGNS = [" && ", " || ", " == ", " + ", ", ", " ?? "]
MOST_CALLS = 4_000_000


@settings(max_examples=max(15, settings().max_examples // 5))
@given(st.lists(st.sampled_from(COSTLY), min_size=1, max_size=400), st.sampled_from(SIGNS))
def test_hostile_expressions_do_bounded_work(parts: list[str], sign: str) -> None:
    """However much is compared, searched and put together, calls and results stay few."""
    text = sign.join(f"({part})" for part in parts)[: MAX_EXPRESSION_LENGTH - 2]
    calls = 0

    def counted(*_: Any) -> None:
        nonlocal calls
        calls += 1

    before = sys.getprofile()
    sys.setprofile(counted)
    try:
        outcome = SAFE.evaluate(f"[{text}]", LARGE)
    except ExpressionError as error:
        outcome = str(error)
    finally:
        sys.setprofile(before)
    assert calls < MOST_CALLS
    assert is_plain(outcome)
