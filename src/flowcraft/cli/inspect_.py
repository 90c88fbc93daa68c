"""``flowcraft inspect``: all of a run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import click

from flowcraft.cli.causes import error_lines
from flowcraft.cli.columns import Column, show_rows
from flowcraft.cli.drawing import show_lines
from flowcraft.cli.failures import NOT_FOUND, CommandError
from flowcraft.cli.invocation import Invocation, pass_invocation
from flowcraft.cli.output import Output, plain
from flowcraft.cli.portrait import batch_text, clipped, say, value_text
from flowcraft.cli.status import MOST_LINES
from flowcraft.cli.status import show as show_status
from flowcraft.cli.timeline import show_timeline
from flowcraft.cli.times import both, span
from flowcraft.core.blueprint import WorkflowBlueprint
from flowcraft.core.context import INPUTS
from flowcraft.core.draw_text import draw_lines
from flowcraft.engine.inspecting import NodeDetails, RunDetails
from flowcraft.engine.jsonable import jsonable

EPILOG: Final = """\b
flowcraft inspect RUN
flowcraft inspect RUN --node charge
flowcraft inspect RUN --json | jq .nodes"""

MOST_NODES: Final = 40
MOST_ERRORS: Final = 10
MOST_VALUES: Final = 20
MOST_DRAWN: Final = 40
"""So many of each are shown; --full shows all of them."""

Picture = tuple[WorkflowBlueprint, Mapping[str, str]]

VALUE_COLUMNS: Final = 200
"""Of a value so much is shown where nothing bounds a line."""


@click.command(
    name="inspect",
    help="Show all of a run: timeline, attempts, values, errors, child runs, graph.",
    epilog=EPILOG,
)
@click.argument("run_id", metavar="RUN")
@click.option("--node", metavar="ID", help="One node in whole: each of its iterations.")
@click.option("--full", is_flag=True, help="Cut nothing: all nodes, whole values, tracebacks.")
@pass_invocation
def command(invocation: Invocation, /, run_id: str, node: str | None, full: bool) -> None:
    """Show all of a run."""

    async def look() -> tuple[RunDetails, Picture]:
        async with invocation.client(with_app=True) as client:
            follower = await client.follow_run(run_id, with_values=True)
            return await follower.look(), follower.picture

    run, picture = invocation.run(look())
    now = invocation.clock.now()
    if node is not None:
        found = _instances(run, node)
        if invocation.as_json:
            invocation.out.json({"runId": run.run_id, "nodes": found})
        else:
            for each in found:
                show_node(invocation.out, each, now)
    elif invocation.as_json:
        invocation.out.json(run)
    else:
        show(invocation.out, run, now, full)
        _graph(invocation.out, run.run_id, picture, full)


def _instances(run: RunDetails, node: str) -> list[NodeDetails]:
    found = [each for each in run.nodes if node in (each.node_id, each.name)]
    if not found:
        known = ", ".join(dict.fromkeys(each.node_id for each in run.nodes[:20]))
        raise CommandError(f"Run '{run.run_id}' has no node '{node}'; it has: {known}.", NOT_FOUND)
    return found


def show(out: Output, run: RunDetails, now: float, full: bool) -> None:
    """Write all of a run."""
    show_status(out, run, now, None if full else MOST_LINES, with_steps=False)
    begun = [node for node in run.nodes if node.status != "pending"]
    _title(out, "timeline")
    shown = begun if full else chosen(begun, MOST_NODES)
    show_timeline(out, run, now, shown)
    _left(out, len(begun) - len(shown))
    _children(out, run, full)
    _errors(out, run, now, full)
    _values(out, begun, full)
    _context(out, run, full)


def _graph(out: Output, run_id: str, picture: Picture, full: bool) -> None:
    blueprint, states = picture
    if len(blueprint.nodes) < 2:
        return
    _title(out, "graph")
    if len(blueprint.nodes) > MOST_DRAWN and not full:
        count = len(blueprint.nodes)
        out.print(f"{count:,} nodes; --full draws them, or: flowcraft graph --run {run_id}", "dim")
    else:
        show_lines(out, draw_lines(blueprint, states))


def chosen(nodes: Sequence[NodeDetails], most: int) -> list[NodeDetails]:
    """The nodes that matter most where not all can be shown, in the order in which they began."""
    if len(nodes) <= most:
        return list(nodes)
    ranked = sorted(range(len(nodes)), key=lambda place: (_rank(nodes[place]), place))
    return [nodes[place] for place in sorted(ranked[:most])]


def _rank(node: NodeDetails) -> int:
    if node.status in ("failed", "rescued", "rescuing"):
        return 0
    if node.is_live:
        return 1
    return 3 if node.status in ("skipped", "blocked") else 2


def _title(out: Output, text: str) -> None:
    out.print()
    out.print(text, "bold underline")


def _left(out: Output, count: int) -> None:
    if count > 0:
        out.print(f"… and {count:,} more; --full shows them", "dim")


def _children(out: Output, run: RunDetails, full: bool) -> None:
    children = [node for node in run.nodes if node.child_run_id is not None]
    if not children:
        return
    _title(out, "child runs")
    shown = children if full else chosen(children, MOST_VALUES)
    columns = (Column("node", least=8), Column("run", is_whole=True, least=36), Column("status"))
    rows = [(each.name, each.child_run_id, each.child_status or each.status) for each in shown]
    show_rows(out, columns, rows)
    _left(out, len(children) - len(shown))


def _errors(out: Output, run: RunDetails, now: float, full: bool) -> None:
    """Failures of attempts, those that another attempt made good included."""
    failed = [
        (node, attempt)
        for node in run.nodes
        for attempt in node.attempts
        if attempt.error is not None
    ]
    texts = [
        (
            f"{node.name}, attempt {attempt.number}, {both(attempt.ended_at, now)}",
            error_lines(attempt.error._replace(node_id=None), with_traceback=full),
        )
        for node, attempt in failed
        if attempt.error is not None
    ]
    known = {id(attempt.error) for _, attempt in failed}
    texts += [
        ("", error_lines(error, with_traceback=full))
        for error in run.errors
        if id(error) not in known and not _is_of_attempt(error, failed)
    ]
    if not texts:
        return
    _title(out, "errors")
    shown = texts if full else texts[-MOST_ERRORS:]
    for where, lines in shown:
        if where:
            out.print(where)
        for line in lines:
            out.print(f"  {line}" if where else line, "error")
    _left(out, len(texts) - len(shown))


def _is_of_attempt(error: Any, failed: Sequence[tuple[NodeDetails, Any]]) -> bool:
    """Whether an error that stands is the one of an attempt that is shown with it."""
    return any(
        (error.node_id, error.iteration, error.message)
        == (node.node_id, node.iteration, attempt.error.message)
        for node, attempt in failed
    )


def _values(out: Output, nodes: Sequence[NodeDetails], full: bool) -> None:
    told = [node for node in nodes if node.input is not None or node.output is not None]
    if not told:
        return
    _title(out, "inputs and outputs")
    if full:
        for node in told:
            say(out, "", node.name, "bold")
            show_value(out, "input", node.input)
            show_value(out, "output", node.output)
        return
    shown = chosen(told, MOST_VALUES)
    columns = (Column("node", least=8), Column("input", least=12), Column("output", least=12))
    rows = [(node.name, _short(node.input), _short(node.output)) for node in shown]
    show_rows(out, columns, rows)
    _left(out, len(told) - len(shown))


def _short(value: Any) -> str:
    return "" if value is None else clipped(value_text(value), VALUE_COLUMNS)


def show_value(out: Output, label: str, value: Any) -> None:
    """Write a value in whole, as JSON."""
    if value is None:
        return
    text = json.dumps(jsonable(value), ensure_ascii=not out.has_all_signs, indent=2)
    say(out, label, text)


def _context(out: Output, run: RunDetails, full: bool) -> None:
    # What the engine keeps of inputs is told with the nodes.
    names = [name for name in run.context if not name.startswith(INPUTS)]
    if not names:
        return
    _title(out, "context")
    shown = names if full else names[:MOST_VALUES]
    if full:
        for name in shown:
            say(out, "", name, "bold")
            show_value(out, "", run.context[name])
        return
    columns = (Column("key", least=8), Column("value", least=20))
    show_rows(out, columns, [(name, _short(run.context[name])) for name in shown])
    _left(out, len(names) - len(shown))


def show_node(out: Output, node: NodeDetails, now: float) -> None:
    """Write one instance of a node, in whole."""
    out.print(f"{node.name}  {node.uses}", "bold")
    say(out, "state", node.status, node.status)
    if node.lost:
        say(out, "", f"{node.lost} attempts lost their worker")
    for attempt in node.attempts:
        took = "still under way"
        if attempt.started_at is not None and attempt.ended_at is not None:
            took = span((attempt.ended_at - attempt.started_at).total_seconds())
        say(out, f"attempt {attempt.number}", f"{both(attempt.started_at, now)}, {took}")
        for line in (
            [] if attempt.error is None else error_lines(attempt.error, with_traceback=True)
        ):
            say(out, "", line, "error")
    for label, moment in (("due", node.due_at), ("lease", node.lease_until)):
        if moment is not None:
            say(out, label, both(moment, now))
    if node.action is not None:
        say(out, "action", plain(node.action))
    if node.child_run_id is not None:
        say(out, "child run", node.child_run_id)
    if node.batch is not None:
        say(out, "batch", batch_text(out, node.batch))
    show_value(out, "input", node.input)
    show_value(out, "output", node.output)
    out.print()
