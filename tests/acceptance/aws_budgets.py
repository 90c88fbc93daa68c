"""Prints what runs cost on AWS: ``python -m tests.acceptance.aws_budgets``."""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Callable

from tests.acceptance.aws_counting import Bill
from tests.acceptance.aws_shapes import Shape, batch, chain, count, fan, fleet_at, kilobytes, loop
from tests.emulators import ministack
from tests.emulators.aws import AwsNames

SHAPES: dict[str, Callable[[], Shape]] = {
    "chain of 50": lambda: chain(50),
    "fan of 50": lambda: fan(50),
    "fan of 50, 1 KB each": lambda: fan(50, kilobytes(1024)),
    "loop of 3 × 50": lambda: loop(50),
    "chain of 1,000": lambda: chain(1000),
    "fan of 1,000": lambda: fan(1000),
    "loop of 3 × 1,000": lambda: loop(1000),
    "batch of 100": lambda: batch(100),
    "batch of 2,000": lambda: batch(2_000),
    "batch of 10,000": lambda: batch(10_000),
}


def line(name: str, shape: Shape, bill: Bill, seconds: float) -> str:
    """A row of the table."""
    nodes = shape.nodes
    return " | ".join(
        (
            f"| {name}",
            f"{bill.all_requests / nodes:.3f}",
            f"{bill.usd * 1e6 / nodes:.3f}",
            f"{bill.write_units / nodes:.3f}",
            f"{bill.read_units / nodes:.3f}",
            f"{bill.sqs_requests / nodes:.3f}",
            f"{bill.refused}",
            f"{bill.largest_run_item:,}",
            f"{seconds:.1f} |",
        )
    )


def main() -> int:
    """Count, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--shape", action="append", default=[], help="a part of its name")
    parser.add_argument("--requests", action="store_true", help="print the requests, too")
    options = parser.parse_args()
    numbers = itertools.count(1)
    print(
        "| shape | requests | USD per million | write units | read units | SQS requests "
        "| refused | largest run item | seconds |\n|---|---|---|---|---|---|---|---|---|"
    )
    with ministack.running() as endpoint:
        for name, make in SHAPES.items():
            if options.shape and not any(part in name for part in options.shape):
                continue
            shape, begun = make(), time.perf_counter()
            with fleet_at(endpoint, AwsNames.numbered(next(numbers))) as fleet:
                bill = count(shape, fleet, workers=options.workers, timeout_seconds=600.0)
            print(line(name, shape, bill, time.perf_counter() - begun), flush=True)
            if options.requests:
                print(f"  {dict(bill.requests)}, by size {bill.sized_write_units:g} write units")
    return 0


if __name__ == "__main__":
    sys.exit(main())
