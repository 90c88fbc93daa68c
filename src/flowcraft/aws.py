"""Durable runs on a fleet: jobs in SQS, state in three DynamoDB tables, no server to operate."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any, Final

from flowcraft.adapters.aws.age import QueueAge
from flowcraft.adapters.aws.arguments import (
    check_client,
    check_named,
    check_payloads,
    check_store,
    check_tables,
)
from flowcraft.adapters.aws.blobs import DynamoDbBlobs
from flowcraft.adapters.aws.client import BotoTransport
from flowcraft.adapters.aws.coordination import DynamoDbCoordinationStore
from flowcraft.adapters.aws.counted import Counted
from flowcraft.adapters.aws.estimating import CostAssumptions, CostEstimate, estimate_cost
from flowcraft.adapters.aws.lambda_ import (
    DEFAULT_MARGIN_SECONDS,
    LambdaHandler,
    ReconcilerHandler,
)
from flowcraft.adapters.aws.large_messages import BODY_SECONDS, LargeMessages
from flowcraft.adapters.aws.limits import check_limits
from flowcraft.adapters.aws.metering import Meter, MeteredQueue, MeteredTables
from flowcraft.adapters.aws.objects import S3Objects
from flowcraft.adapters.aws.pages import checked_segments
from flowcraft.adapters.aws.prices import PRICES, Prices, prices_of
from flowcraft.adapters.aws.queue import SqsQueue
from flowcraft.adapters.aws.runs import DynamoDbRuns
from flowcraft.adapters.aws.service_time import ServiceTime, Timed
from flowcraft.adapters.aws.transport import Routed, Transport
from flowcraft.adapters.system import SystemClock, SystemIdentifiers
from flowcraft.engine.adapter import Adapter
from flowcraft.engine.arguments import check_outside, check_positive, checked_codec, checked_run_id
from flowcraft.engine.client import FlowClient
from flowcraft.engine.measuring import Measures
from flowcraft.engine.options import RuntimeOptions
from flowcraft.engine.reconcile import ReconciliationStats
from flowcraft.engine.schedule_options import DeclaredSchedule
from flowcraft.engine.shards import SHARD_ITEMS
from flowcraft.engine.station import Station
from flowcraft.engine.stored_context import StoredContext
from flowcraft.engine.trouble import log_trouble
from flowcraft.engine.worker import DEFAULT_CONCURRENCY
from flowcraft.errors import StorageError, StorageUnavailable
from flowcraft.ports.clock import Clock, Identifiers
from flowcraft.ports.codec import AnyCodec
from flowcraft.ports.coordination import CoordinationStore
from flowcraft.ports.objects import NoObjects
from flowcraft.ports.telemetry import Telemetry
from flowcraft.ports.together import OpenPorts, Ports

logger = logging.getLogger("flowcraft.schedules")

__all__ = [
    "PRICES",
    "CostAssumptions",
    "CostEstimate",
    "DynamoDbContext",
    "DynamoDbCoordinationStore",
    "Prices",
    "ReconciliationStats",
    "SqsAdapter",
    "SqsReconciler",
    "create_sqs_reconciler",
    "estimate_cost",
    "lambda_handler",
    "reconciler_handler",
]

POLL_SECONDS: Final = 20.0
"""A long poll as long as SQS allows: an idle worker makes a request every 20 s."""

LOOK_SECONDS: Final = 1.0
"""The longest pause between two looks at a run that somebody waits for: each is a request."""

NO_BUCKET: Final = (
    "Files need a bucket of S3: give the adapter, and all clients, s3_client and payload_bucket."
)

CLIENT_THREADS: Final = 10
CONTEXT_THREADS: Final = 2
"""Requests at a time of a client, and of a context by itself."""


@dataclass(frozen=True, slots=True)
class _Fleet:
    """The resources of a fleet, and the clients that they are reached through."""

    sqs_client: Any
    dynamodb_client: Any
    queue_url: str
    context_table_name: str
    status_table_name: str
    coordination_store: CoordinationStore
    clock: ServiceTime
    requests: int
    scan_segments: int = 1
    s3_client: Any = None
    payload_bucket: str | None = None
    retention_seconds: float | None = None
    prices: Prices = field(default_factory=partial(prices_of, None))
    meter: Meter = field(default_factory=Meter)
    telemetry: Telemetry | None = None
    cloudwatch_client: Any = None
    age: QueueAge = field(default_factory=QueueAge)

    def __post_init__(self) -> None:
        check_client("sqs_client", self.sqs_client, "sqs")
        check_client("dynamodb_client", self.dynamodb_client, "dynamodb")
        check_store(self.coordination_store)
        check_named("queue_url", self.queue_url, "queue, as its address")
        check_tables(self.context_table_name, self.status_table_name)
        check_payloads(self.s3_client, self.payload_bucket)
        if self.cloudwatch_client is not None:
            check_client("cloudwatch_client", self.cloudwatch_client, "cloudwatch")

    def opener(self) -> OpenPorts:
        """Opens the ports: each time with threads of its own."""

        @asynccontextmanager
        async def open_ports() -> AsyncIterator[Ports]:
            async with AsyncExitStack() as stack:
                sqs = await self._transport(stack, "sqs", self.sqs_client, self.requests)
                polls = await self._transport(stack, "sqs", self.sqs_client, 2)
                tables = await self._transport(
                    stack, "dynamodb", self.dynamodb_client, self.requests
                )
                dynamodb = MeteredTables(tables, self.context_table_name, self.meter)
                jobs = MeteredQueue(Routed(polls, sqs), self.meter)
                queue = SqsQueue(jobs, self.queue_url, self.clock, age=self._age(stack))
                await queue.open()
                stack.push_async_callback(queue.close)
                objects = await self._objects(stack)
                blobs = DynamoDbBlobs(dynamodb, self.context_table_name, objects=objects)
                runs = DynamoDbRuns(
                    dynamodb,
                    self.context_table_name,
                    self.status_table_name,
                    self.clock,
                    self.scan_segments,
                    self.retention_seconds,
                    objects=objects,
                    prices=self.prices,
                )
                bodies = DynamoDbBlobs(
                    dynamodb, self.context_table_name, clock=self.clock, ttl_seconds=BODY_SECONDS
                )
                yield Ports(
                    LargeMessages(queue, bodies, objects, runs),
                    runs,
                    blobs,
                    self.coordination_store,
                    objects or NoObjects(NO_BUCKET),
                )

        return open_ports

    def _age(self, stack: AsyncExitStack) -> Callable[[], Awaitable[float | None]] | None:
        if self.cloudwatch_client is None:
            return None
        transport = _transport(self.cloudwatch_client, 1)
        if isinstance(transport, BotoTransport):
            # Nobody waits for what may never come.
            stack.push_async_callback(transport.aclose, 1.0)
        return partial(self.age.seconds, transport, self.queue_url, self.clock)

    async def _objects(self, stack: AsyncExitStack) -> S3Objects | None:
        if self.payload_bucket is None:
            return None
        transport = await self._transport(stack, "s3", self.s3_client, self.requests)
        return S3Objects(transport, self.payload_bucket)

    async def _transport(
        self, stack: AsyncExitStack, service: str, client: Any, threads: int
    ) -> Transport:
        """A transport for a boto3 client; or the client, if it is one."""
        transport = _transport(client, threads)
        if isinstance(transport, BotoTransport):
            stack.push_async_callback(transport.aclose)
        if self.telemetry is not None:
            requested = Measures(self.telemetry, self.clock).requested
            transport = Counted(transport, service, requested)
        return Timed(transport, self.clock)


def _transport(client: Any, threads: int) -> Transport:
    if hasattr(client, "call"):
        transport: Transport = client
        return transport
    return BotoTransport(client, threads)


class SqsAdapter(Adapter):
    """Durable runs on a fleet: any number of workers on a queue and three tables.

    The boto3 clients are the caller's: endpoint, region, credentials, timeouts and retries are as
    they are configured there. Give them as many connections as requests are made at a time
    (``botocore.config.Config(max_pool_connections=…)``): ``concurrency`` and a few more.

    Args:
        runtime_options: ``FlowRuntime.options``: implementations, blueprints and the rest.
        coordination_store: Locks and marks: a :class:`DynamoDbCoordinationStore`.
        sqs_client: ``boto3.client("sqs")``.
        dynamodb_client: ``boto3.client("dynamodb")``.
        queue_url: A standard queue. Its visibility timeout is how long a message of a worker that
            is gone stays hidden.
        context_table_name: The table of runs; partition key ``runId``, a string.
        status_table_name: The table that shows runs to people; partition key ``runId``, a string.
        concurrency: Messages worked on at once.
        scan_segments: How many parts of a table are read at a time where all of it is read: the
            status table, where runs are listed, or looked for that stand still. 1 for small ones.
        s3_client: ``boto3.client("s3")``, for a bucket.
        payload_bucket: Where large values and files are kept: ``"bucket"``, or
            ``"bucket/with/a/prefix"``; all processes have the same. Without one there are no
            files, and a value has at most 24 MB, compressed.
        retention_seconds: How long runs are kept after their end; for ever by default. The same
            for all workers and clients.
        prices: What AWS charges, as :class:`Prices` or by the name of a region: for what runs
            have cost, and for their budgets. By default those of the client's region, or of
            us-east-1 where these are not known.
        codec: Encodes payloads before they are sent and stored; all processes have the same.
        telemetry: Is told what the worker counts and times.
        clock: Another source of time, for tests.
        identifiers: Another source of ids, for tests.
        worker_options: ``lease_seconds`` (30), ``poll_seconds`` (20), ``drain_timeout_seconds``
            (25) and what else a :class:`Worker` takes; ``shard_items`` (500), the size of the
            records that large batches of runs started here are cut into.

    Raises:
        TypeError: A client is none of its service.
        ValueError: Two tables have the same name, the bucket has none that there can be, another
            option is none of what it may be, or a limit has more than 5,000 places.
        StorageError: Queue or tables cannot be used; raised by ``start`` and by the first verb.
    """

    def __init__(
        self,
        runtime_options: RuntimeOptions,
        *,
        coordination_store: CoordinationStore,
        sqs_client: Any,
        dynamodb_client: Any,
        queue_url: str,
        context_table_name: str,
        status_table_name: str,
        concurrency: int = DEFAULT_CONCURRENCY,
        scan_segments: int = 1,
        s3_client: Any = None,
        payload_bucket: str | None = None,
        retention_seconds: float | None = None,
        prices: Prices | str | None = None,
        codec: AnyCodec | None = None,
        telemetry: Telemetry | None = None,
        clock: Clock | None = None,
        identifiers: Identifiers | None = None,
        **worker_options: Any,
    ) -> None:
        runtime_options = RuntimeOptions.checked(runtime_options).kept_for(retention_seconds)
        check_limits(runtime_options.limits)
        check_outside(clock=clock)
        if concurrency is None:
            raise TypeError("concurrency is a whole number of messages, not None.")
        check_positive(concurrency=concurrency)
        self._fleet = _Fleet(
            sqs_client=sqs_client,
            dynamodb_client=dynamodb_client,
            queue_url=queue_url,
            context_table_name=context_table_name,
            status_table_name=status_table_name,
            coordination_store=coordination_store,
            clock=ServiceTime(clock or SystemClock()),
            requests=concurrency + 2,
            scan_segments=checked_segments(scan_segments),
            s3_client=s3_client,
            payload_bucket=payload_bucket,
            retention_seconds=retention_seconds,
            prices=_charged(prices, dynamodb_client),
            telemetry=telemetry,
        )
        super().__init__(
            self._fleet.opener(),
            runtime_options,
            clock=self._fleet.clock,
            identifiers=identifiers or SystemIdentifiers(),
            longest_look_seconds=LOOK_SECONDS,
            codec=codec,
            telemetry=telemetry,
            concurrency=concurrency,
            **{"poll_seconds": POLL_SECONDS, **worker_options},
        )

    async def _declare(self) -> None:
        # Queue and context table are used when a worker starts. This one would be missed later, and
        # then only in the log.
        try:
            await self._fleet.coordination_store.get("start")
        except StorageUnavailable:
            raise
        except StorageError as error:
            logger.warning("Locks and schedules cannot be used yet: %s", error)
        await super()._declare()

    @staticmethod
    def client_of(
        *,
        sqs_client: Any,
        dynamodb_client: Any,
        queue_url: str,
        context_table_name: str,
        status_table_name: str,
        coordination_store: CoordinationStore,
        runtime_options: RuntimeOptions | None = None,
        retention_seconds: float | None = None,
        shard_items: int = SHARD_ITEMS,
        s3_client: Any = None,
        payload_bucket: str | None = None,
        prices: Prices | str | None = None,
        codec: AnyCodec | None = None,
        telemetry: Telemetry | None = None,
        cloudwatch_client: Any = None,
        clock: Clock | None = None,
    ) -> FlowClient:
        """A client of a fleet's runs, which runs no node: ``FlowClient.aws`` gives it."""
        fleet = _Fleet(
            sqs_client=sqs_client,
            dynamodb_client=dynamodb_client,
            queue_url=queue_url,
            context_table_name=context_table_name,
            status_table_name=status_table_name,
            coordination_store=coordination_store,
            clock=ServiceTime(clock or SystemClock()),
            requests=CLIENT_THREADS,
            s3_client=s3_client,
            payload_bucket=payload_bucket,
            retention_seconds=retention_seconds,
            prices=_charged(prices, dynamodb_client),
            telemetry=telemetry,
            cloudwatch_client=cloudwatch_client,
        )
        options = RuntimeOptions.checked(runtime_options).kept_for(retention_seconds)
        return _client(fleet, options, shard_items, codec)

    def _client_through(self, dynamodb_client: Any, scan_segments: int | None) -> FlowClient:
        """A client of the same runs, through another DynamoDB client."""
        fleet = self._fleet
        if dynamodb_client is not None:
            fleet = replace(fleet, dynamodb_client=dynamodb_client)
        if scan_segments is not None:
            fleet = replace(fleet, scan_segments=checked_segments(scan_segments))
        return _client(fleet, self._options, self._shard_items, self._codec)


def _charged(prices: Prices | str | None, dynamodb_client: Any) -> Prices:
    """The prices to reckon with: by default those of the client's region, if they are known."""
    if prices is None:
        region = getattr(getattr(dynamodb_client, "meta", None), "region_name", None)
        prices = region if region in PRICES else None
    return prices_of(prices)


def _client(
    fleet: _Fleet, options: RuntimeOptions, shard_items: int, codec: AnyCodec | None
) -> FlowClient:
    return FlowClient(
        fleet.opener(),
        options,
        clock=fleet.clock,
        identifiers=SystemIdentifiers(),
        longest_look_seconds=LOOK_SECONDS,
        shard_items=shard_items,
        codec=codec,
        telemetry=fleet.telemetry,
    )


class DynamoDbContext(StoredContext):
    """The context of a run, read and written without an adapter: an ``AsyncContext``.

    It is read as it is at the moment, and written only while the run is paused (rule S8).

    Args:
        run_id: The run.
        client: ``boto3.client("dynamodb")``.
        table_name: The context table.
        runtime_options: Needed only for types that were registered with the serializer.
        codec: The one that the workers have.
        s3_client: ``boto3.client("s3")``, if the workers have a bucket.
        payload_bucket: Theirs.
    """

    def __init__(
        self,
        run_id: str,
        *,
        client: Any,
        table_name: str,
        runtime_options: RuntimeOptions | None = None,
        codec: AnyCodec | None = None,
        clock: Clock | None = None,
        s3_client: Any = None,
        payload_bucket: str | None = None,
    ) -> None:
        check_client("client", client, "dynamodb")
        check_named("table_name", table_name, "table")
        check_outside(clock=clock)
        runtime_options = RuntimeOptions.checked(runtime_options)
        super().__init__(checked_run_id(run_id), self._station)
        self._time = ServiceTime(clock or SystemClock())
        self._table_name = table_name
        self._transport = Timed(_transport(client, CONTEXT_THREADS), self._time)
        self._options = runtime_options
        self._codec = checked_codec(codec)
        self._opened: Station | None = None
        self._objects: S3Objects | None = None
        check_payloads(s3_client, payload_bucket)
        if payload_bucket is not None:
            s3 = Timed(_transport(s3_client, CONTEXT_THREADS), self._time)
            self._objects = S3Objects(s3, payload_bucket)

    async def _station(self) -> Station:
        if self._opened is None:
            self._opened = Station(
                Ports(
                    _Nothing(),
                    DynamoDbRuns(
                        self._transport, self._table_name, None, self._time, objects=self._objects
                    ),
                    DynamoDbBlobs(self._transport, self._table_name, objects=self._objects),
                    _Nothing(),
                ),
                self._options,
                self._time,
                SystemIdentifiers(),
                codec=self._codec,
            )
        return self._opened


class _Nothing:
    """A port that nobody calls: a context needs neither queue nor locks."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"A context of its own has no {name}.")


class SqsReconciler:
    """Gets runs going again that stand still, and starts those that schedules have due.

    Workers do so by themselves, too. Made by :func:`create_sqs_reconciler`.
    """

    def __init__(
        self,
        client: FlowClient,
        stalled_threshold_seconds: float | None,
        declared: Sequence[DeclaredSchedule] = (),
    ) -> None:
        self._client = client
        self._declared = declared
        self._stalled_threshold_seconds = stalled_threshold_seconds

    async def run(self) -> ReconciliationStats:
        """Look after all schedules, and then at all runs that are not over, once.

        The schedules that the adapter was given are there after the first call in a process.

        Once an hour, of all that look, all rows of runs that are not over are compared with the
        runs; once a day missing rows are put back.

        Returns:
            How many runs were looked at, stood still, were got going again, and could not be
            looked at; and how many rows were mended.

        Raises:
            StorageError: A table cannot be used.
            ValueError: The threshold is less than two visibility timeouts of the queue.
        """
        try:
            if self._declared:
                await self._client.schedules.declare(*self._declared)
                self._declared = ()
            await self._client.schedules.fire_due()
        except Exception as error:
            # Stuck runs are to be looked for all the same, and the next look begins anew.
            log_trouble(logger, error, "Schedules could not be looked after; trying again")
        return await self._client.reconcile(
            stalled_threshold_seconds=self._stalled_threshold_seconds
        )

    async def flush(self) -> None:
        """Have the telemetry of the adapter hand on what it keeps."""
        await (await self._client._opened()).flush()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def create_sqs_reconciler(
    *,
    adapter: SqsAdapter,
    dynamodb_client: Any = None,
    status_table_name: str | None = None,
    stalled_threshold_seconds: float | None = None,
    scan_segments: int | None = None,
) -> SqsReconciler:
    """A reconciler for the runs of an adapter, which need not be started.

    Args:
        adapter: Whose queue and tables.
        dynamodb_client: Another client for the tables; by default the adapter's.
        status_table_name: The adapter's status table, for code that names it here too.
        stalled_threshold_seconds: How long nothing happens in a run before it counts as stuck: at
            least two visibility timeouts of the queue, by default 300 s or four of them.
        scan_segments: How many parts of a table are read at a time, where it has no index to read
            less of it; by default as the adapter.

    Raises:
        TypeError: It is no :class:`SqsAdapter`, or a number is none.
        ValueError: The status table is not the adapter's, ``scan_segments`` not from 1 to 100, or
            ``stalled_threshold_seconds`` not positive.
    """
    fleet = _adapter(adapter)._fleet
    if status_table_name not in (None, fleet.status_table_name):
        raise ValueError(
            f"The adapter's status table is '{fleet.status_table_name}', not "
            f"'{status_table_name}': a reconciler looks after the runs of its adapter."
        )
    check_positive(stalled_threshold_seconds=stalled_threshold_seconds)
    client = adapter._client_through(dynamodb_client, scan_segments)
    return SqsReconciler(client, stalled_threshold_seconds, adapter._declared)


def _adapter(adapter: Any) -> SqsAdapter:
    if not isinstance(adapter, SqsAdapter):
        raise TypeError(f"adapter is an SqsAdapter, not a {type(adapter).__name__}.")
    return adapter


def lambda_handler(
    adapter: SqsAdapter, *, margin_seconds: float = DEFAULT_MARGIN_SECONDS
) -> LambdaHandler:
    """A function of AWS Lambda that works on the messages of the adapter's queue.

    Give it to an event source mapping of the queue with ``ReportBatchItemFailures``: without that,
    Lambda deletes messages that have to come again. A run goes on within a call as long as there
    is time; ``margin_seconds`` before the deadline what follows is sent for another call, and nodes
    that do not end in half of the margin are handed back, and begin anew. So the function's timeout
    has to be longer than any node takes, and the margin.

    Args:
        adapter: Works on the messages. It need not be started, and polls nothing.
        margin_seconds: How long before the deadline nothing new begins; at most half of the time.

    Raises:
        TypeError: It is no :class:`SqsAdapter`.
        ValueError: ``margin_seconds`` is not more than 0, or more than a function can run.
    """
    queue_name = _adapter(adapter)._fleet.queue_url.rstrip("/").rsplit("/", 1)[-1]
    return LambdaHandler(adapter, queue_name, margin_seconds)


def reconciler_handler(reconciler: SqsReconciler) -> ReconcilerHandler:
    """A function of AWS Lambda for an EventBridge schedule, of a minute, say.

    Each call looks after the schedules of the fleet, and for stuck runs, once.

    Args:
        reconciler: As :func:`create_sqs_reconciler` gives it.

    Raises:
        TypeError: It is something else: the adapter, say.
    """
    _check_reconciler(reconciler)

    async def look() -> dict[str, Any]:
        try:
            return asdict(await reconciler.run())
        finally:
            await reconciler.flush()

    return ReconcilerHandler(look)


def _check_reconciler(reconciler: Any) -> None:
    if not isinstance(reconciler, SqsReconciler):
        kind = type(reconciler).__name__
        raise TypeError(f"reconciler is what create_sqs_reconciler(adapter=…) gives, not a {kind}.")
