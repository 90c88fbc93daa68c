"""A fleet on AWS: which checks there are, and in which order."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from flowcraft.adapters.aws.status_index import fitting_indexes, is_ready
from flowcraft.adapters.aws.transport import AwsError
from flowcraft.adapters.system import SystemClock
from flowcraft.aws import DynamoDbCoordinationStore, SqsAdapter
from flowcraft.doctor.buckets import bucket_checks
from flowcraft.doctor.checking import Check, carry_out
from flowcraft.doctor.clocks import look_at_clock
from flowcraft.doctor.findings import Diagnosis, Finding, Severity, note
from flowcraft.doctor.identity import CREDENTIALS, Identity, identify
from flowcraft.doctor.mappings import mapping_checks
from flowcraft.doctor.permissions import (
    Targets,
    permission_checks,
)
from flowcraft.doctor.queues import QueueLook, longest_node, look_at_queue, queue_checks
from flowcraft.doctor.running import run_checks
from flowcraft.doctor.services import ReadOnly, Services
from flowcraft.doctor.tables import table_checks
from flowcraft.engine.client import FlowClient
from flowcraft.engine.options import RuntimeOptions
from flowcraft.engine.reconcile import stalled_seconds
from flowcraft.errors import FlowcraftError
from flowcraft.ports.clock import Clock
from flowcraft.ports.codec import AnyCodec
from flowcraft.provisioning.permitted import Kind, Role
from flowcraft.provisioning.policies import Resources

RUNS: Final = "runs"


@dataclass(frozen=True, slots=True)
class Fleet:
    """The resources of a fleet, and how they are reached.

    Attributes:
        client: Makes a boto3 client of a service, by its name, or gives a transport; raises a
            ``FlowcraftError`` where it cannot.
        queue: The queue, by URL or name.
        context_table: The table of runs.
        status_table: The table of statuses.
        coordination_table: The table of locks.
        payload_bucket: The bucket, with the prefix if there is one; ``None`` without one.
        region: Where, for people.
        lease_seconds: The lease of the workers.
        options: The app: its blueprints tell how long nodes may take, and its registry what the
            code here can run. ``None`` without one.
        codec: The one that the workers have.
        role: What whoever asks is to be allowed.
    """

    client: Callable[[str], Any]
    queue: str
    context_table: str
    status_table: str
    coordination_table: str
    payload_bucket: str | None = None
    region: str = ""
    lease_seconds: float = 30.0
    options: RuntimeOptions | None = None
    codec: AnyCodec | None = None
    role: Role = "worker"

    @property
    def tables(self) -> tuple[tuple[str, str, Kind], ...]:
        """Name, partition key and purpose of each table."""
        return (
            (self.context_table, "runId", "contexts"),
            (self.status_table, "runId", "statuses"),
            (self.coordination_table, "coordinationKey", "coordination"),
        )


async def examine_fleet(fleet: Fleet, clock: Clock | None = None) -> Diagnosis:
    """Look at a fleet, and change nothing.

    Whatever goes wrong is a finding; one check that cannot be done keeps no other from being done.

    Args:
        fleet: Which one.
        clock: The clock of this machine.
    """
    clock = clock or SystemClock()
    at = datetime.fromtimestamp(clock.now(), UTC)
    services = Services(fleet.client, clock)
    try:
        findings = await _findings(fleet, services, clock)
    finally:
        await services.aclose()
    return Diagnosis(at, "aws", findings)


async def _findings(fleet: Fleet, services: Services, clock: Clock) -> tuple[Finding, ...]:
    who: list[Identity] = []

    async def look_at_credentials() -> list[Finding]:
        who.append(await identify(services, fleet.region))
        return [who[0].finding]

    async def look_at_region() -> list[Finding]:
        # Making a client asks nobody anything; it takes a region.
        for service in ("dynamodb", "sqs"):
            services.transport(service)
        return []

    first = await carry_out([Check("region", fleet.region, look_at_region)])
    if not first:
        first = await carry_out([Check(CREDENTIALS, fleet.region, look_at_credentials)])
    if not who or not who[0].may_ask:
        return (*first, _skipped("All other checks were left out: nothing can be asked."))
    look = await look_at_queue(services, fleet.queue)
    checks = _resource_checks(fleet, services, look, clock)
    targets = partial(_targets, fleet, services, look)
    checks += permission_checks(services, who[0].arn, fleet.role, targets)
    resources = await carry_out(checks)
    runs = await _runs(fleet, services, look, resources)
    return (*first, *look_at_clock(services), *resources, *runs)


def _resource_checks(
    fleet: Fleet, services: Services, look: QueueLook, clock: Clock
) -> list[Check]:
    checks: list[Check] = []
    for name, key, purpose in fleet.tables:
        is_status = purpose == "statuses"
        checks += table_checks(services, name, key, purpose=purpose, with_index=is_status)
    blueprints = () if fleet.options is None else tuple(fleet.options.blueprints.values())
    longest = longest_node(blueprints)
    checks += queue_checks(
        services, look, lease_seconds=fleet.lease_seconds, longest=longest, now=clock.now()
    )
    checks += mapping_checks(services, look, longest)
    if fleet.payload_bucket is not None:
        checks += bucket_checks(services, fleet.payload_bucket)
    return checks


async def _targets(fleet: Fleet, services: Services, look: QueueLook) -> Targets:
    """The resources that are there, as requests and as policies call them."""
    names: dict[Kind, str] = {}
    keys: dict[Kind, str] = {}
    arns: dict[Kind, str] = {}
    for name, key, purpose in fleet.tables:
        try:
            answer = await services.call("dynamodb", "DescribeTable", {"TableName": name})
            table = answer.get("Table", {})
        except AwsError as refusal:
            if refusal.code == "ResourceNotFoundException":
                continue
            table = {}
        names[purpose], keys[purpose], arns[purpose] = name, key, str(table.get("TableArn", ""))
        ready = [each for each in fitting_indexes(table) if is_ready(each)]
        if purpose == "statuses" and ready:
            names["status_index"], keys["status_index"] = name, str(ready[0]["IndexName"])
    if look.url:
        names["queue"], arns["queue"] = look.url, str(look.attributes.get("QueueArn", ""))
    if fleet.payload_bucket is not None:
        bucket, _, prefix = fleet.payload_bucket.partition("/")
        names["bucket"] = names["objects"] = bucket
        keys["bucket"] = keys["objects"] = f"{prefix.strip('/')}/runs/".lstrip("/")
    return Targets(names, keys, _resources(fleet, arns, keys.get("status_index")))


def _resources(fleet: Fleet, arns: dict[Kind, str], index: str | None) -> Resources | None:
    kinds: tuple[Kind, ...] = ("queue", "contexts", "statuses", "coordination")
    queue, contexts, statuses, coordination = (arns.get(kind, "") for kind in kinds)
    if not all((queue, contexts, statuses, coordination)):
        return None
    partition = queue.split(":")[1]
    bucket, _, prefix = (fleet.payload_bucket or "").partition("/")
    return Resources(
        region=fleet.region,
        queue=queue,
        dead_letter_queue="",
        context_table=contexts,
        status_table=statuses,
        coordination_table=coordination,
        status_index=None if index is None else f"{statuses}/index/{index}",
        bucket=f"arn:{partition}:s3:::{bucket}" if bucket else None,
        bucket_prefix=prefix.strip("/"),
    )


async def _runs(
    fleet: Fleet,
    services: Services,
    look: QueueLook,
    resources: tuple[Finding, ...],
) -> tuple[Finding, ...]:
    """The checks of runs, if the resources are fit to be read."""
    broken = {"table.key", "table.contexts", "table.statuses", "queue", "queue.kind"}
    if any(each.check in broken and each.severity is Severity.ERROR for each in resources):
        return (
            _skipped("Runs and workers were not looked at, since queue or tables are not fit."),
        )
    if look.trouble is not None:
        return (_skipped("Runs and workers were not looked at, since the queue could not be."),)
    async with AsyncExitStack() as stack:
        try:
            client = _client(fleet, services, look)
            await stack.enter_async_context(client)
        except FlowcraftError as trouble:
            return (Finding(RUNS, Severity.ERROR, str(trouble)),)
        registry = None if fleet.options is None else fleet.options.registry
        threshold = stalled_seconds(None, float(look.seconds("VisibilityTimeout", 30)))
        checks = run_checks(
            client,
            registry,
            f"table '{fleet.context_table}'",
            stalled_seconds=threshold,
            clock=services.time,
        )
        return await carry_out(checks)


def _client(fleet: Fleet, services: Services, look: QueueLook) -> FlowClient:
    of = {name: ReadOnly(services.transport(name)) for name in ("sqs", "dynamodb")}
    store = DynamoDbCoordinationStore(of["dynamodb"], fleet.coordination_table, services.time)
    bucket: dict[str, Any] = {}
    if fleet.payload_bucket is not None:
        s3 = ReadOnly(services.transport("s3"))
        bucket = {"s3_client": s3, "payload_bucket": fleet.payload_bucket}
    return SqsAdapter.client_of(
        sqs_client=of["sqs"],
        dynamodb_client=of["dynamodb"],
        queue_url=look.url,
        context_table_name=fleet.context_table,
        status_table_name=fleet.status_table,
        coordination_store=store,
        runtime_options=fleet.options,
        codec=fleet.codec,
        **bucket,
    )


_skipped = partial(note, RUNS)
