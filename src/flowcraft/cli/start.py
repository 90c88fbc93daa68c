"""``flowcraft start``: start a durable run."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from flowcraft import application
from flowcraft.cli.causes import error_lines
from flowcraft.cli.failures import DONE, FAILED, CommandError
from flowcraft.cli.invocation import Invocation, pass_invocation
from flowcraft.cli.kinds import moment, seconds
from flowcraft.core.blueprint import WorkflowBlueprint
from flowcraft.core.state import RunStatus
from flowcraft.engine.client import FlowClient
from flowcraft.engine.options import RuntimeOptions
from flowcraft.engine.results import RunResult
from flowcraft.engine.run import Run
from flowcraft.errors import FlowcraftError

FIRST_LOOK_SECONDS: Final = 0.5
LONGEST_LOOK_SECONDS: Final = 30.0

F = TypeVar("F", bound=Callable[..., Any])

EPILOG = """\b
flowcraft start order -c amount=21
flowcraft start order --context-json '{"amount": 21}' --wait
flowcraft start flows/order.json --work"""


def context_options(function: F) -> F:
    """The flags that say a context, for a command."""
    for option in (
        click.option("--context-file", metavar="FILE", help="The same in a file; '-' for stdin."),
        click.option("--context-json", metavar="JSON", help="Context, as a JSON object."),
        click.option(
            "-c", "--context", "pairs", multiple=True, metavar="KEY=VALUE", help="A context key."
        ),
    ):
        function = option(function)
    return function


def context_of(
    pairs: Sequence[str], text: str | None, file: str | None, directory: Path
) -> dict[str, Any]:
    """The initial context that the flags of a command say.

    Args:
        pairs: ``key=value``; a value that is JSON is taken as such, anything else as text.
        text: A JSON object.
        file: A file with a JSON object; ``-`` for standard input.
        directory: Where the file is seen from.

    Raises:
        CommandError: One of them is none of that.
    """
    context: dict[str, Any] = {}
    if file is not None:
        source = "standard input" if file == "-" else f"'{file}'"
        context.update(_object(read_text(file, directory), source))
    if text is not None:
        context.update(_object(text, "--context-json"))
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise CommandError(f"-c takes key=value, such as amount=21, not '{pair}'.")
        context[key] = json_or_text(value)
    return context


def json_or_text(value: str) -> Any:
    """A value as JSON if it is JSON, otherwise the text that it is."""
    try:
        return json.loads(value, parse_constant=_refuse_constant)
    except ValueError:
        return value


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)


def read_text(file: str, directory: Path) -> str:
    """The text of a file, or of standard input for ``-``.

    Raises:
        CommandError: It cannot be read, or is no text.
    """
    try:
        if file == "-":
            if sys.stdin is None:
                raise CommandError("Standard input is closed: there is nothing to read.")
            return sys.stdin.read()
        return (directory / file).read_text(encoding="utf-8")
    except OSError as error:
        raise CommandError(f"'{file}' cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise CommandError(f"'{file}' is not text in UTF-8.") from error


def json_of(text: str, source: str) -> Any:
    """JSON data.

    Raises:
        CommandError: It is malformed; the message says where.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise CommandError(
            f"{source} is malformed JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        ) from error
    except RecursionError as error:
        raise CommandError(f"{source} is nested too deeply.") from error


def _object(text: str, source: str) -> dict[str, Any]:
    found = json_of(text, source)
    if not isinstance(found, dict):
        raise CommandError(
            f"{source} is a JSON object of context keys, not {type(found).__name__}."
        )
    return found


def flow_of(
    name: str, directory: Path, options: RuntimeOptions | None = None
) -> str | WorkflowBlueprint:
    """What a command was told to start: the id of a flow, or a blueprint in a JSON file.

    Args:
        name: An id, or the name of a file that ends in ``.json``.
        directory: Where files are seen from.
        options: The app; ids of its flows may end so, too, and are then no files.
    """
    if not name.endswith(".json") or (options is not None and name in options.blueprints):
        return name
    data = json_of(read_text(name, directory), f"'{name}'")
    if not isinstance(data, Mapping):
        raise CommandError(f"'{name}' is a blueprint as a JSON object, not {type(data).__name__}.")
    return WorkflowBlueprint.from_dict(data)


@click.command(name="start", help="Start a durable run.", epilog=EPILOG)
@click.argument("flow")
@context_options
@click.option("--run-id", metavar="ID", help="The run's id; a fresh one without it.")
@click.option("--key", metavar="TEXT", help="Idempotency key: a second start is the same run.")
@click.option("--tag", "tags", multiple=True, metavar="NAME=VALUE", help="A label to find it by.")
@click.option("--at", type=moment, metavar="TIME", help="When it is to start (local time).")
@click.option("--on-failure", type=click.Choice(["continue", "fail_fast"]), help="At a failure.")
@click.option("--fairness-key", metavar="TEXT", help="Whose run it is, such as a tenant's id.")
@click.option(
    "--budget-usd", type=float, metavar="USD", help="It fails once it has cost more (AWS)."
)
@click.option(
    "--budget-requests", type=float, metavar="N", help="It fails after so many requests (AWS)."
)
@click.option("--wait", is_flag=True, help="Wait until it is over, and show what came out.")
@click.option("--work", is_flag=True, help="The same, with a worker in this process.")
@click.option("--timeout", type=seconds, metavar="SECONDS", help="How long to wait at most.")
@pass_invocation
def command(invocation: Invocation, /, flow: str, **given: Any) -> int:
    """Start a run; wait for it where that is asked for."""
    directory = invocation.directory
    context = context_of(given["pairs"], given["context_json"], given["context_file"], directory)
    arguments = {
        "run_id": given["run_id"],
        "idempotency_key": given["key"],
        "tags": pairs_of(given["tags"], "--tag"),
        "start_at": given["at"],
        "on_failure": given["on_failure"],
        "fairness_key": given["fairness_key"],
        "budget_usd": given["budget_usd"],
        "budget_requests": given["budget_requests"],
    }
    wanted = flow_of(flow, directory, invocation.options_if_any)
    if isinstance(wanted, str) and invocation.options_if_any is None:
        _check_known(invocation)

    async def work() -> tuple[str, RunResult | None]:
        if given["work"]:
            adapter = application.open_adapter(
                invocation.settings, invocation.options, poll_seconds=poll_seconds(invocation)
            )
            stop_at_sigterm()
            try:
                run = await begin(adapter)
                # Started first: what is there when a worker begins is taken up at once.
                await adapter.start()
                return run, await result_of(adapter, run)
            except asyncio.CancelledError:
                seconds_left = invocation.settings["worker.drain_timeout_seconds"]
                invocation.out.remark(
                    f"Stopping: running nodes have {seconds_left:g} s to end; Ctrl-C again ends "
                    "at once. The run goes on with the next worker."
                )
                raise
            finally:
                await adapter.stop()
        client = application.open_client(invocation.settings, invocation.options_if_any)
        async with client:
            await application.check_locks(invocation.settings)
            run = await begin(client)
            return run, await result_of(client, run) if given["wait"] else None

    async def result_of(client: FlowClient, run: Run) -> RunResult:
        telling = asyncio.ensure_future(_tell_of_waits(invocation, client, run))
        try:
            return await run.result(timeout=given["timeout"])
        finally:
            telling.cancel()

    async def begin(client: FlowClient) -> Run:
        run = await client.start_run(wanted, context, **arguments)
        if (given["wait"] or given["work"]) and not invocation.as_json:
            invocation.out.remark(f"Started {run}")
        return run

    run_id, result = invocation.run(work())
    return _tell(invocation, run_id, result)


def _check_known(invocation: Invocation) -> None:
    """See that somebody may know a flow by its id; otherwise no file of runs is made in vain.

    Raises:
        CommandError: There is neither an app, nor a place where a worker has stored its flows.
    """
    settings = invocation.settings
    if settings["backend"] == "sqlite" and not Path(settings["sqlite.path"]).exists():
        raise CommandError(application.NO_APP)


async def _tell_of_waits(invocation: Invocation, client: FlowClient, run: Run) -> None:
    """Say once, while a result is waited for, that the run waits for an answer, and how it comes.

    It is asked less and less often. What cannot be read is told with the result.
    """
    # It knows tables, and those know this module.
    from flowcraft.cli.portrait import next_steps  # noqa: PLC0415

    pause = 0.0 if invocation.as_json else FIRST_LOOK_SECONDS
    with contextlib.suppress(FlowcraftError):
        while pause:
            await asyncio.sleep(pause)
            details = await client.inspect_run(str(run))
            if details.status is RunStatus.AWAITING:
                for step in next_steps(details):
                    invocation.out.remark(f"It waits for an answer: {step}")
                return
            pause = min(2 * pause, LONGEST_LOOK_SECONDS)


def stop_at_sigterm() -> None:
    """Let SIGTERM end this task as Ctrl-C does: with time for what is to be put in order."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


def poll_seconds(invocation: Invocation) -> float:
    """How long a poll takes of a worker that is there for one run: stopping waits for it."""
    return 0.05 if invocation.settings["backend"] == "sqlite" else 1.0


def pairs_of(pairs: Sequence[str], flag: str) -> dict[str, str]:
    """``name=value`` as a mapping.

    Raises:
        CommandError: There is no ``=`` in one.
    """
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise CommandError(f"{flag} takes name=value, not '{pair}'.")
        found[name] = value
    return found


def _tell(invocation: Invocation, run_id: str, result: RunResult | None) -> int:
    out = invocation.out
    if result is None:
        if out.as_json:
            out.json({"runId": run_id})
        else:
            out.print(run_id)
        return DONE
    tell_result(invocation, run_id, result)
    return DONE if result.status is RunStatus.COMPLETED else FAILED


def tell_result(invocation: Invocation, run_id: str, result: RunResult) -> None:
    """Show how a run ended, with its outputs and errors."""
    out = invocation.out
    if out.as_json:
        out.json(
            {
                "runId": run_id,
                "status": result.status,
                "outputs": dict(result.outputs),
                "errors": result.errors,
            }
        )
        return
    out.print(str(result.status.value), style=str(result.status.value))
    outputs = [(node, short(value)) for node, value in result.outputs.items()]
    if outputs:
        out.table(["node", "output"], outputs)
    for error in result.errors:
        out.print("\n".join(error_lines(error)), style="error")


def short(value: Any, length: int = 200) -> str:
    """A value as JSON on one line, cut where it is long."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= length else f"{text[:length]}…"
