"""S3 in memory, at the level of its requests: with its limits, its refusals and its habits."""

from __future__ import annotations

import itertools
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from email.utils import formatdate
from typing import Final

from flowcraft.adapters.aws.transport import Answer, AwsError, Request
from flowcraft.ports.clock import Clock
from flowcraft.testing.aws.s3_bucket import (
    Bucket,
    Stored,
    Upload,
    joined,
    ranged,
    refused,
    sha256,
    stored,
)

Choose = Callable[[int], int]

MOST_KEYS: Final = 1000
MOST_PARTS: Final = 10_000
LONGEST_KEY_BYTES: Final = 1024

_NAME = re.compile(r"(?!.*\.\.)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")

_PARAMETERS: Final[Mapping[str, tuple[frozenset[str], frozenset[str]]]] = {
    name: (frozenset(required.split()), frozenset(optional.split()))
    for name, (required, optional) in {
        "CreateBucket": ("Bucket", ""),
        "PutObject": ("Bucket Key Body", "ChecksumSHA256 IfNoneMatch"),
        "GetObject": ("Bucket Key", "Range ChecksumMode"),
        "HeadObject": ("Bucket Key", "ChecksumMode"),
        "ListObjectsV2": ("Bucket", "Prefix MaxKeys ContinuationToken"),
        "DeleteObjects": ("Bucket Delete", ""),
        "CreateMultipartUpload": ("Bucket Key", "ChecksumAlgorithm"),
        "UploadPart": ("Bucket Key UploadId PartNumber Body", "ChecksumSHA256"),
        "CompleteMultipartUpload": ("Bucket Key UploadId MultipartUpload", "IfNoneMatch"),
        "AbortMultipartUpload": ("Bucket Key UploadId", ""),
    }.items()
}
_ACTIONS: Final = {
    "HeadObject": "GetObject",
    "ListObjectsV2": "ListBucket",
    "DeleteObjects": "DeleteObject",
    "CreateMultipartUpload": "PutObject",
    "UploadPart": "PutObject",
    "CompleteMultipartUpload": "PutObject",
}


class FakeS3:
    """S3 for tests: a transport (see ``flowcraft.adapters.aws.transport``) with buckets in memory.

    Reads and lists are consistent, as they are on AWS. What is given wrong is refused as AWS
    would. With ``choose`` it is as unkind as S3 may be: a conditional write is now and then told
    of a conflict, and an upload that was finished already is known still, or not.

    Args:
        clock: The time of the service.
        choose: Gives a number from 0 up to another one; seeded. Without it, the first.

    Attributes:
        calls: How many requests were made, refused ones included, by operation.
    """

    def __init__(self, clock: Clock, choose: Choose | None = None) -> None:
        self.calls: Counter[str] = Counter()
        self._clock = clock
        self._choose = choose
        self._lock = threading.Lock()
        self._buckets: dict[str, Bucket] = {}
        self._denied: frozenset[str] = frozenset()
        self._failing: AwsError | None = None
        self._uploads = itertools.count(1)
        self._operations: dict[str, Callable[[Request], Answer]] = {
            "CreateBucket": self._create,
            "PutObject": self._put,
            "GetObject": self._get,
            "HeadObject": self._head,
            "ListObjectsV2": self._list,
            "DeleteObjects": self._delete,
            "CreateMultipartUpload": self._begin,
            "UploadPart": self._add,
            "CompleteMultipartUpload": self._finish,
            "AbortMultipartUpload": self._abort,
        }

    # -- for tests --------------------------------------------------------------------------

    def create(self, name: str) -> str:
        """Make a bucket; gives its name.

        Raises:
            AwsError: S3 would not make it.
        """
        self._create({"Bucket": name})
        return name

    def drop(self, name: str) -> None:
        """Let a bucket be gone, with all that is in it."""
        del self._buckets[name]

    def objects(self, name: str) -> dict[str, bytes]:
        """The objects of a bucket, by key."""
        return {key: each.data for key, each in sorted(self._buckets[name].objects.items())}

    def uploads(self, name: str) -> list[str]:
        """The keys of what is uploaded in parts and not finished."""
        return [each.key for each in self._buckets[name].uploads.values()]

    def meddle(self, name: str, key: str, data: bytes | None) -> None:
        """Put something else in the place of an object; ``None`` takes it away."""
        objects = self._buckets[name].objects
        if data is None:
            del objects[key]
        else:
            objects[key] = stored(data, objects[key].checksum)

    def deny(self, actions: Iterable[str] = ()) -> None:
        """Allow all actions but these, such as ``PutObject`` or ``ListBucket``."""
        self._denied = frozenset(actions)

    def fail(self, code: str | None, message: str = "simulated", status: int = 400) -> None:
        """Answer every request with an error, such as ``ExpiredToken``, until told ``None``."""
        self._failing = None if code is None else AwsError(code, message, status=status)

    # -- requests ---------------------------------------------------------------------------

    async def call(self, operation: str, request: Request) -> Answer:
        """Carry out a request; see ``Transport.call``.

        Raises:
            AwsError: It is refused.
        """
        self.calls[operation] += 1
        try:
            with self._lock:
                self._check(operation, request)
                answer = self._operations[operation](request)
        except AwsError as error:
            raise AwsError(
                error.code, error.message, operation=operation, status=error.status
            ) from None
        date = formatdate(self._clock.now(), usegmt=True)
        metadata = {"HTTPStatusCode": 200, "HTTPHeaders": {"date": date}}
        return {**answer, "ResponseMetadata": metadata}

    def _check(self, operation: str, request: Request) -> None:
        required, optional = _PARAMETERS[operation]
        given = frozenset(request)
        if required - given or given - required - optional:
            wrong = sorted((required - given) | (given - required - optional))
            raise TypeError(f"{operation}: missing, or not known to this fake: {', '.join(wrong)}")
        if self._failing is not None:
            raise self._failing
        action = _ACTIONS.get(operation, operation)
        if action in self._denied:
            raise refused(
                "AccessDenied",
                f"User: fake is not authorized to perform: s3:{action}",
                403,
            )
        key = request.get("Key")
        if key is not None and not 0 < len(key.encode()) <= LONGEST_KEY_BYTES:
            raise refused("KeyTooLongError", "Your key is too long")

    def _bucket(self, request: Request) -> Bucket:
        bucket = self._buckets.get(request["Bucket"])
        if bucket is None:
            raise refused("NoSuchBucket", "The specified bucket does not exist", 404)
        return bucket

    def _chosen(self, below: int) -> int:
        return 0 if self._choose is None else self._choose(below)

    def _create(self, request: Request) -> Answer:
        name = request["Bucket"]
        if not _NAME.fullmatch(name):
            raise refused("InvalidBucketName", "The specified bucket is not valid.")
        if name in self._buckets:
            raise refused("BucketAlreadyOwnedByYou", "You have it already.", 409)
        self._buckets[name] = Bucket(name)
        return {"Location": f"/{name}"}

    # -- whole objects ----------------------------------------------------------------------

    def _put(self, request: Request) -> Answer:
        bucket, data = self._bucket(request), _body(request)
        self._check_absent(bucket, request)
        new = stored(data, _checked(request, data))
        bucket.objects[request["Key"]] = new
        return _described(new)

    def _check_absent(self, bucket: Bucket, request: Request) -> None:
        condition = request.get("IfNoneMatch")
        if condition is None:
            return
        if condition != "*":
            raise refused("NotImplemented", "A header is not implemented.", 501)
        if request["Key"] in bucket.objects:
            raise refused(
                "PreconditionFailed",
                "At least one of the pre-conditions you specified did not hold",
                412,
            )
        if self._chosen(20) == 19:
            raise refused(
                "ConditionalRequestConflict",
                "The conditional request cannot succeed due to a conflicting operation.",
                409,
            )

    def _object(self, request: Request, missing: str) -> Stored:
        bucket = self._bucket(request)
        found = bucket.objects.get(request["Key"])
        if found is not None:
            return found
        if "ListBucket" in self._denied:
            # Who may not list is not told what is there.
            raise refused("AccessDenied", "Access Denied", 403)
        raise refused(missing, "The specified key does not exist.", 404)

    def _get(self, request: Request) -> Answer:
        found = self._object(request, "NoSuchKey")
        wanted = request.get("Range")
        if wanted is not None:
            data, place = ranged(found.data, wanted)
            # Of a part of it S3 gives no checksum.
            return {
                "Body": data,
                "ContentLength": len(data),
                "ContentRange": place,
                "ETag": found.etag,
            }
        answer = {"Body": found.data, "ContentLength": len(found.data)}
        return answer | _described(found, request.get("ChecksumMode") == "ENABLED")

    def _head(self, request: Request) -> Answer:
        # An answer to HEAD has no body, so that its error has nothing but the status.
        found = self._object(request, "404")
        answer: Answer = {"ContentLength": len(found.data)}
        return answer | _described(found, request.get("ChecksumMode") == "ENABLED")

    # -- many objects -----------------------------------------------------------------------

    def _list(self, request: Request) -> Answer:
        bucket, prefix = self._bucket(request), request.get("Prefix", "")
        most = min(request.get("MaxKeys", MOST_KEYS), MOST_KEYS)
        keys = sorted((key for key in bucket.objects if key.startswith(prefix)), key=str.encode)
        after = request.get("ContinuationToken")
        if after is not None:
            keys = [key for key in keys if key.encode() > after.encode()]
        page = keys[:most]
        answer: Answer = {"KeyCount": len(page), "IsTruncated": len(keys) > len(page)}
        if page:
            answer["Contents"] = [
                {"Key": key, "Size": len(bucket.objects[key].data)} for key in page
            ]
        if answer["IsTruncated"]:
            answer["NextContinuationToken"] = page[-1]
        return answer

    def _delete(self, request: Request) -> Answer:
        bucket = self._bucket(request)
        keys = [each["Key"] for each in request["Delete"]["Objects"]]
        if not 0 < len(keys) <= MOST_KEYS:
            raise refused("MalformedXML", "The XML you provided was not well-formed.")
        answer: Answer = {}
        for place, key in enumerate(keys):
            if place and self._chosen(20) == 19:
                failed = {"Key": key, "Code": "InternalError", "Message": "simulated"}
                answer.setdefault("Errors", []).append(failed)
                continue
            bucket.objects.pop(key, None)
            if not request["Delete"].get("Quiet"):
                answer.setdefault("Deleted", []).append({"Key": key})
        return answer

    # -- in parts ---------------------------------------------------------------------------

    def _begin(self, request: Request) -> Answer:
        bucket, key = self._bucket(request), request["Key"]
        algorithm = request.get("ChecksumAlgorithm")
        if algorithm not in (None, "SHA256"):
            raise TypeError(f"the checksum {algorithm} is not known to this fake")
        upload_id = f"upload-{next(self._uploads)}"
        bucket.uploads[upload_id] = Upload(key, algorithm)
        return {"Bucket": bucket.name, "Key": key, "UploadId": upload_id}

    def _add(self, request: Request) -> Answer:
        upload = self._bucket(request).upload(request["Key"], request["UploadId"])
        number, data = request["PartNumber"], _body(request)
        if not 1 <= number <= MOST_PARTS:
            raise refused(
                "InvalidArgument", "Part number must be an integer between 1 and 10000, inclusive"
            )
        checksum = _checked(request, data)
        if upload.algorithm is not None and checksum is None:
            raise refused(
                "InvalidRequest",
                "The upload was created using a sha256 checksum, and the part has none.",
            )
        part = upload.parts[number] = stored(data, checksum)
        return _described(part)

    def _finish(self, request: Request) -> Answer:
        bucket, key, upload_id = self._bucket(request), request["Key"], request["UploadId"]
        if bucket.finished.get(upload_id) == key and self._chosen(2) == 0:
            found = bucket.objects.get(key)
            if found is not None and found.upload == upload_id:
                return {"Bucket": bucket.name, "Key": key, **_described(found)}
        upload = bucket.upload(key, upload_id)
        new = joined(upload_id, upload, request["MultipartUpload"].get("Parts", []))
        self._check_absent(bucket, request)
        bucket.objects[key] = new
        del bucket.uploads[upload_id]
        bucket.finished[upload_id] = key
        return {"Bucket": bucket.name, "Key": key, **_described(new)}

    def _abort(self, request: Request) -> Answer:
        bucket = self._bucket(request)
        bucket.upload(request["Key"], request["UploadId"])
        del bucket.uploads[request["UploadId"]]
        return {}


def _body(request: Request) -> bytes:
    body = request["Body"]
    if not isinstance(body, bytes):
        raise TypeError(f"the body is {type(body).__name__}, and this fake takes bytes")
    return body


def _checked(request: Request, data: bytes) -> str | None:
    told: str | None = request.get("ChecksumSHA256")
    if told is not None and told != sha256(data):
        raise refused(
            "BadDigest", "The SHA256 you specified did not match the calculated checksum."
        )
    return told


def _described(found: Stored, with_checksum: bool = True) -> Answer:
    answer: Answer = {"ETag": found.etag}
    if with_checksum and found.checksum is not None:
        answer["ChecksumSHA256"] = found.checksum
    return answer
