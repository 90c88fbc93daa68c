"""``flowcraft reconcile``: find runs that stand still, and set them going."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from dataclasses import asdict
from typing import Any

import click

from flowcraft.adapters.system import SystemClock
from flowcraft.cli.invocation import Invocation, pass_invocation
from flowcraft.cli.kinds import seconds
from flowcraft.engine.client import FlowClient
from flowcraft.engine.reconcile import ReconciliationStats
from flowcraft.errors import StorageError, StorageUnavailable


@click.command(
    name="reconcile",
    help="Find runs that stand still, and set them going. Workers do so by themselves; this is for "
    "fleets without one that always runs, and for when messages were lost.",
)
@click.option("--every", type=seconds, metavar="SECONDS", help="Again and again.")
@click.option("--threshold", type=seconds, metavar="SECONDS", help="How long nothing may happen.")
@click.option("--force", is_flag=True, help="Send again all that is outstanding, due or not.")
@pass_invocation
def command(invocation: Invocation, /, every: float | None, **given: Any) -> None:
    """Reconcile once, or as a loop until Ctrl-C or SIGTERM."""
    asked = {"stalled_threshold_seconds": given["threshold"], "force": given["force"]}

    async def work() -> None:
        async with invocation.client(with_app=True) as client:
            if every is None:
                _show(invocation, await client.reconcile(**asked))
                return
            await _loop(invocation, client, asked, every)

    invocation.run(work())


async def _loop(
    invocation: Invocation, client: FlowClient, asked: dict[str, Any], every: float
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    clock = SystemClock()
    while not stop.is_set():
        try:
            _show(invocation, await client.reconcile(**asked), is_one_of_many=True)
        except StorageUnavailable:
            raise
        except StorageError as error:
            # Trouble that may pass ends no loop that is there for trouble.
            invocation.out.remark(f"Not this time: {error}", "warning")
        over = asyncio.Event()
        timer = clock.call_at(clock.now() + every, over.set)
        try:
            await _first_of(stop, over)
        finally:
            timer.cancel()


async def _first_of(*events: asyncio.Event) -> None:
    tasks = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)


def _show(
    invocation: Invocation, stats: ReconciliationStats, *, is_one_of_many: bool = False
) -> None:
    out = invocation.out
    if out.as_json:
        found = {_camel(name): value for name, value in asdict(stats).items()}
        (out.json_line if is_one_of_many else out.json)(found)
        return
    text = (
        f"{stats.scanned_items} looked at, {stats.stalled_runs} standing still, "
        f"{stats.reconciled_runs} set going, {stats.failed_runs} not"
    )
    out.print(text, "error" if stats.failed_runs else "")


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(other.title() for other in others)
