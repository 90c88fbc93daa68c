"""Dead letters: jobs that were delivered in vain, seen as what is wrong with runs.

A job that no worker can read, or that workers die over, is delivered again and again. SQS moves
it to a dead-letter queue after so many receives; SQLite has none, and it stays where it is::

    async with open_dead_letters(client) as letters:
        for cause, group in (await letters.look()).groups.items():
            print(cause, len(group), MEANINGS[cause])
        await letters.redrive(Selection.of(causes=["implementation-missing"]))
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from flowcraft.adapters.aws.dead_letters import SqsDeadLetters
from flowcraft.adapters.aws.large_messages import LargeMessages
from flowcraft.adapters.aws.moving import MoveTasks
from flowcraft.adapters.aws.queue import SqsQueue
from flowcraft.adapters.sqlite.letters import SqliteLetters
from flowcraft.adapters.sqlite.queue import SqliteQueue
from flowcraft.dead_letters.letter import MEANINGS, READABLE, Cause, Letter, LetterRun, Standing
from flowcraft.dead_letters.office import DEFAULT_LIMIT, MOST, DeadLetters, Tell
from flowcraft.dead_letters.outcome import Listing, Outcome
from flowcraft.dead_letters.selection import LetterNotFound, Selection
from flowcraft.engine.client import FlowClient
from flowcraft.engine.station import Station
from flowcraft.errors import StorageUnavailable
from flowcraft.ports.letters import BoxFacts, Refusal
from flowcraft.ports.together import Ports

__all__ = [
    "DEFAULT_LIMIT",
    "MEANINGS",
    "MOST",
    "OFTEN",
    "BoxFacts",
    "Cause",
    "DeadLetters",
    "Letter",
    "LetterNotFound",
    "LetterRun",
    "Listing",
    "Outcome",
    "Refusal",
    "Selection",
    "Standing",
    "Tell",
    "open_dead_letters",
]

OFTEN: Final = 10
"""A message in SQLite that was received so often, and is still there, is a dead letter.

A healthy one is received once, and once more for each worker that dies over it.
"""


@asynccontextmanager
async def open_dead_letters(client: FlowClient) -> AsyncIterator[DeadLetters]:
    """The dead letters of the queue that a client, or an adapter, sends to.

    Args:
        client: Whose queue and stores; it need not have been used before, and stays open.

    Raises:
        StorageUnavailable: The queue has no dead-letter queue, or that cannot be used.
        StorageError: Queue or stores cannot be used.
    """
    async with client._open_ports() as ports:

        def new_station() -> Station:
            return Station(
                ports, client._options, client._clock, client._identifiers, codec=client._codec
            )

        yield await _office(ports, client, new_station)


async def _office(
    ports: Ports, client: FlowClient, new_station: Callable[[], Station]
) -> DeadLetters:
    queue = ports.queue
    if isinstance(queue, SqliteQueue):
        return DeadLetters(SqliteLetters(queue.database), new_station, is_letter=_is_in_vain)
    large = queue if isinstance(queue, LargeMessages) else None
    queue = queue if large is None else large.behind
    if not isinstance(queue, SqsQueue):
        raise StorageUnavailable(
            "Dead letters are kept by a queue on SQS or in SQLite, not by one in memory: there a "
            "message that cannot be read is gone with its process."
        )
    box = SqsDeadLetters(queue, client._clock, None if large is None else large.renew)
    await box.open()
    mover = MoveTasks(queue.transport, box.arn, client._clock)
    return DeadLetters(box, new_station, mover=mover)


def _is_in_vain(letter: Letter) -> bool:
    """Whether a message that is still on its queue is delivered in vain."""
    return letter.cause not in READABLE or letter.receives >= OFTEN
