"""Kinds of arguments that several commands take."""

from __future__ import annotations

import math
from typing import Any

import click


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
