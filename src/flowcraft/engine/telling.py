"""Telling listeners, and the log, what a decision changed (rules S16, S18)."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from flowcraft.core import commands as cmd
from flowcraft.core import events as ev
from flowcraft.core.context import HAS_OUTPUT
from flowcraft.core.items import item_name
from flowcraft.core.plan import Key, index_of_key, iteration_of_key
from flowcraft.core.state import Note
from flowcraft.core.step import Decision
from flowcraft.core.values import EXACT_SCALARS, copy_value
from flowcraft.engine.bus import FlowEvent

if TYPE_CHECKING:
    from flowcraft.engine.attempt import Attempt
    from flowcraft.engine.ledger import Ledger
    from flowcraft.engine.places import AttemptCommand
    from flowcraft.engine.view import RunView

logger = logging.getLogger("flowcraft.run")

Notice = tuple[str, Key | None, int | None, Mapping[str, Any]]
"""What there is to tell: the type of event, the instance, the attempt, and the rest of it."""

# Tuples are the engine's own, of texts; in stored values there are none.
_UNCHANGEABLE = EXACT_SCALARS | {tuple}

_LEVELS: Mapping[str, int] = {
    "workflow:start": logging.INFO,
    "workflow:finish": logging.INFO,
    "workflow:cancel": logging.INFO,
    "node:error": logging.WARNING,
    "node:retry": logging.WARNING,
    "node:fallback": logging.INFO,
    "compensation:error": logging.ERROR,
}


def log_notes(run: RunView, notes: list[Note]) -> None:
    """Log what an operator wants to know, with run, node and iteration as fields."""
    for note in notes:
        unclear = note.type == "edge:evaluate" and "error" in note.details
        level = logging.WARNING if unclear else _LEVELS.get(note.type)
        if level is not None and logger.isEnabledFor(level):
            logger.log(level, "%s", _sentence(run, note), extra=_fields(run, note))


def _sentence(run: RunView, note: Note) -> str:
    where = f"run {run.state.run_id}"
    if note.key is not None:
        name = note.details.get("name") or run.plan.nodes[index_of_key(note.key)].id
        where = f"{where}, node '{name}'"
    details = note.details
    what = note.type
    if "status" in details:
        what = f"{what} ({details['status']})"
    told = details.get("error") or details.get("message") or details.get("reason")
    if run.host.is_coded:
        # The rest is payload: what a node says of its failure, what an expression was about.
        told = details.get("type")
    return f"{what}: {where}" + (f": {told}" if told else "")


def _fields(run: RunView, note: Note) -> dict[str, Any]:
    key = note.key
    return {
        "run_id": run.state.run_id,
        "blueprint_id": run.plan.blueprint.id,
        "node_id": None if key is None else run.plan.nodes[index_of_key(key)].id,
        "iteration": () if key is None else iteration_of_key(key),
        "event": note.type,
    }


def tell_start(run: RunView, attempt: Attempt) -> None:
    """An attempt begins."""
    emit(run, *notice_of_start(attempt.command))


def notice_of_start(command: AttemptCommand) -> Notice:
    """What there is to tell of an attempt that begins."""
    details: dict[str, Any] = {"input": command.input}
    if isinstance(command, cmd.RunUndo):
        return "compensation:start", command.target, command.attempt, details
    if isinstance(command, cmd.RunItem):
        details |= {"item": command.item, "name": item_name(command.uses, command.item)}
    return "node:start", command.key, command.attempt, details


def tell_facts(ledger: Ledger, numbers: Iterable[int]) -> list[cmd.Command] | None:
    """Tell listeners of facts; gives the commands that follow from them, if still known."""
    commands: list[cmd.Command] = []
    for number in numbers:
        found = ledger.decision_of(number)
        if found is None:
            return None
        event, decision = found
        if decision.notes:
            log_notes(ledger, decision.notes)
        if ledger.host.bus.active:
            tell_decision(ledger, event, decision)
        commands.extend(decision.commands)
    return commands


def tell_decision(run: RunView, event: ev.Event, decision: Decision) -> None:
    """What an event led to: the end of a node, then everything the decision noted."""
    for notice in notices_of(run, event, decision):
        emit(run, *notice)


def notices_of(run: RunView, event: ev.Event, decision: Decision) -> Iterator[Notice]:
    """What there is to tell of an event; the run's state has what was decided already."""
    if isinstance(event, ev.NodeSucceeded) and event.key in decision.changes.records:
        record = decision.changes.records[event.key]
        if record.status in HAS_OUTPUT:
            yield "node:finish", event.key, event.attempt, _finish_details(event)
    for note in decision.notes:
        yield _notice_of(run, note, event)


def _notice_of(run: RunView, note: Note, event: ev.Event) -> Notice:
    details = dict(note.details)
    if isinstance(event, ev.RunStarted) and note.type == "workflow:start":
        details |= event._asdict() | {"context": dict(event.context)}
        del details["caller"]  # where it is told, and no part of the run
    if isinstance(event, ev.ItemSucceeded) and "item" in details:
        details |= _finish_details(event) | {"attempt": event.attempt}
    attempt = details.pop("attempt", None)
    if note.key is not None:
        record = run.state.records.get(note.key)
        if attempt is None and record is not None:
            attempt = record.attempt
        if note.type == "node:finish" and record is not None and "item" not in details:
            details["output"] = record.output
    return note.type, note.key, attempt, details


def payload_of(run: RunView, details: Mapping[str, Any]) -> dict[str, Any]:
    """Copies of what is told: who is told cannot change the run's values."""
    codecs = run.host.options.serializer.codec_for
    return {
        name: value if type(value) in _UNCHANGEABLE else copy_value(value, registered=codecs)
        for name, value in details.items()
    }


def emit(
    run: RunView, type_: str, key: Key | None, attempt: int | None, details: Mapping[str, Any]
) -> None:
    """Hand an event to the listeners."""
    try:
        payload = payload_of(run, details)
    except Exception:
        # A user's codec may raise; whether anybody listens must make no difference to the run.
        logger.exception("The event %s of run '%s' cannot be told", type_, run.state.run_id)
        return
    run.host.bus.emit(
        FlowEvent(
            type=type_,
            timestamp=run.host.clock.now(),
            run_id=run.state.run_id,
            blueprint_id=run.plan.blueprint.id,
            node_id=None if key is None else run.plan.nodes[index_of_key(key)].id,
            attempt=attempt,
            iteration=() if key is None else iteration_of_key(key),
            payload=payload,
        ),
        run.host.tails,
    )


def _finish_details(event: ev.NodeSucceeded | ev.ItemSucceeded) -> dict[str, Any]:
    details: dict[str, Any] = {"output": event.output}
    if event.writes:
        details["writes"] = [[write.op, write.key, write.value] for write in event.writes]
    if isinstance(event, ev.NodeSucceeded):
        details["action"] = event.action
        if event.dynamic:
            details["dynamic_nodes"] = [definition.to_dict() for definition in event.dynamic]
    return details
