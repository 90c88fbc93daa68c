"""Exceptions as data for the record."""

from __future__ import annotations

import logging
import traceback
from collections import deque
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from flowcraft.core import events as ev
from flowcraft.core.plan import Plan
from flowcraft.core.state import ErrorInfo, RunState, RunStatus
from flowcraft.errors import FlowcraftError, InvalidRunState

logger = logging.getLogger("flowcraft")

KEPT_CAUSES = 10
KEPT_TRACEBACK = 8_000


class Carried(Exception):
    """An error of another process: what is known of it here stands for the exception there.

    Attributes:
        info: What is kept of it.
        retryable: Whether another attempt could end otherwise.
    """

    def __init__(self, info: ErrorInfo, retryable: bool) -> None:
        super().__init__(f"{info.type}: {info.message}")
        self.info = info
        self.retryable = retryable


def error_info(error: BaseException) -> ErrorInfo:
    """What is kept of an exception: names, text, causes, and the end of its traceback."""
    if isinstance(error, Carried):
        return error.info
    return ErrorInfo(
        type=type(error).__name__,
        message=message_of(error),
        names=_all_names(error),
        is_fatal=is_fatal(error),
        causes=tuple(_causes(error)),
        traceback=_formatted(error),
    )


def is_retryable(error: BaseException) -> bool:
    """Whether another attempt could end otherwise; a node's own errors always could."""
    return all(map(_may_end_otherwise, _members(error)))


def _may_end_otherwise(error: BaseException) -> bool:
    if isinstance(error, Carried):
        return error.retryable
    return not isinstance(error, FlowcraftError) or error.disposition == "retry"


def is_fatal(error: BaseException) -> bool:
    """Whether an error, or one of the group it is, allows neither retry nor fallback."""
    return any(map(_forbids_more, _members(error)))


def _forbids_more(error: BaseException) -> bool:
    if isinstance(error, Carried):
        return error.info.is_fatal
    return isinstance(error, FlowcraftError) and error.is_fatal


def instead_of(event: ev.Event, error: Exception) -> ev.Event:
    """What to decide about where deciding about an event broke off: its node fails.

    Raises:
        Exception: The error itself, where the event is about no outcome that could be a failure.
    """
    if isinstance(error, InvalidRunState):
        raise error
    failed: ev.Event
    if isinstance(event, ev.NodeSucceeded):
        failed = ev.NodeFailed(event.key, event.attempt, error_info(error), retryable=False)
    elif isinstance(event, ev.ItemSucceeded):
        info = error_info(error)
        failed = ev.ItemFailed(event.key, event.item, event.attempt, info, retryable=False)
    elif isinstance(event, ev.ChildSettled) and event.succeeded:
        failed = event._replace(succeeded=False, error=error_info(error))
    else:
        raise error
    logger.error("%s could not be decided about or stored", type(event).__name__, exc_info=error)
    return failed


def names_of(cls: type[BaseException]) -> tuple[str, ...]:
    """Simple and qualified names of a class and its bases, as ``retryOn`` may give them."""
    names: dict[str, None] = {}
    for base in cls.__mro__:
        if base is object:
            continue
        names[base.__name__] = None
        names[f"{base.__module__}.{base.__qualname__}"] = None
    return tuple(names)


def _all_names(error: BaseException) -> tuple[str, ...]:
    """The names of an error; of a group, those of what really happened as well."""
    members = islice(_members(error), KEPT_CAUSES)
    return tuple(dict.fromkeys(name for each in members for name in _names(each)))


def _names(error: BaseException) -> tuple[str, ...]:
    return error.info.names if isinstance(error, Carried) else names_of(type(error))


def _members(error: BaseException) -> Iterator[BaseException]:
    """The error itself and, where it is a group, all that are in it."""
    todo = deque([error])
    while todo:
        current = todo.popleft()
        yield current
        if isinstance(current, BaseExceptionGroup):
            todo.extend(current.exceptions)


def message_of(error: BaseException) -> str:
    """An exception's text; never raises, whatever its ``__str__`` does."""
    try:
        return str(error)
    except Exception:
        return f"<{type(error).__name__} without a readable text>"


def text_of(error: Any) -> str:
    """The text of the ``error`` of a ``NodeResult``: an exception, a mapping or anything else."""
    if isinstance(error, BaseException):
        return message_of(error)
    if isinstance(error, Mapping) and "message" in error:
        return str(error["message"])
    return str(error)


def _causes(error: BaseException) -> Iterator[tuple[str, str]]:
    """What is behind an error: the members of a group, then what it was raised from."""
    return islice(_all_causes(error), KEPT_CAUSES)


def _all_causes(error: BaseException) -> Iterator[tuple[str, str]]:
    seen = {id(error)}
    todo = deque([error])
    while todo:
        current = todo.popleft()
        if isinstance(current, Carried):
            yield current.info.type, current.info.message
            yield from current.info.causes
        elif current is not error:
            yield type(current).__name__, message_of(current)
        behind = list(current.exceptions) if isinstance(current, BaseExceptionGroup) else []
        following = current.__cause__
        if following is None and not current.__suppress_context__:
            following = current.__context__
        for cause in [*behind, *([following] if following is not None else [])]:
            if id(cause) not in seen:
                seen.add(id(cause))
                todo.append(cause)


def _formatted(error: BaseException) -> str | None:
    if error.__traceback__ is None:
        return None
    try:
        text = "".join(traceback.format_exception(error, limit=-12, chain=False))
    except Exception:
        return None
    return text[-KEPT_TRACEBACK:]


def child_error(plan: Plan, state: RunState) -> ErrorInfo:
    """Why a subflow failed: its child run's errors, the first one in front."""
    errors = state.errors
    causes = [
        pair
        for error in errors
        for pair in ((error.type, f"{error.node_id}: {error.message}"), *error.causes)
    ]
    what = "was cancelled" if state.status is RunStatus.CANCELLED else "failed"
    text = f"The subflow '{plan.blueprint.id}' {what}"
    if errors:
        text += f": {errors[0].message}"
    return ErrorInfo(
        "SubflowFailed",
        text,
        ("SubflowFailed", "FlowcraftError"),
        # What is fatal in the child is as fatal here: trying it again changes nothing (S4).
        is_fatal=any(error.is_fatal for error in errors),
        causes=tuple(causes[:20]),
    )
