"""Looking for a simulated run in which it shows that a safeguard is missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final

from flowcraft.adapters.system import SystemClock
from flowcraft.testing.simulate.campaign import SWEPT, Violation, at_random, sweep
from flowcraft.testing.simulate.chance import Chance
from flowcraft.testing.simulate.faults import KINDS
from flowcraft.testing.simulate.named import backend_named, stories_named
from flowcraft.testing.simulate.options import read_scenario
from flowcraft.testing.simulate.play import Played, play
from flowcraft.testing.simulate.scenario import Scenario
from tests.ablations.switch import Ablation

STORIES = stories_named(())


KEPT: Final = Path(__file__).with_name("found.txt")
"""What was found, one ablation a line: its name, the invariant, the number of runs, the run."""


@dataclass(frozen=True)
class Kept:
    """A run in which it was seen that a safeguard was missing.

    Attributes:
        invariant: What does not hold in it.
        runs: How many it took.
        scenario: The run.
    """

    invariant: str
    runs: int
    scenario: Scenario


def kept() -> dict[str, Kept]:
    """What was found, by the names of ablations."""
    found: dict[str, Kept] = {}
    for line in KEPT.read_text().splitlines():
        name, invariant, runs, scenario = line.split("\t")
        found[name] = Kept(invariant, int(runs), read_scenario(scenario))
    return found


def keep(name: str, found: Found) -> None:
    """Remember what was found."""
    there = kept() if KEPT.exists() else {}
    invariant = found.played.problems[0].invariant
    there[name] = Kept(invariant, found.runs, found.played.scenario)
    lines = [
        "\t".join((each, there[each].invariant, str(there[each].runs), shown(there[each].scenario)))
        for each in sorted(there)
    ]
    KEPT.write_text("\n".join(lines) + "\n")


def shown(scenario: Scenario) -> str:
    """A scenario as text."""
    return str(scenario).replace(" --one", "")


@dataclass(frozen=True)
class Found:
    """A run in which it shows, and goes well with the safeguard.

    Attributes:
        played: The run.
        runs: How many it took.
        seconds: How long it took, in real time.
    """

    played: Played
    runs: int
    seconds: float

    @property
    def invariants(self) -> Sequence[str]:
        """Those that do not hold, each once."""
        return list(dict.fromkeys(each.invariant for each in self.played.problems))


def play_without(ablation: Ablation, scenario: Scenario) -> Played:
    """Simulate a run without a safeguard."""
    story = STORIES[scenario.graph]
    story.truth  # noqa: B018 - worked out with all safeguards, and kept
    with ablation.removed():
        return play(story, scenario, backend_named(ablation.backend))


def play_with(ablation: Ablation, scenario: Scenario) -> Played:
    """The same with all of them."""
    return play(STORIES[scenario.graph], scenario, backend_named(ablation.backend))


def find(ablation: Ablation, runs: int, seed: int) -> Found | None:
    """Look for a run in which it shows; ``None`` if it does not.

    Raises:
        AssertionError: A run goes wrong although no safeguard is missing.
    """
    clock = SystemClock()
    began = clock.now()
    for number, scenario in enumerate(islice(scenarios(ablation, seed), runs), start=1):
        played = play_without(ablation, scenario)
        if played.problems:
            sound = play_with(ablation, scenario)
            if sound.problems:
                violation = Violation(sound, str(scenario))
                raise AssertionError(f"This goes wrong with all safeguards: {violation}")
            return Found(smallest(ablation, played), number, clock.now() - began)
    return None


PLAIN: Final[Mapping[str, Any]] = {
    "noise": 0.0,
    "stale": False,
    "older": False,
    "reconciler": False,
    "stranger": False,
    "skew_seconds": 0.0,
    "slow": False,
    "doubles": False,
    "workers": 1,
    "concurrency": 10,
}


def smallest(ablation: Ablation, played: Played) -> Played:
    """The same with as little as is needed for the same invariant not to hold."""
    while True:
        for scenario in _smaller(ablation, played.scenario):
            tried = play_without(ablation, scenario)
            is_same = tried.problems and (
                tried.problems[0].invariant == played.problems[0].invariant
            )
            if is_same and not play_with(ablation, scenario).problems:
                played = tried
                break
        else:
            return played


def _smaller(ablation: Ablation, scenario: Scenario) -> Iterator[Scenario]:
    """Scenarios with one thing less."""
    for place in range(len(scenario.faults)):
        left = scenario.faults[:place] + scenario.faults[place + 1 :]
        yield replace(scenario, faults=left)
    for name, value in PLAIN.items():
        if name not in ablation.always and getattr(scenario, name) != value:
            yield replace(scenario, **{name: value})


def scenarios(ablation: Ablation, seed: int) -> Iterator[Scenario]:
    """Scenarios without end, first every other one with a single fault."""
    new_backend = backend_named(ablation.backend)
    stories = [STORIES[name] for name in ablation.graphs]
    # Where any fault may be, the sweep has those that are worth it at each request.
    kinds = SWEPT if ablation.kinds == KINDS else ablation.kinds
    swept = [each for story in stories for each in sweep(story, seed, kinds, new_backend)]
    Chance("ablation", ablation.name, seed).shuffle(swept)
    drawn = at_random(stories, seed, ablation.kinds, new_backend)
    mixed = chain.from_iterable(zip(swept, drawn, strict=False))
    for scenario in chain(mixed, drawn):
        yield replace(scenario, **ablation.always)
