"""Random blueprints, with an outcome prescribed for every node and iteration."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import Phase
from hypothesis import strategies as st

from flowcraft.core.events import Event, NodeFailed, NodeSucceeded
from flowcraft.core.plan import Key
from flowcraft.errors import FlowcraftError
from tests.property.drive import Document, Run, blueprint, edge, error, node
from tests.property.oracle import Instance, Outcome
from tests.property.shape import CONTROLLER

FLAGS = {"yes": True, "no": False}
LAST_ROUND = 2
"""From this iteration on no loop goes round again and nothing fails, so that runs end."""

SEEDS = st.integers(0, 2**48)
WITHOUT_SHRINKING = (Phase.explicit, Phase.reuse, Phase.generate)
"""A smaller seed is no smaller case: `check_smallest` makes failing cases small instead."""

CONDITIONS = ("result.output.go", "result.output.go", "yes", "no", "result.nothing.at.all")
EASY = ("ok", "ok", "ok", "go", "go", "go+act", "act", "other")
HARD = ("fail", "fail", "fail", "fatal")


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


@dataclass(frozen=True)
class Mix:
    """How likely the parts of a random graph are, each from 0 to 1."""

    choices: float
    backs: float
    anys: float
    fallbacks: float
    controllers: float
    failures: float
    inputs: float


def case_of(seed: int, *, cycles: bool = True, anys: bool = True) -> Case:
    """A random case; the same seed gives the same one."""
    chance = random.Random(seed)
    mix = Mix(
        choices=chance.choice([0.1, 0.4]),
        backs=chance.choice([0.15, 0.4]) if cycles else 0,
        anys=chance.choice([0, 0.3]) if anys else 0,
        fallbacks=chance.choice([0, 0.3]),
        controllers=chance.choice([0, 0.25]) if cycles else 0,
        failures=chance.choice([0, 0.1, 0.3]),
        inputs=chance.choice([0, 0, 0.3]),
    )
    ids = [chr(ord("a") + at) for at in range(chance.randint(2, 11))]
    nodes = [_node(chance, mix, ids, at) for at in range(len(ids))]
    edges = [_edge(chance, mix, nodes, *pair) for pair in _pairs(chance, mix, len(ids))]
    _complete_controllers(nodes, edges)
    chance.shuffle(edges)
    kinds = {
        node_id: tuple(
            chance.choice(HARD if chance.random() < mix.failures else EASY) for _ in range(3)
        )
        for node_id in ids
    }
    return Case(blueprint(nodes, edges), kinds, seed)


def _pairs(chance: random.Random, mix: Mix, count: int) -> list[tuple[int, int]]:
    """Places of edges: a tree that is cut in few places, some more ahead, some back."""
    tree = [
        (chance.randrange(max(0, at - 3), at), at)
        for at in range(1, count)
        if chance.random() < 0.9
    ]
    more = [sorted(chance.sample(range(count), 2)) for _ in range(chance.randrange(count))]
    backs = [
        (one, chance.randrange(max(0, one - 4), one + 1))
        for one in range(count)
        if chance.random() < mix.backs
    ]
    return [*tree, *[(one, other) for one, other in more], *backs]


def _node(chance: random.Random, mix: Mix, ids: list[str], at: int) -> Document:
    if chance.random() < mix.controllers:
        return node(ids[at], CONTROLLER, params={"condition": "input.go"})
    more: dict[str, Any] = {}
    if chance.random() < mix.inputs:
        more["inputs"] = chance.choice(["yes", "nobody", {"a": "yes", "b": "no"}])
    if chance.random() < mix.anys:
        more["joinStrategy"] = "any"
    if chance.random() < mix.fallbacks:
        ahead = ids if mix.backs and chance.random() < 0.2 else ids[at + 1 :]
        more["fallback"] = chance.choice(ahead or ["nobody"])
    return node(ids[at], **more)


def _edge(chance: random.Random, mix: Mix, nodes: list[Document], one: int, other: int) -> Document:
    ends, back = (nodes[one]["id"], nodes[other]["id"]), one >= other
    if nodes[one]["uses"] == CONTROLLER:
        return edge(*ends, "continue" if back else chance.choice(["break", "continue", None]))
    if back:
        again = chance.choice([("act", None), (None, "result.output.go")])
        return edge(*ends, again[0], condition=again[1])
    if chance.random() < mix.inputs:
        return edge(*ends, chance.choice([None, "act"]), transform="input.of")
    if chance.random() >= mix.choices:
        return edge(*ends)
    if chance.random() < 0.5:
        return edge(*ends, chance.choice(["act", "other"]))
    return edge(*ends, chance.choice([None, None, "act"]), condition=chance.choice(CONDITIONS))


def _complete_controllers(nodes: list[Document], edges: list[Document]) -> None:
    """Give each controller the edge without which it would be refused."""
    for at, each in enumerate(nodes):
        ways = [e for e in edges if e["source"] == each["id"] and e["action"] == "continue"]
        if each["uses"] == CONTROLLER and not ways:
            edges.append(edge(each["id"], nodes[max(0, at - 1)]["id"], "continue"))


def smaller(case: Case) -> Iterator[Case]:
    """Cases with one thing less, to find out what a failure needs."""
    document = case.document
    nodes, edges = document["nodes"], document["edges"]
    for at in range(len(edges)):
        yield replace(case, document=document | {"edges": edges[:at] + edges[at + 1 :]})
    for at, each in enumerate(nodes):
        fewer = [e for e in edges if each["id"] not in (e["source"], e["target"])]
        left = {"nodes": nodes[:at] + nodes[at + 1 :], "edges": fewer}
        yield replace(case, document=document | left)
        if "config" in each:
            bare = [*nodes[:at], node(each["id"]), *nodes[at + 1 :]]
            yield replace(case, document=document | {"nodes": bare})
    for node_id, kinds in case.kinds.items():
        if set(kinds) != {"ok"}:
            yield replace(case, kinds={**case.kinds, node_id: ("ok",)})


def check_smallest(case: Case, check: Callable[[Case], object]) -> None:
    """Run a check; when it fails, raise the failure of the smallest case that fails as well."""
    try:
        check(case)
        return
    except (AssertionError, LookupError) as failure:
        found: Exception = failure
    progress = True
    while progress:
        progress = False
        for less in smaller(case):
            try:
                check(less)
            except (AssertionError, LookupError) as failure:
                case, found, progress = less, failure, True
                break
            except FlowcraftError:
                continue  # one thing less made it malformed
    raise AssertionError(f"{found}\nin {case}") from found


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
