"""Codecs for tests: nobody reads what they encode, and nothing is safe with them."""

from __future__ import annotations

import base64
import zlib


class WrongKey(Exception):
    """A text was encoded with another key."""


class ToyCodec:
    """Hides texts behind a key, and notices one that was hidden behind another.

    Attributes:
        encoded: How many texts were encoded.
        decoded: How many texts were decoded.
    """

    def __init__(self, key: str = "key") -> None:
        self._key = key.encode()
        self.encoded = self.decoded = 0

    def encode(self, text: str) -> str:
        """Hide a text; the same one looks different each time."""
        self.encoded += 1
        plain = text.encode()
        salt = self.encoded.to_bytes(4)
        check = zlib.crc32(plain + self._key).to_bytes(4)
        return base64.b64encode(salt + self._mixed(salt, check + plain)).decode()

    def decode(self, text: str) -> str:
        """Give the text that was hidden.

        Raises:
            WrongKey: It was not hidden behind this key.
        """
        self.decoded += 1
        data = base64.b64decode(text)
        mixed = self._mixed(data[:4], data[4:])
        check, plain = mixed[:4], mixed[4:]
        if zlib.crc32(plain + self._key).to_bytes(4) != check:
            raise WrongKey("this is not the key")
        return plain.decode()

    def _mixed(self, salt: bytes, data: bytes) -> bytes:
        stream = bytearray()
        block = salt + self._key
        while len(stream) < len(data):
            block = zlib.crc32(block).to_bytes(4) + block[:8]
            stream += block[:4]
        return bytes(a ^ b for a, b in zip(data, stream, strict=False))
