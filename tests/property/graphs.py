"""Random blueprints, with an outcome prescribed for every node and iteration."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from flowcraft.core.events import Event, NodeFailed, NodeSucceeded
from flowcraft.core.plan import Key
from tests.property.drive import Document, Run, blueprint, edge, error, node
from tests.property.oracle import CONTROLLER, Instance, Outcome

FLAGS = {"yes": True, "no": False}
LAST_ROUND = 2
"""From this iteration on no loop goes round again and nothing fails, so that runs end."""

KINDS = ("ok", "ok", "ok", "go", "act", "go+act", "other", "fail", "fail", "fatal")
CONDITIONS = (None, None, None, None, "result.output.go", "yes", "no", "result.nothing.at.all")
ACTIONS = (None, None, None, None, "act", "other")


@dataclass(frozen=True)
class Case:
    """A blueprint, how each of its nodes ends in each round, and a seed for the order."""

    document: Document
    kinds: Mapping[str, tuple[str, ...]]
    seed: int

    def outcome(self, instance: Instance) -> Outcome:
        """How an instance of a task ends."""
        node_id, iteration = instance
        late = max(iteration, default=0) >= LAST_ROUND
        kinds = self.kinds[node_id]
        kind = "ok" if late else kinds[sum(iteration) % len(kinds)]
        if kind in ("fail", "fatal"):
            return Outcome(error="plain" if kind == "fail" else "fatal")
        action = "act" if "act" in kind else "other" if kind == "other" else None
        return Outcome({"of": f"{node_id}{list(iteration)}", "go": "go" in kind}, action)


@st.composite
def cases(draw: st.DrawFn, *, cycles: bool = True, joins_any: bool = True) -> Case:
    """Blueprints of up to ten nodes with everything that routing knows."""
    count = draw(st.integers(2, 10))
    ids = [chr(ord("a") + i) for i in range(count)]
    nodes = [_node(draw, ids, i, cycles=cycles, joins_any=joins_any) for i in range(count)]
    pairs = draw(st.lists(st.tuples(*[st.integers(0, count - 1)] * 2), max_size=2 * count))
    edges = []
    for one, other in pairs:
        back = one >= other
        if back and not (cycles and draw(st.booleans())):
            if one == other:
                continue
            one, other, back = other, one, False
        edges.append(_edge(draw, nodes[one], nodes[other], back=back))
    _complete_controllers(nodes, edges)
    kinds = {n: tuple(draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=3))) for n in ids}
    return Case(blueprint(nodes, edges), kinds, draw(st.integers(0, 999)))


def _node(
    draw: st.DrawFn, ids: list[str], at: int, *, cycles: bool, joins_any: bool
) -> Document:
    if cycles and draw(st.integers(0, 9)) == 9:
        return node(ids[at], CONTROLLER, params={"condition": "input.go"})
    more: dict[str, Any] = {}
    if joins_any and draw(st.integers(0, 3)) == 3:
        more["joinStrategy"] = "any"
    fallbacks = ids if cycles else ids[at + 1 :]
    if fallbacks and draw(st.integers(0, 3)) == 3:
        more["fallback"] = draw(st.sampled_from(fallbacks))
    return node(ids[at], **more)


def _edge(draw: st.DrawFn, source: Document, target: Document, *, back: bool) -> Document:
    ends = (source["id"], target["id"])
    if source["uses"] == CONTROLLER:
        if back:
            return edge(*ends, "continue")
        return edge(*ends, draw(st.sampled_from([None, "continue", "break", "break"])))
    if back:
        again = draw(st.sampled_from([("act", None), (None, "result.output.go")]))
        return edge(*ends, again[0], condition=again[1])
    condition = draw(st.sampled_from(CONDITIONS))
    return edge(*ends, draw(st.sampled_from(ACTIONS)), condition=condition)


def _complete_controllers(nodes: list[Document], edges: list[Document]) -> None:
    """Give each controller the edge without which it would be refused."""
    for each in nodes:
        ways = [e for e in edges if e["source"] == each["id"] and e["action"] == "continue"]
        if each["uses"] == CONTROLLER and not ways:
            edges.append(edge(each["id"], nodes[0]["id"], "continue"))


def instance_of(run: Run, key: Key) -> Instance:
    """An instance as the oracle names it."""
    if isinstance(key, int):
        return run.plan.nodes[key].id, ()
    return run.plan.nodes[key[0]].id, key[1]


def completion(run: Run, key: Key, outcome: Outcome) -> Event:
    """The event that ends the running attempt at an instance as prescribed."""
    attempt = run.state.records[key].attempt
    if outcome.error is not None:
        message = f"{run.name(key)} failed"
        return NodeFailed(key, attempt, error(message, fatal=outcome.error == "fatal"))
    return NodeSucceeded(key, attempt, outcome.output, outcome.action)


def next_completion(run: Run, case: Case, chance: random.Random) -> Event | None:
    """The end of one of the running instances, by chance; ``None`` when none runs."""
    running = [key for key, record in run.state.records.items() if record.status == "running"]
    if not running:
        return None
    key = running[chance.randrange(len(running))]
    return completion(run, key, case.outcome(instance_of(run, key)))


def run_to_end(run: Run, case: Case, chance: random.Random) -> Run:
    """Complete one instance after the other until the run is over."""
    while (event := next_completion(run, case, chance)) is not None:
        run.send(event)
    return run
