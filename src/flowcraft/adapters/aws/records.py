"""Reading records, and what is remembered of them: most writes then need no reading."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from flowcraft.adapters.aws.item import SEGMENT_FACTS, RunItem, another_systems, is_ours, read_item
from flowcraft.adapters.aws.packing import Packed
from flowcraft.adapters.aws.parts import Parts
from flowcraft.adapters.aws.transport import Transport
from flowcraft.ports.runs import Entry, Fact, Head

INLINE_BYTES: Final = 384
"""A fact of more bytes than this, packed, is kept in an item of its own: each write of the run
item costs what the whole item takes."""

SURELY_LARGE_BYTES: Final = 256 * 1024
"""A fact of more bytes than this is taken for one of those without being packed to see."""

KNOWN_RUNS: Final = 512
"""Of so many runs it is remembered what their item was like."""

MOST_LATE_CLAIMS: Final = 6
"""After so many claims that came too late the next 62 are made apart, and no more than these."""


class Known:
    """What is known here of a run.

    Attributes:
        item: The item, as it was last seen.
        is_folding: Whether a write that settles facts is under way.
        touched_at: When its row was last written, as far as is known here.
        shown: The revision that its row has at least, as far as is known here.
        owed_at: Since when its row is to be written, because that did not succeed; ``None`` if
            it need not be.
        writers: How many held leases at a time lately.
        stored: How many segments are known to be stored; the item may not refer to all of them.
        is_storing: Whether further ones are just being stored.
    """

    def __init__(self, item: RunItem) -> None:
        self.item = item
        self.is_folding = False
        self.touched_at = item.head.updated_at
        self.shown = 0  # a run begins with its row
        self.owed_at: float | None = None
        self.writers = 1
        self.stored = item.segments
        self.is_storing = False
        self._late_claims = 0
        self._claims_apart = 0
        self._ids: set[str] = set()
        self._ids_until = 0

    @property
    def epoch(self) -> str:
        """Which start of the run this is about."""
        return self.item.head.epoch

    def see(self, item: RunItem) -> RunItem:
        """Take in an item that was read; gives it with what was noticed before."""
        item = item.after(self.item)
        self.writers = max(self.writers, len(item.live()))
        if _age(item) >= _age(self.item):
            self.item = item
        return item

    def may_claim_along(self) -> bool:
        """Whether a write of facts should claim a place, too.

        It is refused if somebody else wrote meanwhile, and is then two writes all the same. Where
        that happens time after time it is not tried for a while.
        """
        if self._claims_apart:
            self._claims_apart -= 1
            return False
        return True

    def note_claim_along(self, *, came_late: bool) -> None:
        """Take in whether such a write came too late."""
        if came_late:
            self._late_claims = min(self._late_claims + 1, MOST_LATE_CLAIMS)
            self._claims_apart = 2**self._late_claims - 2
        else:
            self._late_claims = max(0, self._late_claims - 1)

    def note_ids(self, since: int, facts: Iterable[tuple[int, Packed]]) -> None:
        """Take in the ids of facts from a number on, none of them missing."""
        if since > self._ids_until:
            return
        for place, fact in facts:
            if fact.id is not None:
                self._ids.add(fact.id)
            self._ids_until = max(self._ids_until, place + 1)

    def ids(self, facts: int) -> set[str] | None:
        """The ids of so many facts; ``None`` if not all are known."""
        return self._ids if self._ids_until >= facts else None

    @property
    def ids_until(self) -> int:
        """Of how many facts the ids are known."""
        return self._ids_until


def _age(item: RunItem) -> tuple[int, int, int]:
    return item.facts, item.settled, item.revision


class Records:
    """The records in the context table.

    Args:
        service: DynamoDB.
        table_name: The context table.
        parts: What is kept beside the items; by default in the same table.
    """

    def __init__(self, service: Transport, table_name: str, parts: Parts | None = None) -> None:
        self.service = service
        self.table_name = table_name
        self.parts = parts or Parts(service, table_name)
        self._known: OrderedDict[str, Known] = OrderedDict()

    def known(self, run_id: str, epoch: str | None = None) -> Known | None:
        """What is known of a run, of this start of it."""
        known = self._known.get(run_id)
        return known if known is not None and epoch in (None, known.epoch) else None

    def forget(self, run_id: str) -> None:
        """Remember a run no longer."""
        self._known.pop(run_id, None)

    # -- items ------------------------------------------------------------------------------

    async def item(self, run_id: str) -> RunItem | None:
        """A run's item as it is now; ``None`` if there is none."""
        request = {
            "TableName": self.table_name,
            "Key": {"runId": {"S": run_id}},
            "ConsistentRead": True,
        }
        answer = await self.service.call("GetItem", request)
        return self.take(run_id, answer.get("Item"))

    def take(self, run_id: str, data: Mapping[str, Any] | None) -> RunItem | None:
        """Read an item that an answer brought.

        Raises:
            InvalidRunState: It is another system's.
        """
        if not data:
            self.forget(run_id)
            return None
        if not is_ours(data):
            raise another_systems(self.table_name, run_id)
        item = read_item(data)
        known = self._known.get(run_id)
        if known is None or known.epoch != item.head.epoch:
            known = self._known[run_id] = Known(item.after(None))
            while len(self._known) > KNOWN_RUNS:
                self._known.popitem(last=False)
        self._known.move_to_end(run_id)
        return known.see(item)

    # -- facts ------------------------------------------------------------------------------

    async def facts(self, item: RunItem, since: int) -> tuple[Fact, ...] | None:
        """Facts from a number on; ``None`` if the run is gone meanwhile."""
        with item.named_where_damaged():
            return await self._facts(item, since)

    async def _facts(self, item: RunItem, since: int) -> tuple[Fact, ...] | None:
        found = await self.packed(item, since)
        if found is None:
            return None
        references = [fact.data for _, fact in found if fact.is_away]
        values = await self.parts.values(item.head, references) if references else {}
        missing = [each for each in references if each not in values]
        if missing:
            place = self.parts.place(item.head, missing[0])
            await self._see_what_is_missing(item, f"{place} is missing")
            return None
        return tuple(
            Fact(
                place,
                fact.at,
                fact.thread,
                (values[fact.data] if fact.is_away else fact.data).decode(),
            )
            for place, fact in found
        )

    async def packed(self, item: RunItem, since: int) -> list[tuple[int, Packed]] | None:
        """Facts from a number on as they are kept; ``None`` if the run is gone meanwhile."""
        found: list[tuple[int, Packed]] = []
        if since < item.in_segments:
            first = since // SEGMENT_FACTS
            settled = await self.parts.segments(item, first)
            if settled is None:
                await self._see_what_is_missing(item, "parts of it are missing")
                return None
            found = [
                (place, fact)
                for place, fact in enumerate(settled, first * SEGMENT_FACTS)
                if place >= since
            ]
        found += item.here(max(since, item.in_segments))
        known = self.known(item.head.run_id, item.head.epoch)
        if known is not None:
            known.note_ids(since, found)
        return found

    async def _see_what_is_missing(self, item: RunItem, what: str) -> None:
        """What belongs to an item is not there: so the run was just removed, or is damaged."""
        now = await self.item(item.head.run_id)
        if now is not None and now.head.epoch == item.head.epoch:
            raise item.damaged(what)

    async def ids(self, item: RunItem) -> set[str]:
        """The ids that facts of a run have."""
        known = self.known(item.head.run_id, item.head.epoch)
        ids = None if known is None else known.ids(item.facts)
        if ids is not None:
            return ids
        since = 0 if known is None else known.ids_until
        found = await self.packed(item, since)
        ids = None if known is None else known.ids(item.facts)
        if ids is not None:
            return ids
        return {fact.id for _, fact in found or () if fact.id is not None}

    async def pack(self, head: Head, entries: Sequence[Entry], thread: str) -> list[Packed]:
        """Entries as they are kept; what is large is stored first, or nothing is.

        Raises:
            StorageFull: One is larger than anything may be.
        """
        texts = [entry.data.encode() for entry in entries]
        large = {
            place: await self.parts.value(head, data)
            for place, data in enumerate(texts)
            if self._is_large(data)
        }
        packed = []
        for place, (entry, data) in enumerate(zip(entries, texts, strict=True)):
            value = large.get(place)
            if value is None:
                packed.append(Packed(entry.at, thread, data, entry.id))
            else:
                reference = await self.parts.put_value(head, value)
                packed.append(Packed(entry.at, thread, reference, entry.id, is_away=True))
        return packed

    def _is_large(self, data: bytes) -> bool:
        if len(data) <= INLINE_BYTES:
            return False
        return len(data) > SURELY_LARGE_BYTES or len(self.parts.shortened(data)) > INLINE_BYTES


def places_of(facts: Sequence[tuple[int, Packed]], new: Sequence[Packed]) -> int | None:
    """The number of the first of some facts where they are there already, in a row."""
    if not new:
        return None
    for at in range(len(facts) - len(new) + 1):
        if all(facts[at + k][1] == fact for k, fact in enumerate(new)):
            return facts[at][0]
    return None
