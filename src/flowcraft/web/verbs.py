"""Starting and steering runs over HTTP: each of these is one verb of the client."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from starlette.responses import Response

from flowcraft.engine.arguments import ArgumentError
from flowcraft.engine.client import FlowClient
from flowcraft.web.call import Call, json_bytes
from flowcraft.web.problems import HttpProblem
from flowcraft.web.routes import address

T = TypeVar("T")

START: Final = {
    "runId": "run_id",
    "tags": "tags",
    "onFailure": "on_failure",
    "fairnessKey": "fairness_key",
    "budgetUsd": "budget_usd",
    "budgetRequests": "budget_requests",
}
"""What a start is told, and what the client calls it."""

KEY: Final = "Idempotency-Key"
NAMES: Final = {own: name for name, own in START.items()} | {
    "start_at": "startAt",
    "new_run_id": "newRunId",
    "idempotency_key": KEY,
}
"""What the client calls an argument, and who sends a request."""


async def told(verb: Awaitable[T]) -> T:
    """Do something; what the engine says of an argument that cannot be is the caller's to mend."""
    try:
        return await verb
    except ArgumentError as error:
        if not all(name in NAMES for name in error.names):
            raise HttpProblem("invalid", str(error)) from error
        first = NAMES[error.names[0]]
        where = {"parameter": KEY} if first == KEY else {"place": f"/{first}"}
        text = error.told({own: f"'{name}'" for own, name in NAMES.items()})
        raise HttpProblem("invalid", text, where) from error
    except (OverflowError, TypeError, ValueError) as error:
        raise HttpProblem("invalid", str(error)) from error


def moment(name: str, text: str | None) -> datetime | None:
    """A time in a body.

    Raises:
        HttpProblem: It is none.
    """
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        example = "2026-03-01T12:30:00Z"
        why = f"'{name}' is a time such as {example}, not {text[:60]!r}."
        raise HttpProblem("invalid", why, {"place": f"/{name}"}) from error
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


async def start_run(call: Call) -> Response:
    """Start a run."""
    options = {own: call.body[name] for name, own in START.items() if name in call.body}
    run = await told(
        call.client.start_run(
            call.body["flow"],
            call.body.get("context"),
            idempotency_key=call.query[KEY],
            start_at=moment("startAt", call.body.get("startAt")),
            **options,
        )
    )
    call.stage.live.nudge(str(run))
    href = address(call.base, "runs", str(run))
    data = json_bytes({"runId": str(run), "href": href})
    return Response(data, 201, {"Location": href}, "application/json")


async def _done(call: Call, verb: Awaitable[Any]) -> dict[str, Any]:
    """Carry out a verb on a run, and tell which runs it led to."""
    led_to = await told(verb)
    run_id = call.ids["runId"]
    runs = [str(led_to)] if isinstance(led_to, str) else [run_id]
    for each in (run_id, *runs):
        call.stage.live.nudge(each)
    hrefs = [address(call.base, "runs", each) for each in runs]
    return {"runId": run_id, "runs": runs, "hrefs": hrefs}


async def cancel(call: Call) -> Any:
    """Cancel a run."""
    run_id, reason = call.ids["runId"], call.body.get("reason")
    return await _done(call, call.client.cancel_run(run_id, reason=reason))


async def pause(call: Call) -> Any:
    """Pause a run."""
    return await _done(call, call.client.pause_run(call.ids["runId"]))


async def continue_(call: Call) -> Any:
    """Let a paused run go on."""
    return await _done(call, call.client.continue_run(call.ids["runId"]))


async def retry(call: Call) -> Any:
    """Try again what failed."""
    return await _done(call, call.client.retry_failed(call.ids["runId"]))


async def resume(call: Call) -> Any:
    """Answer a wait."""
    body = call.body
    return await _done(
        call,
        call.client.resume_with_action(
            call.ids["runId"], body.get("action"), body.get("output"), node_id=body.get("node")
        ),
    )


async def skip(call: Call) -> Any:
    """Count a node as done."""
    body = call.body
    return await _done(
        call,
        call.client.skip_node(
            call.ids["runId"],
            body["node"],
            body.get("output"),
            iteration=body.get("iteration", ()),
        ),
    )


async def rerun(call: Call) -> Any:
    """Run anew from a node."""
    body = call.body
    return await _done(
        call,
        call.client.rerun_from(
            call.ids["runId"],
            body["node"],
            inputs=body.get("inputs"),
            new_run_id=body.get("newRunId"),
        ),
    )


async def patch(call: Call) -> Any:
    """Change the context of a paused run."""
    values, names = call.body.get("values", {}), call.body.get("delete", [])
    if not values and not names:
        raise HttpProblem("invalid", "There is nothing to change: give values or delete.")
    return await _done(call, call.client.patch_context(call.ids["runId"], values, delete=names))


async def delete(call: Call) -> Any:
    """Forget a run."""
    return await _done(call, call.client.delete_run(call.ids["runId"], force=call.query["force"]))


async def send_event(call: Call) -> Any:
    """Send an event to whoever waits for it."""
    reached = await told(_sent(call.client, call))
    for each in reached:
        call.stage.live.nudge(str(each))
    return {"event": call.ids["name"], "runs": [str(each) for each in reached]}


async def _sent(client: FlowClient, call: Call) -> Sequence[str]:
    body = call.body
    return await client.send_event(
        event=call.ids["name"],
        correlation_key=body.get("correlationKey"),
        output=body.get("output"),
        action=body.get("action"),
    )
