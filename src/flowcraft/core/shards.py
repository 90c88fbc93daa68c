"""Large batches, cut into shards: records of their own for a part of the items each (rule S11).

A backend that keeps every fact of a run asks for it, with ``RunStarted.shard_size``; one that
keeps the state alone has no need to. The run's record knows which shards there are and gets the
results of each at once. A shard's record knows its items alone: it is a state of the same plan
whose only content is a part of one batch, and ``decide`` treats its items as those of any batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowcraft.core.budgets import charge
from flowcraft.core.commands import ReportShard, StartShard
from flowcraft.core.events import (
    CancelRequested,
    ContinueRequested,
    PauseRequested,
    ShardAdvanced,
    ShardRests,
    ShardSettled,
    ShardStarted,
)
from flowcraft.core.items import (
    count_failures,
    failed_item,
    failure_value,
    item_name,
    worker_of,
)
from flowcraft.core.plan import Key, PlanNode, iteration_of_key
from flowcraft.core.state import Batch, ErrorInfo, ItemResult, RunState, Shard
from flowcraft.core.step import Step, error_details
from flowcraft.core.writes import apply_writes, note_writes

Wish = CancelRequested | PauseRequested | ContinueRequested

LANES = 4
"""Shards of one batch under way at a time; one that is nearly done makes room for the next."""

NEARLY_DONE = 0.9
"""The share of its items after which a shard makes room, so that a slow item holds up none."""

LANE_WINDOW = 64
"""Items of a shard under way at a time where no ``concurrency`` says otherwise. Those beyond it
begin with the end of others, in the same write: that costs half as much."""

NOTHING = ItemResult(True, None)
"""What an item gave that was stopped."""


def is_cut(step: Step, batch: Batch) -> bool:
    """Whether the items of a batch are left to shards."""
    size: int | None = step.scalar("shard_size")
    return size is not None and len(batch.items) > size


# -- in the run's record ------------------------------------------------------------------------


def hand_out_shards(step: Step, node: PlanNode, key: Key, batch: Batch) -> None:
    """Start as many shards as may be under way."""
    params = node.definition.params
    chunk, concurrency = params.get("chunkSize"), params.get("concurrency")
    size, lanes = step.scalar("shard_size"), LANES
    end = len(batch.items)
    if chunk and chunk <= size:
        # Chunks follow each other within a shard, and shards follow each other.
        size, lanes = size - size % chunk, 1
    elif chunk:
        end = min(end, (batch.done // chunk + 1) * chunk)
    if concurrency:
        lanes = min(concurrency, max(lanes, -(-concurrency // size)) if lanes > 1 else 1)
    while batch.begun < end and batch.lanes < lanes:
        if concurrency and batch.slots >= concurrency:
            break  # shards that were begun again have all of it
        first, until = batch.begun, min(batch.begun + size, end)
        free = lanes - batch.lanes
        quota = -(-(concurrency - batch.slots) // free) if concurrency else 0
        shard = Shard(until, quota)
        step.put("shards", (key, first), shard)
        step.commands.append(start_of(node, key, first, shard, batch))
        step.changes.working += 1
        batch = batch._replace(begun=until, lanes=batch.lanes + 1, slots=batch.slots + quota)
        step.put("batches", key, batch)


def start_of(node: PlanNode, key: Key, first: int, shard: Shard, batch: Batch) -> StartShard:
    """The command that a shard is started with."""
    # Under the user's limits nothing may begin beside the items that are left.
    is_limited = shard.quota or node.definition.params.get("chunkSize")
    report_at = None if is_limited else int((shard.until - first) * NEARLY_DONE)
    quota = shard.quota or LANE_WINDOW
    items = batch.items[first : shard.until]
    return StartShard(key, first, items, quota, report_at, shard.attempt)


def shard_advanced(step: Step, event: ShardAdvanced) -> Batch | None:
    """A shard is nearly done; gives the batch where another may begin."""
    shard = _open_shard(step, event)
    if shard is None or not shard.has_lane:
        return None
    step.put("shards", (event.key, event.first), shard._replace(has_lane=False))
    return _changed(step, event.key, lanes=-1)


def shard_rests(step: Step, event: ShardRests) -> None:
    """A shard holds everything back that is left of it, or went on."""
    shard = _open_shard(step, event)
    if shard is None or event.number <= shard.heard or step.stopping is not None:
        return
    # A run that goes on has told its shards so, or is about to.
    resting = event.resting and step.state.paused
    _count_rest(step, shard, resting)
    shard = shard._replace(resting=resting, heard=event.number)
    step.put("shards", (event.key, event.first), shard)


def wake_shards(step: Step) -> None:
    """The run goes on, or stops, and so do its shards: none of them rests any more."""
    for where, shard in step.state.shards.items():
        if shard.resting and not shard.over:
            step.put("shards", where, shard._replace(resting=False))
            _count_rest(step, shard, False)


def _count_rest(step: Step, shard: Shard, resting: bool) -> None:
    change = int(resting) - int(shard.resting)
    step.changes.waiting += change
    step.changes.working -= change


def shard_settled(step: Step, event: ShardSettled) -> Batch | None:
    """Take over what a shard leaves behind; gives the batch, unless the run is stopping."""
    shard = _open_shard(step, event)
    if shard is None:
        return None
    charge(step, event.cost)
    _count_rest(step, shard, False)
    step.changes.working -= 1
    if step.stopping is not None:
        step.put("shards", (event.key, event.first), shard._replace(over=True))
        return None
    failures = {int(item): error for item, error in event.failures}
    values, errors = list(event.values), list(event.errors)
    _apply_item_writes(step, event, failures, errors)
    for item in failures:
        values[item - event.first] = None
    settled = shard._replace(over=True, values=tuple(values), failures=failures)
    step.put("shards", (event.key, event.first), settled)
    count_failures(step, step.node(event.key), event.key, errors)
    return _changed(
        step,
        event.key,
        lanes=-int(shard.has_lane),
        slots=-shard.quota,
        done=shard.until - event.first,
        failed=len(failures),
    )


def retry_shards(step: Step, node: PlanNode, key: Key) -> int:
    """Start the shards again that have items that failed; gives how many items they have."""
    batch: Batch = step.get("batches", key)
    count = 0
    for (scatter, first), shard in step.state.shards.items():
        if scatter == key and shard.over and shard.failures:
            fresh = Shard(shard.until, shard.quota, attempt=shard.attempt + 1)
            step.put("shards", (key, first), fresh)
            step.commands.append(start_of(node, key, first, fresh, batch))
            step.changes.working += 1
            count += shard.until - first
            batch = batch._replace(lanes=batch.lanes + 1, slots=batch.slots + shard.quota)
    step.put("batches", key, batch)
    return count


def places_of(step: Step, key: Key) -> list[int]:
    """Where the shards of a batch begin, in input order."""
    return sorted(first for scatter, first in step.state.shards if scatter == key)


def collected(step: Step, key: Key, first: int) -> list[Any]:
    """The results of a shard, in input order; they are kept no longer."""
    shard: Shard = step.get("shards", (key, first))
    values = list(shard.values)
    for item, error in shard.failures.items():
        values[item - first] = failed_item(item, error)
    step.put("shards", (key, first), shard._replace(values=(), failures={}))
    return values


def _open_shard(step: Step, event: ShardAdvanced | ShardRests | ShardSettled) -> Shard | None:
    """The shard that something is heard of, unless that is about an earlier attempt at it."""
    shard: Shard | None = step.get("shards", (event.key, event.first))
    return None if shard is None or shard.over or shard.attempt != event.attempt else shard


def _changed(step: Step, key: Key, **by: int) -> Batch:
    batch: Batch = step.get("batches", key)
    batch = batch._replace(**{name: getattr(batch, name) + count for name, count in by.items()})
    step.put("batches", key, batch)
    return batch


def _apply_item_writes(
    step: Step,
    event: ShardSettled,
    failures: dict[int, Mapping[str, Any]],
    errors: list[ErrorInfo],
) -> None:
    """Commit what the items wrote, in the order in which they ended (rule S8)."""
    uses = worker_of(step.node(event.key))
    for item, writes in event.item_writes:
        problem = apply_writes(step, writes)
        if problem is None:
            note_writes(step, event.key, writes)
            continue
        name = item_name(uses, item)
        error = ErrorInfo("FlowcraftError", problem, ("FlowcraftError",), node_id=name)
        error = error._replace(iteration=iteration_of_key(event.key))
        step.note("node:error", event.key, item=item, name=name, **error_details(error))
        failures[item] = failure_value(error)
        errors.append(error)


# -- in a shard's record ------------------------------------------------------------------------


def enter_shard(step: Step, event: ShardStarted) -> Batch | None:
    """Begin a shard's record; gives the batch whose items are to be handed out."""
    if step.state.started_at is not None:
        return None
    step.changes.scalars = {
        "run_id": event.run_id,
        "started_at": step.now,
        "fail_fast": event.fail_fast,
        "max_executions": None,
        "shard": (event.key, event.first, event.attempt),
        "report_at": event.report_at,
    }
    batch = Batch(tuple(event.items), first=event.first, quota=event.quota)
    step.put("batches", event.key, batch)
    return batch


def report_if_nearly_done(step: Step, batch: Batch) -> None:
    """Make room for the next shard."""
    if batch.done == step.state.report_at and batch.done < len(batch.items):
        step.commands.append(ReportShard())


def keep_to_itself(step: Step) -> None:
    """What becomes of a shard is no news: its run tells of itself."""
    step.notes = [note for note in step.notes if not note.type.startswith("workflow:")]


def outcome_of(state: RunState) -> ShardSettled:
    """What a shard that is over hands to its run."""
    assert state.shard is not None
    key, first, attempt = state.shard
    batch = state.batches[key]
    values: list[Any] = []
    failures: list[tuple[int, Any]] = []
    for item in range(first, first + len(batch.items)):
        result = state.results.get((key, item), NOTHING)
        values.append(result.value if result.succeeded else None)
        if not result.succeeded:
            failures.append((item, result.value))
    writes = tuple(state.item_writes.items())
    is_whole = batch.done == len(batch.items)
    errors = tuple(state.errors)
    return ShardSettled(key, first, values, failures, errors, writes, attempt, is_whole)


def wish_for(shard: RunState, run: RunState) -> Wish | None:
    """What has to happen in a shard, so that it does as its run."""
    if shard.ended_at is not None or shard.stopping is not None or shard.shard is None:
        return None
    key, first, attempt = shard.shard
    mine = run.shards.get((key, first))
    if mine is None or mine.over or mine.attempt != attempt:
        return CancelRequested("its run does not wait for it")
    if run.stopping is not None or run.ended_at is not None:
        return CancelRequested(run.reason)
    if run.paused and not shard.paused:
        return PauseRequested()
    return ContinueRequested() if shard.paused and not run.paused else None


def shards_under_way(state: RunState) -> list[tuple[Key, int, int]]:
    """Which shards a run still waits for, with their attempts."""
    return [(*where, shard.attempt) for where, shard in state.shards.items() if not shard.over]
