"""Whether what an engine did equals what was recorded.

An outcome has the shape of a case's ``expected``: ``{"results": [...]}`` for a run,
``{"value": ...}`` or ``{"thrown": ...}`` for anything else. The verdict on it is

* ``pass``: equal to ``expected``;
* ``pass-newer``: equal to ``expected_newer``;
* ``deviation``: equal to neither, but the case allows that;
* ``fail``.

There are four levels. 1: status, context, failed nodes, rejections, how often each node ran.
2: also the input of every execution. 3: also texts of errors, waves, bookkeeping keys and the
events of each node. 4: also the order of all events, where it is well defined.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

NOTHING: Final = {"$undefined": True}
REQUIRED_LEVEL: Final = 2
_TEXTS: Final = 3
_ORDER: Final = 4

_UUID: Final = re.compile(r"[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}")
_ITEM_OF_BATCH: Final = re.compile(r"_?<uuid-\d+>_\d+$")
_RUN_ID: Final = "_executionId"
_BOOKKEEPING: Final = re.compile(
    "|".join(
        (
            r"^_inputs\.",
            r"^_batch\.",
            r"^_subflowState\.",
            r"^_awaiting",
            r"^_catch_error$",
            r"_hasMore$",
            r"_allWorkerIds$",
            r"_currentIndex$",
            r"<uuid-\d+>",
        )
    )
)


def check(
    case: Mapping[str, Any], actual: Any, level: int = REQUIRED_LEVEL
) -> tuple[str, list[str]]:
    """Compare an outcome with a case.

    Returns:
        The verdict, and a line for each difference from ``expected`` (none if it passed).
    """
    outcome = numbered(plain(actual))
    found = _differences(case, case["expected"], outcome, level)
    if not found:
        return "pass", []
    newer = case.get("expected_newer")
    if newer is not None and not _differences(case, newer, outcome, level):
        return "pass-newer", []
    return ("deviation" if case["deviation_allowed"] else "fail"), found


def plain(value: Any) -> Any:
    """A value as the case files write it: JSON, with names for numbers that JSON lacks."""
    root: list[Any] = [value]
    todo: list[Any] = [root]
    while todo:
        holder = todo.pop()
        for place, member in list(
            holder.items() if isinstance(holder, dict) else enumerate(holder)
        ):
            holder[place] = made = _plain_member(member)
            if isinstance(made, dict | list):
                todo.append(made)
    return root[0]


def _plain_member(value: Any) -> Any:
    """A scalar in its written form, a container as a new one with the same members."""
    if isinstance(value, Mapping):
        return {str(key): member for key, member in value.items()}
    if isinstance(value, list | tuple):
        return list(value)
    if isinstance(value, float) and not math.isfinite(value):
        return {"$number": "NaN" if math.isnan(value) else f"{'-' * (value < 0)}Infinity"}
    return value


def numbered(outcome: Any) -> Any:
    """Generated ids as ``<uuid-1>``, ``<uuid-2>`` …: those of waves and events come first."""
    results = outcome.get("results", []) if isinstance(outcome, dict) else []
    leading = [[result.get("waves"), result.get("events")] for result in results]
    text = json.dumps(outcome, ensure_ascii=False)
    names: dict[str, str] = {}
    for found in _UUID.findall(json.dumps(leading, ensure_ascii=False) + text):
        names.setdefault(found, f"<uuid-{len(names) + 1}>")
    return json.loads(_UUID.sub(lambda match: names[match.group()], text)) if names else outcome


def equal(expected: Any, actual: Any) -> bool:
    """Whether two values are the same; a missing key, nothing and null are.

    Integers and floats are compared by value, with room for the last digits of a double.
    """
    todo = [(expected, actual)]
    while todo:
        left, right = todo.pop()
        if isinstance(left, dict) and isinstance(right, dict) and left != NOTHING:
            keys = (left.keys() | right.keys()) - {_RUN_ID}
            todo += [(left.get(key), right.get(key)) for key in keys]
        elif isinstance(left, list) and isinstance(right, list):
            if len(left) != len(right):
                return False
            todo += zip(left, right, strict=True)
        elif not _equal_scalars(left, right):
            return False
    return True


def _equal_scalars(expected: Any, actual: Any) -> bool:
    if expected is None or expected == NOTHING:
        return actual is None or bool(actual == NOTHING)
    if isinstance(expected, bool) or isinstance(actual, bool):
        return expected is actual
    if isinstance(expected, int | float) and isinstance(actual, int | float):
        return expected == actual or _close(expected, actual)
    return bool(expected == actual)


def _close(expected: float, actual: float) -> bool:
    try:
        return math.isclose(expected, actual, rel_tol=1e-12)
    except OverflowError:  # an integer that no double can hold
        return False


def _differences(
    case: Mapping[str, Any], expected: Mapping[str, Any], actual: Any, level: int
) -> list[str]:
    if case["kind"] != "run":
        return _value_differences(expected, actual)
    recorded, results = expected["results"], actual["results"]
    lines = []
    if len(recorded) != len(results):
        lines.append(f"number of results: expected {len(recorded)}, got {len(results)}")
    skipped = frozenset(case["order_sensitive"])
    for index, (one, other) in enumerate(zip(recorded, results, strict=False)):
        comparison = _Comparison(one, other, level)
        lines += comparison.lines(f"results[{index}].", skipped)
    return lines


def _value_differences(expected: Mapping[str, Any], actual: Any) -> list[str]:
    if "thrown" in expected:
        return [] if "thrown" in actual else [f"expected an error, got {_shown(actual)}"]
    if equal(expected["value"], actual.get("value")):
        return []
    got = actual.get("value") if "value" in actual else actual
    return [f"expected {_shown(expected['value'])}, got {_shown(got)}"]


class _Comparison:
    """One result of a run beside the recorded one.

    Each method yields the differences of its part as (field, expected, actual).
    """

    def __init__(self, expected: Mapping[str, Any], actual: Mapping[str, Any], level: int) -> None:
        self.expected = expected
        self.actual = actual
        self.level = level

    def lines(self, prefix: str, skipped: frozenset[str]) -> list[str]:
        """The differences as text, without those at places that do not count."""
        parts: list[Callable[[], Iterator[tuple[str, Any, Any]]]] = [
            self._rejection,
            self._status,
            self._context,
            self._errors,
            self._executions,
        ]
        if self.level >= _TEXTS:
            parts += [self._waves, self._events]
        return [
            f"{prefix}{field}: expected {_shown(expected)}, got {_shown(actual)}"
            for part in parts
            for field, expected, actual in part()
            if prefix + field not in skipped
        ]

    def _rejection(self) -> Iterator[tuple[str, Any, Any]]:
        expected, actual = self.expected["thrown"], self.actual.get("thrown")
        differs = (expected is None) != (actual is None)
        if self.level >= _TEXTS and expected is not None and actual is not None:
            differs = expected["message"] != actual.get("message")
        if differs:
            yield "thrown", expected, actual

    def _status(self) -> Iterator[tuple[str, Any, Any]]:
        if self.expected["status"] != self.actual.get("status"):
            yield "status", self.expected["status"], self.actual.get("status")

    def _context(self) -> Iterator[tuple[str, Any, Any]]:
        expected = self.expected["context"] or {}
        actual = self.actual.get("context") or {}
        for key in sorted(expected.keys() | actual.keys()):
            if key == _RUN_ID or (self.level < _TEXTS and _BOOKKEEPING.search(key)):
                continue
            # What the reference writes as nothing (undefined_keys) is missing there: as null.
            if not equal(expected.get(key), actual.get(key)) or (
                key not in actual and expected[key] is not None
            ):
                yield f"context.{key}", expected.get(key), actual.get(key)

    def _errors(self) -> Iterator[tuple[str, Any, Any]]:
        expected, actual = self.expected["errors"], self.actual.get("errors") or []
        if sorted(map(self._error, expected)) != sorted(map(self._error, actual)):
            yield "errors", expected, actual

    def _error(self, error: Mapping[str, Any]) -> tuple[str, str]:
        node_id = error.get("nodeId") or ""
        if self.level >= _TEXTS:
            return node_id, error.get("message") or ""
        return _ITEM_OF_BATCH.sub("", node_id), ""

    def _executions(self) -> Iterator[tuple[str, Any, Any]]:
        expected, actual = self.expected["executions"], self.actual.get("executions") or {}
        if self.level < _TEXTS:
            expected, actual = _items_together(expected), _items_together(actual)
        for node_id in sorted(expected.keys() | actual.keys()):
            one, other = expected.get(node_id, {}), actual.get(node_id, {})
            for part in ("count", "attempts"):
                left, right = one.get(part, 0), other.get(part, 0)
                if left != right:
                    yield "executions", {node_id: {part: left}}, {node_id: {part: right}}
            if self._inputs_differ(one, other):
                left, right = one.get("inputs"), other.get("inputs")
                yield "executions", {node_id: left}, {node_id: right}

    def _inputs_differ(self, expected: Mapping[str, Any], actual: Mapping[str, Any]) -> bool:
        if self.level < REQUIRED_LEVEL or expected.get("inputs_clipped"):
            return False
        if expected.get("count") != actual.get("count"):
            return False
        return not equal(expected.get("inputs", []), actual.get("inputs", []))

    def _waves(self) -> Iterator[tuple[str, Any, Any]]:
        expected, actual = self.expected["waves"], self.actual.get("waves") or []
        if not self.expected.get("waves_total") and list(map(sorted, expected)) != list(
            map(sorted, actual)
        ):
            yield "waves", expected, actual

    def _events(self) -> Iterator[tuple[str, Any, Any]]:
        if self.expected.get("events_total"):
            return
        expected, actual = self.expected["events"], self.actual.get("events") or []
        ours, theirs = _by_subject(expected), _by_subject(actual)
        for subject in sorted(ours.keys() | theirs.keys(), key=repr):
            if ours.get(subject) != theirs.get(subject):
                name = "/".join(map(str, subject))
                yield f"events.{name}", ours.get(subject), theirs.get(subject)
        if self.level >= _ORDER and self.expected["total_order"]:
            left, right = _order(expected), _order(actual)
            if left != right:
                yield "events", left, right


def _items_together(executions: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Executions with the items of a batch added up under the name of their worker."""
    together: dict[str, dict[str, Any]] = {}
    for node_id, record in executions.items():
        name = _ITEM_OF_BATCH.sub("", node_id)
        total = together.setdefault(name, {"count": 0, "attempts": 0, "inputs": []})
        total["count"] += record.get("count", 0)
        total["attempts"] += record.get("attempts", 0)
        total["inputs"] += record.get("inputs", [])
        if name != node_id:
            total["inputs"].sort(key=lambda value: json.dumps(value, sort_keys=True))
        if record.get("inputs_clipped"):
            total["inputs_clipped"] = True
    return together


def _by_subject(events: Iterable[Any]) -> dict[tuple[Any, ...], list[Any]]:
    """The events of each node, each context key and the run, in their order."""
    subjects: dict[tuple[Any, ...], list[Any]] = {}
    for kind, node_id, *rest in events:
        details = dict(rest[0]) if rest else {}
        if kind == "context:change":
            bucket = subjects.setdefault(("key", details.get("key")), [])
            if not bucket or bucket[-1] != details.get("op"):  # announced twice counts once
                bucket.append(details.get("op"))
            continue
        subject = ("workflow",) if kind.startswith("workflow:") else ("node", node_id)
        if subject[0] == "node":
            details.pop("isFatal", None)
        subjects.setdefault(subject, []).append((kind, json.dumps(details, sort_keys=True)))
    return subjects


def _order(events: Iterable[Any]) -> list[Any]:
    return [[event[0], event[1]] for event in events if event[0] != "context:change"]


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=repr)
