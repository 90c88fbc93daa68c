"""Numbers and spans for whoever operates workers, in the terms of OpenTelemetry."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Protocol

Attributes = Mapping[str, str | int]
"""What a number or a span is about."""


class Span(Protocol):
    """A stretch of work under way; the span of an OpenTelemetry tracer is one."""

    def set_attribute(self, key: str, value: str | int, /) -> object:
        """Say more about it."""


class Telemetry(Protocol):
    """Where numbers and spans go.

    A name always comes with the same method and the same keys of attributes. Calls come from
    the event loop, and must not block it; what they raise is logged and goes no further.
    """

    def count(self, name: str, amount: int, attributes: Attributes) -> None:
        """Add to a counter: ``Counter.add`` of OpenTelemetry."""

    def record(self, name: str, seconds: float, attributes: Attributes) -> None:
        """Take a duration into a histogram, in seconds: ``Histogram.record``."""

    def span(self, name: str, attributes: Attributes) -> AbstractContextManager[Span]:
        """A span that lasts as long as it is entered: ``Tracer.start_as_current_span``."""
        ...
