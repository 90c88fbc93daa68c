"""A stand-in for how AWS is administered, with the delays that no emulator has.

Tables and indexes take their time, one index is built at a time, what a queue was told shows a
minute later, and the name of a deleted queue is not free for as long. Time passes when somebody
waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

from flowcraft.adapters.aws.transport import AwsError

Data = dict[str, Any]

TABLE_SECONDS = 20.0
INDEX_SECONDS = 90.0
QUEUE_SECONDS = 60.0
ACCOUNT = "123456789012"


class HastyClock:
    """Time that passes as soon as somebody waits for it."""

    def __init__(self) -> None:
        self.time = 1_000_000.0

    def now(self) -> float:
        return self.time

    def call_at(self, when: float, callback: Callable[[], None]) -> Any:
        def fire() -> None:
            self.time = max(self.time, when)
            callback()

        return asyncio.get_running_loop().call_soon(fire)


class Killed(Exception):
    """The process ended here."""


@dataclass
class Aws:
    """An account.

    Attributes:
        clock: Its time.
        log: The requests that were made, in order.
        kill_at: The number of the request at which the process is killed, from 1; None for never.
        after: Whether it is killed after that request, instead of before.
        answers: Errors to answer the next requests of an operation with.
    """

    clock: HastyClock = field(default_factory=HastyClock)
    log: list[str] = field(default_factory=list)
    kill_at: int | None = None
    after: bool = False
    answers: dict[str, list[AwsError]] = field(default_factory=dict)
    tables: dict[str, Data] = field(default_factory=dict)
    queues: dict[str, Data] = field(default_factory=dict)
    deleted_queues: dict[str, float] = field(default_factory=dict)
    buckets: dict[str, Data] = field(default_factory=dict)
    foreign_buckets: set[str] = field(default_factory=set)

    @property
    def writes(self) -> list[str]:
        """The requests that change something."""
        reads = ("Get", "List", "Describe", "Head")
        return [each for each in self.log if not each.startswith(reads)]

    def clients(self) -> dict[str, Any]:
        """What a provisioner is given."""
        return {
            "sqs_client": Service(self, Sqs(self)),
            "dynamodb_client": Service(self, DynamoDb(self)),
            "s3_client": Service(self, S3(self)),
            "clock": self.clock,
        }


class Service:
    """A transport of one of its services."""

    def __init__(self, aws: Aws, handler: Any) -> None:
        self._aws = aws
        self._handler = handler

    async def call(self, operation: str, request: Mapping[str, Any]) -> Data:
        await asyncio.sleep(0)
        aws = self._aws
        aws.log.append(operation)
        is_last = len(aws.log) == aws.kill_at
        if is_last and not aws.after:
            raise Killed
        try:
            if aws.answers.get(operation):
                raise aws.answers[operation].pop(0)
            answer: Data = deepcopy(getattr(self._handler, operation)(deepcopy(dict(request))))
        finally:
            if is_last:
                raise Killed
        return answer


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """A test that runs in an event loop of its own."""

    @wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        asyncio.run(test(*arguments, **named))

    return run


def refusal(code: str, status: int = 400) -> AwsError:
    """An error as AWS gives it."""
    return AwsError(code, f"simulated {code}", status=status)


@dataclass
class DynamoDb:
    """Tables."""

    aws: Aws

    def _found(self, request: Data) -> Data:
        table = self.aws.tables.get(request["TableName"])
        if table is not None and table.get("gone_at", float("inf")) <= self.aws.clock.now():
            del self.aws.tables[request["TableName"]]
            table = None
        if table is None:
            raise refusal("ResourceNotFoundException")
        return table

    def _usable(self, request: Data) -> Data:
        table = self._found(request)
        if self._status(table) != "ACTIVE":
            raise refusal("ResourceInUseException")
        return table

    def _status(self, table: Data) -> str:
        now = self.aws.clock.now()
        if "gone_at" in table:
            return "DELETING"
        if table["active_at"] > now:
            return "CREATING"
        return "UPDATING" if self._building(table) else "ACTIVE"

    def _building(self, table: Data) -> bool:
        return any(each["active_at"] > self.aws.clock.now() for each in table["indexes"])

    def _described(self, table: Data) -> Data:
        now = self.aws.clock.now()
        indexes = [
            {
                **{name: value for name, value in each.items() if name != "active_at"},
                "IndexStatus": "CREATING" if each["active_at"] > now else "ACTIVE",
            }
            for each in table["indexes"]
        ]
        shown = {**table["description"], "TableStatus": self._status(table)}
        return shown | ({"GlobalSecondaryIndexes": indexes} if indexes else {})

    def CreateTable(self, request: Data) -> Data:
        name, now = request["TableName"], self.aws.clock.now()
        if name in self.aws.tables:
            raise refusal("ResourceInUseException")
        table = {
            "active_at": now + TABLE_SECONDS,
            "indexes": [
                {**each, "active_at": now + TABLE_SECONDS}
                for each in request.get("GlobalSecondaryIndexes", ())
            ],
            "ttl": None,
            "recovery": False,
            "tags": {each["Key"]: each["Value"] for each in request.get("Tags", ())},
            "description": {
                "TableName": name,
                "TableArn": f"arn:aws:dynamodb:eu-west-1:{ACCOUNT}:table/{name}",
                "KeySchema": request["KeySchema"],
                "AttributeDefinitions": request["AttributeDefinitions"],
                "BillingModeSummary": {"BillingMode": request["BillingMode"]},
                "DeletionProtectionEnabled": request.get("DeletionProtectionEnabled", False),
                "ItemCount": 7,
            },
        }
        _encrypt(table, request)
        self.aws.tables[name] = table
        return {"TableDescription": self._described(table)}

    def DescribeTable(self, request: Data) -> Data:
        return {"Table": self._described(self._found(request))}

    def UpdateTable(self, request: Data) -> Data:
        table = self._usable(request)
        if "DeletionProtectionEnabled" in request:
            table["description"]["DeletionProtectionEnabled"] = request["DeletionProtectionEnabled"]
        _encrypt(table, request)
        for update in request.get("GlobalSecondaryIndexUpdates", ()):
            if self._building(table):
                raise refusal("LimitExceededException")
            active_at = self.aws.clock.now() + INDEX_SECONDS
            table["indexes"].append({**update["Create"], "active_at": active_at})
            table["description"]["AttributeDefinitions"] = request["AttributeDefinitions"]
        return {"TableDescription": self._described(table)}

    def DeleteTable(self, request: Data) -> Data:
        table = self._found(request)
        if self._status(table) != "ACTIVE":
            raise refusal("ResourceInUseException")
        if table["description"]["DeletionProtectionEnabled"]:
            raise refusal("ValidationException")
        table["gone_at"] = self.aws.clock.now() + TABLE_SECONDS
        return {}

    def UpdateTimeToLive(self, request: Data) -> Data:
        table, wanted = self._usable(request), request["TimeToLiveSpecification"]
        if table["ttl"] is not None:
            raise refusal("ValidationException")
        table["ttl"] = wanted["AttributeName"]
        return {"TimeToLiveSpecification": wanted}

    def DescribeTimeToLive(self, request: Data) -> Data:
        name = self._found(request)["ttl"]
        told = {"TimeToLiveStatus": "DISABLED"}
        if name is not None:
            told = {"TimeToLiveStatus": "ENABLING", "AttributeName": name}
        return {"TimeToLiveDescription": told}

    def UpdateContinuousBackups(self, request: Data) -> Data:
        wanted = request["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"]
        self._usable(request)["recovery"] = wanted
        return {}

    def DescribeContinuousBackups(self, request: Data) -> Data:
        status = "ENABLED" if self._found(request)["recovery"] else "DISABLED"
        told = {"PointInTimeRecoveryDescription": {"PointInTimeRecoveryStatus": status}}
        return {"ContinuousBackupsDescription": told}

    def ListTagsOfResource(self, request: Data) -> Data:
        tags = self._of_arn(request)["tags"]
        return {"Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}

    def TagResource(self, request: Data) -> Data:
        given = {each["Key"]: each["Value"] for each in request["Tags"]}
        self._of_arn(request)["tags"].update(given)
        return {}

    def _of_arn(self, request: Data) -> Data:
        return self._found({"TableName": request["ResourceArn"].rpartition("/")[2]})


def _encrypt(table: Data, request: Data) -> None:
    if "SSESpecification" in request:
        key = request["SSESpecification"]["KMSMasterKeyId"]
        shown = f"arn:aws:kms:eu-west-1:{ACCOUNT}:key/{key}"
        table["description"]["SSEDescription"] = {"Status": "ENABLED", "KMSMasterKeyArn": shown}


@dataclass
class Sqs:
    """Queues."""

    aws: Aws

    def _found(self, request: Data) -> Data:
        name = request["QueueUrl"].rpartition("/")[2]
        if name not in self.aws.queues:
            raise refusal("NonExistentQueue")
        return self.aws.queues[name]

    def CreateQueue(self, request: Data) -> Data:
        name, now = request["QueueName"], self.aws.clock.now()
        if self.aws.deleted_queues.get(name, -QUEUE_SECONDS) + QUEUE_SECONDS > now:
            raise refusal("QueueDeletedRecently")
        there = self.aws.queues.get(name)
        given = request["Attributes"]
        if there is not None and any(there["attributes"].get(k) != v for k, v in given.items()):
            raise refusal("QueueAlreadyExists")
        if there is None:
            arn = {"QueueArn": f"arn:aws:sqs:eu-west-1:{ACCOUNT}:{name}"}
            defaults = {"VisibilityTimeout": "30", "MessageRetentionPeriod": "345600"}
            self.aws.queues[name] = {
                "attributes": defaults | arn | given,
                "pending": {},
                "shows_at": 0.0,
                "tags": dict(request["tags"]),
            }
        return {"QueueUrl": f"https://sqs/{ACCOUNT}/{name}"}

    def GetQueueUrl(self, request: Data) -> Data:
        name = request["QueueName"]
        if name not in self.aws.queues:
            raise refusal("NonExistentQueue")
        return {"QueueUrl": f"https://sqs/{ACCOUNT}/{name}"}

    def GetQueueAttributes(self, request: Data) -> Data:
        queue = self._found(request)
        if queue["shows_at"] <= self.aws.clock.now():
            queue["attributes"] |= queue["pending"]
        return {"Attributes": queue["attributes"]}

    def SetQueueAttributes(self, request: Data) -> Data:
        queue = self._found(request)
        queue["pending"] |= request["Attributes"]
        queue["shows_at"] = self.aws.clock.now() + QUEUE_SECONDS
        return {}

    def ListQueueTags(self, request: Data) -> Data:
        return {"Tags": self._found(request)["tags"]}

    def TagQueue(self, request: Data) -> Data:
        self._found(request)["tags"].update(request["Tags"])
        return {}

    def DeleteQueue(self, request: Data) -> Data:
        self._found(request)
        name = request["QueueUrl"].rpartition("/")[2]
        del self.aws.queues[name]
        self.aws.deleted_queues[name] = self.aws.clock.now()
        return {}


_NOT_THERE = {
    "GetBucketTagging": ("TagSet", "NoSuchTagSet"),
    "GetPublicAccessBlock": (
        "PublicAccessBlockConfiguration",
        "NoSuchPublicAccessBlockConfiguration",
    ),
    "GetBucketLifecycleConfiguration": ("Rules", "NoSuchLifecycleConfiguration"),
    "GetBucketEncryption": (
        "ServerSideEncryptionConfiguration",
        "ServerSideEncryptionConfigurationNotFoundError",
    ),
}


@dataclass
class S3:
    """Buckets."""

    aws: Aws

    def __getattr__(self, operation: str) -> Callable[[Data], Data]:
        name, code = _NOT_THERE[operation]

        def read(request: Data) -> Data:
            bucket = self._found(request)
            if name not in bucket:
                raise refusal(code, 404)
            return {name: bucket[name]}

        return read

    def _found(self, request: Data) -> Data:
        if request["Bucket"] in self.aws.foreign_buckets:
            raise refusal("403", 403)
        if request["Bucket"] not in self.aws.buckets:
            raise refusal("404", 404)
        return self.aws.buckets[request["Bucket"]]

    def HeadBucket(self, request: Data) -> Data:
        self._found(request)
        return {}

    def CreateBucket(self, request: Data) -> Data:
        name = request["Bucket"]
        if name in self.aws.buckets:
            raise refusal("BucketAlreadyOwnedByYou", 409)
        self.aws.buckets[name] = {"objects": [], "created_with": request}
        return {}

    def PutBucketTagging(self, request: Data) -> Data:
        self._found(request)["TagSet"] = request["Tagging"]["TagSet"]
        return {}

    def PutPublicAccessBlock(self, request: Data) -> Data:
        given = request["PublicAccessBlockConfiguration"]
        self._found(request)["PublicAccessBlockConfiguration"] = given
        return {}

    def PutBucketLifecycleConfiguration(self, request: Data) -> Data:
        self._found(request)["Rules"] = request["LifecycleConfiguration"]["Rules"]
        return {}

    def PutBucketEncryption(self, request: Data) -> Data:
        name = "ServerSideEncryptionConfiguration"
        self._found(request)[name] = request[name]
        return {}

    def ListObjectVersions(self, request: Data) -> Data:
        page = self._found(request)["objects"][: request["MaxKeys"]]
        return {"Versions": [{"Key": key, "VersionId": "null"} for key in page]}

    def DeleteObjects(self, request: Data) -> Data:
        keys = {each["Key"] for each in request["Delete"]["Objects"]}
        bucket = self._found(request)
        bucket["objects"] = [key for key in bucket["objects"] if key not in keys]
        return {}

    def DeleteBucket(self, request: Data) -> Data:
        if self._found(request)["objects"]:
            raise refusal("BucketNotEmpty", 409)
        del self.aws.buckets[request["Bucket"]]
        return {}
