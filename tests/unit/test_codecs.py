"""The codecs that come along: what they give, whom they refuse, what they keep to themselves."""

from __future__ import annotations

import asyncio
import base64
import pickle
import sys
import threading
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from flowcraft.adapters.codecs import aes_gcm, compression
from flowcraft.codecs import AesGcmCodec, ChainedCodec, CompressionCodec
from flowcraft.engine.coding import AT_A_TIME, IN_THREAD_BYTES, Coder
from flowcraft.errors import CodecError, StorageBusy, StorageCorrupt
from tests.unit.codecs import ToyCodec
from tests.unit.runs import drive

OLD, NEW = bytes(range(32)), bytes(range(32, 64))
TEXTS = ["", "{}", "ä€😀\0\n", "\ud800 half of a character", "long " * 10_000]


def codecs() -> list[Any]:
    """One of each kind."""
    return [
        AesGcmCodec(OLD),
        AesGcmCodec({"old": OLD, "new": NEW}, primary="new", associated_data=b"test"),
        CompressionCodec(),
        CompressionCodec(level=9),
        ChainedCodec(CompressionCodec(), AesGcmCodec(OLD)),
    ]


@pytest.mark.parametrize("codec", codecs(), ids=repr)
def test_what_is_encoded_is_decoded(codec: Any) -> None:
    """Texts and bytes come back as they were, and are stored as plain ASCII."""
    for text in TEXTS:
        encoded = codec.encode(text)
        assert encoded.isascii()
        assert codec.decode(encoded) == text
        data = text.encode("utf-8", "surrogatepass")
        assert codec.decode_bytes(codec.encode_bytes(data)) == data


# -- AES-GCM --------------------------------------------------------------------------------


def test_the_envelope_is_the_documented_one() -> None:
    """A version, the name of the key, its check, the nonce, the payload and a tag of 16 bytes."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

    codec = AesGcmCodec({"k1": OLD}, associated_data=b"prod", fresh=lambda count: b"N" * count)
    data = base64.b64decode(codec.encode("payload"))
    check = aes_gcm._digest(b"check", OLD)[:4]
    header = b"\x01\x02k1" + check
    assert data[: len(header) + 12] == header + b"N" * 12
    assert len(data) == len(header) + 12 + len(b"payload") + 16
    plain = AESGCM(OLD).decrypt(b"N" * 12, data[len(header) + 12 :], header + b"prod")
    assert plain == b"payload"


def test_the_same_text_is_never_encoded_alike() -> None:
    """Each payload has a nonce of its own."""
    codec = AesGcmCodec(OLD)
    assert len({codec.encode("same") for _ in range(1000)}) == 1000


def test_keys_are_changed_without_a_pause() -> None:
    """Old, both with the old one primary, both with the new one: neighbours read each other."""
    stages = [
        AesGcmCodec({"old": OLD}),
        AesGcmCodec({"old": OLD, "new": NEW}, primary="old"),
        AesGcmCodec({"old": OLD, "new": NEW}, primary="new"),
        AesGcmCodec({"new": NEW}),
    ]
    for one, other in pairwise(stages[:3]):
        assert other.decode(one.encode("text")) == "text"
        assert one.decode(other.encode("text")) == "text"
    assert stages[3].decode(stages[2].encode("text")) == "text"
    with pytest.raises(CodecError, match=r"key 'old', and this process has 'new'\. Add that key"):
        stages[3].decode(stages[0].encode("text"))


def test_another_key_of_the_same_name_is_told_apart() -> None:
    """Two keys that were given one name are no damage, and the error says what they are."""
    with pytest.raises(CodecError, match="another key that is called 'k', too"):
        AesGcmCodec({"k": NEW}).decode(AesGcmCodec({"k": OLD}).encode("text"))


def test_a_key_without_a_name_has_one_of_its_own() -> None:
    """Of keys that were given no name each is known by what it is."""
    one, other = AesGcmCodec(OLD), AesGcmCodec(NEW)
    assert AesGcmCodec(OLD).decode(one.encode("text")) == "text"
    with pytest.raises(CodecError, match=r"encoded with the key '[0-9a-f]{8}', and this process"):
        other.decode(one.encode("text"))


def test_every_changed_byte_is_noticed() -> None:
    """Whatever byte is changed, or if the end is missing, nothing is decoded."""
    codec = AesGcmCodec({"name": OLD})
    data = codec.encode_bytes(b"payload")
    for place in range(len(data)):
        changed = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        with pytest.raises((CodecError, StorageCorrupt)):
            codec.decode_bytes(changed)
    for length in range(len(data)):
        with pytest.raises((CodecError, StorageCorrupt)):
            codec.decode_bytes(data[:length])


def test_other_associated_data_is_refused() -> None:
    """What was encoded for one environment is not decoded in another."""
    encoded = AesGcmCodec(OLD, associated_data=b"prod").encode("text")
    with pytest.raises(StorageCorrupt, match="other associated_data"):
        AesGcmCodec(OLD, associated_data=b"test").decode(encoded)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: AesGcmCodec(b"short"), "32 random bytes.*is 5 bytes"),
        (lambda: AesGcmCodec({"k": "x" * 32}), "32 random bytes.*is str"),  # type: ignore[dict-item]
        (lambda: AesGcmCodec("x" * 32), "32 random bytes.*is str"),  # type: ignore[arg-type]
        (lambda: AesGcmCodec({"a": OLD, "b": NEW}), r"primary.*\['a', 'b'\], not None"),
        (lambda: AesGcmCodec({"a": OLD}, primary="b"), "primary.*not 'b'"),
        (lambda: AesGcmCodec({}), "keys is empty: give the key"),
        (lambda: AesGcmCodec({"": OLD}), "name of a key"),
        (lambda: AesGcmCodec({"x" * 256: OLD}), "name of a key"),
    ],
)
def test_keys_that_are_none_are_refused(make: Callable[[], Any], text: str) -> None:
    """A key that is too short, a text, or without a name is refused when the codec is made."""
    with pytest.raises(ValueError, match=text):
        make()


def test_keys_are_kept_to_themselves() -> None:
    """No key is in what a codec prints, or in an error; and it is not pickled."""
    key = AesGcmCodec.new_key()
    codec = AesGcmCodec({"k": key})
    shown = [repr(codec), str(codec), repr(vars(codec)), repr(ChainedCodec(codec))]
    with pytest.raises(CodecError) as raised:
        codec.decode(AesGcmCodec(NEW).encode("text"))
    with pytest.raises(ValueError, match="32 random") as refused:
        AesGcmCodec(key[:31])
    shown += [repr(raised.value), str(refused.value)]
    secrets = (repr(key), repr(key)[2:-1], key.hex(), base64.b64encode(key).decode())
    assert len(key) == 32
    assert key != AesGcmCodec.new_key()
    assert not any(secret in text for secret in secrets for text in shown)
    with pytest.raises(TypeError, match="holds keys"):
        pickle.dumps(codec)


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """``cryptography`` is an extra: the error says which."""
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)
    with pytest.raises(ImportError, match=r"flowcraft-sqs\[crypto\]"):
        AesGcmCodec(OLD)


# -- compression and chains -----------------------------------------------------------------


def test_what_would_not_get_smaller_stays() -> None:
    """A long text gets much smaller; random bytes grow by one."""
    codec = CompressionCodec()
    assert len(codec.encode_bytes(b"text " * 1000)) < 100
    assert len(codec.encode_bytes(OLD)) == len(OLD) + 1


def test_zstd_is_for_those_who_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Python has zstd it is used, and where it has not, that is said; zlib is always read."""

    class Zstd:
        @staticmethod
        def compress(data: bytes, level: int) -> bytes:
            return b"Z%d" % level + data[::2]

        @staticmethod
        def decompress(data: bytes) -> bytes:
            return b"decompressed"

    monkeypatch.setattr(compression, "_zstd", lambda: Zstd)
    with_it = CompressionCodec("zstd")
    encoded = with_it.encode("x" * 100)
    assert with_it.decode(encoded) == "decompressed"
    monkeypatch.setattr(compression, "_zstd", lambda: None)
    assert with_it.decode(CompressionCodec().encode("text " * 9)) == "text " * 9
    with pytest.raises(ValueError, match=r"Python 3\.14"):
        CompressionCodec("zstd")
    with pytest.raises(CodecError, match=r"Python 3\.14"):
        CompressionCodec().decode(encoded)
    with pytest.raises(ValueError, match="'zlib' or 'zstd'"):
        CompressionCodec("gzip")  # type: ignore[arg-type]


def test_another_chain_is_told_of() -> None:
    """What passed other codecs, or in another order, is refused with what to do."""
    chain = ChainedCodec(CompressionCodec(), AesGcmCodec(OLD))
    with pytest.raises(CodecError, match="codecs that it was encoded with, in their order"):
        chain.decode(AesGcmCodec(OLD).encode("text"))
    with pytest.raises(CodecError, match="not encoded by an AesGcmCodec"):
        chain.decode(CompressionCodec().encode("text"))
    assert len(chain.encode("text " * 1000)) < 200


class Waits:
    """A codec that waits for a service."""

    def __init__(self) -> None:
        self.now = self.most = 0

    async def encode(self, text: str) -> str:
        """Encode, some time later."""
        return await self._later(text[::-1])

    async def decode(self, text: str) -> str:
        """Decode, some time later."""
        return await self._later(text[::-1])

    async def encode_bytes(self, data: bytes) -> bytes:
        """Encode a piece."""
        return data[::-1]

    async def decode_bytes(self, data: bytes) -> bytes:
        """Decode a piece."""
        return data[::-1]

    async def _later(self, text: str) -> str:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0)
        self.now -= 1
        return text


def test_what_only_some_payload_would_show_is_said_when_a_codec_is_made() -> None:
    """Associated data that is text, and a level that there is not, are refused at once."""
    with pytest.raises(TypeError, match=r"bytes, as in b'production', not str\.$"):
        AesGcmCodec(OLD, associated_data="production")  # type: ignore[arg-type]
    for level in (99, "6"):
        with pytest.raises(ValueError, match=r"^level .* is none of zlib: "):
            CompressionCodec(level=level)  # type: ignore[arg-type]


@pytest.mark.parametrize("codec", codecs(), ids=repr)
def test_a_text_that_was_never_encoded_is_refused_as_such(codec: Any) -> None:
    """What is no base64 at all is named as what it is, not as an error of base64."""
    for text in ("plain", "ä"):
        with pytest.raises(CodecError, match=f"not encoded by {type(codec).__name__}: it is no"):
            codec.decode(text)


@pytest.mark.parametrize("codec", [Waits(), ToyCodec()])
def test_what_cannot_be_chained_is_refused(codec: Any) -> None:
    """A codec that is async, or of texts only, is refused when the chain is made."""
    with pytest.raises(TypeError, match="cannot be chained"):
        ChainedCodec(CompressionCodec(), codec)
    with pytest.raises(TypeError, match="At least one"):
        ChainedCodec()


# -- how the engine calls them --------------------------------------------------------------


@pytest.mark.parametrize("codec", [Waits(), ToyCodec(), *codecs()], ids=lambda c: type(c).__name__)
def test_files_pass_any_codec(codec: Any) -> None:
    """Bytes pass a codec of bytes as they are, and one of texts in base64."""

    async def work() -> None:
        coder = Coder(codec)
        for data in (b"", bytes(range(256)) * 100):
            encoded = await coder.encode_bytes(data, "It")
            assert encoded != data or not data
            assert await coder.decode_bytes(encoded, "It") == data

    drive(work())


def test_many_payloads_wait_at_once() -> None:
    """A codec that waits is given several payloads at a time, but not all of them."""
    codec = Waits()

    async def work() -> None:
        coder = Coder(codec)
        encode = [lambda n=n: coder.encode(str(n), "It") for n in range(3 * AT_A_TIME)]
        encoded = await coder.each(encode)
        assert encoded[12] == "encoded:21"

    drive(work())
    assert codec.most == AT_A_TIME


def test_what_blocks_or_is_large_is_done_in_a_thread() -> None:
    """The event loop is never given what takes long: a codec that blocks, or much at once."""
    threads: list[bool] = []

    class Blocks:
        blocks = True

        def encode(self, text: str) -> str:
            threads.append(threading.current_thread() is threading.main_thread())
            return text

        decode = encode

    class Quick(Blocks):
        blocks = False

    async def work() -> None:
        for codec, text in (
            (Blocks(), "short"),
            (Quick(), "short"),
            (Quick(), "x" * (IN_THREAD_BYTES + 1)),
        ):
            coder = Coder(codec)
            assert await coder.decode(await coder.encode(text, "It"), "It") == text

    drive(work())
    assert threads == [False, False, True, True, False, False]


@pytest.mark.parametrize("decode", [False, True])
def test_a_codec_may_say_that_it_cannot_be_used_now(decode: bool) -> None:
    """A ``StorageBusy`` of a codec stays one, to be tried again; anything else is a CodecError."""

    class Unsteady:
        def __init__(self, error: Exception) -> None:
            self.error = error

        def encode(self, text: str) -> str:
            raise self.error

        decode = encode

    async def call(error: Exception) -> str:
        coder = Coder(Unsteady(error))
        return await (coder.decode("encoded:x", "It") if decode else coder.encode("x", "It"))

    with pytest.raises(StorageBusy, match=r"^the key service is busy$"):
        drive(call(StorageBusy("the key service is busy")))
    with pytest.raises(CodecError, match=r"It cannot be .*ConnectionError: gone"):
        drive(call(ConnectionError("gone")))
