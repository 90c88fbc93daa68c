"""Schedules over HTTP."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from datetime import timedelta
from typing import Any, Final

from starlette.responses import Response

from flowcraft.engine.jsonable import camel, jsonable
from flowcraft.engine.schedule_options import ScheduleOptions
from flowcraft.engine.schedule_view import ScheduleInfo
from flowcraft.errors import InputError
from flowcraft.web.call import Call, json_bytes
from flowcraft.web.problems import HttpProblem
from flowcraft.web.routes import address
from flowcraft.web.verbs import moment, told

OPTIONS: Final = {camel(name): name for name in ScheduleOptions.__annotations__}
"""The options of a schedule as a body has them, and as the engine does."""

NAMES: Final = {own: name for name, own in OPTIONS.items()} | {"flow": "flow", "id": "id"}
"""What the engine calls what a body has."""

TIMES: Final = ("startAt", "endAt")
SPANS: Final = ("every", "offset")


def options_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """The options in a body, as the engine takes them."""
    found = {own: body[name] for name, own in OPTIONS.items() if name in body}
    for name in TIMES:
        if name in body:
            found[OPTIONS[name]] = moment(name, body[name])
    for name in SPANS:
        if name in body:
            found[OPTIONS[name]] = span(name, body[name])
    return found


def span(name: str, given: str | float | None) -> str | timedelta | None:
    """A length of time in a body, as the engine takes it.

    Raises:
        HttpProblem: It is a number that is none.
    """
    if given is None or isinstance(given, str):
        return given
    try:
        return f"{int(given)}s" if given == int(given) else timedelta(seconds=given)
    except OverflowError as error:
        text = f"'{name}' has more seconds than there are: {given:g}."
        raise HttpProblem("invalid", text, {"place": f"/{name}"}) from error


def data_of(info: ScheduleInfo) -> dict[str, Any]:
    """A schedule as JSON data."""
    data: dict[str, Any] = jsonable(info)
    return data


async def _told(verb: Awaitable[Any]) -> Any:
    """Do something; what is said of an option names it as bodies do."""
    try:
        return await told(verb)
    except ImportError as error:  # cron expressions need a package of their own
        raise HttpProblem("misconfigured", str(error)) from error
    except InputError as error:
        if error.option not in NAMES:
            raise
        name = NAMES[error.option]
        raise HttpProblem("invalid", f"'{name}': {error.said}", {"place": f"/{name}"}) from error


async def list_schedules(call: Call) -> Any:
    """List schedules."""
    limit = call.query["limit"]
    found = await _told(call.client.schedules.list(after=call.query["after"], limit=limit))
    last = found[-1].id if len(found) == limit else None
    return {"schedules": [data_of(each) for each in found], "after": last}


async def create(call: Call) -> Response:
    """Create a schedule."""
    body = call.body
    info = await _told(
        call.client.schedules.create(
            body["id"], body["flow"], paused=body.get("paused", False), **options_of(body)
        )
    )
    href = address(call.base, "schedules", info.id)
    return Response(json_bytes(data_of(info)), 201, {"Location": href}, "application/json")


async def show(call: Call) -> Any:
    """A schedule."""
    return data_of(await _told(call.client.schedules.get(call.ids["scheduleId"])))


async def update(call: Call) -> Any:
    """Change a schedule."""
    changes: dict[str, Any] = options_of(call.body)
    if "flow" in call.body:
        changes["flow"] = call.body["flow"]
    if not changes:
        raise HttpProblem("invalid", "There is nothing to change: give an option, such as cron.")
    return data_of(await _told(call.client.schedules.update(call.ids["scheduleId"], **changes)))


async def remove(call: Call) -> Any:
    """Forget a schedule."""
    await _told(call.client.schedules.delete(call.ids["scheduleId"]))
    return {"id": call.ids["scheduleId"]}


async def pause(call: Call) -> Any:
    """Let a schedule have no ticks."""
    note = call.body.get("note", "")
    return data_of(await _told(call.client.schedules.pause(call.ids["scheduleId"], note)))


async def resume(call: Call) -> Any:
    """Let a schedule have ticks again."""
    note = call.body.get("note")
    return data_of(await _told(call.client.schedules.resume(call.ids["scheduleId"], note)))


async def trigger(call: Call) -> Any:
    """Start a run of a schedule now."""
    run_id = str(await _told(call.client.schedules.trigger(call.ids["scheduleId"])))
    call.stage.live.nudge(run_id)
    return {"runId": run_id, "href": address(call.base, "runs", run_id)}


async def ticks(call: Call) -> Any:
    """The next ticks of a schedule."""
    schedules = call.client.schedules
    times = await _told(schedules.next_times(call.ids["scheduleId"], call.query["count"]))
    return {"times": jsonable(times)}


async def preview(call: Call) -> Any:
    """The ticks that a schedule would have."""
    body = call.body
    times = await _told(
        call.client.schedules.preview(
            body.get("count", 5), after=moment("after", body.get("after")), **options_of(body)
        )
    )
    return {"times": jsonable(times)}
