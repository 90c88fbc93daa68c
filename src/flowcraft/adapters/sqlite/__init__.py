"""The ports in one SQLite file, for one machine: several processes and threads may share it.

Each process, and each event loop, opens the file for itself::

    with Database("runs.db", clock) as database:
        queue, runs = SqliteQueue(database), SqliteRuns(database)
        blobs, coordination = SqliteBlobs(database), SqliteCoordination(database)
"""

from flowcraft.adapters.sqlite.blobs import SqliteBlobs
from flowcraft.adapters.sqlite.connection import Database, Durability
from flowcraft.adapters.sqlite.coordination import SqliteCoordination
from flowcraft.adapters.sqlite.queue import SqliteQueue
from flowcraft.adapters.sqlite.runs import SqliteRuns

__all__ = [
    "Database",
    "Durability",
    "SqliteBlobs",
    "SqliteCoordination",
    "SqliteQueue",
    "SqliteRuns",
]
