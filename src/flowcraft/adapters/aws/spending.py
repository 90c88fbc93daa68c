"""What a run has cost, as its item has it: one number that any update can add to.

The number has four counts in it, each with nine digits of its own, so that adding to it adds to
each: write units, read units in halves, requests to SQS and all requests in hundredths. That is
enough for ten million requests of a run; what it could cost with more nobody would want to know.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

from flowcraft.adapters.aws.prices import Prices
from flowcraft.ports.usage import Usage

_DIGITS: Final = 10**9
_STEPS: Final = (1, 2, 100, 100)
"""How many steps of a count make one: of write units, read units, SQS requests, requests."""


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


def pack_spent(spent: Spent) -> dict[str, Any]:
    """The number that is to be added, or to begin with."""
    counts = (spent.write_units, spent.read_units, spent.sqs_requests, spent.requests)
    number = 0
    for place, (count, steps) in enumerate(zip(counts, _STEPS, strict=True)):
        number += round(count * steps) * _DIGITS**place
    return {"N": str(number)}


def unpack_spent(value: Any) -> Spent:
    """The counts of a number."""
    number = int(value["N"])
    counts = []
    for steps in _STEPS:
        number, count = divmod(number, _DIGITS)
        counts.append(count / steps)
    write_units, read_units, sqs_requests, requests = counts
    return Spent(requests, sqs_requests, write_units, read_units)
