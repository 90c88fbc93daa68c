"""What a simulated run is like, beside its workflow: everything that decides what happens in it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Final

from flowcraft.testing.simulate.chance import Chance
from flowcraft.testing.simulate.faults import (
    DEFAULT_STRETCH_SECONDS,
    KINDS,
    STRETCHES,
    Fault,
    Kind,
)

NOT_SHOWN: Final = 2
"""Graph and seed are always named."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One simulated run. The same scenario of the same workflow always comes to the same.

    Attributes:
        graph: The name of the workflow.
        seed: Decides whatever is left to chance: the order of events above all.
        workers: How many workers there are; each that dies is replaced by another one.
        concurrency: How many messages each works on at once.
        faults: What happens to single requests.
        noise: The probability that any request fails, or takes a little while.
        doubles: Whether every message is delivered twice.
        skew_seconds: How far the clocks of processes may be off.
        slow: Whether nodes take their time, some longer than a lease lasts.
        stranger: Whether there is a worker that knows none of the implementations.
        reconciler: Whether workers look for stuck runs.
        stale: Whether old messages are delivered once more when all is over.
        older: Whether there is a worker of an older version of the workflow.
    """

    graph: str
    seed: int
    workers: int = 1
    concurrency: int = 10
    faults: tuple[Fault, ...] = ()
    noise: float = 0.0
    doubles: bool = False
    skew_seconds: float = 0.0
    slow: bool = False
    stranger: bool = False
    reconciler: bool = False
    stale: bool = False
    older: bool = False

    def options(self) -> list[str]:
        """The options of the command that runs this scenario."""
        options = ["--graph", self.graph, "--seed", str(self.seed), "--one"]
        for field in fields(self)[NOT_SHOWN:]:
            value, name = getattr(self, field.name), f"--{field.name.replace('_', '-')}"
            if field.name == "faults":
                for fault in value:
                    options += ["--fault", str(fault)]
            elif value is True:
                options.append(name)
            elif value != field.default:
                options += [name, f"{value:g}" if isinstance(value, float) else str(value)]
        return options

    def __str__(self) -> str:
        return shlex.join(self.options())


def any_scenario(
    graph: str,
    seed: int,
    requests: Mapping[str, int],
    kinds: Sequence[Kind] = KINDS,
) -> Scenario:
    """A scenario that a seed decides: up to four faults, and whatever else there is.

    Args:
        graph: The workflow.
        seed: The seed.
        requests: How many requests processes make in a run without faults, by the name of the
            process; those that take part in it are the ones to be disturbed.
        kinds: What may happen.
    """
    chance = Chance("scenario", graph, seed)
    workers = 1 + chance.below(3)
    names = [f"worker-{number + 1}" for number in range(workers)] + ["client-1"]
    count = chance.pick((1, 1, 2, 2, 2, 3, 4))
    # Which worker does how much is for chance to say: one may do it all.
    most = max(requests.values(), default=1)
    faults: dict[tuple[str, int], Fault] = {}
    for _ in range(count if kinds else 0):
        # Those that come after one that died have their faults, too.
        number = workers + 1 + chance.below(2)
        name = f"worker-{number}" if chance.happens(0.2) else chance.pick(names)
        last = requests.get(name, 1) if name.startswith("client") else most
        at = 1 + chance.below(last)
        kind, seconds = chance.pick(kinds), chance.pick((5.0, 40.0, 75.0, 200.0))
        if kind not in STRETCHES:
            seconds = DEFAULT_STRETCH_SECONDS
        faults[name, at] = Fault(name, at, kind, seconds)
    doubles = chance.happens(0.4)
    return Scenario(
        graph,
        seed,
        workers=workers,
        concurrency=chance.pick((1, 2, 10)),
        faults=tuple(faults.values()),
        noise=chance.pick((0.0, 0.0, 0.0, 0.03)) if kinds else 0.0,
        doubles=doubles,
        skew_seconds=chance.pick((0.0, 0.0, 2.0)),
        slow=chance.happens(0.3),
        stranger=chance.happens(0.15),
        reconciler=chance.happens(0.3),
        stale=chance.happens(0.3),
        older=chance.happens(0.15),
    )
