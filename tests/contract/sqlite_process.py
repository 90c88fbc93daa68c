"""A process of its own beside a test: ``python -m tests.contract.sqlite_process WHAT FILE``."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable

from flowcraft.adapters.sqlite import Database, SqliteQueue, SqliteRuns
from flowcraft.adapters.system import SystemClock
from flowcraft.errors import StorageError
from flowcraft.testing.conformance.helpers import claim, done, holding, write
from flowcraft.testing.conformance.writing import write_many

NOBODY = 65_534
"""A user without rights, where the tests run as one whom no permission holds back."""


def share(path: str) -> None:
    """Write facts, compete for places, and receive messages; print what was got of them."""

    async def work(runs: SqliteRuns, queue: SqliteQueue) -> tuple[int, list[str]]:
        await write_many(runs, f"{os.getpid()}-")
        places = [await take(runs, f"place {number}") for number in range(50)]
        bodies: list[str] = []
        while received := await queue.receive(2, 0):
            await queue.delete([delivery.handle for delivery in received])
            bodies += [delivery.body for delivery in received]
        return sum(places), bodies

    with Database(path, SystemClock()) as database:
        places, bodies = asyncio.run(work(SqliteRuns(database), SqliteQueue(database)))
    print(places, *bodies)


async def take(runs: SqliteRuns, place: str) -> bool:
    """Claim a place and, if it is granted, say so in the log; whether it was."""
    token = str(os.getpid())
    if not (await write(runs, 0, claim=claim(token, place))).granted:
        return False
    await done(runs, 0, f"took {place}", holding=holding(token, place))
    return True


def hang(path: str) -> None:
    """Stop in the middle of a transaction, and wait to be killed."""
    database = Database(path, SystemClock())
    with database.transaction as execute:
        execute("INSERT INTO blobs (key, data) VALUES ('torn', 'text')")
        execute("UPDATE messages SET receives = 7")
        print("ready", flush=True)
        sys.stdin.read()


def complain(path: str) -> None:
    """Print the error that opening the file gives to somebody without rights."""
    if os.geteuid() == 0:
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    try:
        Database(path, SystemClock()).close()
    except StorageError as error:
        print(f"{type(error).__name__}: {error}")


ACTIONS: dict[str, Callable[[str], None]] = {
    action.__name__: action for action in (share, hang, complain)
}

if __name__ == "__main__":
    ACTIONS[sys.argv[1]](sys.argv[2])
