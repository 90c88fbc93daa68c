"""With a codec, nothing of a payload can be read in the file of durable runs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from flowcraft import FlowRuntime, NodeContext, create_flow
from flowcraft.client import FlowClient
from flowcraft.errors import CodecError
from flowcraft.sqlite import SqliteAdapter
from tests.unit.codecs import ToyCodec
from tests.unit.runs import drive

SECRET = "swordfish"
"""Part of every payload of these runs, and of nothing that may be read."""

Ctx = NodeContext[Any]


def flow() -> Any:
    """Values that go through a context, inputs, outputs, params, items, errors and a child run."""

    async def keep(ctx: Ctx) -> str:
        await ctx.context.set("kept", f"{SECRET} kept")
        return f"{ctx.input} and {ctx.params['key']}"

    async def fail(ctx: Ctx) -> None:
        raise ValueError(f"{SECRET} in an error")

    async def same(ctx: Ctx) -> Any:
        return ctx.input

    child = create_flow("child").node("inner", same, params={"inner": SECRET})
    outer = (
        create_flow("outer")
        .node("keep", keep, inputs="given", params={"key": f"{SECRET} in params"})
        .node("items", same, inputs="many")
        .batch("each", same, uses="same")
        .subflow("sub", "child", inputs={"inner": "given"})
        .node("fails", fail, fallback="instead")
        .node("instead", same)
        .wait("answer")
        .edge("items", "each")
        .edge("keep", "answer")
    )
    return child, outer


def readable(path: Path) -> bytes:
    """All bytes of the file, and of those beside it."""
    files = sorted(path.parent.glob(f"{path.name}*"))
    assert len(files) >= 1
    return b"".join(file.read_bytes() for file in files)


def adapter(path: Path, codec: ToyCodec | None) -> SqliteAdapter:
    """An adapter that knows the flows."""
    options = FlowRuntime(flows=flow()).options
    return SqliteAdapter(path, options, codec=codec, poll_seconds=0.05)


async def until_it_waits(client: Any) -> None:
    """Wait until the run has nothing left but waiting."""
    while (await client.list_runs(status="awaiting")).runs == ():
        await asyncio.sleep(0.01)


async def perform(path: Path, codec: ToyCodec | None) -> list[bytes]:
    """The life of a run, with the bytes of the files at each stage of it."""
    pictures = []
    given = {"given": SECRET, "many": [f"{SECRET} {n}" for n in range(3)]}
    async with FlowClient.sqlite(path, FlowRuntime(flows=flow()).options, codec=codec) as client:
        await client.start_run("outer", given, run_id="run-17")
        pictures.append(readable(path))
        async with adapter(path, codec):
            await until_it_waits(client)
            pictures.append(readable(path))
        # The answer lies in the queue: no worker is there.
        await client.send_event("run-17", "answer", f"{SECRET} in an answer")
        pictures.append(readable(path))
        async with adapter(path, codec):
            result = await client.wait_for_run("run-17", timeout=20)
            pictures.append(readable(path))
    assert result.status == "completed"
    assert result.outputs["keep"] == f"{SECRET} and {SECRET} in params"
    assert result.outputs["answer"] == f"{SECRET} in an answer"
    assert result.context["kept"] == f"{SECRET} kept"
    assert result.outputs["each_gather"] == [f"{SECRET} {n}" for n in range(3)]
    pictures.append(readable(path))
    return pictures


def test_nothing_of_a_payload_is_in_the_file(tmp_path: Path) -> None:
    """Whoever has the files reads what is worked on, and nothing of what it is about."""
    pictures = drive(perform(tmp_path / "runs.db", ToyCodec()))
    assert not any(SECRET.encode() in picture for picture in pictures)
    for name in (b"run-17", b"outer", b"child", b"run-17/sub", b"completed", b"latest/outer"):
        assert name in pictures[-1]
    # Messages name the node they are for.
    assert any(b'"nodeId":"items"' in picture for picture in pictures)


def test_without_a_codec_it_would_be_found(tmp_path: Path) -> None:
    """The same run without a codec has its payload in the file at every stage of it."""
    pictures = drive(perform(tmp_path / "runs.db", None))
    assert all(SECRET.encode() in picture for picture in pictures)


def test_a_blocking_client_has_the_codec_too(tmp_path: Path) -> None:
    """``client.sync`` decodes like the client that it comes from, and needs the codec as much."""
    path = tmp_path / "runs.db"
    drive(perform(path, ToyCodec()))
    client = FlowClient.sqlite(path, codec=ToyCodec()).sync
    assert client.get_run("run-17").context["kept"] == f"{SECRET} kept"
    with pytest.raises(CodecError, match="no codec"):
        FlowClient.sqlite(path).sync.get_run("run-17")
    with pytest.raises(CodecError, match="WrongKey"):
        FlowClient.sqlite(path, codec=ToyCodec("other")).sync.get_run("run-17")
