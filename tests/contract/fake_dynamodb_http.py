"""A plain client of an emulator of DynamoDB, which needs nothing but the standard library."""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from flowcraft.adapters.aws.transport import AwsError

_AUTHORIZATION = (
    "AWS4-HMAC-SHA256 Credential=test/20240101/us-east-1/dynamodb/aws4_request, "
    "SignedHeaders=host, Signature=0"
)
_BINARY = frozenset({"B", "BS"})


class HttpDynamoDb:
    """Sends requests to an emulator, which does not look at the signature."""

    def __init__(self, endpoint: str) -> None:
        address = urlsplit(endpoint)
        assert address.hostname is not None
        self._connection = http.client.HTTPConnection(address.hostname, address.port, timeout=60)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    async def call(self, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """Carry out a request, in the shapes that boto3 has."""
        headers = {
            "Authorization": _AUTHORIZATION,
            "Content-Type": "application/x-amz-json-1.0",
            "X-Amz-Date": "20240101T000000Z",
            "X-Amz-Target": f"DynamoDB_20120810.{operation}",
        }
        self._connection.request("POST", "/", json.dumps(_sent(request)), headers)
        with self._connection.getresponse() as response:
            answer = json.loads(response.read() or b"{}")
        if response.status == 200:
            return dict(_received(answer))
        code = str(answer.pop("__type", "?")).rpartition("#")[2]
        message = answer.pop("message", answer.pop("Message", ""))
        raise AwsError(
            code, message, operation=operation, status=response.status, answer=_received(answer)
        )


def _sent(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Mapping):
        return {name: _sent(inner) for name, inner in value.items()}
    return [_sent(inner) for inner in value] if isinstance(value, list) else value


def _received(value: Any) -> Any:
    if isinstance(value, list):
        return [_received(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1 and _BINARY & value.keys():
        ((kind, content),) = value.items()
        if isinstance(content, str):
            return {kind: base64.b64decode(content)}
        if isinstance(content, list) and all(isinstance(each, str) for each in content):
            return {kind: [base64.b64decode(each) for each in content]}
    return {name: _received(inner) for name, inner in value.items()}
