"""Metrics for CloudWatch as lines of the log: the embedded metric format.

CloudWatch Logs makes metrics of them, whether a function of Lambda prints them or an agent
collects them from a container. Nothing is sent from here, so nothing of AWS is needed.

What is told is gathered, and written once a minute: one line for each blueprint, operation and so
on, and none for what nothing was told of. A line holds what the "Specification: Embedded metric
format" of the CloudWatch user guide allows: at most 100 metrics, 30 dimensions in a set, 100 values
for a metric, 1,024 characters in the value of a dimension.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, NamedTuple, Protocol

from flowcraft.adapters.system import SystemClock
from flowcraft.ports.clock import Clock
from flowcraft.ports.telemetry import UP_AND_DOWN, Attributes, Span

__all__ = ["NAMESPACE", "EmfTelemetry"]

logger = logging.getLogger("flowcraft")

NAMESPACE: Final = "Flowcraft"

FLEET: Final = "Fleet"
"""The dimension that tells the fleets of an account apart: its value is the prefix of the names of
their resources. Settings add it; alarms and dashboards of templates look for it."""

INTERVAL_SECONDS: Final = 60.0
"""CloudWatch keeps metrics by the minute, unless they are paid for by the second."""

MOST_METRICS: Final = 100
MOST_VALUES: Final = 100
MOST_DIMENSIONS: Final = 30
MOST_CHARACTERS: Final = 1_024

KEPT_VALUES: Final = 1_000
"""Of more values of one metric in an interval every second one is left out, and so on."""

MOST_SERIES: Final = 500
"""Each blueprint, node and so on is a metric of its own that is paid for. What there is more of in
a process is counted under :data:`OTHERS`."""

OTHERS: Final = "(others)"


class Shown(NamedTuple):
    """How a metric is shown.

    Attributes:
        name: Its name in CloudWatch.
        unit: Its unit there.
        by: The attributes that it is split by: there is the sum of all, one for each value of the
            first, one for each pair of the first and the second, and so on.
    """

    name: str
    unit: str = "Count"
    by: tuple[str, ...] = ("blueprint",)


METRICS: Final[Mapping[str, Shown]] = {
    "flowcraft.jobs.received": Shown("JobsReceived", by=()),
    "flowcraft.jobs.handled": Shown("JobsHandled", by=("outcome",)),
    "flowcraft.jobs.exhausted": Shown("DeadLetters", by=()),
    "flowcraft.jobs.in_flight": Shown("JobsInFlight", by=()),
    "flowcraft.jobs.queue_age": Shown("QueueAge", "Seconds"),
    "flowcraft.attempt.duration": Shown("AttemptDuration", "Seconds"),
    "flowcraft.attempt.failures": Shown("AttemptFailures", by=("blueprint", "error")),
    "flowcraft.node.duration": Shown("NodeDuration", "Seconds"),
    "flowcraft.node.failures": Shown("NodeFailures", by=("blueprint", "error")),
    "flowcraft.batch.items.started": Shown("BatchItemsStarted"),
    "flowcraft.batch.items.settled": Shown("BatchItemsSettled", by=("blueprint", "outcome")),
    "flowcraft.commits": Shown("Commits", by=("verdict",)),
    "flowcraft.runs.finished": Shown("RunsFinished", by=("blueprint", "status")),
    "flowcraft.runs.duration": Shown("RunDuration", "Seconds"),
    "flowcraft.runs.stalled": Shown("StalledRuns", by=()),
    "flowcraft.leases.lost": Shown("LeasesLost", by=()),
    "flowcraft.leases.taken_over": Shown("LeasesTakenOver", by=()),
    "flowcraft.reconciler.resends": Shown("MessagesResent", by=()),
    "flowcraft.port.retries": Shown("PortRetries", by=("port",)),
    "flowcraft.aws.requests": Shown("AwsRequests", by=("service", "operation")),
}
"""What is told by which name; what is not among these is not shown."""

ATTEMPTS: Final = Shown("Attempts")
"""How many attempts there were: what is left out of many durations is counted here."""


class Stream(Protocol):
    """Where lines go."""

    def write(self, text: str, /) -> object:
        """Write some text."""

    def flush(self) -> object:
        """Have it go on its way."""


Labels = tuple[tuple[str, str], ...]
"""The values of dimensions, by their names; in order."""


class _Values:
    """Durations of an interval, thinned out where there are very many."""

    __slots__ = ("_seen", "_stride", "kept")

    def __init__(self) -> None:
        self.kept: list[float] = []
        self._stride, self._seen = 1, 0

    def add(self, value: float) -> None:
        if self._seen % self._stride == 0:
            self.kept.append(value)
        self._seen += 1
        if len(self.kept) >= KEPT_VALUES:
            self.kept = self.kept[::2]
            self._stride *= 2


class EmfTelemetry:
    """Writes metrics as lines of CloudWatch's embedded metric format; give it to an adapter.

    Traces are none of it. In a function of AWS Lambda the metrics of a call are written at its end.

    Args:
        stream: Where the lines go; standard output by default.
        namespace: The namespace of the metrics. Alarms look for them there.
        dimensions: More of them, which all metrics have: an environment's name, say.
        by_node: Whether durations, failures and batches are split by node, too. Each node is
            then some metrics of its own, which are paid for.
        interval_seconds: How long metrics are gathered, by a thread that then writes them;
            ``None`` to write them only when :meth:`flush` is called.
        clock: The time.

    Raises:
        ValueError: There are too many dimensions, one has no name or no value, or the interval is
            not positive.
    """

    def __init__(
        self,
        stream: Stream | None = None,
        *,
        namespace: str = NAMESPACE,
        dimensions: Mapping[str, str] | None = None,
        by_node: bool = False,
        interval_seconds: float | None = INTERVAL_SECONDS,
        clock: Clock | None = None,
    ) -> None:
        if interval_seconds is not None and not interval_seconds > 0:
            raise ValueError(f"interval_seconds is more than 0, not {interval_seconds!r}.")
        self._stream = stream
        self._namespace = _checked("namespace", namespace)
        self._fixed = _fixed(dimensions or {})
        self._by_node = by_node
        self._interval_seconds = interval_seconds
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._series: set[Labels] = set()
        self._sums: dict[tuple[Labels, Shown], int] = {}
        self._levels: dict[tuple[Labels, Shown], int] = {}
        self._peaks: dict[tuple[Labels, Shown], int] = {}
        self._durations: dict[tuple[Labels, Shown], _Values] = {}
        self._thread: threading.Thread | None = None

    # -- gathering --------------------------------------------------------------------------

    def count(self, name: str, amount: int, attributes: Attributes) -> None:
        """Add to a counter."""
        shown = METRICS.get(name)
        if shown is None:
            return
        with self._lock:
            place = self._labels(shown, attributes), shown
            if name in UP_AND_DOWN:
                level = self._levels[place] = self._levels.get(place, 0) + amount
                self._peaks[place] = max(level, self._peaks.get(place, 0))
            else:
                self._sums[place] = self._sums.get(place, 0) + amount
        self._begin()

    def record(self, name: str, seconds: float, attributes: Attributes) -> None:
        """Take a duration."""
        shown = METRICS.get(name)
        if shown is None:
            return
        with self._lock:
            labels = self._labels(shown, attributes)
            self._durations.setdefault((labels, shown), _Values()).add(seconds)
            if name == "flowcraft.attempt.duration":
                self._sums[labels, ATTEMPTS] = self._sums.get((labels, ATTEMPTS), 0) + 1
        self._begin()

    def span(self, name: str, attributes: Attributes) -> AbstractContextManager[Span]:
        """Nothing: traces are not for CloudWatch's metrics."""
        del name, attributes
        return nullcontext(_NoSpan())

    def _labels(self, shown: Shown, attributes: Attributes) -> Labels:
        wanted = (*shown.by, *(("node",) if self._by_node else ()))
        labels = tuple(
            (_dimension(name), str(attributes[name])[:MOST_CHARACTERS] or "(none)")
            for name in wanted
            if name in attributes
        )
        if labels in self._series or not labels:
            return labels
        if len(self._series) >= MOST_SERIES:
            return tuple((name, OTHERS) for name, _ in labels)
        self._series.add(labels)
        return labels

    def _begin(self) -> None:
        """Start the thread that writes, when there is something to write for the first time."""
        if self._thread is not None or self._interval_seconds is None:
            return
        with self._lock:
            if self._thread is None:
                name = "flowcraft-metrics"
                self._thread = threading.Thread(target=self._write_on, name=name, daemon=True)
                self._thread.start()

    def _write_on(self) -> None:
        never, told = threading.Event(), False
        while not never.wait(self._interval_seconds):
            try:
                self.flush()
            except Exception:
                # The stream may be of use again; what was to be written is lost.
                if not told:
                    logger.exception("Metrics could not be written; it is not logged again")
                told = True

    # -- writing ----------------------------------------------------------------------------

    def flush(self) -> None:
        """Write what was gathered, and begin anew; nothing where there is nothing."""
        with self._writing:
            lines = [json.dumps(each, separators=(",", ":")) for each in self._documents()]
            if lines:
                stream = self._stream or sys.stdout
                stream.write("".join(f"{line}\n" for line in lines))
                stream.flush()

    def _documents(self) -> Iterator[dict[str, Any]]:
        with self._lock:
            sums, self._sums = self._sums, {}
            durations, self._durations = self._durations, {}
            peaks = self._peaks
            # What is in flight now is so in the next interval as well, whatever happens there.
            self._peaks = {place: level for place, level in self._levels.items() if level}
        found: dict[Labels, list[tuple[Shown, Any]]] = {}
        for (labels, shown), value in (*sums.items(), *peaks.items()):
            found.setdefault(labels, []).append((shown, value))
        for (labels, shown), values in durations.items():
            for part in _cut(values.kept, MOST_VALUES):
                found.setdefault(labels, []).append((shown, part))
        timestamp = round(self._clock.now() * 1000)
        for labels, told in found.items():
            for document in _apart(told):
                yield self._document(timestamp, labels, document)

    def _document(
        self, timestamp: int, labels: Labels, told: list[tuple[Shown, Any]]
    ) -> dict[str, Any]:
        fixed, names = [name for name, _ in self._fixed], [name for name, _ in labels]
        sets = [[*fixed, *names[:count]] for count in range(len(names) + 1)]
        metrics = [{"Name": shown.name, "Unit": shown.unit} for shown, _ in told]
        directive = {"Namespace": self._namespace, "Dimensions": sets, "Metrics": metrics}
        return {
            "_aws": {"Timestamp": timestamp, "CloudWatchMetrics": [directive]},
            **dict(self._fixed),
            **dict(labels),
            **{shown.name: value for shown, value in told},
        }


class _NoSpan:
    """A span that nobody sees."""

    def set_attribute(self, key: str, value: str | int, /) -> None:
        """Say more about it."""


def _dimension(attribute: str) -> str:
    return attribute.capitalize()


def _cut(values: list[float], most: int) -> Iterator[list[float]]:
    for first in range(0, len(values), most):
        yield values[first : first + most]


def _apart(told: list[tuple[Shown, Any]]) -> Iterator[list[tuple[Shown, Any]]]:
    """What goes into one document each: no metric twice, and not more than it may hold."""
    documents: list[dict[str, tuple[Shown, Any]]] = []
    for shown, value in told:
        for document in documents:
            if shown.name not in document and len(document) < MOST_METRICS:
                break
        else:
            document = {}
            documents.append(document)
        document[shown.name] = (shown, value)
    for document in documents:
        yield list(document.values())


def _checked(what: str, text: object) -> str:
    if not isinstance(text, str) or not text.strip() or len(text) > MOST_CHARACTERS:
        raise ValueError(
            f"{what} is a text of 1 to {MOST_CHARACTERS} characters, not {text!r:.60}."
        )
    return text


def _fixed(dimensions: Mapping[str, str]) -> Labels:
    most = MOST_DIMENSIONS - max(len(each.by) + 1 for each in METRICS.values())
    if len(dimensions) > most:
        raise ValueError(f"dimensions are {most} at most, not {len(dimensions)}.")
    own = {_dimension(name) for each in METRICS.values() for name in (*each.by, "node")}
    own |= {"_aws", ATTEMPTS.name, *(each.name for each in METRICS.values())}
    for name in dimensions:
        _checked("The name of a dimension", name)
        if name in own or name.startswith(":"):
            raise ValueError(f"'{name}' cannot be the name of a further dimension.")
        _checked(f"The dimension '{name}'", dimensions[name])
    return tuple(dimensions.items())
