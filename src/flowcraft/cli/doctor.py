"""``flowcraft doctor``: look for what is wrong, and say what helps."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import click
from rich.table import Table
from rich.text import Text

from flowcraft import application
from flowcraft.cli.invocation import Invocation, pass_invocation
from flowcraft.cli.output import STYLES, Output, plain
from flowcraft.doctor import Diagnosis, Finding, RunsFile, Severity, examine_file
from flowcraft.engine.options import RuntimeOptions
from flowcraft.provisioning.permitted import ROLES, Role
from flowcraft.settings import SettingsError

MARKS: Final = {
    Severity.OK: "ok",
    Severity.NOTE: "note",
    Severity.WARNING: "warning",
    Severity.ERROR: "error",
}

EPILOG: Final = """\b
flowcraft doctor                      all that there is to see
flowcraft doctor --quiet              only what somebody should look after
flowcraft doctor --strict --json      for a program that watches

It changes nothing. Exit codes: 0 fine, 1 errors (with --strict warnings, too)."""


@click.command(name="doctor", help="Look for what is wrong, and say what helps.", epilog=EPILOG)
@click.option("--strict", is_flag=True, help="Warnings count like errors.")
@click.option("--quiet", is_flag=True, help="Show only warnings and errors.")
@click.option(
    "--role",
    type=click.Choice(ROLES),
    default="worker",
    show_default=True,
    help="Whose permissions these credentials are to have (AWS).",
)
@pass_invocation
def command(invocation: Invocation, strict: bool, quiet: bool, role: Role) -> int:
    """Look, tell, and exit by how bad it is."""
    options, trouble = _app(invocation)
    diagnosis = asyncio.run(_examine(invocation, options, role))
    if trouble is not None:
        found = (*diagnosis.findings, trouble)
        diagnosis = Diagnosis(diagnosis.at, diagnosis.backend, found)
    out = invocation.out
    if out.as_json:
        out.json(diagnosis.to_data())
    else:
        _show(out, diagnosis, quiet=quiet)
    return diagnosis.exit_code(strict=strict)


def _app(invocation: Invocation) -> tuple[RuntimeOptions | None, Finding | None]:
    """The app; one that cannot be loaded is a finding, and keeps nothing from being looked at."""
    try:
        return invocation.options_if_any, None
    except SettingsError as error:
        where = str(invocation.settings["app"])
        return None, Finding("app", Severity.ERROR, str(error), where)


async def _examine(invocation: Invocation, options: RuntimeOptions | None, role: Role) -> Diagnosis:
    settings = invocation.settings
    lease_seconds = float(settings["worker.lease_seconds"])
    codec = application.load_codec(settings)
    if settings["backend"] == "sqlite":
        path = Path(settings["sqlite.path"])
        return await examine_file(RunsFile(path, lease_seconds, options, codec))
    try:
        from flowcraft.doctor.fleet import Fleet, examine_fleet  # noqa: PLC0415
    except ImportError as error:
        raise SettingsError(str(error)) from error
    names, clients = application.names_of(settings), application.aws_clients(settings)
    return await examine_fleet(
        Fleet(
            client=clients.client,
            queue=settings["aws.queue_url"] or names.queue,
            context_table=names.contexts,
            status_table=names.statuses,
            coordination_table=names.coordination,
            payload_bucket=names.bucket,
            region=settings["aws.region"] or "",
            lease_seconds=lease_seconds,
            options=options,
            codec=codec,
            role=role,
        )
    )


# --- for people ----------------------------------------------------------------------------


def _show(out: Output, diagnosis: Diagnosis, *, quiet: bool) -> None:
    shown = [each for each in diagnosis.findings if each.is_trouble or not quiet]
    if shown:
        table = Table(box=None, pad_edge=False, show_header=True, header_style="bold")
        table.add_column("", no_wrap=True)
        table.add_column("check", no_wrap=True)
        table.add_column("what was found", overflow="fold")
        for each in shown:
            table.add_row(_mark(each.severity), Text(each.check), _told(each))
        out.show(table)
        out.print()
    out.print(_summary(diagnosis), style=str(diagnosis.worst))


def _mark(severity: Severity) -> Text:
    return Text(MARKS[severity], style=STYLES[str(severity)])


def _told(finding: Finding) -> Text:
    is_told = not finding.where or finding.where in finding.found
    where = "" if is_told else f"{finding.where}: "
    text = Text(plain(f"{where}{finding.found}"))
    if finding.cure:
        text.append("\n→ ", style="bold")
        text.append(plain(finding.cure))
    return text


def _summary(diagnosis: Diagnosis) -> str:
    counts = {each: diagnosis.count(each) for each in reversed(Severity)}
    told = ", ".join(
        f"{count} {MARKS[each]}{'s' if count != 1 and each is not Severity.OK else ''}"
        for each, count in counts.items()
        if count
    )
    return f"{told}." if told else "Nothing was looked at."
