"""What is malformed in a state: fields that are missing, of the wrong kind, or lead nowhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from flowcraft.errors import Problem
from flowcraft.importing.asl_conditions import check_rule

States = Mapping[str, Any]
Fields = Mapping[str, Any]
Check = Callable[[Fields, str, str, States], Iterator[Problem]]

TYPES: Final = ("Pass", "Task", "Choice", "Wait", "Succeed", "Fail", "Parallel", "Map")
_ENDS: Final = ("Succeed", "Fail", "Choice")


def check_state(
    kind: str, fields: Fields, place: str, language: str, states: States
) -> Iterator[Problem]:
    """Everything that is malformed in a state.

    Args:
        kind: Its type.
        fields: What the definition says of it.
        place: Where it stands.
        language: ``JSONPath`` or ``JSONata``.
        states: The states of its machine, which it may lead to.
    """
    if kind not in TYPES:
        given = "is missing" if "Type" not in fields else f"is '{kind}'"
        yield Problem(f"{place}.Type", f"{given}; there are {', '.join(TYPES)}")
        return
    yield from _check_way_on(kind, fields, place, states)
    if kind in _CHECKS:
        yield from _CHECKS[kind](fields, place, language, states)
    for key in ("TimeoutSeconds", "HeartbeatSeconds"):
        if key in fields and not _is_number(fields[key], 1) and not _is_expression(fields[key]):
            yield Problem(f"{place}.{key}", "must be a number of seconds from 1")
    yield from _check_retriers(fields, place)
    yield from _check_catchers(fields, place, states)


def _check_way_on(kind: str, fields: Fields, place: str, states: States) -> Iterator[Problem]:
    has_next, ends = "Next" in fields, fields.get("End") is True
    if kind in _ENDS:
        if has_next or "End" in fields:
            yield Problem(place, f"a {kind} state has neither Next nor End")
    elif has_next and ends:
        yield Problem(place, "has both Next and End: give one of them")
    elif has_next:
        yield from _check_target(fields, "Next", place, states)
    elif not ends:
        yield Problem(place, "has neither Next nor 'End': true")


def _check_target(fields: Fields, key: str, place: str, states: States) -> Iterator[Problem]:
    name = fields.get(key)
    if name is None:
        yield Problem(f"{place}.{key}", "is missing")
    elif not isinstance(name, str):
        yield Problem(f"{place}.{key}", "must be text: the name of a state")
    elif name not in states:
        yield Problem(f"{place}.{key}", f"names the state '{name}', which does not exist here")


def _check_task(fields: Fields, place: str, _language: str, _states: States) -> Iterator[Problem]:
    if not isinstance(fields.get("Resource"), str) or not fields["Resource"]:
        yield Problem(f"{place}.Resource", "must be text: what does the work of the task")


def _check_choice(fields: Fields, place: str, language: str, states: States) -> Iterator[Problem]:
    rules = fields.get("Choices")
    if not isinstance(rules, list) or not rules:
        yield Problem(f"{place}.Choices", "must be a list with at least one rule")
        rules = []
    for number, rule in enumerate(rules):
        at = f"{place}.Choices[{number}]"
        if not isinstance(rule, Mapping):
            yield Problem(at, "a rule is an object")
            continue
        yield from _check_target(rule, "Next", at, states)
        if language == "JSONata":
            if "Condition" not in rule:
                yield Problem(f"{at}.Condition", "is missing")
        else:
            yield from check_rule(rule, at)
    if "Default" in fields:
        yield from _check_target(fields, "Default", place, states)


_WAITS: Final = ("Seconds", "SecondsPath", "Timestamp", "TimestampPath")


def _check_wait(fields: Fields, place: str, _language: str, _states: States) -> Iterator[Problem]:
    given = [key for key in _WAITS if key in fields]
    if len(given) != 1:
        what = f"has {' and '.join(given)}" if given else "says not how long"
        yield Problem(place, f"{what}: give one of {', '.join(_WAITS)}")
    seconds = fields.get("Seconds", 0)
    if not _is_number(seconds, 0) and not _is_expression(seconds):
        yield Problem(f"{place}.Seconds", "must be a number of seconds from 0")


def _check_parallel(
    fields: Fields, place: str, _language: str, _states: States
) -> Iterator[Problem]:
    if not isinstance(fields.get("Branches"), list) or not fields["Branches"]:
        yield Problem(f"{place}.Branches", "must be a list with at least one branch")


def _check_map(fields: Fields, place: str, _language: str, _states: States) -> Iterator[Problem]:
    if "ItemProcessor" not in fields and "Iterator" not in fields:
        yield Problem(f"{place}.ItemProcessor", "is missing")
    most = fields.get("MaxConcurrency", 0)
    if not _is_number(most, 0) and not _is_expression(most):
        yield Problem(f"{place}.MaxConcurrency", "must be a number from 0")


def _check_retriers(fields: Fields, place: str) -> Iterator[Problem]:
    retriers = fields.get("Retry", [])
    if not isinstance(retriers, list):
        yield Problem(f"{place}.Retry", "must be a list")
        return
    numbers = {"IntervalSeconds": 1, "MaxAttempts": 0, "BackoffRate": 1, "MaxDelaySeconds": 1}
    for number, retrier in enumerate(retriers):
        at = f"{place}.Retry[{number}]"
        yield from _check_errors(retrier, at, number == len(retriers) - 1)
        if isinstance(retrier, Mapping):
            for key, least in numbers.items():
                whole = key != "MaxAttempts" or isinstance(retrier.get(key, 0), int)
                if key in retrier and not (whole and _is_number(retrier[key], least)):
                    yield Problem(f"{at}.{key}", f"must be a number from {least}")
            if retrier.get("JitterStrategy", "NONE") not in ("NONE", "FULL"):
                yield Problem(f"{at}.JitterStrategy", "must be 'NONE' or 'FULL'")


def _check_catchers(fields: Fields, place: str, states: States) -> Iterator[Problem]:
    catchers = fields.get("Catch", [])
    if not isinstance(catchers, list):
        yield Problem(f"{place}.Catch", "must be a list")
        return
    for number, catcher in enumerate(catchers):
        at = f"{place}.Catch[{number}]"
        yield from _check_errors(catcher, at, number == len(catchers) - 1)
        if isinstance(catcher, Mapping):
            yield from _check_target(catcher, "Next", at, states)


def _check_errors(entry: Any, at: str, is_last: bool) -> Iterator[Problem]:
    if not isinstance(entry, Mapping):
        yield Problem(at, "must be an object")
        return
    names = entry.get("ErrorEquals")
    if not isinstance(names, list) or not names or not all(isinstance(n, str) and n for n in names):
        yield Problem(f"{at}.ErrorEquals", "must be a list of names of errors")
    elif "States.ALL" in names and (len(names) > 1 or not is_last):
        yield Problem(f"{at}.ErrorEquals", "'States.ALL' stands alone, and in the last place")


def _is_number(value: Any, least: float) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and value >= least


def _is_expression(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("{%")


_CHECKS: Final[Mapping[str, Check]] = {
    "Task": _check_task,
    "Choice": _check_choice,
    "Wait": _check_wait,
    "Parallel": _check_parallel,
    "Map": _check_map,
}
