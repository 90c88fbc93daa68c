"""A telemetry that keeps what it is told, for tests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from flowcraft.ports.telemetry import Attributes


class Measurement(NamedTuple):
    """A number that was told: an amount of a counter, or seconds of a histogram."""

    name: str
    value: float
    attributes: Mapping[str, str | int]


@dataclass(slots=True)
class RecordedSpan:
    """A span.

    Attributes:
        name: Its name.
        attributes: What was said about it.
        error: What was raised in it.
        is_over: Whether it has ended.
    """

    name: str
    attributes: dict[str, str | int] = field(default_factory=dict)
    error: BaseException | None = None
    is_over: bool = False

    def set_attribute(self, key: str, value: str | int, /) -> None:
        """Say more about it."""
        self.attributes[key] = value


class TelemetryRecorder:
    """Keeps numbers and spans; give it to an adapter as ``telemetry``.

    Attributes:
        counts: What counters were given, in order.
        durations: What histograms were given, in seconds, in order.
        spans: The spans, in the order in which they began.
    """

    def __init__(self) -> None:
        self.counts: list[Measurement] = []
        self.durations: list[Measurement] = []
        self.spans: list[RecordedSpan] = []

    def count(self, name: str, amount: int, attributes: Attributes) -> None:
        """Take an amount."""
        self.counts.append(Measurement(name, amount, dict(attributes)))

    def record(self, name: str, seconds: float, attributes: Attributes) -> None:
        """Take a duration."""
        self.durations.append(Measurement(name, seconds, dict(attributes)))

    @contextmanager
    def span(self, name: str, attributes: Attributes) -> Iterator[RecordedSpan]:
        """Take a span."""
        span = RecordedSpan(name, dict(attributes))
        self.spans.append(span)
        try:
            yield span
        except BaseException as error:
            span.error = error
            raise
        finally:
            span.is_over = True

    def total(self, name: str, **attributes: str | int) -> int:
        """The sum of what a counter was given, with these attributes and any others."""
        return int(sum(each.value for each in _matching(self.counts, name, attributes)))

    def seconds(self, name: str, **attributes: str | int) -> list[float]:
        """The durations that a histogram was given, with these attributes and any others."""
        return [each.value for each in _matching(self.durations, name, attributes)]


def _matching(
    measurements: list[Measurement], name: str, attributes: Attributes
) -> list[Measurement]:
    return [
        each
        for each in measurements
        if each.name == name and attributes.items() <= each.attributes.items()
    ]
