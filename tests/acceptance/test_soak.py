"""Days of traffic in virtual time; long ones are run by hand, as docs/simulation.md says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from flowcraft.ports.queue import Outgoing
from flowcraft.testing.simulate.backends import MemoryBackend
from flowcraft.testing.simulate.named import backend_named
from flowcraft.testing.simulate.soak import soak
from flowcraft.testing.simulate.soak.__main__ import main


@pytest.mark.parametrize(("backend", "runs"), [("memory", 80), ("aws", 40)])
def test_half_a_day_of_traffic_loses_nothing(backend: str, runs: int) -> None:
    """Workers die, stall and are replaced by other versions; each run comes to what it has to."""
    report = soak(runs, 0.5, 3, backend_named(backend))
    assert report.problems == []
    assert sum(report.ended.values()) == runs
    assert report.deploys >= 1
    assert report.deaths >= 1


class Queue:
    """A queue that loses whatever is sent after some messages."""

    def __init__(self, queue: Any) -> None:
        self._queue = queue
        self._left = 60

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)

    async def send(self, messages: Sequence[Outgoing]) -> None:
        """Send messages, or not."""
        self._left -= len(messages)
        if self._left > 0:
            await self._queue.send(messages)


class Forgetful(MemoryBackend):
    """Messages that are sent are lost from some time on."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._ports = self._ports._replace(queue=Queue(self._ports.queue))


def test_a_soak_notices_what_is_lost() -> None:
    """Where messages are lost, and those that are sent in their place, runs do not end."""
    report = soak(30, 0.1, 3, Forgetful)
    assert not report.ok
    assert any("hours" in each for each in report.problems)


def test_the_command_tells_what_came_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    """Its last line has the numbers, and it succeeds if nothing was wrong."""
    assert main(["--runs", "5", "--days", "0.1", "--seed", "4"]) == 0
    assert "5 runs in 0.1 days" in capsys.readouterr().out.splitlines()[-1]


def test_an_unknown_backend_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """A backend that is not there is named, with those that are."""
    with pytest.raises(SystemExit) as ended:
        main(["--backend", "paper"])
    assert ended.value.code == 2
    assert "no backend 'paper'" in capsys.readouterr().err
