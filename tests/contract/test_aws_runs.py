"""The records of runs on DynamoDB keep the contract, on the fake and on emulators."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from itertools import count
from typing import Any

import pytest

from flowcraft.adapters.aws import folding, writing
from flowcraft.adapters.aws.blobs import DynamoDbBlobs
from flowcraft.adapters.aws.client import BotoTransport
from flowcraft.adapters.aws.coordination import DynamoDbCoordinationStore
from flowcraft.adapters.aws.folding import Fold
from flowcraft.adapters.aws.item import RunItem
from flowcraft.adapters.aws.records import Known
from flowcraft.adapters.aws.runs import DynamoDbRuns
from flowcraft.adapters.aws.transport import Transport
from flowcraft.adapters.memory import MemoryQueue, MemoryRuns
from flowcraft.ports.clock import Clock
from flowcraft.ports.runs import RunStore
from flowcraft.testing import VirtualClock
from flowcraft.testing.conformance import RUN_CASES, Case, Connect, Ports, check
from tests.contract.test_agreement import Chance, same
from tests.emulators.aws import AwsNames, client, create_table
from tests.unit.aws_tables import CONTEXTS, STATUSES, fake_tables
from tests.unit.runs import drive

_numbers = count(1)

REFUSED_BY_LOCAL = {
    "a_run_begins_with_one_fact": "a text of the age of DynamoDB Local may not be empty",
    "awaited_events_are_compared_as_they_are": "a text may not be empty there",
}


@pytest.mark.parametrize("case", RUN_CASES, ids=lambda case: case.__name__)
def test_the_contract_is_kept(case: Case) -> None:
    """Every case passes on the fake, whose reads are old unless they are consistent."""

    @asynccontextmanager
    async def open_storage(clock: VirtualClock) -> AsyncIterator[Connect]:
        fake = await fake_tables(clock)

        async def connect() -> Ports:
            return ports_of(fake, CONTEXTS, STATUSES, clock)

        yield connect

    check(case, open_storage)


def ports_of(transport: Transport, contexts: str, statuses: str, clock: Clock) -> Ports:
    """Ports with the runs of one client; the others take no part."""
    return Ports(
        MemoryQueue(clock),
        DynamoDbRuns(transport, contexts, statuses, clock),
        DynamoDbBlobs(transport, contexts),
        DynamoDbCoordinationStore(transport, "locks", clock),
    )


@pytest.fixture(scope="module")
def transports() -> Iterator[dict[str, Transport]]:
    """A transport for each endpoint."""
    clients: dict[str, Any] = {}

    class Transports(dict[str, Transport]):
        def __missing__(self, endpoint: str) -> Transport:
            clients[endpoint] = client("dynamodb", endpoint)
            self[endpoint] = BotoTransport(clients[endpoint], 16)
            return self[endpoint]

    yield Transports()
    for each in clients.values():
        each.close()


@contextmanager
def fresh_tables(endpoint: str) -> Iterator[AwsNames]:
    """Two tables of one's own on an emulator."""
    names = AwsNames.numbered(10_000 + next(_numbers))
    dynamodb = client("dynamodb", endpoint)
    tables = (names.contexts, names.statuses)
    for table in tables:
        create_table(dynamodb, table, "runId", expires=False)  # cases have a time of their own
    try:
        yield names
    finally:
        for table in tables:
            dynamodb.delete_table(TableName=table)
        dynamodb.close()


@pytest.mark.parametrize("emulator", ["ministack", "dynamodb_local"])
@pytest.mark.parametrize("case", RUN_CASES, ids=lambda case: case.__name__)
def test_the_contract_is_kept_on_emulators(
    case: Case, emulator: str, transports: dict[str, Transport], request: pytest.FixtureRequest
) -> None:
    """Every case passes on ministack and on AWS's own DynamoDB Local."""
    endpoint = request.getfixturevalue(emulator)
    if emulator == "dynamodb_local" and case.__name__ in REFUSED_BY_LOCAL:
        pytest.skip(REFUSED_BY_LOCAL[case.__name__])

    @asynccontextmanager
    async def open_storage(clock: VirtualClock) -> AsyncIterator[Connect]:
        with fresh_tables(endpoint) as names:

            async def connect() -> Ports:
                transport = transports[endpoint]
                return ports_of(transport, names.contexts, names.statuses, clock)

            yield connect

    check(case, open_storage)


def told(answer: Any) -> Any:
    """An answer without what need not be remembered of an attempt that is over."""
    if hasattr(answer, "verdict") and answer.lease is not None and answer.lease.over:
        answer = replace(answer, lease=replace(answer.lease, token="", thread="", expires_at=0.0))
    return same(answer)


def fold_much(item: RunItem, *more: Any, **options: Any) -> Fold | None:
    """Settle facts soon, and take them out of the item; nothing that is over is forgotten.

    The calls are drawn by lot: they claim what is over, and lag a few facts behind, as the engine
    never does.
    """
    kept = replace(item, tail=item.tail[:-4])
    found = folding.fold(kept, *more, **options)
    return None if found is None else found._replace(over=())


@pytest.mark.parametrize("seed", range(6))
def test_the_fake_answers_as_memory_does(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of calls drawn by lot are answered alike, with facts settled and in segments."""
    monkeypatch.setattr(folding, "SETTLE_FACTS", 2)
    monkeypatch.setattr(folding, "GROWTH_BYTES", 5_000)
    monkeypatch.setattr(folding, "SEGMENT_SHARE", 1_000)
    monkeypatch.setattr(writing, "fold", fold_much)
    monkeypatch.setattr(writing, "HEARTBEAT_SECONDS", 1e9)
    # A claim that is made apart is not granted at once, whatever memory says.
    monkeypatch.setattr(Known, "may_claim_along", lambda known: True)
    clock = VirtualClock()

    async def work() -> tuple[set[str], int]:
        fake = await fake_tables(clock)
        stores = (MemoryRuns(clock), DynamoDbRuns(fake, CONTEXTS, STATUSES, clock))
        verdicts = await ask_both(stores, clock, seed)
        return verdicts, max(int(item.get("g", {"N": "0"})["N"]) for item in fake.items(CONTEXTS))

    verdicts, segments = drive(work())
    assert verdicts == {"done", "gone", "lost", "stale", "known"}
    assert segments > 0


async def ask_both(stores: tuple[RunStore, RunStore], clock: VirtualClock, seed: int) -> set[str]:
    """Ask both stores the same; the verdicts that came up."""
    chance, verdicts = Chance(seed), set()
    for step in range(900):
        call = chance.runs_call()
        answers = [told(await call(store)) for store in stores]
        assert answers[0] == answers[1], f"step {step} of seed {seed}"
        if isinstance(answers[0], tuple) and isinstance(answers[0][0], str):
            verdicts.add(answers[0][0])
        clock.advance(chance.number(4))
    return verdicts
