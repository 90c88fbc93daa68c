"""The rules S1 to S6 and S10 once more, slow and simple, to compare the decision core with.

The oracle knows a blueprint and what happened (which instance of a node was completed how, in
which order), and works everything else out from that, from the beginning, each time it is
asked: no counters, no queue, nothing kept. It is written from the rules alone.

An instance is a pair of a node's id and the iteration: one number for each loop around it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any, NamedTuple

Iteration = tuple[int, ...]
Instance = tuple[str, Iteration]

PENDING, TAKEN, DEAD, FAILING = "pending", "taken", "dead", "failing"
STARTED, SUCCEEDED, FAILED, RESCUED = "running", "succeeded", "failed", "rescued"
SKIPPED, BLOCKED = "skipped", "blocked"
CONTROLLER = "loop-controller"


class Outcome(NamedTuple):
    """How an instance ended. ``error`` is ``None``, ``"plain"`` or ``"fatal"``."""

    output: Any = None
    action: str | None = None
    error: str | None = None


class Way(NamedTuple):
    """All edges from one node to another, or (``edges`` empty) the way to a fallback."""

    source: str
    target: str
    edges: tuple[Mapping[str, Any], ...]


@dataclass
class Shape:
    """What follows from the blueprint alone."""

    document: Mapping[str, Any]
    nodes: dict[str, Mapping[str, Any]] = field(init=False)
    ways: list[Way] = field(init=False)
    starts: list[str] = field(init=False)
    loops: dict[str, tuple[str, ...]] = field(init=False)
    """The headers of the loops around each node, outermost first."""

    def __post_init__(self) -> None:
        self.nodes = {each["id"]: each for each in self.document["nodes"]}
        self.ways = self._ways()
        self.starts = self._starts()
        reached = self._met_from(self.starts)
        self.ways = [way for way in self.ways if way.source in reached]
        self.loops = dict.fromkeys(self.nodes, ())
        self._find_loops(set(self.nodes), (), None, reached)
        self._enclose_stand_ins()

    def config(self, node_id: str, name: str) -> Any:
        """An entry of a node's config."""
        return self.nodes[node_id].get("config", {}).get(name)

    def fallback(self, node_id: str) -> str | None:
        """The fallback of a node, if that is another known node."""
        found = self.config(node_id, "fallback")
        return found if found in self.nodes and found != node_id else None

    def ways_out(self, node_id: str) -> list[Way]:
        """The ways that edges make out of a node."""
        return [way for way in self.ways if way.source == node_id and way.edges]

    def takes_any(self, node_id: str) -> bool:
        """Whether a node starts at the first taken edge."""
        uses = self.nodes[node_id]["uses"]
        return uses == CONTROLLER or self.config(node_id, "joinStrategy") == "any"

    def common(self, way: Way) -> int:
        """How many loops are around both ends of a way."""
        pairs = zip(self.loops[way.source], self.loops[way.target], strict=False)
        count = 0
        for one, other in pairs:
            if one != other:
                break
            count += 1
        return count

    def is_back(self, way: Way) -> bool:
        """Whether a way leads from inside a loop to its header."""
        loops = self.loops[way.target]
        return way.target in loops and self.loops[way.source][: len(loops)] == loops

    def _ways(self) -> list[Way]:
        ways: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
        for each in self.document["edges"]:
            ends = (each["source"], each["target"])
            if ends[0] in self.nodes and ends[1] in self.nodes:
                ways.setdefault(ends, []).append(each)
        edges = [Way(a, b, tuple(found)) for (a, b), found in ways.items()]
        falls = [Way(n, f, ()) for n in self.nodes if (f := self.fallback(n)) is not None]
        return edges + falls

    def _starts(self) -> list[str]:
        entered = {way.target for way in self.ways if way.edges}
        helping = {way.target for way in self.ways if not way.edges} - entered
        starts = [n for n in self.nodes if n not in entered | helping]
        named = self.document.get("metadata", {}).get("cycleEntryPoints", [])
        starts = starts or [n for n in self.nodes if n in named]
        return starts or self._cycle_starts(helping)

    def _cycle_starts(self, helping: set[str]) -> list[str]:
        direct: dict[str, list[str]] = {n: [] for n in self.nodes}
        for way in self.ways:
            direct[way.source].append(way.target)
        after = {n: _reached(direct[n], direct) for n in self.nodes}
        starts = []
        for part in {frozenset(m for m in after[n] if n in after[m]) for n in self.nodes}:
            led_to = any(part & after[n] for n in self.nodes if n not in part)
            if part and not led_to:
                members = [n for n in self.nodes if n in part]
                starts.append(next((n for n in members if n not in helping), members[0]))
        return [n for n in self.nodes if n in starts]

    def _following(self) -> dict[str, list[str]]:
        following: dict[str, list[str]] = {n: [] for n in self.nodes}
        for way in self.ways:
            following[way.source].append(way.target)
        return following

    def _enclose_stand_ins(self) -> None:
        """Give fallbacks that go on where a failed node would have a place in its loops.

        Such a fallback is in the loops that are around everything that leads to it and around
        everything it may stand in for, through other such fallbacks too.
        """
        following = self._following()
        after = {n: _reached(following[n], following) for n in self.nodes}
        places: dict[str, tuple[str, ...]] = {}

        def place(node_id: str) -> tuple[str, ...]:
            if node_id not in places:
                served = self._served(node_id, {node_id})
                places[node_id] = self.loops[node_id]
                if served and not self.ways_out(node_id) and node_id not in after[node_id]:
                    before = {way.source for way in self.ways if way.target == node_id}
                    places[node_id] = _common_start([place(n) for n in sorted(served | before)])
            return places[node_id]

        self.loops = {node_id: place(node_id) for node_id in self.nodes}

    def _served(self, node_id: str, seen: set[str]) -> set[str]:
        """The nodes a fallback may replace, at first hand or in the place of another one."""
        served: set[str] = set()
        for way in self.ways:
            if way.target == node_id and not way.edges and way.source not in seen:
                served.add(way.source)
                if not self.ways_out(way.source):
                    served |= self._served(way.source, seen | {way.source})
        return served

    def _met_from(self, starts: list[str]) -> list[str]:
        return _depth_first(starts, self._following())

    def _find_loops(
        self, members: set[str], around: tuple[str, ...], closed: str | None, met: list[str]
    ) -> None:
        following = {
            n: [t for t in targets if t in members and t != closed]
            for n, targets in self._following().items()
            if n in members
        }
        after = {n: _reached(following[n], following) for n in members}
        order = [*met, *(n for n in self.nodes if n not in met)]
        for part in {frozenset(m for m in after[n] if n in after[m]) for n in members}:
            if part:
                header = min(part, key=order.index)
                for node_id in part:
                    self.loops[node_id] = (*around, header)
                self._find_loops(set(part), (*around, header), header, met)


def _reached(first: list[str], following: Mapping[str, list[str]]) -> set[str]:
    """Everything that can be reached from some nodes, these included."""
    found = set(first)
    todo = list(first)
    while todo:
        for target in following[todo.pop()]:
            if target not in found:
                found.add(target)
                todo.append(target)
    return found


def _common_start(places: list[tuple[str, ...]]) -> tuple[str, ...]:
    shortest = min(map(len, places))
    same = takewhile(lambda at: len({place[at] for place in places}) == 1, range(shortest))
    return places[0][: len(list(same))]


def _depth_first(starts: list[str], following: Mapping[str, list[str]]) -> list[str]:
    """Nodes in the order a depth-first search meets them."""
    met: list[str] = []

    def visit(node_id: str) -> None:
        if node_id not in met:
            met.append(node_id)
            for target in following[node_id]:
                visit(target)

    for start in starts:
        visit(start)
    return met


class Taken(NamedTuple):
    """A way that was taken: from which instance, with which value, and when."""

    way: Way
    origin: Instance
    value: Any
    when: int


@dataclass
class Oracle:
    """What follows from the blueprint and from what happened so far.

    Attributes:
        shape: The blueprint.
        flags: The initial context.
        done: Each completed instance with its outcome.
        when: The number of the event with which each of them was completed.
        status: The status of every instance that is not pending.
    """

    shape: Shape
    flags: Mapping[str, Any]
    done: Mapping[Instance, Outcome]
    when: Mapping[Instance, int]
    status: dict[Instance, str] = field(default_factory=dict)
    opened: set[Instance] = field(default_factory=set)
    """Header instances of iterations that were opened by a back edge."""

    def __post_init__(self) -> None:
        while self._once_more():
            pass

    # --- what is known ---------------------------------------------------------------------

    def _once_more(self) -> bool:
        changed = False
        for instance in list(self._instances()):
            found = self._status(instance)
            if found is not None and self.status.get(instance) != found:
                self.status[instance] = found
                # At once: a loop must not look over while it goes round.
                self._open_iterations()
                changed = True
        return changed

    def _instances(self) -> Iterator[Instance]:
        """Every instance in the iterations that are open so far."""
        for node_id, loops in self.shape.loops.items():
            for iteration in self._iterations(loops):
                yield node_id, iteration

    def _iterations(self, loops: tuple[str, ...]) -> list[Iteration]:
        found: list[Iteration] = [()]
        for depth in range(len(loops)):
            found = [(*outer, n) for outer in found for n in self._rounds(loops[depth], outer)]
        return found

    def _rounds(self, header: str, outer: Iteration) -> list[int]:
        """The numbers of the open iterations of a loop."""
        number = 0
        while (header, (*outer, number + 1)) in self.opened:
            number += 1
        return list(range(number + 1))

    def _open_iterations(self) -> None:
        for way in self.shape.ways:
            if self.shape.is_back(way):
                for origin in self._at(way.source):
                    if self.fate(way, origin) == TAKEN:
                        self.opened.add(self._opened_by(way, origin))

    def _opened_by(self, way: Way, origin: Instance) -> Instance:
        depth = len(self.shape.loops[way.target])
        *outer, number = origin[1][:depth]
        return way.target, (*outer, number + 1)

    def _at(self, node_id: str) -> list[Instance]:
        return [(node_id, i) for i in self._iterations(self.shape.loops[node_id])]

    # --- one instance ----------------------------------------------------------------------

    def _status(self, instance: Instance) -> str | None:
        begun = self._readiness(instance)
        outcome = self.done.get(instance)
        if begun != STARTED or outcome is None:
            return begun
        if outcome.error is None:
            return SUCCEEDED
        plain = outcome.error == "plain"
        return RESCUED if plain and self._fall(instance[0]) is not None else FAILED

    def _fall(self, node_id: str) -> Way | None:
        for way in self.shape.ways:
            if way.source == node_id and not way.edges:
                return way
        return None

    def _readiness(self, instance: Instance) -> str | None:
        """Rule S3: whether an instance starts, is skipped or blocked, or is open."""
        node_id, iteration = instance
        if node_id in self.shape.starts and not any(iteration):
            return STARTED
        if instance in self.opened:
            return STARTED
        if self.shape.loops[node_id][-1:] == (node_id,) and iteration[-1] > 0:
            return None
        fates = [(way, self.fate_at(way, iteration)) for way in self._waits_for(instance)]
        edges = [fate for way, fate in fates if way.edges]
        falls = [fate for way, fate in fates if not way.edges]
        if TAKEN in falls or (TAKEN in edges and self.shape.takes_any(node_id)):
            return STARTED
        by_edges = any(
            way.target == node_id and way.edges and not self.shape.is_back(way)
            for way in self.shape.ways
        )
        failing = FAILING in edges or (FAILING in falls and not by_edges)
        # Of a node that may be needed as a fallback all is awaited, of another one failing edge.
        if failing and not self.shape.takes_any(node_id) and not falls:
            return BLOCKED
        if PENDING in edges + falls or not fates:
            return None
        if failing:
            return BLOCKED
        return STARTED if TAKEN in edges else SKIPPED

    def _waits_for(self, instance: Instance) -> list[Way]:
        """The ways into an instance; one that enters a loop counts in its first round only."""
        node_id, iteration = instance
        return [
            way
            for way in self.shape.ways
            if way.target == node_id
            and not self.shape.is_back(way)
            and not any(iteration[self.shape.common(way) :])
        ]

    # --- one way ---------------------------------------------------------------------------

    def fate_at(self, way: Way, iteration: Iteration) -> str:
        """The fate of a way into the instance of its target at an iteration."""
        shared = iteration[: self.shape.common(way)]
        origins = [o for o in self._at(way.source) if o[1][: len(shared)] == shared]
        loops = self.shape.loops[way.source]
        if len(loops) == len(shared):
            return self.fate(way, origins[0]) if origins else PENDING
        if any(self.fate(way, origin) == TAKEN for origin in origins):
            return TAKEN
        left = loops[: len(shared) + 1]
        if not self._is_over(left, shared):
            return PENDING
        return FAILING if self._ended_by_failure(left, shared) else DEAD

    def fate(self, way: Way, origin: Instance) -> str:
        """The fate of a way out of one instance (rules S2 and S4)."""
        status = self.status.get(origin)
        if status in (None, STARTED):
            return PENDING
        if status == RESCUED:
            return self._rescued_fate(way, origin) if way.edges else TAKEN
        if status == SUCCEEDED:
            return TAKEN if way in self._chosen(origin[0], self.done[origin]) else DEAD
        return DEAD if status == SKIPPED else FAILING

    def _rescued_fate(self, way: Way, origin: Instance) -> str:
        helper = origin
        while self.status.get(helper) == RESCUED:
            helper = self.helper(helper)
            if self.shape.ways_out(helper[0]):
                return DEAD
        status = self.status.get(helper)
        if status in (None, STARTED):
            return PENDING
        if status == SUCCEEDED:
            return TAKEN if way in self._chosen(origin[0], self.done[helper]) else DEAD
        return FAILING

    def helper(self, origin: Instance) -> Instance:
        """The instance of the fallback that takes the place of a failed one."""
        way = self._fall(origin[0])
        assert way is not None
        if self.shape.is_back(way):
            return self._opened_by(way, origin)
        shared = origin[1][: self.shape.common(way)]
        rest = len(self.shape.loops[way.target]) - len(shared)
        return way.target, shared + (0,) * rest

    def stand_in(self, origin: Instance) -> Instance:
        """The instance whose outcome a taken way hands on."""
        while self.status.get(origin) == RESCUED:
            origin = self.helper(origin)
        return origin

    def _chosen(self, node_id: str, outcome: Outcome) -> list[Way]:
        """Rule S2: the ways out of a node that its outcome takes."""
        ways = self.shape.ways_out(node_id)

        def ways_with(wanted: str | None) -> list[Way]:
            return [
                way
                for way in ways
                if any(e.get("action") == wanted and self._holds(e, outcome) for e in way.edges)
            ]

        if self.shape.nodes[node_id]["uses"] == CONTROLLER:
            first = [
                way
                for way in ways
                if any(
                    e.get("condition") and not e.get("action") and self._holds(e, outcome)
                    for e in way.edges
                )
            ]
            if first:
                return first
        return (ways_with(outcome.action) if outcome.action else []) or ways_with(None)

    def _holds(self, edge: Mapping[str, Any], outcome: Outcome) -> bool:
        """Conditions here are ``result.output.NAME`` or the name of a flag."""
        condition = edge.get("condition")
        if not condition:
            return True
        if condition.startswith("result.output."):
            output = outcome.output if isinstance(outcome.output, Mapping) else {}
            return bool(output.get(condition.rpartition(".")[2]))
        return bool(self.flags.get(condition))

    # --- loops -----------------------------------------------------------------------------

    def _inside(self, loops: tuple[str, ...], outer: Iteration) -> list[Instance]:
        depth = len(loops)
        return [
            instance
            for instance in self._instances()
            if self.shape.loops[instance[0]][:depth] == loops
            and instance[1][: len(outer)] == outer
        ]

    def _is_over(self, loops: tuple[str, ...], outer: Iteration) -> bool:
        return all(self._is_settled(instance) for instance in self._inside(loops, outer))

    def _is_settled(self, instance: Instance) -> bool:
        status = self.status.get(instance)
        if status == RESCUED:
            ways = self.shape.ways_out(instance[0])
            helper = self.helper(instance)
            if self.shape.ways_out(helper[0]):
                return True
            if ways:
                return all(self.fate(way, instance) != PENDING for way in ways)
            return self._is_settled(helper)
        return status not in (None, STARTED)

    def _ended_by_failure(self, loops: tuple[str, ...], outer: Iteration) -> bool:
        """Whether an exit or a back edge of a loop was failing in some iteration."""
        depth = len(loops)
        for origin in self._inside(loops, outer):
            for way in self.shape.ways:
                if way.source != origin[0] or self.fate(way, origin) != FAILING:
                    continue
                leaves = self.shape.common(way) == depth - 1 and not self.shape.is_back(way)
                returns = self.shape.is_back(way) and self.shape.loops[way.target] == loops
                if leaves or returns:
                    return True
        return False

    # --- inputs and the end ----------------------------------------------------------------

    def taken_into(self, instance: Instance) -> list[Taken]:
        """The ways that were taken into an instance, in the order they were."""
        node_id, iteration = instance
        found = []
        for way in self.shape.ways:
            if way.target != node_id:
                continue
            for origin in self._at(way.source):
                if self.fate(way, origin) != TAKEN or not self._leads_to(way, origin, iteration):
                    continue
                value = self.done[self.stand_in(origin)].output if way.edges else None
                found.append(Taken(way, origin, value, self._taken_at(way, origin)))
        return sorted(found, key=lambda each: each.when)

    def _taken_at(self, way: Way, origin: Instance) -> int:
        own = self.when[origin]
        return max(own, self.when[self.stand_in(origin)]) if way.edges else own

    def _leads_to(self, way: Way, origin: Instance, iteration: Iteration) -> bool:
        if self.shape.is_back(way):
            return self._opened_by(way, origin)[1] == iteration
        common = self.shape.common(way)
        return origin[1][:common] == iteration[:common] and not any(iteration[common:])

    def possible_inputs(self, instance: Instance) -> list[Any]:
        """Rule S6: the input of a started instance.

        Several where one way alone counts and two were taken by the same event; empty where
        the rules leave open which.
        """
        taken = self.taken_into(instance)
        falls = [each for each in taken if not each.way.edges]
        alone = self.shape.takes_any(instance[0]) or instance in self.opened
        if falls and not alone:
            return [None]
        first = [each for each in taken if each.when == taken[0].when]
        if alone:
            return [each.value for each in first]
        given: dict[str, Taken] = {}
        for each in taken:
            earlier = given.setdefault(each.way.source, each)
            if earlier is not each and earlier.when == each.when:
                return []
        values = {source: each.value for source, each in given.items()}
        return [values if len(values) > 1 else next(iter(values.values()), None)]

    def final_status(self) -> str:
        """Rule S5, for a run in which nothing is under way any more."""
        failed = any(status == FAILED for status in self.status.values())
        return "failed" if failed else "completed"

