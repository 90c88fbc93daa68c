"""``flowcraft reconcile``: find runs that stand still, and set them going."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import Any

import click

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
    while not stop.is_set():
        try:
            _show(invocation, await client.reconcile(**asked), is_one_of_many=True)
        except StorageUnavailable:
            raise
        except StorageError as error:
            # Trouble that may pass ends no loop that is there for trouble.
            invocation.out.remark(f"Not this time: {error}", "warning")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(every):
                await stop.wait()


def _show(
    invocation: Invocation, stats: ReconciliationStats, *, is_one_of_many: bool = False
) -> None:
    out = invocation.out
    if out.as_json:
        (out.json_line if is_one_of_many else out.json)(stats)
        return
    text = (
        f"{stats.scanned_items} looked at, {stats.stalled_runs} standing still, "
        f"{stats.reconciled_runs} set going, {stats.failed_runs} not"
    )
    out.print(text, "error" if stats.failed_runs else "")
