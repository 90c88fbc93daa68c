"""A bucket of the fake of S3: objects, uploads in parts, and how they are described."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from flowcraft.adapters.aws.transport import AwsError

LEAST_PART_BYTES: Final = 5 * 1024 * 1024
"""Every part but the last has at least so many."""


def refused(code: str, message: str, status: int = 400) -> AwsError:
    """A request that is not carried out."""
    return AwsError(code, message, status=status)


def sha256(data: bytes) -> str:
    """A checksum as S3 has it."""
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


@dataclass(frozen=True, slots=True)
class Stored:
    """An object.

    Attributes:
        data: Its bytes.
        etag: Its ETag, in quotation marks.
        checksum: Its SHA-256, in base64; of several parts the checksum of theirs, and how many.
        upload: The upload that it came of.
    """

    data: bytes
    etag: str
    checksum: str | None
    upload: str | None = None


@dataclass(slots=True)
class Upload:
    """What is uploaded in parts and not finished."""

    key: str
    algorithm: str | None
    parts: dict[int, Stored] = field(default_factory=dict)


@dataclass(slots=True)
class Bucket:
    """A bucket."""

    name: str
    objects: dict[str, Stored] = field(default_factory=dict)
    uploads: dict[str, Upload] = field(default_factory=dict)
    finished: dict[str, str] = field(default_factory=dict)

    def upload(self, key: str, upload_id: str) -> Upload:
        """An upload that is under way.

        Raises:
            AwsError: There is none.
        """
        found = self.uploads.get(upload_id)
        if found is None or found.key != key:
            raise refused(
                "NoSuchUpload",
                "The specified upload does not exist. The upload ID may be invalid, or the "
                "upload may have been aborted or completed.",
                404,
            )
        return found


def stored(data: bytes, checksum: str | None, upload: str | None = None) -> Stored:
    """An object, or a part, of one piece."""
    etag = hashlib.md5(data, usedforsecurity=False).hexdigest()
    return Stored(data, f'"{etag}"', checksum, upload)


def joined(upload_id: str, upload: Upload, told: Sequence[Mapping[str, Any]]) -> Stored:
    """The object that an upload comes to.

    Raises:
        AwsError: The parts that are named are not those that were uploaded, or not in order, or
            one that is not the last is too small.
    """
    numbers = [part["PartNumber"] for part in told]
    if not numbers:
        raise refused("MalformedXML", "The XML you provided was not well-formed.")
    if numbers != sorted(set(numbers)):
        raise refused("InvalidPartOrder", "The list of parts was not in ascending order.")
    parts = [_part(upload, part) for part in told]
    for part in parts[:-1]:
        if len(part.data) < LEAST_PART_BYTES:
            raise refused(
                "EntityTooSmall",
                "Your proposed upload is smaller than the minimum allowed size",
            )
    digests = b"".join(bytes.fromhex(part.etag.strip('"')) for part in parts)
    etag = f'"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(parts)}"'
    checksum = None
    if upload.algorithm is not None:
        raw = b"".join(base64.b64decode(part.checksum or "") for part in parts)
        checksum = f"{sha256(raw)}-{len(parts)}"
    return Stored(b"".join(part.data for part in parts), etag, checksum, upload_id)


def _part(upload: Upload, told: Mapping[str, Any]) -> Stored:
    part = upload.parts.get(told["PartNumber"])
    if part is None or part.etag != told.get("ETag"):
        raise refused(
            "InvalidPart",
            "One or more of the specified parts could not be found. The part might not have been "
            "uploaded, or the specified entity tag might not have matched the part's entity tag.",
        )
    if upload.algorithm is not None and told.get("ChecksumSHA256") != part.checksum:
        raise refused(
            "InvalidRequest",
            "The upload was created using a sha256 checksum. The complete request must include "
            "the checksum for each part.",
        )
    return part


def ranged(data: bytes, text: str) -> tuple[bytes, str]:
    """The bytes of a range, and how the answer names it.

    Raises:
        AwsError: It begins beyond the end.
    """
    first, _, last = text.removeprefix("bytes=").partition("-")
    start, end = int(first), int(last) if last else len(data) - 1
    if start >= len(data):
        raise refused("InvalidRange", "The requested range is not satisfiable", 416)
    end = min(end, len(data) - 1)
    return data[start : end + 1], f"bytes {start}-{end}/{len(data)}"
