"""What AWS charges, by region: a table as data, which users may replace by their own.

The prices are those of on-demand capacity, standard tables, standard queues, without free tiers,
taxes and discounts. Those of us-east-1 and us-west-2 are the published ones. Those of DynamoDB in
the other regions were taken as half of what they were before November 2024, when AWS halved its
prices for on-demand throughput, and were not compared with the price list since: they may be off by
some percent. Compare them with your bill, or give your own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

DATED: Final = "2025-09"
SOURCE: Final = (
    "aws.amazon.com/dynamodb/pricing/on-demand, aws.amazon.com/sqs/pricing, "
    "aws.amazon.com/s3/pricing, aws.amazon.com/lambda/pricing"
)
DEFAULT_REGION: Final = "us-east-1"
MILLION: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices in dollars.

    Attributes:
        write_units: Of a million write units of DynamoDB.
        read_units: Of a million read units of DynamoDB.
        sqs_requests: Of a million requests to SQS.
        table_gb_months: Of a GB in a table for a month.
        s3_puts: Of a million objects that are put.
        s3_gets: Of a million objects that are read.
        s3_gb_months: Of a GB in S3 for a month.
        lambda_requests: Of a million calls of functions.
        lambda_gb_seconds: Of a million GB-seconds of functions.
    """

    write_units: float
    read_units: float
    sqs_requests: float
    table_gb_months: float
    s3_puts: float = 5.0
    s3_gets: float = 0.4
    s3_gb_months: float = 0.023
    lambda_requests: float = 0.2
    lambda_gb_seconds: float = 16.6667

    def usd(self, *, sqs_requests: float, write_units: float, read_units: float) -> float:
        """What requests and units come to, in dollars."""
        return (
            sqs_requests * self.sqs_requests
            + write_units * self.write_units
            + read_units * self.read_units
        ) / MILLION


PRICES: Final[Mapping[str, Prices]] = {
    "us-east-1": Prices(0.625, 0.125, 0.40, 0.25),
    "us-east-2": Prices(0.625, 0.125, 0.40, 0.25),
    "us-west-2": Prices(0.625, 0.125, 0.40, 0.25),
    "eu-west-1": Prices(0.705, 0.141, 0.40, 0.283),
    "eu-central-1": Prices(
        0.7625, 0.1525, 0.40, 0.306, s3_puts=5.4, s3_gets=0.43, s3_gb_months=0.0245
    ),
    "ap-southeast-2": Prices(
        0.7115, 0.1423, 0.40, 0.285, s3_puts=5.5, s3_gets=0.44, s3_gb_months=0.025
    ),
}
"""By region, as of :data:`DATED`."""


def prices_of(prices: Prices | str | None) -> Prices:
    """Prices as they were given, or those of a region.

    Args:
        prices: Prices, the name of a region, or ``None`` for us-east-1.

    Raises:
        TypeError: It is neither.
        ValueError: There are none of this region; the message says which there are.
    """
    if isinstance(prices, Prices):
        return prices
    if not isinstance(prices, str | None):
        raise TypeError(f"prices are Prices(…), or the name of a region, not {prices!r}.")
    found = PRICES.get(prices or DEFAULT_REGION)
    if found is None:
        raise ValueError(
            f"There are no prices of the region '{prices}' here, only of {', '.join(PRICES)}. Give "
            "them: Prices(write_units=…, read_units=…, sqs_requests=…, table_gb_months=…)."
        )
    return found
