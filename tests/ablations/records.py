"""Safeguards about the records of runs: who may write, and on what condition."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, Final

from flowcraft.adapters.aws import parts, planning, writing
from flowcraft.adapters.aws.rows import StatusRows
from flowcraft.adapters.aws.writing import Writer
from flowcraft.engine.ledger import Ledger
from flowcraft.engine.station import Station
from flowcraft.engine.storing import Storing
from flowcraft.engine.strand import Strand
from flowcraft.testing.simulate.aws import FaultyTransport
from flowcraft.testing.simulate.faults import Kind
from tests.ablations.switch import Ablation, Lenient, Swap, always, never_waits

MEETING: Final = ("diamond", "fan", "loop", "any-join")


def _granted(grant: Any) -> Any:
    def ablated(change: Any, item: Any, is_fresh: bool) -> Any:
        granted, lease = grant(change, item, is_fresh)
        return ("free", None) if lease is not None and not lease.over else (granted, lease)

    return ablated


def _lenient(*without: str) -> Any:
    """The same function, on an update that requires less."""

    def make(function: Any) -> Any:
        def ablated(update: Any, *arguments: Any) -> Any:
            return function(Lenient(update, *without), *arguments)

        return ablated

    return make


def _whoever_holds(holds: Any) -> Any:
    def ablated(item: Any, holding: Any, now: float) -> bool:
        lease = item.leases.get(holding.place)
        token = holding.token if lease is None else lease.token
        return bool(holds(item, replace(holding, token=token), now))

    return ablated


def _as_if_not_expired(holds: Any) -> Any:
    def ablated(item: Any, holding: Any, now: float) -> bool:
        return bool(holds(item, replace(holding, expired=False), now))

    return ablated


def _expired(look: Any) -> Any:
    """Leases as they are seen, each of which has expired."""

    def ablated(self: Ledger, asked: int, record: Any) -> None:
        leases = tuple(replace(each, expires_at=0.0) for each in record.leases)
        look(self, asked, replace(record, leases=leases))

    return ablated


def _inexact(append: Any) -> Any:
    async def ablated(self: Strand, *arguments: Any, **options: Any) -> Any:
        if options.get("holding") is not None:
            options["exact"] = False
        return await append(self, *arguments, **options)

    return ablated


def _as_known_now(change: Any) -> Any:
    def ablated(self: Storing, *, seen: int | None = None, **more: Any) -> Any:
        return change(self, **more)

    return ablated


def _knows_enough(grant: Any) -> Any:
    def ablated(change: Any, item: Any, is_fresh: bool) -> Any:
        return grant(replace(change, seen=max(change.seen, item.facts)), item, is_fresh)

    return ablated


def _needs_no_count(ruling: Any) -> Any:
    def ablated(change: Any, item: Any, ids: Any, now: float, *, is_fresh: bool) -> Any:
        rule = ruling(change, item, ids, now, is_fresh=is_fresh)
        has_ids = any(entry.id is not None for entry in change.entries)
        return replace(rule, needs_count=change.exact or has_ids or rule.row is not None)

    return ablated


def _row_anyhow(ruling: Any) -> Any:
    def ablated(change: Any, item: Any, ids: Any, now: float, *, is_fresh: bool) -> Any:
        rule = ruling(change, item, ids, now, is_fresh=is_fresh)
        has_ids = any(entry.id is not None for entry in change.entries)
        needs_count = change.exact or has_ids or (rule.grant == "free" and bool(change.entries))
        return replace(rule, row=change.row, needs_count=needs_count)

    return ablated


def _inconsistent(call: Any) -> Any:
    async def ablated(self: FaultyTransport, operation: str, request: Any) -> Any:
        request = {name: each for name, each in request.items() if name != "ConsistentRead"}
        tables = request.get("RequestItems")
        if operation == "BatchGetItem" and tables is not None:
            request["RequestItems"] = {
                table: {name: each for name, each in wanted.items() if name != "ConsistentRead"}
                for table, wanted in tables.items()
            }
        return await call(self, operation, request)

    return ablated


def _segments_first_named(fold: Any) -> Any:
    """What is settled as if segments were stored that are about to be."""

    def ablated(item: Any, added: int, writers: int = 1, **options: Any) -> Any:
        folding = fold(item, added, writers, **options)
        if folding is None or not folding.ahead:
            return folding
        options["stored"] = item.segments + folding.segments + len(folding.ahead)
        return fold(item, added, writers, **options)._replace(ahead=folding.ahead)

    return ablated


STORED_LATE_SECONDS: Final = 0.01


async def _store_late(self: Writer, known: Any, item: Any, folding: Any) -> None:
    await asyncio.sleep(STORED_LATE_SECONDS)
    first = item.segments + folding.segments - len(folding.ahead)
    await self._records.parts.put_segments(item.head, first, folding.ahead)


def _whatever_epoch(function: Any) -> Any:
    async def ablated(self: Station, run_id: str, epoch: str | None = None, **options: Any) -> Any:
        return await function(self, run_id, None, **options)

    return ablated


def _put_anyhow(put: Any) -> Any:
    async def ablated(
        self: StatusRows, head: Any, revision: int, condition: str, values: Any
    ) -> Any:
        if " AND r < :r" in condition:
            condition, values = "attribute_not_exists(runId) OR attribute_exists(runId)", {}
        return await put(self, head, revision, condition, values)

    return ablated


def _any_look(look: Any) -> Any:
    def ablated(self: Ledger, asked: int, record: Any) -> None:
        self._looked = (0, 0)
        look(self, asked, record)

    return ablated


def _put_later(put_value: Any) -> Any:
    """A value is stored in the bucket, but only once it has been referred to."""

    async def ablated(self: parts.Parts, head: Any, value: Any) -> Any:
        if self._objects is None or len(value.packed) <= self._object_bytes:
            return await put_value(self, head, value)

        async def later() -> None:
            await asyncio.sleep(STORED_LATE_SECONDS)
            await put_value(self, head, value)

        self.__dict__.setdefault("later", []).append(asyncio.ensure_future(later()))
        return value.digest + parts._IN_OBJECT

    return ablated


ABLATIONS: Final = (
    Ablation(
        "answered-again",
        "A write that is made again is answered as the first one was, whose answer was lost.",
        [Swap(Writer, "_done_before", never_waits())],
        ("chain", "fan", "retry", "sleep"),
        backend="aws",
        kinds=(Kind.LOST,),
    ),
    Ablation(
        "conditional-claim",
        "A lease is granted only where nobody has one.",
        [
            Swap(planning, "_grant", _granted),
            Swap(planning, "_take", _lenient("attribute_not_exists")),
        ],
        MEETING,
        "aws",
    ),
    Ablation(
        "fencing-token",
        "An outcome is stored only if the lease still has the token that its attempt began with.",
        [
            Swap(planning, "_holds", _whoever_holds),
            Swap(planning, "_end", _lenient("[0] =")),
        ],
        MEETING,
        "aws",
        always={"slow": True},
    ),
    Ablation(
        "lease-expiry",
        "A lease is taken over only once it has expired.",
        [
            Swap(planning, "_holds", _as_if_not_expired),
            Swap(planning, "_end", _lenient("[2] <=")),
            Swap(Ledger, "look", _expired),
        ],
        MEETING,
        "aws",
        always={"slow": True},
    ),
    Ablation(
        "commit-condition",
        "An outcome whose consequences depend on expressions is stored only if these have seen "
        "all that is stored before it.",
        [Swap(Strand, "_append", _inexact)],
        ("moody",),
        "aws",
    ),
    Ablation(
        "as-decided",
        "A write counts as that of somebody who knew what was known when it was decided.",
        [Swap(Storing, "_change", _as_known_now)],
        ("limit-pause-anywhere",),
    ),
    Ablation(
        "control-word",
        "Nothing begins in a run that is to stop, as its record says when the attempt is claimed.",
        [Swap(Strand, "_is_too_late", always(False))],
        ("cancel", "cancel-lattice", "cancel-below"),
        "aws",
    ),
    Ablation(
        "claim-knows",
        "A successor is claimed along with an outcome only if nothing else was stored meanwhile.",
        [
            Swap(planning, "_grant", _knows_enough),
            Swap(planning, "_take", _lenient("<=")),
            Swap(writing, "ruling", _needs_no_count),
        ],
        ("pause-anywhere", "limit-pause-anywhere"),
        "aws",
    ),
    Ablation(
        "consistent-reads",
        "Every read that decides something tells how it is now.",
        [Swap(FaultyTransport, "call", _inconsistent)],
        MEETING,
        "aws",
    ),
    Ablation(
        "folding-order",
        "Facts leave the item of a run only when the segment is stored that they go to.",
        [
            Swap(writing, "fold", _segments_first_named),
            Swap(Writer, "_store_ahead", lambda _: _store_late),
        ],
        ("broad",),
        "aws",
    ),
    Ablation(
        "epoch",
        "A message of an earlier start of the same run id does nothing.",
        [Swap(Station, "open", _whatever_epoch), Swap(Station, "read", _whatever_epoch)],
        ("again",),
    ),
    Ablation(
        "row-order",
        "A row is written only over an older one.",
        [Swap(StatusRows, "_put", _put_anyhow)],
        ("diamond", "pause", "cancel", "answer", "sleep"),
        "aws",
    ),
    Ablation(
        "row-again",
        "A row that was foreseen, and is not what came of it, is written again.",
        [Swap(Storing, "_bring_row_up_to_date", never_waits())],
        ("wide", "lattice"),
        "aws",
    ),
    Ablation(
        "row-current",
        "A row is written only by who knows all facts, and never over one of a run that is over.",
        [
            Swap(writing, "ruling", _row_anyhow),
            Swap(planning, "_set_row", _lenient("=")),
        ],
        ("diamond", "pause", "cancel", "answer", "sleep-beside"),
        "aws",
        unseen="A row that is not what came of it is written again at once (`row-again`), and what "
        "the facts say of the end never changes; it is for workers that disagree about that. "
        "Looked for in 300 runs.",
    ),
    Ablation(
        "row-follows",
        "Whoever reads a run sees to its row, which its last writer may not have written.",
        [Swap(Writer, "see_to_row", never_waits())],
        ("event",),
        "aws",
        kinds=(Kind.CRASH_BEFORE, Kind.CRASH_AFTER),
    ),
    Ablation(
        "look-order",
        "What an old answer says of leases and rows does not replace what a later one said.",
        [Swap(Ledger, "look", _any_look)],
        ("chain", "diamond", "retry-later", "sleep-beside"),
        kinds=(Kind.SLOW_AFTER, Kind.CRASH_AFTER, Kind.CRASH_BEFORE),
        always={"doubles": True},
        unseen="It takes a slow answer, a second delivery and a death within one lease: once in "
        "12,000 runs. `tests/unit/test_station.py` shows it. Looked for in 1,500 runs.",
    ),
    Ablation(
        "content-key",
        "What is large has a key made of its content, so that no attempt overwrites another's.",
        [Swap(parts, "_digest", always(b"\0" * 12))],
        ("spilled",),
        "aws",
    ),
    Ablation(
        "object-first",
        "What is large is stored before anything refers to it.",
        [Swap(parts.Parts, "put_value", _put_later)],
        ("spilled",),
        "aws",
    ),
)
