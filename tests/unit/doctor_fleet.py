"""A fleet for the doctor: fakes for queue, tables and bucket, canned answers for the rest."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from flowcraft.adapters.aws.transport import Answer, AwsError, Request, Transport
from flowcraft.doctor import Diagnosis, Finding
from flowcraft.doctor.fleet import Fleet, examine_fleet
from flowcraft.engine.options import RuntimeOptions
from flowcraft.ports.clock import Clock
from tests.unit.aws_fleet import BUCKET, FakeFleet
from tests.unit.aws_tables import CONTEXTS, COORDINATION, STATUSES

Canned = Answer | AwsError | Callable[[Request], Answer]

ROLE = "arn:aws:sts::123456789012:assumed-role/workers/i-0123"
NOT_HERE = AwsError("UnknownOperationException", status=404)

OTHERS: Mapping[str, Canned] = {
    "GetCallerIdentity": {"Arn": ROLE, "Account": "123456789012"},
    "DescribeContinuousBackups": {
        "ContinuousBackupsDescription": {
            "PointInTimeRecoveryDescription": {"PointInTimeRecoveryStatus": "ENABLED"}
        }
    },
    "GetMetricStatistics": {"Datapoints": []},
    "ListEventSourceMappings": {"EventSourceMappings": []},
    "SimulatePrincipalPolicy": lambda request: {
        "EvaluationResults": [
            {"EvalActionName": each, "EvalDecision": "allowed"} for each in request["ActionNames"]
        ]
    },
    "GetPublicAccessBlock": {
        "PublicAccessBlockConfiguration": dict.fromkeys(
            (
                "BlockPublicAcls",
                "IgnorePublicAcls",
                "BlockPublicPolicy",
                "RestrictPublicBuckets",
            ),
            True,
        )
    },
}
"""What services say of a fleet that nothing is wrong with, where the fakes do not."""


def denied(operation: str) -> AwsError:
    """What AWS says to those who may not."""
    text = f"User: {ROLE} is not authorized to perform: {operation}"
    return AwsError("AccessDeniedException", text, operation=operation)


class Scripted:
    """A service with canned answers for some requests, and somebody who knows the others.

    Args:
        answers: By the name of the request.
        behind: Who answers the others.
    """

    def __init__(self, answers: Mapping[str, Canned], behind: Transport | None = None) -> None:
        self._answers = answers
        self._behind = behind
        self.asked: list[tuple[str, Request]] = []

    async def call(self, operation: str, request: Request) -> Answer:
        """Answer a request."""
        self.asked.append((operation, request))
        canned = self._answers.get(operation)
        if isinstance(canned, AwsError):
            raise canned
        if canned is not None:
            return canned(request) if callable(canned) else canned
        if self._behind is None:
            raise NOT_HERE
        return await self._behind.call(operation, request)


class Patient:
    """A fleet, and somebody who looks at it.

    Attributes:
        fleet: The fakes.
        answers: Answers that are given in the place of theirs.
        services: What answers, by service, once somebody has looked.
    """

    def __init__(self, fleet: FakeFleet) -> None:
        self.fleet = fleet
        self.answers: dict[str, Canned] = dict(OTHERS)
        self.services: dict[str, Scripted] = {}

    @classmethod
    async def healthy(cls) -> Patient:
        """One that nothing is wrong with."""
        patient = cls(await FakeFleet.made())
        patient.queue(RedrivePolicy=patient.redrive())
        for table in (CONTEXTS, STATUSES, COORDINATION):
            await patient.fleet.dynamodb.call(
                "UpdateTimeToLive",
                {
                    "TableName": table,
                    "TimeToLiveSpecification": {"Enabled": True, "AttributeName": "ttl"},
                },
            )
        patient.answers["DescribeTable"] = await patient.described()
        return patient

    async def described(self, **of_index: Any) -> Callable[[Request], Answer]:
        """What tables are, the status table with its index.

        Args:
            of_index: What is otherwise about the index; ``missing=True`` for none.
        """
        answers: dict[str, Answer] = {}
        for table in (CONTEXTS, STATUSES, COORDINATION):
            request = {"TableName": table}
            answers[table] = await self.fleet.dynamodb.call("DescribeTable", request)
        if not of_index.pop("missing", False):
            table = answers[STATUSES]["Table"]
            table["AttributeDefinitions"] += [
                {"AttributeName": "status", "AttributeType": "S"},
                {"AttributeName": "lastUpdated", "AttributeType": "N"},
            ]
            index = {
                "IndexName": "by-status",
                "KeySchema": [
                    {"AttributeName": "status", "KeyType": "HASH"},
                    {"AttributeName": "lastUpdated", "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": "ALL"},
                "IndexStatus": "ACTIVE",
                **of_index,
            }
            table["GlobalSecondaryIndexes"] = [index]
        return lambda request: answers[request["TableName"]]

    def queue(self, **attributes: str) -> None:
        """Give the queue other attributes; an empty one takes one away."""
        for name, value in attributes.items():
            there = self.fleet.sqs._queues[self.fleet.queue_url].attributes
            if value:
                there[name] = value
            else:
                there.pop(name, None)

    def redrive(self, receives: int = 100, **of_dead_letters: str) -> str:
        """A redrive policy, with a queue for what is given up."""
        self.dead_url = self.fleet.sqs.create(
            "dead-letters", **{"MessageRetentionPeriod": "1209600", **of_dead_letters}
        )
        arn = "arn:aws:sqs:us-east-1:123456789012:dead-letters"
        return json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": str(receives)})

    async def look(
        self,
        options: RuntimeOptions | None = None,
        clock: Clock | None = None,
        **of_fleet: Any,
    ) -> Diagnosis:
        """Look at it."""
        behind: dict[str, Transport] = {
            "sqs": self.fleet.sqs,
            "dynamodb": self.fleet.dynamodb,
            "s3": self.fleet.s3,
        }

        def client(service: str) -> Scripted:
            made = self.services[service] = Scripted(self.answers, behind.get(service))
            return made

        fleet: dict[str, Any] = {
            "client": client,
            "queue": self.fleet.queue_url,
            "context_table": CONTEXTS,
            "status_table": STATUSES,
            "coordination_table": COORDINATION,
            "payload_bucket": BUCKET,
            "region": "us-east-1",
            "options": options,
        }
        return await examine_fleet(Fleet(**fleet | of_fleet), clock)


def of(diagnosis: Diagnosis, check: str) -> list[Finding]:
    """The findings of one check."""
    return [each for each in diagnosis.findings if each.check == check]


def told(diagnosis: Diagnosis, check: str) -> tuple[str, str]:
    """How bad the one finding of a check is, and what was found."""
    (found,) = of(diagnosis, check)
    return str(found.severity), found.found


def troubles(diagnosis: Diagnosis) -> list[str]:
    """The checks that found something to be mended."""
    return [each.check for each in diagnosis.findings if each.is_trouble]
