"""Payloads that pass a codec, and processes that lack it: nothing is lost, no run is touched."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from flowcraft import FlowRuntime, create_flow
from flowcraft.core.builder import FlowBuilder
from flowcraft.engine.client import FlowClient
from flowcraft.engine.stored import StoredRun
from flowcraft.errors import CodecError
from tests.unit.codecs import ToyCodec
from tests.unit.durable import LEASE_SECONDS, World, play

RUN = "run"
OTHERS = {"no codec": None, "another key": ToyCodec("another")}


def waiting(world: World) -> FlowBuilder:
    flow = create_flow("f").node("a", world.body("a")).wait("w").node("b", world.body("b"))
    return flow.edge("a", "w").edge("w", "b")


def coded_world() -> World:
    return World(codec=ToyCodec())


async def untouched(world: World, codec: Any) -> None:
    """A worker that cannot decode what there is lives for a while, and changes nothing."""
    facts, messages = world.facts(RUN), world.messages()
    leases = world.leases(RUN)
    blind = await world.process(codec=codec)
    await world.advance(3 * LEASE_SECONDS)
    assert world.facts(RUN) == facts
    assert world.messages() == messages
    assert world.leases(RUN) == leases
    poller = blind.worker._poller
    assert poller is not None
    assert not poller.done()
    assert not blind.worker.busy
    await blind.kill()
    world.processes.remove(blind)


@pytest.mark.parametrize("codec", OTHERS.values(), ids=OTHERS)
def test_a_worker_without_the_codec_loses_nothing(
    codec: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Messages of all kinds are left by a worker that cannot decode, and another finishes."""

    async def story(world: World) -> None:
        await world.knows(waiting(world)).client.start_run("f", run_id=RUN)
        await untouched(world, codec)
        worker = await world.process()
        await world.until(lambda: world.status(RUN) == "awaiting")
        await world.settle()
        await worker.kill()
        await world.client.resume_with_action(RUN, output="answer")
        await untouched(world, codec)
        await world.process()
        run = await world.finish(RUN)
        assert (run.status, run.outputs["w"], run.outputs["b"]) == ("completed", "answer", "b")

    with caplog.at_level(logging.ERROR):
        play(story, coded_world())
    errors = [each.getMessage() for each in caplog.records]
    reason = "this process has no codec" if codec is None else "WrongKey: this is not the key"
    assert len(errors) == 2, "each is reported once, however often it comes back"
    assert all(reason in error for error in errors)
    assert "Run 'run' is left to other workers" in errors[0]
    assert "Message " in errors[1]
    assert all(each.exc_info is None for each in caplog.records)


def test_a_subflow_that_cannot_be_decoded_does_not_fail_its_node() -> None:
    """A worker that can read a run but not its child's blueprint leaves the child to others."""

    async def story(world: World) -> None:
        child = create_flow("child").node("a", world.body("done"))
        await (await world.knows(child).process()).kill()  # now it is stored, encoded
        codec, world.codec = world.codec, None
        knows_both, world.runtime = world.runtime, FlowRuntime()
        parent = create_flow("f").subflow("s", "child")
        await world.knows(parent).client.start_run("f", run_id=RUN)
        blind = await world.process()
        await world.advance(3 * LEASE_SECONDS)
        run = await world.client.get_run(RUN)
        assert (run.status, run.states) == ("running", {"s": "child"})
        await blind.kill()
        world.codec, world.runtime = codec, knows_both
        await world.client.aclose()
        world._client = None
        await world.process()
        assert (await world.finish(RUN)).outputs == {"s": "done"}

    play(story, coded_world())


def test_runs_from_before_the_codec_go_on() -> None:
    """What was stored without a codec is read with one; what is added then is encoded."""

    async def story(world: World) -> None:
        await world.knows(waiting(world)).client.start_run("f", run_id=RUN)
        worker = await world.process()
        await world.settle()
        await worker.kill()
        await world.client.resume_with_action(RUN, output="answer")
        before = len(world.facts(RUN))
        world.codec = ToyCodec()
        await world.client.aclose()
        world._client = None
        await world.process()
        assert (await world.finish(RUN)).outputs["w"] == "answer"
        marks = [fact.data.startswith("encoded:") for fact in world.facts(RUN)]
        assert marks == [False] * before + [True] * (len(marks) - before)
        assert any(marks)

    play(story)


def test_a_client_without_the_codec_is_told_so() -> None:
    """It lists runs, and is refused where it would have to look into one."""

    async def story(world: World) -> None:
        await world.knows(waiting(world)).client.start_run("f", run_id=RUN, tags={"for": "Ada"})
        await world.process()
        await world.settle()
        client = FlowClient(
            world.storage.open_ports,
            world.runtime.options,
            clock=world.clock,
            identifiers=world.client._identifiers,
        )
        async with client:
            page = await client.list_runs(tags={"for": "Ada"})
            assert [(each.run_id, each.status) for each in page.runs] == [(RUN, "awaiting")]
            for verb in (client.get_run, client.cancel_run, client.resume_with_action):
                with pytest.raises(CodecError, match="encoded, and this process has no codec"):
                    await verb(RUN)
        assert world.status(RUN) == "awaiting"
        assert not world.messages()

    play(story, coded_world())


def test_a_codec_that_refuses_is_an_error_and_no_loss() -> None:
    """A start whose payload cannot be encoded is refused, and nothing is stored."""

    class Refuses(ToyCodec):
        def encode(self, text: str) -> str:
            raise OverflowError("too long")

    async def story(world: World) -> None:
        with pytest.raises(CodecError, match=r"cannot be encoded \(OverflowError: too long\)"):
            await world.client.start_run(create_flow("f").node("a", "x"), run_id=RUN)
        assert world.status(RUN) is None

    play(story, World(codec=Refuses()))


def test_a_codec_that_gives_no_text_is_an_error() -> None:
    """What is decoded to something else than a text is not taken for one."""

    class Careless(ToyCodec):
        def decode(self, text: str) -> Any:
            return super().decode(text).encode()

    async def story(world: World) -> None:
        await world.knows(waiting(world)).client.start_run("f", run_id=RUN)
        world.codec = Careless()
        await world.client.aclose()
        world._client = None
        with pytest.raises(CodecError, match="the codec decodes it to bytes, no text"):
            await world.client.get_run(RUN)

    play(story, coded_world())


def test_a_run_is_the_same_with_a_codec() -> None:
    """Batches, children, timers, errors and retries give what they give without one."""

    async def result(world: World) -> StoredRun:
        async def fails(ctx: Any) -> None:
            raise ValueError("as planned")

        child = create_flow("child").sleep("z", "1h").node("n", world.body("n")).edge("z", "n")
        flow = create_flow("f").node("a", world.body([1, 2, 3]))
        flow.batch("items", world.body(lambda ctx: ctx.input * 2), uses="item").edge("a", "items")
        flow.subflow("s", "child").edge("items_gather", "s")
        flow.node("bad", fails, config={"maxRetries": 2, "retryDelay": 5000}, fallback="good")
        flow.node("good", world.body("good")).edge("s", "bad")
        await world.knows(child, flow).client.start_run("f", {"x": 1}, run_id=RUN)
        await world.process()
        return await world.finish(RUN)

    plain, coded = play(result), play(result, coded_world())
    assert coded.status == plain.status
    assert dict(coded.outputs) == dict(plain.outputs)
    assert coded.states == plain.states
