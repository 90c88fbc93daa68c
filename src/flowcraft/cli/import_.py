"""``flowcraft import``: make workflows of those of other systems."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import click
from rich.text import Text

from flowcraft.cli.failures import DONE, REFUSED, CommandError
from flowcraft.cli.invocation import Invocation, pass_invocation
from flowcraft.cli.output import STYLES, plain
from flowcraft.cli.portrait import say
from flowcraft.cli.start import read_text
from flowcraft.importing import Finding, Imported, import_asl

EPILOG: Final = """\b
flowcraft import asl order.asl.json
flowcraft import asl order.asl.json --out workflows --name order
flowcraft import asl - --name order --dry-run < order.json"""

HELP: Final = """Make a workflow of an AWS Step Functions definition (Amazon States Language).

Writes a blueprint, one more for each part that runs by itself, and a Python module with a function
to write for each task. What could not be taken over as it was is listed, with its place."""

_STYLES: Final[Mapping[str, str]] = {"lost": "error", "changed": "warning", "stub": "note"}


@click.group(name="import", help="Make workflows of those of other systems.")
def group() -> None:
    """Import workflows."""


@group.command(
    name="asl", help=HELP, epilog=EPILOG, short_help="Of a definition of AWS Step Functions."
)
@click.argument("file")
@click.option(
    "--out",
    metavar="DIR",
    type=click.Path(path_type=Path),
    default=Path(),
    help="Where to write; here by default.",
)
@click.option("--name", metavar="ID", help="The workflow's id; the file's name by default.")
@click.option("--force", is_flag=True, help="Overwrite files.")
@click.option("--dry-run", is_flag=True, help="Write nothing: only list what is to be done.")
@pass_invocation
def asl(
    invocation: Invocation,
    /,
    file: str,
    out: Path,
    name: str | None,
    force: bool,
    dry_run: bool,
) -> int:
    """Import a definition."""
    imported = import_asl(read_text(file, invocation.directory), name or _name_of(file))
    files = {out / each: text for each, text in imported.files.items()}
    if not dry_run:
        _write(invocation, files, force)
    if invocation.as_json:
        invocation.out.json(
            {
                "blueprints": [blueprint.id for blueprint in imported.blueprints],
                "files": [] if dry_run else [str(each) for each in files],
                "functions": imported.functions,
                "findings": [finding.to_dict() for finding in imported.findings],
            }
        )
        return DONE
    if not dry_run:
        for each in files:
            invocation.out.print(f"Wrote {each}")
    _show(invocation, imported)
    return DONE


def _name_of(file: str) -> str:
    """What a workflow is called after its file."""
    if file == "-":
        raise CommandError("Say what the workflow is called: --name ID.")
    stem = Path(file).name
    for ending in (".json", ".asl"):
        stem = stem.removesuffix(ending)
    return stem or "workflow"


def _write(invocation: Invocation, files: Mapping[Path, str], force: bool) -> None:
    there = [str(each) for each in files if (invocation.directory / each).exists()]
    if there and not force:
        is_one = len(there) == 1
        verb, which = ("is", "it") if is_one else ("are", "them")
        raise CommandError(
            f"{', '.join(there)} {verb} there already; nothing was written. "
            f"--force overwrites {which}, functions that were filled in with {which}.",
            REFUSED,
        )
    for each, text in files.items():
        path = invocation.directory / each
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise CommandError(f"'{each}' cannot be written: {error.strerror}.") from error


def _show(invocation: Invocation, imported: Imported) -> None:
    out = invocation.out
    if imported.functions:
        out.print(f"Functions to write: {', '.join(imported.functions)}.")
    if not imported.findings:
        out.print("Everything was taken over as it was.", style="ok")
        return
    out.print(f"Not taken over as it was ({len(imported.findings)}):", style="bold")
    for finding in imported.findings:
        _show_finding(invocation, finding)


def _show_finding(invocation: Invocation, finding: Finding) -> None:
    out = invocation.out
    head = Text("  ")
    head.append(finding.kind.ljust(9), style=STYLES[_STYLES[finding.kind]])
    head.append(plain(finding.place))
    out.console.print(head, soft_wrap=True)
    say(out, "", f"{finding.message} {finding.advice}")
