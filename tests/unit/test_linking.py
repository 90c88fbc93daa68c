"""Links to the waits of durable runs: who gets them, what one answers, and that it does so once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flowcraft import (
    FlowcraftError,
    FlowRuntime,
    Node,
    NodeContext,
    RetryPolicy,
    SyncNodeContext,
    create_flow,
)
from flowcraft.core import events as ev
from flowcraft.engine.linking import AnswerLink, LinkedWait
from flowcraft.engine.links import Links, LinkTarget
from flowcraft.errors import (
    AlreadyAnswered,
    AnswerRefused,
    InvalidRunState,
    LinkExpired,
    NotWaitingYet,
    RunNotFound,
    StorageBusy,
)
from flowcraft.ports.runs import Verdict, Written
from tests.unit.durable import World
from tests.unit.durable_sqlite import SqliteWorld
from tests.unit.isolated_nodes import asks_for_a_link
from tests.unit.runs import drive

LINKS = Links("https://flows.example.org", "a secret of more than 32 bytes, for tests")
Ctx = NodeContext[Any]


async def passed(ctx: Ctx) -> Any:
    """Gives what it is given."""
    return ctx.input


@asynccontextmanager
async def scene(*flows: Any, world: World | None = None) -> AsyncIterator[World]:
    """A world with links, and a worker that knows the flows."""
    world = (world or World()).knows(*flows)
    world.runtime.options = replace(world.runtime.options, links=LINKS)
    await world.process()
    try:
        yield world
    finally:
        await world.end()


async def waiting(world: World, flow: str, run_id: str = "r", **options: Any) -> list[AnswerLink]:
    """The links of a run that was started and waits."""
    await world.client.start_run(flow, run_id=run_id, **options)
    await world.settle()
    while world.status(run_id) == "running":
        await asyncio.sleep(0)  # a plain function has a thread of its own
    return await world.client.answer_links(run_id)


def target_of(url: str) -> LinkTarget:
    """What the link with an address is for."""
    kind, token = url.split("/")[-2:]
    return LINKS.read(token, "webhook" if kind == "hooks" else "approval", 0.0)


ask = create_flow("ask").wait("w", title="Pay?", actions=["yes", "no"])
ask.node("after", passed).edge("w", "after", action="yes")


def test_a_client_has_the_links_of_open_waits() -> None:
    """Each open wait has one, children and rounds of loops included; those of timers have none."""
    child = create_flow("child").webhook("hook")
    flow = create_flow("f").wait("w", title="Pay?", timeout="2h").subflow("sub", child)
    flow.sleep("s", "5h").loop("l", start="a", end="b", condition="true")
    flow.node("begin", passed).edge("begin", "l").node("a", passed).wait("b").edge("a", "b")

    async def play() -> None:
        async with scene(flow) as world:
            found = {link.path: link for link in await waiting(world, "f")}
            assert set(found) == {("w",), ("sub", "hook"), ("b",)}
            one, hook, inner = found["w",], found["sub", "hook"], found["b",]
            assert (one.title, one.purpose, one.node_id) == ("Pay?", "approval", "w")
            assert one.due_at == world.clock.now() + 7200
            assert one.expires_at == world.clock.now() + 7 * 86_400
            assert (hook.purpose, hook.run_id) == ("webhook", "r/sub::1")
            assert "/hooks/f1." in hook.url
            assert (inner.iteration, target_of(inner.url).iteration) == ((0,), (0,))
            assert all(link.url not in repr(link) for link in found.values())

    drive(play())


def test_links_can_be_narrowed_down() -> None:
    """By node, action, purpose and lifetime; what makes no sense is refused."""

    async def play() -> None:
        async with scene(ask) as world:
            await waiting(world, "ask")
            client = world.client
            (link,) = await client.answer_links(
                "r", node_id="w", action="yes", purpose="webhook", lifetime_seconds=60
            )
            target = target_of(link.url)
            assert (target.action, target.purpose) == ("yes", "webhook")
            assert target.expires_at == world.clock.now() + 60
            with pytest.raises(InvalidRunState, match="takes the actions"):
                await client.answer_links("r", action="perhaps")
            with pytest.raises(InvalidRunState, match="no node 'x' waits"):
                await client.answer_links("r", node_id="x")
            with pytest.raises(RunNotFound):
                await client.answer_links("gone")
            await client.cancel_run("r")
            await world.settle()
            with pytest.raises(InvalidRunState, match="it is over"):
                await client.answer_links("r")

    drive(play())


@pytest.mark.parametrize("sqlite", [False, True], ids=["memory", "sqlite"])
def test_a_link_answers_once(sqlite: bool, tmp_path: Path) -> None:
    """The answer is stored at once, the same again is no error, another one is refused."""

    async def play() -> None:
        world = SqliteWorld(tmp_path / "runs.db") if sqlite else World()
        async with scene(ask, world=world) as world:
            (link,) = await waiting(world, "ask")
            target, client = target_of(link.url), world.client
            by_ada = {"by": "Ada"}
            answer = await client.answer_by_link(target, by_ada, action="yes")
            assert not answer.is_repeated
            assert isinstance(world.events("r")[-1], ev.AnswerReceived)
            assert (await client.answer_by_link(target, by_ada, action="yes")).is_repeated
            for output, action in (({"by": "Bob"}, "yes"), (by_ada, "no"), (None, None)):
                with pytest.raises(AlreadyAnswered, match="another answer"):
                    await client.answer_by_link(target, output, action=action)
            result = await world.finish("r")
            assert (result.status, result.outputs["after"]) == ("completed", {"by": "Ada"})
            assert (await client.answer_by_link(target, by_ada, action="yes")).is_repeated
            with pytest.raises(AlreadyAnswered):
                await client.answer_by_link(target, 1, action="yes")

    drive(play())


def test_of_many_answers_at_once_one_is_taken() -> None:
    """Whoever comes too late is told so, whoever was taken is told that, and that answer counts."""

    async def play() -> None:
        async with scene(ask) as world:
            for number in range(10):
                (link,) = await waiting(world, "ask", f"r{number}")
                target = target_of(link.url)
                answers = (
                    world.client.answer_by_link(target, each, action="yes") for each in range(5)
                )
                told = await asyncio.gather(*answers, return_exceptions=True)
                late = [isinstance(each, AlreadyAnswered) for each in told]
                assert sum(late) == 4
                result = await world.finish(f"r{number}")
                assert result.outputs["after"] == late.index(False)

    drive(play())


def test_an_answer_that_a_worker_writes_first_is_still_taken() -> None:
    """The message may be worked on sooner than the client writes: it finds its own answer then."""

    async def play() -> None:
        async with scene(ask) as world:
            (link,) = await waiting(world, "ask")
            station = await world.client._opened()
            send = station.send

            async def and_worked_on(jobs: Any) -> None:
                await send(jobs)
                await world.settle()

            station.send = and_worked_on  # type: ignore[method-assign]
            answer = await world.client.answer_by_link(target_of(link.url), 1, action="yes")
            assert not answer.is_repeated
            assert (await world.finish("r")).outputs["after"] == 1

    drive(play())


def test_whoever_dies_behind_the_message_has_answered() -> None:
    """A client that dies before it writes leaves a message, which a worker carries out."""

    async def play() -> None:
        async with scene(ask) as world:
            (link,) = await waiting(world, "ask")
            station = await world.client._opened()
            runs = station.runs

            class Dead:
                async def write(self, _: Any) -> Written:
                    raise StorageBusy("dead")

                def __getattr__(self, name: str) -> Any:
                    return getattr(runs, name)

            station.runs = Dead()
            with pytest.raises(StorageBusy):
                await world.client.answer_by_link(target_of(link.url), 1, action="yes")
            station.runs = runs
            assert (await world.finish("r")).outputs["after"] == 1
            again = await world.client.answer_by_link(target_of(link.url), 1, action="yes")
            assert again.is_repeated

    drive(play())


def test_a_run_that_many_write_to_is_tried_again_and_then_left() -> None:
    """Where others are always faster an answer is not taken for given."""

    async def play() -> None:
        async with scene(ask) as world:
            (link,) = await waiting(world, "ask")
            station = await world.client._opened()
            runs, tries = station.runs, 0

            class Late:
                async def write(self, _: Any) -> Written:
                    nonlocal tries
                    tries += 1
                    return Written(Verdict.STALE)

                def __getattr__(self, name: str) -> Any:
                    return getattr(runs, name)

            station.runs = Late()
            with pytest.raises(StorageBusy, match="many others"):
                await world.client.answer_by_link(target_of(link.url), 1, action="yes")
            station.runs = runs
            assert tries == 20

    drive(play())


def test_an_answer_before_its_wait_is_kept_once() -> None:
    """It is taken when the wait begins; another one before that is refused, the same is not."""
    flow = create_flow("f").sleep("s", "1h").wait("w").edge("s", "w")

    async def play() -> None:
        async with scene(flow) as world:
            assert await waiting(world, "f") == []
            run = await world.client._read("r")
            target = LinkTarget("r", run.epoch, "w", (), "approval", None, 0.0)
            assert (await world.client.look_at_link(target)).standing == "early"
            answers = (world.client.answer_by_link(target, each) for each in "ab")
            told = await asyncio.gather(*answers, return_exceptions=True)
            late = [isinstance(each, AlreadyAnswered) for each in told]
            assert sum(late) == 1
            kept = "ab"[late.index(False)]
            assert (await world.client.answer_by_link(target, kept)).is_repeated
            assert (await world.client.look_at_link(target)).standing == "answered"
            result = await world.finish("r")
            assert result.outputs["w"] == kept
            assert (await world.client.answer_by_link(target, kept)).is_repeated

    drive(play())


def test_each_round_of_a_loop_has_its_link() -> None:
    """A link of one round answers no other; one of a round to come has to wait for it."""
    urls: list[str] = []

    async def asks(ctx: Ctx) -> None:
        urls.append(await ctx.answer_url("b"))
        urls.append(await ctx.answer_url("b", iteration=(1,)))

    flow = create_flow("f").node("a", asks).wait("b").node("c", passed).edge("a", "b")
    flow.edge("b", "c").edge("c", "a", action="again").cycle_entry("a")

    async def play() -> None:
        async with scene(flow) as world:
            (link,) = await waiting(world, "f")
            first, second = map(target_of, urls)
            assert target_of(link.url) == replace(first, expires_at=target_of(link.url).expires_at)
            assert (first.iteration, second.iteration) == ((0,), (1,))
            assert (await world.client.look_at_link(second)).standing == "not yet"
            with pytest.raises(NotWaitingYet, match="has not come yet"):
                await world.client.answer_by_link(second, 1)
            assert not (await world.client.answer_by_link(first, 1)).is_repeated
            assert (await world.finish("r")).outputs["b"] == 1

    drive(play())


async def both(ctx: Ctx) -> list[str]:
    """Links of each kind, from an async node."""
    return [
        await ctx.answer_url("w", action="yes"),
        await ctx.answer_url("w", purpose="webhook", lifetime_seconds=60),
        await ctx.answer_url("hook"),
    ]


def plain(ctx: SyncNodeContext[Any]) -> list[str]:
    """The same from a plain function."""
    return [
        ctx.answer_url("w", action="yes"),
        ctx.answer_url("w", purpose="webhook", lifetime_seconds=60),
        ctx.answer_url("hook"),
    ]


class Classy(Node[Any, Any]):
    """The same from a class."""

    async def exec(self, ctx: Ctx, _prepared: Any) -> list[str]:
        """Ask."""
        return await both(ctx)


@pytest.mark.parametrize("body", [both, plain, Classy], ids=["async", "plain", "class"])
def test_nodes_get_links_of_waits_that_come_later(body: Any) -> None:
    """Whatever a node is, it gets the address for a wait of its run, and that answers it."""
    flow = create_flow("f").node("n", body).wait("w", actions=["yes", "no"]).webhook("hook")
    flow.edge("n", "w").edge("n", "hook")

    async def play() -> None:
        async with scene(flow) as world:
            await waiting(world, "f")
            urls = (await world.client.get_run("r")).outputs["n"]
            page, program, hook = map(target_of, urls)
            assert (page.purpose, page.action, page.node_id) == ("approval", "yes", "w")
            assert (program.purpose, program.action) == ("webhook", None)
            assert program.expires_at == world.clock.now() + 60
            assert hook.purpose == "webhook"
            await world.client.answer_by_link(hook, {"paid": True})
            await world.client.answer_by_link(page, None)
            result = await world.finish("r")
            assert result.outputs["hook"] == {"paid": True}
            with pytest.raises(InvalidRunState, match="answers with 'yes', not 'no'"):
                await world.client.answer_by_link(page, None, action="no")

    drive(play())


def test_items_of_batches_get_links_of_their_run() -> None:
    """In the record of its run or in a part of it, an item gets the same link."""

    async def numbers(_: Ctx) -> list[int]:
        return list(range(5))

    async def asks(ctx: Ctx) -> str:
        return await ctx.answer_url("w")

    flow = create_flow("f").node("list", numbers).batch("each", asks).edge("list", "each")
    flow.wait("w").edge("each", "w")

    async def play() -> None:
        for items in (500, 2):
            world = World()
            world.shard_items = items
            async with scene(flow, world=world):
                (link,) = await waiting(world, "f")
                outputs = (await world.client.get_run("r")).outputs
                urls = outputs["each_gather"]
                assert {replace(target_of(each), expires_at=0.0) for each in urls} == {
                    replace(target_of(link.url), expires_at=0.0)
                }

    drive(play())


@pytest.mark.slow
def test_isolated_nodes_ask_their_parent() -> None:
    """A node in a process of its own gets links, and never sees the secret."""
    flow = create_flow("f").node("n", asks_for_a_link, isolation="process").wait("w")
    flow.edge("n", "w")

    async def play() -> None:
        result = await FlowRuntime(links=LINKS).run(flow, run_id="r")
        target = target_of(result.outputs["n"]["url"])
        assert (target.run_id, target.node_id) == ("r", "w")
        assert "no wait of the workflow" in result.outputs["n"]["refused"]

    asyncio.run(play())


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("x",), {}, "'x' is no wait of the workflow 'f'. Its waits: w."),
        (("n",), {}, "'n' is no wait"),
        (("w",), {"action": "perhaps"}, "takes the actions 'yes', not 'perhaps'"),
        (("w",), {"iteration": (1,)}, "is in 0 loops, and iteration has 1"),
        (("w",), {"purpose": "form"}, "purpose is webhook or approval, not 'form'"),
        (("w",), {"lifetime_seconds": 0}, "lifetime_seconds is more than 0"),
    ],
)
def test_a_node_that_asks_for_nonsense_fails(
    arguments: tuple[str, ...], options: dict[str, Any], message: str
) -> None:
    """What is no wait, or cannot be, fails the node with what there is; it is not tried again."""

    async def asks(ctx: Ctx) -> str:
        return await ctx.answer_url(*arguments, **options)

    flow = create_flow("f").node("n", asks, retry=RetryPolicy(max_attempts=3))
    flow.wait("w", actions=["yes"]).edge("n", "w")
    result = drive(FlowRuntime(links=LINKS).run(flow))
    (error,) = result.errors
    assert message in error.message
    assert error.attempts == 1


def test_without_links_a_node_is_told_what_is_missing() -> None:
    """The error names the argument and the setting that are missing."""

    async def asks(ctx: Ctx) -> str:
        return await ctx.answer_url("w")

    flow = create_flow("f").node("n", asks).wait("w").edge("n", "w")
    (error,) = drive(FlowRuntime().run(flow)).errors
    assert "FlowRuntime(links=Links(…))" in error.message

    async def play() -> None:
        world = World().knows(flow)
        await world.client.start_run("f", run_id="r")
        for attempt in (world.client.answer_links("r"),):
            with pytest.raises(FlowcraftError, match=r"links\.base_url"):
                await attempt
        with pytest.raises(FlowcraftError, match=r"links\.base_url"):
            world.client.read_link("x", "approval")
        await world.end()

    drive(play())


def test_links_belong_to_one_start_of_a_run() -> None:
    """A run that is deleted and begun anew under its id is not answered by an old link."""

    async def play() -> None:
        async with scene(ask) as world:
            (link,) = await waiting(world, "ask")
            target = target_of(link.url)
            await world.client.delete_run("r", force=True)
            await world.settle()
            for _ in range(2):
                with pytest.raises(RunNotFound, match="any more"):
                    await world.client.look_at_link(target)
                with pytest.raises(RunNotFound, match="any more"):
                    await world.client.answer_by_link(target, 1, action="yes")
                (fresh,) = await waiting(world, "ask")
            assert (await world.client.look_at_link(target_of(fresh.url))).standing == "open"

    drive(play())


def test_waits_that_are_over_are_not_answered() -> None:
    """A cancelled run, a wait whose time was up, one that was skipped: each is told as it is."""
    flow = create_flow("f").wait("w", timeout="1h").node("n", passed).edge("w", "n")

    async def play() -> None:
        async with scene(flow) as world:
            standing: dict[str, LinkedWait] = {}
            for name in ("cancelled", "late", "skipped"):
                (link,) = await waiting(world, "f", name)
                if name == "cancelled":
                    await world.client.cancel_run(name)
                elif name == "skipped":
                    await world.client.skip_node(name, "w", 7)
                await world.finish(name)
                target = target_of(link.url)
                standing[name] = await world.client.look_at_link(target)
                with pytest.raises(AlreadyAnswered):
                    await world.client.answer_by_link(target, 1)
            assert standing["cancelled"].standing == "over"
            assert (standing["late"].standing, standing["late"].action) == ("answered", "timeout")
            assert standing["skipped"].standing == "answered"

    drive(play())


def test_an_action_from_a_link_has_to_be_listed() -> None:
    """Whoever has a link cannot take a way that the wait does not offer, `timeout` least of all."""
    flow = create_flow("f").wait("w")

    async def play() -> None:
        async with scene(flow, ask) as world:
            (link,) = await waiting(world, "f")
            with pytest.raises(InvalidRunState, match="from a link: none; not 'timeout'"):
                await world.client.answer_by_link(target_of(link.url), 1, action="timeout")
            (link,) = await waiting(world, "ask", "other")
            with pytest.raises(InvalidRunState, match="'yes', 'no'; not 'maybe'"):
                await world.client.answer_by_link(target_of(link.url), 1, action="maybe")
            assert str((await world.client.get_run("r")).status) == "awaiting"

    drive(play())


def test_a_refused_answer_changes_nothing() -> None:
    """Nothing is written or sent for an answer that does not fit, and the link still holds."""
    flow = create_flow("f").wait("w", schema={"type": "integer"})

    async def play() -> None:
        async with scene(flow) as world:
            (link,) = await waiting(world, "f")
            facts = len(world.facts("r"))
            with pytest.raises(AnswerRefused, match="must be a whole number, not text"):
                await world.client.answer_by_link(target_of(link.url), "x")
            assert len(world.facts("r")) == facts
            assert world.messages() == []
            await world.client.answer_by_link(target_of(link.url), 1)
            assert (await world.finish("r")).outputs["w"] == 1

    drive(play())


def test_child_runs_are_answered_and_their_parents_go_on() -> None:
    """A link of a wait in a child run answers it, and the parent is told that it works again."""
    child = create_flow("child").wait("w").node("x", passed).edge("w", "x")
    flow = create_flow("f").subflow("sub", child).node("n", passed).edge("sub", "n")

    async def play() -> None:
        async with scene(flow) as world:
            (link,) = await waiting(world, "f")
            assert world.status("r") == "awaiting"
            await world.client.answer_by_link(target_of(link.url), "done")
            result = await world.finish("r")
            assert (result.status, result.outputs["n"]) == ("completed", "done")

    drive(play())


def test_listeners_hear_of_answers_and_never_of_addresses() -> None:
    """The client that writes an answer tells its listeners; no event of a wait has a link in it."""
    heard: list[Any] = []

    async def play() -> None:
        async with scene(ask) as world:
            world.runtime.subscribe(heard.append)
            (link,) = await waiting(world, "ask")
            await world.client.answer_by_link(target_of(link.url), 1, action="yes")
            await world.finish("r")
            kinds = [event.type for event in heard if event.node_id == "w"]
            assert kinds == ["node:start", "node:awaiting", "node:finish"]
            assert link.url.rpartition(".")[2] not in repr(heard)
            assert "f1." not in repr(heard)

    drive(play())


def test_expired_links_are_refused_by_the_clock_of_the_client() -> None:
    """Time passes in the client's clock, and with it a link's lifetime."""

    async def play() -> None:
        async with scene(ask) as world:
            (link,) = await waiting(world, "ask")
            token = link.url.rpartition("/")[2]
            assert world.client.read_link(token, "approval").node_id == "w"
            world.clock.advance(7 * 86_400)
            with pytest.raises(LinkExpired):
                world.client.read_link(token, "approval")

    drive(play())
