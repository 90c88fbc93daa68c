"""``flowcraft history``: all that happened in a run, shown or exported."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import click

from flowcraft.cli.failures import DONE, FAILED, CommandError
from flowcraft.cli.invocation import Invocation, pass_invocation
from flowcraft.cli.output import Output
from flowcraft.cli.start import short
from flowcraft.cli.times import local
from flowcraft.engine.client import FlowClient
from flowcraft.engine.history_events import DAMAGED, HistoryEvent
from flowcraft.engine.history_file import HistoryWriter
from flowcraft.engine.serializer import JsonSerializer

EPILOG: Final = """\b
flowcraft history RUN
flowcraft history RUN --export run.jsonl
flowcraft history RUN --json | jq -r 'select(.type == "node:error") | .payload.message'
flowcraft history RUN --follow"""

LOOK_SECONDS: Final = {"sqlite": 1.0, "aws": 5.0}
"""At most so long between two looks at a run that is followed; on AWS each look costs."""

VALUE_COLUMNS: Final = 100
TYPE_COLUMNS: Final = 16
WHERE_COLUMNS: Final = 24

STYLES_OF: Final[Mapping[str, str]] = {
    "node:error": "error",
    "compensation:error": "error",
    "node:retry": "warning",
    DAMAGED: "error",
    "history:missing": "warning",
}

SHOWN: Final = ("input", "output", "action", "status", "reason", "problem", "result")
"""Of payloads these are shown first."""

HIDDEN: Final = frozenset(
    {
        "budget_requests",
        "budget_usd",
        "causes",
        "dynamic_nodes",
        "fail_fast",
        "fairness_key",
        "has_input",
        "is_fatal",
        "item",
        "max_executions",
        "message",
        "name",
        "names",
        "result_only",
        "run_id",
        "shard_size",
        "type",
        "writes",
    }
)
"""Of payloads these are not shown; errors are shown as a person reads them."""


@click.command(
    name="history",
    help="Show all that happened in a run, in order: its events with times, child runs included.",
    epilog=EPILOG,
)
@click.argument("run_id", metavar="RUN")
@click.option("--export", metavar="FILE", help="Write JSON lines to a file; '-' is the output.")
@click.option("--no-payloads", is_flag=True, help="Leave out values and messages of errors.")
@click.option("--no-children", is_flag=True, help="Leave out child runs.")
@click.option("--no-items", is_flag=True, help="Leave out the items of very large batches.")
@click.option("--follow", is_flag=True, help="Go on until the run is over, or until Ctrl-C.")
@pass_invocation
def command(invocation: Invocation, /, run_id: str, **given: Any) -> int:
    """Show, or export, what happened in a run."""
    export, follow = given["export"], given["follow"]
    if export not in (None, "-") and follow:
        raise CommandError("--follow shows what happens: leave out --export, or export to '-'.")
    tells: dict[str, bool] = {
        "children": not given["no_children"],
        "shards": not given["no_items"],
    }

    async def work() -> int:
        async with invocation.client(with_app=True) as client:
            if export not in (None, "-"):
                return await _export(invocation, client, run_id, given, tells)
            events = client.history(
                run_id,
                follow=follow,
                look_seconds=LOOK_SECONDS[invocation.settings["backend"]],
                **tells,
            )
            teller: _Lines | _Table
            if export == "-" or invocation.as_json:
                teller = _Lines(invocation, not given["no_payloads"])
            else:
                teller = _Table(invocation.out, run_id, not given["no_payloads"])
            damaged = 0
            async for event in events:
                teller.tell(event)
                damaged += event.type == DAMAGED
            teller.end()
            return FAILED if damaged else DONE

    return invocation.run(work())


async def _export(
    invocation: Invocation,
    client: FlowClient,
    run_id: str,
    given: Mapping[str, Any],
    tells: Mapping[str, bool],
) -> int:
    path = invocation.directory / given["export"]
    payloads = not given["no_payloads"]
    try:
        events = await client.export_history(run_id, path, payloads=payloads, **tells)
    except OSError as error:
        raise CommandError(f"'{given['export']}' cannot be written: {error.strerror}.") from error
    if invocation.as_json:
        invocation.out.json({"runId": run_id, "file": str(path), "events": events})
    else:
        invocation.out.remark(f"{events} events: {path}")
    return DONE


class _Lines:
    """Writes events as JSON lines to standard output, as they come."""

    def __init__(self, invocation: Invocation, payloads: bool) -> None:
        self._out = invocation.out
        options = invocation.options_if_any
        serializer = JsonSerializer() if options is None else options.serializer
        self._writer = HistoryWriter(self._write, serializer, payloads=payloads)

    def _write(self, line: str) -> None:
        sys.stdout.write(line)

    def tell(self, event: HistoryEvent) -> None:
        """Write an event."""
        self._writer.add(event)
        self._out.flush()

    def end(self) -> None:
        """Write the last line."""
        self._writer.end()
        self._out.flush()


class _Table:
    """Writes events as lines for people, as they come."""

    def __init__(self, out: Output, run_id: str, payloads: bool) -> None:
        self._out = out
        self._run_id = run_id
        self._payloads = payloads
        self._day = ""

    def tell(self, event: HistoryEvent) -> None:
        """Write an event."""
        moment = datetime.fromtimestamp(event.timestamp, UTC).astimezone()
        day = f"{moment:%Y-%m-%d %Z}"
        if day != self._day:
            self._out.print(day, "bold")
            self._day = day
        time = f"{moment:%H:%M:%S}.{moment.microsecond // 1000:03d}"
        where = self._where(event).ljust(WHERE_COLUMNS)
        line = f"{time}  {event.type.ljust(TYPE_COLUMNS)}  {where}  {self._what(event)}"
        self._out.print(line.rstrip(), STYLES_OF.get(event.type, ""))

    def end(self) -> None:
        """Have all of it written."""
        self._out.flush()

    def _where(self, event: HistoryEvent) -> str:
        """The node, in a child run behind the way that leads to it."""
        below = event.run_id.removeprefix(self._run_id).lstrip("/")
        name = event.payload.get("name") if "item" in event.payload else event.node_id
        node = str(name or "")
        if event.iteration and "item" not in event.payload:
            node += "@" + ".".join(map(str, event.iteration))
        return f"{below}/{node}" if below and node else below or node

    def _what(self, event: HistoryEvent) -> str:
        parts = []
        if (event.attempt or 0) > 1:
            parts.append(f"attempt {event.attempt}")
        payload = event.payload
        if event.type == "context:change":
            return "  ".join([*parts, f"{payload.get('op')} {payload.get('name')}"])
        if "message" in payload and "type" in payload:
            text = f": {payload['message']}" if self._payloads else ""
            parts.append(f"{payload['type']}{text}")
        if self._payloads:
            rest = [name for name in payload if name not in SHOWN and name not in HIDDEN]
            for name in (*(name for name in SHOWN if name in payload), *rest):
                if payload[name] is not None:
                    parts.append(_shown(name, payload[name]))
        return "  ".join(parts)


def _shown(name: str, value: Any) -> str:
    if name == "due_at" and isinstance(value, int | float):
        return f"due {local(datetime.fromtimestamp(value, UTC))}"
    return f"{name} {short(value, VALUE_COLUMNS)}"
