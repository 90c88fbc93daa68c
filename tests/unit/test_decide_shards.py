"""Large batches: cut into shards that have a record of their own (rule S11)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowcraft.core import commands as cmd
from flowcraft.core import events as ev
from flowcraft.core.plan import Plan
from flowcraft.core.shards import outcome_of, wish_for
from flowcraft.core.state import RunStatus
from tests.property.drive import Run, blueprint, chain, error, node, unchanged

SIZE = 10


class Sharded:
    """A run with a batch whose shards are driven beside it, as a backend would."""

    def __init__(self, count: int, size: int = SIZE, *, fail_fast: bool = False, **params: Any):
        config = {name: params.pop(name) for name in ("maxRetries",) if name in params}
        given_ = {"workerUsesKey": "work", "gatherNodeId": "g", **params}
        self.document = blueprint(
            [
                node("s", "batch-scatter", params=given_, inputs="items", **config),
                node("g", "batch-gather", params={"gatherNodeId": "g"}),
                node("end"),
            ],
            chain("s", "g", "end"),
        )
        self.shards: dict[int, Run] = {}
        self.run = Run(self.document)
        self.under_way: set[int] = set()
        self.most = 0
        self.run.start(
            {"items": list(range(count)), "sum": 0}, shard_size=size, fail_fast=fail_fast
        )
        self.carry_out()

    @property
    def plan(self) -> Plan:
        """The plan that all of them share."""
        return self.run.plan

    def carry_out(self) -> None:
        """Do what the run's last decision asks for."""
        for command in self.run.commands:
            if isinstance(command, cmd.StartShard):
                shard = self.shards.get(command.first)
                if shard is None or shard.state.shard != (0, command.first, command.attempt):
                    shard = self.shards[command.first] = Run(self.document)
                shard.send(
                    ev.ShardStarted(
                        "run-1",
                        *command[:5],
                        fail_fast=self.run.state.fail_fast,
                        attempt=command.attempt,
                    )
                )
                self._note(shard)
            elif isinstance(command, cmd.TellShards | cmd.StopWork):
                self.tell_shards()

    def tell_shards(self) -> None:
        """Let every shard do as the run does."""
        for first in list(self.shards):
            wish = wish_for(self.shards[first].state, self.run.state)
            if wish is not None:
                self.send(first, wish)

    def send(self, first: int, event: ev.Event) -> None:
        """Something happens in a shard, and what the run has to hear of it reaches the run."""
        shard = self.shards[first]
        before = shard.state.status
        shard.send(event)
        self._note(shard)
        for command in list(shard.commands):
            if isinstance(command, cmd.ReportShard):
                self.tell_run(ev.ShardAdvanced(0, first, self.attempt(first)))
            elif isinstance(command, cmd.StopWork):
                for item, state in tuple(shard.state.items.items()):
                    self.send(first, ev.ItemStopped(0, item[1], state.attempt))
            elif isinstance(command, cmd.FinishRun):
                self.tell_run(outcome_of(shard.state))
        after = shard.state.status
        if after is not before and not after.is_final:
            resting = after is not RunStatus.RUNNING
            self.tell_run(ev.ShardRests(0, first, resting, shard.decisions, self.attempt(first)))

    def attempt(self, first: int) -> int:
        """How often a shard was begun."""
        state = self.shards[first].state
        assert state.shard is not None
        return state.shard[2]

    def tell_run(self, event: ev.Event) -> None:
        """The run hears of a shard, twice."""
        self.run.send(event)
        commands = self.run.commands
        assert unchanged(self.run.send(event))
        self.run.commands = commands
        self.carry_out()

    def _note(self, shard: Run) -> None:
        for item, state in shard.state.items.items():
            if not state.held:
                self.under_way.add(item[1])
        self.most = max(self.most, len(self.running()))

    def running(self) -> list[int]:
        """The items that are under way now, in all shards."""
        return sorted(
            item
            for shard in self.shards.values()
            for (_, item), state in shard.state.items.items()
            if not state.held
        )

    def home(self, item: int) -> int:
        """The shard that an item is in."""
        return max(first for first in self.shards if first <= item)

    def succeed(self, item: int, output: Any = None, *writes: ev.Write) -> None:
        """An item succeeds."""
        first = self.home(item)
        attempt = self.shards[first].state.items[0, item].attempt
        output = item * 2 if output is None else output
        self.send(first, ev.ItemSucceeded(0, item, attempt, output, writes))

    def fail(self, item: int) -> None:
        """An item fails."""
        first = self.home(item)
        attempt = self.shards[first].state.items[0, item].attempt
        self.send(first, ev.ItemFailed(0, item, attempt, error(f"item {item} failed")))

    def finish(self, choose: Callable[[list[int]], int] = lambda running: running[0]) -> None:
        """Let all items succeed."""
        while running := self.running():
            self.succeed(choose(running))


def test_a_small_batch_stays_in_the_runs_record() -> None:
    """As many items as a shard has are no reason for one."""
    batch = Sharded(SIZE)
    assert not batch.shards
    assert len(batch.run.state.items) == SIZE


def test_results_are_in_input_order() -> None:
    """Whoever is done first, the gather node's output follows the list; the last shard is short."""
    batch = Sharded(47, outputKey="all")
    batch.finish(lambda running: running[-1])
    assert sorted(batch.shards) == [0, 10, 20, 30, 40]
    assert batch.run.inputs()["end"] == batch.run.context["all"] == [2 * i for i in range(47)]
    batch.run.ok("end")
    assert batch.run.status == "completed"
    assert all(shard.status == "completed" for shard in batch.shards.values())


def test_a_slow_item_holds_up_no_other_shard() -> None:
    """A shard that is nearly done makes room for the next; its last item is waited for."""
    slow = Sharded(200)
    while others := [item for item in slow.running() if item % SIZE]:
        slow.succeed(others[0])
    assert slow.running() == list(range(0, 200, SIZE))
    assert slow.run.status_of("g") == "pending"


@pytest.mark.parametrize("concurrency", [1, 3, 4, 7, 30, 200])
def test_concurrency_bounds_the_items_of_all_shards(concurrency: int) -> None:
    """S11: at no time are more items under way, and if there are more, not fewer either."""
    batch = Sharded(150, concurrency=concurrency)
    assert len(batch.running()) == min(concurrency, 150)
    batch.finish()
    assert batch.most == min(concurrency, 150)
    assert batch.run.inputs()["end"] == [2 * i for i in range(150)]


@pytest.mark.parametrize("chunk", [3, 10, 25, 60])
def test_a_chunk_begins_when_the_one_before_is_done(chunk: int) -> None:
    """S11: also where a chunk is larger, or much smaller, than a shard."""
    batch = Sharded(100, chunkSize=chunk)

    def last(running: list[int]) -> int:
        assert len({item // chunk for item in running}) == 1, "items of two chunks at a time"
        return running[-1]

    batch.finish(last)
    assert batch.run.inputs()["end"] == [2 * i for i in range(100)]


def test_failing_items_fail_the_batch_when_the_others_are_done() -> None:
    """S11: under `fail` the others still run, and the gather node is skipped."""
    batch = Sharded(35)
    batch.fail(3)
    batch.fail(31)
    batch.finish()
    assert batch.run.status == "failed"
    assert batch.run.status_of("g") == "blocked"
    assert sorted(each.node_id or "" for each in batch.run.state.errors) == ["work[31]", "work[3]"]


def test_failures_are_collected_where_that_is_wanted() -> None:
    """S11: under `collect` a failing item leaves its error among the results."""
    batch = Sharded(15, failureMode="collect")
    batch.fail(12)
    batch.finish()
    results = batch.run.inputs()["end"]
    assert results[12]["index"] == 12
    assert results[12]["error"]["message"] == "item 12 failed"
    assert results[13] == 26
    batch.run.ok("end")
    assert batch.run.status == "completed"


def test_the_first_hundred_errors_are_kept() -> None:
    """S11: as many as of a batch that is not cut."""
    batch = Sharded(240, 60)
    while running := batch.running():
        batch.fail(running[0])
    assert len(batch.run.state.errors) == 100
    assert batch.run.state.batches[0].failed == 240


def test_fail_fast_stops_all_shards() -> None:
    """S4: the first item that fails stops its shard, the run, and with it the other shards."""
    batch = Sharded(60, fail_fast=True)
    batch.fail(25)
    assert batch.run.status == "failed"
    assert not batch.running()
    assert [each.node_id for each in batch.run.state.errors] == ["work[25]"]
    assert {shard.status for shard in batch.shards.values()} == {"failed", "cancelled"}


def test_cancelling_stops_all_shards() -> None:
    """S14: nothing more begins, and the run is over when its shards are."""
    batch = Sharded(100)
    batch.succeed(0)
    batch.run.send(ev.CancelRequested("enough"))
    batch.carry_out()
    assert batch.run.status == "cancelled"
    assert not batch.running()
    assert len(batch.shards) == 4


def test_items_are_held_back_while_the_run_is_paused() -> None:
    """S14: items that were handed out and have not begun wait; the run is paused at rest."""
    batch = Sharded(60)
    batch.run.send(ev.PauseRequested())
    batch.carry_out()
    for item in batch.running():
        first = batch.home(item)
        batch.send(first, ev.ItemHeldBack(0, item, 1))
    assert batch.run.status == "paused"
    assert not batch.running()
    batch.run.send(ev.ContinueRequested())
    batch.carry_out()
    assert len(batch.running()) == 40
    assert batch.run.status == "running"
    batch.finish()
    assert batch.run.inputs()["end"] == [2 * i for i in range(60)]


def test_a_run_that_goes_on_runs_at_once() -> None:
    """S14: it does not wait until its shards have said so, nor believe a late word of rest."""
    batch = Sharded(60)
    batch.run.send(ev.PauseRequested())
    batch.carry_out()
    for item in batch.running():
        batch.send(batch.home(item), ev.ItemHeldBack(0, item, 1))
    batch.run.send(ev.ContinueRequested())
    assert batch.run.status == "running"
    batch.run.send(ev.ShardRests(0, 0, True, batch.shards[0].decisions))
    assert batch.run.status == "running"
    batch.tell_shards()
    batch.finish()
    assert batch.run.inputs()["end"] == [2 * i for i in range(60)]


@pytest.mark.parametrize("concurrency", [None, 5])
def test_a_shard_with_failed_items_is_begun_again(concurrency: int | None) -> None:
    """S14: as another shard; what is still heard of the first one is ignored."""
    batch = Sharded(60, 4, fail_fast=False, concurrency=concurrency)
    for item in range(40):
        while item not in batch.running():
            batch.succeed(batch.running()[0])
        (batch.fail if item % 4 == 0 else batch.succeed)(item)
    batch.run.send(ev.RetryRequested())
    again = [c for c in batch.run.commands if isinstance(c, cmd.StartShard)]
    assert {(c.first, c.attempt) for c in again} >= {(first, 2) for first in range(0, 32, 4)}
    for late in (
        ev.ShardRests(0, 0, True, 99),
        ev.ShardAdvanced(0, 0),
        ev.ShardSettled(0, 0, [0, 0, 0, 0]),
    ):
        assert unchanged(batch.run.send(late))
    batch.run.commands = list(again)
    batch.carry_out()
    batch.finish(lambda running: running[-1])
    assert batch.run.inputs()["end"] == [2 * i for i in range(60)]
    assert not batch.run.errors


def test_shards_that_are_begun_again_may_have_all_of_the_concurrency() -> None:
    """S11: of 5 items at a time three shards have two each; no other begins with what is left."""
    batch = Sharded(60, 4, concurrency=5)
    for first in (0, 16, 20):
        assert batch.run.state.shards[0, first].quota == 2
        batch.fail(first)
        while mine := [item for item in batch.running() if batch.home(item) == first]:
            batch.succeed(mine[0])
    batch.run.send(ev.RetryRequested())
    batch.carry_out()

    def begun_again_last(running: list[int]) -> int:
        return min(running, key=lambda item: (batch.attempt(batch.home(item)), item))

    batch.finish(begun_again_last)
    assert batch.run.inputs()["end"] == [2 * i for i in range(60)]


def test_a_late_word_of_a_shard_is_ignored() -> None:
    """Words of one shard may overtake each other: the last one that was said counts."""
    batch = Sharded(30)
    batch.run.send(ev.ShardRests(0, 0, False, 8))
    assert unchanged(batch.run.send(ev.ShardRests(0, 0, True, 7)))
    assert batch.run.status == "running"


def test_what_items_write_is_committed_with_their_results() -> None:
    """S8: once, also `add`; an item that cannot add fails, and its other writes are dropped."""
    batch = Sharded(25, failureMode="collect")
    for item in range(25):
        if item == 7:
            batch.succeed(item, None, ev.Write("set", "seven", 1), ev.Write("add", "items", 1))
        else:
            batch.succeed(item, None, ev.Write("add", "sum", item), ev.Write("set", f"k{item}", 1))
    results = batch.run.inputs()["end"]
    assert batch.run.context["sum"] == sum(range(25)) - 7
    assert batch.run.context["k24"] == 1
    assert "items" in results[7]["error"]["message"]
    assert "seven" not in batch.run.context


def test_an_item_is_tried_again_within_its_shard() -> None:
    """S9: with the jitter that it would have in the run's own record."""
    batch = Sharded(20, maxRetries=2)
    batch.fail(15)
    (retry,) = [c for c in batch.shards[10].commands if isinstance(c, cmd.RetryItem)]
    whole = Run(batch.document).start({"items": list(range(20))})
    whole.send(ev.ItemFailed(0, 15, 1, error("item 15 failed")))
    (alike,) = [c for c in whole.commands if isinstance(c, cmd.RetryItem)]
    assert retry.due_at == alike.due_at
    batch.shards[10].now = retry.due_at
    batch.send(10, ev.ItemRetryDue(0, 15, 2))
    batch.finish()
    assert batch.run.inputs()["end"] == [2 * i for i in range(20)]


def test_a_shard_that_nobody_waits_for_is_cancelled() -> None:
    """A worker that was asleep may store a shard that its run does not know: nothing of it runs."""
    batch = Sharded(30)
    stray = Run(batch.document)
    stray.send(ev.ShardStarted("run-1", 0, 5, [1, 2], 1))
    assert isinstance(wish_for(stray.state, batch.run.state), ev.CancelRequested)


@given(st.data())
def test_a_cut_batch_ends_like_one_that_is_not(data: st.DataObject) -> None:
    """I8: whatever its size, limits and failures, and in whatever order its items end."""
    count = data.draw(st.integers(2, 60))
    params: dict[str, Any] = {
        "failureMode": data.draw(st.sampled_from(["fail", "collect"])),
        "chunkSize": data.draw(st.none() | st.integers(1, 30)),
        "concurrency": data.draw(st.none() | st.integers(1, 30)),
    }
    failing = data.draw(st.sets(st.integers(0, count - 1)))
    cut = Sharded(count, data.draw(st.integers(1, min(20, count - 1))), **params)
    whole = Sharded(count, count, **params)
    while running := cut.running():
        item = data.draw(st.sampled_from(running))
        (cut.fail if item in failing else cut.succeed)(item)
    while items := [item for _, item in whole.run.state.items]:
        item = items[0]
        event: ev.Event = ev.ItemSucceeded(0, item, 1, item * 2)
        if item in failing:
            event = ev.ItemFailed(0, item, 1, error(f"item {item} failed"))
        whole.run.send(event)
    assert cut.run.statuses() == whole.run.statuses()
    assert cut.run.inputs().get("end") == whole.run.inputs().get("end")
    assert cut.run.status == whole.run.status
    names = [{each.node_id for each in each_.run.state.errors} for each_ in (cut, whole)]
    assert names[0] == names[1]
