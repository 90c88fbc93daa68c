"""Traces and metrics by way of OpenTelemetry: the API package, and whatever SDK there is.

```python
telemetry = OpenTelemetryTelemetry()
adapter = SqsAdapter(runtime.options, telemetry=telemetry, …)
```

Spans have ids that follow from the run (``engine/tracing.py``), which the API knows nothing of: an
id is what the tracer's generator says. The tracer that this module asks for is its own, and is
given a generator that says the wanted ids where there are any. That works with the SDK of
OpenTelemetry, and with any tracer that has an ``id_generator``. Others give ids of their own: spans
of a run are in one trace even so, but their parents are not found.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any, Final

try:
    from opentelemetry import metrics, trace
    from opentelemetry.context import Context
    from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode
except ImportError as missing:
    raise ImportError(
        "flowcraft.otel needs the package opentelemetry-api: pip install 'flowcraft-sqs[otel]'. To "
        "send anything anywhere, an SDK and an exporter are needed too."
    ) from missing

from flowcraft.ports.telemetry import (
    UP_AND_DOWN,
    Attributes,
    Span,
    SpanAddress,
    SpanStart,
)

__all__ = ["OpenTelemetryTelemetry"]

NAME: Final = "flowcraft"

BOUNDARIES: Final = tuple(
    scale * step for scale in (0.001, 0.01, 0.1, 1.0, 10.0, 100.0, 1000.0) for step in (1, 2.5, 5)
)
"""Of histograms, in seconds; those that the SDK has of its own are meant for milliseconds."""

_UNITS: Final = {
    "flowcraft.jobs.received": "{message}",
    "flowcraft.jobs.handled": "{message}",
    "flowcraft.jobs.exhausted": "{message}",
    "flowcraft.jobs.in_flight": "{message}",
    "flowcraft.runs.finished": "{run}",
    "flowcraft.runs.stalled": "{run}",
    "flowcraft.aws.requests": "{request}",
}

_WANTED: ContextVar[SpanAddress | None] = ContextVar("flowcraft_span_ids", default=None)


class _Ids:
    """Says the ids that are wanted, and others where none are."""

    def __init__(self, others: Any) -> None:
        self._others = others

    def generate_trace_id(self) -> int:
        """The id of a new trace."""
        wanted = _WANTED.get()
        found: int = self._others.generate_trace_id() if wanted is None else wanted.trace_id
        return found

    def generate_span_id(self) -> int:
        """The id of a new span."""
        wanted = _WANTED.get()
        found: int = self._others.generate_span_id() if wanted is None else wanted.span_id
        return found

    def is_trace_id_random(self) -> bool:
        """Whether the bits of a trace id are spread evenly: those of a digest are."""
        return True


class OpenTelemetryTelemetry:
    """Tells OpenTelemetry of traces and metrics; give it to an adapter, or a client.

    A run is one trace, whatever processes work on it; ``docs/telemetry.md`` tells what is in it,
    and which metrics there are.

    Args:
        tracer_provider: Whose tracer to use; by default the one that is set globally, once it is.
        meter_provider: The same for metrics.
    """

    def __init__(self, *, tracer_provider: Any = None, meter_provider: Any = None) -> None:
        self._tracer_provider: trace.TracerProvider | None = tracer_provider
        self._meter_provider: metrics.MeterProvider | None = meter_provider
        self._tracer: trace.Tracer | None = None
        self._has_ids = False
        self._instruments: dict[str, Any] = {}

    # -- metrics ----------------------------------------------------------------------------

    def count(self, name: str, amount: int, attributes: Attributes) -> None:
        """Add to a counter."""
        instrument = self._instruments.get(name)
        if instrument is None:
            meter, unit = self._meter(), _UNITS.get(name, "1")
            make = meter.create_up_down_counter if name in UP_AND_DOWN else meter.create_counter
            instrument = self._instruments[name] = make(name, unit=unit)
        instrument.add(amount, dict(attributes))

    def record(self, name: str, seconds: float, attributes: Attributes) -> None:
        """Take a duration into a histogram."""
        instrument = self._instruments.get(name)
        if instrument is None:
            make = self._meter().create_histogram
            more: dict[str, Any] = {}
            if "explicit_bucket_boundaries_advisory" in inspect.signature(make).parameters:
                more["explicit_bucket_boundaries_advisory"] = BOUNDARIES
            instrument = self._instruments[name] = make(name, unit="s", **more)
        instrument.record(seconds, dict(attributes))

    def _meter(self) -> metrics.Meter:
        # A meter of the global provider is good before that is set: it passes on what it is told.
        return metrics.get_meter(NAME, meter_provider=self._meter_provider)

    # -- traces -----------------------------------------------------------------------------

    def span(self, name: str, attributes: Attributes) -> AbstractContextManager[Span]:
        """A span inside the current one."""
        return self._of_runs().start_as_current_span(name, attributes=dict(attributes))

    def open_span(self, start: SpanStart) -> _Open:
        """Begin a span with the ids that it is given."""
        tracer = self._of_runs()
        above = start.parent
        if above is None and not self._has_ids:
            above = start.address  # the trace at least is to be the same
        with _wanting(start.address):
            span = tracer.start_span(
                start.name,
                context=Context() if above is None else _inside(above),
                kind=SpanKind.INTERNAL,
                attributes=dict(start.attributes),
                links=[
                    trace.Link(_context_of(each.address), {"flowcraft.link": each.kind})
                    for each in start.links
                ],
                start_time=_nanoseconds(start.started_at),
            )
        return _Open(span)

    def caller(self) -> SpanAddress | None:
        """The span that the calling code is in, if it is in one."""
        found = trace.get_current_span().get_span_context()
        if not found.is_valid:
            return None
        return SpanAddress(found.trace_id, found.span_id, found.trace_flags.sampled)

    def samples(self, root: SpanStart) -> bool:
        """Whether a trace with this root is kept, as far as the tracer lets that be known."""
        sampler = getattr(self._of_runs(), "sampler", None)
        if sampler is None:
            return True
        said = sampler.should_sample(Context(), root.address.trace_id, root.name)
        return bool(said.decision.is_sampled())

    def flush(self) -> None:
        """Have providers export what they keep; it may take as long as that takes."""
        for provider in (
            self._tracer_provider or trace.get_tracer_provider(),
            self._meter_provider or metrics.get_meter_provider(),
        ):
            flush = getattr(provider, "force_flush", None)
            if flush is not None:
                flush()

    def _of_runs(self) -> trace.Tracer:
        """The tracer of runs; looked for again as long as no provider is set."""
        if self._tracer is not None:
            return self._tracer
        provider = self._tracer_provider or trace.get_tracer_provider()
        tracer = provider.get_tracer(NAME)
        if isinstance(provider, trace.ProxyTracerProvider):
            return tracer
        others = getattr(tracer, "id_generator", None)
        if others is not None and not isinstance(others, _Ids):
            vars(tracer)["id_generator"] = _Ids(others)
        self._has_ids = others is not None
        self._tracer = tracer
        return tracer


class _Open:
    """A span under way."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def current(self) -> AbstractContextManager[object]:
        """Makes it the span that what is done inside belongs to."""
        return trace.use_span(self._span, record_exception=False, set_status_on_exception=False)

    def end(self, attributes: Attributes, error: tuple[str, str] | None, ended_at: float) -> None:
        """It is over."""
        span = self._span
        span.set_attributes(dict(attributes))
        if error is not None:
            kind, message = error
            span.set_attribute("error.type", kind)
            span.set_status(Status(StatusCode.ERROR, message or kind))
            about = {"exception.type": kind, "exception.message": message}
            span.add_event("exception", about, _nanoseconds(ended_at))
        span.end(_nanoseconds(ended_at))


@contextmanager
def _wanting(address: SpanAddress) -> Iterator[None]:
    token = _WANTED.set(address)
    try:
        yield
    finally:
        _WANTED.reset(token)


def _context_of(address: SpanAddress) -> SpanContext:
    flags = trace.TraceFlags(trace.TraceFlags.SAMPLED if address.sampled else 0)
    return SpanContext(address.trace_id, address.span_id, is_remote=True, trace_flags=flags)


def _inside(address: SpanAddress) -> Context:
    return trace.set_span_in_context(NonRecordingSpan(_context_of(address)), Context())


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)
