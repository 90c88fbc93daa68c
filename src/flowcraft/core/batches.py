"""Batches: a list whose items are handled by a worker each (rule S11).

The scatter node succeeds when its items are handed out; the gather node is held back until all
of them are settled. Items are not nodes: they have an attempt and a result, nothing more.
"""

from __future__ import annotations

from typing import Any

from flowcraft.core import shards
from flowcraft.core.commands import RetryItem, RunItem
from flowcraft.core.events import (
    ItemFailed,
    ItemHeldBack,
    ItemLost,
    ItemsRetried,
    ItemSucceeded,
    ShardAdvanced,
    ShardSettled,
    ShardStarted,
)
from flowcraft.core.holds import held_instance, hold
from flowcraft.core.items import (
    collects,
    count_failures,
    failed_item,
    failure_value,
    item_name,
    worker_of,
)
from flowcraft.core.outcomes import fail, succeed
from flowcraft.core.plan import Key, Plan, PlanNode, index_of_key, iteration_of_key
from flowcraft.core.retries import LOST_LIMIT, delay_before_retry_ms, jitter_seed, lost_error
from flowcraft.core.state import (
    DELETED,
    Batch,
    ErrorInfo,
    Item,
    ItemResult,
    Record,
    RunState,
)
from flowcraft.core.step import Step, error_details
from flowcraft.core.writes import apply_writes, note_writes

WINDOW = 1_000
"""Items of one batch handed out at a time where no ``concurrency`` asks for fewer."""


def run_scatter(step: Step, node: PlanNode, key: Key, record: Record) -> None:
    """Hand out the items of a list."""
    problem = _problem(step, node, record.input)
    if problem:
        fail(step, node, key, record, ErrorInfo("FlowcraftError", problem, ("FlowcraftError",)))
        return
    params = node.definition.params
    items = tuple(record.input or ())
    gather = held_instance(step, key, params["gatherNodeId"])
    batch = Batch(items, gather=-1)
    # A gather that no edge leads to starts with the run, or when it is added: it waits for nothing.
    if gather is not None and _is_led_to(step, gather) and step.record(gather) is None:
        batch = batch._replace(gather=gather)
        if items:
            hold(step, gather)
    step.put("batches", key, batch)
    step.note("batch:start", key, worker=params["workerUsesKey"], items=len(items))
    if items:
        _hand_out(step, node, key, batch)
    else:
        step.note("batch:finish", key, items=0, failed=0)
    output = {"gatherNodeId": params["gatherNodeId"], "hasMore": False}
    step.note("node:finish", key, action=None)
    succeed(step, node, key, record, output)


def _is_led_to(step: Step, gather: Key) -> bool:
    index = index_of_key(gather)
    return index not in step.plan.starts and bool(step.plan.nodes[index].into)


def run_gather(step: Step, node: PlanNode, key: Key, record: Record) -> None:
    """Collect the results of the batches that belong to this instance, in input order."""
    results: list[Any] = []
    output_key = node.definition.params.get("outputKey")
    for scatter in _batches_of(step, key):
        output_key = output_key or step.node(scatter).definition.params.get("outputKey")
        results.extend(_collected(step, scatter))
    if isinstance(output_key, str) and output_key:
        step.write(output_key, results)
        step.note("context:change", key, op="set", name=output_key)
    step.note("node:finish", key, action=None)
    succeed(step, node, key, record, results)


def _collected(step: Step, scatter: Key) -> list[Any]:
    """The results of a batch, in input order; they are kept no longer."""
    batch: Batch = step.get("batches", scatter)
    collected: list[Any] = []
    if shards.is_cut(step, batch):
        for first in shards.places_of(step, scatter):
            collected.extend(shards.collected(step, scatter, first))
    else:
        for item in range(len(batch.items)):
            result: ItemResult = step.get("results", (scatter, item))
            value = result.value
            collected.append(value if result.succeeded else failed_item(item, value))
            step.put("results", (scatter, item), DELETED)
    step.put("batches", scatter, batch._replace(items=()))
    return collected


def item_succeeded(step: Step, event: ItemSucceeded) -> None:
    """Keep an item's result."""
    if not _is_current(step, event.key, event.item, event.attempt):
        return
    if step.state.shard is not None:
        # The context is the run's: it gets what was written with the shard's results.
        if event.writes:
            step.put("item_writes", event.item, tuple(event.writes))
    elif problem := apply_writes(step, event.writes):
        error = ErrorInfo("FlowcraftError", problem, ("FlowcraftError",))
        item_failed(step, ItemFailed(event.key, event.item, event.attempt, error, False))
        return
    name = item_name(_worker(step, event.key), event.item)
    if step.state.shard is None:
        note_writes(step, event.key, event.writes)
    step.note("node:finish", event.key, item=event.item, name=name, action=None)
    _settle(step, event.key, event.item, ItemResult(True, event.output, event.attempt))


def item_failed(step: Step, event: ItemFailed) -> None:
    """Try an item again, or keep its failure."""
    if not _is_current(step, event.key, event.item, event.attempt):
        return
    node = step.node(event.key)
    name = item_name(_worker(step, event.key), event.item)
    current: Item = step.get("items", (event.key, event.item))
    delay = None
    if event.retryable and step.stopping is None:
        iteration = iteration_of_key(event.key)
        seed = jitter_seed(step.state.run_id, node.id, iteration, event.item)
        config = node.definition.config
        uncounted = current.lost + current.before
        delay = delay_before_retry_ms(config, event.attempt, event.error, seed, uncounted)
    if delay is not None:
        due_at = step.now + delay / 1000
        step.put("items", (event.key, event.item), current._replace(due_at=due_at))
        details = {"item": event.item, "name": name, **error_details(event.error)}
        step.note("node:retry", event.key, attempt=event.attempt + 1, **details)
        step.commands.append(RetryItem(event.key, event.item, event.attempt + 1, due_at))
        return
    error = event.error._replace(
        node_id=name, attempts=event.attempt, iteration=iteration_of_key(event.key)
    )
    details = {"item": event.item, "name": name, **error_details(error)}
    step.note("node:error", event.key, attempt=event.attempt, **details)
    count_failures(step, node, event.key, [error])
    result = ItemResult(False, failure_value(error), event.attempt)
    _settle(step, event.key, event.item, result)


def item_lost(step: Step, event: ItemLost) -> None:
    """Run an item again whose worker died; at the third time it has failed (S9)."""
    if not _is_current(step, event.key, event.item, event.attempt):
        return
    if step.stopping is not None:
        stop_item(step, event.key, event.item, event.attempt)
        return
    current: Item = step.get("items", (event.key, event.item))
    lost = current.lost + 1
    if lost >= LOST_LIMIT:
        name = item_name(_worker(step, event.key), event.item)
        error = lost_error(name, lost)
        item_failed(step, ItemFailed(event.key, event.item, event.attempt, error, False))
        return
    again = current._replace(attempt=event.attempt + 1, lost=lost)
    step.put("items", (event.key, event.item), again)
    _run_item(step, event.key, event.item, event.attempt + 1)


def retry_item(step: Step, key: Key, item: int, attempt: int) -> None:
    """Begin an item's next attempt."""
    current = step.get("items", (key, item))
    if current is None or current.due_at is None or current.attempt + 1 != attempt:
        return
    if current.due_at > step.now:
        return
    step.put("items", (key, item), current._replace(attempt=attempt, due_at=None))
    _run_item(step, key, item, attempt)


def _run_item(step: Step, key: Key, item: int, attempt: int) -> None:
    batch: Batch = step.get("batches", key)
    value = batch.items[item - batch.first]
    step.commands.append(RunItem(key, item, attempt, value, _worker(step, key)))


def stop_item(step: Step, key: Key, item: int, attempt: int) -> None:
    """Forget an item that was stopped because the run ends."""
    if step.stopping is not None and _is_current(step, key, item, attempt):
        name = item_name(_worker(step, key), item)
        step.note("node:cancelled", key, item=item, name=name, attempt=attempt)
        step.put("items", (key, item), DELETED)
        step.changes.working -= 1


def _is_current(step: Step, key: Key, item: int, attempt: int) -> bool:
    current = step.get("items", (key, item))
    if current is None or current.due_at is not None or current.held:
        return False
    return bool(current.attempt == attempt)


def hold_back_item(step: Step, event: ItemHeldBack) -> None:
    """Put an item aside that was to run and has not begun; it goes on with the run."""
    if not _is_current(step, event.key, event.item, event.attempt):
        return
    if not step.state.paused or step.stopping is not None:
        return
    current: Item = step.get("items", (event.key, event.item))
    step.put("items", (event.key, event.item), current._replace(held=True))
    step.changes.working -= 1


def begin_shard(step: Step, event: ShardStarted) -> None:
    """Hand out the items of a shard."""
    batch = shards.enter_shard(step, event)
    if batch is not None:
        _hand_out(step, step.node(event.key), event.key, batch)


def shard_advanced(step: Step, event: ShardAdvanced) -> None:
    """A shard is nearly done: another may begin."""
    batch = shards.shard_advanced(step, event)
    if batch is not None:
        _hand_out(step, step.node(event.key), event.key, batch)


def shard_settled(step: Step, event: ShardSettled) -> None:
    """A shard is over."""
    batch = shards.shard_settled(step, event)
    if batch is None:
        return
    _go_on(step, step.node(event.key), event.key, batch)


def _settle(step: Step, key: Key, item: int, result: ItemResult) -> None:
    step.put("items", (key, item), DELETED)
    step.put("results", (key, item), result)
    step.changes.working -= 1
    batch: Batch = step.get("batches", key)
    batch = batch._replace(done=batch.done + 1, failed=batch.failed + int(not result.succeeded))
    step.put("batches", key, batch)
    shards.report_if_nearly_done(step, batch)
    _go_on(step, step.node(key), key, batch)


def _go_on(step: Step, node: PlanNode, key: Key, batch: Batch) -> None:
    """Hand out what comes next, or let the gather node go."""
    if batch.done < len(batch.items):
        _hand_out(step, node, key, batch)
        return
    if step.state.shard is not None:
        return
    step.note("batch:finish", key, items=batch.done, failed=batch.failed)
    if batch.gather != -1:
        step.release(batch.gather, failed=batch.failed > 0 and not collects(node))


def _hand_out(step: Step, node: PlanNode, key: Key, batch: Batch) -> None:
    if step.stopping is not None or step.scalar("paused"):
        return
    if shards.is_cut(step, batch):
        shards.hand_out_shards(step, node, key, batch)
        return
    params = node.definition.params
    limit = batch.quota or params.get("concurrency") or WINDOW
    until = min(len(batch.items), batch.done + limit)
    chunk = params.get("chunkSize")
    if chunk:
        until = min(until, (batch.done // chunk + 1) * chunk)
    uses = worker_of(node)
    for place in range(batch.begun, until):
        item = batch.first + place
        step.put("items", (key, item), Item(1))
        step.commands.append(RunItem(key, item, 1, batch.items[place], uses))
        step.changes.working += 1
    if until > batch.begun:
        step.put("batches", key, batch._replace(begun=until))


def has_more(step: Step) -> bool:
    """Whether a batch has items that were not handed out yet, or are held back."""
    changed = step.changes.tables or {}
    batches = {**step.state.batches, **changed.get("batches", {})}.values()
    if any(batch.begun < len(batch.items) for batch in batches):
        return True
    items = {**step.state.items, **changed.get("items", {})}.values()
    return any(item is not DELETED and item.held for item in items)


def retry_items(step: Step, event: ItemsRetried) -> None:
    """Try the items again that failed, while others are not settled."""
    key = event.key
    batch: Batch | None = step.get("batches", key)
    if batch is None or not batch.failed or batch.done == len(batch.items):
        return
    node = step.node(key)
    results = {item: r for (k, item), r in step.state.results.items() if k == key}
    failed = {item: r.attempts for item, r in results.items() if not r.succeeded}
    for item, before in failed.items():
        step.put("results", (key, item), DELETED)
        # Attempts are counted on: each has a lease of its own.
        step.put("items", (key, item), Item(before + 1, before=before))
        step.changes.working += 1
        _run_item(step, key, item, before + 1)
    count = len(failed) + shards.retry_shards(step, node, key)
    step.put("batches", key, step.get("batches", key)._replace(done=batch.done - count, failed=0))
    uses, iteration = worker_of(node), iteration_of_key(key)
    mine = {item_name(uses, item) for item in range(len(batch.items))}
    errors = [
        error
        for error in step.scalar("errors")
        if error.iteration != iteration or error.node_id not in mine
    ]
    step.set("errors", errors)


def with_failures(step: Step) -> list[Key]:
    """The scatter instances whose batches go on, and have items that failed."""
    return [
        key
        for key, batch in step.state.batches.items()
        if batch.failed and batch.done < len(batch.items) and not collects(step.node(key))
    ]


def unfinished(plan: Plan, state: RunState) -> list[Key]:
    """The scatter instances whose batches have items that failed, or that have not ended."""
    return [
        key
        for key, batch in state.batches.items()
        if batch.done < len(batch.items)
        or (batch.failed and not collects(plan.nodes[index_of_key(key)]))
    ]


def hand_out_more(step: Step) -> None:
    """Go on with batches after a pause."""
    for (key, item), current in step.state.items.items():
        if current.held:
            step.put("items", (key, item), current._replace(held=False))
            step.changes.working += 1
            _run_item(step, key, item, current.attempt)
    for key, batch in step.state.batches.items():
        if batch.begun < len(batch.items):
            _hand_out(step, step.node(key), key, batch)


def _worker(step: Step, key: Key) -> str:
    return worker_of(step.node(key))


def _batches_of(step: Step, key: Key) -> list[Key]:
    changed = (step.changes.tables or {}).get("batches", {})
    scatters = [k for k, b in {**step.state.batches, **changed}.items() if b.gather == key]
    return sorted(scatters, key=lambda k: (step.node(k).index, iteration_of_key(k)))


def _problem(step: Step, node: PlanNode, value: Any) -> str | None:
    params = node.definition.params
    where = f"Batch node '{node.id}'"
    for name in ("workerUsesKey", "gatherNodeId"):
        if not isinstance(params.get(name), str) or not params[name]:
            return f"{where} needs the parameter '{name}'."
    if params["gatherNodeId"] not in step.plan.index_of:
        return f"{where} names the gather node '{params['gatherNodeId']}', which does not exist."
    for name in ("chunkSize", "concurrency"):
        number = params.get(name)
        if number is not None and (not isinstance(number, int) or number < 1):
            return f"{where}: parameter '{name}' must be a whole number of at least 1."
    if params.get("failureMode") not in (None, "fail", "collect"):
        return f"{where}: parameter 'failureMode' must be 'fail' or 'collect'."
    if value and not isinstance(value, list):
        return f"{where} needs a list as its input, not a {type(value).__name__}."
    return None
