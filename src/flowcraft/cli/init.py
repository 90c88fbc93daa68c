"""``flowcraft init``: a small project that runs, to begin with."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Final

import click

from flowcraft.cli.failures import CommandError
from flowcraft.cli.invocation import Invocation, pass_invocation

FILES: Final = {
    "flowcraft.toml": "flowcraft.toml.txt",
    "flows.py": "flows.py.txt",
    "test_flows.py": "test_flows.py.txt",
}
"""What is written, and the text that it is written from."""


@click.command(
    name="init",
    help="Write a small project that runs: a workflow, its configuration, and a test.",
)
@click.argument("directory", default=".", metavar="[DIRECTORY]")
@click.option("--force", is_flag=True, help="Overwrite files that are there.")
@pass_invocation
def command(invocation: Invocation, /, directory: str, force: bool) -> None:
    """Write a project."""
    place = invocation.directory / directory
    there = [name for name in FILES if (place / name).exists()]
    if there and not force:
        raise CommandError(
            f"{', '.join(there)} would be overwritten in '{place}'. Name another directory, or "
            "give --force."
        )
    try:
        _write(place)
    except OSError as error:
        raise CommandError(f"'{place}' cannot be written to: {error.strerror}.") from error
    out = invocation.out
    if out.as_json:
        out.json({"directory": str(place.resolve()), "files": list(FILES)})
        return
    for name in FILES:
        out.print(f"wrote {Path(directory) / name}")
    inside = "" if place.resolve() == invocation.directory.resolve() else f"cd {directory} && "
    out.remark(f"Next: {inside}flowcraft start order -c amount=21 --work")


def _write(place: Path) -> None:
    place.mkdir(parents=True, exist_ok=True)
    texts = resources.files("flowcraft.cli") / "project"
    for name, source in FILES.items():
        text = (texts / source).read_text(encoding="utf-8")
        (place / name).write_text(text, encoding="utf-8")
