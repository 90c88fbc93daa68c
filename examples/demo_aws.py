"""``make demo-aws``: the demo on SQS and DynamoDB, which an emulator on this machine stands for."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from examples.demo import show
from examples.order_aws import Place, client_of
from examples.order_worker import AWS_FILE, LEASE_SECONDS
from tests.emulators import aws, ministack


def set_up(endpoint: str) -> Place:
    """Create the queue and the three tables."""
    names = aws.AwsNames.numbered(1)
    sqs, dynamodb = client_of("sqs", endpoint), client_of("dynamodb", endpoint)
    try:
        aws.create_tables(dynamodb, names)
        url = aws.create_queue(
            sqs,
            names.queue,
            visibility_seconds=int(LEASE_SECONDS),
            dead_letters=names.dead_letters,
        )
    finally:
        sqs.close()
        dynamodb.close()
    return Place(endpoint, url, names.contexts, names.statuses, names.coordination)


def main() -> int:
    """Run the emulator, and the demo on it."""
    with ministack.running() as endpoint, tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        set_up(endpoint).write(directory / AWS_FILE)
        print(f"An emulator of AWS (ministack) listens at {endpoint}.")
        return asyncio.run(show(directory, "one SQS queue and three DynamoDB tables"))


if __name__ == "__main__":
    sys.exit(main())
