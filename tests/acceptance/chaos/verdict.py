"""Whether all is as it has to be: what workers have noted, held against runs and truths.

How often a body may run is exact (I7): as often as in process, and once more for each time that its
process was killed, was stopped, had no turn for long, or said that it lost hold of the run, between
the body's beginning and that of the next attempt. A process may also have been stopped between its
claim and the body, so the time before counts as long as a lease lasts.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from flowcraft.core.state import FINAL_STATUSES
from flowcraft.engine.stored import StoredRun
from tests.acceptance.chaos.driver import Started
from tests.acceptance.chaos.evidence import Remains, timeline
from tests.acceptance.chaos.fleet import Harm
from tests.acceptance.chaos.flows import Truth, key_in_run, summary_of
from tests.acceptance.chaos.ledger import Entry
from tests.acceptance.chaos.worker import UNEXPECTED

LOST_LIMIT: Final = 3
"""After so many lost attempts a node is given up (rule S9)."""

HANDLING_SECONDS: Final = 1.0
"""How much longer than a lease it takes until another one has begun, or this one has noticed."""

Takeovers = dict[str, dict[str, dict[int, list[tuple[int, float]]]]]
"""By run, by its or a child run's node, by the attempt that was lost: workers, and when."""

_TAKEOVER: Final = re.compile(r"Run '([^']+)': the worker of attempt (\S+)/(\d+) is gone")


@dataclass
class Verdict:
    """What came of a campaign.

    Attributes:
        lost: Runs that were started and are not there, or there without having been started.
        wrong: Runs that came to something else than in process.
        stuck: Runs that are not over.
        other: What else must not be: bodies that ran too often, messages, leases, locks.
        given_up: Runs that ended since a node lost three workers, as they have to.
        bodies: How many bodies ran.
        distinct: How many there were to run.
        repeated: Bodies that ran more often than in process, by what was done to their process.
    """

    lost: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    other: list[str] = field(default_factory=list)
    given_up: list[str] = field(default_factory=list)
    bodies: int = 0
    distinct: int = 0
    repeated: Counter[str] = field(default_factory=Counter)

    @property
    def ok(self) -> bool:
        """Whether all was as it has to be."""
        return not (self.lost or self.wrong or self.stuck or self.other)


@dataclass(frozen=True)
class Case:
    """All that a verdict goes by.

    Attributes:
        started: The runs that were started.
        truths: What comes of each flow with each number, in process.
        remains: What is left.
        entries: What workers have noted.
        harms: What was done to workers, by their numbers.
        lease_seconds: How long leases last.
    """

    started: Sequence[Started]
    truths: Mapping[tuple[str, int], Truth]
    remains: Remains
    entries: Sequence[Entry]
    harms: Mapping[int, Sequence[Harm]]
    lease_seconds: float


def judge(case: Case) -> Verdict:
    """Say what is not as it has to be."""
    verdict = Verdict()
    bodies = Bodies(case)
    verdict.bodies, verdict.distinct = bodies.count, len(bodies.by_key)
    _judge_existence(case, verdict)
    for run in case.started:
        stored = case.remains.runs.get(run.run_id)
        if stored is not None:
            _judge_run(case, bodies, run, stored, verdict)
    strange = set(bodies.by_run) - {run.run_id for run in case.started}
    verdict.other += [f"bodies of run '{run_id}' ran, which nobody started" for run_id in strange]
    verdict.other += bodies.lost_in_peace()
    verdict.other += bodies.unexpected()
    verdict.other += _left(case.remains)
    return verdict


def _judge_existence(case: Case, verdict: Verdict) -> None:
    ids = Counter(run.run_id for run in case.started)
    verdict.lost += [
        f"run '{run_id}' was started and is not there" for run_id in case.remains.missing
    ]
    verdict.lost += [
        f"run '{each}' is that of {count} starts" for each, count in ids.items() if count > 1
    ]
    for run_id, status in case.remains.rows.items():
        if status not in FINAL_STATUSES:
            verdict.stuck.append(f"run '{run_id}' is {status}")
        if run_id not in ids and run_id not in case.remains.parents:
            verdict.lost.append(f"run '{run_id}' is there, and nobody was told of its start")


def _judge_run(
    case: Case, bodies: Bodies, run: Started, stored: StoredRun, verdict: Verdict
) -> None:
    truth = case.truths[run.flow, run.number]
    found = list(bodies.problems_of(run, truth, verdict.repeated))
    differing = _differences(summary_of(stored), truth.summary)
    if differing and bodies.was_given_up(run):
        verdict.given_up.append(run.run_id)
        return
    wrong = [*differing, *found]
    if not differing:
        missing = {key for key in truth.bodies if key not in bodies.keys_of(run)}
        wrong += [f"the body of '{key}' never ran" for key in sorted(missing)]
    if wrong and str(stored.status) in FINAL_STATUSES:
        text = "\n  ".join([f"run '{run.run_id}' ({run.flow}, {run.number}):", *wrong])
        told = "\n".join(bodies.story_of(run))
        verdict.wrong.append(f"{text}\n{timeline(stored)}\n{told}")


def _differences(found: Mapping[str, Any], truth: Mapping[str, Any]) -> list[str]:
    return [
        f"{name} is {found[name]!r} and not {value!r}"
        for name, value in truth.items()
        if found[name] != value
    ]


def _left(remains: Remains) -> Iterator[str]:
    if remains.queued:
        yield f"{remains.queued} messages are left on the queue"
    for body in remains.dead:
        yield f"a message is in the dead-letter queue: {body[:300]}"
    for lease in remains.leases:
        yield f"a lease is left of run {lease}"
    for lock in remains.locks:
        yield f"a lock is left: {lock}"


class Bodies:
    """Every body that ran, by run and key."""

    def __init__(self, case: Case) -> None:
        self._lease_seconds = case.lease_seconds
        self._harms = _all_harms(case)
        self._told = _told(case.entries)
        self._entries = case.entries
        self._taken = _takeovers(case.entries)
        self._logged = [each for each in case.entries if each.what == "log"]
        self.by_key: dict[str, list[Entry]] = defaultdict(list)
        self.by_run: dict[str, dict[str, list[Entry]]] = defaultdict(lambda: defaultdict(list))
        self._ended = {
            (each.worker, each.key, each.attempt)
            for each in case.entries
            if each.what in ("end", "fail")
        }
        self.count = 0
        for each in case.entries:
            if each.what == "begin":
                self.count += 1
                root = each.run_id.partition("/")[0]
                self.by_key[each.key].append(each)
                self.by_run[root][key_in_run(each.key, root)].append(each)

    def keys_of(self, run: Started) -> Mapping[str, Sequence[Entry]]:
        """The bodies of a run and its child runs, by key."""
        return self.by_run.get(run.run_id, {})

    def problems_of(self, run: Started, truth: Truth, repeated: Counter[str]) -> Iterator[str]:
        """What bodies of a run should not have done.

        Args:
            run: The run.
            truth: How often each body runs in process.
            repeated: Counts those that ran more often, by the reason.
        """
        for key, entries in self.keys_of(run).items():
            allowed = truth.bodies.get(key, 0)
            if not allowed:
                yield f"the body of '{key}' ran {len(entries)} times, and never should"
                continue
            attempts = Counter(each.attempt for each in entries)
            twice = [str(attempt) for attempt, count in attempts.items() if count > 1]
            if twice:
                yield f"attempt {', '.join(twice)} of '{key}' was begun twice"
            reasons = list(self._reasons(entries))
            in_peace = reasons.count("")
            if in_peace > allowed:
                yield f"the body of '{key}' ran {in_peace} times undisturbed, and not {allowed}"
            if len(entries) > allowed:
                harmed = [reason for reason in reasons if reason]
                repeated.update(harmed[: len(entries) - allowed])
            for each, reason in zip(sorted(entries, key=_attempt), reasons, strict=True):
                late = 0.0 if run.over_at is None else each.at - run.over_at
                if late > 0 and not reason:
                    yield f"the body of '{key}' began {late:.3f} s after its run was over"

    def _reasons(self, entries: Sequence[Entry]) -> Iterator[str]:
        """Of each attempt, in order, what was done to its process; ``""`` for nothing."""
        ordered = sorted(entries, key=_attempt)
        for each, following in zip(ordered, [*ordered[1:], None], strict=True):
            handling = self._lease_seconds + HANDLING_SECONDS
            until = each.at + handling if following is None else following.at
            since = min(each.at, until) - handling
            yield self._reason(each, since, max(each.at, until))

    def _reason(self, entry: Entry, since: float, until: float) -> str:
        for harm in self._harms.get(entry.worker, ()):
            if harm.since <= until and harm.until >= since:
                return harm.what
        told = self._told.get((entry.worker, entry.run_id), ())
        return "lost its lease" if any(since <= at <= until for at in told) else ""

    def was_given_up(self, run: Started) -> bool:
        """Whether a node of a run lost three workers, as far as is known all of them harmed.

        Whoever takes over from a worker that is gone says so, and has the next attempt.
        """
        return any(
            len(takers) >= LOST_LIMIT
            and all(
                any(self._was_harmed(*taker) for taker in takers[attempt - 1])
                for attempt in takers
                if attempt - 1 in takers
            )
            for takers in self._taken.get(run.run_id, {}).values()
        )

    def lost_in_peace(self) -> Iterator[str]:
        """Workers that lost a lease while nothing kept them from prolonging it."""
        for each in self._logged:
            if "its outcome is dropped" not in each.text or self._took_over(each):
                continue
            if not self._was_held_up(each):
                before = "\n".join(self._said_before(each))
                yield f"worker {each.worker}, which nobody stopped, says: {each.text}\n{before}"

    def _took_over(self, entry: Entry) -> bool:
        """Whether it was the lease of a worker that is gone: another one took over first."""
        run_id, place = entry.text.split("'")[1], entry.text.split("lease of ")[1].split(" ")[0]
        node, _, attempt = place.rpartition("/")
        takers = self._taken.get(run_id.partition("/")[0], {}).get(f"{run_id} {node}", {})
        return any(worker == entry.worker for worker, _ in takers.get(int(attempt), ()))

    def _said_before(self, entry: Entry) -> Iterator[str]:
        """What a worker has noted before it said something, for people."""
        since = entry.at - 2 * self._lease_seconds
        for each in self._entries:
            if each.worker == entry.worker and since <= each.at <= entry.at:
                what = each.text or f"{each.key} attempt {each.attempt}"
                yield f"  {each.at:.3f} {each.what} {what}"

    def unexpected(self) -> Iterator[str]:
        """What workers have logged that no trouble with queue or tables explains."""
        for each in self._logged:
            if each.text.startswith(UNEXPECTED):
                yield f"worker {each.worker} says: {each.text}"

    def _was_harmed(self, worker: int, at: float) -> bool:
        """Whether something was done to a worker that has just begun."""
        until = at + self._lease_seconds + HANDLING_SECONDS
        harms = self._harms.get(worker, ())
        return any(harm.since <= until and harm.until >= at for harm in harms)

    def _was_held_up(self, entry: Entry) -> bool:
        since = entry.at - self._lease_seconds - HANDLING_SECONDS
        harms = [each for each in self._harms.get(entry.worker, ()) if each.what != "kill"]
        return any(harm.since <= entry.at and harm.until >= since for harm in harms)

    def story_of(self, run: Started) -> Iterator[str]:
        """What was noted of a run, for people."""
        entries = [each for found in self.keys_of(run).values() for each in found]
        said = [each for each in self._logged if f"Run '{run.run_id}" in each.text]
        for each in sorted([*entries, *said], key=lambda entry: entry.at):
            ended = (each.worker, each.key, each.attempt) in self._ended
            how = "and ended it" if ended else "and did not end it"
            what = each.text or f"began {each.key} attempt {each.attempt}, {how}"
            yield f"  {each.at:.3f} worker {each.worker} {what}"
        workers = {each.worker for each in (*entries, *said)}
        for number in sorted(workers):
            for harm in self._harms.get(number, ()):
                yield f"  worker {number}: {harm.what} {harm.since:.3f} to {harm.until:.3f}"


def _attempt(entry: Entry) -> tuple[int, float]:
    return entry.attempt, entry.at


def _all_harms(case: Case) -> dict[int, list[Harm]]:
    """What was done to workers, and when they say that they had no turn."""
    harms = {number: list(found) for number, found in case.harms.items()}
    for each in case.entries:
        if each.what == "stall":
            stall = Harm("no turn", each.at - each.seconds, each.at)
            harms.setdefault(each.worker, []).append(stall)
    return harms


def _told(entries: Iterable[Entry]) -> dict[tuple[int, str], list[float]]:
    """When a worker said that something went wrong with a run, by worker and run."""
    told: dict[tuple[int, str], list[float]] = defaultdict(list)
    for each in entries:
        if each.what == "log" and "Run '" in each.text:
            run_id = each.text.partition("Run '")[2].partition("'")[0]
            told[each.worker, run_id].append(each.at)
    return told


def _takeovers(entries: Iterable[Entry]) -> Takeovers:
    """Who said when that he takes over which attempt from a worker that is gone."""
    found: Takeovers = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for each in entries:
        match = _TAKEOVER.search(each.text) if each.what == "log" else None
        if match is not None:
            run_id, node, attempt = match.groups()
            root = run_id.partition("/")[0]
            found[root][f"{run_id} {node}"][int(attempt)].append((each.worker, each.at))
    return found
