"""What excuses a body that runs again, in the eyes of the simulator."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from flowcraft.testing.simulate.census import Execution
from flowcraft.testing.simulate.faults import Harm
from flowcraft.testing.simulate.invariants import _bodies


def life(*harms: Harm) -> Any:
    """A process to which this happened."""
    return SimpleNamespace(harms=list(harms))


def problems(*executions: Execution) -> list[str]:
    """What is wrong where a body that is to run once ran like this."""
    truth = SimpleNamespace(bodies=Counter({"run:a": 1}))
    told = SimpleNamespace(story=SimpleNamespace(is_settled=True, truth=truth), attempts={})
    census = SimpleNamespace(executions=list(executions))
    world: Any = SimpleNamespace(told=told, census=census, starts=1)
    return [problem.invariant for problem in _bodies(world, is_given_up=False)]


def body(process: Any, attempt: int, at: float, ended_at: float | None) -> Execution:
    """A body of one node, attempt by attempt."""
    return Execution("run:a", "a", attempt, process, at, ended_at)


@pytest.mark.parametrize("harm", [Harm(75, 75), Harm(105, 205), Harm(135, 135)])
def test_what_happens_from_shortly_before_to_shortly_after_excuses_one_more(harm: Harm) -> None:
    """A process that was harmed around a body is a reason for another to run it once more."""
    assert problems(body(life(harm), 1, 100, 110), body(life(), 2, 300, 310)) == []


@pytest.mark.parametrize("harm", [Harm(10, 69), Harm(141, 141), Harm(5000, 5000)])
def test_what_happens_at_another_time_excuses_nothing(harm: Harm) -> None:
    """A body that had long ended, or not begun, when something happened may not run again."""
    assert problems(body(life(harm), 1, 100, 110), body(life(), 2, 300, 310)) == ["I7"]


def test_a_body_that_never_ended_is_excused_by_whatever_ended_its_process() -> None:
    """A process that dies hours after it began a long body is why that runs again."""
    assert problems(body(life(Harm(9e4, 9e4)), 1, 100, None), body(life(), 2, 1e5, 1e5)) == []


def test_one_thing_that_happens_excuses_one_more_and_not_ten() -> None:
    """Bodies run once, and once more for each thing that happened, whatever they are near to."""
    process = life(Harm(105, 105))
    again = [body(process, attempt, 100 + attempt, 101 + attempt) for attempt in range(1, 4)]
    assert problems(*again[:2]) == []
    assert problems(*again) == ["I7"]
