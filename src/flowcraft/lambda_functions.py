"""Functions of AWS Lambda for an app, without a line of one's own.

``flowcraft.lambda_functions.worker`` is for an event source mapping of the queue, and
``flowcraft.lambda_functions.reconciler`` for a schedule of EventBridge; ``flowcraft aws template``
writes both. They are configured by the environment: ``FLOWCRAFT_APP`` names the workflows and their
code, as ``module:attribute``, and ``FLOWCRAFT_AWS_PREFIX`` the fleet; further settings are those of
``flowcraft.settings``.
"""

from __future__ import annotations

import logging
import os
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from flowcraft.adapters.aws.lambda_ import Context, LambdaHandler, ReconcilerHandler
from flowcraft.application import load_app, log_handler, open_adapter, telemetry_of
from flowcraft.aws import SqsAdapter, create_sqs_reconciler, lambda_handler, reconciler_handler
from flowcraft.ports.telemetry import Telemetry
from flowcraft.settings import Settings, SettingsError, load_settings

__all__ = ["reconciler", "worker"]


def worker(event: Any, context: Context) -> dict[str, Any]:
    """Work on a batch of messages; see ``flowcraft.aws.lambda_handler``.

    Raises:
        SettingsError: The environment does not say what is needed, or the app cannot be loaded.
        StorageError: Queue or tables cannot be used. Lambda delivers the messages again.
    """
    return _worker()(event, context)


def reconciler(event: Any, context: Context) -> dict[str, Any]:
    """Look after schedules, timers and runs that stand still, once.

    Returns:
        How many runs were looked at, stood still and so on.

    Raises:
        SettingsError: The environment does not say what is needed, or the app cannot be loaded.
        StorageError: A table cannot be used.
    """
    try:
        return _reconciler()(event, context)
    finally:
        # Nothing runs between calls, threads that write metrics least of all.
        if _made.cache_info().currsize:
            flush = getattr(_made().telemetry, "flush", None)
            if flush is not None:
                flush()


# Made by the first call and not by the import, so that an error says more than that the module
# could not be imported; and kept, since connections are, and what is known of runs.
@cache
def _worker() -> LambdaHandler:
    return lambda_handler(_made().adapter)


@cache
def _reconciler() -> ReconcilerHandler:
    return reconciler_handler(create_sqs_reconciler(adapter=_made().adapter))


class _Made(NamedTuple):
    """What both functions are made of."""

    adapter: SqsAdapter
    telemetry: Telemetry | None


@cache
def _made() -> _Made:
    settings = load_settings({}, Path.cwd(), os.environ)
    if not settings.is_set("backend"):
        settings = settings.replace(backend="aws")
    telemetry = telemetry_of(settings)
    adapter = open_adapter(settings, load_app(settings), telemetry=telemetry)
    if not isinstance(adapter, SqsAdapter):
        raise SettingsError(
            f"A function of Lambda works on a queue of SQS: backend is 'aws', not "
            f"'{settings['backend']}' ({settings.origin('backend')})."
        )
    _begin_logging(settings)
    return _Made(adapter, telemetry)


def _begin_logging(settings: Settings) -> None:
    """Have the log written as the settings say, and not a second time by Lambda's own handler."""
    log = logging.getLogger("flowcraft")
    log.handlers[:] = [log_handler(settings)]
    log.setLevel(settings["log.level"].upper())
    log.propagate = False
