"""Worker processes on an emulator of AWS, and the resources that they share."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from flowcraft.aws import SqsAdapter
from tests.acceptance import aws_worker
from tests.acceptance.test_workers import ROOT
from tests.emulators.aws import AwsNames, client, create_queue, create_tables


class Fleet:
    """Queue and tables of one test.

    Attributes:
        sqs: A client.
        dynamodb: A client.
        queue_url: The queue.
        dead_url: The queue of dead letters.
    """

    def __init__(
        self, directory: Path, endpoint: str, names: AwsNames, lease_seconds: float
    ) -> None:
        self.directory, self.names = directory, names
        self.sqs, self.dynamodb = client("sqs", endpoint), client("dynamodb", endpoint)
        create_tables(self.dynamodb, names)
        self.queue_url = create_queue(
            self.sqs,
            names.queue,
            visibility_seconds=int(lease_seconds),
            dead_letters=names.dead_letters,
            max_receives=3,
        )
        self.dead_url = self.sqs.get_queue_url(QueueName=names.dead_letters)["QueueUrl"]
        place = {
            "endpoint": endpoint,
            "queue_url": self.queue_url,
            "lease_seconds": lease_seconds,
            "names": asdict(names),
        }
        (directory / "place.json").write_text(json.dumps(place), encoding="utf-8")

    def adapter(self, **options: Any) -> SqsAdapter:
        """An adapter in this process."""
        return aws_worker.adapter(self.directory, **options)

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[asyncio.subprocess.Process]:
        """A worker process; what is left of it at the end is killed."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.acceptance.aws_worker", str(self.directory)),
            cwd=ROOT,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
                await process.communicate()

    async def emptied(self) -> None:
        """Wait until no message is left, which the workers that are there have to see to."""
        while self.messages(self.queue_url):
            await asyncio.sleep(0.05)

    def messages(self, url: str) -> int:
        """How many messages a queue has, visible, hidden or delayed."""
        answer = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
        names = ("", "NotVisible", "Delayed")
        return sum(
            int(answer["Attributes"][f"ApproximateNumberOfMessages{name}"]) for name in names
        )


@contextmanager
def fleet_in(
    directory: Path,
    endpoint: str,
    names: AwsNames,
    lease_seconds: float = aws_worker.LEASE_SECONDS,
) -> Iterator[Fleet]:
    """Resources of a test's own."""
    fleet = Fleet(directory, endpoint, names, lease_seconds)
    try:
        yield fleet
    finally:
        fleet.sqs.close()
        fleet.dynamodb.close()
