"""Facts and texts as few bytes as they need: capacity goes by the size of the whole run item.

A fact is packed by itself when it is appended, since whoever appends need not know what else is
there. Facts that are settled are packed together, which takes a few bytes each.
"""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from flowcraft.errors import StorageCorrupt, StorageTooNew

FORMAT: Final = 1
"""Goes up when what is packed can no longer be read by older versions."""

_TEXT, _UUID, _TOKEN, _HASH = 0, 1, 2, 3
_UUID_LENGTH, _HASH_LENGTH = 36, 64

_FLOAT_TIME, _HAS_ID, _DEFLATED, _IS_AWAY = 1, 2, 4, 8

_MEMORY_LEVEL = 4
_WINDOW_BITS = -12

# What facts look like, the most frequent last: deflate refers to it as to what came before.
_DICTIONARY: Final = (
    b'"type":"message":"attempts":"cause":"code":"node":true,false,null,"data":"value":"items":'
    b'[1,["ContextPatched",[1,["SkipRequested",[1,["RetryRequested",[1,["ContinueRequested"'
    b'[1,["PauseRequested"[1,["CancelRequested",[1,["UndoSettled",[1,["ChildRests",'
    b'[1,["ChildSettled",[1,["ShardSettled",[1,["ShardAdvanced",[1,["ShardStarted",'
    b'[1,["AnswerReceived",[1,["RetryDue",[1,["TimerFired",[1,["NodeLost",[1,["NodeFailed",'
    b'[1,["ItemFailed",[1,["ItemSucceeded",1,'
    b'[1,["RunStarted","",{},null,false,null,10000,null,500'
    b'],[]][],[]],[]],1,null,[],[]],[]],1,true,null,[],[]],[]],1,"",null,[],[]],[]]'
    b'[1,["NodeSucceeded",0,1,1,null,[],[]],[]]'
)


class Packed(NamedTuple):
    """A fact as it is kept, without its number.

    Attributes:
        at: When it was written, in seconds since the epoch.
        thread: Which message it was written for.
        data: What happened; where it is kept elsewhere, the reference.
        id: Of facts with the same id a run has one.
        is_away: Whether ``data`` is the reference to a part of its own.
    """

    at: float
    thread: str
    data: bytes
    id: str | None = None
    is_away: bool = False


# --- texts ---------------------------------------------------------------------------------


def pack_text(text: str) -> bytes:
    """A text as bytes: UUIDs, hashes and tokens (base64) take what they hold, others their UTF-8.

    A UUID could be taken for a token, which would cost more.
    """
    if len(text) == _UUID_LENGTH:
        raw = _of_uuid(text)
        if raw is not None:
            return bytes((_UUID,)) + raw
    if len(text) == _HASH_LENGTH:
        raw = _of_hash(text)
        if raw is not None:
            return bytes((_HASH,)) + raw
    if len(text) % 4 == 0 and text.isascii():
        raw = _unquoted(text)
        if raw is not None:
            return bytes((_TOKEN,)) + raw
    return bytes((_TEXT,)) + text.encode("utf-8", "surrogatepass")


def unpack_text(data: bytes) -> str:
    """The text that :func:`pack_text` packed.

    Raises:
        StorageCorrupt: It was not.
    """
    kind, rest = data[:1], data[1:]
    if kind == bytes((_TEXT,)):
        return rest.decode("utf-8", "surrogatepass")
    if kind == bytes((_TOKEN,)):
        return base64.urlsafe_b64encode(rest).decode()
    if kind == bytes((_UUID,)):
        return _to_uuid(rest)
    if kind == bytes((_HASH,)):
        return rest.hex()
    raise StorageCorrupt(f"This is no packed text: {data[:16]!r}.")


def _unquoted(text: str) -> bytes | None:
    try:
        raw = base64.b64decode(text, altchars=b"-_", validate=True)
    except ValueError:
        return None
    return raw if base64.urlsafe_b64encode(raw).decode() == text else None


def _of_uuid(text: str) -> bytes | None:
    try:
        raw = bytes.fromhex(text.replace("-", ""))
    except ValueError:
        return None
    return raw if len(raw) == 16 and _to_uuid(raw) == text else None


def _of_hash(text: str) -> bytes | None:
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        return None
    return raw if raw.hex() == text else None


def _to_uuid(raw: bytes) -> str:
    digits = raw.hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


# --- deflating -----------------------------------------------------------------------------


def deflate(data: bytes, dictionary: bytes = _DICTIONARY) -> bytes:
    """Fewer bytes, with the help of what such data looks like: facts, unless told otherwise."""
    packer = zlib.compressobj(
        9, zlib.DEFLATED, _WINDOW_BITS, _MEMORY_LEVEL, zlib.Z_DEFAULT_STRATEGY, dictionary
    )
    return packer.compress(data) + packer.flush()


def inflate(data: bytes, dictionary: bytes = _DICTIONARY) -> bytes:
    """What :func:`deflate` was given, with the same dictionary.

    Raises:
        StorageCorrupt: It is damaged.
    """
    unpacker = zlib.decompressobj(_WINDOW_BITS, dictionary)
    try:
        whole = unpacker.decompress(data) + unpacker.flush()
    except zlib.error as error:
        raise StorageCorrupt(f"Packed data is damaged: {error}.") from error
    if not unpacker.eof:
        raise StorageCorrupt("Packed data is damaged: its end is missing.")
    return whole


# --- facts ---------------------------------------------------------------------------------


def pack_fact(fact: Packed, begun_ms: int, start_thread: str) -> bytes:
    """A fact by itself.

    Args:
        fact: The fact.
        begun_ms: When its run was created, in milliseconds since the epoch.
        start_thread: The thread that the run began with, which takes no room.
    """
    data = fact.data
    if not fact.is_away:
        shorter = deflate(data)
        if len(shorter) < len(data):
            return _fact(fact, shorter, _DEFLATED, begun_ms, start_thread)
    return _fact(fact, data, 0, begun_ms, start_thread)


def unpack_fact(data: bytes, begun_ms: int, start_thread: str) -> Packed:
    """The fact that :func:`pack_fact` packed.

    Raises:
        StorageCorrupt: It is damaged.
    """
    fact, flags = _read_fact(data, begun_ms, start_thread)
    return fact._replace(data=inflate(fact.data)) if flags & _DEFLATED else fact


def pack_facts(facts: Sequence[Packed], begun_ms: int, start_thread: str) -> bytes:
    """Facts together, in order."""
    pieces = []
    before_ms = begun_ms
    for fact in facts:
        piece = _fact(fact, fact.data, 0, before_ms, start_thread)
        pieces.append(_number(len(piece)) + piece)
        before_ms = _in_ms(fact.at)
    return bytes((FORMAT,)) + deflate(b"".join(pieces))


def unpack_facts(data: bytes, begun_ms: int, start_thread: str) -> list[Packed]:
    """The facts that :func:`pack_facts` packed.

    Raises:
        StorageCorrupt: They are damaged.
        StorageTooNew: A newer version packed them.
    """
    if not data:
        return []
    if data[0] > FORMAT:
        raise StorageTooNew(
            f"Facts are packed in the format {data[0]}, and this version reads {FORMAT}: they were "
            "written by a newer version. Update this worker."
        )
    whole, facts, place = inflate(data[1:]), [], 0
    before_ms = begun_ms
    while place < len(whole):
        length, place = _read_number(whole, place)
        fact, _ = _read_fact(whole[place : place + length], before_ms, start_thread)
        facts.append(fact)
        before_ms = _in_ms(fact.at)
        place += length
    return facts


def _fact(fact: Packed, data: bytes, flags: int, before_ms: int, start_thread: str) -> bytes:
    at_ms = _in_ms(fact.at)
    if at_ms / 1000 == fact.at:
        delta = at_ms - before_ms
        at = _number(delta * 2 if delta >= 0 else -delta * 2 - 1)
    else:
        flags |= _FLOAT_TIME
        at = struct.pack("<d", fact.at)
    thread = b"" if fact.thread == start_thread else pack_text(fact.thread)
    pieces = [at, _number(len(thread)), thread]
    if fact.id is not None:
        flags |= _HAS_ID
        id_ = pack_text(fact.id)
        pieces += [_number(len(id_)), id_]
    if fact.is_away:
        flags |= _IS_AWAY
    return b"".join((bytes((flags,)), *pieces, data))


def _read_fact(data: bytes, before_ms: int, start_thread: str) -> tuple[Packed, int]:
    try:
        flags, place = data[0], 1
        if flags & _FLOAT_TIME:
            (at,) = struct.unpack_from("<d", data, place)
            place += 8
        else:
            zigzag, place = _read_number(data, place)
            delta = -((zigzag + 1) // 2) if zigzag & 1 else zigzag // 2
            at = (before_ms + delta) / 1000
        thread, place = _read_piece(data, place)
        id_: bytes | None = None
        if flags & _HAS_ID:
            id_, place = _read_piece(data, place)
    except (IndexError, struct.error) as error:
        raise StorageCorrupt(f"A packed fact is damaged: {error}.") from error
    fact = Packed(
        at,
        unpack_text(thread) if thread else start_thread,
        data[place:],
        None if id_ is None else unpack_text(id_),
        bool(flags & _IS_AWAY),
    )
    return fact, flags


def _in_ms(at: float) -> int:
    return round(at * 1000)


def _number(value: int) -> bytes:
    """A number from 0 on, seven bits a byte, the low ones first."""
    pieces = bytearray()
    while value > 0x7F:
        pieces.append(value & 0x7F | 0x80)
        value >>= 7
    pieces.append(value)
    return bytes(pieces)


def _read_number(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
        shift += 7


def _read_piece(data: bytes, place: int) -> tuple[bytes, int]:
    length, place = _read_number(data, place)
    piece = data[place : place + length]
    if len(piece) < length:
        raise StorageCorrupt("A packed fact is damaged: its end is missing.")
    return piece, place + length


def size_of_all(pieces: Iterable[bytes]) -> int:
    """What elements of a list take in an item, by AWS's rules: their bytes and one more each."""
    return sum(len(piece) + 1 for piece in pieces)
