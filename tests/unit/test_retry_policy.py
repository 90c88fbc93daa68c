"""Retry policies, and what they are in a blueprint."""

from __future__ import annotations

import json
import math
from datetime import timedelta
from typing import Any

import pytest

from flowcraft.core.retry_policy import RetryPolicy


def test_defaults_are_written_short() -> None:
    """A policy without arguments is one attempt."""
    assert RetryPolicy().to_config() == {"maxRetries": 1, "retryDelay": 1000}


def test_every_field_is_written() -> None:
    """Seconds become milliseconds, classes their names."""
    policy = RetryPolicy(
        max_attempts=5,
        delay=0.1,
        max_delay=timedelta(minutes=1),
        backoff=3,
        jitter=False,
        retry_on=(TimeoutError, "shop.Busy"),
        give_up_on=(json.JSONDecodeError,),
    )
    assert policy.to_config() == {
        "maxRetries": 5,
        "retryDelay": 100,
        "retryDelayMax": 60_000,
        "backoff": 3,
        "jitter": False,
        "retryOn": ["TimeoutError", "shop.Busy"],
        "noRetryOn": ["json.decoder.JSONDecodeError"],
    }


def test_one_class_needs_no_tuple() -> None:
    """A single error class is taken as a tuple of one."""
    policy = RetryPolicy(retry_on=TimeoutError)  # type: ignore[arg-type]
    assert policy.retry_on == (TimeoutError,)


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"max_attempts": 0}, ValueError),
        ({"max_attempts": True}, TypeError),
        ({"max_attempts": 2.0}, TypeError),
        ({"delay": -1}, ValueError),
        ({"delay": math.nan}, ValueError),
        ({"delay": "1s"}, TypeError),
        ({"max_delay": timedelta(seconds=-1)}, ValueError),
        ({"backoff": math.inf}, ValueError),
        ({"jitter": 1}, TypeError),
        ({"retry_on": (int,)}, TypeError),
        ({"give_up_on": ("",)}, TypeError),
    ],
)
def test_what_makes_no_sense_is_refused(fields: dict[str, Any], error: type[Exception]) -> None:
    """Wrong types and numbers out of range are refused where they are written."""
    with pytest.raises(error, match=next(iter(fields))):
        RetryPolicy(**fields)
