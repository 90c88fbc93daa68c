"""Runs with everything in them, played to their end: the shell's part, by chance.

What a real shell would report for each open command is picked by a seeded generator, so that a
run sees retries, timers, answers, children, items and compensations in any order.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from flowcraft.core import commands as cmd
from flowcraft.core import events as ev
from flowcraft.core.blueprint import NodeDefinition
from flowcraft.core.plan import Key, index_of_key
from flowcraft.core.state import WAITING, RunState
from tests.property.drive import Document, Run, edge, error, node
from tests.property.graphs import FLAGS, Case, case_of, instance_of
from tests.property.oracle import Outcome
from tests.property.shape import CONTROLLER

SPAWN = "spawn"
LIMIT = 300
"""Node executions after which a run is stopped: loops of loops may go round very often."""


def mixed_case(seed: int, *, cycles: bool = True, anys: bool = True) -> Case:
    """A random graph in which some nodes wait, sleep, scatter, are subflows or can be undone."""
    chance = random.Random(seed)
    case = case_of(seed, cycles=cycles, anys=anys)
    nodes: list[Document] = []
    edges: list[Document] = list(case.document["edges"])
    for each in case.document["nodes"]:
        nodes.extend(_variant(chance, each, edges))
    return replace(case, document=case.document | {"nodes": nodes, "edges": edges})


def _variant(chance: random.Random, plain: Document, edges: list[Document]) -> list[Document]:
    if plain["uses"] == CONTROLLER or chance.random() < 0.4:
        return [plain]
    node_id, config = plain["id"], dict(plain.get("config", {}))
    kind = chance.choice(
        ["retry", "undo", "undo", "undo", "wait", "sleep", "subflow", "batch", "spawn"]
    )
    if kind == "retry":
        return [node(node_id, **config, maxRetries=3, retryDelay=10)]
    if kind == "spawn":
        return [plain | {"uses": SPAWN}]
    if kind == "undo":
        helper = node(f"undo-{node_id}", maxRetries=chance.choice([1, 2]))
        return [node(node_id, **config, compensate=helper["id"]), helper]
    if kind == "wait":
        params = chance.choice([{}, {"timeout": 50}])
        return [node(node_id, "wait", params=params, **config)]
    if kind == "sleep":
        return [node(node_id, "sleep", params={"duration": 20}, **config)]
    if kind == "subflow":
        return [node(node_id, "subflow", params={"blueprintId": "child"}, **config, maxRetries=2)]
    return _batch(chance, node_id, config, edges)


def _batch(
    chance: random.Random, node_id: str, config: Document, edges: list[Document]
) -> list[Document]:
    gather = f"gather-{node_id}"
    params: Document = {"workerUsesKey": "worker", "gatherNodeId": gather}
    for name in ("chunkSize", "concurrency"):
        if chance.random() < 0.5:
            params[name] = chance.randint(1, 3)
    if chance.random() < 0.5:
        params["failureMode"] = "collect"
    edges.append(edge(node_id, gather))
    scatter = node(node_id, "batch-scatter", params=params, inputs="list", **config, maxRetries=2)
    return [scatter, node(gather, "batch-gather", params={"gatherNodeId": gather})]


def start_mixed(case: Case, **more: Any) -> Run:
    """Begin the run of a mixed case."""
    options = {"max_executions": LIMIT} | more
    return Run(case.document).start({**FLAGS, "list": [1, 2, 3, 4]}, **options)


def next_event(run: Run, case: Case, chance: random.Random) -> ev.Event | None:
    """Something that can happen now, by chance; ``None`` when nothing can."""
    choices: list[Callable[[], ev.Event]] = [
        partial(REPORTS[type(command)], run, case, chance, command)
        for command in run.open
        if type(command) in REPORTS
    ]
    choices += [
        partial(ev.AnswerReceived, key, {"go": False}, chance.choice([None, "act"]))
        for key, record in run.state.records.items()
        if record.status is WAITING
    ]
    return choices[chance.randrange(len(choices))]() if choices else None


def play(run: Run, case: Case, chance: random.Random, steps: int | None = None) -> Run:
    """Let things happen until the run is over, or so many times."""
    while (steps is None or steps > 0) and (event := next_event(run, case, chance)) is not None:
        run.send(event)
        steps = None if steps is None else steps - 1
    return run


def _outcome(run: Run, case: Case, key: Key, attempt: int) -> Outcome:
    """What an attempt comes to: half of the nodes with further attempts need the second one."""
    node_id, iteration = instance_of(run, key)
    config = run.plan.nodes[run.plan.index_of[node_id]].definition.config
    if attempt == 1 and config.max_retries > 1 and ord(node_id[0]) % 2:
        return Outcome(error="plain")
    return case.outcome((node_id, iteration)) if node_id in case.kinds else Outcome()


def _node(run: Run, case: Case, chance: random.Random, command: cmd.RunNode) -> ev.Event:
    if run.state.stopping is not None:
        return ev.NodeStopped(command.key, command.attempt)
    if chance.random() < 0.05:
        return ev.NodeLost(command.key, command.attempt)
    outcome = _outcome(run, case, command.key, command.attempt)
    if outcome.error is not None:
        failure = error(f"{run.name(command.key)} failed", fatal=outcome.error == "fatal")
        return ev.NodeFailed(command.key, command.attempt, failure)
    more = _added(run, command.key, chance)
    output = more.pop("output", outcome.output)
    return ev.NodeSucceeded(command.key, command.attempt, output, outcome.action, **more)


def _added(run: Run, key: Key, chance: random.Random) -> dict[str, Any]:
    """What a node that adds nodes returns: two new ones, and maybe who waits for them."""
    adding = run.plan.nodes[index_of_key(key)]
    if adding.definition.uses != SPAWN:
        return {}
    writes = [ev.Write("add", "spawned", 1), ev.Write("set", adding.id, "written")]
    dynamic = [NodeDefinition(f"{adding.id}-{at}", "task") for at in range(2)]
    if not adding.out or chance.random() < 0.5:
        return {"dynamic": dynamic, "writes": writes}
    gather = run.plan.nodes[adding.out[0].target].id
    return {"dynamic": dynamic, "writes": writes, "output": {"gatherNodeId": gather}}


def _child(run: Run, case: Case, chance: random.Random, command: cmd.StartChild) -> ev.Event:
    key, attempt = command.key, command.attempt
    if run.state.stopping is not None:
        return ev.NodeStopped(key, attempt)
    if chance.random() < 0.3:
        return ev.ChildRests(key, attempt, key not in run.state.resting)
    outcome = _outcome(run, case, key, attempt)
    if outcome.error is not None:
        failure = error("child failed", fatal=outcome.error == "fatal")
        return ev.ChildSettled(key, attempt, False, {}, {}, None, failure)
    return ev.ChildSettled(key, attempt, True, {}, {}, outcome.output)


def _run_item(run: Run, case: Case, chance: random.Random, command: cmd.RunItem) -> ev.Event:
    key, item, attempt = command.key, command.item, command.attempt
    if run.state.stopping is not None:
        return ev.ItemStopped(key, item, attempt)
    if chance.random() < 0.05:
        return ev.ItemLost(key, item, attempt)
    fails = case.outcome(instance_of(run, key)).error is not None and item % 2 == 1
    if fails or (item == 2 and attempt == 1):
        return ev.ItemFailed(key, item, attempt, error(f"item {item} failed"))
    return ev.ItemSucceeded(key, item, attempt, command.input * 10)


def _undo(_run: Run, case: Case, _: random.Random, command: cmd.RunUndo) -> ev.Event:
    fails = case.seed % 3 == 0
    return ev.UndoSettled(command.target, command.attempt, error("undo") if fails else None)


def _retry(run: Run, _: Case, __: random.Random, command: cmd.RetryNode) -> ev.Event:
    run.now = max(run.now, command.due_at)
    return ev.RetryDue(command.key, command.attempt)


def _retry_item(run: Run, _: Case, __: random.Random, command: cmd.RetryItem) -> ev.Event:
    run.now = max(run.now, command.due_at)
    return ev.ItemRetryDue(command.key, command.item, command.attempt)


def _retry_undo(run: Run, _: Case, __: random.Random, command: cmd.RetryUndo) -> ev.Event:
    run.now = max(run.now, command.due_at)
    return ev.UndoRetryDue(command.target, command.attempt)


def _timer(run: Run, _: Case, __: random.Random, command: cmd.ArmTimer) -> ev.Event:
    run.now = max(run.now, command.due_at)
    return ev.TimerFired(command.key)


REPORTS: Mapping[type[Any], Callable[..., ev.Event]] = {
    cmd.RunNode: _node,
    cmd.StartChild: _child,
    cmd.RunItem: _run_item,
    cmd.RunUndo: _undo,
    cmd.RetryNode: _retry,
    cmd.RetryItem: _retry_item,
    cmd.RetryUndo: _retry_undo,
    cmd.ArmTimer: _timer,
}


def ends(state: RunState) -> dict[Key, str]:
    """How each instance ended."""
    return {key: str(record.status) for key, record in state.records.items()}
