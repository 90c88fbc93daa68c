"""Counting requests by operation, for whoever operates workers."""

from __future__ import annotations

from collections.abc import Callable

from flowcraft.adapters.aws.transport import Answer, AwsError, Request, Transport

Tell = Callable[[str, str, str], None]
"""Is told the service, the operation, and ``ok`` or what AWS calls the error."""


class Counted:
    """A service of AWS, with each request told.

    Args:
        transport: Carries the requests out.
        service: Its name, such as ``sqs``.
        tell: Is told of each request once it is over, also of those that come to nothing.
    """

    def __init__(self, transport: Transport, service: str, tell: Tell) -> None:
        self._transport = transport
        self._service = service
        self._tell = tell

    async def call(self, operation: str, request: Request) -> Answer:
        """Carry out a request; see ``Transport.call``."""
        outcome = "ok"
        try:
            return await self._transport.call(operation, request)
        except AwsError as error:
            outcome = error.code
            raise
        finally:
            self._tell(self._service, operation, outcome)
