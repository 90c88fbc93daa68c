"""The fake of S3 answers as an emulator does, request by request; what it refuses is named."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from itertools import count
from typing import Any

import pytest

from flowcraft.adapters.aws.client import BotoTransport
from flowcraft.adapters.aws.transport import AwsError, Transport
from flowcraft.testing import VirtualClock
from flowcraft.testing.aws.s3 import FakeS3
from tests.emulators.aws import client

_numbers = count(1)
PART = bytes(5 * 1024 * 1024)


def digest(data: bytes) -> str:
    """A checksum as S3 has it."""
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


STEPS: list[tuple[str, dict[str, Any]]] = [
    ("PutObject", {"Bucket": "nowhere", "Key": "k", "Body": b"x"}),
    ("GetObject", {"Key": "k"}),
    ("HeadObject", {"Key": "k"}),
    ("PutObject", {"Key": "k", "Body": b"x", "ChecksumSHA256": digest(b"y")}),
    ("PutObject", {"Key": "k", "Body": b"0123", "ChecksumSHA256": digest(b"0123")}),
    ("PutObject", {"Key": "k", "Body": b"z", "IfNoneMatch": "*"}),
    ("GetObject", {"Key": "k", "ChecksumMode": "ENABLED"}),
    ("GetObject", {"Key": "k", "Range": "bytes=1-2", "ChecksumMode": "ENABLED"}),
    ("GetObject", {"Key": "k", "Range": "bytes=3-99"}),
    ("GetObject", {"Key": "k", "Range": "bytes=4-5"}),
    ("HeadObject", {"Key": "k", "ChecksumMode": "ENABLED"}),
    ("PutObject", {"Key": "empty", "Body": b"", "IfNoneMatch": "*"}),
    ("GetObject", {"Key": "empty", "Range": "bytes=0-9"}),
    ("UploadPart", {"Key": "m", "UploadId": "none", "PartNumber": 1, "Body": b"x"}),
    ("AbortMultipartUpload", {"Key": "m", "UploadId": "none"}),
    ("CreateMultipartUpload", {"Key": "m", "ChecksumAlgorithm": "SHA256"}),
    *(
        ("UploadPart", {"Key": "m", "PartNumber": n, "Body": body, "ChecksumSHA256": digest(told)})
        for n, body, told in (
            (1, PART, PART),
            (2, b"end", b"no"),
            (2, b"end", b"end"),
            (10_001, b"x", b"x"),
        )
    ),
    ("CompleteMultipartUpload", {"Key": "m", "parts": [(1, PART), (3, b"end")]}),
    ("CompleteMultipartUpload", {"Key": "m", "parts": [(1, PART), (2, b"eND")]}),
    ("GetObject", {"Key": "m"}),
    ("CompleteMultipartUpload", {"Key": "m", "parts": [(1, PART), (2, b"end")]}),
    ("CompleteMultipartUpload", {"Key": "m", "parts": [(1, PART), (2, b"end")]}),
    ("AbortMultipartUpload", {"Key": "m"}),
    ("GetObject", {"Key": "m", "Range": f"bytes={len(PART) - 1}-", "ChecksumMode": "ENABLED"}),
    ("CreateMultipartUpload", {"Key": "m", "ChecksumAlgorithm": "SHA256"}),
    ("UploadPart", {"Key": "m", "PartNumber": 1, "Body": b"b", "ChecksumSHA256": digest(b"b")}),
    ("CompleteMultipartUpload", {"Key": "m", "parts": [(1, b"b")], "IfNoneMatch": "*"}),
    ("AbortMultipartUpload", {"Key": "m"}),
    ("AbortMultipartUpload", {"Key": "m"}),
    *(("PutObject", {"Key": f"l/{name}", "Body": b"x"}) for name in ("b", "B", "ä", "~")),
    ("ListObjectsV2", {"Prefix": "l/"}),
    ("ListObjectsV2", {"Prefix": "l/", "MaxKeys": 3}),
    ("ListObjectsV2", {"Prefix": "none/"}),
    ("DeleteObjects", {"Delete": {"Objects": [{"Key": "l/b"}, {"Key": "l/none"}], "Quiet": True}}),
    ("ListObjectsV2", {"Prefix": "l/"}),
]

STRICTER: dict[str, tuple[str, dict[str, Any]]] = {
    "a key of 1,025 bytes": ("PutObject", {"Key": "k" * 1025, "Body": b"x"}),
    "1,001 keys at once": (
        "DeleteObjects",
        {"Delete": {"Objects": [{"Key": str(number)} for number in range(1001)]}},
    ),
    "a condition that is no star": ("PutObject", {"Key": "c", "Body": b"x", "IfNoneMatch": '"a"'}),
}
"""What AWS refuses, and the fake, and the emulator does not."""


class Asked:
    """A service that is asked one thing after the other."""

    def __init__(self, transport: Transport, bucket: str) -> None:
        self._transport = transport
        self._bucket = bucket
        self._upload = ""
        self._etags: dict[bytes, str] = {}

    async def ask(self, operation: str, request: dict[str, Any]) -> Any:
        """What comes of a request, as far as it is the same everywhere."""
        given = {"Bucket": self._bucket, **request}
        if operation in ("UploadPart", "CompleteMultipartUpload", "AbortMultipartUpload"):
            given.setdefault("UploadId", self._upload)
        if "parts" in given:
            told = [
                {
                    "PartNumber": number,
                    "ETag": self._etags.get(data, '"none"'),
                    "ChecksumSHA256": digest(data),
                }
                for number, data in given.pop("parts")
            ]
            given["MultipartUpload"] = {"Parts": told}
        try:
            answer = await self._transport.call(operation, given)
        except AwsError as error:
            return error.code, error.status
        self._upload = answer.get("UploadId", self._upload)
        if operation == "UploadPart":
            self._etags[given["Body"]] = answer["ETag"]
        found = {name: answer[name] for name in _COMPARED if name in answer}
        if operation not in ("GetObject", "HeadObject"):
            found.pop("ChecksumSHA256", None)  # ministack does not tell what it was just told
        if "Contents" in answer:
            found["Contents"] = [each["Key"] for each in answer["Contents"]]
        return found


_COMPARED = (
    "Body",
    "ContentLength",
    "ContentRange",
    "ChecksumSHA256",
    "ETag",
    "IsTruncated",
    "KeyCount",
    "Deleted",
    "Errors",
)


def test_the_fake_answers_as_ministack_does(ministack: str) -> None:
    """Objects, ranges, checksums, conditions, uploads in parts, lists: the same answers."""
    name = f"flowcraft-agreement-{next(_numbers)}"
    s3 = client("s3", ministack, request_checksum_calculation="when_required")
    s3.create_bucket(Bucket=name)

    async def work() -> None:
        fake = FakeS3(VirtualClock())
        fake.create(name)
        transport = BotoTransport(s3, 2)
        both = Asked(fake, name), Asked(transport, name)
        for place, (operation, request) in enumerate(STEPS):
            mine, its = [await each.ask(operation, request) for each in both]
            assert mine == its, f"step {place}: {operation} {str(request)[:200]}"
        for what, (operation, request) in STRICTER.items():
            mine, its = [await each.ask(operation, request) for each in both]
            assert isinstance(mine, tuple), what
            assert isinstance(its, dict), f"{what}: ministack refuses it, too, by now"
        await transport.aclose()

    asyncio.run(work())
    s3.close()


def test_the_fake_refuses_what_aws_does() -> None:
    """Parts that are too small, or without the checksum that was announced, and bad names."""

    async def work() -> None:
        fake = FakeS3(VirtualClock())
        with pytest.raises(AwsError, match="InvalidBucketName"):
            fake.create("No_Bucket")
        asked = Asked(fake, fake.create("bucket"))
        await asked.ask("CreateMultipartUpload", {"Key": "m", "ChecksumAlgorithm": "SHA256"})
        part = {"Key": "m", "PartNumber": 1, "Body": b"x"}
        assert await asked.ask("UploadPart", part) == ("InvalidRequest", 400)
        for number, data in ((1, b"a"), (2, b"b")):
            given = {**part, "PartNumber": number, "Body": data, "ChecksumSHA256": digest(data)}
            await asked.ask("UploadPart", given)
        both = {"Key": "m", "parts": [(1, b"a"), (2, b"b")]}
        assert await asked.ask("CompleteMultipartUpload", both) == ("EntityTooSmall", 400)
        wrong = {"Key": "m", "parts": [(2, b"b"), (1, b"a")]}
        assert await asked.ask("CompleteMultipartUpload", wrong) == ("InvalidPartOrder", 400)
        fake.deny(["ListBucket"])
        # Without the permission to list S3 does not tell what is missing.
        assert await asked.ask("GetObject", {"Key": "none"}) == ("AccessDenied", 403)

    asyncio.run(work())
