"""What may become of a request on its way, and by which chance.

The share of each kind is that of trouble seen with networks and services: most of it leaves the
caller in doubt whether the request was carried out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Final


class Fault(StrEnum):
    """What becomes of a request."""

    THROTTLED = "throttled"
    """Refused with the error of its service, not passed on."""
    ERROR_BEFORE = "500, not carried out"
    ERROR_AFTER = "500, carried out"
    UNAVAILABLE = "503"
    """Refused with a page of HTML, as a load balancer does, not passed on."""
    LATE = "late"
    """Carried out, the answer held back."""
    DROPPED_BEFORE = "dropped, not carried out"
    DROPPED_AFTER = "dropped, carried out"
    CUT = "half-sent"
    """Carried out, the connection closed within the answer."""
    SILENT = "no answer"
    """Carried out, and nothing is sent for longer than clients wait."""


WEIGHTS: Final[Mapping[Fault, int]] = {
    Fault.THROTTLED: 4,
    Fault.ERROR_BEFORE: 1,
    Fault.ERROR_AFTER: 2,
    Fault.UNAVAILABLE: 2,
    Fault.LATE: 3,
    Fault.DROPPED_BEFORE: 2,
    Fault.DROPPED_AFTER: 3,
    Fault.CUT: 3,
    Fault.SILENT: 1,
}

LATE_SECONDS: Final = (0.05, 1.5)
SILENT_SECONDS: Final = 8.0


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of one request.

    Attributes:
        fault: The kind; ``None`` for none.
        seconds: How long the answer is held back.
        share: How much of the answer is sent, of one that is cut off: more than 0, less than 1.
    """

    fault: Fault | None = None
    seconds: float = 0.0
    share: float = 0.5


NO_HARM: Final = Fate()


class Lots:
    """Draws what becomes of each request.

    Args:
        seed: Decides what is drawn, request by request, in the order in which they come.
        share: Of so many requests something goes wrong, from 0 to 1.
    """

    def __init__(self, seed: int, share: float = 0.0) -> None:
        self._chance = Random(f"faults {seed}")
        self.share = share

    def draw(self) -> Fate:
        """What becomes of the next request."""
        # Always as many numbers, so that one request's fate does not depend on another's.
        happens, kind, length = (self._chance.random() for _ in range(3))
        if happens >= self.share:
            return NO_HARM
        fault = self._kind(kind)
        seconds = SILENT_SECONDS if fault is Fault.SILENT else 0.0
        if fault is Fault.LATE:
            least, most = LATE_SECONDS
            seconds = least + (most - least) * length
        return Fate(fault, seconds, 0.01 + 0.98 * length)

    @staticmethod
    def _kind(number: float) -> Fault:
        left = number * sum(WEIGHTS.values())
        for fault, weight in WEIGHTS.items():
            left -= weight
            if left < 0:
                return fault
        return Fault.SILENT


# --- errors as the services write them -----------------------------------------------------

_HTML: Final = b"<html><body><h1>503 Service Unavailable</h1></body></html>"
_DYNAMODB: Final = "com.amazonaws.dynamodb.v20120810"
_SQS: Final = "com.amazonaws.sqs"


def refusal(fault: Fault, target: str, share: float = 0.5) -> bytes:
    """The answer, head and body, of a service that refuses a request.

    Args:
        fault: ``THROTTLED``, one of the errors of status 500, or ``UNAVAILABLE``.
        target: The request's ``X-Amz-Target``, such as ``DynamoDB_20120810.PutItem``.
        share: Chooses between the errors that DynamoDB has for too many requests.
    """
    if fault is Fault.UNAVAILABLE:
        return _answer(503, "Service Unavailable", _HTML, {"Content-Type": "text/html"})
    is_sqs = target.startswith("AmazonSQS")
    if fault is Fault.THROTTLED:
        if is_sqs:
            return _error(400, f"{_SQS}#RequestThrottled", "RequestThrottled;Sender")
        few = "com.amazon.coral.availability#ThrottlingException"
        many = f"{_DYNAMODB}#ProvisionedThroughputExceededException"
        return _error(400, few if share < 0.5 else many)
    if is_sqs:
        return _error(500, f"{_SQS}#InternalFailure", "InternalFailure;Receiver")
    return _error(500, f"{_DYNAMODB}#InternalServerError")


def _error(status: int, kind: str, query_error: str | None = None) -> bytes:
    body = json.dumps({"__type": kind, "message": "The proxy of a chaos campaign says so"})
    headers = {"Content-Type": "application/x-amz-json-1.0"}
    if query_error is not None:
        headers["x-amzn-query-error"] = query_error
    return _answer(status, "Refused", body.encode(), headers)


def _answer(status: int, reason: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    head = [f"HTTP/1.1 {status} {reason}", f"Content-Length: {len(body)}"]
    head += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*head, "", ""]).encode() + body
