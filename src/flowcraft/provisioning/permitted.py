"""What each role does with the resources of a fleet, and why: the one table of permissions.

A *task* is a part of the code with the requests that it makes, by resource. A *role* is a list of
tasks. Policies are generated from this; nothing else says who may do what. A request that is not
here is denied in production, so a test records the requests of all roles and compares
(``tests/unit/test_permissions.py``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, Literal, NamedTuple, get_args

Kind = Literal[
    "queue",
    "dead_letters",
    "contexts",
    "statuses",
    "status_index",
    "coordination",
    "bucket",
    "objects",
    "metrics",
]
"""What a request is about. ``bucket`` is the bucket itself, ``objects`` what is in it; ``metrics``
are those of all that there is, since CloudWatch knows no narrower permission."""

Role = Literal["worker", "starter", "answerer", "operator", "reconciler", "viewer"]

ROLES: Final[tuple[Role, ...]] = get_args(Role)
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

SERVICES: Final[Mapping[Kind, str]] = {
    "queue": "sqs",
    "dead_letters": "sqs",
    "contexts": "dynamodb",
    "statuses": "dynamodb",
    "status_index": "dynamodb",
    "coordination": "dynamodb",
    "bucket": "s3",
    "objects": "s3",
    "metrics": "cloudwatch",
}
"""The prefix of the actions on a kind of resource."""

ACTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    # A batch needs the permission of the single request.
    "SendMessageBatch": ("SendMessage",),
    "DeleteMessageBatch": ("DeleteMessage",),
    "ChangeMessageVisibilityBatch": ("ChangeMessageVisibility",),
    # SQS moves messages in the name of whoever asks for it, who sends them to the queue, too.
    "StartMessageMoveTask": (
        "StartMessageMoveTask",
        "ReceiveMessage",
        "DeleteMessage",
        "GetQueueAttributes",
    ),
    "CancelMessageMoveTask": (
        "CancelMessageMoveTask",
        "ReceiveMessage",
        "DeleteMessage",
        "GetQueueAttributes",
    ),
    # The transactions here put items, and nothing else.
    "TransactWriteItems": ("PutItem",),
    "HeadObject": ("GetObject",),
    "GetPublicAccessBlock": ("GetBucketPublicAccessBlock",),
    "ListObjectsV2": ("ListBucket",),
    "DeleteObjects": ("DeleteObject",),
    "CreateMultipartUpload": ("PutObject",),
    "UploadPart": ("PutObject",),
    "CompleteMultipartUpload": ("PutObject",),
}
"""The actions of requests that do not have the name of their one action.

Sources: the *Service Authorization Reference* of SQS, DynamoDB and S3; *Amazon SQS API permissions*
for what a redrive needs; *Using IAM with DynamoDB transactions*.
"""


class Task(NamedTuple):
    """A part of the code, and what it asks of AWS.

    Attributes:
        why: What it does.
        requests: Names of requests by what they are about, with spaces between them.
    """

    why: str
    requests: Mapping[Kind, str]


_WRITES_RUNS: Final = "PutItem UpdateItem DeleteItem BatchWriteItem"
_WRITES_OBJECTS: Final = (
    "PutObject CreateMultipartUpload UploadPart CompleteMultipartUpload AbortMultipartUpload"
)

TASKS: Final[Mapping[str, Task]] = {
    "open": Task(
        "find the queue by its name, and read how long it hides messages",
        {"queue": "GetQueueUrl GetQueueAttributes"},
    ),
    "read": Task(
        "read a run: its item, its row, what is kept beside it, its files, its blueprint; that an "
        "object is missing, and not forbidden, is told only to those who may list",
        {
            "contexts": "GetItem BatchGetItem",
            "statuses": "GetItem",
            "objects": "GetObject",
            "bucket": "ListObjectsV2",
        },
    ),
    "list": Task(
        "find runs that wait for an event, and list runs by reading all rows",
        {"statuses": "Scan", "contexts": "BatchGetItem"},
    ),
    "follow": Task(
        "list runs, follow those that are not over, and tell which stand still, by the index if "
        "there is one",
        {
            "statuses": "Scan DescribeTable",
            "status_index": "Query",
            "contexts": "BatchGetItem",
        },
    ),
    "read-schedules": Task(
        "read schedules, and who has which lock",
        {"coordination": "GetItem", "contexts": "GetItem"},
    ),
    "start": Task(
        "begin a run: its blueprint, its item (in one transaction with its idempotency key), its "
        "row, its first message; one of the same id whose time is over is removed before",
        {
            "queue": "SendMessageBatch",
            "contexts": f"{_WRITES_RUNS} TransactWriteItems",
            "statuses": "PutItem UpdateItem DeleteItem",
            "objects": f"{_WRITES_OBJECTS} HeadObject DeleteObjects",
            "bucket": "ListObjectsV2",
        },
    ),
    "ask": Task(
        "send an answer, an event or another wish to a run, and note it in its item and row",
        {
            "queue": "SendMessageBatch",
            "contexts": "PutItem UpdateItem BatchWriteItem",
            "statuses": "PutItem",
            "objects": f"{_WRITES_OBJECTS} HeadObject",
        },
    ),
    "remove": Task(
        "remove a run with its child runs, shards, large values, files, timers and places in line",
        {
            "contexts": "GetItem BatchGetItem UpdateItem DeleteItem BatchWriteItem",
            "statuses": "UpdateItem DeleteItem",
            "coordination": "GetItem PutItem UpdateItem DeleteItem",
            "objects": "GetObject DeleteObjects",
            "bucket": "ListObjectsV2",
        },
    ),
    "time": Task(
        "keep timers that are due in more than an hour, and send them when their time comes",
        {"coordination": "GetItem PutItem DeleteItem", "queue": "SendMessageBatch"},
    ),
    "schedule": Task(
        "keep schedules and their contexts, and start the runs that are due, under a lock",
        {
            "coordination": "GetItem PutItem UpdateItem DeleteItem",
            "contexts": "GetItem PutItem DeleteItem",
        },
    ),
    "reconcile": Task(
        "find runs that stand still, by the index or by reading the tables; mend rows, send again "
        "what is missing, and clear away what runs that are gone have left",
        {
            "queue": "SendMessageBatch",
            "contexts": "Scan GetItem BatchGetItem PutItem UpdateItem DeleteItem BatchWriteItem",
            "statuses": "Scan BatchGetItem GetItem PutItem DeleteItem DescribeTable",
            "status_index": "Query",
            "coordination": "GetItem PutItem UpdateItem DeleteItem",
        },
    ),
    "work": Task(
        "receive messages, keep them hidden and delete them; claim and prolong leases, append "
        "facts, write rows, large values and files; keep places under limits",
        {
            "queue": "ReceiveMessage ChangeMessageVisibilityBatch DeleteMessageBatch "
            "SendMessageBatch",
            "contexts": f"GetItem BatchGetItem {_WRITES_RUNS}",
            "statuses": "GetItem PutItem UpdateItem",
            "coordination": "GetItem PutItem UpdateItem DeleteItem",
            "objects": f"GetObject {_WRITES_OBJECTS} HeadObject",
        },
    ),
    "letters": Task(
        "list dead letters, show them, send them back and purge them",
        {
            "dead_letters": "GetQueueUrl GetQueueAttributes ListDeadLetterSourceQueues "
            "ReceiveMessage ChangeMessageVisibilityBatch DeleteMessageBatch PurgeQueue "
            "StartMessageMoveTask ListMessageMoveTasks CancelMessageMoveTask",
            "queue": "SendMessageBatch",
        },
    ),
    "diagnose": Task(
        "see whether tables, queues and bucket are as they have to be, and how old messages are",
        {
            "queue": "GetQueueUrl GetQueueAttributes",
            "dead_letters": "GetQueueUrl GetQueueAttributes",
            "contexts": "DescribeTable DescribeTimeToLive DescribeContinuousBackups",
            "statuses": "DescribeTable DescribeTimeToLive",
            "coordination": "DescribeTable DescribeTimeToLive",
            "bucket": "ListObjectsV2 GetPublicAccessBlock GetBucketPolicyStatus",
            "metrics": "GetMetricStatistics",
        },
    ),
}

_LOOKS: Final = ("open", "read", "list", "follow", "read-schedules", "diagnose")
_RECONCILES: Final = ("open", "read", "start", "remove", "time", "schedule", "reconcile")

TASKS_OF: Final[Mapping[Role, tuple[str, ...]]] = {
    "worker": (*_RECONCILES, "work"),
    "starter": ("open", "read", "list", "start", "ask", "remove", "time"),
    "answerer": ("open", "read", "ask"),
    "operator": (*_LOOKS, *_RECONCILES[2:], "ask", "letters"),
    "reconciler": _RECONCILES,
    "viewer": _LOOKS,
}
"""What each role does: a starter starts runs, waits for their results and answers their waits, an
answerer does no more than requests to links need."""


class Asked(NamedTuple):
    """A request that a role makes.

    Attributes:
        name: Such as ``UpdateItem``.
        kind: What it is about.
    """

    name: str
    kind: Kind

    @property
    def service(self) -> str:
        """Whom it is made of: ``sqs``, ``dynamodb`` or ``s3``."""
        return SERVICES[self.kind]


class Permission(NamedTuple):
    """An action on a resource that a role needs.

    Attributes:
        kind: What it is about.
        action: Such as ``dynamodb:GetItem``.
        tasks: What it is needed for: names of :data:`TASKS`.
        requests: The requests that need it.
    """

    kind: Kind
    action: str
    tasks: tuple[str, ...]
    requests: tuple[str, ...]


def requests_of(role: Role) -> set[Asked]:
    """The requests that a role makes.

    Raises:
        ValueError: There is no such role.
    """
    return {asked for name in _tasks_of(role) for asked in _requests(TASKS[name])}


def permissions(role: Role) -> list[Permission]:
    """What a role needs, resource by resource; the actions of each in the order of the alphabet.

    Raises:
        ValueError: There is no such role.
    """
    reasons: dict[tuple[Kind, str], tuple[list[str], list[str]]] = {}
    for task in _tasks_of(role):
        for request, kind in _requests(TASKS[task]):
            for action in actions_of(request):
                tasks, requests = reasons.setdefault((kind, action), ([], []))
                tasks += [task] if task not in tasks else []
                requests += [request] if request not in requests else []
    ordered = sorted(reasons.items(), key=lambda each: (KINDS.index(each[0][0]), each[0][1]))
    return [
        Permission(kind, f"{SERVICES[kind]}:{action}", tuple(tasks), tuple(requests))
        for (kind, action), (tasks, requests) in ordered
    ]


def actions_of(request: str) -> tuple[str, ...]:
    """The actions, without the service, that a request needs on what it is about."""
    return ACTIONS.get(request, (request,))


def _tasks_of(role: Role) -> tuple[str, ...]:
    if role not in TASKS_OF:
        raise ValueError(f"There is no role {role!r}: it is one of {', '.join(ROLES)}.")
    return TASKS_OF[role]


def _requests(task: Task) -> Iterator[Asked]:
    for kind, requests in task.requests.items():
        for request in requests.split():
            yield Asked(request, kind)
