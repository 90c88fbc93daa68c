"""What the doctor finds in a fleet, on fakes and canned answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flowcraft import FlowRuntime, create_flow
from flowcraft.adapters.aws.transport import AwsError
from flowcraft.adapters.system import SystemClock
from flowcraft.aws import DynamoDbCoordinationStore, SqsAdapter
from flowcraft.doctor import Diagnosis, Severity, identity, services
from flowcraft.errors import FlowcraftError
from tests.unit.aws_tables import CONTEXTS, COORDINATION, STATUSES
from tests.unit.doctor_fleet import NOT_HERE, ROLE, Patient, Scripted, denied, of, told, troubles
from tests.unit.runs import drive

READS = {
    *("BatchGetItem", "DescribeContinuousBackups", "DescribeTable", "DescribeTimeToLive"),
    *("GetBucketPolicyStatus", "GetCallerIdentity", "GetItem", "GetMetricStatistics", "GetObject"),
    *("GetPublicAccessBlock", "GetQueueAttributes", "GetQueueUrl", "ListEventSourceMappings"),
    *("ListObjectsV2", "Query", "Scan", "SimulatePrincipalPolicy"),
}

Change = Callable[[Patient], Awaitable[None]]


def look_at(change: Change | None = None, **more: Any) -> Diagnosis:
    """A look at a healthy fleet that something was done to."""

    async def play() -> Diagnosis:
        patient = await Patient.healthy()
        if change is not None:
            await change(patient)
        return await patient.look(**more)

    return drive(play())


def answering(**answers: Any) -> Change:
    """Canned answers."""

    async def change(patient: Patient) -> None:
        patient.answers.update(answers)

    return change


def queue_with(**attributes: str) -> Change:
    """Other attributes of the queue."""

    async def change(patient: Patient) -> None:
        patient.queue(**attributes)

    return change


async def body(_: Any) -> int:
    """A node."""
    return 1


def app(uses: str = "a", timeout_ms: int | None = None) -> Any:
    """The options of an app with one node."""
    config = {} if timeout_ms is None else {"timeout": timeout_ms}
    flow = create_flow("order").node("a", body, uses=uses, config=config)
    return FlowRuntime(flows=[flow]).options


# --- all of it -----------------------------------------------------------------------------


def test_a_healthy_fleet_without_workers_lacks_nothing_but_these() -> None:
    """Every check of a healthy fleet says so; only workers are missing, which is a warning."""
    diagnosis = look_at()
    assert troubles(diagnosis) == ["workers.seen"]
    assert (diagnosis.worst, diagnosis.exit_code(), diagnosis.exit_code(strict=True)) == (
        Severity.WARNING,
        0,
        1,
    )
    assert {each.check for each in diagnosis.findings} == {
        *("credentials", "clock", "table.key", "table.ttl", "table.index", "table.backups"),
        *("queue.kind", "queue.visibility", "queue.receives", "queue.dead_letters"),
        *("queue.retention", "queue.age", "queue.lambda", "bucket", "bucket.private"),
        *("permissions", "runs.standing", "runs.waiting", "workers.seen", "workers.needed"),
    }
    assert all(each.cure for each in diagnosis.findings if each.is_trouble)


def test_nothing_is_asked_for_that_writes_where_iam_answers() -> None:
    """With IAM at hand all requests only read; without, writes are conditional and never hold."""

    async def play(*, simulated: bool) -> tuple[set[str], list[Any], list[Any]]:
        patient = await Patient.healthy()
        if not simulated:
            patient.answers["SimulatePrincipalPolicy"] = denied("iam:SimulatePrincipalPolicy")
        tables = (CONTEXTS, STATUSES, COORDINATION)
        before = [patient.fleet.dynamodb.items(each) for each in tables]
        await patient.look()
        after = [patient.fleet.dynamodb.items(each) for each in tables]
        asked = [each for each_service in patient.services.values() for each in each_service.asked]
        assert before == after
        return {name for name, _ in asked} - READS, asked, before

    others, _, _ = drive(play(simulated=True))
    assert others == set()
    others, asked, _ = drive(play(simulated=False))
    writes = {"PutItem", "UpdateItem", "DeleteItem"}
    assert others == writes | {"DeleteMessage", "ChangeMessageVisibility"}
    conditions = [request["ConditionExpression"] for name, request in asked if name in writes]
    assert len(conditions) == 9
    assert all("attribute_exists" in each and "attribute_not_exists" in each for each in conditions)


# --- who and where -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("refusal", "found", "cure"),
    [
        (
            AwsError("NoCredentials", "Unable to locate credentials. Give some", status=0),
            "Unable to locate credentials.",
            "Give some.",
        ),
        (
            AwsError("ExpiredToken", "it is over"),
            "AWS does not take the credentials (ExpiredToken: it is over).",
            "Renew them, and see that the machine's clock is right.",
        ),
        (
            AwsError("ClientMisconfigured", "Invalid endpoint: x. Look at endpoint_url", status=0),
            "Invalid endpoint: x.",
            "Look at endpoint_url.",
        ),
    ],
)
def test_without_good_credentials_nothing_else_is_asked(
    refusal: AwsError, found: str, cure: str
) -> None:
    """Missing, expired and unusable credentials are one error, and the rest is left out."""
    diagnosis = look_at(answering(GetCallerIdentity=refusal))
    assert [each.check for each in diagnosis.findings] == ["credentials", "runs"]
    first = diagnosis.findings[0]
    assert (first.severity, first.found, first.cure) == (Severity.ERROR, found, cure)


@pytest.mark.parametrize(
    "refusal",
    [denied("sts:GetCallerIdentity"), NOT_HERE, AwsError("ConnectionFailed", "no route", status=0)],
)
def test_where_nobody_knows_who_asks_the_rest_is_looked_at(refusal: AwsError) -> None:
    """A network without STS costs the name of who asks, and nothing else."""
    diagnosis = look_at(answering(GetCallerIdentity=refusal))
    assert told(diagnosis, "credentials")[0] == "note"
    assert troubles(diagnosis) == ["workers.seen"]


class Silent:
    """A service that takes requests and never answers."""

    async def call(self, operation: str, request: Any) -> Any:
        """Wait."""
        await asyncio.Event().wait()


def test_services_that_never_answer_cost_what_only_they_know(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In a private network without STS, IAM, CloudWatch and Lambda the rest is looked at."""
    monkeypatch.setattr(services, "BESIDE_SECONDS", 0.05)
    monkeypatch.setattr(identity, "BESIDE_SECONDS", 0.05)

    async def play() -> Diagnosis:
        patient = await Patient.healthy()
        fleet = patient.fleet
        ours: dict[str, Any] = {"sqs": fleet.sqs, "dynamodb": fleet.dynamodb, "s3": fleet.s3}

        def client(service: str) -> Any:
            return Scripted(patient.answers, ours[service]) if service in ours else Silent()

        return await patient.look(client=client)

    diagnosis = drive(play())
    for check in ("credentials", "queue.age", "queue.lambda"):
        severity, found = told(diagnosis, check)
        assert (severity, "has not answered" in found) == ("note", True), check
    assert troubles(diagnosis) == ["workers.seen"]


def test_a_region_that_is_missing_is_told_once() -> None:
    """Where no client can be made that is the one error."""

    def nowhere(_: str) -> Any:
        raise FlowcraftError("No region of AWS is known. Name one: --region.")

    diagnosis = look_at(client=nowhere)
    assert [each.check for each in diagnosis.findings] == ["region", "runs"]
    assert told(diagnosis, "region") == ("error", "No region of AWS is known. Name one: --region.")


@pytest.mark.parametrize(
    ("behind", "severity"),
    [(0.0, "ok"), (20.0, "note"), (-90.0, "warning"), (400.0, "error"), (-400.0, "error")],
)
def test_the_clock_is_compared_with_that_of_aws(behind: float, severity: str) -> None:
    """A clock that is off by seconds, minutes, or more than AWS takes, ahead or behind."""

    class Wrong(SystemClock):
        """A machine whose clock is not right."""

        def now(self) -> float:
            """The time, as it has it."""
            return super().now() - behind

    found = told(look_at(clock=Wrong()), "clock")
    assert found[0] == severity
    assert ("behind" in found[1], "ahead" in found[1]) == (behind > 0, behind < 0)


def test_a_clock_that_nothing_is_known_about_is_a_note() -> None:
    """Emulators that do not date their answers leave the clock unchecked."""

    async def undated(patient: Patient) -> None:
        fleet = patient.fleet
        fleet.sqs, fleet.dynamodb, fleet.s3 = map(Undated, (fleet.sqs, fleet.dynamodb, fleet.s3))  # type: ignore[assignment]
        described = patient.answers["DescribeTable"]
        assert callable(described)
        patient.answers["DescribeTable"] = lambda request: {"Table": described(request)["Table"]}

    assert told(look_at(undated), "clock")[0] == "note"


# --- tables --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("of_index", "severity", "text"),
    [
        ({}, "ok", "by-status"),
        ({"missing": True}, "warning", "no index"),
        ({"Backfilling": True}, "note", "backfilling"),
        ({"IndexStatus": "CREATING"}, "note", "CREATING"),
        (
            {"Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["e"]}},
            "warning",
            "lacks dueAt, r",
        ),
        ({"Projection": {"ProjectionType": "KEYS_ONLY"}}, "warning", "lacks dueAt, e, r"),
    ],
)
def test_the_status_index_is_there_and_fit(
    of_index: dict[str, Any], severity: str, text: str
) -> None:
    """An index that is missing, being built, or lacks attributes is told, and why it matters."""

    async def change(patient: Patient) -> None:
        patient.answers["DescribeTable"] = await patient.described(**of_index)

    found = told(look_at(change), "table.index")
    assert found[0] == severity
    assert text in found[1]


def test_a_table_with_another_key_is_an_error_and_no_run_is_looked_at() -> None:
    """A wrong key names what is there and what is needed, and what depends on it is left out."""

    async def change(patient: Patient) -> None:
        described = patient.answers["DescribeTable"]
        assert callable(described)
        table = described({"TableName": CONTEXTS})["Table"]
        table["KeySchema"] = [
            {"AttributeName": "id", "KeyType": "HASH"},
            {"AttributeName": "at", "KeyType": "RANGE"},
        ]
        table["AttributeDefinitions"] = [
            {"AttributeName": "id", "AttributeType": "S"},
            {"AttributeName": "at", "AttributeType": "N"},
        ]

    diagnosis = look_at(change)
    (wrong,) = [each for each in of(diagnosis, "table.key") if each.severity is Severity.ERROR]
    assert wrong.found == "Its key is 'id' (S), 'at' (N); 'runId' (S) alone is needed."
    assert told(diagnosis, "runs")[0] == "note"


def test_missing_tables_and_tables_that_come_or_go_are_errors() -> None:
    """A table that is not there says how to make it; one that is being made says to wait."""

    async def gone(patient: Patient) -> None:
        del patient.answers["DescribeTable"]
        await patient.fleet.dynamodb.call("DeleteTable", {"TableName": STATUSES})

    diagnosis = look_at(gone)
    assert "partition key 'runId'" in told(diagnosis, "table.statuses")[1]
    assert diagnosis.exit_code() == 1

    async def coming(patient: Patient) -> None:
        described = patient.answers["DescribeTable"]
        assert callable(described)
        described({"TableName": COORDINATION})["Table"]["TableStatus"] = "CREATING"

    assert told(look_at(coming), "table.state") == (
        "error",
        "It is not ready: DynamoDB says CREATING.",
    )


@pytest.mark.parametrize(
    ("answer", "severity", "text"),
    [
        ({"TimeToLiveStatus": "DISABLED"}, "warning", "Nothing expires"),
        ({"TimeToLiveStatus": "ENABLING", "AttributeName": "ttl"}, "ok", "by 'ttl'"),
        ({"TimeToLiveStatus": "ENABLED", "AttributeName": "expires"}, "warning", "by 'expires'"),
    ],
)
def test_items_have_to_expire_by_the_right_attribute(
    answer: dict[str, str], severity: str, text: str
) -> None:
    """Without TTL, or with that of another attribute, what is over stays for ever."""
    found = of(
        look_at(answering(DescribeTimeToLive={"TimeToLiveDescription": answer})), "table.ttl"
    )
    assert {str(each.severity) for each in found} == {severity}
    assert all(text in each.found for each in found)


def test_backups_are_a_note() -> None:
    """Point-in-time recovery that is off is worth knowing, and no fault."""
    off: dict[str, Any] = {"ContinuousBackupsDescription": {}}
    severity, found = told(look_at(answering(DescribeContinuousBackups=off)), "table.backups")
    assert (severity, "is off" in found) == ("note", True)
    assert told(look_at(answering(DescribeContinuousBackups=denied("x"))), "table.backups") == (
        "note",
        "Whether it can be restored could not be asked for (AccessDeniedException).",
    )


# --- the queue -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attributes", "check", "severity", "text"),
    [
        ({"VisibilityTimeout": "0"}, "queue.visibility", "error", "is 0"),
        ({"VisibilityTimeout": "10"}, "queue.visibility", "warning", "10 s"),
        ({"VisibilityTimeout": "3600"}, "queue.visibility", "note", "3600 s"),
        ({"RedrivePolicy": ""}, "queue.redrive", "error", "no redrive policy"),
        ({"RedrivePolicy": "{"}, "queue.redrive", "error", "cannot be read"),
        ({"FifoQueue": "true"}, "queue.kind", "error", "FIFO"),
        ({"MessageRetentionPeriod": "1209600"}, "queue.retention", "warning", "14 days"),
    ],
)
def test_a_queue_that_is_not_fit_is_told(
    attributes: dict[str, str], check: str, severity: str, text: str
) -> None:
    """Visibility, redrive policy, kind and retention of the queue, each with what it means."""
    found = told(look_at(queue_with(**attributes)), check)
    assert found[0] == severity
    assert text in found[1]


def test_the_longest_node_is_named_beside_the_visibility_timeout() -> None:
    """The node with the longest timeout of the app is told, since workers prolong deliveries."""
    _, found = told(look_at(options=app(timeout_ms=600_000)), "queue.visibility")
    assert found.endswith("the longest is node 'a' of 'order' (600 s).")


@pytest.mark.parametrize(("receives", "severity"), [(3, "warning"), (50, "note"), (100, "ok")])
def test_messages_are_not_given_up_too_soon(receives: int, severity: str) -> None:
    """A small maxReceiveCount loses messages of workers that died."""

    async def change(patient: Patient) -> None:
        policy = json.loads(patient.redrive())
        patient.queue(RedrivePolicy=json.dumps({**policy, "maxReceiveCount": receives}))

    assert told(look_at(change), "queue.receives")[0] == severity


def test_dead_letters_are_counted_and_their_queue_is_there_for_long() -> None:
    """Letters are a warning, a queue that keeps them too short an error, a missing one, too."""

    async def letters(patient: Patient) -> None:
        message = {"QueueUrl": patient.dead_url, "MessageBody": "{}"}
        await patient.fleet.sqs.call("SendMessage", message)
        patient.fleet.sqs._queues[patient.dead_url].attributes["MessageRetentionPeriod"] = "60"

    diagnosis = look_at(letters)
    assert told(diagnosis, "queue.dead_letters") == (
        "warning",
        "About 1 dead letter there: work that nobody does any more.",
    )
    assert told(diagnosis, "queue.retention")[0] == "error"

    async def gone(patient: Patient) -> None:
        await patient.fleet.sqs.call("DeleteQueue", {"QueueUrl": patient.dead_url})

    severity, found = told(look_at(gone), "queue.dead_letters")
    assert (severity, "does not exist" in found) == ("error", True)


def test_a_queue_that_is_missing_or_denied_keeps_no_other_check() -> None:
    """Tables and bucket are looked at whatever is wrong with the queue."""
    missing = look_at(queue="https://sqs.us-east-1.amazonaws.com/123456789012/nowhere")
    assert told(missing, "queue")[0] == "error"
    refused = look_at(answering(GetQueueAttributes=denied("sqs:GetQueueAttributes")))
    severity, found = told(refused, "queue")
    assert (severity, "is denied" in found) == ("note", True)
    for diagnosis in (missing, refused):
        assert len(of(diagnosis, "table.key")) == 3
        assert told(diagnosis, "bucket")[0] == "ok"
        assert told(diagnosis, "runs")[0] == "note"


@pytest.mark.parametrize(("age", "severity"), [(2, "ok"), (400, "warning"), (7200, "error")])
def test_the_age_of_the_oldest_message_is_what_cloudwatch_says(age: int, severity: str) -> None:
    """The last value of a quarter of an hour counts, by how long the message has waited."""
    now = datetime.now(UTC)
    points = [
        {"Timestamp": now, "Maximum": float(age)},
        {"Timestamp": now - timedelta(minutes=1), "Maximum": 1e6},
    ]
    found = told(look_at(answering(GetMetricStatistics={"Datapoints": points})), "queue.age")
    assert found[0] == severity


def test_without_cloudwatch_the_runs_tell_how_long_they_wait() -> None:
    """Where CloudWatch is denied that is a note, and the record has the run that waits longest."""

    async def change(patient: Patient) -> None:
        patient.answers["GetMetricStatistics"] = denied("cloudwatch:GetMetricStatistics")
        await started_earlier(patient, 200.0)

    diagnosis = look_at(change)
    severity, found = told(diagnosis, "queue.age")
    assert (severity, "GetMetricStatistics is denied" in found) == ("note", True)
    severity, found = told(diagnosis, "runs.waiting")
    assert severity == "note"
    assert found.startswith("1 run waits for a worker, the longest for 3 minutes: waits")


class Earlier(SystemClock):
    """A clock that is behind, for what happened a while ago."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def now(self) -> float:
        """The time then."""
        return super().now() - self._seconds


class Undated:
    """A service whose answers do not tell the time."""

    def __init__(self, behind: Any) -> None:
        self._behind = behind

    async def call(self, operation: str, request: Any) -> Any:
        """Carry out a request."""
        return {**await self._behind.call(operation, request), "ResponseMetadata": {}}


async def started_earlier(patient: Patient, seconds: float, run_id: str = "waits") -> None:
    """Start a run so long ago."""
    clock = Earlier(seconds)
    common = patient.fleet.common(None)
    for name in ("sqs_client", "dynamodb_client"):
        common[name] = Undated(common[name])
    store = DynamoDbCoordinationStore(common["dynamodb_client"], COORDINATION, clock)
    common["coordination_store"] = store
    client = SqsAdapter.client_of(**common, runtime_options=app(), clock=clock)
    async with client:
        await client.start_run("order", run_id=run_id)


# --- functions -----------------------------------------------------------------------------

ARN = "arn:aws:lambda:us-east-1:123456789012:function:worker"


def function(timeout: int, **mapping: Any) -> dict[str, Any]:
    """Answers about a function that is called with messages of the queue."""
    told = {"FunctionArn": ARN, "FunctionResponseTypes": ["ReportBatchItemFailures"], **mapping}
    return {
        "ListEventSourceMappings": {"EventSourceMappings": [told]},
        "GetFunctionConfiguration": {"Timeout": timeout},
    }


@pytest.mark.parametrize(
    ("answers", "severities", "text"),
    [
        (function(5), ["ok"], "30 s"),
        (function(60), ["warning"], "come again"),
        (function(5, FunctionResponseTypes=[]), ["warning", "ok"], "all come again"),
        (function(5, State="Disabled"), ["note", "ok"], "Disabled"),
        (
            {**function(5), "GetFunctionConfiguration": denied("lambda:GetFunctionConfiguration")},
            ["note"],
            "could not be asked for",
        ),
    ],
)
def test_functions_have_a_queue_that_is_patient_enough(
    answers: dict[str, Any], severities: list[str], text: str
) -> None:
    """The visibility timeout is six times that of the function, and single failures count."""
    found = of(look_at(answering(**answers)), "queue.lambda")
    assert [str(each.severity) for each in found] == severities
    assert any(text in each.found for each in found)


def test_a_function_that_is_shorter_than_a_node_is_told() -> None:
    """A node with a longer timeout than the function would never end there."""
    found = of(look_at(answering(**function(5)), options=app(timeout_ms=60_000)), "queue.lambda")
    assert [str(each.severity) for each in found] == ["ok", "warning"]
    assert "node 'a' of 'order' (60 s)" in found[1].found


# --- the bucket ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answers", "check", "severity"),
    [
        ({"ListObjectsV2": AwsError("AccessDenied", "no")}, "bucket", "error"),
        ({"ListObjectsV2": AwsError("NoSuchBucket", "none", status=404)}, "bucket", "error"),
        (
            {"GetPublicAccessBlock": denied("s3:GetBucketPublicAccessBlock")},
            "bucket.private",
            "note",
        ),
        (
            {
                "GetPublicAccessBlock": AwsError("NoSuchPublicAccessBlockConfiguration"),
                "GetBucketPolicyStatus": AwsError("NoSuchBucketPolicy"),
            },
            "bucket.private",
            "warning",
        ),
        (
            {
                "GetPublicAccessBlock": {"PublicAccessBlockConfiguration": {}},
                "GetBucketPolicyStatus": {"PolicyStatus": {"IsPublic": True}},
            },
            "bucket.private",
            "error",
        ),
    ],
)
def test_the_bucket_is_reached_and_private(
    answers: dict[str, Any], check: str, severity: str
) -> None:
    """A bucket that is missing, denied, or open to others."""
    assert told(look_at(answering(**answers)), check)[0] == severity


# --- permissions ---------------------------------------------------------------------------


def test_what_iam_denies_is_told_by_resource() -> None:
    """The simulation names the role, and what of its needs is not allowed on which resource."""
    asked: list[Any] = []

    def simulate(request: Any) -> Any:
        asked.append(request)
        return {
            "EvaluationResults": [
                {
                    "EvalActionName": each,
                    "EvalDecision": "implicitDeny" if each == "sqs:SendMessage" else "allowed",
                }
                for each in request["ActionNames"]
            ]
        }

    found = of(look_at(answering(SimulatePrincipalPolicy=simulate)), "permissions")
    (wrong,) = [each for each in found if each.severity is Severity.ERROR]
    assert (wrong.where, "A worker needs sqs:SendMessage" in wrong.found) == ("queue 'jobs'", True)
    assert {each["PolicySourceArn"] for each in asked} == {"arn:aws:iam::123456789012:role/workers"}
    assert all("*" not in arn for each in asked for arn in each["ResourceArns"])


def test_what_is_denied_shows_when_it_is_tried() -> None:
    """Without IAM a 403 tells that an action is denied; what cannot be tried is a note."""
    answers = {
        "SimulatePrincipalPolicy": denied("iam:SimulatePrincipalPolicy"),
        "UpdateItem": denied("dynamodb:UpdateItem"),
        "DeleteMessage": AwsError("ReceiptHandleIsInvalid", "no such delivery"),
        "ChangeMessageVisibility": AwsError("ServiceUnavailable", status=503),
    }
    found = of(look_at(answering(**answers)), "permissions")
    wrong = [each for each in found if each.severity is Severity.ERROR]
    assert [each.where for each in wrong] == [
        f"table '{CONTEXTS}'",
        f"table '{STATUSES}'",
        f"table '{COORDINATION}'",
    ]
    assert all("dynamodb:UpdateItem, which is not allowed" in each.found for each in wrong)
    assert "sqs:DeleteMessage" in next(each for each in found if "jobs" in each.where).found
    assert "sqs:ChangeMessageVisibility" in found[-1].found
    assert "sqs:ReceiveMessage" in found[-1].found


def test_a_viewer_needs_less() -> None:
    """For a viewer nothing that writes is tried, and nothing of it is missing."""

    async def play() -> tuple[set[str], Diagnosis]:
        patient = await Patient.healthy()
        patient.answers["SimulatePrincipalPolicy"] = denied("iam:SimulatePrincipalPolicy")
        patient.answers["GetCallerIdentity"] = {"Arn": "arn:aws:iam::123456789012:root"}
        diagnosis = await patient.look(role="viewer")
        asked = {name for each in patient.services.values() for name, _ in each.asked}
        return asked, diagnosis

    asked, diagnosis = drive(play())
    assert not asked & {"PutItem", "UpdateItem", "DeleteItem", "SimulatePrincipalPolicy"}
    assert troubles(diagnosis) == ["workers.seen"]
    assert ROLE not in str(diagnosis.to_data())
