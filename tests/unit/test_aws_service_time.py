"""The time of the service is learned from the dates of its answers."""

from __future__ import annotations

import logging
from email.utils import formatdate

import pytest

from flowcraft.adapters.aws.service_time import ServiceTime, Timed
from flowcraft.adapters.aws.transport import Answer, Request
from flowcraft.testing import VirtualClock
from tests.unit.runs import drive


class Distant:
    """A service whose clock is ahead, and whose answers take a while, half of it each way."""

    def __init__(self, machine: VirtualClock, ahead: float, latency: float = 0.1) -> None:
        self.machine = machine
        self.ahead = ahead
        self.latency = latency

    def now(self) -> float:
        return self.machine.now() + self.ahead

    async def call(self, operation: str, request: Request) -> Answer:
        self.machine.advance(self.latency / 2)
        date = formatdate(self.now(), usegmt=True)
        self.machine.advance(self.latency / 2)
        return {"ResponseMetadata": {"HTTPHeaders": {"date": date}}}


def learned(ahead: float, latency: float = 0.1, answers: int = 1, step: float = 0.0) -> float:
    """How far the service is taken to be ahead after some answers."""
    machine = VirtualClock(1_700_000_000.4)
    time = ServiceTime(machine)
    service = Distant(machine, ahead, latency)

    async def story() -> None:
        for _ in range(answers):
            await Timed(service, time).call("GetItem", {})
            machine.advance(step)

    drive(story())
    assert time.now() == machine.now() + time.offset_seconds
    return time.offset_seconds


@pytest.mark.parametrize("ahead", [-2.0, -1.0, -0.3, 0.0, 0.5, 1.5, 2.0])
@pytest.mark.parametrize("latency", [0.0, 0.1, 3.0, 30.0])
def test_what_dates_and_latency_explain_is_no_difference(ahead: float, latency: float) -> None:
    """Clocks that agree to two seconds are left alone, whatever the answers take."""
    assert learned(ahead, latency, answers=20, step=0.37) == 0.0


@pytest.mark.parametrize("ahead", [-86_400.0, -300.0, -5.0, 5.0, 61.7, 3600.0])
def test_a_clock_that_is_off_is_put_right(ahead: float) -> None:
    """One answer is enough to come within a second of the service's time."""
    assert learned(ahead) == pytest.approx(ahead, abs=0.6)
    assert learned(ahead, latency=1.0) == pytest.approx(ahead, abs=1.1)


def test_a_long_poll_says_little() -> None:
    """An answer that took 20 s may be dated anywhere in them: it changes no time by mistake."""
    machine = VirtualClock()
    time = ServiceTime(machine)
    now = machine.now()
    for dated in (now, now + 10, now + 20):
        time.learn(formatdate(dated, usegmt=True), now, now + 20)
        assert time.offset_seconds == 0.0
    time.learn(formatdate(now + 100, usegmt=True), now, now + 20)
    assert time.offset_seconds == pytest.approx(90.5)
    time.learn(formatdate(now + 90, usegmt=True), now, now + 0.1)
    assert time.offset_seconds == pytest.approx(90.5)


@pytest.mark.parametrize("date", ["", "yesterday", "Thu, 99 Jan 2024 00:00:00 GMT"])
def test_a_date_that_cannot_be_read_changes_nothing(date: str) -> None:
    """Whatever stands in the place of a date does no harm."""
    time = ServiceTime(VirtualClock())
    time.learn(date, 0.0, 0.1)
    assert time.offset_seconds == 0.0


def test_a_clock_that_was_set_meanwhile_says_nothing() -> None:
    """An answer that was there before it was asked for is left out of account."""
    time = ServiceTime(VirtualClock())
    time.learn(formatdate(1_800_000_000, usegmt=True), 1_700_000_001, 1_700_000_000)
    assert time.offset_seconds == 0.0


def test_answers_without_a_date_change_nothing() -> None:
    """A transport that tells no dates leaves the machine's time as it is."""

    class Silent:
        async def call(self, operation: str, request: Request) -> Answer:
            return {"Item": {}}

    time = ServiceTime(VirtualClock())
    assert drive(Timed(Silent(), time).call("GetItem", {})) == {"Item": {}}
    assert time.offset_seconds == 0.0


def test_calls_are_made_in_the_service_s_time() -> None:
    """A call is arranged by the service's time, and never made before it, to the last digit."""
    machine = VirtualClock(1_700_000_000.123457)
    time = ServiceTime(machine)
    # Far enough off for sums to be rounded.
    time.learn(formatdate(4e6, usegmt=True), machine.now(), machine.now() + 0.1)
    seen: list[float] = []
    dues = [time.now() + 0.1 * number for number in range(1, 40)]
    for due in dues:
        time.call_at(due, lambda: seen.append(time.now()))
    cancelled = time.call_at(dues[0], lambda: seen.append(0.0))
    cancelled.cancel()
    machine.advance(4)
    assert len(seen) == len(dues)
    assert all(due <= now < due + 1e-3 for due, now in zip(dues, seen, strict=True))


@pytest.mark.parametrize("beyond", [0.1234, 0.35 + 2.4e-7, 0.447 + 2.4e-7, 2.4e-7, 0.25, 1e-9])
def test_a_call_between_two_milliseconds_is_made_once(beyond: float) -> None:
    """The time goes by milliseconds: what is due in between is called at the next one."""
    machine = VirtualClock(1_700_000_000.4)
    time = ServiceTime(machine)
    when = time.now() + beyond
    called: list[float] = []
    time.call_at(when, lambda: called.append(time.now()))
    for _ in range(3):
        due = machine.next_due
        if due is not None:
            machine.advance_to(max(due, machine.now()))
    assert len(called) == 1
    assert when <= called[0] <= when + 0.0011


def test_a_call_waits_when_the_time_goes_back() -> None:
    """Where the time turns out to be earlier, a call that was arranged is made later."""
    machine = VirtualClock()
    time = ServiceTime(machine)
    seen: list[float] = []
    due = time.now() + 10
    time.call_at(due, lambda: seen.append(machine.now()))
    time.learn(formatdate(machine.now() - 100, usegmt=True), machine.now(), machine.now())
    machine.advance(10)
    assert seen == []
    machine.advance(200)
    assert seen == [pytest.approx(due + 99.5, abs=0.6)]


def test_a_large_difference_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """A machine whose clock is minutes off is worth a warning, not one for each answer."""
    with caplog.at_level(logging.WARNING, "flowcraft"):
        learned(-400.0, answers=5)
        learned(10.0, answers=5)
    (record,) = caplog.records
    assert "differs from that of AWS by 400 s" in record.getMessage()
