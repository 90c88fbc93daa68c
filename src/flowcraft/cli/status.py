"""``flowcraft status``: how a run is, on one screen."""

from __future__ import annotations

from functools import partial
from typing import Final

import click

from flowcraft.cli.causes import error_lines
from flowcraft.cli.failures import DONE
from flowcraft.cli.invocation import Invocation, pass_invocation
from flowcraft.cli.output import Output, plain
from flowcraft.cli.portrait import (
    awaiting_text,
    batch_text,
    counts_text,
    exit_code_of,
    heading,
    live_text,
    next_steps,
    say,
    status_text,
    times_text,
)
from flowcraft.engine.inspecting import RunDetails

EPILOG: Final = """\b
flowcraft status RUN
flowcraft status RUN --exit-status && echo completed"""

MOST_LINES: Final = 5
"""Of each kind of thing so many are shown; --full shows all of them."""


@click.command(
    name="status",
    help="Show how a run is: nodes by state, what runs and what it waits for, errors, cost.",
    epilog=EPILOG,
)
@click.argument("run_id", metavar="RUN")
@click.option("--full", is_flag=True, help="Show all of what runs, waits or failed.")
@click.option(
    "--exit-status",
    is_flag=True,
    help="Exit with 0 if it completed, 1 if it failed or was cancelled, 7 if it is not over.",
)
@pass_invocation
def command(invocation: Invocation, /, run_id: str, full: bool, exit_status: bool) -> int:
    """Show how a run is."""

    async def look() -> RunDetails:
        async with invocation.client() as client:
            follower = await client.follow_run(run_id)
            return await follower.look()

    run = invocation.run(look())
    if invocation.as_json:
        invocation.out.json(summary_data(run))
    else:
        show(invocation.out, run, invocation.clock.now(), None if full else MOST_LINES)
    return exit_code_of(run.status) if exit_status else DONE


def summary_data(run: RunDetails) -> dict[str, object]:
    """What programs are told of how a run is; its nodes as far as something becomes of them."""
    return {
        "runId": run.run_id,
        "blueprintId": run.blueprint_id,
        "status": run.status,
        "stopping": run.stopping,
        "reason": run.reason,
        "createdAt": run.created_at,
        "endedAt": run.ended_at,
        "dueAt": run.due_at,
        "tags": run.tags,
        "nodes": run.counts,
        "live": [node for node in run.nodes if node.is_live],
        "batches": {node.name: node.batch for node in run.nodes if node.batch is not None},
        "awaiting": run.awaiting,
        "errors": run.errors,
        "cost": run.cost,
        "budget": run.budget,
    }


def show(
    out: Output, run: RunDetails, now: float, most: int | None, *, with_steps: bool = True
) -> None:
    """Write how a run is.

    Args:
        out: Where to.
        run: The run.
        now: The time, in seconds since the epoch.
        most: How many lines for each kind of thing; ``None`` for all.
        with_steps: Whether to say what a person may do next.
    """
    out.console.print(heading(run), soft_wrap=True)
    say(out, "status", status_text(run, now))
    say(out, "", times_text(run, now), "dim")
    if run.parent is not None:
        say(out, "parent", run.parent)
    if run.tags:
        say(out, "tags", " ".join(f"{name}={value}" for name, value in run.tags.items()))
    say(out, "nodes", counts_text(run))
    if not run.status.is_final:
        live = [node for node in run.nodes if node.status in ("running", "retrying", "child")]
        _some(out, "now", [live_text(node, now) for node in live], most)
        _some(out, "waits for", [awaiting_text(wait, now) for wait in run.awaiting], most)
    _batches(out, run, most)
    errors = ["\n".join(error_lines(error)) for error in reversed(run.errors)]
    _some(out, "errors" if len(errors) > 1 else "error", errors, most, "error")
    _cost(out, run)
    for step in next_steps(run) if with_steps else ():
        say(out, "next", step, "dim", is_folded=False)


def _some(out: Output, label: str, texts: list[str], most: int | None, style: str = "") -> None:
    """Write the first of several texts, and how many there are beside them."""
    shown = texts[:most]
    for place, text in enumerate(shown):
        say(out, label if place == 0 else "", text, style)
    if len(shown) < len(texts):
        say(out, "", f"… and {len(texts) - len(shown)} more; --full shows them", "dim")


def _batches(out: Output, run: RunDetails, most: int | None) -> None:
    batches = [node for node in run.nodes if node.batch is not None]
    for node in batches[:most]:
        assert node.batch is not None
        text = partial(batch_text, out, node.batch)
        say(out, "batch", plain(f"{node.name}:"))
        say(out, "", text(24 if out.width >= 70 else 10))


def _cost(out: Output, run: RunDetails) -> None:
    if run.cost is not None:
        say(out, "cost", str(run.cost))
    if run.budget is not None and run.budget != (None, None):
        bounds = []
        if run.budget.usd is not None:
            bounds.append(f"{run.budget.usd:g} USD")
        if run.budget.requests is not None:
            bounds.append(f"{run.budget.requests:g} requests")
        say(out, "budget", " and ".join(bounds))
