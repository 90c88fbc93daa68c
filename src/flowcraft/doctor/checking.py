"""Carrying out checks beside each other: one that cannot be done keeps no other from being done."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from flowcraft.doctor.findings import Finding, Severity
from flowcraft.errors import FlowcraftError

CHECK_SECONDS: Final = 30.0
"""How long one check may take; a network that swallows requests must not hold up the others."""


class Unchecked(Exception):
    """A check could not be done.

    Args:
        reason: Why not, as a sentence.
        cure: What helps.
        severity: How bad that is: a note where it says nothing of the fleet itself.
    """

    def __init__(self, reason: str, cure: str, severity: Severity = Severity.NOTE) -> None:
        super().__init__(reason)
        self.reason = reason
        self.cure = cure
        self.severity = severity


@dataclass(frozen=True, slots=True)
class Check:
    """One check.

    Attributes:
        name: Its name, which findings about it begin with.
        where: The resource.
        look: Looks, and gives what it found.
        seconds: How long it may take.
    """

    name: str
    where: str
    look: Callable[[], Awaitable[Iterable[Finding]]]
    seconds: float = CHECK_SECONDS


async def carry_out(checks: Sequence[Check]) -> tuple[Finding, ...]:
    """Carry out checks beside each other; gives what they found, in their order."""
    found = await asyncio.gather(*map(_one, checks))
    return tuple(finding for findings in found for finding in findings)


async def _one(check: Check) -> list[Finding]:
    try:
        async with asyncio.timeout(check.seconds):
            return list(await check.look())
    except Unchecked as reason:
        severity, text, cure = reason.severity, reason.reason, reason.cure
    except TimeoutError:
        severity, text = Severity.ERROR, f"It was not done within {check.seconds:g} s."
        cure = "Look at network, endpoint and proxy, and try again."
    except FlowcraftError as error:
        # These say themselves what helps.
        severity, text, cure = Severity.ERROR, str(error), ""
    except Exception as error:
        severity, text = Severity.ERROR, f"The check broke off: {type(error).__name__}: {error}"
        cure = "This is a bug of the check: please report it. The others were carried out."
    return [Finding(check.name, severity, text, check.where, cure)]
