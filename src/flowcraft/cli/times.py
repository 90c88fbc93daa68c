"""Times as people read and write them: how long ago, how long, in their own zone."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from flowcraft.cli.failures import CommandError
from flowcraft.core.durations import parse_duration_ms

_STEPS: Final = (
    (60.0, 1.0, "s"),
    (3_600.0, 60.0, "min"),
    (86_400.0, 3_600.0, "h"),
    (float("inf"), 86_400.0, "d"),
)


def span(seconds: float | None) -> str:
    """A length of time in at most two units: ``0.34 s``, ``12 s``, ``3 min 5 s``, ``2 d 4 h``."""
    if seconds is None:
        return ""
    if seconds < 0:
        return f"-{span(-seconds)}"
    if seconds < 0.0995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3_600:
        return _two(whole, 60, "min", "s")
    if whole < 86_400:
        return _two(whole // 60, 60, "h", "min")
    return _two(whole // 3_600, 24, "d", "h")


def _two(amount: int, size: int, large: str, small: str) -> str:
    many, rest = divmod(amount, size)
    return f"{many} {large} {rest} {small}" if rest else f"{many} {large}"


def about(seconds: float) -> str:
    """A length of time in one unit: ``12 s``, ``3 min``, ``2 h``, ``4 d``."""
    for bound, unit, name in _STEPS:
        if seconds < bound:
            return f"{int(seconds / unit)} {name}"
    raise AssertionError("unreachable: the last bound is infinite")


def relative(moment: datetime | None, now: float) -> str:
    """How long ago a time was, or how far it is ahead: ``3 min ago``, ``in 2 h``."""
    if moment is None:
        return ""
    seconds = now - moment.timestamp()
    if abs(seconds) < 1:
        return "now"
    return f"{about(seconds)} ago" if seconds > 0 else f"in {about(-seconds)}"


def local(moment: datetime | None, now: float | None = None) -> str:
    """A time in the zone of this machine, with the zone's name.

    Args:
        moment: The time.
        now: Leaves out the date where it is the same day as this.
    """
    if moment is None:
        return ""
    here = moment.astimezone()
    if now is not None and here.date() == datetime.fromtimestamp(now).astimezone().date():
        return f"{here:%H:%M:%S} {here:%Z}"
    return f"{here:%Y-%m-%d %H:%M:%S} {here:%Z}"


def both(moment: datetime | None, now: float) -> str:
    """A time, and how far it is away: ``14:02:11 CEST (3 min ago)``."""
    return "" if moment is None else f"{local(moment, now)} ({relative(moment, now)})"


def moment_of(text: str | None, now: float, flag: str) -> datetime | None:
    """The time that a flag says.

    Args:
        text: How long ago, such as ``2h``, or a time in ISO 8601: of this machine's zone unless
            it names another.
        now: The time, in seconds since the epoch.
        flag: The flag, for the error.

    Raises:
        CommandError: It is neither.
    """
    if text is None:
        return None
    try:
        seconds = parse_duration_ms(text) / 1000
        return datetime.fromtimestamp(now).astimezone() - timedelta(seconds=seconds)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError, OSError) as error:
        raise CommandError(
            f"{flag} takes how long ago (30m, 2h, 7d) or a time such as 2026-03-01 or "
            f"2026-03-01T12:30, not '{text}'."
        ) from error
