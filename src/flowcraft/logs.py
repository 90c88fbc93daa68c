"""The log as lines of JSON, with what a line is about in fields of its own.

Only the fields that are named here are written, and those that the application names: whatever
else hangs on a record may be payload, or a secret.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any, Final

from flowcraft.engine.whereabouts import WHEREABOUTS, Whereabouts

__all__ = ["FIELDS", "JsonFormatter", "worker_name"]

FIELDS: Final = ("run_id", "blueprint_id", "node_id", "attempt", "iteration", "event")
"""The fields of records of the package; see ``docs/events.md``."""

_OWN: Final = frozenset({"timestamp", "level", "logger", "message", "worker", "error"})


def worker_name() -> str:
    """What a worker is called in its log: host and process."""
    return f"{socket.gethostname()}:{os.getpid()}"


class JsonFormatter(logging.Formatter):
    """Writes each record of the log as one JSON object on a line.

    ``timestamp`` (ISO 8601, UTC), ``level``, ``logger``, ``message`` and ``worker`` are always
    there; ``run_id``, ``blueprint_id``, ``node_id``, ``attempt``, ``iteration`` and ``event`` where
    they are known: by the record, or because the line was logged inside an attempt, by whomever.
    ``trace_id`` and ``span_id`` are those of OpenTelemetry's current span, ``error`` an exception
    with its traceback.

    Args:
        worker: What the process is called; host and process id by default.
        extra: Names of further attributes of records to write.

    Raises:
        ValueError: A name in ``extra`` is taken.
    """

    def __init__(self, *, worker: str | None = None, extra: Collection[str] = ()) -> None:
        super().__init__()
        taken = sorted({"trace_id", "span_id", *_OWN}.intersection(extra))
        if taken:
            raise ValueError(f"'{taken[0]}' is a field of every line; choose another name.")
        self._worker = worker_name() if worker is None else worker
        self._names = (*FIELDS, *extra)

    def format(self, record: logging.LogRecord) -> str:
        """A record as a line."""
        at = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, Any] = {
            "timestamp": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "worker": self._worker,
        }
        line |= _fields(record, self._names) | _of_span()
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = self.formatStack(record.stack_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def _fields(record: logging.LogRecord, names: Collection[str]) -> dict[str, Any]:
    """What a record is about, as it says or as the attempt it was logged in does."""
    where = WHEREABOUTS.get()
    said: dict[str, Any] = {name: getattr(record, name, None) for name in names}
    if where is not None and said.get("run_id") in (None, where.run_id):
        for name in Whereabouts._fields:
            if said.get(name) is None:
                said[name] = getattr(where, name)
    if isinstance(said.get("iteration"), tuple):
        said["iteration"] = list(said["iteration"])
    return {name: value for name, value in said.items() if value is not None and value != []}


def _of_span() -> dict[str, str]:
    """The ids of the current span, where OpenTelemetry is in use."""
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return {}
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return {}
    return {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}
