"""What follows from a blueprint alone: where it starts, which loops it has, how they nest.

Part of the oracle: written from the rules S1, S3 and S4, slow and simple.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any, NamedTuple

CONTROLLER = "loop-controller"


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
        return bool(uses == CONTROLLER or self.config(node_id, "joinStrategy") == "any")

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
