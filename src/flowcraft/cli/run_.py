"""``flowcraft run``: run a workflow in this process, to its end or to where it rests."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from flowcraft import application
from flowcraft.cli.failures import DONE, FAILED, TIMED_OUT, CommandError
from flowcraft.cli.invocation import Invocation, pass_invocation
from flowcraft.cli.kinds import seconds
from flowcraft.cli.output import plain
from flowcraft.cli.start import context_of, context_options, flow_of, read_text, tell_result
from flowcraft.cli.steer import OUTPUT, OUTPUT_FILE, output_of
from flowcraft.cli.times import both
from flowcraft.core.blueprint import WorkflowBlueprint
from flowcraft.core.state import RunStatus
from flowcraft.engine.bus import FlowEvent
from flowcraft.engine.context import CancelToken
from flowcraft.engine.results import RunResult
from flowcraft.engine.runtime import FlowRuntime

EPILOG = """\b
flowcraft run shop.py:order -c amount=21
flowcraft run order.json --app shop:runtime --events
flowcraft run shop:review --save review.run
flowcraft run shop:review --resume review.run -o yes"""


def find(invocation: Invocation, name: str) -> tuple[FlowRuntime, WorkflowBlueprint]:
    """The flow that a command names, with the code of its nodes.

    Args:
        invocation: The call of the command.
        name: ``module:attribute``, a JSON file, or the id of a flow of the app.

    Raises:
        SettingsError: The app, or the module, cannot be loaded.
        CommandError: There is no such flow.
        BlueprintError: It is malformed.
    """
    runtime = None
    if invocation.settings["app"] is not None:
        runtime = application.load_runtime(invocation.settings)
        if name in runtime.blueprints:
            return runtime, runtime.blueprints[name]
    if name.endswith(".json"):
        found = flow_of(name, invocation.directory)
        assert isinstance(found, WorkflowBlueprint)
        return runtime or FlowRuntime(), found
    if ":" in name or name.endswith(".py"):
        return _only(application.load_object(name, invocation.settings), name)
    if runtime is None:
        raise CommandError(
            f"'{name}' is no flow that is known here: name it as module:attribute, or as a file "
            "that ends in .json, or configure an app that has it (--app)."
        )
    known = ", ".join(sorted(runtime.blueprints)) or "none"
    raise CommandError(f"The app has no flow '{name}'. It has: {known}.")


def _only(found: Any, name: str) -> tuple[FlowRuntime, WorkflowBlueprint]:
    runtime = application.runtime_of(found, name)
    flow_id = getattr(found, "id", None)
    if isinstance(flow_id, str) and flow_id in runtime.blueprints:
        return runtime, runtime.blueprints[flow_id]
    if len(runtime.blueprints) == 1:
        return runtime, next(iter(runtime.blueprints.values()))
    known = ", ".join(sorted(runtime.blueprints)) or "none"
    raise CommandError(f"'{name}' has several flows: {known}. Name one: --app {name} FLOW.")


@click.command(name="run", help="Run a workflow in this process.", epilog=EPILOG)
@click.argument("flow")
@context_options
@click.option("--run-id", metavar="ID", help="The run's id; a fresh one without it.")
@click.option("--on-failure", type=click.Choice(["continue", "fail_fast"]), help="At a failure.")
@click.option("--events", is_flag=True, help="Show what happens, as it happens.")
@click.option("--no-timers", is_flag=True, help="Do not sleep: come to rest where time is needed.")
@click.option("--timeout", type=seconds, metavar="SECONDS", help="Cancel it then.")
@click.option("--save", metavar="FILE", help="Keep it where it rests; as --no-timers.")
@click.option("--resume", metavar="FILE", help="Go on with a run that was kept.")
@click.option("--node", metavar="ID", help="With --resume: the node that gets the answer.")
@click.option("--action", metavar="NAME", help="With --resume: which way to go on.")
@OUTPUT
@OUTPUT_FILE
@pass_invocation
def command(invocation: Invocation, /, flow: str, **given: Any) -> int:
    """Run a workflow."""
    context = context_of(
        given["pairs"], given["context_json"], given["context_file"], invocation.directory
    )
    runtime, blueprint = find(invocation, flow)
    _check_place(invocation, given["save"])
    if given["events"]:
        runtime.subscribe(lambda event: _tell_event(invocation, event))
    elif not _rests(given):
        runtime.subscribe(lambda event: _tell_of_wait(invocation, event))
    token = CancelToken()
    is_late = False

    async def work() -> RunResult:
        nonlocal is_late
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, token.cancel)
        if given["timeout"] is not None:
            loop.call_later(given["timeout"], end)
        return await _run(runtime, blueprint, context, given, invocation, token)

    def end() -> None:
        nonlocal is_late
        is_late = True
        token.cancel()

    result = invocation.run(work())
    _keep(invocation, result, given["save"])
    tell_result(invocation, result.run_id, result)
    if is_late and result.status is RunStatus.CANCELLED:
        return TIMED_OUT
    return FAILED if result.status in (RunStatus.FAILED, RunStatus.CANCELLED) else DONE


async def _run(
    runtime: FlowRuntime,
    blueprint: WorkflowBlueprint,
    context: Mapping[str, Any],
    given: Mapping[str, Any],
    invocation: Invocation,
    token: CancelToken,
) -> RunResult:
    timers: Any = "return" if _rests(given) else "wait"
    if given["resume"] is None:
        return await runtime.run(
            blueprint,
            context,
            run_id=given["run_id"],
            on_failure=given["on_failure"],
            timers=timers,
            cancel=token,
        )
    return await runtime.resume(
        blueprint,
        read_text(given["resume"], invocation.directory),
        node_id=given["node"],
        output=output_of(invocation, given["output"], given["output_file"]),
        action=given["action"],
        timers=timers,
        cancel=token,
    )


def _rests(given: Mapping[str, Any]) -> bool:
    """Whether a run comes to rest where time is needed: one that is kept can go on later."""
    return bool(given["no_timers"]) or given["save"] is not None


def _keep(invocation: Invocation, result: RunResult, file: str | None) -> None:
    """Write a run that rests to a file, whole or not at all."""
    if file is None:
        return
    path = invocation.directory / file
    beside = path.with_name(f"{path.name}.part")
    try:
        beside.write_text(result.state, encoding="utf-8")
        Path(beside).replace(path)
    except OSError as error:
        raise CommandError(f"'{file}' cannot be written: {error.strerror}.") from error


def _check_place(invocation: Invocation, file: str | None) -> None:
    """See that a run can be kept, before it is run: what it did would be lost."""
    if file is None:
        return
    directory = (invocation.directory / file).parent
    if not directory.is_dir() or not os.access(directory, os.W_OK | os.X_OK):
        raise CommandError(f"'{file}' cannot be written: there is no directory for it to write to.")


def _tell_of_wait(invocation: Invocation, event: FlowEvent) -> None:
    """Say of an answer that is waited for that it does not come in here."""
    due_at = event.payload.get("due_at")
    if event.type != "node:awaiting" or due_at is None or invocation.as_json:
        return
    if event.payload.get("reason") != "external_event":
        return
    until = both(datetime.fromtimestamp(due_at, UTC), invocation.clock.now())
    invocation.out.remark(
        f"'{event.node_id}' waits for an answer, until {until}. Nobody can give it to this "
        "process: Ctrl-C cancels the run. With --save FILE it is kept, and can be answered with "
        "--resume."
    )


def _tell_event(invocation: Invocation, event: FlowEvent) -> None:
    out = invocation.out
    where = f" {event.node_id}" if event.node_id else ""
    attempt = f" (attempt {event.attempt})" if (event.attempt or 0) > 1 else ""
    out.remark(plain(f"{event.type}{where}{attempt}"))
