"""Checking what callers pass, before anything starts."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from inspect import signature
from typing import Any, TypeVar

from flowcraft.core.blueprint import WorkflowBlueprint
from flowcraft.core.events import Write
from flowcraft.core.graph import analyze_blueprint
from flowcraft.core.values import CodecLookup, snapshot
from flowcraft.engine.json_text import read_deep
from flowcraft.errors import BlueprintError, FlowcraftError, Problem
from flowcraft.ports.clock import LATEST

T = TypeVar("T")

LONGEST_FAIRNESS_KEY = 256
LARGEST_BITS = 63

_METHODS = {
    "clock": ("now", "call_at"),
    "identifiers": ("new_run_id", "new_token"),
    "telemetry": ("count", "record", "span"),
    "serializer": ("dumps", "loads"),
    "evaluator": ("evaluate",),
}


class ArgumentError(Exception):
    """Something is wrong with an argument, or with several together.

    It is a ``TypeError`` or a ``ValueError`` as well, as callers in Python expect; those that
    speak to others, who call arguments otherwise, translate it by its names.

    Args:
        names: What Python calls the argument, or each of them.
        said: What is wrong: the rest of the sentence.
    """

    def __init__(self, names: str | tuple[str, ...], said: str) -> None:
        self.names = (names,) if isinstance(names, str) else names
        self.said = said
        super().__init__(self.told({}))

    def told(self, names: Mapping[str, str]) -> str:
        """What is wrong, with other names for arguments where there are any."""
        return f"{' and '.join(names.get(each, each) for each in self.names)} {self.said}"


class ArgumentTypeError(ArgumentError, TypeError):
    """An argument is of a type that it may not be."""


class ArgumentValueError(ArgumentError, ValueError):
    """An argument has a value that it may not have."""


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
        raise ArgumentTypeError("concurrency", f"is a whole number of nodes, not {_shown(number)}.")
    return number if number > 0 else default


def check_positive(**numbers: float | None) -> None:
    """See that numbers, where they are given, are positive and have an end.

    Raises:
        TypeError: One is no number.
        ValueError: One is not positive, or has no end.
    """
    for name, number in numbers.items():
        if number is not None and not 0 < _number(name, number) < math.inf:
            raise ArgumentValueError(name, f"is a positive number, not {number!r}.")


def check_spans(**seconds: float) -> None:
    """See that spans of time are none that end before they begin; one may go on for ever.

    Raises:
        TypeError: One is no number.
        ValueError: One is negative.
    """
    for name, number in seconds.items():
        if not _number(name, number) >= 0:
            raise ArgumentValueError(name, f"is 0 or more, not {number!r}.")


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ArgumentTypeError(name, f"is a number, not {_shown(value)}.")
    if isinstance(value, int) and value.bit_length() > LARGEST_BITS:
        raise ArgumentValueError(name, f"is larger than any number that is meant: {value:.3e}.")
    return value


def check_bound(name: str, number: int | None) -> int | None:
    """See that a bound, where one is given, is a positive whole number.

    Raises:
        TypeError: It is no whole number.
        ValueError: It is not positive.
    """
    if number is not None and (isinstance(number, bool) or not isinstance(number, int)):
        raise ArgumentTypeError(
            name, f"is a whole number, or None for no bound, not {_shown(number)}."
        )
    if number is not None and number <= 0:
        raise ArgumentValueError(name, f"is positive, or None for no bound, not {number!r}.")
    return number


def check_flag(name: str, value: bool) -> bool:
    """See that something is true or false.

    Raises:
        TypeError: It is something else.
    """
    if not isinstance(value, bool):
        raise ArgumentTypeError(name, f"is True or False, not {_shown(value)}.")
    return value


def check_object(name: str, value: T, *methods: str) -> T:
    """See that an object, where one is given, has the methods that will be called.

    Raises:
        TypeError: It lacks one, or is a class.
    """
    lacks = [each for each in methods if not callable(getattr(value, each, None))]
    if value is not None and (isinstance(value, type) or lacks):
        listed = ", ".join(f"{each}()" for each in methods)
        raise ArgumentTypeError(name, f"is an object with {listed}, not {_shown(value)}.")
    return value


def check_outside(**objects: Any) -> None:
    """See that clock, identifiers and telemetry, as far as they are given, can be used.

    Raises:
        TypeError: One lacks what its protocol has.
    """
    for name, value in objects.items():
        check_object(name, value, *_METHODS[name])


def check_several(name: str, values: Iterable[T], what: str) -> tuple[T, ...]:
    """See that there are some of something, and not one by itself.

    Raises:
        TypeError: It is no list.
    """
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise ArgumentTypeError(
            name, f"is a list of {what}, not {_shown(values)}: write {name}=[…]."
        )
    return tuple(values)


def check_layers(layers: tuple[Any, ...]) -> tuple[Any, ...]:
    """See that each of some layers around nodes is one.

    Raises:
        TypeError: One of them is something else.
    """
    for layer in layers:
        if not callable(getattr(layer, "bind", None)):
            text = f"holds {_shown(layer)}, which is no Middleware: derive a class from that."
            raise ArgumentTypeError("middleware", text)
    return layers


def check_cancel(token: Any) -> None:
    """See that what cancels a run, where it is given, can do so.

    Raises:
        TypeError: It is something else.
    """
    if token is not None and not callable(getattr(token, "on_cancel", None)):
        raise ArgumentTypeError("cancel", f"is a CancelToken, not {_shown(token)}.")


def check_mapping(name: str, values: Mapping[Any, Any] | None) -> Mapping[Any, Any]:
    """See that something, where it is given, is a mapping.

    Raises:
        TypeError: It is something else.
    """
    if values is not None and not isinstance(values, Mapping):
        raise ArgumentTypeError(name, f"is a mapping, not {_shown(values)}.")
    return values or {}


def check_name(name: str, value: str) -> str:
    """See that something is named by a text.

    Raises:
        TypeError: It is no text.
        ValueError: It is empty, or holds half a character or a control character.
    """
    checked_text(name, value)
    if not value or any(map(_is_unfit, value)):
        raise ArgumentValueError(name, f"is a name, not {value!r}.")
    return value


def check_options(
    who: str, options: Iterable[str], *takers: Callable[..., Any], untold: Collection[str] = ()
) -> None:
    """See that somebody takes what is given by name.

    Args:
        who: Is given it, for the message.
        options: The names.
        takers: Functions that take some of them, by name alone.
        untold: Names that are taken, and that nobody needs to hear of.

    Raises:
        TypeError: Nobody takes one; the message lists what there is.
    """
    parameters = [each for taker in takers for each in signature(taker).parameters.values()]
    known = {each.name for each in parameters if each.kind is each.KEYWORD_ONLY}
    if unknown := sorted(set(options) - known):
        listed = ", ".join(sorted(known - set(untold)))
        raise TypeError(f"{who} has no option '{unknown[0]}'. It has: {listed}.")


def checked_codec(codec: T) -> T:
    """A codec, if one is given.

    Raises:
        TypeError: It has no ``encode`` or no ``decode``, or is a class.
    """
    has_both = all(callable(getattr(codec, name, None)) for name in ("encode", "decode"))
    if codec is not None and (isinstance(codec, type | str | bytes) or not has_both):
        # Its kind alone: it may be the key itself.
        kind = codec if isinstance(codec, type) else type(codec)
        what = "the class" if isinstance(codec, type) else "a"
        raise ArgumentTypeError(
            "codec",
            f"is an object with the methods encode(text) and decode(text), not {what} "
            f"{kind.__name__}.",
        )
    return codec


def check_given(flows: Any, blueprints: Any) -> None:
    """See that a runtime is given flows in a list, and blueprints by id.

    Raises:
        TypeError: It is given something else.
    """
    if blueprints is not None and not isinstance(blueprints, Mapping):
        kind = type(blueprints).__name__
        raise ArgumentTypeError(
            "blueprints", f"are blueprints by id, as in {{'order': …}}, not a {kind}."
        )
    if not isinstance(flows, Iterable) or isinstance(flows, str | Mapping):
        raise ArgumentTypeError("flows", f"is a list of flows, not {flows!r}: write flows=[…].")


def checked_run_id(run_id: str, name: str = "run_id") -> str:
    """A run id as it may be: text that can be part of a key; ``name`` is what the caller calls it.

    Raises:
        TypeError: It is no text.
        ValueError: It is empty, or holds control characters or half a character.
    """
    if not isinstance(run_id, str):
        raise ArgumentTypeError(name, f"is text, not {_shown(run_id)}.")
    if not run_id:
        raise ArgumentValueError(name, "is empty; leave it out to have one made.")
    if not run_id.isprintable() and any(map(_is_unfit, run_id)):
        raise ArgumentValueError(name, f"holds control characters or lone surrogates: {run_id!a}.")
    return run_id


def checked_text(name: str, value: str) -> str:
    """Text that can be stored, or looked for in what is.

    Raises:
        TypeError: It is no text.
        ValueError: It holds half a character.
    """
    if not isinstance(value, str):
        raise ArgumentTypeError(name, f"is text, not {_shown(value)}.")
    if not value.isascii() and any(map(_is_half, value)):
        raise ArgumentValueError(name, f"holds lone surrogates: {value!a}.")
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
        raise ArgumentValueError(
            "idempotency_key", "is empty; leave it out where the start has no name."
        )
    return key


def checked_fairness_key(key: str | None) -> str | None:
    """Whose run it is, if that is given.

    Raises:
        TypeError: It is no text.
        ValueError: It is empty, too long for what goes with each message, or holds half a
            character.
    """
    if key is None:
        return None
    if not checked_text("fairness_key", key):
        raise ArgumentValueError("fairness_key", "is empty; leave it out where a run is nobody's.")
    if len(key) > LONGEST_FAIRNESS_KEY:
        raise ArgumentValueError(
            "fairness_key",
            f"has {len(key):,} characters, and {LONGEST_FAIRNESS_KEY} is the most: "
            "each message of the run carries it. Give an id of the tenant.",
        )
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
        raise ArgumentTypeError("tags", f"are texts by name, not {_shown(tags)}.")
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
        raise ArgumentTypeError("delete", f"is a list of keys, not {delete!r}: write [{delete!r}].")
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
        raise ArgumentTypeError(name, f"is a datetime, not {_shown(time)}.")
    try:
        return time.timestamp()
    except (OverflowError, OSError, ValueError) as error:
        raise ArgumentValueError(name, f"is out of range: {time}.") from error


def checked_start(time: datetime | None) -> float | None:
    """When a run is to start, in seconds since the epoch.

    Raises:
        TypeError: It is no ``datetime``.
        ValueError: It is no time that can be stored with a run.
    """
    seconds = checked_time("start_at", time)
    if seconds is not None and not 0 <= seconds < LATEST:
        raise ArgumentValueError("start_at", f"is out of range: {time}.")
    return seconds


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
        raise ArgumentValueError(name, f"must be {' or '.join(map(repr, choices))}, not {value!r}")
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
