"""A bucket of S3: how it is, and what makes it what a fleet needs.

Names of buckets are one space for the whole world, and buckets are taken into use that were there
before. So one that is deleted again is only one that carries the mark of having been created here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from flowcraft.adapters.aws.failures import Resource, translated
from flowcraft.adapters.aws.transport import Answer, AwsError, Request, Transport
from flowcraft.errors import StorageUnavailable
from flowcraft.provisioning.differences import (
    TAGS,
    WHOLE,
    Call,
    Difference,
    Holding,
    Kind,
    Look,
    Step,
    foreign,
    settled,
    tag_difference,
)
from flowcraft.provisioning.model import ABORT_UPLOADS_DAYS, CREATED_TAG, OWNER_TAG, Fleet

UPLOADS: Final = "unfinished uploads"
PRIVACY: Final = "public access"
ENCRYPTION: Final = "encryption"

RULE_ID: Final = "flowcraft-abort-unfinished-uploads"

PRIVATE: Final = {
    "BlockPublicAcls": True,
    "IgnorePublicAcls": True,
    "BlockPublicPolicy": True,
    "RestrictPublicBuckets": True,
}
"""As PutPublicAccessBlock and CloudFormation take it."""

_GONE: Final = ("404", "NoSuchBucket", "NotFound")
_HOME: Final = "us-east-1"  # the one region that is not named where a bucket is created
_PAGE: Final = 1_000


class BucketKeeper:
    """Knows the bucket.

    Args:
        transport: S3.
        name: How it is called.
        fleet: The options.
        region: Where it is created.
    """

    kind: Kind = "bucket"

    def __init__(self, transport: Transport, name: str, fleet: Fleet, region: str) -> None:
        self._transport = transport
        self._name = name
        self._fleet = fleet
        self._region = region
        self._has_created = False

    @property
    def name(self) -> str:
        """How the bucket is called."""
        return self._name

    async def look(self) -> Look:
        """Read how the bucket is; see ``Keeper.look``.

        Raises:
            StorageError: It cannot be read, or is another account's.
        """
        if not await self._is_there():
            return Look([self._creation()])
        tags = await self._tags()
        if (refusal := foreign("bucket", self._name, tags, self._fleet.prefix)) is not None:
            return Look([refusal])
        steps = [
            self._tagging(tags),
            await self._privacy(),
            await self._uploads(),
            await self._encryption(),
        ]
        found = [step for step in steps if step is not None]
        return Look(settled("bucket", self._name, found, tags))

    async def carry_out(self, call: Call) -> None:
        """Make a request of a step; see ``Keeper.carry_out``."""
        await self._transport.call(call.operation, call.request)
        if call.operation == "CreateBucket":
            self._has_created = True

    async def holding(self) -> Holding | None:
        """What would be deleted; see ``Keeper.holding``."""
        if not await self._is_there():
            return None
        tags = await self._tags()
        obstacle = ""
        if tags.get(CREATED_TAG) != self._fleet.prefix:
            obstacle = (
                f"it has no tag '{CREATED_TAG}' of this fleet, so it was there before it, or is "
                "somebody else's: delete it yourself, if it is yours"
            )
        page = await self._page({"Bucket": self._name})
        count = len(page)
        more = " or more" if count == _PAGE else ""
        contents = f"{count:,}{more} objects" if count else "no objects"
        return Holding(tags, contents, obstacle, is_empty=not count)

    async def delete(self, *, empty: bool) -> None:
        """Delete the bucket; see ``Keeper.delete``.

        Raises:
            StorageUnavailable: It is not marked as one that was created for this fleet.
        """
        # Once more, right before: nothing that anybody else has is ever emptied.
        if (await self._tags()).get(CREATED_TAG) != self._fleet.prefix:
            raise StorageUnavailable(
                f"The bucket '{self._name}' has no tag '{CREATED_TAG}' of this fleet (any more): "
                "it is neither emptied nor deleted."
            )
        if empty:
            await self._empty()
        await self._transport.call("DeleteBucket", {"Bucket": self._name})

    # --- reading -------------------------------------------------------------------------------

    async def _is_there(self) -> bool:
        try:
            await self._transport.call("HeadBucket", {"Bucket": self._name})
        except AwsError as error:
            if error.code in _GONE:
                return False
            if error.status == 403:
                raise StorageUnavailable(
                    f"The bucket '{self._name}' may not be looked at: it is of another account, "
                    "or s3:ListBucket on it is not allowed. Choose another name, or allow it."
                ) from error
            if error.status in (301, 307, 400):
                # The answer to HEAD has no body that would say more.
                raise StorageUnavailable(
                    f"The bucket '{self._name}' is in another region than the client "
                    f"({error.code}): make the client with the region of the bucket."
                ) from error
            raise translated(error, Resource("bucket", self._name)) from error
        return True

    async def _tags(self) -> dict[str, str]:
        answer = await self._read("GetBucketTagging", "NoSuchTagSet", *_GONE)
        return {each["Key"]: each["Value"] for each in (answer or {}).get("TagSet", ())}

    async def _page(self, request: Request) -> list[dict[str, str]]:
        """Up to 1,000 versions of objects, and marks of deleted ones."""
        answer = await self._call("ListObjectVersions", {**request, "MaxKeys": _PAGE})
        found = [*answer.get("Versions", ()), *answer.get("DeleteMarkers", ())]
        return [{"Key": each["Key"], "VersionId": each["VersionId"]} for each in found]

    async def _read(self, operation: str, *absent: str) -> Answer | None:
        """An answer; ``None`` for errors that say there is nothing of that."""
        try:
            return await self._transport.call(operation, {"Bucket": self._name})
        except AwsError as error:
            if error.code in absent:
                return None
            raise translated(error, Resource("bucket", self._name)) from error

    async def _call(self, operation: str, request: Request) -> Answer:
        try:
            return await self._transport.call(operation, request)
        except AwsError as error:
            raise translated(error, Resource("bucket", self._name)) from error

    async def _empty(self) -> None:
        request = {"Bucket": self._name}
        while page := await self._page(request):
            deletion = {"Objects": page, "Quiet": True}
            answer = await self._call("DeleteObjects", {**request, "Delete": deletion})
            for each in answer.get("Errors", ()):
                raise StorageUnavailable(
                    f"The object '{each.get('Key')}' of the bucket '{self._name}' cannot be "
                    f"deleted: {each.get('Code')}: {each.get('Message')}"
                )

    # --- what is different ---------------------------------------------------------------------

    def _creation(self) -> Step:
        request: dict[str, Any] = {"Bucket": self._name}
        if self._region != _HOME:
            request["CreateBucketConfiguration"] = {"LocationConstraint": self._region}
        difference = Difference(
            "bucket", self._name, "create", WHOLE, "it is not there", after="private"
        )
        return Step(difference, Call("CreateBucket", request))

    def _tagging(self, tags: Mapping[str, str]) -> Step | None:
        wanted = dict(self._fleet.all_tags)
        if self._has_created:
            # Nobody knows after a crash between the two requests whose it is: then it stays.
            wanted[CREATED_TAG] = self._fleet.prefix
        changed = tag_difference("bucket", self._name, tags, wanted)
        if changed is None:
            return None
        difference, lacking = changed
        if OWNER_TAG in lacking:
            reason = "taken into use by this fleet, which will not delete it"
            if self._has_created:
                reason = "created for this fleet"
            difference = Difference(
                *("bucket", self._name, "change", TAGS, reason, difference.before, difference.after)
            )
        all_of_them = [{"Key": key, "Value": value} for key, value in {**tags, **lacking}.items()]
        request = {"Bucket": self._name, "Tagging": {"TagSet": all_of_them}}
        return Step(difference, Call("PutBucketTagging", request))

    async def _privacy(self) -> Step | None:
        answer = await self._read("GetPublicAccessBlock", "NoSuchPublicAccessBlockConfiguration")
        there = (answer or {}).get("PublicAccessBlockConfiguration", {})
        if all(there.get(name) for name in PRIVATE):
            return None
        request = {"Bucket": self._name, "PublicAccessBlockConfiguration": PRIVATE}
        call = Call("PutPublicAccessBlock", request)
        reason = "payloads of runs are nobody else's"
        return self._step(PRIVACY, reason, "possible", "blocked", call)

    async def _uploads(self) -> Step | None:
        answer = await self._read("GetBucketLifecycleConfiguration", "NoSuchLifecycleConfiguration")
        rules = list((answer or {}).get("Rules", ()))
        if any(_aborts_uploads(rule) for rule in rules):
            return None
        others = [rule for rule in rules if rule.get("ID") != RULE_ID]
        configuration = {"Rules": [*others, abort_rule()]}
        request = {"Bucket": self._name, "LifecycleConfiguration": configuration}
        call = Call("PutBucketLifecycleConfiguration", request)
        reason = "a worker that is killed while it uploads a file leaves one"
        after = f"aborted after {ABORT_UPLOADS_DAYS} day"
        return self._step(UPLOADS, reason, "kept", after, call)

    async def _encryption(self) -> Step | None:
        wanted = self._fleet.kms_key
        if wanted is None:
            return None
        answer = await self._read(
            "GetBucketEncryption", "ServerSideEncryptionConfigurationNotFoundError"
        )
        there = _kms_key((answer or {}).get("ServerSideEncryptionConfiguration", {}))
        if there == wanted:
            return None
        by_default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": wanted}
        rule = {"ApplyServerSideEncryptionByDefault": by_default, "BucketKeyEnabled": True}
        request = {
            "Bucket": self._name,
            "ServerSideEncryptionConfiguration": {"Rules": [rule]},
        }
        call = Call("PutBucketEncryption", request)
        return self._step(ENCRYPTION, "asked for", there or "by AWS", wanted, call)

    def _step(self, aspect: str, reason: str, before: str, after: str, call: Call) -> Step:
        difference = Difference("bucket", self._name, "change", aspect, reason, before, after)
        return Step(difference, call)


def abort_rule() -> dict[str, Any]:
    """The lifecycle rule that aborts uploads which nobody finished."""
    return {
        "ID": RULE_ID,
        "Status": "Enabled",
        "Filter": {"Prefix": ""},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": ABORT_UPLOADS_DAYS},
    }


def _aborts_uploads(rule: Mapping[str, Any]) -> bool:
    """Whether a rule aborts the uploads of all objects, sooner or later."""
    chosen = rule.get("Filter") or {}
    is_of_all = not (chosen.get("Prefix") or rule.get("Prefix")) and chosen.keys() <= {"Prefix"}
    return (
        rule.get("Status") == "Enabled" and is_of_all and "AbortIncompleteMultipartUpload" in rule
    )


def _kms_key(configuration: Mapping[str, Any]) -> str:
    for rule in configuration.get("Rules", ()):
        by_default = rule.get("ApplyServerSideEncryptionByDefault", {})
        return str(by_default.get("KMSMasterKeyID", ""))
    return ""
