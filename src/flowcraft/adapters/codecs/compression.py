"""Payloads made smaller, by what the standard library has; and codecs one after the other."""

from __future__ import annotations

import base64
import importlib
import inspect
import zlib
from typing import Any, Final, Literal

from flowcraft.errors import CodecError

Method = Literal["zlib", "zstd"]

_PLAIN, _ZLIB, _ZSTD = b"-", b"z", b"s"

_DEFAULT_LEVELS: Final = {"zlib": 6, "zstd": 3}


class TextOverBytes:
    """A codec of bytes, which are base64 where they have to be text."""

    def encode(self, text: str) -> str:
        """The text to be stored."""
        return base64.b64encode(self.encode_bytes(text.encode("utf-8", "surrogatepass"))).decode()

    def decode(self, text: str) -> str:
        """The text that was encoded."""
        try:
            data = base64.b64decode(text, validate=True)
        except ValueError as error:
            raise CodecError(
                f"It was not encoded by {type(self).__name__}: it is no base64 ({error}). Give "
                "this process the codec that it was encoded with."
            ) from error
        return self.decode_bytes(data).decode("utf-8", "surrogatepass")

    def encode_bytes(self, data: bytes) -> bytes:
        """The bytes to be stored."""
        raise NotImplementedError

    def decode_bytes(self, data: bytes) -> bytes:
        """The bytes that were encoded."""
        raise NotImplementedError


class CompressionCodec(TextOverBytes):
    """Makes payloads smaller; what would not get smaller stays as it is.

    What one method has compressed is decoded whichever is chosen now.

    Args:
        method: ``"zlib"``, or ``"zstd"`` from Python 3.14 on.
        level: How hard to try; by default 6 for zlib and 3 for zstd.

    Raises:
        ValueError: There is no such method here, or it has no such level.
    """

    def __init__(self, method: Method = "zlib", level: int | None = None) -> None:
        if method not in _DEFAULT_LEVELS:
            raise ValueError(f"A method of compression is 'zlib' or 'zstd', not {method!r}.")
        self._method = method
        self._level = _DEFAULT_LEVELS[method] if level is None else level
        self._zstd = _zstd()
        if method == "zstd" and self._zstd is None:
            raise ValueError("zstd comes with Python 3.14; with this one use 'zlib'.")
        try:
            self.encode_bytes(b"")
        except Exception as error:
            raise ValueError(f"level {level!r} is none of {method}: {error}.") from error

    def __repr__(self) -> str:
        return f"CompressionCodec({self._method!r}, level={self._level})"

    def encode_bytes(self, data: bytes) -> bytes:
        """The bytes to be stored."""
        if self._method == "zstd":
            packed = _ZSTD + self._zstd.compress(data, self._level)
        else:
            packed = _ZLIB + zlib.compress(data, self._level)
        return packed if len(packed) <= len(data) else _PLAIN + data

    def decode_bytes(self, data: bytes) -> bytes:
        """The bytes that were encoded.

        Raises:
            CodecError: They were compressed by a method that is not here, or are damaged.
        """
        method, packed = data[:1], data[1:]
        if method == _PLAIN:
            return packed
        if method == _ZLIB:
            return zlib.decompress(packed)
        if method == _ZSTD:
            if self._zstd is None:
                raise CodecError("It is compressed with zstd, which comes with Python 3.14.")
            unpacked: bytes = self._zstd.decompress(packed)
            return unpacked
        raise CodecError(
            "It was not compressed by this codec. Give this process the codecs that it was "
            "encoded with, in their order."
        )


class ChainedCodec(TextOverBytes):
    """Codecs one after the other: ``ChainedCodec(CompressionCodec(), AesGcmCodec(key))``.

    Compress first: what is encrypted does not get any smaller.

    Args:
        codecs: They are called in this order to encode, and in the other one to decode.

    Raises:
        TypeError: One is async, or has no bytes: only codecs with ``encode_bytes`` and
            ``decode_bytes`` can be chained.
    """

    def __init__(self, *codecs: Any) -> None:
        if not codecs:
            raise TypeError("At least one codec is needed.")
        for codec in codecs:
            if not (hasattr(codec, "encode_bytes") and hasattr(codec, "decode_bytes")):
                raise TypeError(
                    f"{type(codec).__name__} cannot be chained: it has no encode_bytes and "
                    "decode_bytes."
                )
            if inspect.iscoroutinefunction(codec.encode_bytes):
                raise TypeError(f"{type(codec).__name__} cannot be chained: it is async.")
        self._codecs = codecs
        self.blocks = any(getattr(codec, "blocks", False) for codec in codecs)

    def __repr__(self) -> str:
        return f"ChainedCodec({', '.join(map(repr, self._codecs))})"

    def encode_bytes(self, data: bytes) -> bytes:
        """The bytes to be stored."""
        for codec in self._codecs:
            data = codec.encode_bytes(data)
        return data

    def decode_bytes(self, data: bytes) -> bytes:
        """The bytes that were encoded."""
        for codec in reversed(self._codecs):
            data = codec.decode_bytes(data)
        return data


def _zstd() -> Any:
    try:
        return importlib.import_module("compression.zstd")
    except ImportError:
        return None
