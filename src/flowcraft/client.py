"""A client for durable runs, wherever they are kept, and their histories."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from os import PathLike
from pathlib import Path
from typing import Any

from flowcraft.engine import client as engine
from flowcraft.engine import history_file
from flowcraft.engine.history_events import HistoryEvent, StoredFact
from flowcraft.engine.options import RuntimeOptions
from flowcraft.engine.serializer import JsonSerializer, Serializer
from flowcraft.engine.shards import SHARD_ITEMS
from flowcraft.ports.codec import AnyCodec
from flowcraft.ports.coordination import CoordinationStore
from flowcraft.ports.telemetry import Telemetry
from flowcraft.sqlite import Durability, SqliteAdapter

__all__ = ["FlowClient", "HistoryEvent", "StoredFact", "read_history"]


def read_history(
    source: str | PathLike[str] | Iterable[str], *, serializer: Serializer | None = None
) -> Iterator[HistoryEvent]:
    """Read a history that ``FlowClient.export_history`` wrote, an event at a time.

    What is damaged, or missing, is an event of the type ``history:damaged`` with the ``problem``;
    the rest is read all the same.

    Args:
        source: The file, or the lines of one.
        serializer: That of whoever wrote it; JSON by default.

    Raises:
        SerializationError: It is no history, or one of a newer format.
        OSError: The file cannot be read.
    """
    serializer = serializer or JsonSerializer()
    if not isinstance(source, str | PathLike):
        yield from history_file.read_history(source, serializer)
        return
    with Path(source).open(encoding="utf-8", errors="surrogateescape", newline="\n") as lines:
        yield from history_file.read_history(lines, serializer, f"'{source}'")


class FlowClient(engine.FlowClient):
    """Starts and steers durable runs; it runs no node and needs no registry.

    Made by :meth:`sqlite` or :meth:`aws`. Close it with :meth:`aclose`, or use it as
    ``async with``.
    """

    @classmethod
    def sqlite(
        cls,
        path: str | PathLike[str],
        runtime_options: RuntimeOptions | None = None,
        *,
        durability: Durability = "normal",
        retention_seconds: float | None = None,
        shard_items: int = SHARD_ITEMS,
        codec: AnyCodec | None = None,
        telemetry: Telemetry | None = None,
    ) -> engine.FlowClient:
        """A client of the runs in an SQLite file.

        Args:
            path: The file that the workers use.
            runtime_options: Needed only for blueprints that no worker knows yet, and for types
                that were registered with the serializer.
            durability: As for :class:`SqliteAdapter`.
            retention_seconds: The one that the workers have.
            shard_items: Batches of more items than this, in runs that are started here, are cut
                into records of so many each.
            codec: The one that the workers have.
            telemetry: Is told what the client counts, and in which spans runs are started.
        """
        return SqliteAdapter.client_of(
            path,
            runtime_options,
            durability=durability,
            retention_seconds=retention_seconds,
            shard_items=shard_items,
            codec=codec,
            telemetry=telemetry,
        )

    @classmethod
    def aws(
        cls,
        runtime_options: RuntimeOptions | None = None,
        *,
        sqs_client: Any,
        dynamodb_client: Any,
        queue_url: str,
        context_table_name: str,
        status_table_name: str,
        coordination_store: CoordinationStore,
        retention_seconds: float | None = None,
        shard_items: int = SHARD_ITEMS,
        s3_client: Any = None,
        payload_bucket: str | None = None,
        prices: Any = None,
        codec: AnyCodec | None = None,
        telemetry: Telemetry | None = None,
        cloudwatch_client: Any = None,
    ) -> engine.FlowClient:
        """A client of the runs of a fleet.

        Args:
            runtime_options: Needed only for blueprints that no worker knows yet, and for types
                that were registered with the serializer.
            sqs_client: ``boto3.client("sqs")``.
            dynamodb_client: ``boto3.client("dynamodb")``.
            queue_url: The queue that the workers poll.
            context_table_name: Their table of runs.
            status_table_name: Their table that shows runs to people.
            coordination_store: Their locks and marks.
            retention_seconds: The one that they have.
            shard_items: Batches of more items than this, in runs that are started here, are cut
                into records of so many each.
            s3_client: ``boto3.client("s3")``, if the workers have a bucket.
            payload_bucket: Their bucket for large values and files.
            prices: What AWS charges: ``flowcraft.aws.Prices``, or the name of a region.
            codec: The one that the workers have.
            telemetry: Is told what the client counts, and in which spans runs are started.
            cloudwatch_client: ``boto3.client("cloudwatch")``, for the age of the oldest message on
                the dashboard: SQS does not tell it.

        Raises:
            ImportError: boto3 is not installed.
        """
        # Only this needs boto3, which is an extra.
        from flowcraft.aws import SqsAdapter  # noqa: PLC0415

        return SqsAdapter.client_of(
            sqs_client=sqs_client,
            dynamodb_client=dynamodb_client,
            queue_url=queue_url,
            context_table_name=context_table_name,
            status_table_name=status_table_name,
            coordination_store=coordination_store,
            runtime_options=runtime_options,
            retention_seconds=retention_seconds,
            shard_items=shard_items,
            s3_client=s3_client,
            payload_bucket=payload_bucket,
            prices=prices,
            codec=codec,
            telemetry=telemetry,
            cloudwatch_client=cloudwatch_client,
        )
