"""What a conditional write comes to, and the one request that does it or refuses it.

:func:`ruling` says what the rules of the port make of a change on an item as it is known. The
request built from it requires just what the ruling rests on. If it is refused the item has become
another one, which the refusal brings along, and there is a new ruling.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from flowcraft.adapters.aws.folding import Fold
from flowcraft.adapters.aws.item import (
    OVER,
    RunItem,
    expiry,
    lease_value,
    number,
    place_name,
    row_values,
    status_code,
    time_values,
)
from flowcraft.adapters.aws.packing import pack_text
from flowcraft.adapters.aws.updates import Update
from flowcraft.core.state import FINAL_STATUSES
from flowcraft.ports.runs import Change, Claim, Holding, Lease, Row, Verdict

_END_OF_LIST: Final = 1_000_000
"""An index beyond any list: what is set there is appended."""


@dataclass(frozen=True, slots=True)
class Ruling:
    """What is to become of a change.

    Attributes:
        verdict: Why nothing is written; ``DONE`` otherwise.
        grant: How the lease is taken: at a free place, or as one's own that is renewed.
        lease: What stands in the way of the claim.
        row: The row to write.
        needs_count: Whether it rests on how many facts there are.
    """

    verdict: Verdict
    grant: Literal["free", "own"] | None = None
    lease: Lease | None = None
    row: Row | None = None
    needs_count: bool = False


def ruling(
    change: Change, item: RunItem, ids: Collection[str], now: float, *, is_fresh: bool
) -> Ruling:
    """What is to become of a change on an item.

    Args:
        change: The change.
        item: The item, of the change's epoch.
        ids: The ids of the item's facts; needed only if an entry has one.
        now: The time, by which leases expire.
        is_fresh: Whether the item was read since the change was asked for. Otherwise leases may
            be others by now: what is hoped for is tried, and the condition decides.
    """
    is_current = change.seen == item.facts
    if change.exact and not is_current:
        return Ruling(Verdict.STALE)
    new_ids = [entry.id for entry in change.entries if entry.id is not None]
    if len(set(new_ids)) < len(new_ids) or any(id_ in ids for id_ in new_ids):
        return Ruling(Verdict.KNOWN)
    if change.holding is not None and is_fresh and not _holds(item, change.holding, now):
        return Ruling(Verdict.LOST)
    grant, lease = (None, None) if change.claim is None else _grant(change, item, is_fresh)
    row = change.row if is_current and _may_write(item, change.row) else None
    needs_count = change.exact or bool(new_ids) or row is not None
    if grant == "free" and change.entries:
        needs_count = True
    return Ruling(Verdict.DONE, grant, lease, row, needs_count)


def is_nothing(change: Change, rule: Ruling) -> bool:
    """Whether there is nothing to write."""
    return not (change.entries or change.holding or rule.grant or rule.row)


def _holds(item: RunItem, holding: Holding, now: float) -> bool:
    lease = item.leases.get(holding.place)
    if lease is None or lease.token != holding.token:
        return False
    return not holding.expired or lease.expires_at <= now


def _grant(
    change: Change, item: RunItem, is_fresh: bool
) -> tuple[Literal["free", "own"] | None, Lease | None]:
    claim, holding = change.claim, change.holding
    assert claim is not None
    knows_enough = change.seen == item.facts if change.entries else change.seen >= item.settled
    if holding is not None and holding.place == claim.place:
        # The lease that the write ends is at this place.
        if not holding.give_back:
            return None, _over(claim.place)
        return ("free" if knows_enough else None), None
    if claim.place not in item.leases:
        return ("free" if knows_enough else None), None
    lease = item.leases[claim.place]
    if lease is None:
        return None, _over(claim.place)
    if lease.token == claim.token:
        return "own", None
    if is_fresh:
        return None, lease
    return ("free" if knows_enough else None), lease


def _over(place: str) -> Lease:
    return Lease(place, "", "", 0.0, over=True)


def _may_write(item: RunItem, row: Row | None) -> bool:
    status = item.head.row.status
    return row is not None and (status not in FINAL_STATUSES or row.status == status)


# --- the request ---------------------------------------------------------------------------


def request(
    table_name: str,
    change: Change,
    item: RunItem,
    rule: Ruling,
    entries: Sequence[bytes],
    folding: Fold | None,
    now: float,
    retention_seconds: float | None = None,
) -> dict[str, Any]:
    """The update that does what the ruling says, or is refused.

    Args:
        table_name: The context table.
        change: The change.
        item: The item that the ruling is about.
        rule: The ruling.
        entries: The facts to append, packed.
        folding: What is settled along with it.
        now: The time.
        retention_seconds: How long after its end a run is kept.
    """
    update = Update(table_name, {"runId": {"S": change.run_id}})
    update.require_equal(update.path("e"), {"B": pack_text(change.epoch)})
    require_time(update, item)
    if rule.needs_count or folding is not None:
        update.require_equal(update.path("c"), {"N": str(item.settled)})
    if rule.needs_count:
        size = update.value({"N": str(len(item.tail))})
        update.require(f"size({update.path('f')}) = {size}")
    kept = {each.place for each in (change.claim, change.holding) if each is not None}
    _append(update, entries, folding, kept)
    if change.holding is not None:
        is_taken_again = rule.grant == "free" and _same_place(change)
        _end(update, item, change.holding, now, is_taken_again)
    if change.claim is not None and rule.grant is not None:
        _take(update, change, change.claim, item, rule, now)
    if rule.row is not None:
        _set_row(update, item, rule.row, now)
        expires_at = item.head.expiry(rule.row, now, retention_seconds)
        if expires_at != item.head.expires_at:
            for name, value in time_values(replace(item.head, expires_at=expires_at)).items():
                update.set_value(name, value)
    return update.request()


def require_time(update: Update, item: RunItem) -> None:
    """Require that nobody has removed the run: that it expires when it is known to."""
    expires_at = item.head.expires_at
    if expires_at is None:
        update.require(f"attribute_not_exists({update.path('t')})")
    else:
        update.require_equal(update.path("t"), number(expires_at))


def _same_place(change: Change) -> bool:
    claim, holding = change.claim, change.holding
    return claim is not None and holding is not None and claim.place == holding.place


def _append(
    update: Update, entries: Sequence[bytes], folding: Fold | None, kept: Collection[str]
) -> None:
    if folding is None:
        if entries:
            new = update.value({"L": [{"B": data} for data in entries]})
            facts = update.path("f")
            update.set(facts, f"list_append({facts}, {new})")
        return
    for place, data in enumerate(entries, _END_OF_LIST):
        update.set(update.path("f", place), update.value({"B": data}))
    # Indices are those of the list as it was before. From the last to the first it is the same to
    # a stand-in that removes one after the other.
    for place in reversed(range(folding.removed)):
        update.remove(update.path("f", place))
    update.set_value("c", {"N": str(folding.settled)})
    update.set_value("z", {"B": folding.packed} if folding.packed else None)
    if folding.segments:
        path = update.path("g")
        new = update.value({"N": str(folding.segments)})
        update.set(path, f"if_not_exists({path}, {update.value({'N': '0'})}) + {new}")
    for place_over in folding.over:
        if place_over not in kept:
            update.remove(update.path("l", place_name(place_over)))


def _end(update: Update, item: RunItem, holding: Holding, now: float, is_taken_again: bool) -> None:
    lease = update.path("l", place_name(holding.place))
    update.require_equal(f"{lease}[0]", {"B": pack_text(holding.token)})
    if holding.expired:
        update.require(f"{lease}[2] <= {update.value(expiry(item.head, now))}")
    if not holding.give_back:
        update.set(lease, update.value(OVER))
    elif not is_taken_again:
        update.remove(lease)


def _take(
    update: Update, change: Change, claim: Claim, item: RunItem, rule: Ruling, now: float
) -> None:
    lease = update.path("l", place_name(claim.place))
    until = now + claim.seconds
    if rule.grant == "own":
        update.require_equal(f"{lease}[0]", {"B": pack_text(claim.token)})
        update.set(f"{lease}[2]", update.value(expiry(item.head, until)))
        return
    if not _same_place(change):
        update.require(f"attribute_not_exists({lease})")
    if not rule.needs_count:
        # What is settled may have ended the attempt: who claims it has to know that much.
        update.require(f"{update.path('c')} <= {update.value({'N': str(change.seen)})}")
    update.set(lease, update.value(lease_value(item.head, claim.token, claim.thread, until)))


def _set_row(update: Update, item: RunItem, row: Row, now: float) -> None:
    # A final status is never taken back: so it must still be what it was.
    update.require_equal(update.path("s"), {"S": status_code(item.head.row.status)})
    for name, value in row_values(row).items():
        update.set_value(name, value)
    update.set_value("u", number(now))
    path = update.path("r")
    update.set(path, f"{path} + {update.value({'N': '1'})}")
