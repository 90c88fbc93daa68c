"""``flowcraft replay``: a run made again of its exported history, on one's own machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import click

from flowcraft import application
from flowcraft.cli.failures import DONE, FAILED, CommandError
from flowcraft.cli.invocation import Invocation, pass_invocation
from flowcraft.cli.start import read_text, tell_result
from flowcraft.core.blueprint import WorkflowBlueprint
from flowcraft.core.state import RunStatus
from flowcraft.engine.history_events import DAMAGED, HistoryEvent
from flowcraft.engine.history_file import read_history
from flowcraft.engine.results import RunResult
from flowcraft.engine.runtime import FlowRuntime

EPILOG: Final = """\b
flowcraft history RUN --export run.jsonl && flowcraft replay run.jsonl
flowcraft replay run.jsonl --from charge --app shop:runtime"""

HELP: Final = """Make a run again of its exported history: its outputs, states and errors.

No node is executed, and no code is needed. With --from a node, and all that can follow it, is
executed anew in this process, by the code of today: what the nodes do outside, they do again."""


@click.command(name="replay", help=HELP, epilog=EPILOG)
@click.argument("file", metavar="FILE")
@click.option("--from", "from_node", metavar="NODE", help="Execute this node and what follows.")
@pass_invocation
def command(invocation: Invocation, /, file: str, from_node: str | None) -> int:
    """Replay an exported history."""
    if from_node is not None or invocation.settings["app"] is not None:
        runtime = application.load_runtime(invocation.settings)
    else:
        runtime = FlowRuntime()
    name = "standard input" if file == "-" else f"'{file}'"
    lines = read_text(file, invocation.directory).split("\n")
    events = list(read_history(lines, runtime.options.serializer, name))
    blueprint = _blueprint(runtime, events, name, from_node)

    async def work() -> RunResult:
        if from_node is None:
            return await runtime.replay(blueprint, events)
        return await runtime.replay_from(blueprint, events, from_node)

    result = invocation.run(work())
    tell_result(invocation, result.run_id, result)
    ended_badly = result.status in (RunStatus.FAILED, RunStatus.CANCELLED)
    return FAILED if from_node is not None and ended_badly else DONE


def _blueprint(
    runtime: FlowRuntime, events: Sequence[HistoryEvent], name: str, from_node: str | None
) -> WorkflowBlueprint:
    """The blueprint that the history brought along; to execute nodes, rather the app's."""
    for event in events:
        if event.stored is not None and event.stored.blueprint is not None:
            recorded = event.stored.blueprint
            if from_node is None:
                return recorded
            return runtime.blueprints.get(recorded.id, recorded)
    problem = next((e.payload.get("problem") for e in events if e.type == DAMAGED), None)
    why = problem or "it was exported without payloads; export it anew with them"
    raise CommandError(f"{name} cannot be replayed: {why}.")
