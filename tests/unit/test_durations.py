"""Durations as blueprints write them."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import pytest

from flowcraft.core.durations import MAX_DURATION_MS, parse_duration_ms


@pytest.mark.parametrize(
    ("value", "milliseconds"),
    [
        (0, 0),
        (1500, 1500),
        (1.6, 2),
        ("500ms", 500),
        ("10s", 10_000),
        ("5m", 300_000),
        ("2h", 7_200_000),
        ("1d", 86_400_000),
        ("366d", MAX_DURATION_MS),
        (timedelta(seconds=1.5), 1500),
    ],
)
def test_durations(value: Any, milliseconds: int) -> None:
    """Each way to write a duration gives its milliseconds."""
    assert parse_duration_ms(value) == milliseconds


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("1.5s", "is not a duration"),
        ("5w", "is not a duration"),
        ("5 minutes", "is not a duration"),
        ("10", "is not a duration"),
        ("٣s", "is not a duration"),
        pytest.param("9" * 5000 + "s", "is not a duration", id="long text"),
        ("", "is not a duration"),
        (None, "None is not a duration"),
        (True, "True is not a duration"),
        ([5], "is not a duration"),
        (math.nan, "is not a duration"),
        (-1, "cannot be negative"),
        (timedelta(seconds=-1), "cannot be negative"),
        ("367d", "366 days"),
        (math.inf, "366 days"),
        pytest.param(10**5000, "366 days", id="huge number"),
    ],
)
def test_what_is_no_duration(value: Any, reason: str) -> None:
    """Anything else is refused, with a text of bounded length that says why."""
    with pytest.raises(ValueError, match=reason) as caught:
        parse_duration_ms(value)
    assert len(str(caught.value)) < 200
