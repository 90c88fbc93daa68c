"""`flowcraft aws policy`: policies on standard output, and the reasons for what is in them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from flowcraft.provisioning.policies import ROLES, Resources, Role, policy

PLACE = ("--region", "eu-central-1", "--account", "123456789012")


@pytest.mark.parametrize("role", ROLES)
def test_a_policy_is_printed_as_json(flowcraft: Any, project: Any, role: Role) -> None:
    """With or without --json it is the document, ready for IAM, of the fleet in the settings."""
    made = Resources.named(
        region="eu-central-1", account="123456789012", prefix="shop", bucket="payloads/team"
    )
    given = ("--prefix", "shop", "--set", "aws.payload_bucket=payloads/team", *PLACE)
    for more in ((), ("--json",)):
        ended = flowcraft("aws", "policy", role, *given, *more)
        assert (ended.code, ended.err) == (0, "")
        assert json.loads(ended.out) == policy(role, made)


def test_reasons_are_told(flowcraft: Any, project: Any) -> None:
    """--why names tasks and says what they are, without a region, an account or a request."""
    ended = flowcraft("aws", "policy", "starter", "--why")
    assert ended.code == 0
    assert "begin a run: its blueprint" in ended.out
    listed = json.loads(flowcraft("aws", "policy", "starter", "--why", "--json").out)
    (sending,) = [each for each in listed if each["action"] == "sqs:SendMessage"]
    assert sending["requests"] == ["SendMessageBatch"]
    assert len(sending["reasons"]) == 3


@pytest.mark.parametrize(
    ("given", "code", "said"),
    [
        (("boss", *PLACE), 2, "'boss' is not one of 'worker', 'starter'"),
        (("worker", "--region", "eu-central-1", "--account", "12"), 2, "the twelve digits"),
        (("worker", "--bucket", "Not_One", *PLACE), 2, "bucket is the name of a bucket"),
        (("worker", "--kms-key", "alias/mine", *PLACE), 2, "an alias is none"),
        (
            ("worker", "--region", "eu-central-1", "--endpoint-url", "http://127.0.0.1:1"),
            5,
            "Say which one it is: --account",
        ),
    ],
)
def test_what_cannot_be_is_said_in_one_message(
    flowcraft: Any,
    project: Any,
    monkeypatch: pytest.MonkeyPatch,
    given: tuple[str, ...],
    code: int,
    said: str,
) -> None:
    """A wrong role, account, bucket or key, and an account that nobody knows: a message, a code."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    ended = flowcraft("aws", "policy", *given)
    assert ended.code == code
    assert said in ended.err
    assert "Traceback" not in ended.err
    assert ended.out == ""
