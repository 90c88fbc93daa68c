"""The rules S1 to S6 and S10 once more, slow and simple, to compare the decision core with.

The oracle knows a blueprint and what happened (which instance of a node was completed how, in
which order), and works everything else out from that, from the beginning, each time it is
asked: no counters, no queue, nothing kept. It is written from the rules alone.

An instance is a pair of a node's id and the iteration: one number for each loop around it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests.property.shape import CONTROLLER, Shape, Way

Iteration = tuple[int, ...]
Instance = tuple[str, Iteration]

PENDING, TAKEN, DEAD, FAILING = "pending", "taken", "dead", "failing"
STARTED, SUCCEEDED, FAILED, RESCUED = "running", "succeeded", "failed", "rescued"
SKIPPED, BLOCKED = "skipped", "blocked"


class Outcome(NamedTuple):
    """How an instance ended. ``error`` is ``None``, ``"plain"`` or ``"fatal"``."""

    output: Any = None
    action: str | None = None
    error: str | None = None


class Taken(NamedTuple):
    """A way that was taken: from which instance, with which value, when."""

    way: Way
    origin: Instance
    value: Any
    transformed: bool
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
            return TAKEN if self._takes(origin[0], self.done[origin], way) else DEAD
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
            return TAKEN if self._takes(origin[0], self.done[helper], way) else DEAD
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

    def _chosen(self, node_id: str, outcome: Outcome) -> list[tuple[Way, Mapping[str, Any]]]:
        """Rule S2: the ways out of a node that its outcome takes, each with its last edge."""
        edges = [(way, each) for way in self.shape.ways_out(node_id) for each in way.edges]
        open_edges = [(way, each) for way, each in edges if self._holds(each, outcome)]
        plain = [(way, each) for way, each in open_edges if not each.get("action")]
        if self.shape.nodes[node_id]["uses"] == CONTROLLER:
            first = [(way, each) for way, each in plain if each.get("condition")]
            if first:
                return first
        named = [(w, e) for w, e in open_edges if outcome.action and e["action"] == outcome.action]
        return named or plain

    def _takes(self, node_id: str, outcome: Outcome, way: Way) -> bool:
        return any(each is way for each, _ in self._chosen(node_id, outcome))

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
            if self.shape.loops[instance[0]][:depth] == loops and instance[1][: len(outer)] == outer
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
                value, transformed = self._value(way, origin) if way.edges else (None, False)
                when = self._taken_at(way, origin)
                found.append(Taken(way, origin, value, transformed, when))
        return sorted(found, key=lambda each: each.when)

    def _value(self, way: Way, origin: Instance) -> tuple[Any, bool]:
        """What a taken way hands on, and whether an edge transformed it (always `input.of`)."""
        outcome = self.done[self.stand_in(origin)]
        taken = [e for w, e in self._chosen(origin[0], outcome) if w is way]
        if not taken[-1].get("transform"):
            return outcome.output, False
        return outcome.output["of"] if isinstance(outcome.output, Mapping) else None, True

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
        inputs = self.shape.nodes[instance[0]].get("inputs")
        if isinstance(inputs, Mapping):
            return [{name: self.flags.get(key) for name, key in inputs.items()}]
        alone = self.shape.takes_any(instance[0]) or instance in self.opened
        falls = [each for each in taken if not each.way.edges]
        if alone or falls:
            first = falls if falls and not alone else taken
            first = [each for each in first if each.when == first[0].when]
            return [self._given(inputs, [each]) for each in first] or [self._given(inputs, [])]
        kept: dict[str, Taken] = {}
        for each in taken:
            earlier = kept.setdefault(each.way.source, each)
            if earlier is not each and earlier.when == each.when:
                return []
        return [self._given(inputs, list(kept.values()))]

    def _given(self, inputs: str | None, taken: list[Taken]) -> Any:
        """The input that taken ways and ``inputs`` as text make (here always a flag's name)."""
        if inputs is not None:
            taken = [each for each in taken if each.transformed]
            if not taken:
                return self.flags.get(inputs)
        if len(taken) == 1:
            return taken[0].value
        return {each.way.source: each.value for each in taken} or None

    def final_status(self) -> str:
        """Rule S5, for a run in which nothing is under way any more."""
        failed = any(status == FAILED for status in self.status.values())
        return "failed" if failed else "completed"
