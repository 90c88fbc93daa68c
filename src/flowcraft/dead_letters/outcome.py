"""What a look at dead letters has found, and what became of those that were dealt with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from flowcraft.dead_letters.letter import Cause, Letter
from flowcraft.errors import StorageError
from flowcraft.ports.letters import BoxFacts, Refusal, Settled


@dataclass(frozen=True, slots=True)
class Listing:
    """Letters that were looked at.

    Attributes:
        box: What was known of the box before.
        letters: The letters, by cause and then by the time that they were sent.
        seen: How many were looked at, those included that were not asked for.
        is_cut: Whether there may be more: the limit was reached.
        trouble: Why runs could not be looked at, where that is so.
    """

    box: BoxFacts
    letters: tuple[Letter, ...]
    seen: int
    is_cut: bool = False
    trouble: str | None = None

    @property
    def groups(self) -> Mapping[Cause, tuple[Letter, ...]]:
        """The letters by cause, the most frequent first."""
        counts = Counter(letter.cause for letter in self.letters)
        return {
            cause: tuple(letter for letter in self.letters if letter.cause is cause)
            for cause, _ in counts.most_common()
        }


@dataclass(slots=True)
class Outcome:
    """What became of letters that were to be sent back, or deleted.

    Attributes:
        done: How many are through.
        refused: Those that could not be sent back or deleted, with reasons.
        foreign: How many were left because they are of other queues.
        unknown: How many were left because nobody knows which queue they are of.
        missing: Ids that were given and not found.
        by: How it was done: letter by letter, by a task of SQS, or by a purge.
        error: Why it was given up before the end, where that is so.
        is_cut: Whether there may be more: the limit was reached.
        trouble: Why runs could not be looked at, where that is so.
    """

    done: int = 0
    refused: list[Refusal] = field(default_factory=list)
    foreign: int = 0
    unknown: int = 0
    missing: tuple[str, ...] = ()
    by: Literal["letters", "task", "purge"] = "letters"
    error: StorageError | None = None
    is_cut: bool = False
    trouble: str | None = None

    def add(self, settled: Settled) -> None:
        """Count what became of some letters."""
        self.done += len(settled.done)
        self.refused += settled.refused
        self.error = self.error or settled.error
