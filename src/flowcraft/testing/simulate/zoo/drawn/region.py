"""Parts and how they follow each other: a workflow, the body of a loop, or a child."""

from __future__ import annotations

from typing import Any, Final

from flowcraft.testing.simulate.zoo.drawn.document import Paper
from flowcraft.testing.simulate.zoo.drawn.parts import SEED, Known, Maker, Part

SINGLE: Final = ("task", "wait", "sleep", "child")
"""Parts that are one node: these may take any of their edges."""

RESCUED: Final = ("task", "child")
MOST_ITEMS: Final = 6
DEEPEST: Final = 2
EARLY: Final = 3
"""How many parts before it the one is that surely leads to a part."""


class Region:
    """Parts on a paper, with edges from earlier to later ones.

    What comes of it does not depend on who is faster: a node refers to what has ended for sure
    when it begins; one that takes any of its edges is given something else as its input; and
    everything in a round of a loop is over before the next one begins.

    Args:
        paper: The blueprint.
        depth: How many loops and children are around it.
        known: What is there when it begins.
    """

    def __init__(self, paper: Paper, depth: int = 0, known: Known | None = None) -> None:
        self.paper = paper
        self.workflow = paper.workflow
        self.chance = paper.workflow.chance
        self.mix = paper.workflow.mix
        self.make = Maker(paper)
        self.parts: list[Part] = []
        self._depth = depth
        self._around = known or Known()
        self._kinds: list[str] = []
        self._anys: list[bool] = []
        self._pairs: list[tuple[int, int]] = []
        self._rescues: dict[int, int | None] = {}
        self._known: list[Known] = []

    def draw(self, size: int) -> None:
        """Add so many parts, and edges between them."""
        self._kinds = [self._kind() for _ in range(size)]
        self._pairs = self._some_pairs(size)
        self._anys = [self._takes_any(at) for at in range(size)]
        self._plan_rescues(size)
        for at in range(size):
            self._known.append(self._known_at(at))
            self.parts.append(self._part(at))
        for one, other in self._pairs:
            # A transform goes before ``inputs``, and would say which edge came first.
            self._link(
                self.parts[one], self.parts[other], 0 if self._anys[other] else self.mix.transforms
            )
        for at, target in self._rescues.items():
            self._rescue(at, target)
        self._cross()
        self._order_undoing()

    # -- the plan ---------------------------------------------------------------------------

    def _kind(self) -> str:
        if not self.chance.happens(self.mix.composites):
            return "task"
        kinds = ["wait", "sleep", "batch", "fork", "adder"]
        if self._depth < DEEPEST:
            kinds += ["child", "loop", "ring", "loop", "batch"]
        return self.chance.pick(kinds)

    def _some_pairs(self, size: int) -> list[tuple[int, int]]:
        """A tree that is cut in few places, and some more."""
        chance = self.chance
        pairs = [
            (max(0, at - 1 - chance.below(EARLY)), at)
            for at in range(1, size)
            if chance.happens(0.9)
        ]
        for _ in range(chance.below(size)):
            one, other = chance.below(size), chance.below(size)
            if one != other:
                pairs.append((min(one, other), max(one, other)))
        return list(dict.fromkeys(pairs))

    def _entering(self, at: int) -> list[int]:
        return [one for one, other in self._pairs if other == at]

    def _takes_any(self, at: int) -> bool:
        may = self._kinds[at] in SINGLE and len(self._entering(at)) > 1
        return may and self.chance.happens(self.mix.anys)

    def _plan_rescues(self, size: int) -> None:
        """Who has a fallback, and the part to which that leads, if it goes a way of its own."""
        for at in range(size):
            if self._kinds[at] in RESCUED and self.chance.happens(self.mix.fallbacks):
                later = [each for each in range(at + 1, size) if not self._anys[each]]
                has_way = bool(later) and self.chance.happens(0.4)
                self._rescues[at] = self.chance.pick(later) if has_way else None

    def _known_at(self, at: int) -> Known:
        sources = self._entering(at)
        sources += [one for one, other in self._rescues.items() if other == at]
        found = [self._after(one) for one in sources]
        if not found:
            return self._around
        known = found[0]
        for more in found[1:]:
            known = known & more if self._anys[at] else known | more
        return known

    def _after(self, at: int) -> Known:
        """What is known when a part has ended."""
        part = self.parts[at]
        return self._known[at] | Known((part.exit,), part.keys)

    # -- the parts --------------------------------------------------------------------------

    def _part(self, at: int) -> Part:
        kind, known, takes_any = self._kinds[at], self._known[at], self._anys[at]
        match kind:
            case "task":
                return self.make.task(known, takes_any=takes_any, is_rescued=at in self._rescues)
            case "wait":
                return self.make.wait(known, takes_any=takes_any)
            case "sleep":
                return self.make.sleep(known, takes_any=takes_any)
            case "batch":
                return self.make.batch(MOST_ITEMS - self._depth)
            case "fork":
                return self.make.fork(known)
            case "adder":
                return self.make.adder()
            case "child":
                return self._child(known, takes_any)
            case _:
                return self._loop(known, kind == "loop", is_entered=bool(self._entering(at)))

    def _loop(self, known: Known, has_controller: bool, *, is_entered: bool) -> Part:
        """A loop: what leads to it, its body, and what ends each round."""
        make, paper = self.make, self.paper
        rounds, counter = self.chance.pick((1, 2, 2, 3)), self.workflow.key()
        last = make.sure("o", rounds=rounds, adds={counter: 1})
        begin = make.sure("h", sets={counter: 0}, go=[True])
        if has_controller:
            condition = self.chance.pick(("input.go", f"{counter} < {rounds - 1}"))
            head = paper.node("c", "loop-controller", {"condition": condition})
            paper.edge(begin, head)
            paper.edge(last, head)
        else:
            # Without anything before it the graph would not begin there.
            head = begin if is_entered else make.sure("h")
            if head != begin:
                paper.edge(begin, head)
            paper[begin]["params"]["sets"], paper[last]["params"]["again"] = {}, True
            paper.edge(last, head, action="again")
        body = Region(paper, self._depth + 1, known | Known((begin,)))
        body.draw(1 + self.chance.below(3 - self._depth))
        body.close(head, last, "continue" if has_controller else None)
        inner = tuple(part.exit for part in body.parts if part.is_task)
        if has_controller:
            return Part(begin, head, (), "break", inner=inner)
        return Part(begin, last, inner=inner)

    def close(self, head: str, last: str, action: str | None) -> None:
        """Connect the body of a loop with its head and its end."""
        entered = {other for _, other in self._pairs}
        entered |= {other for other in self._rescues.values() if other is not None}
        left = {one for one, _ in self._pairs}
        # Whoever takes any does not wait for the others, and the next round may not overtake them.
        left -= {one for one, other in self._pairs if self._anys[other]}
        more = {"action": action} if action else {}
        for at, part in enumerate(self.parts):
            if at not in entered:
                self.paper.edge(head, part.entry, **more)
            if at not in left:
                self._leave(part, last)

    def _child(self, known: Known, takes_any: bool) -> Part:
        """A run of its own."""
        workflow, chance = self.workflow, self.chance
        paper = Paper(workflow)
        region = Region(paper, self._depth + 1)
        region.draw(1 + chance.below(4 - self._depth))
        name = f"{workflow.name}-{workflow.number()}"
        workflow.children.append(paper.document(name))
        params: dict[str, Any] = {"blueprintId": name}
        if chance.happens(0.4):
            params["inputs"] = {SEED: SEED, "yes": "yes", "no": "no"}
            if known.ids:
                params["inputs"]["given"] = chance.pick(known.ids)
        keys: tuple[str, ...] = ()
        if chance.happens(0.4):
            keys = (workflow.key(),)
            params["outputs"] = {keys[0]: region.parts[-1].exit}
        config: dict[str, Any] = {"joinStrategy": "any"} if takes_any else {}
        if chance.happens(0.15):
            config |= {"maxRetries": 2, "retryDelay": 700}
        inputs = SEED if takes_any else None
        made = self.paper.node("r", "subflow", params, inputs=inputs, config=config)
        self.make.undo(made)
        return Part(made, made, keys)

    # -- the edges --------------------------------------------------------------------------

    def _link(self, one: Part, other: Part, transforms: float) -> None:
        """An edge that is taken always, or under a condition, or for an action."""
        chance, more = self.chance, {}
        if one.is_task and chance.happens(self.mix.choices):
            more = chance.pick(
                (
                    {"action": "act"},
                    {"action": "other"},
                    {"condition": "result.output.go"},
                    {"condition": "result.output.go"},
                    {"action": "act", "condition": "yes"},
                    {"condition": "result.nothing.at.all"},
                )
            )
        elif one.action is None and chance.happens(0.5 * self.mix.choices):
            more = {"condition": chance.pick(("yes", "no", "yes"))}
        if chance.happens(transforms):
            more = more | {"transform": "input.in" if one.is_task else "{given: input}"}
        self._leave(one, other.entry, **more)

    def _leave(self, one: Part, target: str, **more: Any) -> None:
        if one.action is not None:
            more["action"] = one.action
        self.paper.edge(one.exit, target, **more)

    def _rescue(self, at: int, target: int | None) -> None:
        last = self.make.fallback(self.parts[at].exit, self._known[at])
        if target is not None:
            self.paper.edge(last, self.parts[target].entry)

    def _cross(self) -> None:
        """Edges that leave a loop from its middle."""
        for at, part in enumerate(self.parts):
            rest = zip(self.parts[at + 1 :], self._anys[at + 1 :], strict=True)
            later = [other for other, takes_any in rest if not takes_any]
            if part.inner and later and self.chance.happens(self.mix.crossings):
                target = self.chance.pick(later)
                more = {"condition": "result.output.go"} if self.chance.happens(0.5) else {}
                self.paper.edge(self.chance.pick(part.inner), target.entry, **more)

    def _order_undoing(self) -> None:
        if self._depth:
            return
        for at, part in enumerate(self.parts):
            later = self._undo_of(part)
            for known in self._known[at].ids if later else ():
                earlier = self.paper[known].get("config", {}).get("compensate")
                if earlier is not None and later is not None:
                    self.workflow.undone.setdefault(later, set()).add(earlier)

    def _undo_of(self, part: Part) -> str | None:
        found: str | None = self.paper[part.exit].get("config", {}).get("compensate")
        return found
