"""How the record of a run begins, is read, and ends."""

from __future__ import annotations

import asyncio
from typing import Any

from flowcraft.ports.runs import Fact, Row, Verdict
from flowcraft.testing.clock import START
from flowcraft.testing.conformance.helpers import (
    claim,
    create,
    data_of,
    done,
    head,
    holding,
    leases,
    log,
    record,
    write,
)
from flowcraft.testing.conformance.stage import Cases, Stage, equal

cases = Cases()


# --- create --------------------------------------------------------------------------------


@cases
async def a_run_begins_with_one_fact(stage: Stage) -> None:
    """A new run is given back with one fact, and read back in full."""
    row = Row("running", stopping=True, due_at=START + 5.5, awaits=("a", "b"))
    tags = {"team": "ü", 'quo"te': ""}
    more: dict[str, Any] = {
        "row": row,
        "parent": "{}",
        "tags": tags,
        "key": "key",
        "updated_at": START + 1,
    }
    created = await create(stage.runs, **more)
    equal(created, head(**{**more, "facts": 1}), "what create answers")
    found = await record(stage.runs)
    equal(found.head, created, "the head read back")
    equal(list(found.facts), [Fact(0, START, "thread 0", "begin")], "the facts")
    equal(list(found.leases), [], "the leases")


@cases
async def a_second_run_of_the_same_id_does_not_begin(stage: Stage) -> None:
    """Of an id there is one run: the second create is given the first, and writes nothing."""
    first = await create(stage.runs)
    again = await create(stage.runs, epoch="other", blueprint_id="other", key="key")
    equal(again, first, "what the second create answers")
    equal(await log(stage.runs), ["begin"], "the facts")
    equal((await create(stage.runs, "second", key="key")).run_id, "second", "the key was not taken")


@cases
async def a_second_run_of_the_same_key_does_not_begin(stage: Stage) -> None:
    """Of an idempotency key there is one run, whatever ids are asked for."""
    first = await create(stage.runs, key="key")
    again = await create(stage.runs, "second", epoch="other", key="key")
    equal(again, first, "what the second create answers")
    equal(await stage.runs.read("second"), None, "the second run")


@cases
async def runs_without_a_key_are_strangers(stage: Stage) -> None:
    """Having no key is nothing in common; runs with different keys are not the same, either."""
    for run_id, key in {"a": None, "b": None, "c": "key", "d": "Key"}.items():
        equal((await create(stage.runs, run_id, key=key)).run_id, run_id, "the run begun")


@cases
async def of_two_that_create_one_wins(stage: Stage) -> None:
    """Clients that create the same run at the same time are given the same one."""
    other = await stage.another()
    heads = await asyncio.gather(
        *(create(runs, epoch=f"{i}", key="k") for i, runs in enumerate([stage.runs, other.runs])),
    )
    equal(heads[0], heads[1], "what both are given")
    equal(await log(other.runs), ["begin"], "the facts")


@cases
async def facts_are_counted_in_the_head(stage: Stage) -> None:
    """A create that finds a run is told how many facts it has."""
    await create(stage.runs)
    await done(stage.runs, 1, "a", "b")
    equal((await create(stage.runs)).facts, 3, "the number of facts")


# --- read ----------------------------------------------------------------------------------


@cases
async def no_run_reads_as_none(stage: Stage) -> None:
    """An id without a run gives ``None``."""
    await create(stage.runs)
    equal(await stage.runs.read("Run"), None, "the run of another id")


@cases
async def facts_are_read_from_a_number_on(stage: Stage) -> None:
    """``since`` leaves out what comes before; beyond the end there is nothing."""
    await create(stage.runs)
    await done(stage.runs, 1, "a", "b", "c")
    for since, expected in {0: ["begin", "a", "b", "c"], 2: ["b", "c"], 4: [], 9: []}.items():
        found = await stage.runs.read("run", since)
        facts = None if found is None else data_of(found.facts)
        equal(facts, expected, f"the facts since {since}")


@cases
async def another_client_reads_what_was_written(stage: Stage) -> None:
    """What a write answered with is there for every client."""
    other = await stage.another()
    await create(stage.runs)
    await done(stage.runs, 1, "a", claim=claim(), row=Row("awaiting"))
    found = await record(other.runs)
    equal(data_of(found.facts), ["begin", "a"], "the facts")
    equal([lease.token for lease in found.leases], ["token"], "the tokens of the leases")
    equal(found.head.row.status, "awaiting", "the status")


@cases
async def a_long_log_is_read_in_order(stage: Stage) -> None:
    """Hundreds of facts, some of them long, are read in the order of their numbers."""
    await create(stage.runs)
    texts = [f"{number} " + "ä" * (number % 7 * 1000) for number in range(1, 300)]
    for at in range(0, len(texts), 20):
        await done(stage.runs, 1 + at, *texts[at : at + 20])
    equal(await log(stage.runs), ["begin", *texts], "the facts")


# --- remove --------------------------------------------------------------------------------


@cases
async def a_removed_run_is_gone(stage: Stage) -> None:
    """Nothing is left of a run that was removed; other runs are."""
    await create(stage.runs)
    await create(stage.runs, "other")
    await stage.runs.remove("run", "epoch")
    equal(await stage.runs.read("run"), None, "the run")
    equal((await write(stage.runs, 1, "a")).verdict, Verdict.GONE, "the verdict on a write")
    equal(await log(stage.runs, "other"), ["begin"], "the other run's facts")


@cases
async def a_run_of_the_same_id_begins_anew(stage: Stage) -> None:
    """After a removal its id, key, fact ids and places are free: nothing comes back."""
    await create(stage.runs, key="key", tags={"old": "1"})
    await done(stage.runs, 1, "a", "b", claim=claim("old"))
    await done(stage.runs, 3, claim=claim("old", "second place"))
    await done(stage.runs, 3, holding=holding("old", "second place"))
    await stage.runs.remove("run", "epoch")
    created = await create(stage.runs, epoch="new", key="key", tags={"new": "1"})
    equal((created.epoch, created.facts, created.tags), ("new", 1, {"new": "1"}), "the new run")
    equal(await leases(stage.runs), [], "its leases")
    written = await done(stage.runs, 1, "c", epoch="new", claim=claim("new", "second place"))
    equal(written.granted, True, "whether the place is free")
    equal(await log(stage.runs), ["begin", "c"], "its facts")


@cases
async def another_epoch_is_left_alone(stage: Stage) -> None:
    """A removal that means an earlier run of the same id does nothing."""
    await create(stage.runs)
    await stage.runs.remove("run", "earlier")
    equal(await log(stage.runs), ["begin"], "the facts")


@cases
async def removing_nothing_is_no_error(stage: Stage) -> None:
    """Removing a run that is not there does nothing."""
    await stage.runs.remove("run", "epoch")
    equal(await stage.runs.read("run"), None, "the run")
