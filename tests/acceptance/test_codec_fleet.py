"""A fleet with a codec: nothing of a payload can be read anywhere, keys change, trouble passes."""

from __future__ import annotations

import asyncio
import base64
import logging
import re
import threading
import zlib
from typing import Any

import pytest

from flowcraft import NodeContext, RetryPolicy, create_flow
from flowcraft.codecs import AesGcmCodec, ChainedCodec, CompressionCodec
from flowcraft.errors import CodecError, StorageBusy
from tests.unit.aws_fleet import BUCKET, FakeFleet, until
from tests.unit.aws_tables import incompressible
from tests.unit.runs import drive

Ctx = NodeContext[Any]
SECRET = "swordfish"
OLD, NEW = bytes(range(32)), bytes(range(32, 64))
PADDING = incompressible(40_000)
LARGE = f"{SECRET} {PADDING}"
HUGE = f"{SECRET} {incompressible(500_000, seed=3)}"


def flows() -> tuple[Any, Any]:
    """A secret in every place where a payload can be."""

    async def keep(ctx: Ctx) -> dict[str, Any]:
        await ctx.context.set("kept", f"{SECRET} kept")
        await ctx.heartbeat(0.5, f"{SECRET} progress")
        small = await ctx.blobs.put(f"{SECRET}.txt", f"{SECRET} in a file".encode())
        large = await ctx.blobs.put("large", HUGE.encode() * 20)
        return {"text": f"{ctx.input} {ctx.params['key']}", "small": small, "large": large}

    async def read(ctx: Ctx) -> list[Any]:
        small = await ctx.blobs.get(ctx.input["small"])
        large = [len(piece) async for piece in ctx.blobs.open(ctx.input["large"])]
        return [small.decode(), sum(large)]

    async def unsteady(ctx: Ctx) -> str:
        if ctx.attempt == 1:
            raise ConnectionError(f"{SECRET} in an error that is tried again")
        return LARGE

    async def fail(ctx: Ctx) -> None:
        raise ValueError(f"{SECRET} in an error")

    async def same(ctx: Ctx) -> Any:
        return ctx.input

    child = create_flow("child").node("inner", same, params={"inner": SECRET})
    flow = (
        create_flow("outer")
        .node("keep", keep, inputs="given", params={"key": f"{SECRET} in params"})
        .node("read", read)
        .node("large", unsteady, retry=RetryPolicy(max_attempts=2, delay=0.0))
        .node("items", same, inputs="many")
        .batch("each", same, uses="same")
        .subflow("sub", "child", inputs={"inner": "given"})
        .node("fails", fail, fallback="instead")
        .node("instead", same)
        .wait("answer", event="paid", correlation_key="number")
        .edge("keep", "read")
        .edge("items", "each")
        .edge("read", "answer", condition=f"result.output[0] != '{SECRET} no'")
    )
    return child, flow


def places_of(text: str) -> list[str]:
    """A secret, and what would be found of it in base64, however it lies there."""
    found = [text, text.encode().hex()]
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + text.encode()).decode()
        found.append(encoded[4 if before else 0 : -4])
    return found


def readable(fleet: FakeFleet) -> str:
    """All that is stored and was sent; what is compressed as it was before."""
    texts = [fleet.stored(), *fleet.sent]
    texts += [
        repr(zlib.decompress(data))
        for data in fleet.s3.objects(BUCKET).values()
        if data[:1] == b"\x78"
    ]
    return "\n".join(texts)


async def perform(codec: Any) -> str:
    """The life of a run on a fleet; gives all that could be read of it."""
    fleet = await FakeFleet.made()
    given = {"given": SECRET, "many": [f"{SECRET} {n}" for n in range(7)], "number": 7}
    async with fleet.client(*flows(), codec=codec, shard_items=3) as client:
        await client.start_run("outer", given, run_id="run-17", tags={"team": "fish"})
        async with fleet.adapter(*flows(), codec=codec):
            while (await client.get_run("run-17")).status != "awaiting":
                await asyncio.sleep(0.05)
        # The answer lies in the queue, and what it brings in the bucket: no worker is there.
        await client.send_event(event="paid", correlation_key=7, output=HUGE)
        async with fleet.adapter(*flows(), codec=codec) as adapter:
            result = await client.wait_for_run("run-17", timeout=90)
            assert await adapter.blobs.get(result.outputs["keep"]["small"]) == (
                f"{SECRET} in a file".encode()
            )
    assert result.status == "completed", result.errors
    assert result.outputs["keep"]["text"] == f"{SECRET} {SECRET} in params"
    assert result.outputs["read"] == [f"{SECRET} in a file", 20 * len(HUGE)]
    assert result.outputs["answer"] == HUGE
    assert result.outputs["large"] == LARGE
    assert result.outputs["each_gather"] == given["many"]
    assert result.context["kept"] == f"{SECRET} kept"
    assert fleet.kinds() == {"f", "m", "v"}
    return readable(fleet)


@pytest.mark.slow
@pytest.mark.parametrize("with_compression", [False, True])
def test_nothing_of_a_payload_can_be_read(
    with_compression: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Tables, queue, bucket, requests and log have ids and tags, and nothing of a payload."""
    caplog.set_level(logging.DEBUG)
    codec: Any = AesGcmCodec(OLD)
    if with_compression:
        codec = ChainedCodec(CompressionCodec(), codec)
    text = drive(perform(codec))
    for name in ("run-17", "outer", "fish", "completed"):
        assert name in text
    logged = "\n".join(logging.Formatter().format(record) for record in caplog.records)
    assert "node 'fails': ValueError" in logged
    for secret in (*places_of(SECRET), PADDING[:30], repr(OLD)[2:-1], OLD.hex()):
        assert secret not in text
        assert secret not in logged


@pytest.mark.slow
def test_without_a_codec_it_would_be_found(caplog: pytest.LogCaptureFixture) -> None:
    """The same look finds the secret where there is no codec, in what is stored and in the log."""
    caplog.set_level(logging.DEBUG)
    text = drive(perform(None))
    assert SECRET in text
    assert PADDING[:30] in text
    assert SECRET in "\n".join(record.getMessage() for record in caplog.records)


def counting(steps: int) -> Any:
    """A chain of nodes that add one, and a file that goes along."""

    async def begin(ctx: Ctx) -> dict[str, Any]:
        return {"number": 0, "file": await ctx.blobs.put("f", b"content")}

    async def add(ctx: Ctx) -> dict[str, Any]:
        assert await ctx.blobs.get(ctx.input["file"]) == b"content"
        return {**ctx.input, "number": ctx.input["number"] + 1}

    flow = create_flow("count").node("n0", begin)
    for number in range(1, steps + 1):
        flow.node(f"n{number}", add).edge(f"n{number - 1}", f"n{number}")
    return flow


@pytest.mark.slow
def test_keys_change_while_work_goes_on() -> None:
    """Two workers, one of which encodes with the old key yet: every run ends with either."""
    flow, ring = counting(6), {"old": OLD, "new": NEW}

    async def work() -> None:
        fleet = await FakeFleet.made()
        codecs = [AesGcmCodec(ring, primary=name) for name in ring]
        async with (
            fleet.adapter(flow, codec=codecs[0], concurrency=2) as first,
            fleet.adapter(flow, codec=codecs[1], concurrency=2) as second,
        ):
            runs = [await (first, second)[n % 2].start_run("count") for n in range(12)]
            for place, run in enumerate(runs):
                result = await (second, first)[place % 2].wait_for_run(run, timeout=90)
                assert result.outputs["n6"]["number"] == 6
        # Both keys were used, in what is stored.
        stored = fleet.stored()
        async with fleet.client(codec=AesGcmCodec({"new": NEW})) as late:
            refused = 0
            for run in runs:
                try:
                    await late.get_run(run)
                except CodecError as error:
                    assert "key 'old', and this process has 'new'" in error.message  # noqa: PT017
                    refused += 1
        assert refused
        assert stored

    drive(work())


@pytest.mark.slow
def test_a_worker_with_the_wrong_key_loses_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """It says which key it lacks and leaves the run as it is, for one that has it."""
    flow = counting(2)

    async def work() -> None:
        fleet = await FakeFleet.made()
        async with fleet.client(flow, codec=AesGcmCodec({"right": OLD})) as client:
            run = await client.start_run("count")
            before = fleet.stored().partition("SqsMessage")[0]
            async with fleet.adapter(codec=AesGcmCodec({"wrong": NEW})):
                await until(lambda: "is left to other workers" in caplog.text)
            assert re.search("key 'right', and this process has 'wrong'", caplog.text)
            assert fleet.stored().partition("SqsMessage")[0] == before
            (message,) = fleet.sqs.messages(fleet.queue_url)
            async with fleet.adapter(flow, codec=AesGcmCodec({"right": OLD})) as adapter:
                assert await adapter.handle_job(message.body)
                assert (await client.get_run(run)).status == "completed"

    drive(work())


class KeyService:
    """A codec that asks a service each time, which takes its time, and refuses now and then.

    Attributes:
        threads: Where the service was waited for.
        refusals: How many of the next calls it refuses.
        refused: How many it has refused.
    """

    blocks = True

    def __init__(self) -> None:
        self.threads: set[int] = set()
        self.refusals = self.refused = 0
        self._inner = AesGcmCodec(OLD)
        self._lock = threading.Lock()
        self._wait = threading.Event()

    def encode(self, text: str) -> str:
        """Encode, after a while."""
        return self._asked(self._inner.encode, text)

    def decode(self, text: str) -> str:
        """Decode, after a while."""
        return self._asked(self._inner.decode, text)

    def _asked(self, function: Any, text: str) -> str:
        self.threads.add(threading.get_ident())
        self._wait.wait(0.05)
        with self._lock:
            if self.refusals:
                self.refusals -= 1
                self.refused += 1
                raise StorageBusy("The key service does not answer. Look after it.")
        result: str = function(text)
        return result


class AsyncKeyService(KeyService):
    """The same, awaited."""

    async def encode(self, text: str) -> str:  # type: ignore[override]
        """Encode, after a while."""
        return await asyncio.to_thread(super().encode, text)

    async def decode(self, text: str) -> str:  # type: ignore[override]
        """Decode, after a while."""
        return await asyncio.to_thread(super().decode, text)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [KeyService, AsyncKeyService])
def test_a_slow_key_service_makes_runs_slower_and_nothing_else(
    kind: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing waits for it in the event loop; while it refuses, that is waited for and logged."""
    caplog.set_level(logging.WARNING)
    codec, bodies = kind(), []

    async def body(ctx: Ctx) -> int:
        bodies.append(ctx.idempotency_key)
        if ctx.node_id == "b":
            codec.refusals = 3
        return 1

    flow = create_flow("slow").node("a", body).node("b", body).node("c", body)
    flow.edge("a", "b").edge("b", "c")

    async def work() -> None:
        fleet = await FakeFleet.made()
        # People are told at once; it is the worker that is patient.
        people = fleet.client(flow, codec=AesGcmCodec(OLD))
        async with people, fleet.adapter(flow, codec=codec):
            runs = [await people.start_run("slow") for _ in range(3)]
            for run in runs:
                assert (await people.wait_for_run(run, timeout=100)).status == "completed"

    drive(work())
    assert codec.refused >= 3
    assert "key service does not answer" in caplog.text
    assert threading.get_ident() not in codec.threads
    assert len(bodies) == len(set(bodies)) == 9
