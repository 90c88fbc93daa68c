"""Numbers and spans for whoever operates workers, in the terms of OpenTelemetry."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

Attributes = Mapping[str, str | int]
"""What a number or a span is about."""

UP_AND_DOWN: Final = frozenset({"flowcraft.jobs.in_flight"})
"""Counters that go down, too: what they are given may be negative."""

_TRACEPARENT: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED: Final = 1


class Span(Protocol):
    """A stretch of work under way; the span of an OpenTelemetry tracer is one."""

    def set_attribute(self, key: str, value: str | int, /) -> object:
        """Say more about it."""


class Telemetry(Protocol):
    """Where numbers and spans go.

    A name always comes with the same method and the same keys of attributes. Calls come from
    the event loop, some from other threads, and must not block; what they raise is logged and goes
    no further. One that has ``flush()`` is asked, in a thread, to hand on what it keeps: when a
    worker ends, and at the end of each call of a function of AWS Lambda.
    """

    def count(self, name: str, amount: int, attributes: Attributes) -> None:
        """Add to a counter: ``Counter.add`` of OpenTelemetry.

        Of the counters in :data:`UP_AND_DOWN` the amount may be negative.
        """

    def record(self, name: str, seconds: float, attributes: Attributes) -> None:
        """Take a duration into a histogram, in seconds: ``Histogram.record``."""

    def span(self, name: str, attributes: Attributes) -> AbstractContextManager[Span]:
        """A span that lasts as long as it is entered: ``Tracer.start_as_current_span``.

        A telemetry that traces (:class:`Tracing`) is not asked for it.
        """
        ...


# --- traces over many processes --------------------------------------------------------------


class SpanAddress(NamedTuple):
    """Where a span is to be found, and how other processes name it (W3C Trace Context).

    Attributes:
        trace_id: Its trace: 128 bits, not 0.
        span_id: 64 bits, not 0.
        sampled: Whether the trace is kept.
    """

    trace_id: int
    span_id: int
    sampled: bool = True

    @property
    def traceparent(self) -> str:
        """The same as a ``traceparent``: 55 characters."""
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{int(self.sampled):02x}"

    @classmethod
    def read(cls, text: object) -> SpanAddress | None:
        """The address that a ``traceparent`` is; ``None`` where it is none.

        Versions to come may have more behind it (W3C Trace Context, "Versioning of traceparent").
        """
        found = _TRACEPARENT.fullmatch(text) if isinstance(text, str) else None
        if found is None:
            return None
        version, trace_id, span_id, flags, more = found.groups()
        if version == "ff" or (version == "00" and more):
            return None
        address = cls(int(trace_id, 16), int(span_id, 16), bool(int(flags, 16) & _SAMPLED))
        return address if address.trace_id and address.span_id else None


class Link(NamedTuple):
    """Another span that one has to do with, and how: ``retry``, ``cause`` or ``caller``."""

    address: SpanAddress
    kind: str


@dataclass(frozen=True, slots=True)
class SpanStart:
    """A span that begins.

    Attributes:
        name: Its name.
        address: Its ids: the same in whatever process the span is told.
        parent: The span around it; ``None`` for the root of a trace.
        attributes: What it is about.
        links: Other spans that it has to do with.
        started_at: When it began, in seconds since the epoch.
    """

    name: str
    address: SpanAddress
    parent: SpanAddress | None
    attributes: Attributes
    links: tuple[Link, ...] = ()
    started_at: float = 0.0


class OpenSpan(Protocol):
    """A span under way. One that is never ended is nowhere to be seen."""

    def current(self) -> AbstractContextManager[object]:
        """Makes it the span that what is done inside belongs to."""
        ...

    def end(self, attributes: Attributes, error: tuple[str, str] | None, ended_at: float) -> None:
        """It is over.

        Args:
            attributes: How it went.
            error: Why it failed: the type of the error, and what it says, if that may be told.
            ended_at: When, in seconds since the epoch.
        """


class Tracing(Telemetry, Protocol):
    """A telemetry that can place spans of many processes in one trace."""

    def open_span(self, start: SpanStart) -> OpenSpan:
        """Begin a span with the ids that it is given."""
        ...

    def caller(self) -> SpanAddress | None:
        """The span that the calling code is in, if it is in one."""
        ...

    def samples(self, root: SpanStart) -> bool:
        """Whether a trace with this root is kept."""
        ...
