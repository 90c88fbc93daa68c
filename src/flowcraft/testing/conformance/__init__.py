"""The contract of the ports, as cases that every adapter has to pass.

Whoever writes an adapter says how to open an empty storage, and runs every case on it::

    import contextlib
    import pytest
    from flowcraft.testing.conformance import CASES, Ports, check

    @contextlib.asynccontextmanager
    async def open_storage(clock):
        storage = MyStorage(clock)

        async def connect():
            client = storage.client()
            return Ports(client.queue, client.runs, client.blobs, client.coordination)

        yield connect
        storage.close()

    @pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
    def test_contract(case):
        check(case, open_storage)

Each case starts with an empty storage and a :class:`VirtualClock`, which only the case moves:
no case sleeps. The storage must take the time from that clock, ``call_at`` included. A case that
fails raises an ``AssertionError``; its docstring says what was to be shown. Adapters of some
ports only run the cases of these, such as ``QUEUE_CASES``, and give ``Ports`` something else for
the rest.
"""

from flowcraft.ports.together import Ports
from flowcraft.testing.conformance.blobs import cases as _blob_cases
from flowcraft.testing.conformance.coordination import cases as _coordination_cases
from flowcraft.testing.conformance.ends import cases as _end_cases
from flowcraft.testing.conformance.leases import cases as _lease_cases
from flowcraft.testing.conformance.limits import cases as _limit_cases
from flowcraft.testing.conformance.listing import cases as _listing_cases
from flowcraft.testing.conformance.objects import cases as _object_cases
from flowcraft.testing.conformance.queue import cases as _queue_cases
from flowcraft.testing.conformance.records import cases as _record_cases
from flowcraft.testing.conformance.stage import (
    Case,
    Connect,
    OpenStorage,
    Stage,
    check,
)
from flowcraft.testing.conformance.suspects import cases as _suspect_cases
from flowcraft.testing.conformance.writing import cases as _writing_cases

QUEUE_CASES: tuple[Case, ...] = tuple(_queue_cases)
"""What a ``Queue`` does."""

RUN_CASES: tuple[Case, ...] = (
    *_record_cases,
    *_writing_cases,
    *_lease_cases,
    *_listing_cases,
    *_suspect_cases,
    *_end_cases,
)
"""What a ``RunStore`` does."""

BLOB_CASES: tuple[Case, ...] = tuple(_blob_cases)
"""What a ``BlobStore`` does."""

COORDINATION_CASES: tuple[Case, ...] = (*_coordination_cases, *_limit_cases)
"""What a ``CoordinationStore`` does, and limits do that are kept in it."""

OBJECT_CASES: tuple[Case, ...] = tuple(_object_cases)
"""What an ``ObjectStore`` does. They are apart: a backend need not have one."""

CASES: tuple[Case, ...] = (*QUEUE_CASES, *RUN_CASES, *BLOB_CASES, *COORDINATION_CASES)
"""All of the contract of what every backend has."""

__all__ = [
    "BLOB_CASES",
    "CASES",
    "COORDINATION_CASES",
    "OBJECT_CASES",
    "QUEUE_CASES",
    "RUN_CASES",
    "Case",
    "Connect",
    "OpenStorage",
    "Ports",
    "Stage",
    "check",
]
