"""The run item: what one item of the context table says of a run.

======  =====  ==================================================================================
name    type   what it holds
======  =====  ==================================================================================
runId   S      the run; the key of the table
v       N      the format
e       B      the epoch, packed
h       B      what never changes: blueprint, start, parent, tags, key; packed JSON
s       S      the status, abbreviated
x       BOOL   whether running nodes are to be stopped; missing if not
d       N      when the next timer is due; missing without one
w       L      the events that are awaited; missing without any
u       N      when status, due time and so on were last written
t       N      from when on the run counts as absent; missing for never
ttl     N      when DynamoDB may remove the item, if nobody else did: some days after that
r       N      goes up with each such write
c       N      how many facts are settled: in segments or in ``z``
g       N      how many of them are in segments, in segments of ``SEGMENT_FACTS``; missing at 0
z       B      the other settled facts, packed together
f       L      the facts after those, each packed by itself (B)
$n …    N      what was asked of AWS for the run so far, in ``$n``, ``$q``, ``$w`` and ``$r``
               (``spending.py``); missing if nobody counts, or at 0
l       M      leases by place, whose end "/1" is "/" here: a list of token (B), thread (B) and
               expiry (N, in ms since the start of the run); the number 0 where the attempt is over
======  =====  ==================================================================================

Facts that are settled never change, so ``c``, ``g``, ``z`` and the beginning of ``f`` are changed
only by whoever settles more of them, on condition that ``c`` is still the same.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Final

from flowcraft.adapters.aws.packing import (
    FORMAT,
    Packed,
    deflate,
    inflate,
    pack_text,
    unpack_fact,
    unpack_facts,
    unpack_text,
)
from flowcraft.adapters.aws.prices import Prices
from flowcraft.adapters.aws.sizes import item_size
from flowcraft.adapters.aws.spending import AFTERWARDS, Spent, unpack_spent
from flowcraft.core.state import FINAL_STATUSES, RunStatus, Usage
from flowcraft.errors import InvalidRunState, StorageCorrupt, StorageTooNew
from flowcraft.ports.clock import LATEST
from flowcraft.ports.runs import Head, Lease, Row

Value = Mapping[str, Any]
"""A value in the shape of the requests: ``{"S": …}``."""

SEGMENT_FACTS: Final = 16
"""How many facts a segment holds. It is fixed, so that whoever writes one writes the same."""

_STATUSES: Final = {
    "running": "r",
    "awaiting": "a",
    "paused": "p",
    "completed": "c",
    "failed": "f",
    "cancelled": "x",
}
_NAMES: Final = {letter: name for name, letter in _STATUSES.items()}

OVER: Final[Value] = {"N": "0"}
"""What stands at the place of an attempt that is over."""


def status_code(status: str) -> str:
    """A status, abbreviated; one that is not known stays as it is."""
    return _STATUSES.get(status, status)


def status_name(code: str) -> str:
    """The status of an abbreviation."""
    return _NAMES.get(code, code)


def number(value: float) -> Value:
    """A number, exactly."""
    return {"N": repr(int(value)) if float(value).is_integer() else repr(float(value))}


def start_thread(epoch: str) -> str:
    """The thread that a run begins with, as the engine names it: facts need not repeat it."""
    return f"start/{epoch}"


@dataclass(frozen=True, slots=True)
class RunItem:
    """A run item, read.

    Attributes:
        head: The run. ``facts`` is how many there are, ``updated_at`` the time in ``u``.
        revision: How often the row was written.
        settled: How many facts are settled.
        segments: How many segments there are.
        packed: The settled facts that are in no segment, packed.
        tail: The other facts, each packed.
        leases: Leases by place; ``None`` where the attempt is over.
        size: The item's size in bytes, as AWS counts it.
        seen_over: Of the places that are over how many facts there were, at most, when they
            ended: the number of facts when it was first noticed.
        spent: What was asked for it, where that is counted.
    """

    head: Head
    revision: int
    settled: int
    segments: int
    packed: bytes
    tail: tuple[bytes, ...]
    leases: Mapping[str, Lease | None]
    size: int
    seen_over: dict[str, int] = field(default_factory=dict)
    spent: Spent | None = None

    @property
    def facts(self) -> int:
        """How many facts the run has."""
        return self.head.facts

    @property
    def in_segments(self) -> int:
        """How many facts are in segments."""
        return self.segments * SEGMENT_FACTS

    @property
    def begun_ms(self) -> int:
        """What times are counted from."""
        return begun_ms(self.head)

    @property
    def thread(self) -> str:
        """The thread that the run began with."""
        return start_thread(self.head.epoch)

    def here(self, since: int) -> Iterator[tuple[int, Packed]]:
        """The facts from a number on that the item itself holds, with their numbers."""
        if since < self.settled:
            settled = unpack_facts(self.packed, self.begun_ms, self.thread)
            if len(settled) != self.settled - self.in_segments:
                raise self.damaged(
                    f"{len(settled)} settled facts are in it, not as many as it says"
                )
            for place, fact in enumerate(settled, self.in_segments):
                if place >= since:
                    yield place, fact
        for place, data in enumerate(self.tail, self.settled):
            if place >= since:
                yield place, unpack_fact(data, self.begun_ms, self.thread)

    def usage(self, prices: Prices | None) -> Usage | None:
        """What the run has cost; ``None`` where nobody counts, or there are no prices."""
        if self.spent is None or prices is None:
            return None
        is_over = self.head.row.status in FINAL_STATUSES
        return (self.spent.plus(AFTERWARDS) if is_over else self.spent).usage(prices)

    def live(self) -> tuple[Lease, ...]:
        """The leases that are not over, by place."""
        return tuple(lease for _, lease in sorted(self.leases.items()) if lease is not None)

    def after(self, before: RunItem | None) -> RunItem:
        """The same, with what was noticed earlier of the places that are over."""
        noticed = {} if before is None else before.seen_over
        over = (place for place, lease in self.leases.items() if lease is None)
        return replace(self, seen_over={place: noticed.get(place, self.facts) for place in over})

    @contextmanager
    def named_where_damaged(self) -> Iterator[None]:
        """Whatever cannot be read of what belongs to it is told of with its run."""
        try:
            yield
        except _DAMAGES as error:
            is_told = isinstance(error, StorageCorrupt)
            if is_told and f"'{self.head.run_id}'" in str(error):
                raise
            raise self.damaged(str(error) if is_told else repr(error)) from error

    def damaged(self, how: str) -> StorageCorrupt:
        """The error that the item cannot be right."""
        return StorageCorrupt(
            f"The item of run '{self.head.run_id}' is damaged: {how}. Restore it from a backup "
            "(point-in-time recovery), or delete the run."
        )


def begun_ms(head: Head) -> int:
    """The time that a run's times are counted from, in milliseconds since the epoch."""
    return int(head.created_at * 1000)


def is_ours(item: Mapping[str, Any]) -> bool:
    """Whether an item of the table is a run of this package."""
    return has_epoch(item) and "B" in item.get("h", ()) and "N" in item.get("v", ())


def has_epoch(row: Mapping[str, Any]) -> bool:
    """Whether a row of the status table is of a run of this package, by its type too."""
    return "B" in row.get("e", ())


def another_systems(table_name: str, run_id: str) -> InvalidRunState:
    """What to raise for the id of an item that another system has in a table."""
    return InvalidRunState(
        f"The table '{table_name}' has an item '{run_id}' of another system. It is left alone: "
        "choose another run id."
    )


# --- writing -------------------------------------------------------------------------------


def head_data(head: Head) -> bytes:
    """What never changes of a run, packed."""
    data = {
        "b": head.blueprint_id,
        "c": head.created_at,
        "p": head.parent,
        "t": dict(head.tags) or None,
        "k": head.key,
        "i": head.is_part or None,
    }
    kept = {name: value for name, value in data.items() if value is not None}
    text = json.dumps(kept, separators=(",", ":"))
    hash_ = pack_text(head.blueprint_hash)
    return (
        bytes((len(hash_),)) + hash_ + deflate(text.encode(), _dictionary(head.run_id, head.epoch))
    )


def _head_data(run_id: str, epoch: str, data: bytes) -> tuple[str, dict[str, Any]]:
    """The hash of the blueprint, and the rest of what :func:`head_data` packed."""
    end = 1 + data[0]
    rest: dict[str, Any] = json.loads(inflate(data[end:], _dictionary(run_id, epoch)))
    return unpack_text(data[1:end]), rest


def _dictionary(run_id: str, epoch: str) -> bytes:
    """What the head of a run looks like: a part of another one names that, and its epoch."""
    text = f'"k":"","t":{{}},"i":true,,"c":,"p":"[\\"{run_id}\\", \\"{epoch}\\", \\"'
    return text.encode("utf-8", "surrogatepass") + b'\\", [], 1, 1, 0]"{"b":"'


def row_values(row: Row) -> dict[str, Value | None]:
    """The attributes of a row; ``None`` for those that are to be missing."""
    return {
        "s": {"S": status_code(row.status)},
        "x": {"BOOL": True} if row.stopping else None,
        "d": None if row.due_at is None else number(row.due_at),
        "w": {"L": [{"S": event} for event in row.awaits]} if row.awaits else None,
    }


TTL_SECONDS: Final = 7 * 86_400.0
"""How long after its time DynamoDB may remove what workers have not: they remove all of it."""


def time_values(head: Head) -> dict[str, Value]:
    """The attributes that say when a run expires, of its item."""
    if head.expires_at is None:
        return {}
    return {"t": number(head.expires_at), "ttl": ttl_value(head.expires_at)}


def ttl_value(expires_at: float) -> Value:
    """When DynamoDB may remove an item that expires at a time."""
    return {"N": str(math.ceil(expires_at + TTL_SECONDS))}


def place_name(place: str) -> str:
    """A place, as the item has it: most are first attempts, and the item has many of them."""
    return place[:-1] if place.endswith("/1") else place


def _place_of(name: str) -> str:
    return f"{name}1" if name.endswith("/") else name


def lease_value(head: Head, token: str, thread: str, expires_at: float) -> Value:
    """A lease, as the item has it."""
    packed = b"" if thread == start_thread(head.epoch) else pack_text(thread)
    return {"L": [{"B": pack_text(token)}, {"B": packed}, expiry(head, expires_at)]}


def expiry(head: Head, expires_at: float) -> Value:
    """A time as leases have it: in milliseconds since the run was created."""
    return {"N": str(round(expires_at * 1000) - begun_ms(head))}


def new_item(
    head: Head, packed: bytes, settled: int, segments: int, tail: tuple[bytes, ...]
) -> dict[str, Value]:
    """The item of a run that begins."""
    item: dict[str, Value | None] = {
        "runId": {"S": head.run_id},
        "v": {"N": str(FORMAT)},
        "e": {"B": pack_text(head.epoch)},
        "h": {"B": head_data(head)},
        **row_values(head.row),
        "u": number(head.updated_at),
        "r": {"N": "0"},
        "c": {"N": str(settled)},
        "g": {"N": str(segments)} if segments else None,
        "z": {"B": packed} if packed else None,
        "f": {"L": [{"B": data} for data in tail]},
        "l": {"M": {}},
        **time_values(head),
    }
    return {name: value for name, value in item.items() if value is not None}


# --- reading -------------------------------------------------------------------------------


_DAMAGES: Final = (
    ArithmeticError,
    AttributeError,
    LookupError,
    StorageCorrupt,
    TypeError,
    ValueError,
)


def read_item(item: Mapping[str, Any]) -> RunItem:
    """A run item, read.

    Raises:
        StorageTooNew: A newer version wrote it.
        StorageCorrupt: It is damaged.
    """
    run_id = str(item.get("runId", {}).get("S"))
    try:
        version = int(item["v"]["N"])
        if version > FORMAT:
            raise StorageTooNew(
                f"The item of run '{run_id}' has the format {version}, and this version reads "
                f"{FORMAT}: it was written by a newer version. Update this worker."
            )
        if version < 1:
            raise ValueError(f"there is no format {version}")
        return _read(run_id, item)
    except StorageTooNew:
        raise
    except _DAMAGES as error:
        raise StorageCorrupt(
            f"The item of run '{run_id}' is damaged: {error!r}. Restore it from a backup "
            "(point-in-time recovery), or delete the run."
        ) from error


def _read(run_id: str, item: Mapping[str, Any]) -> RunItem:
    epoch = unpack_text(bytes(item["e"]["B"]))
    hash_, fixed = _head_data(run_id, epoch, bytes(item["h"]["B"]))
    settled = int(item["c"]["N"])
    tail = tuple(bytes(each["B"]) for each in item["f"]["L"])
    head = Head(
        run_id=run_id,
        epoch=epoch,
        blueprint_id=fixed["b"],
        blueprint_hash=hash_,
        facts=settled + len(tail),
        row=_row(item),
        created_at=_time(fixed["c"], LATEST),
        updated_at=_time(item["u"]["N"], LATEST),
        parent=fixed.get("p"),
        tags=fixed.get("t", {}),
        key=fixed.get("k"),
        is_part=fixed.get("i", False),
        expires_at=_time(item["t"]["N"]) if "t" in item else None,
    )
    places = ((_place_of(name), value) for name, value in item["l"]["M"].items())
    leases = {place: _lease(head, place, value) for place, value in places}
    return RunItem(
        head=head,
        revision=int(item["r"]["N"]),
        settled=settled,
        segments=int(item["g"]["N"]) if "g" in item else 0,
        packed=bytes(item["z"]["B"]) if "z" in item else b"",
        tail=tail,
        leases=leases,
        size=item_size(item),
        spent=unpack_spent(item),
    )


def _time(value: Any, bound: float = math.inf) -> float:
    time = float(value)
    if not 0 <= time < bound:
        raise ValueError(f"{time} is no time")
    return time


def _row(item: Mapping[str, Any]) -> Row:
    return Row(
        RunStatus(status_name(item["s"]["S"])).value,
        stopping="x" in item and bool(item["x"]["BOOL"]),
        due_at=_time(item["d"]["N"], LATEST) if "d" in item else None,
        awaits=tuple(each["S"] for each in item["w"]["L"]) if "w" in item else (),
    )


def _lease(head: Head, place: str, value: Mapping[str, Any]) -> Lease | None:
    if "L" not in value:
        return None
    token, thread, expires = value["L"]
    packed = bytes(thread["B"])
    expires_ms = begun_ms(head) + int(Decimal(expires["N"]))
    return Lease(
        place,
        unpack_text(bytes(token["B"])),
        unpack_text(packed) if packed else start_thread(head.epoch),
        expires_ms / 1000,
    )
