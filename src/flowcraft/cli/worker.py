"""``flowcraft worker``: a process that works until it is told to stop."""

from __future__ import annotations

import logging
import os
import signal
import threading

import click

from flowcraft import application
from flowcraft.cli.failures import CommandError
from flowcraft.cli.invocation import Invocation, pass_invocation
from flowcraft.engine.adapter import Adapter
from flowcraft.settings import Settings


def begin_logging(settings: Settings) -> None:
    """Show the log on standard error, as the settings say."""
    handler = application.log_handler(settings)
    root = logging.getLogger("flowcraft")
    root.addHandler(handler)
    root.setLevel(handler.level)


def adapter_of(invocation: Invocation) -> Adapter:
    """The worker that the settings describe."""
    settings = invocation.settings
    telemetry = application.telemetry_of(settings)
    try:
        return application.open_adapter(settings, invocation.options, telemetry=telemetry)
    except (TypeError, ValueError) as error:
        raise CommandError(str(error)) from error


@click.command(
    name="worker",
    help="Be a worker: work until SIGTERM or Ctrl-C, then let running nodes end.",
)
@click.option("--concurrency", metavar="N", help="Messages worked on at once (10).")
@click.option("--log-level", metavar="LEVEL", help="debug, info, warning or error.")
@click.option("--with-parent", is_flag=True, hidden=True)
@pass_invocation
def command(
    invocation: Invocation, /, concurrency: str | None, log_level: str | None, with_parent: bool
) -> None:
    """Be a worker."""
    if concurrency is not None:
        invocation.overrides["worker.concurrency"] = concurrency
    if log_level is not None:
        invocation.overrides["log.level"] = log_level
    begin_logging(invocation.settings)
    adapter = adapter_of(invocation)
    settings = invocation.settings
    where = (
        settings["sqlite.path"]
        if settings["backend"] == "sqlite"
        else application.names_of(settings).queue
    )
    flows = ", ".join(sorted(invocation.options.blueprints)) or "no flows"
    # A poll that is given up may swallow a message for half a minute, so it is let run out.
    patience = "" if settings["backend"] == "sqlite" else ", which may take 20 s"
    invocation.out.remark(
        f"A worker of {flows} on {where}; Ctrl-C lets it finish and stop{patience}."
    )
    if with_parent:
        threading.Thread(target=_end_with_parent, daemon=True).start()
    adapter.run()


def _end_with_parent() -> None:
    """Stop when whoever started this process is gone: standard input ends then."""
    # Not by sys.stdin: a thread that reads from it holds a lock that the end of a process needs.
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
