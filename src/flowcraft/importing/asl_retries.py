"""``Retry`` and the time limits of a state as a node's configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from flowcraft.importing.asl_document import State
from flowcraft.importing.findings import Finding
from flowcraft.importing.state_errors import TIMEOUT_NAMES

ALL: Final = "States.ALL"
TASK_FAILED: Final = "States.TaskFailed"
TIMEOUT: Final = "States.Timeout"
DEFAULT_ATTEMPTS: Final = 3
"""Retries where ``MaxAttempts`` is not given, by the specification of the language."""

Retrier = Mapping[str, Any]
_TIMING: Final = ("IntervalSeconds", "BackoffRate", "MaxDelaySeconds", "JitterStrategy")


def retry_config(state: State) -> tuple[dict[str, Any], list[Finding]]:
    """The attempts of a node as its ``config``, and what is not as it was."""
    retriers = list(enumerate(state.fields.get("Retry", [])))
    place = f"{state.place}.Retry"
    never = [entry for entry in retriers if entry[1].get("MaxAttempts") == 0]
    again = [entry for entry in retriers if entry[1].get("MaxAttempts") != 0]
    if not again:
        return {}, []
    first = again[0][1]
    attempts = max(each.get("MaxAttempts", DEFAULT_ATTEMPTS) for _, each in again)
    config: dict[str, Any] = {"maxRetries": attempts + 1, **_delays(first)}
    refused = _names(name for _, each in never for name in each["ErrorEquals"])
    config |= _which([each for _, each in again], refused)
    findings = [*_merged(again, place), *_jitter(again[0], place)]
    late = [number for number, _ in never if number > again[0][0]]
    for number in late:
        message = (
            "This retrier forbids what an earlier one may allow; here what is forbidden goes first."
        )
        advice = "Compare 'retryOn' and 'noRetryOn' of the node."
        findings.append(Finding(f"{place}[{number}]", message, advice, "changed"))
    return config, findings


def _delays(retrier: Retrier) -> dict[str, Any]:
    config: dict[str, Any] = {
        "retryDelay": retrier.get("IntervalSeconds", 1) * 1000,
        "backoff": retrier.get("BackoffRate", 2),
        "jitter": retrier.get("JitterStrategy") == "FULL",
    }
    if "MaxDelaySeconds" in retrier:
        config["retryDelayMax"] = retrier["MaxDelaySeconds"] * 1000
    return config


def _which(again: Sequence[Retrier], refused: list[str]) -> dict[str, Any]:
    """Which errors are tried again: names, or all but some."""
    names = [name for each in again for name in each["ErrorEquals"]]
    config: dict[str, Any] = {}
    if ALL in names:
        pass
    elif TASK_FAILED in names:
        # Everything but a timeout, unless that is named as well.
        if TIMEOUT not in names:
            refused = [*refused, *TIMEOUT_NAMES]
    else:
        config["retryOn"] = _names(names)
    if refused:
        config["noRetryOn"] = list(dict.fromkeys(refused))
    return config


def _names(names: Any) -> list[str]:
    """The names of errors here; a timeout has several."""
    known = dict.fromkeys(
        each for name in names for each in (TIMEOUT_NAMES if name == TIMEOUT else (name,))
    )
    return list(known)


def _merged(again: Sequence[tuple[int, Retrier]], place: str) -> Iterator[Finding]:
    """A node has one policy: what other retriers say of times and counts is not kept."""
    _, first = again[0]
    for number, each in again[1:]:
        same = all(each.get(key) == first.get(key) for key in _TIMING)
        what = "its attempts are counted together with those of" if same else "its delays are"
        message = f"A node has one policy for all errors: {what} Retry[{again[0][0]}]."
        advice = "If it matters, catch these errors in the function, and try again there."
        yield Finding(f"{place}[{number}]", message, advice, "changed")


def _jitter(entry: tuple[int, Retrier], place: str) -> Iterator[Finding]:
    number, retrier = entry
    if retrier.get("JitterStrategy") == "FULL":
        message = "Full jitter takes up to the whole delay; here at least half of it is kept."
        advice = "Halve 'retryDelay' if the mean delay matters."
        yield Finding(f"{place}[{number}].JitterStrategy", message, advice, "changed")


def time_limits(state: State) -> tuple[int | None, list[Finding]]:
    """The time limit of a state in milliseconds, and those that have no counterpart."""
    findings = []
    limit = state.fields.get("TimeoutSeconds")
    for key in ("TimeoutSecondsPath", "HeartbeatSecondsPath", "HeartbeatSeconds"):
        if key in state.fields:
            findings.append(_no_limit(state, key))
    if isinstance(limit, str):
        findings.append(_no_limit(state, "TimeoutSeconds"))
        limit = None
    return None if limit is None else round(limit * 1000), findings


def _no_limit(state: State, key: str) -> Finding:
    if key.startswith("Heartbeat"):
        message = (
            "Workers renew the lease of a node by themselves; a node has no heartbeat to miss."
        )
        advice = "Use TimeoutSeconds, or call 'ctx.heartbeat()' to report progress."
    else:
        message = "A node's time limit is a constant."
        advice = "Set 'timeout' in the node's config to the longest time that it may take."
    return Finding(f"{state.place}.{key}", message, advice)
