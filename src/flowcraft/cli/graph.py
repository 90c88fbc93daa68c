"""``flowcraft graph``: draw a workflow, or how a run fared in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click

from flowcraft.cli.drawing import show_lines
from flowcraft.cli.failures import DONE, CommandError
from flowcraft.cli.invocation import Invocation, pass_invocation
from flowcraft.cli.run_ import find
from flowcraft.core.blueprint import WorkflowBlueprint
from flowcraft.core.draw import generate_mermaid
from flowcraft.core.draw_dot import draw_dot
from flowcraft.core.draw_svg import draw_svg
from flowcraft.core.draw_text import draw_lines
from flowcraft.engine.results import RunResult

EPILOG: Final = """\b
flowcraft graph shop.py:order
flowcraft graph order --out order.svg
flowcraft graph order.json --format mermaid
flowcraft graph --run RUN --out run.svg"""

FORMATS: Final = ("text", "mermaid", "svg", "dot")
_ENDINGS: Final[Mapping[str, str]] = {
    ".svg": "svg",
    ".dot": "dot",
    ".gv": "dot",
    ".mmd": "mermaid",
    ".mermaid": "mermaid",
    ".txt": "text",
}
_MERMAID_STATES: Final[Mapping[str, str]] = {
    "rescued": "retrying",
    "rescuing": "retrying",
    "child": "running",
    "sleeping": "waiting",
    "blocked": "skipped",
}
"""States that a Mermaid drawing has no colour for, by those that it shows them as."""


@click.command(name="graph", help="Draw a workflow, or a run.", epilog=EPILOG)
@click.argument("flow", required=False)
@click.option("--run", "run_id", metavar="ID", help="Draw this run, coloured by how it fared.")
@click.option(
    "--format",
    "format_",
    type=click.Choice(FORMATS),
    help="Text by default; for --out by the ending of the file.",
)
@click.option("--out", metavar="FILE", type=click.Path(path_type=Path), help="Write it to a file.")
@pass_invocation
def command(
    invocation: Invocation,
    /,
    flow: str | None,
    run_id: str | None,
    format_: str | None,
    out: Path | None,
) -> int:
    """Draw what is named."""
    blueprint, states = _subject(invocation, flow, run_id)
    kind = format_ or _by_ending(out) or "text"
    title = blueprint.id if run_id is None else f"{blueprint.id}, run {run_id}"
    if out is not None:
        _write(invocation, out, drawn(kind, blueprint, states, title))
    elif invocation.as_json:
        graph = drawn(kind, blueprint, states, title)
        invocation.out.json({"blueprintId": blueprint.id, "format": kind, "graph": graph})
    elif kind == "text":
        show_lines(invocation.out, draw_lines(blueprint, states))
    else:
        invocation.out.print(drawn(kind, blueprint, states, title).rstrip("\n"))
    return DONE


def _subject(
    invocation: Invocation, flow: str | None, run_id: str | None
) -> tuple[WorkflowBlueprint, Mapping[str, str] | None]:
    """What is to be drawn: a workflow, or a run with the states of its nodes."""
    if (flow is None) == (run_id is None):
        raise CommandError("Name a workflow (an id, module:attribute or file) or give --run ID.")
    if flow is not None:
        return find(invocation, flow)[1], None

    async def look() -> RunResult:
        async with invocation.client() as client:
            return await client.get_run(str(run_id))

    run = invocation.run(look())
    return run.blueprint, run.states


def drawn(
    kind: str, blueprint: WorkflowBlueprint, states: Mapping[str, str] | None, title: str
) -> str:
    """A drawing as text, ending with a line break.

    Args:
        kind: One of :data:`FORMATS`.
        blueprint: What is drawn.
        states: How the nodes fared in a run, if one is drawn.
        title: What the drawing is of.
    """
    if kind == "svg":
        return draw_svg(blueprint, states=states, title=title)
    if kind == "dot":
        return draw_dot(blueprint, states=states)
    if kind == "mermaid":
        known = {node: _MERMAID_STATES.get(state, state) for node, state in (states or {}).items()}
        return generate_mermaid(blueprint, states=known)
    return "".join(f"{line}\n" for line in draw_lines(blueprint, states))


def _by_ending(out: Path | None) -> str | None:
    return None if out is None else _ENDINGS.get(out.suffix.lower())


def _write(invocation: Invocation, out: Path, text: str) -> None:
    try:
        (invocation.directory / out).write_text(text, encoding="utf-8")
    except OSError as error:
        raise CommandError(f"'{out}' cannot be written: {error.strerror}.") from error
    told: dict[str, Any] = {"file": str(out)}
    if invocation.as_json:
        invocation.out.json(told)
    else:
        invocation.out.remark(f"Wrote {out}")
