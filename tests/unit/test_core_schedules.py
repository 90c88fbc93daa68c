"""What becomes of ticks: which are due, which were missed, which are started, skipped, queued."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowcraft.core import schedules as core
from flowcraft.core.schedules import Schedule, Seen, Spec, Start, settle
from flowcraft.core.ticks import MOST_AT_ONCE, Rules, due_at, due_ticks
from flowcraft.engine.schedule_texts import read_schedule, write_schedule
from flowcraft.engine.timetables import Intervals

MINUTE = 60_000
EVERY_MINUTE = Intervals(MINUTE, 0)
EVERY_SECOND = Intervals(1000, 0)
YEAR = 365 * 86_400_000


def minutes(*numbers: int) -> tuple[int, ...]:
    """Ticks of every minute, by their numbers."""
    return tuple(MINUTE * number for number in numbers)


def schedule(**spec: Any) -> Schedule:
    """A schedule of every minute."""
    return Schedule("s", "i", Spec("flow", every_ms=MINUTE, **spec), created_at=0, cursor=0)


def started(one: Schedule) -> tuple[int, ...]:
    """The ticks whose runs are to be started."""
    return tuple(each.at for each in one.pending)


def carried_out(one: Schedule) -> Schedule:
    """A schedule whose runs were started."""
    return replace(one, pending=())


# -- which ticks are due ------------------------------------------------------------------------


def test_ticks_are_due_in_their_order_each_once() -> None:
    """What came within the grace is due, and none of it again from the new cursor on."""
    rules = Rules("s")
    due = due_ticks(rules, EVERY_MINUTE, 0, 3 * MINUTE + 1)
    assert (due.ticks, due.missed, due.cursor) == (minutes(1, 2, 3), None, 3 * MINUTE)
    assert due_ticks(rules, EVERY_MINUTE, due.cursor, 3 * MINUTE + 1).ticks == ()


@pytest.mark.parametrize(
    ("catch_up", "expected", "missed"),
    [
        ("latest", (60,), minutes(1, 59)),
        ("none", (60,), minutes(1, 59)),
        ("all", tuple(range(51, 61)), minutes(1, 50)),
    ],
)
def test_after_a_downtime_the_policy_decides(
    catch_up: Any, expected: tuple[int, ...], missed: tuple[int, int]
) -> None:
    """An hour late: the latest tick, or the last ten, are made up for; the others are missed."""
    rules = Rules("s", catch_up=catch_up, catch_up_limit=10)
    due = due_ticks(rules, EVERY_MINUTE, 0, 60 * MINUTE)
    assert due.ticks == minutes(*expected)
    assert due.missed is not None
    assert due.missed[0] == missed[0]
    # Those in the middle may not have been looked at one by one.
    assert missed[1] <= due.missed[1] < due.ticks[0]
    assert due.cursor == 60 * MINUTE


def test_without_catching_up_what_is_late_is_not_started() -> None:
    """With ``none`` the last tick, too, is missed where it is late."""
    rules = Rules("s", catch_up="none", grace_ms=30_000)
    due = due_ticks(rules, EVERY_MINUTE, 0, 10 * MINUTE + 31_000)
    assert due.ticks == ()
    assert due.missed == (MINUTE, 10 * MINUTE)
    assert due.cursor == 10 * MINUTE


def test_one_tick_that_is_late_is_made_up_for_and_none_is_missed() -> None:
    """Where just one tick is behind, however late, nothing is said to be missed."""
    due = due_ticks(Rules("s"), Intervals(YEAR, 0), 0, YEAR + 40 * 86_400_000)
    assert (due.ticks, due.missed) == ((YEAR,), None)


def test_a_downtime_of_a_year_costs_no_more_than_one_of_an_hour() -> None:
    """With a tick each second the last ones are found without looking at 31 million."""
    asked = 0

    class Counted(Intervals):
        def after(self, at: int) -> int | None:
            nonlocal asked
            asked += 1
            return super().after(at)

    due = due_ticks(Rules("s", catch_up="all"), Counted(1000, 0), 0, YEAR)
    assert len(due.ticks) == MOST_AT_ONCE
    assert due.missed == (1000, due.ticks[0] - 1000)
    assert asked < 1000


def test_all_that_is_made_up_for_is_decided_in_steps() -> None:
    """A thousand ticks are decided a hundred at a time, and none is lost between the steps."""
    rules = Rules("s", catch_up="all", catch_up_limit=1000)
    now, cursor, found = 1000 * MINUTE, 0, list[int]()
    while (due := due_ticks(rules, EVERY_MINUTE, cursor, now)).ticks:
        assert due.missed is None
        found += due.ticks
        cursor = due.cursor
    assert found == list(minutes(*range(1, 1001)))


@given(
    every=st.integers(1, 100),
    late=st.integers(0, 5_000),
    catch_up=st.sampled_from(["none", "latest", "all"]),
    limit=st.integers(1, 20),
    jitter=st.integers(0, 200),
    grace=st.integers(1, 1_000),
    start=st.none() | st.integers(0, 3_000),
    end=st.none() | st.integers(0, 6_000),
)
def test_every_tick_is_decided_once_in_order(
    every: int,
    late: int,
    catch_up: Any,
    limit: int,
    jitter: int,
    grace: int,
    start: int | None,
    end: int | None,
) -> None:
    """Whatever the policy: ticks that are due are started or missed, each once; no others are."""
    table = Intervals(every * 1000, 0)
    rules = Rules(
        "s",
        None if start is None else start * 1000,
        None if end is None else end * 1000,
        jitter * 1000,
        grace * 1000,
        catch_up,
        limit,
    )
    now, cursor, times = late * 1000, 0, dict[int, int]()
    expected = []
    for tick in range(every * 1000, now + 1, every * 1000):
        if start is not None and tick < start * 1000:
            continue
        if (end is not None and tick > end * 1000) or due_at(rules, tick) > now:
            break
        expected.append(tick)
    while True:
        due = due_ticks(rules, table, cursor, now)
        if not due.ticks and due.missed is None:
            break
        if due.missed is not None:
            assert due.missed[0] > cursor
            assert not due.ticks or due.missed[1] < due.ticks[0]
            for tick in expected:
                if due.missed[0] <= tick <= due.missed[1]:
                    times[tick] = times.get(tick, 0) + 1
        for tick in due.ticks:
            times[tick] = times.get(tick, 0) + 1
        assert due.cursor > cursor
        cursor = due.cursor
    assert times == dict.fromkeys(expected, 1)


@given(st.text(max_size=20), st.integers(0, 1 << 50), st.integers(0, 86_400_000))
def test_jitter_is_the_same_for_the_same_tick(name: str, tick: int, jitter: int) -> None:
    """A tick is due at its time or up to the jitter later, always at the same time."""
    rules = Rules(name, jitter_ms=jitter)
    assert tick <= due_at(rules, tick) <= tick + jitter
    assert due_at(rules, tick) == due_at(Rules(name, jitter_ms=jitter), tick)


def test_jitter_spreads_schedules() -> None:
    """Of a hundred schedules with the same tick no more than a few are due at the same second."""
    due = [due_at(Rules(f"s{number}", jitter_ms=600_000), 0) // 1000 for number in range(100)]
    assert max(due.count(each) for each in due) < 5


# -- what becomes of them -----------------------------------------------------------------------


def test_runs_may_overlap_where_that_is_allowed() -> None:
    """With ``allow`` every tick starts a run, whatever else goes on."""
    one = settle(schedule(overlap="allow"), EVERY_MINUTE, 3 * MINUTE)
    assert started(one) == minutes(1, 2, 3)


def test_a_tick_is_skipped_while_a_run_goes_on() -> None:
    """With ``skip`` a tick starts a run only if none goes on; skipped ones are told of together."""
    one = carried_out(settle(schedule(), EVERY_MINUTE, MINUTE))
    for number in (2, 3):
        one = settle(one, EVERY_MINUTE, number * MINUTE)
        assert started(one) == ()
    assert one.recent[-1] == Seen(2 * MINUTE, "skipped", "overlap", "", 3 * MINUTE, 2)
    one = settle(one, EVERY_MINUTE, 4 * MINUTE, over=one.active)
    assert started(one) == minutes(4)
    assert one.active == (one.run_id(Start(4 * MINUTE)),)


def test_ticks_wait_in_order_up_to_a_number() -> None:
    """With ``queue`` ticks wait for the run before them; those beyond the number are skipped."""
    one = carried_out(settle(schedule(overlap="queue", queue_limit=2), EVERY_MINUTE, 4 * MINUTE))
    assert one.queue == minutes(2, 3)
    assert one.recent[-1] == Seen(4 * MINUTE, "skipped", "queue_full", "", 4 * MINUTE)
    assert settle(one, EVERY_MINUTE, 4 * MINUTE) is one
    one = settle(one, EVERY_MINUTE, 4 * MINUTE, over=one.active)
    assert (started(one), one.queue) == (minutes(2), minutes(3))
    one = settle(carried_out(one), EVERY_MINUTE, 5 * MINUTE, over=one.active)
    assert (started(one), one.queue) == (minutes(3), minutes(5))
    assert [each.at for each in one.recent if each.outcome == "queued"] == [5 * MINUTE]


def test_what_waits_starts_where_runs_may_overlap_from_now_on() -> None:
    """A queue is emptied at once when its schedule becomes one that lets runs overlap."""
    one = carried_out(settle(schedule(overlap="queue"), EVERY_MINUTE, 3 * MINUTE))
    one = core.respecify(one, replace(one.spec, overlap="allow"), 3 * MINUTE)
    assert started(settle(one, EVERY_MINUTE, 3 * MINUTE)) == minutes(2, 3)


def test_nothing_is_decided_before_what_is_pending_was_started() -> None:
    """Runs that were decided come first: who decides more might not start them."""
    one = settle(schedule(overlap="allow"), EVERY_MINUTE, MINUTE)
    assert settle(one, EVERY_MINUTE, 9 * MINUTE) is one


def test_a_pause_leaves_ticks_out() -> None:
    """Paused, a schedule has no ticks; resumed it has those that come, and tells of the others."""
    one = core.pause(settle(schedule(overlap="allow"), EVERY_MINUTE, MINUTE), "a while")
    one = carried_out(one)
    assert settle(one, EVERY_MINUTE, 5 * MINUTE) is one
    assert core.look_at(one, EVERY_MINUTE, 5 * MINUTE) is None
    one = core.resume(one, EVERY_MINUTE, 5 * MINUTE)
    assert one.recent[-1] == Seen(2 * MINUTE, "skipped", "paused", "", 5 * MINUTE, 0)
    assert started(settle(one, EVERY_MINUTE, 6 * MINUTE)) == minutes(6)


def test_a_clock_that_is_behind_brings_no_tick_back() -> None:
    """Who looks with a clock that is minutes behind decides nothing, and undoes nothing."""
    one = carried_out(settle(schedule(overlap="allow"), EVERY_MINUTE, 9 * MINUTE))
    assert settle(one, EVERY_MINUTE, 2 * MINUTE) is one
    late = core.resume(core.pause(one, ""), EVERY_MINUTE, 2 * MINUTE)
    assert late.cursor == 9 * MINUTE
    assert core.respecify(one, replace(one.spec, note="new"), 2 * MINUTE).cursor == 9 * MINUTE


def test_when_to_look_again() -> None:
    """At the next tick; soon where something waits; at once where something is to be started."""
    one = schedule(overlap="queue")
    assert core.look_at(one, EVERY_MINUTE, 5) == MINUTE
    one = settle(one, EVERY_MINUTE, 2 * MINUTE)
    assert core.look_at(one, EVERY_MINUTE, 2 * MINUTE) == 2 * MINUTE
    assert core.look_at(carried_out(one), EVERY_MINUTE, 2 * MINUTE) == 2 * MINUTE + 5_000
    broken = replace(one, problem="nobody knows the blueprint")
    assert core.look_at(broken, EVERY_MINUTE, 2 * MINUTE) == 3 * MINUTE
    ended = schedule(end_at=MINUTE - 1)
    assert core.look_at(ended, EVERY_MINUTE, 0) is None


def test_run_ids_are_of_the_tick_and_the_schedule() -> None:
    """The same tick of the same schedule is one run; of one created anew it is another."""
    one = schedule()
    assert one.run_id(Start(1500)) == "s@1970-01-01T00:00:01.500Z.i"
    assert replace(one, incarnation="j").run_id(Start(1500)) != one.run_id(Start(1500))
    assert one.run_id(Start(1500, "by hand")) == "s@1970-01-01T00:00:01.500Z.i.by hand"


def test_a_schedule_is_read_as_it_was_written() -> None:
    """Text and back: nothing is lost, and what was decided stays as it is."""
    one = settle(schedule(overlap="queue", tags={"team": "ü"}), EVERY_MINUTE, 30 * MINUTE)
    one = core.pause(core.start(one, Start(5, "token")), "ünicode \x00")
    assert read_schedule(write_schedule(one), "it") == one


def test_texts_stay_small() -> None:
    """The longest schedule, with all that waits and was remembered, is far below 400 KB."""
    one = schedule(overlap="queue", queue_limit=1000, tags={"t": "x" * 10_000}, note="n" * 2000)
    one = replace(one, id="i" * 200)
    ticks = tuple(1_767_225_600_000 + number for number in range(1000))
    one = replace(one, queue=ticks, pending=tuple(Start(each) for each in ticks[:101]))
    one = replace(one, active=tuple(one.run_id(Start(each)) for each in ticks[:100]))
    one = replace(one, recent=tuple(Seen(each, "skipped", "queue_full") for each in ticks[:20]))
    assert len(write_schedule(one).encode()) < 80_000
