"""What a run has cost, as its item has it: four whole numbers that any update can add to.

They are small: of two to four bytes each, and two for the name. Stand-ins for DynamoDB that reckon
with floating point keep them, which they would not if all were digits of one number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from flowcraft.adapters.aws.prices import Prices
from flowcraft.core.state import Usage

_FIELDS: Final = {
    "$n": ("requests", 100),
    "$q": ("sqs_requests", 100),
    "$w": ("write_units", 1),
    "$r": ("read_units", 2),
}
"""By attribute: what it counts, and how many steps make one."""


class Spent(NamedTuple):
    """What was asked for; ``requests`` are all, ``sqs_requests`` those to the queue."""

    requests: float = 0.0
    sqs_requests: float = 0.0
    write_units: float = 0.0
    read_units: float = 0.0

    def plus(self, other: Spent) -> Spent:
        """Both together."""
        return Spent(
            self.requests + other.requests,
            self.sqs_requests + other.sqs_requests,
            self.write_units + other.write_units,
            self.read_units + other.read_units,
        )

    def split(self) -> tuple[Spent, Spent]:
        """What can be written in whole steps, and the rest."""
        whole = Spent(
            _whole(self.requests, 100),
            _whole(self.sqs_requests, 100),
            _whole(self.write_units, 1),
            _whole(self.read_units, 2),
        )
        return whole, self.plus(Spent(*(-each for each in whole)))

    def usage(self, prices: Prices) -> Usage:
        """The same, with what it comes to."""
        usd = prices.usd(
            sqs_requests=self.sqs_requests,
            write_units=self.write_units,
            read_units=self.read_units,
        )
        return Usage(self.requests, self.sqs_requests, self.write_units, self.read_units, usd)


def _whole(value: float, steps: int) -> float:
    """Rounded down to steps; sums of shares that make one come out as one."""
    return math.floor(value * steps + 1e-6) / steps


AFTERWARDS: Final = Spent(requests=2.0, sqs_requests=1.0, write_units=1.0)
"""What follows the last write of a run: the row is written, and a message deleted."""


def pack_spent(spent: Spent) -> dict[str, dict[str, str]]:
    """What is to be added to the attributes of an item, or to begin with; without what is 0."""
    steps = {name: round(getattr(spent, field) * each) for name, (field, each) in _FIELDS.items()}
    return {name: {"N": str(count)} for name, count in steps.items() if count}


def unpack_spent(item: Mapping[str, Any]) -> Spent | None:
    """What an item says was spent; ``None`` if nobody has counted."""
    if _FIELDS.keys().isdisjoint(item):
        return None
    counts = {
        field: int(item[name]["N"]) / each
        for name, (field, each) in _FIELDS.items()
        if name in item
    }
    return Spent(**counts)
