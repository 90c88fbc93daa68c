"""Turning payloads into something else before they are stored: encryption, compression."""

from __future__ import annotations

from typing import Protocol


class Codec(Protocol):
    """Encodes payloads on their way to queue and stores, and decodes them on their way back.

    Payloads are what belongs to users: the facts of runs with all outputs and contexts, what
    messages bring, blueprints, files. What is needed to find and order things stays readable: ids
    of runs, blueprints and nodes, attempts, statuses, times, tags, idempotency keys.

    ``decode(encode(text))`` is ``text``. Encoding the same text twice may give different texts.
    Both may be called by several threads at once. They are called in the event loop as long as a
    text is short, so they are quick; a codec that is not says so by an attribute ``blocks`` that
    is true, and is then called in threads. :class:`AsyncCodec` is one that is awaited.

    A codec may have ``encode_bytes`` and ``decode_bytes`` besides (:class:`BytesCodec`), which
    files are given to. Without them they pass as texts in base64.

    What is raised by ``encode`` or ``decode`` becomes a ``CodecError``: the payload is left to
    others, or is tried again, and nothing is lost. A ``StorageError`` that is none stays as it
    is: ``StorageBusy``, say, where a key service does not answer, is tried again at once.
    """

    def encode(self, text: str) -> str:
        """The text to be stored."""
        ...

    def decode(self, text: str) -> str:
        """The text that :meth:`encode` was given; whatever is raised, it cannot be decoded."""
        ...


class AsyncCodec(Protocol):
    """The same for a codec that waits: for a key service, say. Many payloads wait at once."""

    async def encode(self, text: str) -> str:
        """The text to be stored."""
        ...

    async def decode(self, text: str) -> str:
        """The text that :meth:`encode` was given."""
        ...


class BytesCodec(Codec, Protocol):
    """A codec of texts and of bytes."""

    def encode_bytes(self, data: bytes) -> bytes:
        """The bytes to be stored."""
        ...

    def decode_bytes(self, data: bytes) -> bytes:
        """The bytes that :meth:`encode_bytes` was given."""
        ...


AnyCodec = Codec | AsyncCodec
"""What ``codec`` may be, wherever it is given."""
