"""What a conditional write appends and refuses, and when it sets the row."""

from __future__ import annotations

import asyncio

from flowcraft.ports.runs import Entry, Fact, Row, RunStore, Verdict, Written
from flowcraft.testing.clock import START
from flowcraft.testing.conformance.helpers import (
    claim,
    create,
    data_of,
    done,
    head,
    holding,
    log,
    record,
    unchanged,
    write,
)
from flowcraft.testing.conformance.stage import Cases, Stage, equal

cases = Cases()


# --- facts ---------------------------------------------------------------------------------


@cases
async def facts_are_numbered(stage: Stage) -> None:
    """Facts get the next numbers; time and text are the entry's, the thread is the write's."""
    await create(stage.runs)
    entries = (Entry("a", START + 2.25), Entry("b", START + 1.5, "id"))
    written = await done(stage.runs, 1, entries=entries, thread="t")
    expected = [Fact(1, START + 2.25, "t", "a"), Fact(2, START + 1.5, "t", "b")]
    equal(written.first, 1, "the number of the first")
    equal(list(written.facts), expected, "the facts answered")
    equal(list((await record(stage.runs)).facts)[1:], expected, "the facts read back")


@cases
async def a_write_without_facts_has_no_first(stage: Stage) -> None:
    """A write that appends nothing answers with no facts, and -1 as the first number."""
    await create(stage.runs)
    written = await done(stage.runs, 1, row=Row("paused"))
    equal((written.first, list(written.facts)), (-1, []), "first and facts")


@cases
async def who_lags_behind_is_told(stage: Stage) -> None:
    """A writer that did not know everything is told what it missed, before its own facts."""
    await create(stage.runs)
    await done(stage.runs, 1, "a", "b")
    written = await done(stage.runs, 2, "c")
    equal(data_of(written.facts), ["b", "c"], "the facts answered")
    equal([fact.number for fact in written.facts], [2, 3], "their numbers")
    equal(written.first, 3, "the number of the first")
    equal(data_of((await done(stage.runs, 1)).facts), ["a", "b", "c"], "what a bare write tells")


@cases
async def writers_at_the_same_time_lose_nothing(stage: Stage) -> None:
    """Facts of clients that write at the same time are all there, numbered without gaps."""
    await create(stage.runs)
    other = await stage.another()
    await asyncio.gather(write_many(stage.runs, "x"), write_many(other.runs, "y"))
    facts = await log(stage.runs)
    for name in "xy":
        own = [text for text in facts if text.startswith(name)]
        equal(own, [f"{name}{i}" for i in range(20)], f"the facts of {name}, in order")


# --- refusals ------------------------------------------------------------------------------


@cases
async def no_run_nothing_written(stage: Stage) -> None:
    """A write to a run that is not there is ``GONE``."""
    equal(await write(stage.runs, 0, "a"), Written(Verdict.GONE), "the answer")
    equal(await stage.runs.read("run"), None, "the run")


@cases
async def an_earlier_run_is_gone(stage: Stage) -> None:
    """A write that means an earlier run of the same id is ``GONE``, and writes nothing."""
    await create(stage.runs)
    before = await record(stage.runs)
    answer = await write(stage.runs, 1, "a", epoch="earlier", row=Row("paused"), claim=claim())
    equal(answer, Written(Verdict.GONE), "the answer")
    await unchanged(stage.runs, before)


@cases
async def an_exact_write_refuses_what_it_does_not_know(stage: Stage) -> None:
    """An exact write is ``STALE`` if facts came in between: nothing of it is done."""
    await create(stage.runs)
    await done(stage.runs, 1, "a", claim=claim())
    before = await record(stage.runs)
    more = {"claim": claim(place="p2"), "holding": holding(), "row": Row("paused")}
    answer = await write(stage.runs, 1, "b", exact=True, **more)
    equal((answer.verdict, data_of(answer.facts)), (Verdict.STALE, ["a"]), "the answer")
    equal((answer.first, answer.granted, answer.row_written), (-1, False, False), "what was done")
    await unchanged(stage.runs, before)


@cases
async def an_exact_write_that_knows_everything_is_done(stage: Stage) -> None:
    """An exact write by somebody who knows everything is like any other."""
    await create(stage.runs)
    await done(stage.runs, 1, "a", exact=True)
    equal(await log(stage.runs), ["begin", "a"], "the facts")


@cases
async def a_fact_is_taken_once(stage: Stage) -> None:
    """A write with an id that the run has is ``KNOWN``: nothing of it is done."""
    await create(stage.runs)
    await done(stage.runs, 1, entries=(Entry("a", START, "id"),), claim=claim())
    before = await record(stage.runs)
    entries = (Entry("b", START), Entry("a", START, "id"))
    more = {"claim": claim(place="p2"), "holding": holding(), "row": Row("paused")}
    answer = await write(stage.runs, 1, entries=entries, **more)
    equal((answer.verdict, data_of(answer.facts)), (Verdict.KNOWN, ["a"]), "the answer")
    equal((answer.first, answer.granted, answer.row_written), (-1, False, False), "what was done")
    await unchanged(stage.runs, before)


@cases
async def the_id_of_the_first_fact_is_known(stage: Stage) -> None:
    """The fact that a run began with may have an id, too."""
    entry = Entry("begin", START, "id")
    await stage.runs.create(head(), [entry], "thread")
    answer = await write(stage.runs, 1, entries=(entry,))
    equal(answer.verdict, Verdict.KNOWN, "the verdict")


@cases
async def runs_do_not_share_ids(stage: Stage) -> None:
    """The ids of facts are each run's own, and having none is nothing in common."""
    entries = (Entry("a", START, "id"), Entry("b", START), Entry("c", START))
    for run_id in ("run", "other"):
        await create(stage.runs, run_id)
        await done(stage.runs, 1, run_id=run_id, entries=entries)
    equal(await log(stage.runs, "other"), ["begin", "a", "b", "c"], "the facts")


@cases
async def of_equal_facts_at_the_same_time_one_is_taken(stage: Stage) -> None:
    """Of clients that write the same fact at the same time, one does."""
    await create(stage.runs)
    other = await stage.another()
    entries = (Entry("a", START, "id"),)
    answers = await asyncio.gather(
        *(write(runs, 1, entries=entries) for runs in (stage.runs, other.runs))
    )
    verdicts = sorted(answer.verdict for answer in answers)
    equal(verdicts, [Verdict.DONE, Verdict.KNOWN], "the verdicts")
    equal(await log(stage.runs), ["begin", "a"], "the facts")


@cases
async def the_first_reason_is_told(stage: Stage) -> None:
    """Of several reasons to refuse a write ``STALE`` comes before ``KNOWN`` before ``LOST``."""
    await create(stage.runs)
    entries = (Entry("a", START, "id"),)
    await done(stage.runs, 1, entries=entries)
    more = {"entries": entries, "holding": holding("nobody")}
    equal((await write(stage.runs, 1, exact=True, **more)).verdict, Verdict.STALE, "all three")
    equal((await write(stage.runs, 1, **more)).verdict, Verdict.KNOWN, "known and lost")
    equal((await write(stage.runs, 1, "b", holding=holding())).verdict, Verdict.LOST, "lost")


# --- the row -------------------------------------------------------------------------------


@cases
async def the_row_is_written_with_its_time(stage: Stage) -> None:
    """Who knows everything sets the row, and with it the time of the update."""
    await create(stage.runs)
    stage.clock.advance(7)
    row = Row("awaiting", stopping=True, due_at=START + 100.5, awaits=("a", "b"))
    equal((await done(stage.runs, 1, "a", row=row)).row_written, True, "whether it is written")
    now = (await record(stage.runs)).head
    equal((now.row, now.updated_at), (row, stage.clock.now()), "the row and its time")
    equal(now.created_at, START, "when it was started")


@cases
async def every_part_of_the_row_changes(stage: Stage) -> None:
    """Status, stopping, due time and the events awaited are each set, and taken back."""
    await create(stage.runs)
    rows = [
        Row("running", stopping=True),
        Row("running", stopping=False, due_at=START + 1),
        Row("running", stopping=True, due_at=START + 2),
        Row("awaiting", stopping=True, due_at=START + 2),
        Row("awaiting", stopping=True, due_at=START + 2, awaits=("a", "b")),
        Row("awaiting", awaits=("b", "c")),
        Row("awaiting", awaits=("c",)),
        Row("awaiting"),
    ]
    for row in rows:
        await done(stage.runs, 1, row=row)
        equal((await record(stage.runs)).head.row, row, "the row")


@cases
async def facts_alone_leave_the_row(stage: Stage) -> None:
    """A write without a row leaves it, and the time of its update, as they are."""
    await create(stage.runs)
    stage.clock.advance(7)
    equal((await done(stage.runs, 1, "a")).row_written, False, "whether it is written")
    equal((await record(stage.runs)).head.updated_at, START, "the time of the update")


@cases
async def a_row_from_the_past_is_not_written(stage: Stage) -> None:
    """Who does not know everything appends facts, but does not set the row."""
    await create(stage.runs)
    await done(stage.runs, 1, "a")
    stage.clock.advance(7)
    written = await done(stage.runs, 1, "b", row=Row("paused"))
    equal(written.row_written, False, "whether it is written")
    found = await record(stage.runs)
    equal((found.head.row, found.head.updated_at), (Row("running"), START), "the row and its time")
    equal(data_of(found.facts), ["begin", "a", "b"], "the facts")


@cases
async def a_final_status_is_final(stage: Stage) -> None:
    """A row that says that the run is over is not replaced by one that says otherwise."""
    for status in ("completed", "failed", "cancelled"):
        await create(stage.runs, status)
        await done(stage.runs, 1, run_id=status, row=Row(status))
        written = await done(stage.runs, 1, "late", run_id=status, row=Row("running"))
        equal(written.row_written, False, "whether it is written")
        found = await record(stage.runs, status)
        equal(found.head.row, Row(status), "the row")
        equal(data_of(found.facts), ["begin", "late"], "the facts")


@cases
async def a_final_row_may_be_written_again(stage: Stage) -> None:
    """A row with the same final status is written, but none with another."""
    await create(stage.runs, status="failed")
    again = Row("failed", due_at=START + 1)
    equal((await done(stage.runs, 1, row=again)).row_written, True, "the same status")
    equal((await done(stage.runs, 1, row=Row("completed"))).row_written, False, "another status")
    equal((await record(stage.runs)).head.row, again, "the row")


# --- helpers -------------------------------------------------------------------------------


async def write_many(runs: RunStore, name: str) -> None:
    """Write twenty facts, going on from what the answers tell."""
    seen = 1
    for number in range(20):
        seen += len((await done(runs, seen, f"{name}{number}")).facts)
        await asyncio.sleep(0)
