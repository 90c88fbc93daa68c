"""Values and errors between a process and the child process that a node has to itself.

A message is one line of JSON. Values in it are text of a serializer, so that whoever asked for a
value reads it, and hears of it if it cannot be read. Types that the user registered are not
known to a fresh process: whoever has them says by which names they are found.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from flowcraft.core.state import ErrorInfo
from flowcraft.core.value_types import EXACT_SCALARS, Codec, plain_form
from flowcraft.engine.failures import error_info, is_retryable
from flowcraft.engine.naming import MAIN, MAIN_OF_CHILD, Unnamed, known_here, name_of
from flowcraft.engine.serializer import JsonSerializer, Serializer
from flowcraft.engine.typing_input import restored
from flowcraft.errors import FlowcraftError

Message = dict[str, Any]
Named = dict[str, Any]
"""A registered type as another process can find it: its tag, class, ``encode`` and ``decode``."""

MAX_MESSAGE_BYTES = 256 * 1024 * 1024
"""The longest line that is read: an input, an output or a context value is not larger."""


def to_line(message: Mapping[str, Any]) -> bytes:
    """A message as it is sent."""
    return json.dumps(message, separators=(",", ":")).encode("ascii") + b"\n"


class ParentWire(JsonSerializer):
    """Writes and reads values in the process that knows the registered types.

    Args:
        source: The runtime's serializer. Its text is not used, only its registered types.
    """

    def __init__(self, source: Serializer) -> None:
        super().__init__()
        self._source = source
        self._news: list[Named] = []

    def pack(self, value: Any) -> Message:
        """A value for a message, with the types in it that the child has not heard of.

        Raises:
            FlowcraftError: It holds a type that cannot be made known there.
        """
        text = self.dumps(value)
        news, self._news = self._news, []
        return {"value": text, "types": news} if news else {"value": text}

    def unpack(self, message: Message) -> Any:
        """The value in a message."""
        return self.loads(message["value"])

    def named(self, class_name: str) -> Named | None:
        """A type that the child asks for; ``None`` if it is not registered.

        Raises:
            FlowcraftError: It cannot be made known there.
        """
        cls = known_here(class_name)
        codec = self._source.codec_for(cls) if isinstance(cls, type) else None
        return None if codec is None else self._adopted(codec)

    def _plain(self, item: Any) -> Any:
        cls = type(item)
        if cls not in self._by_type and cls not in EXACT_SCALARS:
            codec = self._source.codec_for(cls)
            if codec is not None:
                self._news.append(self._adopted(codec))
        return super()._plain(item)

    def _adopted(self, codec: Codec[Any]) -> Named:
        named = _named(codec)
        self._by_type[codec.cls] = self._by_tag[codec.tag] = codec
        return named


class ChildWire(JsonSerializer):
    """Writes and reads values in a child, which asks its parent for registered types.

    Args:
        ask: Gives the parent's answer about the class of a name.
        find: Imports what a name means.
    """

    def __init__(self, ask: Callable[[str], Named | None], find: Callable[[str], Any]) -> None:
        super().__init__()
        self._ask = ask
        self._find = find
        self._asked: set[type] = {set, frozenset, dict, list, tuple}

    def codec_for(self, cls: type) -> Codec[Any] | None:
        """The codec of exactly this type, or ``None``; a type is asked about once."""
        if cls not in self._asked and cls not in self._by_type:
            self._asked.add(cls)
            try:
                named = self._ask(name_of(cls))
            except Unnamed:  # so nobody can have made it known under a name
                named = None
            if named is not None:
                self._learn(named)
        return self._by_type.get(cls)

    def unpack(self, message: Message) -> Any:
        """The value in a message."""
        for named in message.get("types", ()):
            self._learn(named)
        return self.loads(message["value"])

    def _learn(self, named: Named) -> None:
        cls, tag = self._find(named["class"]), named["tag"]
        if named["encode"] is None:
            codec = Codec(cls, tag, plain_form, partial(restored, cls))
        else:
            codec = Codec(cls, tag, self._find(named["encode"]), self._find(named["decode"]))
        self._by_type[cls] = self._by_tag[tag] = codec


def _named(codec: Codec[Any]) -> Named:
    try:
        named: Named = {"tag": codec.tag, "class": name_of(codec.cls)}
        if codec.encode is plain_form:
            return {**named, "encode": None}
        return {**named, "encode": name_of(codec.encode), "decode": name_of(codec.decode)}
    except Unnamed as unnamed:
        raise FlowcraftError(
            f"Values of the registered type '{codec.tag}' cannot be given to a node with "
            f"`isolation: process`, nor taken from it: of its class, 'encode' and 'decode' one "
            f"cannot be imported in another process ({unnamed}). Define all of them at the top "
            "level of a module.",
            is_fatal=True,
        ) from None


# Errors -----------------------------------------------------------------------------------


def failure(error: BaseException) -> Message:
    """An error as a message."""
    info = error_info(error)
    return {
        "is": "failed",
        "type": info.type,
        "message": info.message,
        "names": [_as_in_parent(name) for name in info.names],
        "fatal": info.is_fatal,
        "causes": info.causes,
        "traceback": info.traceback,
        "retryable": is_retryable(error),
    }


def read_failure(message: Message) -> tuple[ErrorInfo, bool]:
    """What is known of an error that was sent as a message, and whether to try again."""
    info = ErrorInfo(
        type=message["type"],
        message=message["message"],
        names=tuple(message["names"]),
        is_fatal=message["fatal"],
        causes=tuple((kind, text) for kind, text in message["causes"]),
        traceback=message["traceback"],
    )
    return info, message["retryable"]


def _as_in_parent(name: str) -> str:
    module, dot, rest = name.partition(".")
    return f"{MAIN}{dot}{rest}" if module == MAIN_OF_CHILD else name
