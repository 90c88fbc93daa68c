"""Which runs a store takes to be stuck, perhaps: the same for all of them."""

from __future__ import annotations

from flowcraft.ports.runs import Row, RunStore
from flowcraft.ports.suspicion import PAGE_RUNS, Depth, Suspicion
from flowcraft.testing.clock import START
from flowcraft.testing.conformance.helpers import create, done
from flowcraft.testing.conformance.stage import Cases, Stage, equal

cases = Cases()

LIVE = ("running", "awaiting", "paused")

LONG = 300.0
"""What lies so many seconds back was long ago."""


@cases
async def runs_that_nobody_touched_are_suspected(stage: Stage) -> None:
    """A run of a status that is asked for is suspected once its row was not written for long."""
    for status in (*LIVE, "completed", "failed"):
        await create(stage.runs, status, status=status)
    stage.clock.advance(LONG)
    equal(await suspects(stage, untouched=LIVE), [], "the runs of just so long ago")
    stage.clock.advance(1)
    await create(stage.runs, "new", updated_at=stage.clock.now())
    equal(await suspects(stage, untouched=("running",)), ["running"], "the running ones")
    equal(await suspects(stage, untouched=LIVE), sorted(LIVE), "those that are not over")


@cases
async def a_run_whose_row_was_written_is_not_suspected(stage: Stage) -> None:
    """It counts when the row was last written, not when the run was started."""
    for run_id in ("a", "b"):
        await create(stage.runs, run_id)
    stage.clock.advance(LONG)
    await done(stage.runs, 1, "fact", run_id="a", row=Row("running", due_at=stage.clock.now() + 9))
    stage.clock.advance(20)
    equal(await suspects(stage, untouched=LIVE), ["b"], "the runs")


@cases
async def runs_with_an_overdue_timer_are_suspected(stage: Stage) -> None:
    """A timer that was due long ago makes a run suspect, whatever its status is."""
    for status in (*LIVE, "completed"):
        await create(stage.runs, status, row=Row(status, due_at=START + 10))
    await create(stage.runs, "later", row=Row("awaiting", due_at=START + 11))
    await create(stage.runs, "none", row=Row("awaiting"))
    stage.clock.advance(LONG + 10)
    equal(await suspects(stage, overdue=LIVE), [], "the runs of just so long ago")
    stage.clock.advance(1)
    equal(await suspects(stage, overdue=LIVE), sorted(LIVE), "those that are not over")
    equal(await suspects(stage, overdue=("paused",)), ["paused"], "those of one status")
    await done(stage.runs, 1, "fact", run_id="paused", row=Row("paused"))
    equal(await suspects(stage, overdue=LIVE), ["awaiting", "running"], "when a timer is gone")


@cases
async def one_pass_finds_all_kinds(stage: Stage) -> None:
    """What is untouched and what is overdue is found together, and each run once."""
    await create(stage.runs, "both", row=Row("running", due_at=START))
    await create(stage.runs, "late", row=Row("awaiting", due_at=START))
    await create(stage.runs, "old")
    await create(stage.runs, "part", is_part=True)
    await create(stage.runs, "rests", row=Row("awaiting"))
    stage.clock.advance(LONG + 30)
    found = await suspects(stage, untouched=("running",), overdue=LIVE)
    equal(found, ["both", "late", "old", "part"], "the runs")


@cases
async def pages_of_suspects_cover_all(stage: Stage) -> None:
    """More suspects than a page has are all found, also if some are gone before their page."""
    count = PAGE_RUNS + 5
    ids = [f"{number:03}" for number in range(count)]
    for run_id in ids:
        await create(stage.runs, run_id)
    stage.clock.advance(LONG + 30)
    equal(await suspects(stage, untouched=LIVE), ids, "the runs")
    suspicion = Suspicion(stage.clock.now() - LONG, LIVE, ())
    page = await stage.runs.suspects(suspicion)
    found = {head.run_id for head in page.heads}
    gone = [run_id for run_id in ids if run_id not in found][:1] + sorted(found)[-1:]
    for run_id in gone:
        await stage.runs.remove(run_id, "epoch")
    while page.after is not None:
        page = await stage.runs.suspects(suspicion, page.after)
        found |= {head.run_id for head in page.heads}
    equal(sorted(found - set(gone)), sorted(set(ids) - set(gone)), "the runs that are left")


@cases
async def suspects_are_the_same_at_each_depth(stage: Stage) -> None:
    """Where nothing is amiss with the rows it makes no difference how thoroughly they are read."""
    await create(stage.runs, "late", row=Row("awaiting", due_at=START))
    await create(stage.runs, "old")
    await create(stage.runs, "over", status="completed")
    await create(stage.runs, "rests", row=Row("paused"))
    stage.clock.advance(LONG + 30)
    for depth in Depth:
        found = await suspects(stage, untouched=("running",), overdue=LIVE, depth=depth)
        equal(found, ["late", "old"], f"the runs, looked for by {depth}")


async def suspects(
    stage: Stage,
    *,
    untouched: tuple[str, ...] = (),
    overdue: tuple[str, ...] = (),
    depth: Depth = Depth.SUSPECTS,
) -> list[str]:
    """The ids of the runs that may be stuck, sorted; each has to come once."""
    suspicion = Suspicion(stage.clock.now() - LONG, untouched, overdue, depth)
    return sorted(await all_suspects(stage.runs, suspicion))


async def all_suspects(runs: RunStore, suspicion: Suspicion) -> list[str]:
    """The ids of the runs that may be stuck, page by page."""
    page = await runs.suspects(suspicion)
    found = [head.run_id for head in page.heads]
    while page.after is not None:
        page = await runs.suspects(suspicion, page.after)
        found += [head.run_id for head in page.heads]
    return found
