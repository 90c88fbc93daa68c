"""The bucket for large values and files: there, in reach, and nobody else's business."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from flowcraft.adapters.aws.failures import Resource
from flowcraft.adapters.aws.transport import AwsError
from flowcraft.doctor.checking import Check
from flowcraft.doctor.findings import Finding, error, note, ok, warning
from flowcraft.doctor.services import Services, unchecked

NAME: Final = "bucket"

_BLOCKS: Final = (
    "BlockPublicAcls",
    "IgnorePublicAcls",
    "BlockPublicPolicy",
    "RestrictPublicBuckets",
)


def bucket_checks(services: Services, payload_bucket: str) -> list[Check]:
    """The checks of the bucket.

    Args:
        services: Whom to ask.
        payload_bucket: Its name, with the prefix if there is one.
    """
    bucket, _, prefix = payload_bucket.partition("/")
    resource = Resource("bucket", bucket)
    where = str(resource)

    async def look_at_objects() -> Iterable[Finding]:
        # Only what is of runs: policies of roles allow no more.
        begin = f"{prefix.strip('/')}/runs/".lstrip("/")
        request = {"Bucket": bucket, "Prefix": begin, "MaxKeys": 1}
        try:
            await services.call("s3", "ListObjectsV2", request)
        except AwsError as refusal:
            if refusal.code == "AccessDenied":
                return [
                    error(
                        NAME,
                        f"It may not be listed ({refusal.message}), so what is missing cannot be "
                        "told from what is denied.",
                        where,
                        "Allow s3:ListBucket on the bucket, and see that it is yours.",
                    )
                ]
            raise unchecked(refusal, "s3", "ListObjectsV2", resource) from refusal
        return [ok(NAME, "It can be reached and listed.", where)]

    async def look_at_access() -> Iterable[Finding]:
        return [await _access(services, bucket, where)]

    return [Check(NAME, where, look_at_objects), Check("bucket.private", where, look_at_access)]


async def _access(services: Services, bucket: str, where: str) -> Finding:
    """Whether somebody else may read it: by its block of public access, else by its policy."""
    check = "bucket.private"
    on = ",".join(f"{each}=true" for each in _BLOCKS)
    cure = (
        f"aws s3api put-public-access-block --bucket {bucket} "
        f"--public-access-block-configuration {on}"
    )
    try:
        answer = await services.call("s3", "GetPublicAccessBlock", {"Bucket": bucket})
        blocks: dict[str, Any] = answer.get("PublicAccessBlockConfiguration", {})
        missing = [each for each in _BLOCKS if not blocks.get(each)]
    except AwsError as refusal:
        if refusal.code != "NoSuchPublicAccessBlockConfiguration":
            reason = unchecked(refusal, "s3", "GetBucketPublicAccessBlock")
            return note(check, reason.reason, where, reason.cure)
        missing = list(_BLOCKS)
    if not missing:
        return ok(check, "Public access is blocked.", where)
    try:
        status = await services.call("s3", "GetBucketPolicyStatus", {"Bucket": bucket})
        is_public = bool(status.get("PolicyStatus", {}).get("IsPublic"))
    except AwsError:
        is_public = False
    if is_public:
        return error(check, "Its policy lets everybody in: values of runs are public.", where, cure)
    return warning(
        check, f"Nothing keeps it from being made public: {', '.join(missing)} off.", where, cure
    )
