"""A worker process of a campaign, and the resources that all of them share.

Importing this module makes a client of each service: the process that workers are forked from has
then read what takes a second to read.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

from flowcraft.aws import DynamoDbCoordinationStore, SqsAdapter
from flowcraft.client import FlowClient
from flowcraft.engine.client import FlowClient as AnyClient
from flowcraft.errors import StorageError
from tests.acceptance.chaos import flows
from tests.acceptance.chaos.ledger import Books, Ledger
from tests.emulators.aws import AwsNames, client

READ_SECONDS: Final = 2.0
"""How long clients wait for an answer: longer than a long poll, and shorter than a lease, so that
an answer which never comes costs nobody a lease."""

SHARD_ITEMS: Final = 4
"""Longer batches are cut into records of their own."""

CONCURRENCY: Final = 5
"""Each kill costs as many attempts, and a node that loses three is given up."""

UNEXPECTED: Final = "UNEXPECTED"
"""The level of what a worker logs about an error that is no trouble with queue or tables."""


@dataclass(frozen=True, slots=True)
class Times:
    """How long things take, in seconds; short, so that much can go wrong in little time.

    Attributes:
        lease: Of a lease, and how long a message is hidden; whole seconds.
        poll: Of a long poll.
        reconcile: From one look for stuck runs to the next.
        stalled: How long nothing happens in a run that counts as stuck.
    """

    lease: int = 3
    poll: int = 1
    reconcile: float = 3.0
    stalled: float = 8.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where a campaign takes place.

    Attributes:
        endpoint: Of the services: that of the proxy, or of the emulator itself.
        queue_url: The queue of jobs.
        dead_url: The queue of dead letters.
        names: Of the tables.
        directory: For ledgers and logs.
        seed: The seed of the campaign.
        times: How long things take.
    """

    endpoint: str
    queue_url: str
    dead_url: str
    names: AwsNames
    directory: Path
    seed: int
    times: Times = Times()


def resources(place: Place, attempts: int = 1) -> dict[str, Any]:
    """Clients and names, as adapters and clients take them.

    Args:
        place: Where that is.
        attempts: How often boto3 tries a request before it says that it failed.
    """
    settings: dict[str, Any] = {
        "read_timeout": READ_SECONDS,
        "retries": {"mode": "standard", "total_max_attempts": attempts},
    }
    dynamodb = client("dynamodb", place.endpoint, **settings)
    return {
        "sqs_client": client("sqs", place.endpoint, **settings),
        "dynamodb_client": dynamodb,
        "queue_url": place.queue_url,
        "context_table_name": place.names.contexts,
        "status_table_name": place.names.statuses,
        "coordination_store": DynamoDbCoordinationStore(dynamodb, place.names.coordination),
    }


def client_of(place: Place, attempts: int = 1) -> AnyClient:
    """A client of the runs, which runs no node."""
    options = flows.runtime().options
    return FlowClient.aws(options, shard_items=SHARD_ITEMS, **resources(place, attempts))


def work(place: Place, number: int) -> None:
    """Be a worker process, until SIGTERM.

    Args:
        place: Where that is.
        number: Which worker this is, from 0. Every other one leaves no retries to boto3.
    """
    _end_with_the_parent()
    note = Ledger(place.directory, number)
    note.watch()
    _log(place.directory, note)
    books = Books(note, Random(f"bodies {place.seed} {number}"))
    times = place.times
    adapter = SqsAdapter(
        flows.runtime(books).options,
        concurrency=CONCURRENCY,
        shard_items=SHARD_ITEMS,
        lease_seconds=float(times.lease),
        poll_seconds=times.poll,
        reconcile_every_seconds=times.reconcile,
        stalled_threshold_seconds=times.stalled,
        drain_timeout_seconds=10.0,
        **resources(place, attempts=1 if number % 2 else 3),
    )
    adapter.run()


def _end_with_the_parent() -> None:
    parent = multiprocessing.parent_process()

    def wait() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


class _IntoLedger(logging.Handler):
    """Notes what the engine has logged, for those who ask what a process has said of a run."""

    def __init__(self, note: Ledger) -> None:
        super().__init__(logging.WARNING)
        self._note = note

    def emit(self, record: logging.LogRecord) -> None:
        """Note a record; see ``logging.Handler``."""
        error = record.exc_info[1] if record.exc_info else None
        is_expected = error is None or isinstance(error, StorageError)
        level = record.levelname if is_expected else UNEXPECTED
        self._note("log", level, record.getMessage(), repr(error or ""))


def _log(directory: Path, note: Ledger) -> None:
    logging.basicConfig(
        filename=directory / "workers.log",
        level=logging.WARNING,
        format="%(asctime)s %(process)d %(levelname)s %(name)s %(message)s",
        force=True,
    )
    for name in ("flowcraft", "asyncio"):
        logging.getLogger(name).addHandler(_IntoLedger(note))


def _warm() -> None:
    """Read the descriptions of the services; nothing is sent."""
    for service in ("sqs", "dynamodb"):
        client(service, "http://127.0.0.1:1").close()


_warm()
