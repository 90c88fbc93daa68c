"""Runs that count as absent, because somebody is removing them, and those whose time is over."""

from __future__ import annotations

import math

from flowcraft.ports.runs import CLOCKS_SECONDS, Query, Row, Verdict
from flowcraft.ports.suspicion import Depth, Suspicion
from flowcraft.testing.clock import START
from flowcraft.testing.conformance.helpers import (
    claim,
    create,
    done,
    holding,
    log,
    record,
    renew,
    write,
)
from flowcraft.testing.conformance.stage import Cases, Stage, equal

cases = Cases()

LONG_SECONDS = 100.0
FINAL = ("completed", "failed", "cancelled")


async def hide(stage: Stage, run_id: str = "run") -> None:
    """Let a run count as absent."""
    await stage.runs.remove(run_id, "epoch", only_hide=True)


async def lapsed(stage: Stage, before: float = -math.inf) -> list[str]:
    """The ids of runs whose time is over."""
    heads = await stage.runs.find(Query(lapsed=before, parts=True))
    return sorted(head.run_id for head in heads)


@cases
async def a_hidden_run_takes_nothing(stage: Stage) -> None:
    """Nothing is written to a run that counts as absent, and no lease of it is held."""
    await create(stage.runs)
    await done(stage.runs, 1, claim=claim())
    await hide(stage)
    equal((await write(stage.runs, 1, "a")).verdict, Verdict.GONE, "a write")
    ending = await write(stage.runs, 1, "a", holding=holding())
    equal(ending.verdict, Verdict.GONE, "the end of a lease")
    row = await write(stage.runs, 1, row=Row("completed"))
    equal(row.verdict, Verdict.GONE, "a row")
    equal((await renew(stage.runs)).held, False, "whether the lease is held")
    equal(await log(stage.runs), ["begin"], "the facts")


@cases
async def another_client_finds_a_run_hidden(stage: Stage) -> None:
    """Who knew the run before it was hidden is refused all the same."""
    other = await stage.another()
    await create(stage.runs)
    await done(other.runs, 1, "a")
    await hide(stage)
    equal((await write(other.runs, 2, "b")).verdict, Verdict.GONE, "a write of another client")
    equal((await write(other.runs, 2, claim=claim())).verdict, Verdict.GONE, "a claim")


@cases
async def a_hidden_run_is_read_with_its_time(stage: Stage) -> None:
    """Whoever removes it still has to tell what belongs to it."""
    await create(stage.runs)
    equal((await record(stage.runs)).head.expires_at, None, "when it expires")
    stage.clock.advance(5)
    await hide(stage)
    found = await record(stage.runs)
    equal(found.head.is_gone(stage.clock.now()), True, "whether it counts as absent")
    late = stage.clock.now() - CLOCKS_SECONDS
    equal(found.head.is_gone(late), True, "whether it does for those whose clocks are behind")
    expires_at = found.head.expires_at
    stage.clock.advance(5)
    await hide(stage)
    equal((await record(stage.runs)).head.expires_at, expires_at, "when it was hidden first")


@cases
async def a_hidden_run_is_in_no_list_but_one(stage: Stage) -> None:
    """Lists and looks for stuck runs do not have it; the list of lapsed runs has."""
    for run_id in ("run", "other"):
        await create(stage.runs, run_id, row=Row("running", due_at=START + 1))
    await hide(stage)
    stage.clock.advance(LONG_SECONDS)
    equal([head.run_id for head in await stage.runs.find(Query())], ["other"], "the list")
    now = stage.clock.now()
    suspicion = Suspicion(now, ("running",), ("running",), Depth.ROWS)
    page = await stage.runs.suspects(suspicion)
    equal([head.run_id for head in page.heads], ["other"], "the runs that may be stuck")
    equal(await lapsed(stage), ["run"], "the lapsed ones")
    await stage.runs.remove("run", "epoch")
    equal(await lapsed(stage), [], "the lapsed ones, afterwards")


@cases
async def a_hidden_run_keeps_its_place_until_it_is_removed(stage: Stage) -> None:
    """Who would begin one of its id, or its key, is given it, and removes it first."""
    await create(stage.runs, key="key")
    await hide(stage)
    for run_id in ("run", "second"):
        there = await create(stage.runs, run_id, epoch="new", key="key")
        equal((there.run_id, there.epoch), ("run", "epoch"), "the run that is there")
        equal(there.is_gone(stage.clock.now()), True, "whether it counts as absent")
    await stage.runs.remove("run", "epoch")
    equal((await create(stage.runs, "second", epoch="new", key="key")).epoch, "new", "the new run")


@cases
async def hiding_another_epoch_does_nothing(stage: Stage) -> None:
    """A wish that means an earlier run of the same id does nothing."""
    await create(stage.runs)
    await stage.runs.remove("run", "earlier", only_hide=True)
    await stage.runs.remove("other", "epoch", only_hide=True)
    await done(stage.runs, 1, "a")


@cases
async def runs_that_were_over_long_ago_have_lapsed(stage: Stage) -> None:
    """Of those that do not expire by themselves: no child, none that lives or ended lately."""
    await create(stage.runs, "lives")
    await create(stage.runs, "child", row=Row("completed"), parent="{}")
    for number, status in enumerate(FINAL):
        await create(stage.runs, f"over {number}", row=Row(status))
    stage.clock.advance(LONG_SECONDS)
    late = START + LONG_SECONDS
    await create(stage.runs, "late", row=Row("completed"), created_at=late, updated_at=late)
    over = [f"over {number}" for number in range(len(FINAL))]
    equal(await lapsed(stage, START + 1), over, "the lapsed ones")
    equal(await lapsed(stage, START), [], "those of earlier")
    equal(await lapsed(stage), [], "those that have expired")
    equal(len(await stage.runs.find(Query())), 6, "how many are in the list")
