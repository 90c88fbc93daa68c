"""Spans as tests look at them: told by any number of processes, read as one tree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Sampler

from flowcraft.otel import OpenTelemetryTelemetry


class Told(NamedTuple):
    """A span, as it was exported."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str | None
    attributes: dict[str, Any]
    links: tuple[tuple[str, str, str], ...]
    status: str
    process: str = ""


class Exported:
    """A telemetry, and the spans that it has exported.

    Attributes:
        telemetry: For an adapter or a client.
        provider: Its tracer provider.
    """

    def __init__(self, sampler: Sampler | None = None) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.telemetry = OpenTelemetryTelemetry(tracer_provider=self.provider)

    def spans(self) -> list[Told]:
        """What was exported, in order."""
        return [told(each) for each in self.raw()]

    def raw(self) -> tuple[ReadableSpan, ...]:
        """The same as the SDK has it."""
        return self._exporter.get_finished_spans()


def told(span: ReadableSpan) -> Told:
    """A span of the SDK."""
    context = span.get_span_context()
    assert context is not None
    return Told(
        span.name,
        f"{context.trace_id:032x}",
        f"{context.span_id:016x}",
        None if span.parent is None else f"{span.parent.span_id:016x}",
        dict(span.attributes or {}),
        tuple(
            (
                str((link.attributes or {}).get("flowcraft.link")),
                f"{link.context.trace_id:032x}",
                f"{link.context.span_id:016x}",
            )
            for link in span.links
        ),
        span.status.status_code.name,
    )


def tree(spans: Iterable[Told]) -> list[str]:
    """Spans as lines, each indented below its parent; in order of name and attempt.

    Raises:
        AssertionError: An id was told twice, a parent is missing, or there are several traces.
    """
    spans = list(spans)
    ids = Counter(each.span_id for each in spans)
    assert ids.most_common(1)[0][1] == 1, f"told twice: {ids.most_common(3)}"
    assert len({each.trace_id for each in spans}) == 1, {each.trace_id for each in spans}
    missing = {each.parent_id for each in spans} - set(ids) - {None}
    assert not missing, [each for each in spans if each.parent_id in missing]
    lines: list[str] = []

    def add(parent_id: str | None, depth: int) -> None:
        children = [each for each in spans if each.parent_id == parent_id]
        for each in sorted(children, key=_order):
            lines.append("  " * depth + _line(each))
            add(each.span_id, depth + 1)

    add(None, 0)
    assert len(lines) == len(spans)
    return lines


def _order(span: Told) -> tuple[Any, ...]:
    about = span.attributes
    return (
        span.name,
        about.get("flowcraft.iteration", ""),
        about.get("flowcraft.item", 0),
        about.get("flowcraft.attempt", 0),
    )


def _line(span: Told) -> str:
    about = span.attributes
    number = about.get("flowcraft.attempt")
    item = about.get("flowcraft.item")
    words = [
        span.name,
        "" if item is None else f"[{item}]",
        "" if number is None else f"#{number}",
        str(about.get("flowcraft.outcome", about.get("flowcraft.status", ""))),
    ]
    return " ".join(word for word in words if word)
