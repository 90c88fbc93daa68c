"""Objects in a bucket of S3.

A put carries the SHA-256 of what it brings, so that S3 refuses what was damaged on its way, and
keeps it beside the object. It takes effect only if nothing is under its key.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from flowcraft.adapters.aws.failures import Resource, translated
from flowcraft.adapters.aws.transport import Answer, AwsError, Request, Transport
from flowcraft.errors import StorageBusy, StorageCorrupt, StorageError
from flowcraft.ports.objects import MOST_PARTS, PART_BYTES, upload_gone

LISTED_KEYS: Final = 1000
"""The most keys of a page, and of one deletion."""

IS_THERE: Final = "PreconditionFailed"
_MISSING: Final = frozenset({"NoSuchKey", "404"})
_SEPARATOR: Final = " "


class S3Objects:
    """Objects in a bucket; each method raises a ``StorageError`` if it cannot be used.

    Args:
        transport: Carries requests to S3 out.
        bucket: The bucket; with a prefix behind a ``/``, if it is not to have all of it.
    """

    def __init__(self, transport: Transport, bucket: str) -> None:
        self.bucket, _, prefix = bucket.partition("/")
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._transport = transport
        self._resource = Resource("bucket", self.bucket)

    async def put(self, key: str, data: bytes) -> bool:
        """Keep an object of one piece, unless there is one under the key already."""
        return await self._unless_there(
            "PutObject", {**self._at(key), "Body": data, **_checksum(data), "IfNoneMatch": "*"}
        )

    async def begin(self, key: str) -> str:
        """Begin an object of several parts."""
        request = {**self._at(key), "ChecksumAlgorithm": "SHA256"}
        answer = await self._call("CreateMultipartUpload", request)
        return str(answer["UploadId"])

    async def add(self, key: str, upload: str, number: int, data: bytes) -> str:
        """Add a part; gives its ETag and its checksum."""
        if number > MOST_PARTS:
            raise StorageError(
                f"{self.place(key).capitalize()} is too large: it may have {MOST_PARTS:,} parts "
                f"of {PART_BYTES:,} bytes, 80 GiB. Split it.",
                is_fatal=True,
            )
        checksum = _checksum(data)
        request = {
            **self._at(key),
            "UploadId": upload,
            "PartNumber": number,
            "Body": data,
            **checksum,
        }
        try:
            answer = await self._call("UploadPart", request)
        except AwsError as error:
            if error.code == "NoSuchUpload":
                raise upload_gone(self.place(key)) from error
            raise translated(error, self._resource) from error
        return f"{answer['ETag']}{_SEPARATOR}{checksum['ChecksumSHA256']}"

    async def finish(self, key: str, upload: str, parts: Sequence[str]) -> bool:
        """Have the object there, with all its parts, unless there is one of the key."""
        told = []
        for number, part in enumerate(parts, 1):
            etag, _, checksum = part.partition(_SEPARATOR)
            told.append({"PartNumber": number, "ETag": etag, "ChecksumSHA256": checksum})
        request = {
            **self._at(key),
            "UploadId": upload,
            "MultipartUpload": {"Parts": told},
            "IfNoneMatch": "*",
        }
        try:
            return await self._unless_there("CompleteMultipartUpload", request)
        except AwsError as error:
            # It may have been finished before: then the answer was lost, and the name is no more.
            if error.code != "NoSuchUpload":
                raise translated(error, self._resource) from error
            if await self._is_there(key):
                return False
            raise upload_gone(self.place(key)) from error

    async def _is_there(self, key: str) -> bool:
        try:
            await self._call("HeadObject", self._at(key))
        except AwsError:
            return False
        return True

    async def give_up(self, key: str, upload: str) -> None:
        """Forget what was begun and is not finished."""
        try:
            await self._call("AbortMultipartUpload", {**self._at(key), "UploadId": upload})
        except AwsError as error:
            if error.code != "NoSuchUpload":
                raise translated(error, self._resource) from error

    async def read(self, key: str, start: int = 0, size: int = PART_BYTES) -> bytes | None:
        """A range of an object; ``None`` if there is none.

        Raises:
            StorageCorrupt: It is not what was put.
        """
        if size <= 0:
            return b""
        request = {
            **self._at(key),
            "Range": f"bytes={start}-{start + size - 1}",
            "ChecksumMode": "ENABLED",
        }
        try:
            answer = await self._call("GetObject", request)
        except AwsError as error:
            if error.code in _MISSING:
                return None
            if error.code == "InvalidRange":
                return b""
            if error.code == "ChecksumMismatch":
                raise self._damaged(key) from error
            raise translated(error, self._resource) from error
        data = bytes(answer["Body"])
        if len(data) != answer["ContentLength"]:
            raise self._damaged(key)
        return data

    def _damaged(self, key: str) -> StorageCorrupt:
        return StorageCorrupt(
            f"{self.place(key).capitalize()} is damaged: its content is not what its checksum "
            "says. Restore an earlier version of it, or a backup."
        )

    async def delete_all(self, prefix: str) -> None:
        """Forget all objects whose key begins with a text."""
        after: str | None = None
        while True:
            request: dict[str, Any] = {"Bucket": self.bucket, "Prefix": self._prefix + prefix}
            if after is not None:
                request["ContinuationToken"] = after
            page = await self._asked("ListObjectsV2", request)
            keys = [each["Key"] for each in page.get("Contents", ())]
            if keys:
                await self._delete(keys)
            if not page.get("IsTruncated"):
                return
            after = page["NextContinuationToken"]

    async def _delete(self, keys: Sequence[str]) -> None:
        wanted = {"Objects": [{"Key": key} for key in keys[:LISTED_KEYS]], "Quiet": True}
        answer = await self._asked("DeleteObjects", {"Bucket": self.bucket, "Delete": wanted})
        errors = answer.get("Errors", ())
        if not errors:
            return
        first = errors[0]
        error = AwsError(
            first.get("Code", "Unknown"), first.get("Message", ""), operation="DeleteObjects"
        )
        if error.code == "AccessDenied":
            raise translated(error, self._resource)
        raise StorageBusy(
            f"Of {len(keys)} objects of the {self._resource} {len(errors)} were not deleted: "
            f"{error.code}: {error.message}. Try again."
        )

    def place(self, key: str) -> str:
        """Where an object is, for errors."""
        return f"the object '{self._prefix}{key}' in the bucket '{self.bucket}'"

    # -- requests ---------------------------------------------------------------------------

    def _at(self, key: str) -> dict[str, Any]:
        return {"Bucket": self.bucket, "Key": self._prefix + key}

    async def _unless_there(self, operation: str, request: Request) -> bool:
        """Carry out a put; gives whether nothing was under its key."""
        try:
            await self._call(operation, request)
        except AwsError as error:
            if error.code == IS_THERE:
                return False
            if operation == "PutObject":
                raise translated(error, self._resource) from error
            raise
        return True

    async def _asked(self, operation: str, request: Request) -> Answer:
        try:
            return await self._call(operation, request)
        except AwsError as error:
            raise translated(error, self._resource) from error

    async def _call(self, operation: str, request: Request) -> Answer:
        """Carry out a request.

        Raises:
            AwsError: It is refused for what may be an answer to whoever asks.
            StorageError: It failed.
        """
        try:
            return await self._transport.call(operation, request)
        except AwsError as error:
            if error.code in _ANSWERS:
                raise
            raise translated(error, self._resource) from error


_ANSWERS: Final = _MISSING | {IS_THERE, "NoSuchUpload", "InvalidRange", "ChecksumMismatch"}


def _checksum(data: bytes) -> Mapping[str, str]:
    digest = hashlib.sha256(data).digest()
    return {"ChecksumSHA256": base64.b64encode(digest).decode()}
