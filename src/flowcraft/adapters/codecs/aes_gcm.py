"""Payloads encrypted with AES-256 in Galois/Counter Mode: neither read nor changed unseen.

An encoded payload begins with what is readable: a version, the name of the key, and four bytes
that tell whether a key of that name is the same key. All of that is authenticated together with
the associated data, and so is the payload. The nonce is random and fresh for each: 96 bits, so that
one key is good for four thousand million payloads (NIST SP 800-38D, section 8.3).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from flowcraft.adapters.codecs.compression import TextOverBytes
from flowcraft.adapters.system import random_bytes
from flowcraft.errors import CodecError, StorageCorrupt

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
VERSION: Final = 1
LONGEST_NAME_BYTES: Final = 255

_TAG_BYTES = 16
_CHECK_BYTES = 4


class _Key(NamedTuple):
    """A key, ready to be used; it holds what it is made of where nobody prints it."""

    cipher: Any
    check: bytes


class AesGcmCodec(TextOverBytes):
    """Encrypts payloads with a key, or with one of a key ring.

    Keys are 32 random bytes (:meth:`new_key`), no passwords. With a ring, payloads are encoded with
    the primary key and decoded with whichever they were encoded with. To change keys without a
    pause: give all processes the new key beside the old one; then make it the primary one; and take
    the old one away once nothing is left that was encoded with it.

    Args:
        keys: The key; or keys by names, which are readable in what is stored.
        primary: The name of the key to encode with; needed if there are several.
        associated_data: Has to be the same to decode: the name of an environment, say, so that
            payloads of one cannot be put into another. It is not stored.
        fresh: Where nonces come from, for tests.

    Raises:
        ImportError: The package ``cryptography`` is not installed.
        TypeError: ``associated_data`` is not bytes.
        ValueError: There is no key, one has not 32 bytes, a name is not as it has to be, or it is
            not said which of several keys is the primary one.
    """

    def __init__(
        self,
        keys: bytes | Mapping[str, bytes],
        *,
        primary: str | None = None,
        associated_data: bytes = b"",
        fresh: Callable[[int], bytes] = random_bytes,
    ) -> None:
        new_cipher = _cipher()
        ring = keys if isinstance(keys, Mapping) else {_name_of(keys): keys}
        self._keys = {
            _checked_name(name): _key(name, key, new_cipher) for name, key in ring.items()
        }
        self._primary = self._chosen(primary)
        self._associated_data = _bytes(associated_data)
        self._fresh = fresh

    @staticmethod
    def new_key() -> bytes:
        """A fresh key: keep it where secrets are kept, and never lose it."""
        return random_bytes(KEY_BYTES)

    def __repr__(self) -> str:
        return f"AesGcmCodec(keys={sorted(self._keys)}, primary={self._primary!r})"

    def __reduce__(self) -> Any:
        raise TypeError("An AesGcmCodec is not copied to other processes: it holds keys.")

    def _chosen(self, primary: str | None) -> str:
        if primary is None and len(self._keys) == 1:
            return next(iter(self._keys))
        if not self._keys:
            raise ValueError("keys is empty: give the key, or keys by names; new_key() makes one.")
        if primary is None or primary not in self._keys:
            raise ValueError(
                f"primary is the name of the key to encode with, one of {sorted(self._keys)}, "
                f"not {primary!r}."
            )
        return primary

    def encode_bytes(self, data: bytes) -> bytes:
        """The bytes to be stored."""
        key, name = self._keys[self._primary], self._primary.encode()
        header = bytes((VERSION, len(name))) + name + key.check
        nonce = self._fresh(NONCE_BYTES)
        encrypted: bytes = key.cipher.encrypt(nonce, data, header + self._associated_data)
        return header + nonce + encrypted

    def decode_bytes(self, data: bytes) -> bytes:
        """The bytes that were encoded.

        Raises:
            CodecError: They were encoded with another key, or by another codec.
            StorageCorrupt: They are not what was encoded, or the associated data is not.
        """
        header, name, check = _read_header(data)
        nonce_end = len(header) + NONCE_BYTES
        key = self._keys.get(name)
        if key is None:
            raise CodecError(
                f"It was encoded with the key '{name}', and this process has "
                f"{_listed(self._keys)}. Add that key to the key ring; it need not be primary."
            )
        if key.check != check:
            raise CodecError(
                f"It was encoded with another key that is called '{name}', too. Give this process "
                "that one, and each key a name of its own."
            )
        try:
            plain: bytes = key.cipher.decrypt(
                data[len(header) : nonce_end], data[nonce_end:], header + self._associated_data
            )
        except Exception as error:  # InvalidTag, of a package that is imported elsewhere
            raise StorageCorrupt(
                f"What was encoded with the key '{name}' was changed since, or is damaged, or it "
                "was encoded with other associated_data. Restore it from a backup, or give this "
                "process the associated_data that the others have."
            ) from error
        return plain


def _read_header(data: bytes) -> tuple[bytes, str, bytes]:
    """What is readable: all of it, the name of the key, and the check."""
    end = 2 + (data[1] if len(data) > 1 else 0) + _CHECK_BYTES
    if len(data) < end + NONCE_BYTES + _TAG_BYTES or data[0] != VERSION:
        raise CodecError(
            "It was not encoded by an AesGcmCodec, or by one of a newer version. Give this process "
            "the codec that it was encoded with."
        )
    name = data[2 : end - _CHECK_BYTES].decode("utf-8", "replace")
    return data[:end], name, data[end - _CHECK_BYTES : end]


def _key(name: str, key: bytes, new_cipher: Callable[[bytes], Any]) -> _Key:
    if not isinstance(key, bytes | bytearray) or len(key) != KEY_BYTES:
        what = f"{len(key)} bytes" if isinstance(key, bytes | bytearray) else type(key).__name__
        raise ValueError(
            f"The key '{name}' has to be {KEY_BYTES} random bytes, as AesGcmCodec.new_key() gives "
            f"them, and is {what}."
        )
    return _Key(new_cipher(bytes(key)), _digest(b"check", key)[:_CHECK_BYTES])


def _bytes(data: Any) -> bytes:
    if not isinstance(data, bytes | bytearray):
        kind = type(data).__name__
        raise TypeError(f"associated_data is bytes, as in b'production', not {kind}.")
    return bytes(data)


def _name_of(key: bytes) -> str:
    """The name of a key that was given none."""
    return _digest(b"name", key)[:4].hex() if isinstance(key, bytes | bytearray) else "key"


def _digest(purpose: bytes, key: bytes) -> bytes:
    # Of 32 random bytes nobody finds what a digest was made of.
    return hashlib.sha256(b"flowcraft aes-gcm " + purpose + bytes(key)).digest()


def _checked_name(name: str) -> str:
    if not isinstance(name, str) or not 0 < len(name.encode()) <= LONGEST_NAME_BYTES:
        raise ValueError(
            f"The name of a key is text of 1 to {LONGEST_NAME_BYTES} bytes, not {name!r}."
        )
    return name


def _listed(keys: Mapping[str, object]) -> str:
    return ", ".join(f"'{name}'" for name in sorted(keys))


def _cipher() -> Callable[[bytes], Any]:
    # Only this needs cryptography, which is an extra.
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415
    except ImportError as missing:
        raise ImportError(
            "AesGcmCodec needs the package cryptography, which is not installed here. "
            'Install it with: pip install "flowcraft-sqs[crypto]"'
        ) from missing
    return AESGCM
