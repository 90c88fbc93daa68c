"""Which events a run waits for, as they are kept beside it for whoever sends one by its name."""

from __future__ import annotations

import json
from collections.abc import Mapping

from flowcraft.core.correlation import Correlation, correlation_of
from flowcraft.core.plan import Key
from flowcraft.core.state import Record


def awaited_text(correlation: Correlation) -> str:
    """An event and its key as one text: another one for any other event or key."""
    event, key = correlation
    return json.dumps([event] if key is None else [event, key], ensure_ascii=False)


def read_awaited(text: str) -> Correlation:
    """The event and key that :func:`awaited_text` wrote."""
    event, *key = json.loads(text)
    return Correlation(event, *key) if key else Correlation(event, None)


class Awaited:
    """The events that a run waits for, kept up to date with what changes of its records.

    What it costs goes by what changes, as long as no wait for an event begins or ends.

    Attributes:
        texts: The events, in order, each once however many nodes wait for it.
    """

    def __init__(self) -> None:
        self.texts: tuple[str, ...] = ()
        self._by_key: dict[Key, str] = {}

    def after(self, records: Mapping[Key, Record]) -> tuple[str, ...]:
        """What the events would be once these records have changed."""
        changed = self._changed(records)
        return _in_order(self._by_key | changed) if changed else self.texts

    def note(self, records: Mapping[Key, Record]) -> None:
        """Take note of records that have changed; those of a whole state are as good."""
        changed = self._changed(records)
        if not changed:
            return
        for key, text in changed.items():
            if text is None:
                del self._by_key[key]
            else:
                self._by_key[key] = text
        self.texts = _in_order(self._by_key)

    def _changed(self, records: Mapping[Key, Record]) -> dict[Key, str | None]:
        changed: dict[Key, str | None] = {}
        for key, record in records.items():
            correlation = correlation_of(record)
            text = None if correlation is None else awaited_text(correlation)
            if text != self._by_key.get(key):
                changed[key] = text
        return changed


def _in_order(by_key: Mapping[Key, str | None]) -> tuple[str, ...]:
    return tuple(sorted({text for text in by_key.values() if text is not None}))
