"""Values that are large, and files: what lies beside the record of a run."""

from __future__ import annotations

import hashlib
import importlib.util
import itertools
import zlib
from collections.abc import AsyncIterator
from typing import Any

from flowcraft.adapters.codecs.aes_gcm import AesGcmCodec
from flowcraft.adapters.codecs.compression import ChainedCodec, CompressionCodec
from flowcraft.core.builder import FlowBuilder, create_flow
from flowcraft.engine.nodes import NodeResult
from flowcraft.ports.codec import AnyCodec
from flowcraft.ports.objects import PART_BYTES
from flowcraft.testing.simulate.answering import answer
from flowcraft.testing.simulate.story import Story
from flowcraft.testing.simulate.zoo.nodes import node, passed_on, story

LINES = 40


def large(name: str) -> str:
    """A text that stays large, however it is compressed; another one for each name."""
    digests = (hashlib.sha256(f"{name} {number}".encode()).hexdigest() for number in range(LINES))
    return "\n".join(digests)


async def keep_in_context(ctx: Any) -> str:
    """Put something large into the context, and give something else that is large."""
    await ctx.context.set(f"kept by {ctx.node_id}", large(ctx.node_id))
    return large(f"output of {ctx.node_id}")


async def fall(ctx: Any) -> None:
    """Fail with a long text."""
    del ctx
    raise ValueError(large("error"))


def values() -> FlowBuilder:
    """Large outputs, contexts, errors, answers, items and values of a child run."""
    child = create_flow("large_child").node("x", node(lambda c: c.input[::-1]))
    child.node("y", node(passed_on)).edge("x", "y")
    flow = create_flow("large").node("a", keep_in_context).node("b", keep_in_context)
    flow.node("bad", fall, fallback="instead").node("instead", node("instead"))
    flow.subflow("c", child).edge("a", "c").edge("b", "w").wait("w")
    flow.node("list", node([large(f"item {number}") for number in range(4)]))
    flow.batch("each", node(lambda c: c.input[::-1]), uses="large_item").edge("list", "each")
    flow.node("z", node(lambda c: hashlib.sha256(repr(c.input).encode()).hexdigest()))
    return flow.edge("c", "z").edge("w", "z").edge("each", "z")


def spilled() -> FlowBuilder:
    """Something large, a file, and whoever reads both."""

    async def give(ctx: Any) -> dict[str, Any]:
        return {"text": large("spilled"), "file": await ctx.blobs.put("file", b"content")}

    async def take(ctx: Any) -> list[Any]:
        text, file = ctx.input["text"], ctx.input["file"]
        return [hashlib.sha256(text.encode()).hexdigest(), (await ctx.blobs.get(file)).decode()]

    flow = create_flow("spilled").node("give", give).node("take", take)
    return flow.edge("give", "take")


def both_are_read(run: Any) -> None:
    """The reader has found both as they were."""
    expected = [hashlib.sha256(large("spilled").encode()).hexdigest(), "content"]
    found = dict(run.outputs).get("take")
    assert found == expected, f"what was read: {found}"


async def pieces(name: str) -> AsyncIterator[bytes]:
    """A file of a part and a bit, which comes piece by piece."""
    yield name.encode().ljust(PART_BYTES)
    yield b"end"


async def keep_file(ctx: Any) -> NodeResult[Any]:
    """Keep two files, one of which has more than one part."""
    large_one = pieces("a") if ctx.node_id == "a" else b"b"
    reference = await ctx.blobs.put("large", large_one)
    small = await ctx.blobs.put("small", f"{ctx.node_id} {ctx.attempt}".encode())
    return NodeResult({"large": reference, "small": small})


async def read_files(ctx: Any) -> dict[str, Any]:
    """What the files hold that others have kept."""
    found: dict[str, Any] = {}
    for name, kept in sorted(ctx.input.items()):
        digest = hashlib.sha256()
        async for piece in ctx.blobs.open(kept["large"]):
            digest.update(piece)
        text = (await ctx.blobs.get(kept["small"])).decode()
        found[name] = [digest.hexdigest() == kept["large"]["sha256"], text.split()[0]]
    return found


async def keep_small_file(ctx: Any) -> dict[str, Any]:
    """Keep two files that are not encoded in threads: there are none in a simulation."""
    reference = await ctx.blobs.put("large", ctx.node_id.encode() * 3000)
    return {"large": reference, "small": await ctx.blobs.put("small", ctx.node_id.encode())}


def files() -> FlowBuilder:
    """Files that are kept by two nodes side by side, and read by a third."""
    flow = create_flow("files").node("a", keep_file).node("b", keep_file)
    return flow.node("z", read_files).edge("a", "z").edge("b", "z")


def small_files() -> FlowBuilder:
    """The same with less in them."""
    flow = create_flow("small_files").node("a", keep_small_file).node("b", keep_small_file)
    return flow.node("z", read_files).edge("a", "z").edge("b", "z")


def files_are_read(run: Any) -> None:
    """The reader has found what the files were to hold."""
    found = run.outputs["z"]
    assert found == {"a": [True, "a"], "b": [True, "b"]}, f"the files: {found}"
    kept = [run.outputs[name][kind]["blob"] for name in "ab" for kind in ("large", "small")]
    assert len(set(kept)) == len(kept), f"files share a key: {kept}"


KEYS = {"old": bytes(range(32)), "new": bytes(range(32, 64))}


def changing_keys(process: str) -> AnyCodec:
    """A codec as processes have it while keys are changed: half of them encode with the old one."""
    names = itertools.count()

    def fresh(count: int) -> bytes:
        # The same in every simulation, and another one for each payload of each process.
        return hashlib.sha256(f"{process} {next(names)}".encode()).digest()[:count]

    primary = "old" if zlib.crc32(process.encode()) % 2 else "new"
    return ChainedCodec(CompressionCodec(), AesGcmCodec(KEYS, primary=primary, fresh=fresh))


def encrypted() -> tuple[Story, ...]:
    """Stories that need a package which not everybody has."""
    if importlib.util.find_spec("cryptography") is None:
        return ()
    answers = {"w": large("answer")}
    return (
        story("encrypted", values, people=(answer,), answers=answers, codec=changing_keys),
        story(
            "encrypted-files",
            small_files,
            is_settled=False,
            check=files_are_read,
            codec=changing_keys,
        ),
    )


STORIES = (
    *encrypted(),
    story("spilled", spilled, is_settled=False, check=both_are_read),
    story("large", values, people=(answer,), answers={"w": large("answer")}),
    story("large-shards", values, people=(answer,), answers={"w": large("answer")}, shard_items=2),
    story("files", files, is_settled=False, check=files_are_read),
)
