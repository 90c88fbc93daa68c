"""The history of a run as JSON lines: a header, its events, and a last line that says so.

Each line is an object. What a key means does not change; keys and types of events may be added, so
readers ignore what they do not know. ``docs/history.md`` lists the keys.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TextIO

from flowcraft.core.blueprint import WorkflowBlueprint
from flowcraft.engine.facts import storable
from flowcraft.engine.history_events import DAMAGED, HistoryEvent, StoredFact
from flowcraft.engine.jsonable import on_one_line
from flowcraft.engine.serializer import JsonSerializer, Serializer
from flowcraft.errors import FlowcraftError, SerializationError

FORMAT: Final = 1
"""Goes up when older versions could no longer read what is written."""

KIND: Final = "flowcraft.history"

TOLD_WITHOUT_VALUES: Final = frozenset(
    {
        "action",
        "attempts",
        "condition",
        "due_at",
        "errors",
        "event",
        "failed",
        "fallback",
        "first",
        "is_fatal",
        "item",
        "items",  # how many
        "lost",
        "max_executions",
        "name",
        "names",
        "number",
        "op",
        "requests",
        "resting",
        "source",
        "status",
        "succeeded",
        "target",
        "type",
        "usd",
        "worker",
    }
)
"""Of payloads what is no payload of the user's: all that is told where values are left out."""


class HistoryWriter:
    """Writes events as JSON lines.

    Args:
        write: Is given each line, with its end.
        serializer: How values become text.
        payloads: Whether to write values: inputs, outputs, contexts, messages of errors. Without
            them a history cannot be replayed.
    """

    def __init__(
        self, write: Callable[[str], object], serializer: Serializer, *, payloads: bool = True
    ) -> None:
        self._write = write
        self._serializer = serializer
        self._payloads = payloads
        self._is_json = isinstance(serializer, JsonSerializer)
        self.events = 0

    def add(self, event: HistoryEvent) -> None:
        """Write an event.

        Raises:
            SerializationError: A value of it cannot be written.
        """
        if not self.events:
            self._line(
                {
                    "kind": KIND,
                    "version": FORMAT,
                    "runId": event.run_id,
                    "blueprintId": event.blueprint_id,
                    "payloads": self._payloads,
                }
            )
        self.events += 1
        stored = event.stored if self._payloads else None
        if stored is not None and stored.blueprint is not None:
            self._line({"record": event.record, "blueprint": stored.blueprint.to_dict()})
        self._write(on_one_line(storable(self._event_line(event, stored))) + "\n")

    def end(self) -> None:
        """Write the line that tells that nothing is missing behind it."""
        self._line({"end": True, "events": self.events})

    def _line(self, data: Mapping[str, Any]) -> None:
        self._write(on_one_line(storable(_json(data))) + "\n")

    def _event_line(self, event: HistoryEvent, stored: StoredFact | None) -> str:
        keys = {
            "type": event.type,
            "time": datetime.fromtimestamp(event.timestamp, UTC).isoformat(),
            "at": event.timestamp,
            "runId": event.run_id,
            "blueprintId": event.blueprint_id,
            "nodeId": event.node_id,
            "attempt": event.attempt,
            "iteration": list(event.iteration),
            "record": event.record,
            "fact": event.fact,
        }
        payload = event.payload
        if not self._payloads:
            payload = {k: v for k, v in payload.items() if _is_told(k, v)}
        # Values are written as they are stored; text of another serializer is text.
        text = self._serializer.dumps(dict(payload))
        last = "" if stored is None else f',"stored":{_json(stored.text)}'
        value = text if self._is_json else _json(text)
        return f'{_json(keys)[:-1]},"payload":{value}{last}}}'


def _is_told(name: str, value: Any) -> bool:
    """Whether a part of a payload is told where values are left out."""
    parts = value if name in ("failed", "names") and isinstance(value, list | tuple) else [value]
    return name in TOLD_WITHOUT_VALUES and all(
        each is None or type(each) in _PLAIN for each in parts
    )


_PLAIN: Final = frozenset({bool, float, int, str})


@contextmanager
def whole_file(path: Path) -> Iterator[TextIO]:
    """A file to write to, which is there when all of it was written, and not before.

    Raises:
        OSError: It cannot be written.
    """
    beside = path.with_name(f"{path.name}.part")
    try:
        with beside.open("w", encoding="utf-8", newline="\n") as out:
            yield out
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _json(data: Any) -> str:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))


def read_history(
    lines: Iterable[str], serializer: Serializer, name: str = "the history"
) -> Iterator[HistoryEvent]:
    """Read what :class:`HistoryWriter` wrote, a line at a time.

    A line that is damaged, or missing, is an event of the type ``history:damaged`` with the
    ``problem``; what follows is read all the same.

    Args:
        lines: The lines; empty ones are ignored.
        serializer: How values become text; that of whoever wrote it.
        name: What the lines are from, for errors.

    Raises:
        SerializationError: It is no history, or one of a newer format.
    """
    numbered = ((number, line) for number, line in enumerate(lines, 1) if line.strip())
    number, line = next(numbered, (1, ""))
    header = _header(line, name)
    reader = _Reader(serializer, str(header.get("runId", "")), name)
    for number, line in numbered:
        event = reader.event(number, line)
        if event is not None:
            yield event
    if not reader.has_ended:
        yield reader.damaged(f"{name} is cut off behind its line {number}")


def _header(line: str, name: str) -> Mapping[str, Any]:
    try:
        header = json.loads(line)
    except (RecursionError, ValueError):
        header = None
    if not isinstance(header, dict) or header.get("kind") != KIND:
        raise SerializationError(
            f"{name} is no history of a run: its first line is not the header of one. "
            "'flowcraft history RUN --export FILE' writes one."
        )
    version = header.get("version")
    if not isinstance(version, int) or version < 1:
        raise SerializationError(f"{name} has no version in its header: {version!r}.")
    if version > FORMAT:
        raise SerializationError(
            f"{name} has the format {version}, and this version reads {FORMAT}: it was written by "
            "a newer version. Update this one."
        )
    return header


class _Reader:
    """Reads lines of one file.

    Attributes:
        has_ended: Whether the line was there that tells the end, and told as many events.
    """

    def __init__(self, serializer: Serializer, run_id: str, name: str) -> None:
        self._serializer = serializer
        self._run_id = run_id
        self._name = name
        self._blueprints: dict[str, WorkflowBlueprint] = {}
        self._events = 0
        self._last_at = 0.0
        self.has_ended = False

    def event(self, number: int, line: str) -> HistoryEvent | None:
        """The event of a line; ``None`` for lines that are about something else."""
        try:
            data = json.loads(line)
            if not isinstance(data, dict):
                raise ValueError("it is no object")
            if "type" in data:
                event = self._event(data)
                self._events, self._last_at = self._events + 1, event.timestamp
                return event
            if "blueprint" in data:
                blueprint = WorkflowBlueprint.from_dict(data["blueprint"])
                self._blueprints[_text(data, "record")] = blueprint
        except (FlowcraftError, LookupError, RecursionError, TypeError, ValueError) as error:
            self._events += 1
            return self.damaged(f"{self._name}, line {number}: it cannot be read ({error})")
        if data.get("end"):
            self.has_ended = True
            if data.get("events") != self._events:
                return self.damaged(
                    f"{self._name} has {self._events} events, and its last line tells of "
                    f"{data.get('events')}: lines are missing"
                )
        return None

    def damaged(self, problem: str) -> HistoryEvent:
        """What cannot be read, as an event of the run as a whole."""
        return HistoryEvent(DAMAGED, self._last_at, self._run_id, "", payload={"problem": problem})

    def _event(self, data: Mapping[str, Any]) -> HistoryEvent:
        fact, text = data["fact"], data.get("stored")
        if type(fact) is not int or fact < 0:
            raise ValueError(f"'fact' is {fact!r}")
        record = _text(data, "record")
        stored = None
        if text is not None:
            stored = StoredFact(_text(data, "stored"), self._blueprints.pop(record, None))
        return HistoryEvent(
            type=_text(data, "type"),
            timestamp=float(data["at"]),
            run_id=_text(data, "runId"),
            blueprint_id=_text(data, "blueprintId"),
            node_id=None if data.get("nodeId") is None else _text(data, "nodeId"),
            attempt=data.get("attempt"),
            iteration=tuple(data.get("iteration") or ()),
            payload=self._payload(data.get("payload", {})),
            record=record,
            fact=fact,
            stored=stored,
        )

    def _payload(self, value: Any) -> Mapping[str, Any]:
        """The payload; values of types that are not known here stay as they are written."""
        text = value if isinstance(value, str) else _json(value)
        try:
            payload = self._serializer.loads(text)
        except SerializationError:
            payload = value
        return payload if isinstance(payload, dict) else {"text": text}


def _text(data: Mapping[str, Any], key: str) -> str:
    value = data[key]
    if not isinstance(value, str):
        raise ValueError(f"'{key}' is {value!r}, and no text")
    return value
