"""The ports of a durable backend, together, as a worker or a client opens them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple

from flowcraft.ports.blobs import BlobStore
from flowcraft.ports.coordination import CoordinationStore
from flowcraft.ports.objects import NoObjects, ObjectStore
from flowcraft.ports.queue import Queue
from flowcraft.ports.runs import RunStore


class Ports(NamedTuple):
    """What a worker or a client of a durable backend opens: a queue and its stores."""

    queue: Queue
    runs: RunStore
    blobs: BlobStore
    coordination: CoordinationStore
    objects: ObjectStore = NoObjects()


OpenPorts = Callable[[], AbstractAsyncContextManager[Ports]]
"""Opens queue and stores, for the event loop of the thread that calls it."""
