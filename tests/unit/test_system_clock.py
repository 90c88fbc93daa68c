"""Timers of the machine's clock."""

from __future__ import annotations

import asyncio

import pytest

from flowcraft.adapters.system import SystemClock
from tests.unit.runs import drive, turns


@pytest.mark.parametrize("due_seconds_ago", [0.0, 1.0])
def test_a_timer_that_is_due_and_forgotten_is_not_called(due_seconds_ago: float) -> None:
    """Until its call is made a timer can be cancelled, also when its time has come.

    Otherwise a node that ends as its timeout comes has the next node of its runner stopped.
    """
    called: list[str] = []

    async def main() -> None:
        clock = SystemClock()
        timer = clock.call_at(clock.now() - due_seconds_ago, lambda: called.append("late"))
        clock.call_at(clock.now() - due_seconds_ago, lambda: called.append("kept"))
        timer.cancel()
        await turns(5)

    drive(main())
    assert called == ["kept"]


def test_a_timer_may_be_forgotten_by_what_it_calls() -> None:
    """Who is called and cancels the timer that called, as a node that ends does, is no problem."""
    called: list[str] = []

    async def main() -> None:
        clock = SystemClock()

        def call() -> None:
            called.append("once")
            timer.cancel()

        timer = clock.call_at(clock.now(), call)
        await turns(5)
        await asyncio.sleep(0)

    drive(main())
    assert called == ["once"]
