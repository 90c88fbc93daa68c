"""Checking what callers pass, before anything starts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from flowcraft.core.blueprint import WorkflowBlueprint
from flowcraft.core.events import Write
from flowcraft.core.graph import analyze_blueprint
from flowcraft.core.values import CodecLookup, snapshot
from flowcraft.engine.json_text import read_deep
from flowcraft.errors import BlueprintError, FlowcraftError, Problem


def initial_context(
    context: Mapping[str, Any] | str | None, registered: Callable[[type], Any] | None
) -> dict[str, Any]:
    """The initial context of a run in stored form, from a mapping or JSON text.

    Raises:
        FlowcraftError: It is no mapping of names, or no JSON.
        SerializationError: It holds something that cannot be stored.
    """
    if context is None or (type(context) is dict and not context):
        return {}
    if isinstance(context, str):
        context = _parsed(context)
    if not isinstance(context, Mapping):
        kind = type(context).__name__
        raise FlowcraftError(f"The initial context is a mapping of names, not a {kind}.")
    stored: dict[str, Any] = snapshot(dict(context), registered=registered, where="context")
    return stored


def checked_concurrency(number: int | None, default: int) -> int:
    """How many nodes may be under way at once; the default where it is not positive.

    Raises:
        TypeError: It is no whole number.
    """
    if number is None:
        return default
    if isinstance(number, bool) or not isinstance(number, int):
        raise TypeError(f"concurrency is a whole number of nodes, not {_shown(number)}.")
    return number if number > 0 else default


def checked_run_id(run_id: str) -> str:
    """A run id as it may be: text that can be part of a key.

    Raises:
        TypeError: It is no text.
        ValueError: It is empty, or holds control characters or half a character.
    """
    if not isinstance(run_id, str):
        raise TypeError(f"run_id is text, not {_shown(run_id)}.")
    if not run_id:
        raise ValueError("run_id is empty; leave it out to have one made.")
    if not run_id.isprintable() and any(map(_is_unfit, run_id)):
        raise ValueError(f"run_id holds control characters or lone surrogates: {run_id!a}.")
    return run_id


def checked_text(name: str, value: str) -> str:
    """Text that can be stored, or looked for in what is.

    Raises:
        TypeError: It is no text.
        ValueError: It holds half a character.
    """
    if not isinstance(value, str):
        raise TypeError(f"{name} is text, not {_shown(value)}.")
    if not value.isascii() and any(map(_is_half, value)):
        raise ValueError(f"{name} holds lone surrogates: {value!a}.")
    return value


def checked_key(key: str | None) -> str | None:
    """An idempotency key, if one is given.

    Raises:
        TypeError: It is no text.
        ValueError: It is empty, which would be one key for many runs, or holds half a character.
    """
    if key is None:
        return None
    if not checked_text("idempotency_key", key):
        raise ValueError("idempotency_key is empty; leave it out where the start has no name.")
    return key


def checked_fairness_key(key: str | None) -> str | None:
    """Whose run it is, if that is given.

    Raises:
        TypeError: It is no text.
        ValueError: It is empty, or holds half a character.
    """
    if key is None:
        return None
    if not checked_text("fairness_key", key):
        raise ValueError("fairness_key is empty; leave it out where a run is nobody's.")
    return key


def checked_tags(tags: Mapping[str, str] | None) -> dict[str, str]:
    """Labels of runs: texts by name.

    Raises:
        TypeError: They are no mapping, or something in it is no text.
        ValueError: A text holds half a character, or a name is empty.
    """
    if tags is None:
        return {}
    if not isinstance(tags, Mapping):
        raise TypeError(f"tags are texts by name, not {_shown(tags)}.")
    checked = {
        checked_text("The name of a tag", name): checked_text(f"The tag {name!r}", value)
        for name, value in tags.items()
    }
    if "" in checked:
        raise ValueError("A tag has an empty name, which not every store can keep; give it one.")
    return checked


def context_writes(
    values: Mapping[str, Any], delete: Sequence[str], registered: CodecLookup | None
) -> tuple[Write, ...]:
    """Keys to set and to delete in a context, from outside.

    Raises:
        TypeError: A key is no text, or ``delete`` no list of them.
        ValueError: A key is the engine's, or there are none.
        SerializationError: A value cannot be stored.
    """
    if isinstance(delete, str):
        raise TypeError(f"delete is a list of keys, not {delete!r}: write [{delete!r}].")
    keys = [checked_text("A key", key) for key in (*values, *delete)]
    engine_keys = [key for key in keys if key.startswith("_")]
    if engine_keys or not keys:
        what = ", ".join(map(repr, engine_keys)) or "nothing"
        raise ValueError(f"patch_context changes keys of your own; it was given {what}.")
    stored = snapshot(dict(values), registered=registered, where="values")
    sets = [Write("set", key, value) for key, value in stored.items()]
    return (*sets, *(Write("delete", key) for key in delete))


def checked_time(name: str, time: datetime | None) -> float | None:
    """A time in seconds since the epoch; one without a time zone is local.

    Raises:
        TypeError: It is no ``datetime``.
        ValueError: The machine's clock does not go back or forth so far.
    """
    if time is None:
        return None
    if not isinstance(time, datetime):
        raise TypeError(f"{name} is a datetime, not {_shown(time)}.")
    try:
        return time.timestamp()
    except (OverflowError, OSError, ValueError) as error:
        raise ValueError(f"{name} is out of range: {time}.") from error


def check_strict(blueprint: WorkflowBlueprint, strict: bool) -> None:
    """Refuse a blueprint with cycles, where that is asked for.

    Raises:
        BlueprintError: It has a cycle; the message shows the first.
    """
    if strict and not (analysis := analyze_blueprint(blueprint)).is_dag:
        cycle = " -> ".join(analysis.cycles[0])
        raise BlueprintError(
            [Problem("edges", f"cycles are refused in strict mode: {cycle}")],
            blueprint_id=blueprint.id,
        )


def checked_choice(name: str, value: str, choices: tuple[str, ...]) -> str:
    """One of some texts.

    Raises:
        ValueError: It is none of them.
    """
    if value not in choices:
        raise ValueError(f"{name} must be {' or '.join(map(repr, choices))}, not {value!r}")
    return value


def in_event_loop() -> bool:
    """Whether an event loop is running in this thread, which a blocking call would stop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _is_unfit(character: str) -> bool:
    code = ord(character)
    return code < 0x20 or 0x7F <= code < 0xA0 or _is_half(character)


def _is_half(character: str) -> bool:
    return 0xD800 <= ord(character) < 0xE000


def _shown(value: Any) -> str:
    return f"{value!r} ({type(value).__name__})"


def _parsed(text: str) -> Any:
    try:
        try:
            return json.loads(text)
        except RecursionError:
            return read_deep(text, lambda data: data)
    except ValueError as error:
        raise FlowcraftError(f"The initial context is not JSON: {error}.") from error
