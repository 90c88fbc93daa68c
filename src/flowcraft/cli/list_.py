"""``flowcraft list``: runs, newest first."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import Any, Final

import click
from rich.text import Text

from flowcraft.cli.columns import Column, cut, lines_of
from flowcraft.cli.invocation import Invocation, pass_invocation
from flowcraft.cli.output import Output, plain
from flowcraft.cli.start import pairs_of
from flowcraft.cli.times import about, moment_of, relative, span
from flowcraft.core.correlation import Correlation
from flowcraft.core.state import RunStatus
from flowcraft.engine.finding import LIVE, Found, Wanted, find
from flowcraft.engine.stored import RunSummary

EPILOG: Final = """\b
flowcraft list --live
flowcraft list --status failed --since 2d
flowcraft list --flow order --tag tenant=acme --limit 100"""

COLUMNS: Final = (
    Column("run", is_whole=True, least=36),
    Column("flow", least=8),
    Column("status", least=9),
    Column("started", least=10),
    Column("took", least=9),
)
WAITS: Final = Column("waits for", least=12)
WIDE_COLUMNS: Final = 110
"""In narrower terminals what a run waits for stands below it."""


@click.command(name="list", help="List runs, the newest first.", epilog=EPILOG)
@click.option(
    "--status",
    "statuses",
    multiple=True,
    type=click.Choice([str(each) for each in RunStatus]),
    help="Only runs in this status; may be given several times.",
)
@click.option("--live", is_flag=True, help="Only runs that are not over.")
@click.option("--flow", metavar="ID", help="Only runs of this workflow.")
@click.option("--tag", "tags", multiple=True, metavar="NAME=VALUE", help="Only with this label.")
@click.option("--since", metavar="TIME", help="Started since: 30m, 2h, 7d, or 2026-03-01T12:30.")
@click.option("--until", metavar="TIME", help="Started before: the same.")
@click.option("--top", is_flag=True, help="Leave out child runs.")
@click.option(
    "--limit",
    type=click.IntRange(1, 10_000),
    default=20,
    metavar="N",
    help="How many at most (20).",
)
@click.option("--after", metavar="RUN", help="Go on behind this run of the list.")
@pass_invocation
def command(invocation: Invocation, /, **given: Any) -> None:
    """List runs."""
    now = invocation.clock.now()
    statuses = dict.fromkeys((*given["statuses"], *(map(str, LIVE) if given["live"] else ())))
    wanted = Wanted(
        tuple(statuses),
        {
            "blueprint_id": given["flow"],
            "tags": pairs_of(given["tags"], "--tag"),
            "created_from": moment_of(given["since"], now, "--since"),
            "created_until": moment_of(given["until"], now, "--until"),
        },
        given["after"],
        given["limit"],
        given["top"],
    )

    async def look() -> Found:
        async with invocation.client() as client:
            return await find(client, wanted)

    found = invocation.run(look())
    _tell(invocation, given, found, now)


def _tell(invocation: Invocation, given: dict[str, Any], found: Found, now: float) -> None:
    out = invocation.out
    if out.as_json:
        out.json(
            {
                "runs": found.runs,
                "after": found.after,
                "rowsRead": found.rows_read,
                "scanned": found.scanned,
            }
        )
        return
    if not found.runs:
        out.remark("There are no runs, or none that were asked for.")
    else:
        for line in run_lines(out, found.runs, now):
            out.console.print(line, soft_wrap=True)
    if found.after is not None:
        out.remark(f"There are more: {_go_on(given, found.after)}")
    if found.reads_many:
        why = " (all that there are: the table has no index for lists)" if found.scanned else ""
        out.remark(f"{found.rows_read:,} rows were read for this page{why}.")


def run_lines(out: Output, runs: Sequence[RunSummary], now: float) -> list[Text]:
    """Runs as the lines of a table.

    Args:
        out: Where they are to be written.
        runs: The runs.
        now: The time, in seconds since the epoch.
    """
    more = "…" if out.has_all_signs else "~"
    waits = [_waits_for(run, now) for run in runs]
    rows = [row_of(run, now) for run in runs]
    if out.width >= WIDE_COLUMNS:
        full = [
            (*row, wait or ("an answer, or a child run" if run.status.value == "awaiting" else ""))
            for run, row, wait in zip(runs, rows, waits, strict=True)
        ]
        return lines_of((*COLUMNS, WAITS), full, out.width, more=more)
    lines = lines_of(COLUMNS, rows, out.width, more=more)
    below: list[Text] = lines[:1]
    at = iter(lines[1:])
    for run, wait in zip(runs, waits, strict=True):
        below += _of_row(run, at)
        if wait:
            below.append(cut(Text(f"  waits for {plain(wait)}", style="dim"), out.width, more))
    return below


def _of_row(run: RunSummary, lines: Iterator[Text]) -> Iterator[Text]:
    """The lines of one run: one, or two where its id has no room beside the rest."""
    first = next(lines)
    yield first
    if first.plain == plain(run.run_id):
        yield next(lines)


def row_of(run: RunSummary, now: float) -> tuple[object, ...]:
    """A run as the cells of :data:`COLUMNS`."""
    created = run.created_at.timestamp()
    is_final = run.status.is_final
    took = (run.updated_at.timestamp() if is_final else now) - created
    return (
        run.run_id,
        run.blueprint_id,
        run.status.value,
        relative(run.created_at, now),
        span(max(0.0, took)) if is_final else about(max(0.0, took)),
    )


def _waits_for(run: RunSummary, now: float) -> str:
    """What a run waits for, as far as its row tells; answers that have no name are not there."""
    if run.status.is_final:
        return ""
    events = ", ".join(map(event_text, run.awaits))
    due = "" if run.due_at is None else f"timer {relative(run.due_at, now)}"
    if run.due_at is not None and run.due_at.timestamp() < now:
        due = f"timer, due {relative(run.due_at, now)}"
    return "; ".join(each for each in (events, due) if each)


def event_text(awaited: Correlation) -> str:
    """An event that is waited for: its name, and its key if it has one."""
    return awaited.event if awaited.key is None else f"{awaited.event} {awaited.key}"


def _go_on(given: dict[str, Any], after: str) -> str:
    """The command that shows the next page of the same list."""
    words = ["flowcraft", "list"]
    for status in given["statuses"]:
        words += ["--status", status]
    words += [f"--{name}" for name in ("live", "top") if given[name]]
    for tag in given["tags"]:
        words += ["--tag", tag]
    for name in ("flow", "since", "until"):
        if given[name] is not None:
            words += [f"--{name}", given[name]]
    if given["limit"] != 20:
        words += ["--limit", str(given["limit"])]
    return shlex.join([*words, "--after", after])
