"""``flowcraft drain-report``: which code the live runs still need."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import click
from rich.text import Text

from flowcraft.cli.columns import Column, show_rows
from flowcraft.cli.failures import DONE, FAILED
from flowcraft.cli.invocation import Invocation, pass_invocation
from flowcraft.cli.output import STYLES, Output
from flowcraft.cli.times import local, relative
from flowcraft.engine.draining import DrainReport, Needed

EPILOG: Final = """\b
flowcraft drain-report
flowcraft drain-report --app shop:runtime && echo "older workers may go"
flowcraft drain-report --rows-only"""

HELP: Final = """Tell which code the live runs still need, and whether the app has it.

All live runs are read, ten at a time. Exit code 1: they need something that the app lacks, or one
of them could not be read. Without an app it is told what is needed, and the code is 0."""

COLUMNS: Final = (
    Column("code", least=12),
    Column("flow", least=8),
    Column("version", least=7),
    Column("hash"),
    Column("runs", right=True),
    Column("of", right=True),
    Column("since", least=9),
    Column("app"),
)


@click.command(name="drain-report", help=HELP, epilog=EPILOG)
@click.option(
    "--rows-only",
    is_flag=True,
    help="Read no run: each counts as if it needed all of its workflow. Cheaper on AWS.",
)
@click.option("--all", "all_", is_flag=True, help="Show code, too, that no run needs any more.")
@pass_invocation
def command(invocation: Invocation, /, rows_only: bool, all_: bool) -> int:
    """Tell what is needed."""
    options = invocation.options_if_any

    async def look() -> DrainReport:
        async with invocation.client(with_app=True) as client:
            return await client.drain_report(look_inside=not rows_only)

    report = invocation.run(look())
    lacking = () if options is None else report.needed_by(options.registry)
    if invocation.as_json:
        has_app = options is not None
        missing = [each.uses for each in lacking] if has_app else None
        invocation.out.json({"report": report, "app": invocation.settings["app"], "lacks": missing})
    else:
        tell(invocation.out, report, lacking, invocation.clock.now(), all_, options is not None)
    return FAILED if options is not None and (lacking or report.unread_runs) else DONE


def tell(
    out: Output,
    report: DrainReport,
    lacking: Sequence[Needed],
    now: float,
    all_: bool,
    has_app: bool,
) -> None:
    """Write a report for people.

    Args:
        out: Where to.
        report: What was found.
        lacking: What the app lacks of it.
        now: The time, in seconds since the epoch.
        all_: Whether to show what no run needs any more, too.
        has_app: Whether there is an app to compare with.
    """
    runs = "1 live run" if report.runs == 1 else f"{report.runs:,} live runs"
    out.print(f"{runs} at {local(report.at, now)}", "bold")
    shown = [each for each in report.needed if each.may_run or all_]
    if shown:
        show_rows(out, COLUMNS, [_row(each, lacking, now, has_app) for each in shown])
    for each in lacking:
        out.print(f"{each.uses} is needed by {', '.join(each.examples)}", "dim")
    if report.unread_runs:
        named = ", ".join(report.unread)
        out.print(f"{report.unread_runs} could not be read (the log says why): {named}", "error")
    if has_app:
        _judge(out, report, lacking)
    else:
        out.remark("No app is configured: name one by --app to see whether it has all of this.")


def _row(
    needed: Needed, lacking: Sequence[Needed], now: float, has_app: bool
) -> tuple[object, ...]:
    word = (
        "" if not has_app or not needed.may_run else "lacks it" if needed in lacking else "has it"
    )
    style = STYLES["error" if needed in lacking else "ok"]
    return (
        needed.uses,
        needed.blueprint_id,
        needed.version or "",
        needed.blueprint_hash[:8],
        f"{needed.runs:,}",
        f"{needed.live:,}",
        relative(needed.oldest_at, now),
        Text(word, style=style),
    )


def _judge(out: Output, report: DrainReport, lacking: Sequence[Needed]) -> None:
    if lacking:
        out.print("The app lacks code that live runs need: keep the older workers.", "error")
    elif report.unread_runs:
        out.print("Of the runs that could be read the app has all the code.", "warning")
    else:
        out.print("The app has all the code that live runs need: older workers may go.", "ok")
