"""What an import could not take over as it was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FindingKind = Literal["lost", "changed", "stub"]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something of a definition that did not become exactly what it was.

    Attributes:
        place: Where it stands in the definition, such as ``States.Charge.Retry[1]``.
        message: What it is, and what became of it.
        advice: What to do.
        kind: ``lost`` if it was left out, ``changed`` if it does something a little else,
            ``stub`` if code has to be written for it.
    """

    place: str
    message: str
    advice: str
    kind: FindingKind = "lost"

    def __str__(self) -> str:
        return f"{self.place}: {self.message} {self.advice}"

    def to_dict(self) -> dict[str, str]:
        """The finding in JSON terms."""
        return {
            "place": self.place,
            "kind": self.kind,
            "message": self.message,
            "advice": self.advice,
        }
