"""Scenarios played in several processes of this machine at once."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from typing import Any

from flowcraft.adapters.system import SystemClock
from flowcraft.testing.simulate.campaign import Report, Violation, run_all
from flowcraft.testing.simulate.named import backend_named, replay_with, stories_named
from flowcraft.testing.simulate.scenario import Scenario

CHUNK = 50


def run_in_jobs(
    flows: Sequence[str],
    backend: str,
    scenarios: Iterable[Scenario],
    jobs: int,
    on_violation: Callable[[Violation], None] = lambda _: None,
) -> Report:
    """Play scenarios, so many at a time.

    Args:
        flows: Workflows of one's own, as the command names them.
        backend: The name of the place for runs and messages.
        scenarios: What happens.
        jobs: How many processes.
        on_violation: Is told what is wrong.
    """
    clock = SystemClock()
    began, total = clock.now(), Report()
    if jobs == 1:
        reports: Iterator[Report] = (
            _run_chunk(flows, backend, chunk) for chunk in _chunks(scenarios)
        )
        _gather(total, reports, on_violation)
    else:
        # A fresh interpreter each: one that is forked would have threads that do not run.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(jobs, context, _end_with_parent) as pool:
            futures = [pool.submit(_run_chunk, flows, backend, each) for each in _chunks(scenarios)]
            _gather(total, (future.result() for future in futures), on_violation)
    total.seconds = clock.now() - began
    return total


def _end_with_parent() -> None:
    """Have a process of the pool end when the command is killed, instead of waiting for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent,), daemon=True).start()


def _follow(parent: Any) -> None:
    parent.join()
    os._exit(1)


def _gather(
    total: Report, reports: Iterator[Report], on_violation: Callable[[Violation], None]
) -> None:
    for report in reports:
        before = len(total.violations)
        total.merge(report)
        for violation in total.violations[before:]:
            on_violation(violation)


def _chunks(scenarios: Iterable[Scenario]) -> Iterator[list[Scenario]]:
    iterator = iter(scenarios)
    while chunk := list(islice(iterator, CHUNK)):
        yield chunk


def _run_chunk(flows: Sequence[str], backend: str, scenarios: Sequence[Scenario]) -> Report:
    return run_all(
        stories_named(flows),
        scenarios,
        backend_named(backend),
        replay_of=replay_with(flows, backend),
    )
