"""Many simulated runs: every request of every workflow disturbed, and whatever chance has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice, product
from itertools import count as counting

from flowcraft.adapters.system import SystemClock
from flowcraft.testing.simulate.backends import MemoryBackend, NewBackend
from flowcraft.testing.simulate.chance import Chance
from flowcraft.testing.simulate.faults import KINDS, Fault, Kind
from flowcraft.testing.simulate.own import OwnStory
from flowcraft.testing.simulate.play import Played, play
from flowcraft.testing.simulate.scenario import Scenario, any_scenario
from flowcraft.testing.simulate.story import Story

KEPT_VIOLATIONS = 20
"""Violations that are kept whole; more are only counted."""

SHOWN_REQUESTS = 25
SCENARIOS_OF_DRAWN = 4
"""How much happens to each of the workflows that are drawn, beside a run of it in peace."""


@dataclass(frozen=True)
class Violation:
    """A simulated run in which something was wrong.

    Attributes:
        played: The run.
        replay: What runs it once more: a command, or the text for ``simulate(…, replay=…)``.
    """

    played: Played
    replay: str

    def __str__(self) -> str:
        played = self.played
        requests = played.requests[-SHOWN_REQUESTS:]
        faults = ", ".join(map(str, played.scenario.faults)) or "none"
        lines = [
            *(str(problem) for problem in played.problems),
            f"  graph {played.scenario.graph}, seed {played.scenario.seed}, faults: {faults}",
            f"  the last {len(requests)} requests:",
            *(f"    {each}" for each in requests),
            f"  to replay it: {self.replay}",
        ]
        return "\n".join(lines)


@dataclass
class Report:
    """What came of many runs.

    Attributes:
        runs: How many there were.
        violations: The first of those in which something was wrong.
        violated: How many there were of those.
        repeated: Nodes whose bodies ran more than once for the same idempotency key, with how
            often, and how to see it: what they do outside must bear that.
        ran: Nodes of workflows of one's own whose bodies ran at all.
        seconds: How long it took, in real time.
    """

    runs: int = 0
    violations: list[Violation] = field(default_factory=list)
    violated: int = 0
    repeated: dict[str, tuple[int, str]] = field(default_factory=dict)
    ran: set[str] = field(default_factory=set)
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether nothing was wrong."""
        return self.violated == 0

    @property
    def untried(self) -> tuple[str, ...]:
        """Nodes of one's own that ran and never ran again: whether they bear it is not known."""
        return tuple(sorted(self.ran - set(self.repeated)))

    def add(self, played: Played, replay: str) -> None:
        """Count a run."""
        self.runs += 1
        if played.problems:
            self.violated += 1
            if len(self.violations) < KEPT_VIOLATIONS:
                self.violations.append(Violation(played, replay))
        for node_id, times in played.repeated.items():
            if times > self.repeated.get(node_id, (0, ""))[0]:
                self.repeated[node_id] = times, replay

    def add_own(self, played: Played) -> None:
        """Note which nodes of a workflow of one's own ran."""
        self.ran |= {end.node_id for end in played.ends}

    def merge(self, other: Report) -> None:
        """Count the runs of another report, too."""
        self.runs += other.runs
        self.violated += other.violated
        self.ran |= other.ran
        self.violations += other.violations[: KEPT_VIOLATIONS - len(self.violations)]
        for node_id, seen in other.repeated.items():
            self.repeated[node_id] = max(seen, self.repeated.get(node_id, (0, "")))

    def __str__(self) -> str:
        rate = self.runs / self.seconds if self.seconds else 0.0
        counts = f"{self.runs} runs, {self.violated} violations, {rate:.0f} runs/s"
        if not self.untried:
            return counts
        names = ", ".join(map(repr, self.untried))
        return f"not tried, since they never ran again: {names}\n{counts}"


SWEPT: tuple[Kind, ...] = (Kind.CRASH_BEFORE, Kind.CRASH_AFTER, Kind.LOST)
SWEPT_MORE: tuple[Kind, ...] = tuple(kind for kind in KINDS if kind not in SWEPT)


def sweep(
    story: Story,
    seed: int,
    kinds: Sequence[Kind] = SWEPT,
    new_backend: NewBackend = MemoryBackend,
    *,
    workers: Sequence[int] = (1, 2),
    doubles: Sequence[bool] = (False, True),
) -> Iterator[Scenario]:
    """Each request of each process of a workflow, with each kind of fault, with duplicates too."""
    for count, doubled in product(workers, doubles):
        plain = Scenario(story.name, seed, workers=count, doubles=doubled)
        yield plain
        for process, made in play(story, plain, new_backend).made.items():
            for number, kind in product(range(1, made + 1), kinds):
                yield replace(plain, faults=(Fault(process, number, kind),))


def aimed(
    story: Story,
    seed: int,
    kinds: Sequence[Kind] = KINDS,
    new_backend: NewBackend = MemoryBackend,
) -> Iterator[Scenario]:
    """For each node a run in which its body has to run again.

    Its process dies once the body is through, before the result is stored; where none is to die,
    it stops for longer than its lease lasts, and another one takes over.
    """
    kind = next((each for each in (Kind.CRASH_BEFORE, Kind.STALL_BEFORE) if each in kinds), None)
    if kind is None:
        return
    plain = Scenario(story.name, seed, workers=1 if kind is Kind.CRASH_BEFORE else 2)
    seen: set[str] = set()
    for end in play(story, plain, new_backend).ends:
        if end.node_id not in seen:
            seen.add(end.node_id)
            yield replace(plain, faults=(Fault(end.process, end.number, kind),))


def at_random(
    stories: Sequence[Story],
    seed: int,
    kinds: Sequence[Kind] = KINDS,
    new_backend: NewBackend = MemoryBackend,
) -> Iterator[Scenario]:
    """Scenarios without end: each workflow in turn, each with a seed of its own."""
    made: dict[str, Mapping[str, int]] = {}
    number = 0
    while True:
        for story in stories:
            if story.name not in made:
                made[story.name] = play(story, Scenario(story.name, seed), new_backend).made
            own_seed = Chance("campaign", seed, number).below(1 << 31)
            yield any_scenario(story.name, own_seed, made[story.name], kinds)
            number += 1


def of_drawn(
    draw: Callable[[int], Story],
    seed: int,
    kinds: Sequence[Kind] = KINDS,
    new_backend: NewBackend = MemoryBackend,
) -> Iterator[Scenario]:
    """Scenarios without end, a few of each of many workflows.

    Args:
        draw: Gives the workflow of a number.
        seed: Decides which workflows there are, and what happens.
        kinds: What may happen.
        new_backend: Makes the place for runs and messages.
    """
    for drawn in counting():
        story = draw(Chance("drawn", seed, drawn).below(1 << 31))
        plain = Scenario(story.name, seed)
        yield plain
        made = play(story, plain, new_backend).made
        for number in range(SCENARIOS_OF_DRAWN):
            own_seed = Chance("drawn", seed, drawn, number).below(1 << 31)
            yield any_scenario(story.name, own_seed, made, kinds)


def campaign(
    stories: Sequence[Story],
    runs: int,
    seed: int,
    kinds: Sequence[Kind] = KINDS,
    new_backend: NewBackend = MemoryBackend,
) -> Iterator[Scenario]:
    """So many scenarios: half of them, at most, a sweep over single faults, the others any.

    Of workflows of one's own it is first seen that each node runs again, as far as that goes.
    """
    own = [story for story in stories if isinstance(story, OwnStory)]
    first = list(_in_turn([list(aimed(each, seed, kinds, new_backend)) for each in own]))
    if len(first) > runs:
        Chance("aimed", seed).shuffle(first)
    yield from (first := first[:runs])
    swept = [kind for kind in SWEPT if kind in kinds]
    chosen = [Chance("sweep", seed, story.name) for story in stories]
    singles = [list(sweep(each, seed, swept, new_backend)) for each in stories] if swept else []
    for scenarios, chance in zip(singles, chosen, strict=False):
        if sum(map(len, singles)) > runs // 2:
            chance.shuffle(scenarios)
    known = set(first)
    left = (each for each in _in_turn(singles) if each not in known)
    taken = list(islice(left, max(0, runs // 2 - len(first))))
    yield from taken
    more = runs - len(first) - len(taken)
    yield from islice(at_random(stories, seed, kinds, new_backend), more)


def _in_turn(lists: Sequence[Sequence[Scenario]]) -> Iterator[Scenario]:
    """The first of each, then the second of each, and so on."""
    longest = max(map(len, lists), default=0)
    return chain.from_iterable(
        [each[place] for each in lists if place < len(each)] for place in range(longest)
    )


def run_all(
    stories: Mapping[str, Story],
    scenarios: Iterable[Scenario],
    new_backend: NewBackend = MemoryBackend,
    *,
    replay_of: Callable[[Scenario], str] = str,
    on_violation: Callable[[Violation], None] = lambda _: None,
) -> Report:
    """Play scenarios, one after the other.

    Args:
        stories: The workflows, by name.
        scenarios: What happens.
        new_backend: Makes the place for runs and messages.
        replay_of: Tells how to run a scenario again.
        on_violation: Is told what is wrong at once.
    """
    report, clock = Report(), SystemClock()
    began = clock.now()
    for scenario in scenarios:
        before = len(report.violations)
        played = play(stories[scenario.graph], scenario, new_backend)
        report.add(played, replay_of(scenario))
        if isinstance(stories[scenario.graph], OwnStory):
            report.add_own(played)
        for violation in report.violations[before:]:
            on_violation(violation)
    report.seconds = clock.now() - began
    return report
