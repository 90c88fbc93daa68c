"""Runs over HTTP: listed, looked at, watched, waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from starlette.responses import Response, StreamingResponse

from flowcraft.engine.client import FlowClient
from flowcraft.engine.family import read_head
from flowcraft.engine.finding import LIVE, Found, Wanted, find
from flowcraft.engine.following import Follower
from flowcraft.engine.inspecting import NodeDetails, RunDetails
from flowcraft.engine.jsonable import jsonable
from flowcraft.engine.stored import RunSummary, StoredRun, summary_of
from flowcraft.errors import RunNotFound
from flowcraft.web.call import Call, answer, while_asked
from flowcraft.web.live import RHYTHMS, Rhythm
from flowcraft.web.portrait import (
    Portrait,
    changes_of,
    error_data,
    live_data,
    summary_data,
    value_href,
)
from flowcraft.web.problems import HttpProblem
from flowcraft.web.routes import address
from flowcraft.web.streams import stream
from flowcraft.web.values import Cutter, json_text, pieces

LONGEST_LIST: Final = 500
MOST_NAMED: Final = 20
"""Iterations that are named to who asks for one that is not there."""


# --- lists ---------------------------------------------------------------------------------


def wanted_of(call: Call) -> Wanted:
    """The runs that the parameters of a list ask for."""
    query = call.query
    statuses = dict.fromkeys((*query["status"], *(map(str, LIVE) if query["live"] else ())))
    filters = {
        "blueprint_id": query["flow"],
        "tags": query["tag"],
        "created_from": query["createdFrom"],
        "created_until": query["createdUntil"],
    }
    return Wanted(
        tuple(statuses), filters, query.get("after"), query["limit"], query["top"], query["q"]
    )


async def list_runs(call: Call) -> Any:
    """List runs."""
    wanted = wanted_of(call)
    found = await find(call.client, wanted)
    runs = list(found.runs)
    named = await _named(call, wanted, runs)
    if named is not None:
        runs.insert(0, named)
    return {
        "runs": [summary_data(each) for each in runs],
        "after": found.after,
        "read": found.read,
        "rowsRead": found.rows_read,
        "scanned": found.scanned,
    }


async def _named(call: Call, wanted: Wanted, found: Sequence[RunSummary]) -> RunSummary | None:
    """The run whose id is all of the text that is searched for, wherever it is in the list."""
    text = wanted.text
    if text is None or wanted.after is not None or any(each.run_id == text for each in found):
        return None
    try:
        run = summary_of(await read_head(await call.stage.station(), text))
    except (RunNotFound, TypeError, ValueError):
        return None
    return run if _is_wanted(run, wanted) else None


def _is_wanted(run: RunSummary, wanted: Wanted) -> bool:
    """Whether a run is one of those that a list asks for, were it on the page."""
    filters = wanted.filters
    first, end = filters["created_from"], filters["created_until"]
    return (
        (not wanted.statuses or str(run.status) in wanted.statuses)
        and filters["blueprint_id"] in (None, run.blueprint_id)
        and filters["tags"].items() <= run.tags.items()
        and (first is None or run.created_at >= first)
        and (end is None or run.created_at < end)
        and wanted.includes(run)
    )


@dataclass(slots=True)
class ListScene:
    """A page of a list, as those see it who watch it."""

    client: FlowClient
    wanted: Wanted
    runs: dict[str, RunSummary] = field(default_factory=dict)
    found: Found | None = None
    is_over: bool = False

    async def look(self) -> Mapping[str, Any] | None:
        """List them again."""
        self.found = await find(self.client, self.wanted)
        after = {run.run_id: run for run in self.found.runs}
        changed = [run for run in after.values() if self.runs.get(run.run_id) != run]
        gone = [run_id for run_id in self.runs if run_id not in after]
        is_first = not self.runs and not changed
        self.runs = after
        if not changed and not gone and not is_first:
            return None
        return {
            "runs": [summary_data(run) for run in changed],
            "gone": gone,
            "order": list(after),
        }

    def whole(self) -> Mapping[str, Any]:
        """All of the page."""
        runs = [summary_data(run) for run in self.runs.values()]
        return {"runs": runs, "gone": [], "order": list(self.runs)}


async def watch_list(call: Call) -> Response:
    """Stream how a page of a list changes."""
    rhythm = await _rhythm(call, is_run=False)
    wanted = wanted_of(call)
    key, client = ("list", repr(wanted)), call.client

    async def open_scene() -> ListScene:
        return ListScene(client, wanted)

    return stream(call, key, open_scene, rhythm)


async def _rhythm(call: Call, *, is_run: bool) -> Rhythm:
    station = await call.stage.station()
    return RHYTHMS["apart" if station.runs.rows_are_apart else "here", is_run]


# --- one run -------------------------------------------------------------------------------


async def show_run(call: Call) -> Response:
    """All of a run."""
    with_values = call.query["values"]
    follower = await call.client.follow_run(call.ids["runId"], with_values=with_values)
    run = await follower.look()
    if with_values:
        return await answer(lambda: Portrait(run, call.base, call.stage.log_link).whole())
    return await answer(lambda: _without_values(run))


def _without_values(run: RunDetails) -> dict[str, Any]:
    data = live_data(run)
    return {**data["run"], "nodes": data["nodes"]}


async def show_node(call: Call) -> Response:
    """Each instance of a node."""
    run = await call.client.inspect_run(call.ids["runId"])
    found = [each for each in run.nodes if each.node_id == call.ids["nodeId"]]
    if not found:
        raise _no_node(run, call.ids["nodeId"])

    def data() -> dict[str, Any]:
        portrait = Portrait(run, call.base, call.stage.log_link)
        return {"runId": run.run_id, "instances": [portrait.node(each) for each in found]}

    return await answer(data)


def _no_node(run: RunDetails, node_id: str) -> HttpProblem:
    known = ", ".join(dict.fromkeys(each.node_id for each in run.nodes[:20]))
    text = f"Run '{run.run_id}' has no node '{node_id[:200]}'; it has: {known[:1_000]}."
    return HttpProblem("node-not-found", text)


async def show_value(call: Call) -> Response:
    """One value of a run, whole."""
    run = await call.client.inspect_run(call.ids["runId"])
    value = _value(run, call.query)
    text = await asyncio.to_thread(json_text, value)
    headers = {"Content-Disposition": 'attachment; filename="value.json"'}
    return StreamingResponse(pieces(text), headers=headers, media_type="application/json")


def _value(run: RunDetails, query: Mapping[str, Any]) -> Any:
    key, node_id = query["key"], query["node"]
    if (key is None) == (node_id is None):
        raise HttpProblem("bad-request", "Give either key or node.")
    if key is not None:
        if key not in run.context:
            raise HttpProblem("value-not-found", f"The run has no context key '{key[:200]}'.")
        return run.context[key]
    node = _instance(run, node_id, query["iteration"])
    found: Any = getattr(node, query["part"])
    return found


def _instance(run: RunDetails, node_id: str, iteration: str) -> NodeDetails:
    wanted = [text for text in iteration.split(",") if text]
    found = [each for each in run.nodes if each.node_id == node_id]
    if not found:
        raise _no_node(run, node_id)
    for node in found:
        if list(map(str, node.iteration)) == wanted:
            return node
    raise HttpProblem("value-not-found", _other_iterations(found, node_id, iteration))


def _other_iterations(found: Sequence[NodeDetails], node_id: str, iteration: str) -> str:
    """What is said to who asks for an iteration that is not there."""
    there = [",".join(map(str, each.iteration)) for each in found[:MOST_NAMED] if each.iteration]
    more = ", …" if len(found) > MOST_NAMED else ""
    cure = f"there are {', '.join(there)}{more}" if there else "it is in no loop: leave it out"
    asked = f"iteration {iteration[:60]!r}" if iteration else "value without an iteration"
    return f"'{node_id[:200]}' has no {asked}; {cure}."


async def show_blueprint(call: Call) -> Response:
    """The blueprint that a run was started with, nodes that it has added included."""
    run = await call.client.get_run(call.ids["runId"])
    return await answer(lambda: {"runId": run.run_id, "blueprint": run.blueprint.to_dict()})


async def show_result(call: Call) -> Response:
    """How a run ended, waited for if need be."""
    run_id, wait = call.ids["runId"], call.query["wait"]
    run = None
    if wait > 0:
        async with call.stage.streams.held():
            most = min(wait, call.stage.limits.wait_seconds)
            run = await while_asked(call.request, call.stage.ends.over(run_id, most))
    run = run or await call.client.get_run(run_id)
    status = 200 if run.status.is_final else 202
    return await answer(lambda: _result_data(call, run), status)


def _result_data(call: Call, run: StoredRun) -> dict[str, Any]:
    cutter, outputs, cuts = Cutter(), {}, {}
    for node_id in run.outputs:
        where = {"node": node_id, "part": "output"}
        href = partial(value_href, call.base, run.run_id, where)
        outputs[node_id], cut = cutter.fit(run.outputs[node_id], href)
        if cut is not None:
            cuts[node_id] = jsonable(cut)
    return {
        "runId": run.run_id,
        "blueprintId": run.blueprint_id,
        "status": str(run.status),
        "isFinal": run.status.is_final,
        "outputs": outputs,
        "cut": cuts,
        "errors": [error_data(each) for each in run.errors],
        "href": address(call.base, "runs", run.run_id),
    }


# --- watching a run ------------------------------------------------------------------------


@dataclass(slots=True)
class RunScene:
    """A run, as those see it who watch it."""

    follower: Follower
    run: RunDetails | None = None

    @property
    def is_over(self) -> bool:
        """Whether the run is."""
        return self.run is not None and self.run.status.is_final

    async def look(self) -> Mapping[str, Any] | None:
        """Look again."""
        before, self.run = self.run, await self.follower.look()
        return changes_of(before, self.run)

    def whole(self) -> Mapping[str, Any]:
        """All of the run, without its values."""
        assert self.run is not None
        return live_data(self.run)


async def watch_run(call: Call) -> Response:
    """Stream how a run goes on."""
    run_id, client = call.ids["runId"], call.client
    rhythm = await _rhythm(call, is_run=True)
    await read_head(await call.stage.station(), run_id)

    async def open_scene() -> RunScene:
        return RunScene(await client.follow_run(run_id))

    return stream(call, ("run", run_id), open_scene, rhythm)
