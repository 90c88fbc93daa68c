"""The rules of a ``Choice`` as conditions of edges.

A condition that cannot be evaluated is false (rule S2), and so is a comparison of unlike kinds in
Amazon States Language. So a comparison is written plainly where its error makes the whole rule
false, as it should; under ``Not`` and ``Or`` it is preceded by a test of the value's kind.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from flowcraft.errors import Problem
from flowcraft.importing.json_paths import Path, PathError, parse_path

SCOPE: Final = "result.output"
"""What a condition calls the input of its choice: the output of the node that stands for it."""


class Untranslatable(Exception):
    """A rule, or a part of one, that no condition says; ``place`` is where it stands."""

    def __init__(self, place: str, why: str) -> None:
        super().__init__(why)
        self.place = place
        self.why = why


class Domain(NamedTuple):
    """The values that a place in the data has where a condition holds."""

    kind: str
    low: Any
    high: Any
    has_ends: bool = True

    def is_apart(self, other: Domain) -> bool:
        """Whether no value is in both."""
        if self.kind != other.kind:
            return True
        if self.kind != "number":
            return bool(self.low != other.low)
        low, high = max(self.low, other.low), min(self.high, other.high)
        return bool(low > high or (low == high and not (self.has_ends and other.has_ends)))


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition of an edge; a rule is one of them or another.

    Attributes:
        text: The expression.
        domains: What it asks of some places, by their expressions.
    """

    text: str
    domains: Mapping[str, Domain]

    def excludes(self, other: Condition) -> bool:
        """Whether the two never hold at once."""
        return any(
            domain.is_apart(other.domains[place])
            for place, domain in self.domains.items()
            if place in other.domains
        )


@dataclass(frozen=True, slots=True)
class Note:
    """A condition that is not exactly the rule."""

    place: str
    message: str


# ---------------------------------------------------------------- what is malformed

_COMPARISON: Final = re.compile(
    r"(String|Numeric|Timestamp)(Equals|LessThanEquals|LessThan|GreaterThanEquals|GreaterThan)"
    r"(Path)?|(Boolean)Equals(Path)?"
)
_TESTS: Final = frozenset(
    {"IsNull", "IsPresent", "IsNumeric", "IsString", "IsBoolean", "IsTimestamp"}
)
_ABOUT: Final = frozenset({"Variable", "Next", "Comment", "Assign", "Output"})


def _is_operator(key: str) -> bool:
    return key in _TESTS or key == "StringMatches" or _COMPARISON.fullmatch(key) is not None


def check_rule(rule: Mapping[str, Any], at: str) -> Iterator[Problem]:
    """Everything that is malformed in a rule."""
    joined = [key for key in ("And", "Or", "Not") if key in rule]
    if joined:
        key = joined[0]
        inner = [rule[key]] if key == "Not" else rule[key]
        if not isinstance(inner, list) or not inner or len(joined) > 1:
            yield Problem(f"{at}.{key}", "must be a list of rules, and the only one of its kind")
            return
        for number, each in enumerate(inner):
            place = f"{at}.{key}" if key == "Not" else f"{at}.{key}[{number}]"
            if isinstance(each, Mapping):
                yield from check_rule(each, place)
            else:
                yield Problem(place, "a rule is an object")
        return
    operators = [key for key in rule if key not in _ABOUT]
    unknown = [key for key in operators if not _is_operator(key)]
    if unknown:
        yield Problem(f"{at}.{unknown[0]}", "is no operator of a rule")
    elif len(operators) != 1:
        yield Problem(at, f"needs one operator, and has {' and '.join(operators) or 'none'}")
    if not isinstance(rule.get("Variable"), str):
        yield Problem(f"{at}.Variable", "must be text: a path")
    elif operators and not unknown:
        yield from _check_value(operators[0], rule[operators[0]], at)


def _check_value(operator: str, value: Any, at: str) -> Iterator[Problem]:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if operator.endswith("Path"):
        good, what = isinstance(value, str), "text: a path"
    elif operator in _TESTS or operator.startswith("Boolean"):
        good, what = isinstance(value, bool), "true or false"
    elif operator.startswith("Numeric"):
        good, what = is_number, "a number"
    else:
        good, what = isinstance(value, str), "text"
    if not good:
        yield Problem(f"{at}.{operator}", f"must be {what}")


# ---------------------------------------------------------------- translation


def translate_rule(rule: Mapping[str, Any], at: str) -> tuple[list[Condition], list[Note]]:
    """Conditions of which one holds exactly where the rule does, and in what they differ.

    Args:
        rule: A rule without problems.
        at: Where it stands.

    Raises:
        Untranslatable: A part of it cannot be said by a condition.
    """
    notes: list[Note] = []
    translator = _Translator(notes)
    if "Or" in rule:
        places = [f"{at}.Or[{number}]" for number in range(len(rule["Or"]))]
        parts = zip(rule["Or"], places, strict=True)
        conditions = [translator.condition(part, place) for part, place in parts]
    else:
        conditions = [translator.condition(rule, at)]
    return conditions, notes


class _Leaf(NamedTuple):
    """A comparison: plain, and what has to be true so that it can be made at all."""

    text: str
    guard: str = ""
    domain: Domain | None = None

    @property
    def total(self) -> str:
        """The comparison that has a value whatever the data is."""
        return f"{self.guard} && {self.text}" if self.guard else self.text


class _Translator:
    def __init__(self, notes: list[Note]) -> None:
        self._notes = notes

    def condition(self, rule: Mapping[str, Any], at: str) -> Condition:
        """A rule all of whose parts have to hold."""
        if "And" in rule:
            parts = [
                self.condition(part, f"{at}.And[{number}]")
                for number, part in enumerate(rule["And"])
            ]
            domains = {place: domain for part in parts for place, domain in part.domains.items()}
            return Condition(" && ".join(part.text for part in parts), domains)
        if "Or" in rule or "Not" in rule:
            return Condition(self._total(rule, at), {})
        leaf = self._leaf(rule, at)
        domains = {} if leaf.domain is None else {_place(rule, at): leaf.domain}
        return Condition(leaf.text, domains)

    def _total(self, rule: Mapping[str, Any], at: str) -> str:
        if "Not" in rule:
            return f"!({self._total(rule['Not'], f'{at}.Not')})"
        for key, sign in (("And", " && "), ("Or", " || ")):
            if key in rule:
                parts = [
                    self._total(part, f"{at}.{key}[{number}]")
                    for number, part in enumerate(rule[key])
                ]
                return f"({sign.join(f'({p})' if '&&' in p else p for p in parts)})"
        return self._leaf(rule, at).total

    def _leaf(self, rule: Mapping[str, Any], at: str) -> _Leaf:
        place = _place(rule, at)
        operator = next(key for key in rule if _is_operator(key))
        value, here = rule[operator], f"{at}.{operator}"
        if operator in _TESTS:
            return self._test(operator, value, place, rule["Variable"], here)
        if operator == "StringMatches":
            return _matched(place, value, here)
        found = _COMPARISON.fullmatch(operator)
        assert found is not None
        kind = found[1] or found[4]
        if kind == "Timestamp":
            message = (
                "Times are compared as texts, which is right for times of the same form "
                "in UTC, such as 2025-01-31T09:00:00Z."
            )
            self._notes.append(Note(here, message))
        sign = _SIGNS[found[2] or "Equals"]
        if operator.endswith("Path"):
            return _compared(kind, sign, place, _expression(value, here))
        return _with_constant(kind, sign, place, value)

    def _test(self, operator: str, value: bool, place: str, variable: str, here: str) -> _Leaf:
        if operator == "IsTimestamp":
            message = "Whether a text is a time is told by its first characters only."
            self._notes.append(Note(here, message))
        leaf = _present(variable, here) if operator == "IsPresent" else _KIND_TESTS[operator](place)
        if value:
            return leaf
        is_absent = Domain("null", None, None) if operator == "IsPresent" else None
        return _Leaf(f"!({leaf.total})", domain=is_absent)


_SIGNS: Final = {
    "Equals": "==",
    "LessThan": "<",
    "LessThanEquals": "<=",
    "GreaterThan": ">",
    "GreaterThanEquals": ">=",
}


def _with_constant(kind: str, sign: str, place: str, value: Any) -> _Leaf:
    text = f"{place} {sign} {json.dumps(value, ensure_ascii=False)}"
    if kind == "Numeric":
        return _Leaf(text, _is_number(place) if sign != "==" else "", _interval(sign, value))
    is_equal = sign == "=="
    domain = Domain("boolean" if kind == "Boolean" else "text", value, value)
    return _Leaf(text, "" if is_equal else _is_text(place), domain if is_equal else None)


def _interval(sign: str, value: float) -> Domain:
    low = value if sign in ("==", ">", ">=") else float("-inf")
    high = value if sign in ("==", "<", "<=") else float("inf")
    return Domain("number", low, high, has_ends="=" in sign)


def _compared(kind: str, sign: str, place: str, other: str) -> _Leaf:
    """A comparison of two places, both of which have to be of the kind."""
    text = f"{place} {sign} {other}"
    if kind == "Boolean":
        return _Leaf(f"{place} in [true, false] && {text}")
    if kind == "Numeric":
        guard = f"{_is_number(place)} && {_is_number(other)}"
        return _Leaf(f"Number({place}) == {place} && {text}", guard)
    guard = f"{_is_text(place)} && {_is_text(other)}"
    return _Leaf(f"str({place}) == {place} && {text}", guard)


def _is_number(place: str) -> str:
    """True of numbers, and of objects without a length, which nobody compares with numbers."""
    return f"{place} != null && !({place} in [true, false]) && {place}?.length == null"


def _is_text(place: str) -> str:
    return f"{place}?.length != null"


_KIND_TESTS: Final[Mapping[str, Callable[[str], _Leaf]]] = {
    "IsNull": lambda place: _Leaf(f"{place} == null", domain=Domain("null", None, None)),
    "IsBoolean": lambda place: _Leaf(f"{place} in [true, false]"),
    "IsNumeric": lambda place: _Leaf(f"Number({place}) == {place}", _is_number(place)),
    "IsString": lambda place: _Leaf(f"str({place}) == {place}", _is_text(place)),
    "IsTimestamp": lambda place: _Leaf(
        f"str({place}) == {place} && {place}.length >= 20 && {place}[4] == '-' "
        f"&& {place}[10] == 'T'",
        _is_text(place),
    ),
}


def _present(variable: str, here: str) -> _Leaf:
    path = _parsed(variable, here)
    if not path.steps:
        return _Leaf("true")
    last = path.steps[-1]
    parent = _written(Path(variable, path.root, path.steps[:-1]), here)
    if last.index is not None:
        return _Leaf(f"len({parent}) > {last.index}", f"{parent}?.length != null")
    return _Leaf(f"{json.dumps(last.key, ensure_ascii=False)} in {parent}", f"{parent} != null")


def _matched(place: str, pattern: str, here: str) -> _Leaf:
    parts = [re.sub(r"\\(.)", r"\1", part) for part in re.split(r"(?<!\\)\*", pattern)]
    first, last = (json.dumps(part, ensure_ascii=False) for part in (parts[0], parts[-1]))
    guard = _is_text(place)
    if len(parts) == 1:
        return _Leaf(f"{place} == {first}", domain=Domain("text", parts[0], parts[0]))
    if len(parts) == 3 and not parts[0] and not parts[2]:
        middle = json.dumps(parts[1], ensure_ascii=False)
        return _Leaf(f"str({place}).includes({middle})", guard)
    if len(parts) > 2:
        raise Untranslatable(here, f"The pattern '{pattern}' has '*' in several places.")
    tests = [f"{place}.startsWith({first})"] if parts[0] else []
    tests += [f"{place}.endsWith({last})"] if parts[1] else []
    if len(tests) == 2:
        tests.append(f"{place}.length >= {len(parts[0]) + len(parts[1])}")
    return _Leaf(" && ".join(tests) or f"str({place}) == {place}", guard)


# ---------------------------------------------------------------- paths


def _place(rule: Mapping[str, Any], at: str) -> str:
    return _expression(rule["Variable"], f"{at}.Variable")


def _expression(text: str, here: str) -> str:
    return _written(_parsed(text, here), here)


def _parsed(text: str, here: str) -> Path:
    try:
        path = parse_path(text)
    except PathError as error:
        raise Untranslatable(here, f"{error}.") from error
    if not path.is_single or path.root == "$$":
        what = "reads what is known of the execution" if path.root == "$$" else "has many values"
        raise Untranslatable(here, f"'{text}' {what}, which no condition can.")
    return path


_PLAIN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _written(path: Path, here: str) -> str:
    text = SCOPE if path.root == "$" else f"context[{json.dumps(path.root)}]"
    for step in path.steps:
        if step.key is not None and _PLAIN.fullmatch(step.key):
            text += f"?.{step.key}"
        elif step.key is not None:
            text += f"?.[{json.dumps(step.key, ensure_ascii=False)}]"
        elif step.index is not None and step.index >= 0:
            text += f"?.[{step.index}]"
        else:
            raise Untranslatable(here, f"'{path.text}' counts from the end of a list.")
    return text
