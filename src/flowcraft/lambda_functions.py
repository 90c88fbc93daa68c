"""Functions of AWS Lambda for an app, without a line of one's own.

``flowcraft.lambda_functions.worker`` is for an event source mapping of the queue, and
``flowcraft.lambda_functions.reconciler`` for a schedule of EventBridge, and
``flowcraft.lambda_functions.links`` for a function URL; ``flowcraft aws template`` writes all of
them. They are configured by the environment: ``FLOWCRAFT_APP`` names the workflows and their
code, as ``module:attribute``, and ``FLOWCRAFT_AWS_PREFIX`` the fleet; further settings are those of
``flowcraft.settings``.
"""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from flowcraft.adapters.aws.lambda_ import Context, LambdaHandler, Loop, ReconcilerHandler
from flowcraft.application import (
    links_of,
    load_app,
    log_handler,
    open_adapter,
    open_client,
    telemetry_of,
)
from flowcraft.aws import SqsAdapter, create_sqs_reconciler, lambda_handler, reconciler_handler
from flowcraft.engine.options import RuntimeOptions
from flowcraft.ports.telemetry import Telemetry
from flowcraft.settings import Settings, SettingsError, load_settings

if TYPE_CHECKING:
    from flowcraft.web.link_pages import LinkPages

__all__ = ["links", "reconciler", "worker"]


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


def links(event: Any, context: Context) -> dict[str, Any]:
    """Answer a request to a link, behind a function URL; see ``flowcraft.web.links``.

    Without ``FLOWCRAFT_LINKS_BASE_URL`` the address of the function itself is taken.

    Raises:
        SettingsError: The environment does not say what is needed.
        ValueError: The event is none of a function URL.
    """
    del context
    from flowcraft.web.function_url import answer_event, host_of  # noqa: PLC0415 - needs jinja2

    return _loop().run(answer_event(_pages(host_of(event)), event))


# Made by the first call and not by the import, so that an error says more than that the module
# could not be imported; and kept, since connections are, and what is known of runs.
@cache
def _worker() -> LambdaHandler:
    return lambda_handler(_made().adapter)


@cache
def _reconciler() -> ReconcilerHandler:
    return reconciler_handler(create_sqs_reconciler(adapter=_made().adapter))


@cache
def _loop() -> Loop:
    return Loop()


@cache
def _pages(host: str) -> LinkPages:
    from flowcraft.web.link_pages import LinkPages  # noqa: PLC0415 - needs jinja2

    settings = _settings()
    if not settings.is_set("links.base_url"):
        settings = settings.replace(links__base_url=f"https://{host}")
    # The app is needed only for the types that its serializer knows.
    options = RuntimeOptions() if settings["app"] is None else load_app(settings)
    pages = LinkPages(open_client(settings, replace(options, links=links_of(settings))))
    _begin_logging(settings)
    return pages


def _settings() -> Settings:
    settings = load_settings({}, Path.cwd(), os.environ)
    return settings if settings.is_set("backend") else settings.replace(backend="aws")


class _Made(NamedTuple):
    """What both functions are made of."""

    adapter: SqsAdapter
    telemetry: Telemetry | None


@cache
def _made() -> _Made:
    settings = _settings()
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
