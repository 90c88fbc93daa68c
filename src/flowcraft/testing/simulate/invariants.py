"""What must hold of every run, whatever went wrong meanwhile.

The numbers are those of the design: I1 every run ends, I2 one outcome for each attempt, I3 nothing
starts that should not, I5 a final status stays and reaches everybody, I6 messages are there as long
as something depends on them, and not longer, I7 bodies run once, and once more for each crash, I8
the results are those of the run in process, I9 nothing is too large, I11 timers fire in time. I4,
one holder at a time, is what I2 and I8 would not hold without. I10, that workers of different
versions do each other no harm, is all of these in runs with a stranger among the workers. L1
and L2 are about limits, see ``limits.py``; S19 is the rule of what is undone, see ``undoing.py``,
and S9 that of workers that are gone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from flowcraft.core.plan import Key
from flowcraft.core.retries import LOST_LIMIT
from flowcraft.core.state import FINAL_STATUSES
from flowcraft.engine.facts import read_fact
from flowcraft.engine.stored import StoredRun
from flowcraft.ports.runs import Head
from flowcraft.testing.simulate.census import Execution, names_of
from flowcraft.testing.simulate.story import complaint_of, short, summary_of
from flowcraft.testing.simulate.timers import late_in, timers_in
from flowcraft.testing.simulate.undoing import undoing_in
from flowcraft.testing.simulate.world import ALL_RUNS, LAPSED_RUNS, Ending, World, stretches

OUTCOMES: Final = frozenset(
    {f"{what}{how}" for what in ("Node", "Item") for how in ("Succeeded", "Failed", "Lost")}
    | {"UndoSettled", "UndoLost", "ChildSettled"}
)

MESSAGES_PER_BODY: Final = 3
MESSAGES_AT_LEAST: Final = 20
"""A bound of the messages at one time: so many for each body of the run, and for each fault."""

ARMING: Final = "coordination.swap"
"""The request that puts a timer into the store, and takes it out."""

LATE_SECONDS: Final = 60.0
DISTURBED_SECONDS: Final = 60.0
"""How late a timer may be that was armed for more than an hour: without faults, and for each."""

DOUBLED: Final = 4
"""A delivery may send again what its thread is for, and so may a copy, and copies of those."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that must not be.

    Attributes:
        invariant: Which one does not hold, such as ``I2``.
        text: What is so instead.
    """

    invariant: str
    text: str

    def __str__(self) -> str:
        return f"{self.invariant}: {self.text}"


async def problems_of(world: World, ending: Ending) -> list[Problem]:
    """What does not hold of a run."""
    heads = await world.ports.runs.find(ALL_RUNS)
    found = [Problem(*each) for each in world.backend.watch.problems]
    found += _endings(world, ending, heads, await world.ports.runs.find(LAPSED_RUNS))
    lost = 0
    for head in heads:
        twice, gone = await _outcomes(world, head)
        found += twice
        lost += gone
        found += await _timers(world, head)
        found += await _undoing(world, head)
        found += await _row(world, head)
    is_given_up = False
    if ending.is_over and not world.is_gone:
        run = await world.client.get_run(world.run_id)
        is_given_up = _is_given_up(world, run)
        found += [] if is_given_up else _result(world, run)
    found += _bodies(world, is_given_up)
    found += _lost(world, lost)
    found += [Problem("L2", each) for each in world.limits.problems()]
    found += _messages(world)
    left = timers_in(world.backend.agreed(), _may_leave_timers(world)) if world.left else {}
    if left:
        found.append(Problem("I6", f"timers are left when all is over: {left}"))
    found += [Problem("I5", f"of a run that is over, {each}") for each in ending.revived]
    found += [Problem("error", each) for each in world.loop.problems]
    return found


def _may_leave_timers(world: World) -> set[str]:
    """Processes whose timers may be left when all is over: they do nothing when they are due.

    Who armed one may have died before it looked whether that was too late, while another hand that
    had its message was through with everything. And what arms one may be carried out long after
    it was given up, when the timer that took its place is gone, too.
    """
    died = {life.name for life in world.lives if life.is_dead and world.scenario.doubles}
    return died | {life.name for life in world.lives if ARMING in life.came_late}


def _endings(world: World, ending: Ending, heads: Any, hidden: Any) -> Iterator[Problem]:
    rows = {head.run_id: str(head.row.status) for head in heads}
    if not ending.is_over:
        waiting = world.backend.waiting()
        rows |= {head.run_id: "hidden" for head in hidden}
        text = f"it does not end: {rows}, {waiting} messages, {world.unfinished} people at work"
        yield Problem("I1", text)
        return
    if ending.helps and not ending.excused:
        yield Problem("I6", "it stood still until somebody looked for stuck runs")
    for run_id, status in rows.items():
        if status not in FINAL_STATUSES:
            yield Problem("I5", f"run '{run_id}' is {status} although all is over")


async def _outcomes(world: World, head: Head) -> tuple[list[Problem], int]:
    """One outcome for each attempt; also how many were lost with their workers."""
    record = await world.ports.runs.read(head.run_id)
    assert record is not None
    serializer = world.options.serializer
    counted: Counter[str] = Counter()
    lost = 0
    for fact in record.facts:
        event = read_fact(fact.data, serializer).event
        name = type(event).__name__
        if name in OUTCOMES:
            counted[_attempt_of(name, event)] += 1
            lost += name.endswith("Lost")
            if name in ("NodeSucceeded", "ItemSucceeded"):
                counted[f"{event.key} {getattr(event, 'item', '')} (success)"] += 1  # type: ignore[union-attr]
    twice = [name for name, count in counted.items() if count > 1]
    text = f"run '{head.run_id}' has two outcomes of"
    return [Problem("I2", f"{text} {name}") for name in twice], lost


def _lost(world: World, lost: int) -> Iterator[Problem]:
    """Workers count as gone that died, or were kept from keeping what they had in hand."""
    harms = [each for life in world.lives for each in life.harms if each.costs_leases]
    most = len(harms) * world.scenario.concurrency
    if lost > most:
        text = f"{lost} attempts count as those of workers that are gone, and at most {most} may"
        yield Problem("S9", text)


async def _timers(world: World, head: Head) -> list[Problem]:
    """Timers fire when they are due, or soon after."""
    if not world.told.is_long:
        return []
    station = await world.client._opened()
    record, ledger = await world.ports.runs.read(head.run_id), await station._ledger(head)
    assert record is not None
    assert ledger is not None
    disturbed = stretches(world.scenario) + DISTURBED_SECONDS * len(world.scenario.faults)
    most = LATE_SECONDS + 2 * disturbed + world.told.story.lasts_seconds
    return [
        Problem("I11", f"of run '{head.run_id}', {event} came {late:.0f} s after its time")
        for event, late in late_in(ledger, record)
        if late > most
    ]


async def _undoing(world: World, head: Head) -> list[Problem]:
    """What was completed is undone where a run fails or is cancelled, and nothing else is."""
    if head.is_part or not world.told.undoes or head.row.status not in FINAL_STATUSES:
        return []
    ledger = await (await world.client._opened()).read(head.run_id)
    assert ledger is not None
    wrong = undoing_in(ledger, {each.key for each in world.census.executions})
    return [Problem("S19", f"of run '{head.run_id}': {each}") for each in wrong]


def _attempt_of(name: str, event: Any) -> str:
    key: Key = event.target if name.startswith("Undo") else event.key
    return f"{name[:4]} {key} {getattr(event, 'item', '')} attempt {event.attempt}"


async def _row(world: World, head: Head) -> list[Problem]:
    """The row says what the facts say."""
    if head.is_part:
        return []
    run = await world.client.get_run(head.run_id)
    if str(run.status) == head.row.status:
        return []
    text = f"the row of run '{head.run_id}' says {head.row.status}, its facts say {run.status}"
    return [Problem("I5", text)]


def _result(world: World, run: StoredRun) -> Iterator[Problem]:
    story = world.told.story
    if not story.is_settled and str(run.status) not in story.statuses:
        yield Problem("I8", f"it is {run.status}, and may be {', '.join(story.statuses)}")
    expected, found = story.truth.summary, summary_of(run, story)
    for name, value in expected.items():
        if found[name] != value:
            yield Problem("I8", f"{name}: {short(found[name])} and not {short(value)}")
    complaint = complaint_of(story, run)
    if complaint is not None:
        yield Problem("check", complaint)


def _is_given_up(world: World, run: StoredRun) -> bool:
    """Whether a body of minutes or hours lost as many workers as it may have (``WorkerLost``).

    That is promised, and comes of few faults where each body is under way most of the time.
    """
    if not world.told.story.truth.long_seconds:
        return False
    types = {each.type for each in run.errors} | {
        name for each in run.errors for name, _ in each.causes
    }
    harms = sum(len(life.harms) for life in world.lives)
    return "WorkerLost" in types and harms >= LOST_LIMIT


def _bodies(world: World, is_given_up: bool) -> Iterator[Problem]:
    """Bodies run as often as in process, and once more for each that was disturbed."""
    story, executions = world.told.story, world.census.executions
    truth = story.truth.bodies
    if story.is_settled and not is_given_up:
        for key in sorted({each.key for each in executions} - set(truth)):
            yield Problem("I3", f"the body of {key} ran, which never should")
    of: dict[str, list[Execution]] = {}
    for each in executions:
        of.setdefault(each.key, []).append(each)
    for key, bodies in of.items():
        count = sum(not each.was_harmed for each in bodies)
        names = () if story.is_settled else names_of(bodies[0].node_id)
        # Where nobody cancels, or somebody fails sooner, it may have had fewer of its attempts.
        may = [world.told.attempts.get(name, 1) for name in names]
        allowed = max(truth.get(key, 1), *may, 1) * world.starts
        harms = {id(harm) for each in bodies for harm in each.harms}
        if count > allowed:
            text = f"the body of {key} ran {count} times without a crash, and not {allowed}"
            yield Problem("I7", text)
        elif len(bodies) > allowed + len(harms):
            text = f"the body of {key} ran {len(bodies)} times, and not {allowed} and once more "
            yield Problem("I7", f"{text}for each of the {len(harms)} things that happened to it")
    attempts = Counter((each.key, each.attempt) for each in executions if not each.was_harmed)
    for (key, attempt), count in attempts.items():
        if count > world.starts:
            yield Problem("I4", f"attempt {attempt} of {key} was carried out {count} times")


def _messages(world: World) -> Iterator[Problem]:
    scenario, watch = world.scenario, world.backend.watch
    bodies = world.told.story.truth.bodies.total()
    live = bodies + len(scenario.faults) + len(world.lives)
    most = MESSAGES_PER_BODY * live + MESSAGES_AT_LEAST
    if scenario.doubles:
        most *= DOUBLED
    if buried := world.backend.buried():
        yield Problem("I6", f"{buried} messages came to the dead-letter queue: nobody does them")
    if watch.most_receives > 1 and _is_undisturbed(world):
        # Receives are what a dead-letter queue goes by.
        yield Problem("I6", "a message came again although nothing had happened to anybody")
    if watch.most > most:
        yield Problem(
            "I6", f"there were {watch.most} messages at a time, and at most {most} may be"
        )


def _is_undisturbed(world: World) -> bool:
    """Whether nothing happened for which a message has to come again."""
    story = world.told.story
    # Who runs a node of a run that is deleted leaves its message; a function cannot keep one.
    keeps = not story.is_deleted and story.starts == 1 and story.new_process is None
    if not (world.backend.delivers_once and keeps):
        return False
    scenario = world.scenario
    return not (scenario.faults or scenario.noise) and not any(life.harms for life in world.lives)
