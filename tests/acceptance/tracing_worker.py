"""A worker process whose spans go to a file, for test_tracing.py.

``… DIRECTORY NAME``; it notes in the directory what it does, and writes its spans as they end to
``spans-NAME.jsonl``.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

from flowcraft import FlowRuntime, create_flow
from flowcraft.core.builder import FlowBuilder
from flowcraft.otel import OpenTelemetryTelemetry
from flowcraft.sqlite import SqliteAdapter
from tests.unit.traces import Told, told

LEASE_SECONDS = 1.0
LOOK_SECONDS = 0.02


class ToFile(SpanExporter):
    """Writes each span at once, so that a process that is killed leaves those that have ended."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        with self._path.open("a", encoding="utf-8") as file:
            for span in spans:
                file.write(json.dumps(told(span)) + "\n")
        return SpanExportResult.SUCCESS


def spans_in(directory: Path) -> list[Told]:
    """What all processes have exported, each span with the process that did."""
    found = []
    for path in sorted(directory.glob("spans-*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            fields = json.loads(line)
            fields[5] = tuple(tuple(each) for each in fields[5])
            told_span = Told._make(fields)
            found.append(told_span._replace(process=path.stem.removeprefix("spans-")))
    return found


def provider(directory: Path, name: str) -> TracerProvider:
    """A tracer provider that writes to the file of a process."""
    made = TracerProvider(shutdown_on_exit=False)
    made.add_span_processor(SimpleSpanProcessor(ToFile(directory / f"spans-{name}.jsonl")))
    return made


def flows(directory: Path) -> list[FlowBuilder]:
    async def before(ctx: Any) -> int:
        return 1

    async def hangs(ctx: Any) -> int:
        with (directory / "begun.txt").open("a", encoding="utf-8") as file:
            file.write(f"{os.getpid()}\n")
        while not (directory / "go").exists():
            await asyncio.sleep(LOOK_SECONDS)
        return 2

    async def after(ctx: Any) -> int:
        return 3

    flow = create_flow("order").node("before", before, uses="before")
    flow.node("hangs", hangs, uses="hangs").node("after", after, uses="after")
    return [flow.edge("before", "hangs").edge("hangs", "after")]


def adapter(directory: Path, name: str, tracer_provider: TracerProvider) -> SqliteAdapter:
    return SqliteAdapter(
        directory / "runs.db",
        FlowRuntime(flows=flows(directory)).options,
        lease_seconds=LEASE_SECONDS,
        poll_seconds=0.1,
        drain_timeout_seconds=2.0,
        telemetry=OpenTelemetryTelemetry(tracer_provider=tracer_provider),
    )


if __name__ == "__main__":
    where, called = Path(sys.argv[1]), sys.argv[2]
    adapter(where, called, provider(where, called)).run()
