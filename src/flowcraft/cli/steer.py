"""Steering runs: ``flowcraft resume``, ``event``, ``cancel``, ``pause`` and the like.

Each of them is one verb of the client; what makes no sense for a run is refused there, with the
reason.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import click

from flowcraft.cli.failures import CommandError
from flowcraft.cli.invocation import Invocation, pass_invocation
from flowcraft.cli.questions import agree
from flowcraft.cli.start import context_of, context_options, json_of, json_or_text, read_text
from flowcraft.engine.client import FlowClient

OUTPUT: Final = click.option(
    "-o", "--output", metavar="VALUE", help="Its output: JSON, or any other text."
)
OUTPUT_FILE: Final = click.option(
    "--output-file", metavar="FILE", help="The same in a file of JSON; '-' is standard input."
)


def output_of(invocation: Invocation, output: str | None, file: str | None) -> Any:
    """The output that flags say; ``None`` without any.

    Raises:
        CommandError: Both are given, or the file is no JSON.
    """
    if output is not None and file is not None:
        raise CommandError("Give either --output or --output-file, not both.")
    if file is not None:
        return json_of(read_text(file, invocation.directory), f"'{file}'")
    return None if output is None else json_or_text(output)


def _do(
    invocation: Invocation,
    run_id: str,
    done: str,
    verb: Callable[[FlowClient], Awaitable[Any]],
) -> None:
    """Carry out a verb on one run, and tell what was done.

    Args:
        invocation: The call of the command.
        run_id: The run.
        done: What was done, in the past, as a sentence without the run.
        verb: Does it; what it gives, if anything, are the runs that it led to.
    """

    async def work() -> Any:
        async with invocation.client(with_app=True) as client:
            return await verb(client)

    led_to = invocation.run(work())
    runs = [str(led_to)] if isinstance(led_to, str) else [str(run) for run in led_to or ()]
    out = invocation.out
    if out.as_json:
        out.json({"runId": run_id, "done": done, "runs": runs or [run_id]})
        return
    out.remark(f"{done}: {run_id}")
    for run in runs:
        out.print(run)


@click.command(name="cancel", help="Cancel a run: what runs is stopped, what is to be undone is.")
@click.argument("run_id", metavar="RUN")
@click.option("--reason", metavar="TEXT", help="Why; it is shown with the run.")
@pass_invocation
def cancel(invocation: Invocation, /, run_id: str, reason: str | None) -> None:
    """Cancel a run."""
    _do(invocation, run_id, "Cancelled", lambda client: client.cancel_run(run_id, reason=reason))


@click.command(name="pause", help="Pause a run: it starts nothing new, what runs finishes.")
@click.argument("run_id", metavar="RUN")
@pass_invocation
def pause(invocation: Invocation, /, run_id: str) -> None:
    """Pause a run."""
    _do(invocation, run_id, "Paused", lambda client: client.pause_run(run_id))


@click.command(name="continue", help="Let a paused run go on.")
@click.argument("run_id", metavar="RUN")
@pass_invocation
def continue_(invocation: Invocation, /, run_id: str) -> None:
    """Continue a run."""
    _do(invocation, run_id, "Continued", lambda client: client.continue_run(run_id))


@click.command(
    name="resume",
    help="Answer what a run waits for.",
    epilog='\b\nflowcraft resume RUN --action approve -o \'{"by": "ops"}\'\n'
    "flowcraft resume RUN --node review/approval",
)
@click.argument("run_id", metavar="RUN")
@click.option("--action", metavar="NAME", help="Which way to go on.")
@click.option(
    "--node",
    metavar="ID",
    help="The node that waits, where several do; in a child run SUBFLOW/NODE.",
)
@OUTPUT
@OUTPUT_FILE
@pass_invocation
def resume(invocation: Invocation, /, run_id: str, **given: Any) -> None:
    """Answer a wait."""
    value = output_of(invocation, given["output"], given["output_file"])

    async def verb(client: FlowClient) -> None:
        node = await _path(client, run_id, given["node"])
        await client.resume_with_action(run_id, given["action"], value, node_id=node)

    _do(invocation, run_id, "Resumed", verb)


async def _path(client: FlowClient, run_id: str, node: str | None) -> str | list[str] | None:
    """A node as it was named: by its id, which may have slashes in it, or by the ids to it."""
    if node is None or "/" not in node:
        return node
    run = await client.get_run(run_id)
    for wait in run.awaiting:
        if node in ("/".join(wait.path), wait.node_id):
            return list(wait.path)
    return node


@click.command(
    name="event",
    help="Send an event to all runs that wait for it, by its name and key.",
    epilog="\b\nflowcraft event payment-received --key order-17 -o '{\"amount\": 21}'",
)
@click.argument("name")
@click.option("--key", metavar="TEXT", help="The correlation key that the waits have.")
@click.option("--action", metavar="NAME", help="Which way to go on.")
@OUTPUT
@OUTPUT_FILE
@pass_invocation
def event(invocation: Invocation, /, name: str, **given: Any) -> None:
    """Send an event."""
    value = output_of(invocation, given["output"], given["output_file"])

    async def work() -> list[str]:
        async with invocation.client(with_app=True) as client:
            reached = await client.send_event(
                event=name, correlation_key=given["key"], output=value, action=given["action"]
            )
            return [str(run) for run in reached]

    runs = invocation.run(work())
    out = invocation.out
    if out.as_json:
        out.json({"event": name, "key": given["key"], "runs": runs})
        return
    noun = "run" if len(runs) == 1 else "runs"
    out.remark(f"'{name}' reached {len(runs)} {noun}")
    for run in runs:
        out.print(run)


@click.command(
    name="retry", help="Try what failed again: in the run, or in a new one if it is over."
)
@click.argument("run_id", metavar="RUN")
@pass_invocation
def retry(invocation: Invocation, /, run_id: str) -> None:
    """Retry what failed."""
    _do(invocation, run_id, "Tried again", lambda client: client.retry_failed(run_id))


@click.command(
    name="skip", help="Count a failed, retrying or waiting node as done, with a given output."
)
@click.argument("run_id", metavar="RUN")
@click.argument("node_id", metavar="NODE")
@click.option(
    "--iteration", metavar="N[,N]", default="", help="Of which rounds of the loops around it."
)
@OUTPUT
@OUTPUT_FILE
@pass_invocation
def skip(invocation: Invocation, /, run_id: str, node_id: str, **given: Any) -> None:
    """Skip a node."""
    value = output_of(invocation, given["output"], given["output_file"])
    rounds = iteration_of(given["iteration"])
    done = f"Skipped node '{node_id}' of"
    _do(
        invocation,
        run_id,
        done,
        lambda client: client.skip_node(run_id, node_id, value, iteration=rounds),
    )


def iteration_of(text: str) -> tuple[int, ...]:
    """Rounds of loops, outermost first: ``2`` or ``2,0``.

    Raises:
        CommandError: They are no whole numbers.
    """
    if not text:
        return ()
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise CommandError(
            "--iteration takes whole numbers, outermost loop first, such as 2 or 2,0, not "
            f"'{text}'."
        ) from None


@click.command(
    name="rerun",
    help="Start a new run that takes over what an earlier one achieved, up to a node.",
    epilog="\b\nflowcraft rerun RUN charge --input charge='{\"amount\": 20}'",
)
@click.argument("run_id", metavar="RUN")
@click.argument("node_id", metavar="NODE")
@click.option(
    "--input", "inputs", multiple=True, metavar="NODE=VALUE", help="Another input of a node."
)
@click.option("--new-run-id", metavar="ID", help="The new run's id; a fresh one without it.")
@pass_invocation
def rerun(invocation: Invocation, /, run_id: str, node_id: str, **given: Any) -> None:
    """Run anew from a node."""
    values: dict[str, Any] = {}
    for pair in given["inputs"]:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise CommandError(f"--input takes node=value, not '{pair}'.")
        values[name] = json_or_text(value)
    _do(
        invocation,
        run_id,
        f"Run anew from '{node_id}'",
        lambda client: client.rerun_from(
            run_id, node_id, inputs=values, new_run_id=given["new_run_id"]
        ),
    )


@click.command(
    name="patch",
    help="Change the context of a paused run.",
    epilog="\b\nflowcraft patch RUN -c amount=20 --delete coupon",
)
@click.argument("run_id", metavar="RUN")
@context_options
@click.option("--delete", "keys", multiple=True, metavar="KEY", help="A key to take out.")
@pass_invocation
def patch(invocation: Invocation, /, run_id: str, **given: Any) -> None:
    """Patch a context."""
    values = context_of(
        given["pairs"], given["context_json"], given["context_file"], invocation.directory
    )
    if not values and not given["keys"]:
        raise CommandError("There is nothing to change: give -c key=value or --delete key.")
    _do(
        invocation,
        run_id,
        "Patched",
        lambda client: client.patch_context(run_id, values, delete=given["keys"]),
    )


@click.command(name="delete", help="Forget runs that are over, with all that belongs to them.")
@click.argument("run_ids", nargs=-1, required=True, metavar="RUN...")
@click.option("--force", is_flag=True, help="Also those that are not over; nothing is undone.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_invocation
def delete(invocation: Invocation, /, run_ids: tuple[str, ...], force: bool, yes: bool) -> None:
    """Delete runs."""
    names = ", ".join(run_ids)
    agree(invocation, f"Delete {names} for good?", yes=yes)

    async def work() -> None:
        async with invocation.client() as client:
            for run_id in run_ids:
                await client.delete_run(run_id, force=force)

    invocation.run(work())
    if invocation.as_json:
        invocation.out.json({"done": "Deleted", "runs": list(run_ids)})
    else:
        invocation.out.remark(f"Deleted: {names}")
