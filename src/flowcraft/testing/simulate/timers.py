"""What is seen of timers that are due in more than an hour."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from flowcraft.engine.calendar import CURSOR, PREFIX
from flowcraft.engine.ledger import Ledger
from flowcraft.ports.runs import Record


def timers_in(texts: Mapping[str, str], but_of: Collection[str] = ()) -> dict[str, float]:
    """When the timers are due that are in a coordination store, by their names.

    Args:
        texts: The texts in the store, by their keys.
        but_of: Processes whose timers are left out.
    """
    return {
        name: due_at
        for key, text in texts.items()
        if key.startswith(PREFIX) and key != CURSOR
        for name, (due_at, message) in json.loads(text)["e"].items()
        if not (but_of and _armed_by(message) in but_of)
    }


def _armed_by(message: Mapping[str, Any]) -> str:
    """The process that gave the thread of a message its name."""
    return str(json.loads(message["body"])["thread"]).rpartition(".")[0]


def late_in(ledger: Ledger, record: Record) -> Iterator[tuple[Any, float]]:
    """The events of a run's timers, and by how many seconds each was late.

    Args:
        ledger: The run, of which nothing is known yet.
        record: Its facts.
    """
    for fact in record.facts:
        before = ledger.timers.live()
        ledger.catch_up([fact])
        known = ledger.decision_of(fact.number)
        gone = (
            set(before) - set(ledger.timers.live()) - {each.name for each in ledger.timers.dropped}
        )
        for name in gone:
            yield None if known is None else known[0], fact.at - before[name]
