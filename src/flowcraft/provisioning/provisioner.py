"""Plans and carries out: what a fleet needs on AWS is read, compared, created and changed.

Nothing is remembered between two calls: AWS is read again after every change. So whoever stops in
the middle, is stopped, or does the same as somebody else at the same time, only has to begin anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal

from flowcraft.adapters.aws.arguments import check_client
from flowcraft.adapters.aws.failures import Resource, translated
from flowcraft.adapters.aws.transport import AwsError, Transport
from flowcraft.adapters.system import SystemClock
from flowcraft.errors import StorageBusy, StorageUnavailable
from flowcraft.ports.clock import Clock
from flowcraft.provisioning.buckets import BucketKeeper
from flowcraft.provisioning.destruction import Destroyer, Destruction, Removal
from flowcraft.provisioning.differences import Call, Difference, Keeper, Plan
from flowcraft.provisioning.model import Fleet
from flowcraft.provisioning.queues import QueueKeeper
from flowcraft.provisioning.tables import TableKeeper

WAIT_SECONDS: Final = 600.0
"""How long is waited for AWS: a table takes half a minute, the name of a deleted queue a minute.
An index over many rows may take hours; then it is being built all the same."""

PAUSE_SECONDS: Final = 2.0

# Another request is under way, or was: of AWS, or of somebody who does the same.
_PASSING: Final = frozenset(
    {
        "BucketAlreadyOwnedByYou",
        "ConditionalRequestConflict",
        "ContinuousBackupsUnavailableException",
        "LimitExceededException",
        "NonExistentQueue",
        "OperationAborted",
        "QueueAlreadyExists",
        "QueueDeletedRecently",
        "ResourceInUseException",
        "ResourceNotFoundException",
        "TableInUseException",
        "TableNotFoundException",
    }
)

Progress = Callable[[str], None]
_Outcome = Literal["moved", "waits", "done"]


@dataclass(frozen=True, slots=True)
class Applied:
    """What was done.

    Attributes:
        changes: The changes, in the order in which they were made; none if there were none to do.
        queue_url: The address of the queue of jobs.
    """

    changes: tuple[Difference, ...]
    queue_url: str


class Provisioner:
    """Gives a fleet what it needs on AWS, and takes it away again.

    The boto3 clients are the caller's: region, credentials and retries are as they are configured
    there. Close it with :meth:`aclose`, or use it in ``async with``.

    Args:
        fleet: What is wanted.
        sqs_client: ``boto3.client("sqs")``.
        dynamodb_client: ``boto3.client("dynamodb")``.
        s3_client: ``boto3.client("s3")``; needed for a fleet with a bucket.
        region: Where the bucket is created; by default the region of the S3 client.
        wait_seconds: How long AWS is waited for, after the last thing that moved.
        tell: Is told each step as it is made, in a line.
        clock: Another source of time, for tests.

    Raises:
        TypeError: A client is none of its service.
        ValueError: The fleet has a bucket, and there is no client for it.
    """

    def __init__(
        self,
        fleet: Fleet,
        *,
        sqs_client: Any,
        dynamodb_client: Any,
        s3_client: Any = None,
        region: str | None = None,
        wait_seconds: float = WAIT_SECONDS,
        tell: Progress | None = None,
        clock: Clock | None = None,
    ) -> None:
        check_client("sqs_client", sqs_client, "sqs")
        check_client("dynamodb_client", dynamodb_client, "dynamodb")
        self._fleet = fleet
        self._wait_seconds = wait_seconds
        self._tell = tell or (lambda _: None)
        self._clock = clock or SystemClock()
        self._transports: list[Any] = []
        sqs, dynamodb = self._transport(sqs_client), self._transport(dynamodb_client)
        self._queues = [QueueKeeper(sqs, each, fleet) for each in fleet.queues]
        self._tables = [TableKeeper(dynamodb, each, fleet) for each in fleet.tables]
        self._buckets: list[BucketKeeper] = []
        if fleet.bucket_name is not None:
            if s3_client is None:
                raise ValueError(f"s3_client is needed for the bucket '{fleet.bucket_name}'.")
            check_client("s3_client", s3_client, "s3")
            where = region or _region_of(s3_client)
            s3 = self._transport(s3_client)
            self._buckets = [BucketKeeper(s3, fleet.bucket_name, fleet, where)]

    async def __aenter__(self) -> Provisioner:
        """Enter; nothing is sent."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close it."""
        await self.aclose()

    async def aclose(self) -> None:
        """End the threads that requests are made in; the clients stay open."""
        for transport in self._transports:
            await transport.aclose()

    async def plan(self) -> Plan:
        """Read what is there, and tell what is different; nothing is changed.

        Returns:
            At least one difference for each resource: that it is kept, if it is as it should be.

        Raises:
            StorageError: Something cannot be read.
        """
        found: list[Difference] = []
        for keeper in self._keepers():
            look = await keeper.look()
            found.extend(step.difference for step in look.steps)
        return Plan(self._fleet, tuple(found))

    async def apply(self, plan: Plan | None = None) -> Applied:
        """Make everything what it should be.

        Once it has come to its end, doing it again makes no request that changes anything.

        Args:
            plan: What somebody has agreed to; what is not in it is not done. By default everything
                that is different is changed.

        Returns:
            What was done.

        Raises:
            StorageBusy: AWS was at work on something for too long; applying again goes on.
            StorageUnavailable: Something cannot be changed, and nothing was, or something has to be
                done that is not in the plan.
            StorageError: A request was refused.
        """
        if plan is not None and plan.fleet != self._fleet:
            raise ValueError("The plan was made for another fleet: make one with this provisioner.")
        _refuse((await self.plan()).refusals)
        changes = await _Application(self, plan).carried_out(self._keepers())
        url = await self._queues[-1].url(self._fleet.jobs.name)
        if url is None:
            raise StorageBusy(
                f"The queue '{self._fleet.jobs.name}' was deleted by somebody meanwhile: apply "
                "again."
            )
        return Applied(tuple(changes), url)

    async def plan_destruction(self, *, empty_bucket: bool = False) -> Destruction:
        """Tell what would be deleted; nothing is.

        Args:
            empty_bucket: Whether the objects in the bucket may be deleted, and then itself. One
                that was not created for this fleet is kept all the same.

        Returns:
            What is there, and for each resource whether it would be deleted, and why not.

        Raises:
            StorageError: Something cannot be read.
        """
        return await self._destroyer().plan(empty_bucket=empty_bucket)

    async def destroy(self, destruction: Destruction) -> list[Removal]:
        """Delete what somebody has agreed to, as far as it still may be.

        Args:
            destruction: What :meth:`plan_destruction` gave.

        Returns:
            What became of each resource that was to be deleted.

        Raises:
            StorageBusy: AWS was at work on something for too long; destroying again goes on.
            StorageError: A request was refused.
        """
        return await self._destroyer().carry_out(destruction)

    def _destroyer(self) -> Destroyer:
        # The jobs first, so that nobody gets any; then what they are about.
        keepers: list[Keeper] = [*reversed(self._queues), *self._tables, *self._buckets]
        return Destroyer(keepers, self._fleet.prefix, self._pause, self._wait_seconds, self._tell)

    def _keepers(self) -> list[Keeper]:
        return [*self._queues, *self._tables, *self._buckets]

    def _transport(self, client: Any) -> Transport:
        if hasattr(client, "call"):
            transport: Transport = client
            return transport
        # Templates and policies are made without boto3, too.
        from flowcraft.adapters.aws.client import BotoTransport  # noqa: PLC0415

        made = BotoTransport(client, threads=1)
        self._transports.append(made)
        return made

    async def _pause(self) -> float:
        """Wait a little; gives for how long."""
        over = asyncio.Event()
        timer = self._clock.call_at(self._clock.now() + PAUSE_SECONDS, over.set)
        try:
            await over.wait()
        finally:
            timer.cancel()
        return PAUSE_SECONDS


class _Application:
    """One time of applying.

    All resources go on side by side: what takes AWS half a minute for one table takes it no longer
    for three.
    """

    def __init__(self, provisioner: Provisioner, plan: Plan | None) -> None:
        self._provisioner = provisioner
        self._plan = plan
        self._done: set[tuple[str, str, str]] = set()
        self._changes: list[Difference] = []

    async def carried_out(self, keepers: Iterable[Keeper]) -> list[Difference]:
        pending, waited = list(keepers), 0.0
        while pending:
            outcomes = [(keeper, await self._advance(keeper)) for keeper in pending]
            pending = [keeper for keeper, outcome in outcomes if outcome != "done"]
            if any(outcome == "moved" for _, outcome in outcomes):
                waited = 0.0
            elif pending:
                if waited >= self._provisioner._wait_seconds:
                    raise _too_long(pending, waited)
                waited += await self._provisioner._pause()
        return self._changes

    async def _advance(self, keeper: Keeper) -> _Outcome:
        """Take one step with a resource."""
        try:
            look = await keeper.look()
        except StorageBusy:
            return "waits"
        _refuse([step.difference for step in look.steps if step.difference.action == "refuse"])
        todo = [step for step in look.steps if step.difference.is_change]
        if look.is_busy:
            return "waits"
        if any(step.difference.place in self._done and not step.difference.aspect for step in todo):
            # It was created, which AWS does not tell everybody at once.
            return "waits"
        # What AWS took is not asked for again, though for up to a minute it tells the old value.
        left = [step for step in todo if step.difference.place not in self._done]
        if not left:
            return "done"
        step = left[0]
        if step.call is None:
            return "waits"
        if self._plan is not None and not self._plan.allows(step.difference):
            raise StorageUnavailable(
                f"AWS is not as it was when the plan was made: '{step.difference}' is not in it. "
                "Look at a new plan, and apply that; what was done so far is right."
            )
        return await self._make(keeper, step.difference, step.call)

    async def _make(self, keeper: Keeper, difference: Difference, call: Call) -> _Outcome:
        self._provisioner._tell(difference.title)
        try:
            await keeper.carry_out(call)
        except AwsError as error:
            if error.code in _PASSING or error.may_pass:
                return "waits"
            look = await keeper.look()
            if any(step.difference.place == difference.place for step in look.steps):
                raise refused(error, keeper) from error
            # Somebody else has done the same just now, which AWS takes for a mistake.
            return "moved"
        self._done.add(difference.place)
        self._changes.append(difference)
        return "moved"


def refused(error: AwsError, keeper: Keeper) -> Exception:
    """The error to raise for a request that changes something and was refused."""
    if error.code == "BucketAlreadyExists":
        return StorageUnavailable(
            f"The name '{keeper.name}' is taken by a bucket of another account: names of buckets "
            "are one space for the whole world. Choose another one."
        )
    return translated(error, Resource(keeper.kind, keeper.name))


def _refuse(refusals: Iterable[Difference]) -> None:
    found = list(refusals)
    if found:
        lines = "".join(f"\n  - {_place(each)}{each.reason}" for each in found)
        raise StorageUnavailable(f"This has to be cleared up before anything is applied:{lines}")


def _place(difference: Difference) -> str:
    return (
        f"{difference.kind} {difference.name}, {difference.aspect}: " if difference.aspect else ""
    )


def _too_long(pending: Iterable[Keeper], waited: float) -> StorageBusy:
    names = ", ".join(f"{each.kind} '{each.name}'" for each in pending)
    return StorageBusy(
        f"AWS is still at work on {names} after {waited:.0f} s: it goes on without anybody waiting "
        "for it. Apply again later; that goes on where this ended."
    )


def _region_of(client: Any) -> str:
    return getattr(getattr(client, "meta", None), "region_name", None) or "us-east-1"
