"""Scenarios played in several processes of this machine at once."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import islice
from typing import Any

from flowcraft.adapters.system import SystemClock
from flowcraft.testing.simulate.campaign import Report, Violation, run_all
from flowcraft.testing.simulate.interrupt import Stop, unnoticed
from flowcraft.testing.simulate.named import backend_named, replay_with, stories_named
from flowcraft.testing.simulate.scenario import Scenario

CHUNK = 50


def run_in_jobs(
    flows: Sequence[str],
    backend: str,
    scenarios: Iterable[Scenario],
    jobs: int,
    on_violation: Callable[[Violation], None] = lambda _: None,
    *,
    on_progress: Callable[[Report], None] = lambda _: None,
    stop: Stop | None = None,
) -> Report:
    """Play scenarios, so many at a time.

    Args:
        flows: Workflows of one's own, as the command names them.
        backend: The name of the place for runs and messages.
        scenarios: What happens.
        jobs: How many processes.
        on_violation: Is told what is wrong.
        on_progress: Is told again and again what came of the runs so far.
        stop: Tells when no other run is to begin.
    """
    clock, stop = SystemClock(), Stop() if stop is None else stop
    began, total = clock.now(), Report()

    def gather(reports: Iterator[Report]) -> None:
        for report in reports:
            before = len(total.violations)
            total.merge(report)
            for violation in total.violations[before:]:
                on_violation(violation)
            on_progress(total)

    if jobs == 1:
        each_one = ([scenario] for scenario in stop.until(scenarios))
        gather(_run_chunk(flows, backend, chunk) for chunk in each_one)
    else:
        # A fresh interpreter each: one that is forked would have threads that do not run.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(jobs, context, _begin, (stop.value,)) as pool:
            futures: list[Future[Report]] = []
            for chunk in _chunks(stop.until(scenarios)):
                # This is what starts a process: Ctrl-C is none of its business from the first.
                with unnoticed():
                    futures.append(pool.submit(_run_chunk, flows, backend, chunk))
            gather(future.result() for future in futures)
    total.seconds = clock.now() - began
    return total


_STOP = Stop()
"""Of a process of the pool: that of the command."""


def _begin(value: Any) -> None:
    """Have a process of the pool end when the command is killed, instead of waiting for ever."""
    _STOP.value = value
    # Ctrl-C comes to all of them: the command knows what to do about it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent,), daemon=True).start()


def _follow(parent: Any) -> None:
    parent.join()
    os._exit(1)


def _chunks(scenarios: Iterable[Scenario]) -> Iterator[list[Scenario]]:
    iterator = iter(scenarios)
    while chunk := list(islice(iterator, CHUNK)):
        yield chunk


def _run_chunk(flows: Sequence[str], backend: str, scenarios: Sequence[Scenario]) -> Report:
    return run_all(
        stories_named(flows),
        _STOP.until(scenarios),
        backend_named(backend),
        replay_of=replay_with(flows, backend),
    )
