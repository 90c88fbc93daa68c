"""The clock of this machine against that of AWS."""

from __future__ import annotations

from typing import Final

from flowcraft.doctor.findings import Finding, error, note, ok, warning
from flowcraft.doctor.services import Services
from flowcraft.doctor.texts import span

NAME: Final = "clock"
WHERE: Final = "this machine"

TOLD_SECONDS: Final = 5.0
WRONG_SECONDS: Final = 60.0
REFUSED_SECONDS: Final = 240.0
"""AWS refuses requests that are dated more than five minutes off, S3 fifteen:
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html."""

_CURE: Final = "Set it by the network time protocol (chrony, systemd-timesyncd, w32time)."


def look_at_clock(services: Services) -> list[Finding]:
    """What the answers so far say about this machine's clock.

    Args:
        services: Whom was asked.
    """
    if not services.dates:
        return [note(NAME, "No answer had a date, so the clock could not be compared.", WHERE)]
    offset = services.time.offset_seconds
    direction = "behind" if offset > 0 else "ahead of"
    text = f"Its clock is {span(abs(offset))} {direction} AWS"
    if abs(offset) >= REFUSED_SECONDS:
        return [error(NAME, f"{text}: AWS refuses requests of such a date.", WHERE, _CURE)]
    if abs(offset) >= WRONG_SECONDS:
        return [warning(NAME, f"{text}. Workers go by AWS's time, but not all do.", WHERE, _CURE)]
    if abs(offset) >= TOLD_SECONDS:
        return [note(NAME, f"{text}; workers go by AWS's time.", WHERE, _CURE)]
    return [ok(NAME, "Its clock agrees with AWS, to a few seconds.", WHERE)]
