"""What is there when all is over: runs, leases, messages, locks. Read without the proxy."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from flowcraft.engine.client import FlowClient
from flowcraft.engine.presence import KINDS
from flowcraft.engine.stored import StoredRun
from flowcraft.ports.runs import Query
from tests.acceptance.chaos.worker import Place, client_of
from tests.emulators.aws import client

ALL: Final = Query(limit=1_000_000, parts=True)
COUNTS: Final = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)


ENDS_WITHIN_SECONDS: Final = 60.0


@dataclass(frozen=True)
class Remains:
    """What is left of a campaign.

    Attributes:
        runs: The runs that were started, by id, as they were read at the end.
        rows: The status of every run there is, child runs and parts of batches included, by id.
        parents: Of each run that belongs to another, that other's id.
        leases: Runs that somebody still holds a lease of.
        dead: The bodies of messages in the dead-letter queue.
        queued: How many messages are on the queue.
        locks: Locks in the coordination table that do not end by themselves soon.
        missing: Runs that were started and are not there.
    """

    runs: Mapping[str, StoredRun]
    rows: Mapping[str, str]
    parents: Mapping[str, str]
    leases: Sequence[str]
    dead: Sequence[str]
    queued: int
    locks: Sequence[str]
    missing: Sequence[str]


class Queues:
    """The two queues of a campaign, read at the emulator itself."""

    def __init__(self, place: Place, direct: str) -> None:
        self._place = place
        self._sqs = client("sqs", direct)

    def close(self) -> None:
        """Close the connections."""
        self._sqs.close()

    def count(self) -> int:
        """How many messages the queue of jobs has, visible, hidden or delayed."""
        answer = self._sqs.get_queue_attributes(
            QueueUrl=self._place.queue_url, AttributeNames=list(COUNTS)
        )
        return sum(int(answer["Attributes"][name]) for name in COUNTS)

    def dead(self) -> list[str]:
        """The bodies of some dead letters."""
        answer = self._sqs.receive_message(QueueUrl=self._place.dead_url, MaxNumberOfMessages=10)
        return [each["Body"] for each in answer.get("Messages", ())]


async def remains_of(place: Place, direct: str, ids: Sequence[str]) -> Remains:
    """Look at all that is left, once the workers have ended.

    Args:
        place: Where it was.
        direct: The emulator's own endpoint.
        ids: The runs that were started.
    """
    queues = Queues(place, direct)
    reader = client_of(replace(place, endpoint=direct), attempts=3)
    try:
        station = await reader._opened()
        heads = {head.run_id: head for head in await station.runs.find(ALL)}
        leases = []
        for run_id in heads:
            record = await station.runs.read(run_id)
            if record is not None and record.leases:
                leases.append(f"{run_id}: {[lease.place for lease in record.leases]}")
        there = [run_id for run_id in ids if run_id in heads]
        return Remains(
            runs={run_id: await reader.get_run(run_id) for run_id in there},
            rows={run_id: str(head.row.status) for run_id, head in heads.items()},
            parents={
                run_id: run_id.partition("/")[0]
                for run_id, head in heads.items()
                if head.parent is not None or head.is_part
            },
            leases=leases,
            dead=queues.dead(),
            queued=queues.count(),
            locks=_locks(place, direct),
            missing=[run_id for run_id in ids if run_id not in heads],
        )
    finally:
        await reader.aclose()
        queues.close()


def _locks(place: Place, direct: str) -> list[str]:
    """What somebody owns in the coordination table.

    The value of a lock is its owner; marks have none, and counters a number. Whoever is killed, or
    whose request to give one up is lost, leaves one that ends by itself within a minute.
    """
    by = time.time() + ENDS_WITHIN_SECONDS
    dynamodb = client("dynamodb", direct)
    try:
        pages = dynamodb.get_paginator("scan").paginate(
            TableName=place.names.coordination, ConsistentRead=True
        )
        found: list[dict[str, Any]] = [item for page in pages for item in page["Items"]]
    finally:
        dynamodb.close()
    return [
        f"{item['coordinationKey']['S']} = {item}"
        for item in found
        if item["coordinationKey"]["S"] != KINDS  # nobody owns it
        and item.get("value", {}).get("S")
        and float(item["expiresAt"]["N"]) / 1000 > by
    ]


async def timeline_of(reader: FlowClient, run_id: str) -> str:
    """The timeline of a run, for people."""
    run = await reader.get_run(run_id)
    return timeline(run)


def timeline(run: StoredRun) -> str:
    """The timeline of a run, for people."""
    lines = [f"{run.run_id} ({run.blueprint_id}), {run.status}, created {run.created_at}"]
    for step in run.timeline:
        errors = "; ".join(f"{each.type}: {each.message}" for each in step.errors)
        lines.append(
            f"  {step.started_at} to {step.ended_at}  {step.name}: {step.status}, "
            f"attempt {step.attempt}, {step.lost} lost {errors}"
        )
    return "\n".join(lines)
