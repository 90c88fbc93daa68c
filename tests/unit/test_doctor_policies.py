"""The doctor and the policies of this package agree on what is allowed."""

from __future__ import annotations

from typing import Any

import pytest

from flowcraft.doctor import Severity
from flowcraft.provisioning.policies import ROLES, Resources, Role, policy
from tests.unit.aws_fleet import BUCKET
from tests.unit.aws_tables import CONTEXTS, COORDINATION, STATUSES
from tests.unit.doctor_fleet import Patient, of
from tests.unit.iam import Access, Policy
from tests.unit.runs import drive

ACCOUNT = "123456789012"
"""The fakes of SQS have it; those of DynamoDB another, of zeros."""


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("bucket", [BUCKET, f"{BUCKET}/team"])
def test_what_a_policy_of_a_role_allows_is_not_told_as_denied(role: Role, bucket: str) -> None:
    """IAM is told what a condition asks for, too: which objects are listed."""
    resources = Resources.named(
        region="us-east-1",
        account=ACCOUNT,
        queue="jobs",
        context_table=CONTEXTS,
        status_table=STATUSES,
        coordination_table=COORDINATION,
        bucket=bucket,
    )
    document = Policy(policy(role, resources))
    asked: set[str] = set()

    def simulate(request: Any) -> Any:
        asked.update(request["ActionNames"])
        entries = request.get("ContextEntries", ())
        context = tuple((each["ContextKeyName"], each["ContextKeyValues"][0]) for each in entries)
        assert all(each["ContextKeyType"] == "string" for each in entries)
        return {
            "EvaluationResults": [
                {
                    "EvalActionName": action,
                    "EvalResourceName": arn,
                    "EvalDecision": "allowed"
                    if document.allows(
                        Access(action, arn.replace("000000000000", ACCOUNT), context)
                    )
                    else "implicitDeny",
                }
                for action in request["ActionNames"]
                for arn in request["ResourceArns"]
            ]
        }

    async def look() -> Any:
        patient = await Patient.healthy()
        patient.answers["SimulatePrincipalPolicy"] = simulate
        return await patient.look(role=role, payload_bucket=bucket)

    found = of(drive(look()), "permissions")
    assert "s3:ListBucket" in asked
    assert [each.found for each in found if each.severity is Severity.ERROR] == []
