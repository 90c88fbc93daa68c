"""Starting the contenders."""

from __future__ import annotations

from benchmarks.contenders import start_elsewhere, start_python
from benchmarks.durable.cases import DBOS, DBOS_WAL
from benchmarks.workers import Worker


def start(name: str) -> Worker:
    """The process of a contender.

    Raises:
        Unavailable: Something it needs is missing here; the message says what.
    """
    if name in (DBOS, DBOS_WAL):
        return start_elsewhere(name, "DBOS", "dbos", "benchmarks.durable.worker_dbos", name)
    return start_python(name, "benchmarks.durable.contender", name)
