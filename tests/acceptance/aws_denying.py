"""boto3 clients to which everything is denied that a policy does not allow: as AWS would."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from botocore.awsrequest import AWSResponse

from tests.emulators.aws import client
from tests.unit.guarded import DENIED, Book
from tests.unit.iam import accesses

_PARAMETERS = "flowcraft-parameters"


def denying_client(service: str, endpoint: str, book: Book) -> Any:
    """A client that asks the policy of a book before each request.

    Args:
        service: ``sqs``, ``dynamodb`` or ``s3``.
        endpoint: Where what is allowed is sent.
        book: Has the policy, and is told of each request.
    """
    made = client(service, endpoint)

    def keep(params: Mapping[str, Any], context: dict[str, Any], **_: Any) -> None:
        context[_PARAMETERS] = params

    def decide(model: Any, context: Mapping[str, Any], **_: Any) -> Any:
        for access in accesses(service, model.name, context[_PARAMETERS]):
            book.asked.add((model.name, access.resource))
            if not book.decide(access):
                return _refusal(service, f"not authorized to perform: {access}")
        return None

    made.meta.events.register("provide-client-params", keep)
    made.meta.events.register("before-call", decide)
    return made


def _refusal(service: str, message: str) -> tuple[AWSResponse, dict[str, Any]]:
    """What the client gives its caller instead of an answer."""
    answer = {
        "Error": {"Code": DENIED[service], "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": 403, "HTTPHeaders": {}},
    }
    return AWSResponse("", 403, {}, None), answer
