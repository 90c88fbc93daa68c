"""Which letters somebody means: all, those of some causes or of a run, or some by their ids."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import ClassVar, Final

from flowcraft.dead_letters.letter import Cause, Letter
from flowcraft.errors import Disposition, FlowcraftError

SHORTEST_PREFIX: Final = 4
"""The fewest characters that the beginning of an id may have."""


class LetterNotFound(FlowcraftError):
    """There is no letter of this id, or it is hidden because somebody looks at it."""

    disposition: ClassVar[Disposition] = "drop"


@dataclass(frozen=True, slots=True)
class Selection:
    """Which letters somebody means; each part narrows it.

    Attributes:
        ids: Ids, or the beginnings of ids; none for any letter.
        causes: Causes; none for any.
        run_id: The run; ``None`` for any.
    """

    ids: frozenset[str] = field(default_factory=frozenset)
    causes: frozenset[Cause] = field(default_factory=frozenset)
    run_id: str | None = None

    @classmethod
    def of(
        cls,
        ids: Iterable[str] = (),
        causes: Iterable[Cause | str] = (),
        run_id: str | None = None,
    ) -> Selection:
        """A selection of plain values.

        Raises:
            ValueError: A cause is unknown, or an id is empty.
        """
        known = ", ".join(Cause)
        chosen = set()
        for cause in causes:
            try:
                chosen.add(Cause(cause))
            except ValueError:
                raise ValueError(f"There is no cause '{cause}'; there are {known}.") from None
        names = frozenset(ids)
        if "" in names:
            raise ValueError("The id of a letter is empty.")
        return cls(names, frozenset(chosen), run_id)

    @property
    def is_all(self) -> bool:
        """Whether every letter is meant."""
        return not (self.ids or self.causes or self.run_id is not None)

    def includes(self, letter: Letter) -> bool:
        """Whether a letter is one of those."""
        if self.ids and not any(_means(each, letter.id) for each in self.ids):
            return False
        if self.causes and letter.cause not in self.causes:
            return False
        return self.run_id is None or (letter.run is not None and letter.run.run_id == self.run_id)

    def has_found(self, found: Collection[str]) -> bool:
        """Whether nothing can be missing, or ambiguous, any more."""
        return bool(self.ids) and all(given in found for given in self.ids)

    def resolved(self, found: Collection[str]) -> tuple[frozenset[str], tuple[str, ...]]:
        """The ids that are meant of those found, and what means none of them.

        Raises:
            FlowcraftError: The beginning of an id is that of several letters.
        """
        meant: set[str] = set()
        missing: list[str] = []
        for given in sorted(self.ids):
            fitting = [given] if given in found else sorted(i for i in found if _means(given, i))
            if len(fitting) > 1:
                more = ", …" if len(fitting) > 5 else ""
                raise FlowcraftError(
                    f"'{given}' is the beginning of {len(fitting)} ids: "
                    f"{', '.join(fitting[:5])}{more}. Give more of the one that is meant."
                )
            meant.update(fitting)
            if not fitting:
                missing.append(given)
        return frozenset(meant), tuple(missing)


def _means(given: str, id_: str) -> bool:
    """Whether what somebody gave is an id, or the beginning of one of SQS."""
    if given == id_:
        return True
    return "-" in id_ and len(given) >= SHORTEST_PREFIX and id_.startswith(given)
