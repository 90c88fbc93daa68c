"""Kinds of arguments that several commands take."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

import click


def moment(value: Any) -> datetime:
    """A time in ISO 8601: of this machine's zone unless it names another; a day is its midnight.

    Raises:
        click.BadParameter: It is none.
    """
    if isinstance(value, datetime):
        return value
    try:
        return datetime.fromisoformat(value).astimezone()
    except (ValueError, OverflowError, OSError):
        raise click.BadParameter(
            f"'{value}' is no time such as 2026-03-01 or 2026-03-01T12:30."
        ) from None


def seconds(value: Any) -> float:
    """A number of seconds: larger than 0, and not for ever.

    Raises:
        click.BadParameter: It is none.
    """
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise click.BadParameter(f"'{value}' is no number of seconds larger than 0.")
    return number
