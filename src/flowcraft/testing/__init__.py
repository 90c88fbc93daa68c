"""Testing aids for users: virtual time, traces, single steps and stand-ins for nodes.

- :class:`TestEnvironment` runs workflows in virtual time: days pass in milliseconds.
- :func:`durable` gives it durable runs, and schedules.
- :class:`VirtualClock` is that time, for a runtime or a fake of one's own.
- :func:`run_with_trace` gives a run's :class:`Trace`: what happened, to be asserted on.
- :class:`Stepper` executes one node at a time, forwards and backwards.
- :class:`TelemetryRecorder` keeps the numbers and spans of a worker.
- :func:`fake_node` stands in for an implementation and records its calls.
"""

from flowcraft.testing.clock import VirtualClock
from flowcraft.testing.durable import durable
from flowcraft.testing.environment import RunHandle, TestEnvironment
from flowcraft.testing.fakes import FakeCall, FakeNode, fake_node
from flowcraft.testing.stepper import Stepper, StepTaken
from flowcraft.testing.telemetry import Measurement, RecordedSpan, TelemetryRecorder
from flowcraft.testing.trace import Trace, run_with_trace

__all__ = [
    "FakeCall",
    "FakeNode",
    "Measurement",
    "RecordedSpan",
    "RunHandle",
    "StepTaken",
    "Stepper",
    "TelemetryRecorder",
    "TestEnvironment",
    "Trace",
    "VirtualClock",
    "durable",
    "fake_node",
    "run_with_trace",
]
