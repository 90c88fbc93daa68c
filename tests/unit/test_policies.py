"""The policies of the roles as documents: what is in them, for which resources, and how long."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import fields
from typing import Any, cast

import pytest

from flowcraft.provisioning.permitted import TASKS, permissions, requests_of
from flowcraft.provisioning.policies import ROLES, Resources, Role, policy
from tests.emulators.aws import client
from tests.unit.iam import ACCOUNT, REGION, Access, Policy, is_like, listing

KEY = "1234abcd-12ab-34cd-56ef-1234567890ab"


def resources(**more: Any) -> Resources:
    """Those of a fleet."""
    return Resources.named(**{"region": REGION, "account": ACCOUNT, **more})


def statements(role: Role, made: Resources) -> dict[str, Any]:
    """The statements of a policy, by their names."""
    return {each["Sid"]: each for each in policy(role, made)["Statement"]}


@pytest.mark.parametrize("role", ROLES)
def test_a_policy_names_actions_and_resources(role: Role) -> None:
    """Actions are named in full, resources are the fleet's, each statement has a name."""
    made = resources(bucket="payloads", kms_key=KEY)
    document = policy(role, made)
    assert document["Version"] == "2012-10-17"
    sids = [each["Sid"] for each in document["Statement"]]
    assert len(sids) == len(set(sids))
    assert all(re.fullmatch("[A-Za-z0-9]+", sid) for sid in sids)
    for sid, action, resource in Policy(document).grants():
        assert re.fullmatch(r"(sqs|dynamodb|s3|cloudwatch):[A-Za-z]+|kms:[A-Za-z]+\*?", action)
        if action == "cloudwatch:GetMetricStatistics":
            # CloudWatch knows no permission for the metrics of a queue alone.
            assert resource == "*"
            continue
        assert "flowcraft-" in resource or ":::payloads" in resource or KEY in resource, sid
    assert json.loads(json.dumps(document)) == document


@pytest.mark.parametrize("role", ROLES)
def test_a_policy_fits_where_policies_are_kept(role: Role) -> None:
    """With the longest names it has fewer characters than a managed policy of IAM may have."""
    made = resources(
        region="ap-southeast-2", prefix="p" * 62, bucket=f"{'b' * 63}/{'p' * 100}", kms_key=KEY
    )
    assert len(json.dumps(policy(role, made), separators=(",", ":"))) < 6_144


@pytest.mark.parametrize("role", ROLES)
def test_without_bucket_and_key_there_is_nothing_of_them(role: Role) -> None:
    """A fleet without a bucket and without a key of its own has no statement about either."""
    made = {each.partition(":")[0] for _, each, _ in Policy(policy(role, resources())).grants()}
    assert made - {"cloudwatch"} == {"sqs", "dynamodb"}


def test_a_bucket_is_listed_below_its_prefix_alone() -> None:
    """Objects of the fleet may be read and listed, those beside them may not."""
    allowed = Policy(policy("viewer", resources(bucket="payloads/team/fleet")))
    bucket = "arn:aws:s3:::payloads"
    for key in ("team/fleet/runs/r/e/v/1", "team/fleet/texts/abc"):
        assert allowed.allows(Access("s3:GetObject", f"{bucket}/{key}"))
        assert allowed.allows(listing("payloads", key))
        assert not allowed.allows(Access("s3:PutObject", f"{bucket}/{key}"))
    for key in ("runs/r/e/v/1", "team/other/runs/r", "team/fleet/else"):
        assert not allowed.allows(Access("s3:GetObject", f"{bucket}/{key}"))
        assert not allowed.allows(listing("payloads", key))
    assert not allowed.allows(listing("payloads", None))
    assert not allowed.allows(listing("others", "team/fleet/runs/r"))


def test_a_key_is_used_by_the_services_alone() -> None:
    """Each service uses it in the name of who asks: who only looks has nothing encrypted."""
    made = resources(bucket="payloads", kms_key=KEY)
    arn = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{KEY}"
    worker = Policy(policy("worker", made))
    for service in ("sqs", "dynamodb", "s3"):
        through = (("kms:ViaService", f"{service}.{REGION}.amazonaws.com"),)
        for action in ("kms:Decrypt", "kms:GenerateDataKey"):
            assert worker.allows(Access(action, arn, through))
            assert not worker.allows(Access(action, arn))
    of_viewer = statements("viewer", made)
    assert "KeySqs" not in of_viewer
    assert of_viewer["KeyS3"]["Action"] == ["kms:Decrypt"]
    assert of_viewer["KeyDynamodb"]["Action"] == ["kms:Decrypt", "kms:DescribeKey"]


def test_who_may_what_grows_from_role_to_role() -> None:
    """Operators may all that starters and reconcilers may, these what answerers."""
    may = {role: {each[:2] for each in permissions(role)} for role in ROLES}
    assert may["viewer"] < may["operator"]
    assert may["answerer"] < may["starter"] < may["operator"]
    assert may["reconciler"] < may["operator"]
    assert may["reconciler"] < may["worker"]
    assert [role for role in ROLES if ("queue", "sqs:ReceiveMessage") in may[role]] == ["worker"]
    writing = re.compile("Put|Update|Delete|Write|Send|Purge|Start|Cancel|Change")
    assert not [action for _, action in may["viewer"] if writing.search(action)]


def test_each_permission_says_what_for() -> None:
    """Each has the tasks and the requests that need it, and no task says nothing."""
    for role in ROLES:
        assert all(each.tasks and each.requests for each in permissions(role))
    assert all(len(task.why) > 20 for task in TASKS.values())


def test_requests_have_the_names_that_services_know() -> None:
    """What the table calls requests are operations of SQS, DynamoDB and S3, as boto3 knows them."""
    asked: dict[str, set[str]] = {}
    for role in ROLES:
        for request in requests_of(role):
            asked.setdefault(request.service, set()).add(request.name)
    for service, names in asked.items():
        opened = client(service, "http://127.0.0.1:1")
        assert names <= set(opened.meta.service_model.operation_names)
        opened.close()


@pytest.mark.parametrize(
    ("region", "begins", "host"),
    [
        ("cn-north-1", "arn:aws-cn:", "sqs.cn-north-1.amazonaws.com.cn"),
        ("us-gov-west-1", "arn:aws-us-gov:", "sqs.us-gov-west-1.amazonaws.com"),
        ("eu-central-1", "arn:aws:", "sqs.eu-central-1.amazonaws.com"),
    ],
)
def test_regions_have_their_partition(region: str, begins: str, host: str) -> None:
    """In China and for the government of the USA ARNs begin otherwise."""
    made = resources(region=region, bucket="payloads", kms_key=KEY)
    given = [getattr(made, each.name) for each in fields(made)]
    arns = [each for each in given if str(each).startswith("arn:")]
    assert len(arns) == 7
    assert all(each.startswith(begins) for each in arns)
    condition = statements("worker", made)["KeySqs"]["Condition"]
    assert condition == {"StringEquals": {"kms:ViaService": host}}


def test_names_that_are_given_stand_before_those_by_the_prefix() -> None:
    """A fleet whose resources have names of their own gets a policy for these."""
    made = resources(queue="q", context_table="c", status_table="s", coordination_table="o")
    assert made.queue.endswith(":q")
    assert made.dead_letter_queue.endswith(":q-dead-letters")
    tables = (made.context_table, made.status_table, made.coordination_table)
    assert [each.rpartition("/")[2] for each in tables] == ["c", "s", "o"]


def test_placeholders_are_put_together() -> None:
    """Texts with placeholders of a template become a policy with placeholders."""
    made = Resources(
        region="${AWS::Region}",
        queue="${Jobs.Arn}",
        dead_letter_queue="${DeadLetters.Arn}",
        context_table="${Contexts.Arn}",
        status_table="${Statuses.Arn}",
        coordination_table="${Coordination.Arn}",
        bucket="${Payloads.Arn}",
        kms_key="${KeyArn}",
        dns_suffix="${AWS::URLSuffix}",
    )
    made_of = statements("worker", made)
    assert made_of["StatusIndex"]["Resource"] == ["${Statuses.Arn}/index/*"]
    assert made_of["Objects"]["Resource"] == ["${Payloads.Arn}/runs/*", "${Payloads.Arn}/texts/*"]
    condition = made_of["KeyS3"]["Condition"]["StringEquals"]
    assert condition == {"kms:ViaService": "s3.${AWS::Region}.${AWS::URLSuffix}"}


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda: policy(cast("Role", "boss"), resources()),
            "no role 'boss': it is one of worker, starter",
        ),
        (lambda: resources(account="123"), "account is the twelve digits of an account"),
        (lambda: resources(account=123456789012), "account is the twelve digits"),
        (lambda: resources(region="Frankfurt"), "region is the name of a region"),
        (lambda: resources(prefix="a b"), "prefix is up to 62 letters"),
        (lambda: resources(prefix=""), "prefix is up to 62 letters"),
        (lambda: resources(bucket="Not_One"), "bucket is the name of a bucket"),
        (lambda: resources(bucket=""), "bucket is the name of a bucket"),
        (lambda: resources(bucket="payloads/*"), "bucket's prefix may not hold"),
        (lambda: resources(queue="*"), "queue is the name"),
        (lambda: resources(context_table="runs*"), "context_table is the name"),
        (lambda: resources(kms_key="alias/mine"), "kms_key is the ARN of a key"),
    ],
)
def test_what_is_no_name_is_refused(make: Callable[[], Any], said: str) -> None:
    """Each is named: a wildcard in a name would allow more than anybody meant."""
    with pytest.raises(ValueError, match=re.escape(said)):
        make()


def test_patterns_are_those_of_iam() -> None:
    """A star is any text, a question mark one character, and everything else is itself."""
    assert is_like("a/*", "a/b/c")
    assert is_like("a?c", "abc")
    assert not is_like("a?c", "ac")
    assert not is_like("a.c", "abc")
    assert not is_like("[ab]", "a")
