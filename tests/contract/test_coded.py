"""Ports behind a codec keep the contract, and nothing of a payload reaches what is behind them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from flowcraft.adapters.memory import MemoryBlobs, MemoryCoordination, MemoryQueue, MemoryRuns
from flowcraft.engine.coding import coded
from flowcraft.engine.encoded import MARK
from flowcraft.errors import StorageError
from flowcraft.ports.queue import Outgoing
from flowcraft.ports.runs import Change, Written
from flowcraft.testing import VirtualClock
from flowcraft.testing.conformance import CASES, Case, Connect, Ports, check
from flowcraft.testing.conformance.helpers import claim, create, data_of, done, log, write
from tests.unit.codecs import ToyCodec
from tests.unit.runs import drive


def memory_ports(clock: VirtualClock) -> Ports:
    """Ports in memory."""
    return Ports(MemoryQueue(clock), MemoryRuns(clock), MemoryBlobs(), MemoryCoordination(clock))


@asynccontextmanager
async def open_storage(clock: VirtualClock) -> AsyncIterator[Connect]:
    """Each client has a codec of its own, with the same key."""
    ports = memory_ports(clock)

    async def connect() -> Ports:
        return coded(ports, ToyCodec())

    yield connect


ASKED_AGAIN = {
    "a_takeover_may_be_repeated",
    "a_commit_with_a_claim_may_be_repeated",
    "an_exact_write_with_a_claim_may_be_repeated",
    "an_entry_with_an_id_and_a_claim_may_be_repeated",
    "what_is_repeated_late_is_granted_nothing",
}
"""Cases that write the same again after an answer: what was sent is kept while there is none."""


@pytest.mark.parametrize(
    "case",
    [case for case in CASES if case.__name__ not in ASKED_AGAIN],
    ids=lambda case: case.__name__,
)
def test_the_contract_is_kept(case: Case) -> None:
    """Every case of the contract passes behind a codec."""
    check(case, open_storage)


class Unanswered(MemoryRuns):
    """What the next write comes to is not heard."""

    lose = False

    async def write(self, change: Change) -> Written:
        written = await super().write(change)
        if self.lose:
            self.lose = False
            raise StorageError("no answer")
        return written


def test_a_write_whose_answer_was_lost_is_done_behind_a_codec() -> None:
    """Asked again it is sent as it was, though the codec would give something else by now."""
    clock = VirtualClock()
    bare = Unanswered(clock)
    runs = coded(memory_ports(clock)._replace(runs=bare), ToyCodec()).runs

    async def work() -> None:
        await create(runs)
        bare.lose = True
        with pytest.raises(StorageError):
            await write(runs, 1, "a", exact=True, claim=claim())
        written = await done(runs, 1, "a", exact=True, claim=claim())
        assert (written.first, written.granted, data_of(written.facts)) == (1, True, ["a"])
        assert await log(runs) == ["begin", "a"]

    drive(work())


def test_facts_and_texts_are_stored_encoded() -> None:
    """What is behind the codec has marked texts only."""
    bare = memory_ports(VirtualClock())
    ports = coded(bare, ToyCodec())

    async def work() -> None:
        await create(ports.runs)
        await done(ports.runs, 1, "secret")
        await ports.blobs.put("key", "secret")
        record = await bare.runs.read("run")
        assert record is not None
        texts = [fact.data for fact in record.facts] + [await bare.blobs.get("key") or ""]
        assert len(texts) == 3
        assert all(text.startswith(MARK) and "secret" not in text for text in texts)

    drive(work())


def test_what_a_message_brings_is_encoded_and_the_rest_is_readable() -> None:
    """Of a message only the event is turned; what is no message of ours is passed on untouched."""
    bare = memory_ports(VirtualClock())
    ports = coded(bare, ToyCodec())
    others = ['no JSON: "event"', '["event"]', '{"event": 7}', '{"v":1,"runId":"r"}', ""]

    async def work() -> None:
        bodies = ['{"runId":"r","event":"secret ä"}', *others]
        await ports.queue.send([Outgoing(body) for body in bodies])
        stored = [message.body for message in bare.queue._messages.values()]  # type: ignore[attr-defined]
        assert stored[0].startswith('{"runId":"r","event":"encoded:')
        assert stored[1:] == others
        received = await ports.queue.receive(10, 0)
        assert [delivery.body for delivery in received] == bodies
        assert [delivery.problem for delivery in received] == [None] * len(bodies)

    drive(work())


def test_what_was_just_written_is_not_decoded_again() -> None:
    """The answer to a write holds what was written, which the writer knows."""
    codec = ToyCodec()
    ports = coded(memory_ports(VirtualClock()), codec)

    async def work() -> None:
        await create(ports.runs)
        for number in range(10):
            written = await done(ports.runs, 1 + number, str(number))
            assert [fact.data for fact in written.facts] == [str(number)]

    drive(work())
    assert (codec.encoded, codec.decoded) == (11, 0)
