"""Which runs are found, and in which order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from flowcraft.errors import RunNotFound
from flowcraft.ports.runs import Query, Row, RunStore
from flowcraft.testing.clock import START
from flowcraft.testing.conformance.helpers import create, done, record, write
from flowcraft.testing.conformance.stage import Cases, Stage, equal

cases = Cases()


@cases
async def the_newest_run_comes_first(stage: Stage) -> None:
    """Runs are listed by the time they were started, the newest first."""
    for run_id, age in {"b": 10, "c": 30, "a": 20}.items():
        await create(stage.runs, run_id, created_at=START - age)
    equal(await found(stage.runs), ["b", "a", "c"], "the runs")


@cases
async def runs_of_the_same_time_come_by_id(stage: Stage) -> None:
    """Runs that were started at the same time are listed by id, the last first."""
    for run_id in ("b", "c", "a"):
        await create(stage.runs, run_id)
    equal(await found(stage.runs), ["c", "b", "a"], "the runs")


@cases
async def no_runs_are_an_empty_list(stage: Stage) -> None:
    """Without runs there are none to be found."""
    equal(await found(stage.runs), [], "the runs")


@cases
async def heads_are_complete(stage: Stage) -> None:
    """A listed run is told in full, as reading it tells."""
    await create(stage.runs, parent="{}", tags={"a": "1"}, key="key")
    row = Row("awaiting", stopping=True, due_at=START + 1, awaits=("a", "b"))
    await done(stage.runs, 1, "a", row=row)
    heads = await stage.runs.find(Query())
    equal(list(heads), [(await record(stage.runs)).head], "the runs")
    equal(heads[0].facts, 2, "the number of facts")


@cases
async def parts_are_listed_when_asked_for(stage: Stage) -> None:
    """Parts of other runs are left out of lists, unless ``parts`` asks for them too."""
    await create(stage.runs, "a")
    await create(stage.runs, "b", is_part=True)
    equal(await found(stage.runs), ["a"], "the runs")
    equal(await found(stage.runs, parts=True), ["b", "a"], "the runs and their parts")
    await done(stage.runs, 1, "x", run_id="b", row=Row("failed", due_at=START))
    equal(await found(stage.runs, status="failed"), [], "failed runs")
    due = await found(stage.runs, due_before=START + 1, parts=True)
    equal(due, ["b"], "parts that are due")
    equal((await record(stage.runs, "b")).head.is_part, True, "whether it is a part")


@cases
async def runs_are_found_by_status(stage: Stage) -> None:
    """``status`` asks for the status that a run has now."""
    for run_id in ("a", "b"):
        await create(stage.runs, run_id)
    await done(stage.runs, 1, run_id="a", row=Row("awaiting"))
    equal(await found(stage.runs, status="running"), ["b"], "the running ones")
    equal(await found(stage.runs, status="awaiting"), ["a"], "the waiting ones")
    equal(await found(stage.runs, status="failed"), [], "the failed ones")


@cases
async def runs_are_found_by_blueprint(stage: Stage) -> None:
    """``blueprint_id`` asks for the runs of one blueprint."""
    for run_id, blueprint_id in {"a": "x", "b": "y", "c": "x"}.items():
        await create(stage.runs, run_id, blueprint_id=blueprint_id)
    equal(await found(stage.runs, blueprint_id="x"), ["c", "a"], "the runs of x")


@cases
async def runs_are_found_by_tags(stage: Stage) -> None:
    """``tags`` asks for runs that have all of them, and perhaps more."""
    tags = {"a": {"t": "1", "u": "1"}, "b": {"t": "1"}, "c": {"t": "2", "u": "1"}, "d": {}}
    for run_id, own in tags.items():
        await create(stage.runs, run_id, tags=own)
    equal(await found(stage.runs, tags={"t": "1"}), ["b", "a"], "with one tag")
    equal(await found(stage.runs, tags={"t": "1", "u": "1"}), ["a"], "with both tags")
    equal(await found(stage.runs, tags={"t": "u"}), [], "with a tag that no run has")
    equal(await found(stage.runs, tags={}), ["d", "c", "b", "a"], "with any tags")


@cases
async def tags_are_compared_as_they_are(stage: Stage) -> None:
    """Any characters may be in a tag; upper and lower case differ."""
    for number, name in enumerate(['a"b', "a.b", "ä€", "%", "Team", "a\\b"]):
        await create(stage.runs, str(number), tags={name: name})
        equal(await found(stage.runs, tags={name: name}), [str(number)], f"the run with {name!r}")
    equal(await found(stage.runs, tags={"team": "Team"}), [], "the runs with another case")


@cases
async def runs_are_found_by_time_of_start(stage: Stage) -> None:
    """``created_from`` is the first time that counts, ``created_until`` the first that does not."""
    for number in range(5):
        await create(stage.runs, str(number), created_at=START + number)
    equal(await found(stage.runs, created_from=START + 3), ["4", "3"], "from the fourth on")
    equal(await found(stage.runs, created_until=START + 2), ["1", "0"], "before the third")
    between = {"created_from": START + 1, "created_until": START + 3}
    equal(await found(stage.runs, **between), ["2", "1"], "between")


@cases
async def runs_are_found_by_due_time(stage: Stage) -> None:
    """``due_before`` asks for a timer before that time; a run without one is never due."""
    for run_id, due_at in {"a": START + 1, "b": None, "c": START + 2, "d": START}.items():
        await create(stage.runs, run_id, row=Row("awaiting", due_at=due_at))
    equal(await found(stage.runs, due_before=START + 2), ["d", "a"], "the runs that are due")
    equal(await found(stage.runs, due_before=START), [], "the runs that were due earlier")
    await done(stage.runs, 1, run_id="a", row=Row("running"))
    equal(await found(stage.runs, due_before=START + 2), ["d"], "when one timer is gone")


@cases
async def runs_are_found_by_time_of_update(stage: Stage) -> None:
    """``updated_before`` asks for runs whose row nobody has written since."""
    for run_id in ("a", "b"):
        await create(stage.runs, run_id)
    stage.clock.advance(10)
    await done(stage.runs, 1, "fact", run_id="a", row=Row("running"))
    equal(await found(stage.runs, updated_before=START + 10), ["b"], "the older one")
    equal(await found(stage.runs, updated_before=START + 11), ["b", "a"], "both")
    equal(await found(stage.runs, updated_before=START), [], "none")


@cases
async def runs_are_found_by_what_they_await(stage: Stage) -> None:
    """``awaits`` asks for runs whose row has this event now, also since they were begun."""
    for run_id, events in {"a": ("x", "y"), "b": ("y",), "c": (), "d": ("yy",)}.items():
        await create(stage.runs, run_id, row=Row("awaiting", awaits=events))
    equal(await found(stage.runs, awaits="x"), ["a"], "the runs that await x")
    equal(await found(stage.runs, awaits="y"), ["b", "a"], "the runs that await y")
    await done(stage.runs, 1, "fact", run_id="a", row=Row("awaiting", awaits=("x", "z")))
    await done(stage.runs, 1, run_id="c", row=Row("running", awaits=("y",)))
    equal(await found(stage.runs, awaits="y"), ["c", "b"], "those that await y now")
    equal(await found(stage.runs, awaits="z"), ["a"], "those that await z now")
    await done(stage.runs, 1, run_id="b", row=Row("completed"))
    equal(await found(stage.runs, awaits="y"), ["c"], "when one is over")


@cases
async def a_row_that_is_not_written_awaits_nothing(stage: Stage) -> None:
    """Events come and go with the row they belong to: by a write that is refused, neither."""
    await create(stage.runs, "late", row=Row("awaiting", awaits=("x",)))
    await create(stage.runs, "over", status="completed")
    await done(stage.runs, 1, "a", run_id="late")
    row = Row("awaiting", awaits=("y",))
    await done(stage.runs, 1, "b", run_id="late", row=row)
    await done(stage.runs, 1, run_id="over", row=row)
    await write(stage.runs, 1, "c", run_id="late", row=row, exact=True)
    await write(stage.runs, 1, "c", run_id="late", row=row, epoch="earlier")
    equal(await found(stage.runs, awaits="y"), [], "the runs that await y")
    equal(await found(stage.runs, awaits="x"), ["late"], "the runs that await x")


@cases
async def a_removed_run_awaits_nothing(stage: Stage) -> None:
    """A run that was removed is not found by its events, nor is another one of its id."""
    for run_id in ("a", "b"):
        await create(stage.runs, run_id, row=Row("awaiting", awaits=("x",)))
    await stage.runs.remove("a", "epoch")
    equal(await found(stage.runs, awaits="x"), ["b"], "the runs")
    await create(stage.runs, "a", epoch="later")
    equal(await found(stage.runs, awaits="x"), ["b"], "the runs with the new one")


@cases
async def awaited_events_are_compared_as_they_are(stage: Stage) -> None:
    """Any characters may be in an event; upper and lower case differ; many are in order."""
    odd = ["", "%", "a,b", '["a", "1"]', "a\nb", "a\0b", "a\\b"]
    texts = sorted([*odd, "a", "A", "\u20ac", "\u00e9", "e\u0301"])
    for number, text in enumerate(texts):
        await create(stage.runs, f"{number:02}", row=Row("awaiting", awaits=(text,)))
    for number, text in enumerate(texts):
        equal(await found(stage.runs, awaits=text), [f"{number:02}"], f"the run of {text!r}")
    many = tuple(sorted({*texts, *(f"event {number}" for number in range(300))}))
    await create(stage.runs, "many", row=Row("awaiting", awaits=many))
    equal((await record(stage.runs, "many")).head.row.awaits, many, "the events of one run")
    equal(await found(stage.runs, awaits="event 299"), ["many"], "the run with many events")


@cases
async def conditions_add_up(stage: Stage) -> None:
    """A run is found if it meets every condition."""
    wanted = {"status": "awaiting", "blueprint_id": "x", "tags": {"t": "1"}, "awaits": "e"}
    row = Row("awaiting", due_at=START, awaits=("e",))
    fitting = {"row": row, "blueprint_id": "x", "tags": {"t": "1"}}
    await create(stage.runs, "fits", **fitting)
    others: dict[str, dict[str, Any]] = {
        "status": {"row": replace(row, status="running")},
        "blueprint": {"blueprint_id": "y"},
        "tags": {"tags": {"t": "2"}},
        "due": {"row": replace(row, due_at=START + 9)},
        "awaits": {"row": replace(row, awaits=("f",))},
        "created": {"created_at": START + 9},
        "updated": {"updated_at": START + 9},
    }
    for run_id, other in others.items():
        await create(stage.runs, run_id, **{**fitting, **other})
    times = dict.fromkeys(("created_until", "due_before", "updated_before"), START + 1)
    equal(await found(stage.runs, **wanted, **times, created_from=START), ["fits"], "the runs")


@cases
async def pages_cover_everything_once(stage: Stage) -> None:
    """Going on behind the last run of each page lists every run once, in order."""
    ids = [f"{number:02}" for number in range(25)]
    for number, run_id in enumerate(ids):
        more = {"tags": {"t": "1"}, "row": Row("running", awaits=("e",))}
        await create(stage.runs, run_id, created_at=START + number // 3, **more)
    for conditions in ({}, {"status": "running"}, {"tags": {"t": "1"}}, {"awaits": "e"}):
        equal(await all_pages(stage.runs, **conditions), ids[::-1], f"with {conditions}")


@cases
async def pages_are_stable(stage: Stage) -> None:
    """A run that is started, or changed, between two pages moves no other."""
    for number in range(6):
        await create(stage.runs, str(number), created_at=START + number)
    equal(await found(stage.runs, limit=3), ["5", "4", "3"], "the first page")
    await create(stage.runs, "new", created_at=START + 9)
    await done(stage.runs, 1, "a", run_id="3", row=Row("completed"))
    equal(await found(stage.runs, limit=3, after="3"), ["2", "1", "0"], "the second page")
    equal(await found(stage.runs, limit=3, after="0"), [], "the page behind the last")
    behind = await found(stage.runs, status="running", after="3")
    equal(behind, ["2", "1", "0"], "behind a run that does not match any more")


@cases
async def a_page_behind_a_removed_run_is_refused(stage: Stage) -> None:
    """The place of a run that is gone is not known: an empty list would look like the end."""
    for run_id in ("a", "b"):
        await create(stage.runs, run_id)
    await stage.runs.remove("b", "epoch")
    try:
        runs = await found(stage.runs, after="b")
    except RunNotFound:
        return
    raise AssertionError(f"expected RunNotFound, got {runs}")


async def found(runs: RunStore, **conditions: Any) -> list[str]:
    """The ids of the runs found."""
    return [head.run_id for head in await runs.find(Query(**conditions))]


async def all_pages(runs: RunStore, **conditions: Any) -> list[str]:
    """The ids of the runs found, page by page."""
    ids: list[str] = []
    after = None
    while page := await found(runs, limit=4, after=after, **conditions):
        ids += page
        after = page[-1]
    return ids
