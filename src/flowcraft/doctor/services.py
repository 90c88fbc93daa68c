"""The services of AWS that are asked, each through a client that is made when it is needed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from flowcraft.adapters.aws.failures import Resource, translated
from flowcraft.adapters.aws.service_time import ServiceTime, Timed
from flowcraft.adapters.aws.transport import (
    CONNECTION_FAILED,
    Answer,
    AwsError,
    Request,
    Transport,
)
from flowcraft.doctor.checking import Unchecked
from flowcraft.doctor.findings import Severity
from flowcraft.doctor.texts import short
from flowcraft.ports.clock import Clock

THREADS: Final = 4

BESIDE_SECONDS: Final = 10.0
"""How long a service is waited for that the fleet does not need: a private network may have none of
them, and swallow what is sent there."""

DENIED: Final = frozenset(
    {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "403", "Forbidden"}
)
NOT_THERE: Final = frozenset(
    {"UnknownOperationException", "UnsupportedOperation", "InvalidAction", "NotImplemented"}
)
"""Codes of what is not AWS and does not know the request."""

_READS: Final = frozenset(
    {
        "BatchGetItem",
        "DescribeTable",
        "GetItem",
        "GetObject",
        "GetQueueAttributes",
        "HeadObject",
        "ListObjectsV2",
        "Query",
        "Scan",
    }
)


class Services:
    """Asks AWS.

    Args:
        make_client: Makes a boto3 client of a service, such as ``sqs``, or gives a transport;
            raises a ``FlowcraftError`` where it cannot.
        clock: The clock of this machine.

    Attributes:
        time: What the answers say about the time.
        dates: How many answers had a date.
    """

    def __init__(self, make_client: Callable[[str], Any], clock: Clock) -> None:
        self.time = ServiceTime(clock, ignored_seconds=0.0)
        self.dates = 0
        self._make_client = make_client
        self._transports: dict[str, Transport] = {}
        self._opened: list[Any] = []

    async def aclose(self) -> None:
        """Close the connections."""
        for transport in self._opened:
            await transport.aclose(1.0)

    def transport(self, service: str) -> Transport:
        """What carries out requests of a service.

        Raises:
            FlowcraftError: No client of it can be made.
        """
        if service not in self._transports:
            made = self._make_client(service)
            if not hasattr(made, "call"):
                # Here, so that those who bring transports need no boto3.
                from flowcraft.adapters.aws.client import BotoTransport  # noqa: PLC0415

                made = BotoTransport(made, THREADS)
                self._opened.append(made)
            self._transports[service] = Timed(made, self.time)
        return self._transports[service]

    async def call(self, service: str, operation: str, request: Request) -> Answer:
        """Carry out a request.

        Raises:
            AwsError: It was refused, or there was no answer.
        """
        answer = await self.transport(service).call(operation, request)
        self.dates += "date" in answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        return answer

    async def ask(
        self, service: str, operation: str, request: Request, resource: Resource | None = None
    ) -> Answer:
        """Carry out a request that only reads.

        Args:
            service: As boto3 calls it.
            operation: The request, such as ``DescribeTable``.
            request: Its parameters.
            resource: What it is about, if the fleet cannot do without.

        Raises:
            Unchecked: It was refused, or there was no answer.
        """
        try:
            async with asyncio.timeout(BESIDE_SECONDS if resource is None else None):
                return await self.call(service, operation, request)
        except AwsError as error:
            raise unchecked(error, service, operation, resource) from error
        except TimeoutError:
            raise Unchecked(
                f"It could not be looked at: {service} has not answered for {BESIDE_SECONDS:g} s.",
                f"A private network needs an endpoint for {service}; the fleet itself does not.",
            ) from None


def unchecked(
    error: AwsError, service: str, operation: str, resource: Resource | None = None
) -> Unchecked:
    """Why a check could not be done, for a person.

    Args:
        error: What AWS says, or the way there.
        service: As permissions name it.
        operation: The request.
        resource: What it was about, if the fleet cannot do without.
    """
    if error.code in DENIED:
        return Unchecked(
            f"It could not be looked at: {service}:{operation} is denied ({short(error.message)}).",
            f"Allow {service}:{operation} for whoever runs the doctor.",
        )
    if error.code in NOT_THERE or error.status in (404, 501, 405):
        if resource is None:
            return Unchecked(
                f"It could not be looked at: there is no {service}:{operation} here "
                f"({error.code}).",
                "Emulators may lack it; on AWS look at the endpoint.",
            )
    elif resource is None:
        what = "had no answer" if error.code == CONNECTION_FAILED else f"failed with {error.code}"
        reason = f" ({short(error.message)})" if error.message else ""
        return Unchecked(
            f"It could not be looked at: {service}:{operation} {what}{reason}.",
            "Look at network and endpoint, and try again.",
        )
    text = str(translated(error, resource))
    return Unchecked(text, "", Severity.ERROR)


class ReadOnly:
    """A transport for who only looks: what would write is answered as if others had been faster.

    Args:
        transport: Carries out what reads.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def call(self, operation: str, request: Request) -> Answer:
        """Carry out a request that reads; see ``Transport.call``."""
        if operation not in _READS:
            raise AwsError(
                "ConditionalCheckFailedException",
                "nothing is written by the doctor",
                operation=operation,
            )
        return await self._transport.call(operation, request)
