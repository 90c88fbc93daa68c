"""Requests to AWS under policies: those that are not allowed are denied, all are written down."""

from __future__ import annotations

from typing import Any

from flowcraft.adapters.aws.transport import Answer, AwsError, Request, Transport
from tests.unit.iam import Access, Policy, accesses, listing

DENIED = {"dynamodb": "AccessDeniedException", "sqs": "AccessDenied", "s3": "AccessDenied"}


class Book:
    """What was asked for under one policy.

    Attributes:
        policy: What is allowed.
        used: What was needed, and allowed.
        refused: What was needed, and denied.
        asked: Each request, with a resource that it was about.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.used: set[Access] = set()
        self.refused: set[Access] = set()
        self.asked: set[tuple[str, str]] = set()

    def decide(self, access: Access) -> bool:
        """Whether something is allowed."""
        allowed = self.policy.allows(access)
        (self.used if allowed else self.refused).add(access)
        return allowed


class Guarded:
    """A transport that asks a policy before each request.

    Args:
        service: ``sqs``, ``dynamodb`` or ``s3``.
        transport: Carries out what is allowed.
        book: Has the policy, and is told.
    """

    def __init__(self, service: str, transport: Transport, book: Book) -> None:
        self._service = service
        self._transport = transport
        self._book = book

    async def call(self, operation: str, request: Request) -> Answer:
        """Carry out a request, if it is allowed."""
        for access in accesses(self._service, operation, request):
            self._book.asked.add((operation, access.resource))
            if not self._book.decide(access):
                raise self._denied(operation, access)
        try:
            return await self._transport.call(operation, request)
        except AwsError as error:
            if error.code in ("NoSuchKey", "404"):
                # Only who may list what is there is told that something is not.
                access = listing(request["Bucket"], request["Key"])
                self._book.asked.add(("ListObjectsV2", access.resource))
                if not self._book.decide(access):
                    raise self._denied(operation, access) from error
            raise

    def _denied(self, operation: str, access: Access) -> AwsError:
        said = f"User: role is not authorized to perform: {access}"
        return AwsError(DENIED[self._service], said, operation=operation, status=403)


def guarded(book: Book, **transports: Any) -> dict[str, Guarded]:
    """Transports by their service, all under one policy."""
    return {name: Guarded(name, transport, book) for name, transport in transports.items()}
