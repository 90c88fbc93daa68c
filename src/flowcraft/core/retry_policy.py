"""How often and when a node is tried again, as Python code says it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

ErrorNames = tuple[type[BaseException] | str, ...]


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Attempts of a node, and the delays between them.

    Attributes:
        max_attempts: Attempts in total, the first one included; at least 1.
        delay: Before the second attempt, in seconds or as a ``timedelta``.
        max_delay: Upper bound of every delay, in seconds or as a ``timedelta``.
        backoff: Factor by which the delay grows with each attempt; 1 keeps it as it is.
        jitter: Whether delays are spread, so that what failed together is not tried together.
        retry_on: Errors that are tried again: classes (subclasses count) or their simple or
            qualified names. Empty means all.
        give_up_on: Errors that are not tried again; goes before ``retry_on``.

    Raises:
        ValueError: A number is out of range.
        TypeError: Something is of the wrong type.
    """

    max_attempts: int = 1
    delay: float | timedelta = 1.0
    max_delay: float | timedelta | None = None
    backoff: float = 2.0
    jitter: bool = True
    retry_on: ErrorNames = ()
    give_up_on: ErrorNames = ()

    def __post_init__(self) -> None:
        if isinstance(self.max_attempts, bool) or not isinstance(self.max_attempts, int):
            raise TypeError(f"max_attempts must be a whole number, not {self.max_attempts!r}")
        if self.max_attempts < 1:
            raise ValueError(f"max_attempts must be at least 1, but is {self.max_attempts}")
        milliseconds(self.delay, "delay")
        if self.max_delay is not None:
            milliseconds(self.max_delay, "max_delay")
        _check_number(self.backoff, "backoff")
        if not isinstance(self.jitter, bool):
            raise TypeError(f"jitter must be True or False, not {self.jitter!r}")
        for name in ("retry_on", "give_up_on"):
            object.__setattr__(self, name, _checked_errors(getattr(self, name), name))

    def to_config(self) -> dict[str, Any]:
        """The fields of a node's ``config``, in their JSON form; defaults are left out."""
        config: dict[str, Any] = {"maxRetries": self.max_attempts}
        config["retryDelay"] = milliseconds(self.delay, "delay")
        if self.max_delay is not None:
            config["retryDelayMax"] = milliseconds(self.max_delay, "max_delay")
        if self.backoff != 2.0:
            config["backoff"] = self.backoff
        if not self.jitter:
            config["jitter"] = False
        if self.retry_on:
            config["retryOn"] = [error_name(error) for error in self.retry_on]
        if self.give_up_on:
            config["noRetryOn"] = [error_name(error) for error in self.give_up_on]
        return config


def error_name(error: type[BaseException] | str) -> str:
    """The name that stands for an error class: simple for built-in ones, else qualified."""
    if isinstance(error, str):
        return error
    if error.__module__ == "builtins":
        return error.__qualname__
    return f"{error.__module__}.{error.__qualname__}"


def milliseconds(value: float | timedelta, name: str) -> float:
    """Seconds or a ``timedelta`` as milliseconds, whole ones as ``int``.

    Raises:
        ValueError: It is negative or not finite.
        TypeError: It is neither a number nor a ``timedelta``.
    """
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    _check_number(seconds, name)
    # Rounded to microseconds: 0.1 seconds are 100 milliseconds, not 100.00000000000001.
    exact = round(seconds * 1000, 3)
    return int(exact) if exact == int(exact) else exact


def _check_number(value: object, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        kind = type(value).__name__
        raise TypeError(f"{name} must be a number of seconds or a timedelta, not a {kind}")
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"{name} must be a number of at least 0, but is {value!r}")


def _checked_errors(errors: object, name: str) -> ErrorNames:
    # A single class without a tuple is what people write first; there is no doubt what it means.
    given = errors if isinstance(errors, tuple | list) else (errors,)
    for error in given:
        is_class = isinstance(error, type) and issubclass(error, BaseException)
        if not is_class and not (isinstance(error, str) and error):
            raise TypeError(f"{name} must hold exception classes or their names, not {error!r}")
    return tuple(given)
