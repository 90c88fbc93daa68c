"""One simulated run, from a story and a scenario to what is wrong with it."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from flowcraft.errors import StorageError
from flowcraft.testing.simulate.backends import MemoryBackend, NewBackend
from flowcraft.testing.simulate.faults import Died, Fault, Life, Seen
from flowcraft.testing.simulate.invariants import Problem, problems_of
from flowcraft.testing.simulate.loop import OWNER, START_SECONDS, NotSimulated, SimulationError
from flowcraft.testing.simulate.scenario import Scenario
from flowcraft.testing.simulate.story import Story, Told
from flowcraft.testing.simulate.world import BodyEnd, World

LOGGER = logging.getLogger("flowcraft")


@dataclass(frozen=True)
class Played:
    """What came of a scenario.

    Attributes:
        scenario: The scenario.
        problems: What must not be.
        requests: The last requests, oldest first.
        made: How many requests each process made, by its name.
        turns: How many turns of the event loop it took.
        executions: How often each body ran, by idempotency key.
        repeated: Nodes whose bodies ran more often than in process, with how often they did.
        ends: Where bodies ended, one for each idempotency key.
        log: What was logged, and each request, where that was asked for: in the order in which it
            happened, with the virtual seconds since the beginning.
    """

    scenario: Scenario
    problems: Sequence[Problem]
    requests: Sequence[Seen]
    made: Mapping[str, int]
    turns: int
    executions: Counter[str]
    repeated: Mapping[str, int]
    ends: Sequence[BodyEnd] = ()
    log: Sequence[str] = ()

    @property
    def missed(self) -> Sequence[Fault]:
        """The faults that did not happen: their processes did not make so many requests."""
        faults = self.scenario.faults
        return [each for each in faults if each.number > self.made.get(each.process, 0)]


def play(
    story: Story,
    scenario: Scenario,
    new_backend: NewBackend = MemoryBackend,
    *,
    with_log: bool = False,
) -> Played:
    """Simulate one run.

    Args:
        story: What is run.
        scenario: What happens meanwhile.
        new_backend: Makes the place for runs and messages.
        with_log: Whether to keep what is logged, and every request.

    Returns:
        What came of it. The same arguments always come to the same.

    Raises:
        NotSimulated: A node uses what a simulation does not have, such as a thread.
    """
    truth = story.truth
    world = World(Told(story, story.build()), scenario, new_backend)
    with _logs(world, with_log) as log:
        try:
            problems = [*_found(world), *(Problem("error", text) for text in log.errors)]
            return Played(
                scenario,
                problems,
                tuple(world.requests),
                {life.name: life.requests for life in world.lives},
                world.loop.steps,
                counts := world.census.counts(),
                _repeated(world, counts, truth.bodies),
                tuple(world.body_ends.values()),
                tuple(log.lines),
            )
        finally:
            world.bury()


def _found(world: World) -> list[Problem]:
    try:
        return world.loop.run(_problems(world))
    except NotSimulated:
        raise
    except SimulationError as error:
        return [Problem("I1", str(error))]
    except StorageError as error:
        return [Problem("I2", f"the record cannot be read: {error}")]


async def _problems(world: World) -> list[Problem]:
    return await problems_of(world, await world.live())


def _repeated(world: World, counts: Counter[str], truth: Counter[str]) -> dict[str, int]:
    nodes = {each.key: each.node_id for each in world.census.executions}
    repeated: dict[str, int] = {}
    for key, count in counts.items():
        if count > max(1, truth[key]):
            name = nodes[key].partition("[")[0]
            repeated[name] = max(repeated.get(name, 0), count)
    return repeated


class _Log(logging.Handler):
    """Keeps what is logged, and finds errors in it that nobody let happen."""

    def __init__(self, world: World, keep: bool) -> None:
        super().__init__(logging.DEBUG if keep else logging.ERROR)
        self._world = world
        self._keep = keep
        self.lines: list[str] = []
        self.errors: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Take note of a record."""
        error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
        if error is not None and not isinstance(error, _EXPECTED):
            text = f"{record.getMessage()}: {type(error).__name__}: {error}"
            trace = logging.Formatter().formatException(record.exc_info)  # type: ignore[arg-type]
            self.errors.append(f"{text}\n{trace}")
        if self._keep:
            seconds = self._world.loop.time() - START_SECONDS
            self.lines.append(f"{seconds:.3f} {_who()}{record.getMessage()}")

    def see(self, request: Seen) -> None:
        """Take note of a request."""
        self.lines.append(str(request))


def _who() -> str:
    """Whose code runs: a process, or the world around all of them."""
    owner = OWNER.get()
    return f"{owner.name}: " if isinstance(owner, Life) else ""


_EXPECTED = (StorageError, Died, asyncio.CancelledError)


@contextmanager
def _logs(world: World, keep: bool) -> Iterator[_Log]:
    """Take over what is logged."""
    log = _Log(world, keep)
    if keep:
        world.tell = log.see
    before = LOGGER.handlers[:], LOGGER.propagate, LOGGER.level
    LOGGER.handlers[:], LOGGER.propagate = [log], False
    LOGGER.setLevel(log.level)
    try:
        yield log
    finally:
        LOGGER.handlers[:], LOGGER.propagate = before[0], before[1]
        LOGGER.setLevel(before[2])
