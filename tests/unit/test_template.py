"""The template of CloudFormation: what is in it, and that cfn-lint finds nothing wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest

from flowcraft.provisioning import Fleet, Functions, template
from flowcraft.provisioning.model import CREATED_TAG, OWNER_TAG
from flowcraft.provisioning.policies import ROLES

KEY = "arn:aws:kms:eu-west-1:123456789012:key/12345678-1234-1234-1234-123456789012"
RICH = Fleet(
    "shop",
    bucket="shop-payloads/below",
    tags={"team": "blue"},
    kms_key=KEY,
    point_in_time_recovery=True,
    deletion_protection=True,
)
BARE = Fleet("shop", status_index=False)
ALL_OF_IT: dict[str, Any] = {
    "functions": Functions(links=True),
    "alarms": True,
    "dashboard": True,
    "policies": True,
}


def resources(fleet: Fleet = RICH, **options: Any) -> dict[str, Any]:
    """The properties of each resource."""
    found = template(fleet, **options)["Resources"]
    return {name: each["Properties"] for name, each in found.items()}


def problems(document: dict[str, Any]) -> list[str]:
    """What cfn-lint has to say of a template, hints included."""
    from cfnlint.api import ManualArgs, lint  # noqa: PLC0415 - it takes two seconds

    config = ManualArgs(include_checks=["I"], regions=["eu-west-1"])
    return [str(each) for each in lint(json.dumps(document), config=config)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fleet", "options"),
    [
        (RICH, ALL_OF_IT),
        (BARE, {**ALL_OF_IT, "functions": None}),
        (Fleet("shop", kms_key="alias/shop"), {}),
        (
            Fleet("shop", bucket="shop-payloads", kms_key="12345678-1234-1234-1234-123456789012"),
            {"functions": Functions(timeout_seconds=900, architecture="x86_64")},
        ),
    ],
    ids=["all of it", "without functions", "nothing more", "functions alone"],
)
def test_cfn_lint_finds_nothing(fleet: Fleet, options: dict[str, Any]) -> None:
    """A template with any of its options has no error, no warning and no hint of cfn-lint."""
    assert problems(template(fleet, **options)) == []


@pytest.mark.slow
def test_cfn_lint_is_able_to_find_something() -> None:
    """A template with a key that is not defined is complained about."""
    document = template(BARE)
    document["Resources"]["Contexts"]["Properties"]["KeySchema"][0]["AttributeName"] = "id"
    assert any("Contexts" in each or "KeySchema" in each for each in problems(document))


def test_the_template_is_of_the_same_model() -> None:
    """Names, keys, index and redrive policy are those that apply would make."""
    made = resources()
    for name, table in zip(("Contexts", "Statuses", "Coordination"), RICH.tables, strict=True):
        found, wanted = made[name], table.creation()
        suffix = table.name.removeprefix("shop")
        assert found["TableName"] == {"Fn::Sub": f"${{Prefix}}{suffix}"}
        for key in ("KeySchema", "AttributeDefinitions", "BillingMode", "GlobalSecondaryIndexes"):
            assert found.get(key) == wanted.get(key)
        assert found["TimeToLiveSpecification"] == {"AttributeName": "ttl", "Enabled": True}
        assert found["DeletionProtectionEnabled"] is True
    assert made["Jobs"]["RedrivePolicy"]["maxReceiveCount"] == 100
    assert made["DeadLetters"]["MessageRetentionPeriod"] == RICH.dead_letters.retention_seconds
    assert all(made["Payloads"]["PublicAccessBlockConfiguration"].values())


def test_everything_says_whose_it_is() -> None:
    """Whatever can have tags has the owner's, so that apply and destroy know it."""
    for name, each in resources(**ALL_OF_IT).items():
        if "Tags" in each:
            tags = {tag["Key"]: tag["Value"] for tag in each["Tags"]}
            assert tags[OWNER_TAG] == {"Ref": "Prefix"}, name
            assert tags["team"] == "blue", name
            assert (CREATED_TAG in tags) is (name == "Payloads")


@pytest.mark.parametrize("seconds", [15, 60, 900])
def test_messages_are_hidden_for_six_times_the_timeout(seconds: int) -> None:
    """The visibility timeout follows the functions', and one that is too short is refused."""
    functions = Functions(timeout_seconds=seconds)
    assert resources(BARE, functions=functions)["Jobs"]["VisibilityTimeout"] == 6 * seconds
    enough = Fleet(visibility_timeout_seconds=6 * seconds)
    assert resources(enough, functions=functions)["Jobs"]["VisibilityTimeout"] == 6 * seconds
    short = Fleet(visibility_timeout_seconds=6 * seconds - 1)
    with pytest.raises(ValueError, match=f"at least 6 times .* {6 * seconds} s"):
        template(short, functions=functions)


def test_functions_answer_for_each_message() -> None:
    """The mapping asks for the messages that failed, and bounds the calls at a time."""
    made = resources(functions=Functions(maximum_concurrency=3, batch_size=5))
    mapping = made["WorkerMapping"]
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert mapping["ScalingConfig"] == {"MaximumConcurrency": 3}
    assert mapping["BatchSize"] == 5
    assert made["ReconcilerSchedule"]["ScheduleExpression"] == "rate(1 minute)"
    variables = made["WorkerFunction"]["Environment"]["Variables"]
    assert variables["FLOWCRAFT_AWS_PAYLOAD_BUCKET"] == "shop-payloads/below"
    assert variables["FLOWCRAFT_BACKEND"] == "aws"


def test_roles_have_what_the_policies_say() -> None:
    """Each role gets the policy of its role, on the resources of the template alone."""
    made = resources(**ALL_OF_IT)
    for name in ("Worker", "Reconciler"):
        document = made[f"{name}Role"]["Policies"][0]["PolicyDocument"]
        text = json.dumps(document)
        assert '"*"' not in text
        assert ("sqs:ReceiveMessage" in text) is (name == "Worker")
        assert '"${Payloads.Arn}/below/runs/*"' in text
    assert {f"{role.title()}Policy" for role in ROLES} <= made.keys()


def test_links_have_an_address_and_the_least_role() -> None:
    """The function for links has an open address, a secret of its own, and no job to receive."""
    made = resources(functions=Functions(links=True))
    assert made["LinksUrl"]["AuthType"] == "NONE"
    assert made["LinksFunction"]["Handler"] == "flowcraft.lambda_functions.links"
    text = json.dumps(made["LinksRole"]["Policies"][0]["PolicyDocument"])
    assert "sqs:SendMessage" in text
    assert "sqs:ReceiveMessage" not in text
    assert "${Coordination.Arn}" not in text
    variables = made["WorkerFunction"]["Environment"]["Variables"]
    assert variables["FLOWCRAFT_LINKS_BASE_URL"] == {"Fn::GetAtt": ["LinksUrl", "FunctionUrl"]}
    secret = {"Fn::Sub": "{{resolve:secretsmanager:${LinksSecret}}}"}
    assert variables["FLOWCRAFT_LINKS_SECRET"] == secret
    own = made["LinksFunction"]["Environment"]["Variables"]
    assert own["FLOWCRAFT_LINKS_SECRET"] == secret
    assert "FLOWCRAFT_LINKS_BASE_URL" not in own
    assert not any(name.startswith("Links") for name in resources(functions=Functions()))


def test_a_policy_of_iam_is_not_too_long() -> None:
    """No managed policy comes near the 6,144 signs that IAM takes."""
    for name, each in resources(**ALL_OF_IT).items():
        if name.endswith("Policy"):
            text = json.dumps(each["PolicyDocument"], separators=(",", ":"))
            assert len(text) < 4_000, name


def test_alarms_are_about_what_is_in_the_template() -> None:
    """The reason of each alarm is one metric or a sum, and a fleet without functions has none."""
    everything, less = resources(**ALL_OF_IT), resources(BARE, alarms=True)
    names = {name for name in everything if name.endswith("Alarm")}
    assert names - {name for name in less if name.endswith("Alarm")} == {
        "WorkerErrorsAlarm",
        "ReconcilerErrorsAlarm",
    }
    throttled = everything["ThrottledAlarm"]["Metrics"]
    assert [each["ReturnData"] for each in throttled] == [*[False] * 7, True]
    assert len(less["ThrottledAlarm"]["Metrics"]) == 7
    stalled = everything["StalledRunsAlarm"]
    assert (stalled["Namespace"], stalled["MetricName"]) == ("Flowcraft", "StalledRuns")
    assert stalled["Dimensions"] == [{"Name": "Fleet", "Value": {"Ref": "Prefix"}}]


def test_the_dashboard_is_json_with_a_place_for_each_widget() -> None:
    """The body is JSON, no widget lies on another, and all it refers to is in the template."""
    made = template(RICH, **ALL_OF_IT)
    text = made["Resources"]["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
    widgets = json.loads(text)["widgets"]
    places = {(each["x"], each["y"]) for each in widgets}
    assert len(places) == len(widgets) == 10
    referred = {each.partition("}")[0].partition(".")[0] for each in text.split("${")[1:]}
    assert referred <= {"AWS::Region", "Prefix", *made["Resources"]}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"timeout_seconds": 901}, "timeout_seconds is a whole number from 15 to 900"),
        ({"maximum_concurrency": 1}, "from 2 to 1,000"),
        ({"batch_size": 11}, "from 1 to 10"),
        ({"memory_mb": True}, "from 128"),
    ],
)
def test_functions_that_cannot_be_are_refused(options: dict[str, Any], message: str) -> None:
    """What Lambda would refuse is refused before."""
    with pytest.raises(ValueError, match=message):
        Functions(**options)


def test_an_alias_is_no_key_of_a_policy() -> None:
    """A template whose policies would need the key behind an alias says so."""
    with pytest.raises(ValueError, match="cannot name an alias"):
        template(Fleet(kms_key="alias/shop"), functions=Functions())
