"""Requests to S3 through boto3: bodies come whole or not at all, and errors as they are meant."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from flowcraft.adapters.aws.client import CHECKSUM_MISMATCH, BotoTransport
from flowcraft.adapters.aws.objects import S3Objects
from flowcraft.adapters.aws.transport import CONNECTION_FAILED, AwsError
from flowcraft.errors import (
    StorageBusy,
    StorageCorrupt,
    StorageError,
    StorageUnavailable,
)
from tests.emulators import aws
from tests.emulators.scripted import RESET, Reply, ScriptedServer, answer, scripted

GET = {"Bucket": "b", "Key": "k", "ChecksumMode": "ENABLED"}
BODY = b"0123456789" * 1000
XML = {"Content-Type": "application/xml"}


def error(code: str, status: int, message: str = "told") -> Reply:
    """An error as S3 gives it."""
    text = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return answer(text.encode(), status, headers=XML)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """A server that answers as told."""
    with scripted() as running:
        yield running


@pytest.fixture
def s3(server: ScriptedServer) -> Iterator[Any]:
    """A client of it."""
    client = aws.client("s3", server.endpoint, s3={"addressing_style": "path"})
    yield client
    client.close()


def call(s3: Any, operation: str, request: Any) -> Any:
    """One call of a transport of its own."""

    async def main() -> Any:
        transport = BotoTransport(s3)
        try:
            return await transport.call(operation, request)
        finally:
            assert await transport.aclose()

    return asyncio.run(main())


def test_a_body_is_read_in_the_thread(server: ScriptedServer, s3: Any) -> None:
    """What boto3 gives as a stream comes as bytes, and nothing has to be closed."""
    server.script(answer(BODY))
    assert call(s3, "GetObject", GET)["Body"] == BODY


def test_an_answer_to_head_has_a_length_and_no_body(server: ScriptedServer, s3: Any) -> None:
    """The length that HEAD tells is the object's, and no sign of an answer that was cut off."""
    server.script(answer(BODY, cut=len(BODY)))
    assert call(s3, "HeadObject", {"Bucket": "b", "Key": "k"})["ContentLength"] == len(BODY)


@pytest.mark.parametrize(
    "reply",
    [answer(BODY, cut=1), answer(BODY, cut=len(BODY)), RESET],
    ids=["cut off", "without a body", "reset"],
)
def test_a_body_that_is_cut_off_is_none(server: ScriptedServer, s3: Any, reply: Reply) -> None:
    """Part of a body is no answer: it is told as a connection that failed, and may pass."""
    server.script(reply)
    with pytest.raises(AwsError) as caught:
        call(s3, "GetObject", GET)
    assert (caught.value.code, caught.value.may_pass) == (CONNECTION_FAILED, True)


@pytest.mark.parametrize(
    ("status", "body"),
    [(200, b"0123"), (404, b"<Error><Code>NoSuchKey</Code></Error>")],
    ids=["an object", "none"],
)
def test_an_object_may_be_cut_off_at_any_byte(
    server: ScriptedServer, s3: Any, status: int, body: bytes
) -> None:
    """Wherever an answer ends, in its head too, it is none: no other object, and no lack of one."""
    data = answer(body, status, headers={"Connection": None}).data
    found = {}
    for length in range(len(data)):
        server.script(Reply(data[:length]))
        try:
            found[length] = str(call(s3, "GetObject", GET))
        except Exception as error:
            found[length] = getattr(error, "code", repr(error))
    wrong = {data[:at]: each for at, each in found.items() if each != CONNECTION_FAILED}
    assert not wrong, wrong


def test_a_body_that_is_not_what_its_checksum_says(server: ScriptedServer, s3: Any) -> None:
    """S3's own checksum is compared: an object that is damaged is told of, by its place."""
    wrong = base64.b64encode(hashlib.sha256(b"other").digest()).decode()
    reply = answer(BODY, headers={"x-amz-checksum-sha256": wrong})
    server.script(reply, reply)
    with pytest.raises(AwsError) as caught:
        call(s3, "GetObject", GET)
    assert caught.value.code == CHECKSUM_MISMATCH
    with pytest.raises(StorageCorrupt, match="'k' in the bucket 'b' is damaged"):
        perform(s3, "read", "k")


def perform(s3: Any, method: str, *arguments: Any) -> Any:
    """One call of a store of objects."""

    async def main() -> Any:
        transport = BotoTransport(s3)
        try:
            return await getattr(S3Objects(transport, "b"), method)(*arguments)
        finally:
            assert await transport.aclose()

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("reply", "kind", "text"),
    [
        (error("NoSuchBucket", 404), StorageUnavailable, "no bucket 'b'.*payload_bucket"),
        (error("AccessDenied", 403), StorageUnavailable, "s3:PutObject.*s3:ListBucket"),
        (error("ExpiredToken", 400), StorageUnavailable, "Renew them"),
        (error("InvalidAccessKeyId", 403), StorageUnavailable, "Renew them"),
        (error("RequestTimeTooSkewed", 403), StorageUnavailable, "machine's clock"),
        (error("SlowDown", 503), StorageBusy, "more requests than it takes"),
        (error("ConditionalRequestConflict", 409), StorageBusy, "gave way"),
        (error("InternalError", 500), StorageError, "AWS has trouble"),
        (error("BadDigest", 400), StorageError, "damaged on its way"),
        (RESET, StorageError, "had no answer"),
    ],
    ids=lambda value: value.data[-60:].decode() if isinstance(value, Reply) else "",
)
def test_errors_name_the_bucket_and_what_to_do(
    server: ScriptedServer, s3: Any, reply: Reply, kind: type[StorageError], text: str
) -> None:
    """Each error of S3 is one of this package, and none of them is for ever."""
    server.script(reply)
    with pytest.raises(kind, match="bucket 'b'") as caught:
        perform(s3, "put", "k", b"x")
    assert re.search(text, str(caught.value), re.DOTALL)
    assert not caught.value.is_fatal


def test_a_part_of_a_deletion_that_fails_is_told(server: ScriptedServer, s3: Any) -> None:
    """A deletion answers 200 and may have failed in part: that is an error here."""
    listed = (
        "<ListBucketResult><IsTruncated>false</IsTruncated>"
        "<Contents><Key>a/1</Key></Contents><Contents><Key>a/2</Key></Contents>"
        "</ListBucketResult>"
    )
    for code, kind in (("InternalError", StorageBusy), ("AccessDenied", StorageUnavailable)):
        failed = (
            f"<DeleteResult><Error><Key>a/2</Key><Code>{code}</Code>"
            "<Message>told</Message></Error></DeleteResult>"
        )
        server.script(answer(listed.encode(), headers=XML), answer(failed.encode(), headers=XML))
        with pytest.raises(kind, match="bucket 'b'"):
            perform(s3, "delete_all", "a/")


def test_other_services_answers_are_checked_as_before(server: ScriptedServer) -> None:
    """What is left out for bodies of S3 is left out for nothing else."""
    dynamodb = aws.client("dynamodb", server.endpoint)
    server.script(answer(json.dumps({"Item": {}}).encode(), cut=3))
    with pytest.raises(AwsError, match=CONNECTION_FAILED):
        call(dynamodb, "GetItem", {"TableName": "t", "Key": {"runId": {"S": "r"}}})
    dynamodb.close()
