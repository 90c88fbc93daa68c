"""How requests reach AWS: one call per request, whoever carries it out.

The adapters speak of requests and answers in the shape that boto3's low-level clients have:
``{"TableName": …, "Key": {"runId": {"S": …}}}``, binary values as ``bytes``. What carries them out
is a :class:`Transport`: a boto3 client in threads, or a fake that runs in the event loop.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol

Request = Mapping[str, Any]
Answer = dict[str, Any]

CONNECTION_FAILED: Final = "ConnectionFailed"
"""The code of an error without an answer: the request may or may not have been carried out."""

_THROTTLED: Final = frozenset(
    {
        "LimitExceededException",
        "OverLimit",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "SlowDown",
        "ThrottlingException",
        "Throttling",
        "TooManyRequestsException",
    }
)


class AwsError(Exception):
    """A request was refused, or nobody knows what became of it.

    Attributes:
        code: What AWS calls the error, such as ``ConditionalCheckFailedException``; without the
            prefixes that some protocols put before it. :data:`CONNECTION_FAILED` without answer.
        message: What AWS says about it.
        operation: The request, such as ``UpdateItem``.
        status: The HTTP status; 0 without an answer.
        answer: The rest of the answer: ``Item`` where a condition failed and the item was asked
            for, ``CancellationReasons`` of a transaction.
    """

    def __init__(
        self,
        code: str,
        message: str = "",
        *,
        operation: str = "",
        status: int = 400,
        answer: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(f"{code} ({operation}): {message}" if operation else f"{code}: {message}")
        self.code = code
        self.message = message
        self.operation = operation
        self.status = status
        self.answer = dict(answer or {})

    @property
    def is_refused_condition(self) -> bool:
        """Whether a condition of the request did not hold, so that nothing was written."""
        return self.code == "ConditionalCheckFailedException"

    @property
    def is_throttling(self) -> bool:
        """Whether the same request may be carried out a little later; it was not this time."""
        return self.code in _THROTTLED

    @property
    def may_pass(self) -> bool:
        """Whether the trouble is of AWS or of the network, and no fault of the request."""
        return self.is_throttling or self.code == CONNECTION_FAILED or self.status >= 500


class Transport(Protocol):
    """Carries out requests of one AWS service."""

    async def call(self, operation: str, request: Request) -> Answer:
        """Carry out a request.

        Args:
            operation: Its name as AWS has it, such as ``UpdateItem`` or ``SendMessageBatch``.
            request: Its parameters, as boto3 takes them.

        Returns:
            The answer, as boto3 gives it. ``ResponseMetadata`` has ``HTTPHeaders`` with the
            service's ``date`` where there is one.

        Raises:
            AwsError: It was refused, or there was no answer.
        """
        ...


class Routed:
    """SQS with threads of their own for long polls: nothing else waits for those to end."""

    def __init__(self, polls: Transport, others: Transport) -> None:
        self._polls = polls
        self._others = others

    async def call(self, operation: str, request: Request) -> Answer:
        """Carry out a request; see :meth:`Transport.call`."""
        transport = self._polls if operation == "ReceiveMessage" else self._others
        return await transport.call(operation, request)
