"""What is measured, and who takes part in it."""

from __future__ import annotations

from typing import Final

from benchmarks.cases import Case

BARE_NORMAL: Final = "bare-normal"
BARE_FULL: Final = "bare-full"
NORMAL: Final = "normal"
FULL: Final = "full"
MEMORY: Final = "memory"
DBOS: Final = "dbos"
DBOS_WAL: Final = "dbos-wal"

TITLES: Final = {
    BARE_NORMAL: "bare, normal",
    BARE_FULL: "bare, full",
    NORMAL: "SQLite, normal",
    FULL: "SQLite, full",
    MEMORY: "memory",
    DBOS: "DBOS",
    DBOS_WAL: "DBOS, normal",
}
ALL: Final = tuple(TITLES)
OURS: Final = (BARE_NORMAL, BARE_FULL, NORMAL, FULL, MEMORY)

# Ours, theirs, and whether both promise the same of what was written.
PAIRS: Final = (
    (FULL, DBOS, "both outlive a loss of power"),
    (NORMAL, DBOS_WAL, "both outlive their process"),
    (NORMAL, DBOS, "both as they come; not the same promise"),
)

PARTS: Final = ("rates", "hops", "processes", "batches")
BATCHES: Final = (1_000, 100_000)
QUICK_BATCHES: Final = (1_000, 10_000)
TOGETHER: Final = 10
"""How many runs of 100 nodes each are under way at once in a case that is named so."""


def rate_cases() -> list[Case]:
    """The runs within one process; DBOS takes part in the chains of 100, which take it long."""
    return [
        Case("chain", 100, ALL),
        Case("chains", 1_000, ALL, "10 chains of 100"),
        Case("chain", 1_000, OURS),
        Case("fans", 1_000, OURS, "10 fans of 100"),
        Case("batch", 5_000, OURS, "batch of 5,000 items"),
    ]
