"""The verdict of chaos campaigns: what it finds, and what it lets pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.chaos.driver import Started
from tests.acceptance.chaos.evidence import Remains
from tests.acceptance.chaos.fleet import Harm
from tests.acceptance.chaos.flows import ASKING, FLOWS, NUMBERS, Truth, truth_of
from tests.acceptance.chaos.ledger import Books, Entry, Ledger, read_ledgers
from tests.acceptance.chaos.verdict import Bodies, Case, judge
from tests.unit.runs import drive

LEASE = 3.0
RUN = Started(0, "chain", 1, "run", started_at=0.0, over_at=100.0)
TRUTH = Truth({}, Counter({":pay": 1, ":retried": 3}), 2)
NOTHING = Remains({}, {}, {}, (), (), 0, (), ())


def body(at: float, attempt: int = 1, worker: int = 0, key: str = "run:pay") -> Entry:
    """A body that began."""
    return Entry("begin", at, worker, key, "run", key.partition(":")[2], 0, attempt)


def case(
    *entries: Entry, harms: Mapping[int, Sequence[Harm]] | None = None, remains: Remains = NOTHING
) -> Case:
    """A campaign with one run."""
    return Case([RUN], {("chain", 1): TRUTH}, remains, entries, harms or {}, LEASE)


def kill(at: float) -> Harm:
    """A worker that was killed."""
    return Harm("kill", at, at)


def problems(given: Case) -> tuple[list[str], Counter[str]]:
    """What bodies should not have done, and those that ran once more, by the reason."""
    repeated: Counter[str] = Counter()
    return list(Bodies(given).problems_of(RUN, TRUTH, repeated)), repeated


def test_each_body_once_is_as_it_should_be() -> None:
    """A body that ran once, and one as often as its retries say, are no problem."""
    again = [body(2.0 + each, each, key="run:retried") for each in (1, 2, 3)]
    assert problems(case(body(1.0), *again)) == ([], Counter())


def test_a_body_that_ran_again_for_no_reason_is_found() -> None:
    """Twice is once too often where nothing was done to either process."""
    found, _ = problems(case(body(1.0), body(9.0, 2, worker=1)))
    assert found == ["the body of ':pay' ran 2 times undisturbed, and not 1"]


@pytest.mark.parametrize(
    "harm",
    [kill(1.2), Harm("stop", 1.1, 7.0), Harm("stop", 0.5, 8.0)],
    ids=["killed", "stopped within", "stopped before"],
)
def test_a_body_may_run_again_if_its_process_was_harmed(harm: Harm) -> None:
    """A kill or a stop before the next attempt began excuses it, and it is counted."""
    found, repeated = problems(case(body(1.0), body(9.0, 2, worker=1), harms={0: [harm]}))
    assert (found, repeated) == ([], Counter({harm.what: 1}))


@pytest.mark.parametrize(
    "harms",
    [{0: [kill(9.5)]}, {0: [Harm("stop", -20.0, -10.0)]}, {2: [kill(1.2)]}],
    ids=["afterwards", "long before", "another worker"],
)
def test_what_was_done_elsewhere_or_later_excuses_nothing(
    harms: Mapping[int, Sequence[Harm]],
) -> None:
    """A process that was harmed at another time, or another process, is no reason."""
    found, _ = problems(case(body(1.0), body(9.0, 2, worker=1), harms=harms))
    assert len(found) == 1


def test_a_process_that_had_no_turn_or_lost_its_lease_says_so() -> None:
    """What a process has noted of itself excuses it: a pause of its own, and trouble with a run."""
    twice = (body(1.0), body(9.0, 2, worker=1))
    stall = Entry("stall", 6.0, 0, seconds=4.0)
    assert problems(case(*twice, stall)) == ([], Counter({"no turn": 1}))
    said = Entry("log", 5.0, 0, text="WARNING Run 'run': the lease of pay was lost")
    assert problems(case(*twice, said)) == ([], Counter({"lost its lease": 1}))
    other = Entry("log", 5.0, 0, text="WARNING Run 'other': the lease of pay was lost")
    assert len(problems(case(*twice, other))[0]) == 1


def taken_over(at: float, attempt: int, worker: int) -> Entry:
    """A worker says that it takes over."""
    text = f"WARNING Run 'run': the worker of attempt 5/{attempt} is gone; another takes over"
    return Entry("log", at, worker, text=text)


def test_a_run_may_fail_once_a_node_has_lost_three_workers_that_were_harmed() -> None:
    """Each who took over was harmed as well; else the node was given up for nothing."""
    says = [taken_over(10.0 * number, number, number) for number in (1, 2, 3)]
    both = {1: [kill(11.0)], 2: [Harm("stop", 20.1, 27.0)]}
    assert Bodies(case(*says, harms=both)).was_given_up(RUN)
    assert not Bodies(case(*says, harms={1: both[1]})).was_given_up(RUN)
    assert not Bodies(case(*says[:2], harms=both)).was_given_up(RUN)
    retried = [taken_over(10.0, 1, 1), taken_over(20.0, 3, 2), taken_over(30.0, 4, 3)]
    assert Bodies(case(*retried, harms={2: both[2]})).was_given_up(RUN)
    assert not Bodies(case(*retried)).was_given_up(RUN)


def test_a_lease_that_is_lost_in_peace_is_found() -> None:
    """A worker that loses a lease was stopped, or was not the only one to take it over."""
    text = "WARNING Run 'run': the lease of 5/2 was lost, its outcome is dropped"
    said = Entry("log", 10.0, 0, text=text)
    assert len(list(Bodies(case(said)).lost_in_peace())) == 1
    assert len(list(Bodies(case(said, harms={0: [kill(10.4)]})).lost_in_peace())) == 1
    stopped = {0: [Harm("stop", 2.0, 9.0)]}
    assert not list(Bodies(case(said, harms=stopped)).lost_in_peace())
    assert not list(Bodies(case(taken_over(9.9, 2, 0), said)).lost_in_peace())
    assert len(list(Bodies(case(taken_over(9.9, 1, 0), said)).lost_in_peace())) == 1


def test_an_attempt_is_begun_once() -> None:
    """Two bodies of one attempt are a problem, whatever was done to their processes."""
    found, _ = problems(case(body(1.0), body(9.0, worker=1), harms={0: [kill(1.2)]}))
    assert found == ["attempt 1 of ':pay' was begun twice"]


def test_no_body_runs_that_never_should() -> None:
    """A body that does not run in process is a problem: that of a branch that was not chosen."""
    found, _ = problems(case(body(1.0, key="run:other")))
    assert found == ["the body of ':other' ran 1 times, and never should"]


def test_no_body_begins_when_its_run_is_over() -> None:
    """One that does is a problem, unless its process was stopped while it had its lease."""
    late = body(100.5)
    assert problems(case(late))[0] == ["the body of ':pay' began 0.500 s after its run was over"]
    assert problems(case(late, harms={0: [Harm("stop", 96.0, 100.4)]}))[0] == []


@pytest.mark.parametrize(
    ("remains", "kind", "text"),
    [
        ({"missing": ["run"]}, "lost", "'run' was started and is not there"),
        ({"rows": {"new": "completed"}}, "lost", "'new' is there, and nobody was told"),
        ({"rows": {"run": "running"}}, "stuck", "'run' is running"),
        ({"queued": 2}, "other", "2 messages are left"),
        ({"dead": ["body"]}, "other", "dead-letter queue: body"),
        ({"leases": ["run: ['pay']"]}, "other", "a lease is left of run run"),
        ({"locks": ["reconciler"]}, "other", "a lock is left: reconciler"),
    ],
)
def test_what_is_left_is_found(remains: dict[str, Any], kind: str, text: str) -> None:
    """Runs that are not there, too many, or not over; messages, leases and locks that are left."""
    verdict = judge(case(body(1.0), remains=replace(NOTHING, **remains)))
    assert not verdict.ok
    assert text in getattr(verdict, kind)[0]


def test_child_runs_are_no_strangers() -> None:
    """Runs that belong to others were started by those, and have to be over as well."""
    rows = {"run": "completed", "run/left::1": "completed"}
    remains = replace(NOTHING, rows=rows, parents={"run/left::1": "run"})
    assert judge(case(body(1.0), remains=remains)).ok


def test_a_ledger_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Bodies, pauses and what was logged come back, with tabs and ends of lines taken out."""
    note = Ledger(tmp_path, 7)
    note("begin", "run:pay", "run", "pay", 2, 1)
    note("stall", "1.500")
    note("log", "WARNING", "one\ttwo\nthree")
    first, second, third = read_ledgers(tmp_path)
    assert replace(first, at=0.0) == Entry("begin", 0.0, 7, "run:pay", "run", "pay", 2, 1)
    assert (second.what, second.seconds) == ("stall", 1.5)
    assert third.text == "WARNING one two three"


def test_books_note_how_a_body_ended() -> None:
    """A body that returns has an end, one that raises a failure, and both a beginning."""
    noted: list[str] = []

    def note(what: str, *words: object) -> None:
        noted.append(f"{what} {words[-1]}")

    class Context:
        idempotency_key, run_id, node_id, iteration, attempt = "k", "r", "n", 0, 1

    async def returns() -> int:
        return 5

    async def raises() -> int:
        raise ValueError("no")

    async def work() -> None:
        books = Books(note)
        assert await books.around(Context(), returns) == 5
        with pytest.raises(ValueError, match="no"):
            await books.around(Context(), raises)

    drive(work())
    assert noted == ["begin 1", "end 1", "begin 1", "fail 1"]


def test_the_flows_come_to_what_they_should_in_process() -> None:
    """One fails and is undone, the others complete; they have about ten nodes each."""
    found = {build().id: drive(truth_of(build().id, 1)) for build in FLOWS}
    statuses = {name: truth.summary["status"] for name, truth in found.items()}
    assert {name for name, status in statuses.items() if status != "completed"} == {"undone"}
    assert found["undone"].summary["compensations"] == ["undo-car", "undo-flight", "undo-room"]
    assert all(7 <= truth.nodes <= 16 for truth in found.values())
    assert ASKING in found["ask"].summary["states"]
    assert NUMBERS > 3  # so that all branches are taken
