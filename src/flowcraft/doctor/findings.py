"""What a look found: each finding with where it is and what helps."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final


class Severity(StrEnum):
    """How bad it is."""

    OK = "ok"  # it is as it should be
    NOTE = "note"  # worth knowing, or it could not be looked at
    WARNING = "warning"  # it works, and will not always
    ERROR = "error"  # it does not work, or loses something

    @property
    def rank(self) -> int:
        """The worse, the higher."""
        return _RANKS[self]


_RANKS: Final = {each: rank for rank, each in enumerate(Severity)}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        check: What was looked at, such as ``queue.redrive``; it stays the same from release to
            release, for programs.
        severity: How bad it is.
        found: What was found, as a sentence.
        where: The resource.
        cure: What helps; empty where nothing is wrong.
    """

    check: str
    severity: Severity
    found: str
    where: str = ""
    cure: str = ""

    @property
    def is_trouble(self) -> bool:
        """Whether somebody should do something."""
        return self.severity.rank >= Severity.WARNING.rank


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All that a look found, in the order in which it was looked at.

    Attributes:
        at: When the look began.
        backend: ``aws`` or ``sqlite``.
        findings: What was found.
    """

    at: datetime
    backend: str
    findings: tuple[Finding, ...]

    @property
    def worst(self) -> Severity:
        """The severity of the worst finding."""
        severities = (each.severity for each in self.findings)
        return max(severities, key=lambda each: each.rank, default=Severity.OK)

    def exit_code(self, *, strict: bool = False) -> int:
        """0, or 1 if there are errors.

        Args:
            strict: Whether warnings count like errors.
        """
        least = Severity.WARNING if strict else Severity.ERROR
        return int(self.worst.rank >= least.rank)

    def count(self, severity: Severity) -> int:
        """How many findings are of a severity."""
        return sum(each.severity is severity for each in self.findings)

    def to_data(self) -> dict[str, Any]:
        """The same as JSON data."""
        return {
            "at": self.at.isoformat(),
            "backend": self.backend,
            "worst": str(self.worst),
            "counts": {str(each): self.count(each) for each in Severity},
            "findings": [asdict(each) | {"severity": str(each.severity)} for each in self.findings],
        }


def ok(check: str, found: str, where: str = "") -> Finding:
    """It is as it should be."""
    return Finding(check, Severity.OK, found, where)


def note(check: str, found: str, where: str = "", cure: str = "") -> Finding:
    """It is worth knowing."""
    return Finding(check, Severity.NOTE, found, where, cure)


def warning(check: str, found: str, where: str, cure: str) -> Finding:
    """It works, and will not always."""
    return Finding(check, Severity.WARNING, found, where, cure)


def error(check: str, found: str, where: str, cure: str) -> Finding:
    """It does not work, or loses something."""
    return Finding(check, Severity.ERROR, found, where, cure)
