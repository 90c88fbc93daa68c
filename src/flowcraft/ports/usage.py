"""What a run has cost, as far as its store counts that."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Usage:
    """What has been asked of services for a run.

    Of a request that was made for several runs each has its share.

    Attributes:
        requests: Requests, those to the queue included.
        sqs_requests: Requests to the queue; one that carries more counts for each 64 KB begun.
        write_units: Write units of the tables.
        read_units: Read units of the tables.
        usd: What it comes to, in dollars, at the prices that the reader was given.
    """

    requests: float
    sqs_requests: float
    write_units: float
    read_units: float
    usd: float

    def __str__(self) -> str:
        return (
            f"{self.usd:.6f} USD: {self.requests:.1f} requests, {self.sqs_requests:.1f} of them to "
            f"SQS, {self.write_units:g} write units, {self.read_units:g} read units"
        )
