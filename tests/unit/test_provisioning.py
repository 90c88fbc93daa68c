"""What a fleet needs on AWS, planned and applied: on a stand-in with all delays of AWS."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from flowcraft.adapters.aws.failures import Resource, translated
from flowcraft.adapters.aws.transport import AwsError
from flowcraft.errors import StorageBusy, StorageError, StorageUnavailable
from flowcraft.provisioning import Applied, Fleet, Plan, Provisioner
from flowcraft.provisioning.model import CREATED_TAG, OWNER_TAG
from tests.docs.pages import blocks_of
from tests.house.source import ROOT
from tests.unit.standin_aws import Aws, Killed, in_loop, refusal

FLEET = Fleet(
    "orders",
    bucket="orders-payloads/below",
    tags={"team": "blue"},
    kms_key="1234",
    point_in_time_recovery=True,
    deletion_protection=True,
    visibility_timeout_seconds=120,
)
PLAIN = Fleet("orders")
RESOURCES = 6


def provisioner(aws: Aws, fleet: Fleet = FLEET, **options: Any) -> Provisioner:
    """One for an account."""
    return Provisioner(fleet, **aws.clients(), **options)


async def applied(aws: Aws, fleet: Fleet = FLEET, plan: Plan | None = None) -> Applied:
    """Apply, whatever it takes."""
    return await provisioner(aws, fleet).apply(plan)


def state(aws: Aws) -> str:
    """All that is there, without times."""
    shown = [aws.tables, aws.queues, aws.buckets]
    for queue in aws.queues.values():
        queue["attributes"] |= queue.pop("pending", {})
        queue |= {"pending": {}, "shows_at": 0.0}
    text = json.dumps(shown, sort_keys=True, default=str)
    return "\n".join(line for line in text.split(", ") if "active_at" not in line)


@in_loop
async def test_an_empty_account_gets_all_of_it() -> None:
    """Queues with redrive, tables with keys, TTL, index, backups, and a private bucket appear."""
    aws = Aws()
    made = await applied(aws)
    assert made.queue_url.endswith("/orders-jobs")
    jobs = aws.queues["orders-jobs"]
    assert json.loads(jobs["attributes"]["RedrivePolicy"]) == {
        "deadLetterTargetArn": aws.queues["orders-jobs-dead-letters"]["attributes"]["QueueArn"],
        "maxReceiveCount": 100,
    }
    assert jobs["attributes"]["VisibilityTimeout"] == "120"
    assert jobs["tags"] == {"team": "blue", OWNER_TAG: "orders"}
    dead = aws.queues["orders-jobs-dead-letters"]["attributes"]
    assert dead["MessageRetentionPeriod"] == "1209600"
    assert {name: table["ttl"] for name, table in aws.tables.items()} == dict.fromkeys(
        ("orders-contexts", "orders-statuses", "orders-coordination"), "ttl"
    )
    assert all(table["recovery"] for table in aws.tables.values())
    assert [each["IndexName"] for each in aws.tables["orders-statuses"]["indexes"]] == ["by-status"]
    bucket = aws.buckets["orders-payloads"]
    assert {"Key": CREATED_TAG, "Value": "orders"} in bucket["TagSet"]
    assert all(bucket["PublicAccessBlockConfiguration"].values())


@in_loop
async def test_a_plan_changes_nothing_and_names_everything() -> None:
    """Planning an empty account makes no request that changes anything, and names each resource."""
    aws = Aws()
    plan = await provisioner(aws).plan()
    assert aws.writes == []
    assert [each.action for each in plan.differences] == ["create"] * RESOURCES
    assert {each.name for each in plan.changes} == {
        *("orders-jobs", "orders-jobs-dead-letters", "orders-payloads"),
        *("orders-contexts", "orders-statuses", "orders-coordination"),
    }


@in_loop
async def test_applying_again_changes_nothing() -> None:
    """A second apply makes no request that changes anything, and a plan keeps all."""
    aws = Aws()
    await applied(aws)
    aws.log.clear()
    assert (await applied(aws)).changes == ()
    assert aws.writes == []
    kept = (await provisioner(aws).plan()).differences
    assert [each.action for each in kept] == ["keep"] * RESOURCES


@in_loop
async def test_an_apply_that_is_killed_anywhere_is_ended_by_the_next() -> None:
    """Killed before or after any of its requests, and applied again, all is as without that."""
    whole = Aws()
    await applied(whole)
    # Before a read is after the request before it.
    places = [at for at, each in enumerate(whole.log, 1) if each in whole.writes]
    assert len(places) > 15
    wanted = _without_mark(state(whole))
    for kill_at, after in product(places, (False, True)):
        aws = Aws(kill_at=kill_at, after=after)
        with pytest.raises(Killed):
            await applied(aws)
        aws.kill_at = None
        await applied(aws)
        aws.log.clear()
        await applied(aws)
        assert aws.writes == [], (kill_at, after)
        assert _without_mark(state(aws)) == wanted, (kill_at, after)


def _without_mark(text: str) -> set[str]:
    """What is there but the mark of a created bucket, which a crash may keep from being set."""
    pieces = text.replace("[", "\n").replace("]", "\n").splitlines()
    return {each for each in pieces if CREATED_TAG not in each and '"orders"}' not in each}


@in_loop
async def test_two_at_the_same_time_do_no_harm() -> None:
    """Two that apply at once both come to their end, and all is there once, as it should be."""
    aws = Aws()
    await asyncio.gather(applied(aws), applied(aws), applied(aws))
    kept = (await provisioner(aws).plan()).differences
    assert [each.action for each in kept] == ["keep"] * RESOURCES


@pytest.mark.parametrize("code", ["LimitExceededException", "ThrottlingException", "InternalError"])
@in_loop
async def test_what_passes_is_waited_for(code: str) -> None:
    """Limits, throttling and trouble of AWS are waited out, whatever was asked for."""
    aws = Aws()
    error = AwsError(code, status=500 if code == "InternalError" else 400)
    for operation in ("CreateTable", "CreateQueue", "UpdateTimeToLive", "CreateBucket"):
        aws.answers[operation] = [error, error]
    await applied(aws)
    assert len((await provisioner(aws).plan()).changes) == 0


@in_loop
async def test_a_name_that_was_deleted_is_waited_for() -> None:
    """Destroyed and applied at once: a minute for the queue and the tables is waited for."""
    aws = Aws()
    await applied(aws, PLAIN)
    made = provisioner(aws, PLAIN)
    gone = await made.destroy(await made.plan_destruction())
    assert [each.fate for each in gone] == ["deleted"] * 5
    began = aws.clock.now()
    await made.apply()
    assert 60 <= aws.clock.now() - began < 120
    assert (await made.plan()).changes == ()


@in_loop
async def test_waiting_has_an_end() -> None:
    """When AWS goes on for longer than one likes to wait, an error says that it can be taken up."""
    aws = Aws()
    await applied(aws, Fleet("orders", status_index=False))
    with pytest.raises(StorageBusy, match=r"table 'orders-statuses'.*Apply again later"):
        await provisioner(aws, PLAIN, wait_seconds=10).apply()
    await applied(aws, PLAIN)
    assert aws.log.count("UpdateTable") == 1


@in_loop
async def test_an_old_table_gets_what_it_lacks() -> None:
    """Tables made by hand, without index, tags and TTL, are taken into use, and keep their rest."""
    aws = Aws()
    await applied(aws, Fleet("orders", status_index=False))
    for table in aws.tables.values():
        table |= {"ttl": None, "tags": {"cost": "12"}}
    changes = [each.aspect for each in (await applied(aws, PLAIN)).changes]
    assert sorted(changes) == ["status index", *["tags"] * 3, *["time to live"] * 3]
    assert aws.tables["orders-contexts"]["tags"] == {"cost": "12", OWNER_TAG: "orders"}


@in_loop
async def test_a_queue_gets_what_it_lacks_once() -> None:
    """A queue without redrive policy gets one; that SQS shows it late makes nobody ask again."""
    aws = Aws()
    await applied(aws, PLAIN)
    del aws.queues["orders-jobs"]["attributes"]["RedrivePolicy"]
    plan = await provisioner(aws, PLAIN).plan()
    (change,) = plan.changes
    assert (change.aspect, change.after) == (
        *("dead letters",),
        "orders-jobs-dead-letters after 100",
    )
    aws.log.clear()
    await applied(aws, PLAIN, plan)
    assert aws.writes == ["SetQueueAttributes"]


@pytest.mark.parametrize(
    ("receives", "is_changed"), [(3, True), (99, True), (100, False), (1000, False)]
)
@in_loop
async def test_only_too_few_receives_are_changed(receives: int, is_changed: bool) -> None:
    """A queue that buries messages too soon is changed; one that is more patient is left alone."""
    aws = Aws()
    await applied(aws, PLAIN)
    policy = json.loads(aws.queues["orders-jobs"]["attributes"]["RedrivePolicy"])
    text = json.dumps({**policy, "maxReceiveCount": str(receives)})
    aws.queues["orders-jobs"]["attributes"]["RedrivePolicy"] = text
    assert bool((await provisioner(aws, PLAIN).plan()).changes) is is_changed


@in_loop
async def test_what_is_not_asked_for_is_left_as_it_is() -> None:
    """Without its options, protection, backups, encryption and visibility stay as they are."""
    aws = Aws()
    await applied(aws, FLEET)
    aws.log.clear()
    await applied(aws, Fleet("orders", bucket="orders-payloads"))
    assert aws.writes == []
    off = Fleet("orders", deletion_protection=False, point_in_time_recovery=False)
    changes = {(each.aspect, each.before, each.after) for each in (await applied(aws, off)).changes}
    assert changes == {
        ("deletion protection", "on", "off"),
        ("point-in-time recovery", "on", "off"),
    }


@in_loop
async def test_another_key_is_refused_with_its_cure() -> None:
    """A table of that name with another key stops all, before anything is changed, and says why."""
    aws = Aws()
    handler = aws.clients()["dynamodb_client"]
    other = Fleet("orders").coordination.creation()
    await handler.call("CreateTable", {**other, "TableName": "orders-contexts"})
    aws.log.clear()
    with pytest.raises(
        StorageUnavailable, match=r"'coordinationKey' \(a string\), and a fleet"
    ) as told:
        await applied(aws)
    assert "choose another prefix" in str(told.value)
    assert aws.writes == []


@in_loop
async def test_what_belongs_to_another_fleet_is_refused() -> None:
    """A table, a queue or a bucket with another owner's tag stops all, and names the owner."""
    for place in ("tables", "queues", "buckets"):
        aws = Aws()
        await applied(aws)
        for each in getattr(aws, place).values():
            if place == "buckets":
                each["TagSet"] = [{"Key": OWNER_TAG, "Value": "others"}]
            else:
                each["tags"][OWNER_TAG] = "others"
        aws.log.clear()
        with pytest.raises(StorageUnavailable, match="belongs to the fleet 'others'"):
            await applied(aws)
        made = provisioner(aws)
        doomed = await made.plan_destruction(empty_bucket=True)
        kept = {each.kind for each in doomed.removals if "others" in each.reason}
        assert kept == {place.removesuffix("s")}
        assert aws.writes == []


@in_loop
async def test_what_a_stack_has_made_is_left_to_it() -> None:
    """Resources of a CloudFormation stack are kept as they are, and neither changed nor deleted."""
    aws = Aws()
    await applied(aws, PLAIN)
    aws.tables["orders-statuses"]["tags"]["aws:cloudformation:stack-name"] = "prod"
    assert (await applied(aws, PLAIN)).changes == ()
    aws.tables["orders-statuses"]["ttl"] = None
    with pytest.raises(StorageUnavailable, match="the stack 'prod' of CloudFormation has made it"):
        await applied(aws, PLAIN)
    made = provisioner(aws, PLAIN)
    await made.destroy(await made.plan_destruction())
    assert [name for name, table in aws.tables.items() if "gone_at" not in table] == [
        "orders-statuses"
    ]


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"TimeToLiveStatus": "ENABLED", "AttributeName": "expires"}, "expire by 'expires'"),
        ({"TimeToLiveStatus": "DISABLING", "AttributeName": "x"}, "takes up to an hour"),
    ],
)
@in_loop
async def test_another_time_to_live_is_refused(
    told: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Items that expire by something else, or are about to stop expiring, are for a person."""
    aws = Aws()
    await applied(aws, PLAIN)
    handler = "tests.unit.standin_aws.DynamoDb.DescribeTimeToLive"
    monkeypatch.setattr(handler, lambda *_: {"TimeToLiveDescription": told})
    with pytest.raises(StorageUnavailable, match=message):
        await applied(aws, PLAIN)


@in_loop
async def test_an_index_that_is_of_no_use_is_refused() -> None:
    """An index of our name with other keys is for a person; a fitting one of any name is used."""
    aws = Aws()
    await applied(aws, PLAIN)
    (index,) = aws.tables["orders-statuses"]["indexes"]
    index["IndexName"] = "status-lastUpdated"
    assert (await applied(aws, PLAIN)).changes == ()
    index |= {"IndexName": "by-status", "KeySchema": index["KeySchema"][:1]}
    with pytest.raises(StorageUnavailable, match="An index cannot be changed: delete it"):
        await applied(aws, PLAIN)


@in_loop
async def test_only_what_was_agreed_to_is_done() -> None:
    """What comes up between plan and apply is not done, and the error asks for a new plan."""
    aws = Aws()
    await applied(aws, PLAIN)
    plan = await provisioner(aws, PLAIN).plan()
    aws.tables["orders-contexts"]["ttl"] = None
    aws.log.clear()
    with pytest.raises(StorageUnavailable, match="AWS is not as it was when the plan was made"):
        await applied(aws, PLAIN, plan)
    assert aws.writes == []
    with pytest.raises(ValueError, match="another fleet"):
        await applied(aws, FLEET, plan)


@pytest.mark.parametrize(
    ("operation", "code", "message"),
    [
        ("CreateTable", "AccessDeniedException", "Allow dynamodb:CreateTable on it"),
        ("GetQueueUrl", "AccessDenied", "Allow sqs:GetQueueUrl on it"),
        ("CreateBucket", "BucketAlreadyExists", "one space for the whole world"),
        ("GetBucketLifecycleConfiguration", "AccessDenied", "s3:GetLifecycleConfiguration"),
        ("CreateTable", "ValidationException", "refused"),
    ],
)
@in_loop
async def test_a_refusal_says_what_helps(operation: str, code: str, message: str) -> None:
    """A missing permission is named; so is what cannot be created."""
    aws = Aws(answers={operation: [AwsError(code, "no", operation=operation)]})
    with pytest.raises(StorageError, match=message):
        await applied(aws)


@in_loop
async def test_a_bucket_of_another_account_is_refused() -> None:
    """A bucket that may not be looked at is said to be somebody else's."""
    aws = Aws(foreign_buckets={"orders-payloads"})
    with pytest.raises(StorageUnavailable, match="of another account"):
        await applied(aws)
    assert aws.writes == []


@in_loop
async def test_a_bucket_of_another_region_is_refused() -> None:
    """A bucket that is elsewhere is said to be, since S3 itself says only 301."""
    aws = Aws(answers={"HeadBucket": [refusal("301", 301)]})
    with pytest.raises(StorageUnavailable, match="in another region than the client"):
        await applied(aws)


@in_loop
async def test_a_plan_beside_an_apply_that_died_has_what_is_left() -> None:
    """Planned while tables are being created, what they will need yet is in the plan."""
    whole = Aws()
    await applied(whole)
    aws = Aws(kill_at=whole.log.index("CreateTable") + 1, after=True)
    with pytest.raises(Killed):
        await applied(aws)
    aws.kill_at = None
    plan = await provisioner(aws).plan()
    await applied(aws, plan=plan)
    assert (await provisioner(aws).plan()).changes == ()


@in_loop
async def test_rules_of_a_bucket_stay() -> None:
    """A bucket that was there keeps its tags and lifecycle rules, and gets what it lacks."""
    aws = Aws()
    rule = {"ID": "old", "Status": "Enabled", "Filter": {"Prefix": "logs/"}, "Expiration": {}}
    aws.buckets["orders-payloads"] = {
        "objects": ["theirs"],
        "Rules": [{**rule, "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 3}}],
        "TagSet": [{"Key": "cost", "Value": "12"}],
    }
    await applied(aws)
    bucket = aws.buckets["orders-payloads"]
    assert [each["ID"] for each in bucket["Rules"]] == ["old", "flowcraft-abort-unfinished-uploads"]
    tags = {each["Key"]: each["Value"] for each in bucket["TagSet"]}
    assert tags == {"cost": "12", "team": "blue", OWNER_TAG: "orders"}


@in_loop
async def test_a_bucket_that_was_there_is_never_emptied() -> None:
    """A bucket that was taken into use is kept with all in it, though emptying was asked for."""
    aws = Aws(buckets={"orders-payloads": {"objects": ["theirs"]}})
    fleet = Fleet("orders", bucket="orders-payloads")
    await applied(aws, fleet)
    made = provisioner(aws, fleet)
    doomed = await made.plan_destruction(empty_bucket=True)
    done = await made.destroy(doomed)
    assert "bucket" not in {each.kind for each in done}
    (kept,) = (each for each in doomed.removals if each.kind == "bucket")
    assert (kept.fate, "was there before it" in kept.reason) == ("keep", True)
    assert aws.buckets["orders-payloads"]["objects"] == ["theirs"]


@in_loop
async def test_a_bucket_that_loses_its_mark_is_not_emptied() -> None:
    """The mark is looked at once more before anything in the bucket is deleted."""
    aws = Aws()
    fleet = Fleet("orders", bucket="orders-payloads")
    await applied(aws, fleet)
    aws.buckets["orders-payloads"]["objects"] = ["a"]
    made = provisioner(aws, fleet)
    doomed = await made.plan_destruction(empty_bucket=True)
    aws.buckets["orders-payloads"]["TagSet"] = []
    done = await made.destroy(doomed)
    assert [each.fate for each in done] == [*["deleted"] * 5, "keep"]
    assert aws.buckets["orders-payloads"]["objects"] == ["a"]


@pytest.mark.parametrize("empty", [False, True])
@in_loop
async def test_a_full_bucket_goes_only_if_asked(empty: bool) -> None:
    """The bucket that was created is kept while something is in it, unless it may be emptied."""
    aws = Aws()
    fleet = Fleet("orders", bucket="orders-payloads")
    await applied(aws, fleet)
    aws.buckets["orders-payloads"]["objects"] = [str(number) for number in range(2_500)]
    made = provisioner(aws, fleet)
    doomed = await made.plan_destruction(empty_bucket=empty)
    assert doomed.removals[-1].contents == "1,000 or more objects"
    aws.log.clear()
    await made.destroy(doomed)
    assert ("orders-payloads" in aws.buckets) is not empty
    assert aws.log.count("DeleteObjects") == (3 if empty else 0)


@in_loop
async def test_destroying_names_first_and_keeps_what_is_protected() -> None:
    """What is protected is kept and says so; a plan to destroy makes no request that changes."""
    aws = Aws()
    await applied(aws, Fleet("orders", deletion_protection=True))
    aws.log.clear()
    made = provisioner(aws, PLAIN)
    doomed = await made.plan_destruction()
    assert aws.writes == []
    assert [(each.kind, each.fate) for each in doomed.removals] == [
        *[("queue", "delete")] * 2,
        *[("table", "keep")] * 3,
    ]
    assert "protected against deletion" in doomed.removals[-1].reason
    await made.destroy(doomed)
    assert (list(aws.queues), len(aws.tables)) == ([], 3)


@in_loop
async def test_what_is_gone_already_is_said_to_be() -> None:
    """Of two that destroy, the second finds things gone, and does no harm."""
    aws = Aws()
    await applied(aws, PLAIN)
    first, second = provisioner(aws, PLAIN), provisioner(aws, PLAIN)
    plans = [await each.plan_destruction() for each in (first, second)]
    await first.destroy(plans[0])
    assert {each.fate for each in await second.destroy(plans[1])} == {"gone"}
    assert (await first.plan_destruction()).removals == ()


@in_loop
async def test_deleting_waits_for_what_is_being_made() -> None:
    """A table whose index is being built is deleted when that is over."""
    aws = Aws(answers={"DeleteTable": [refusal("ResourceInUseException")] * 3})
    await applied(aws, PLAIN)
    made = provisioner(aws, PLAIN)
    done = await made.destroy(await made.plan_destruction())
    assert {each.fate for each in done} == {"deleted"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prefix": "a b"}, "prefix has 1 to 62"),
        ({"prefix": "x" * 63}, "prefix has 1 to 62"),
        ({"bucket": "https://bucket"}, "no address"),
        ({"tags": {"aws:x": "y"}}, "AWS's"),
        ({"tags": {OWNER_TAG: "y"}}, "says whose"),
        ({"tags": {"x": "y" * 257}}, "up to 256"),
        ({"tags": {"x": "<>"}}, "letters, digits"),
        ({"visibility_timeout_seconds": 0}, "from 1 to 43,200, not 0"),
        ({"max_receives": 1_001}, "from 1 to 1,000"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], message: str) -> None:
    """A name, a tag or a number that AWS would not take is refused before anything is sent."""
    with pytest.raises(ValueError, match=message):
        Fleet(**options)


def test_clients_of_other_services_are_refused() -> None:
    """A client that is none, or is missing for a bucket, is named."""
    clients = Aws().clients()
    with pytest.raises(TypeError, match="sqs_client is boto3"):
        Provisioner(PLAIN, **{**clients, "sqs_client": object()})
    with pytest.raises(ValueError, match="s3_client is needed"):
        Provisioner(FLEET, **{**clients, "s3_client": None})


class Recording:
    """A transport that keeps the permissions which its requests need."""

    def __init__(self, transport: Any, service: str, needed: set[str]) -> None:
        self._transport, self._service, self._needed = transport, service, needed

    async def call(self, operation: str, request: Any) -> Any:
        kind: Any = {"sqs": "queue", "dynamodb": "table", "s3": "bucket"}[self._service]
        denied = AwsError("AccessDenied", operation=operation)
        found = re.search(r"[a-z0-9]+:[A-Za-z]+", str(translated(denied, Resource(kind, "x"))))
        assert found is not None
        self._needed.add(found[0])
        return await self._transport.call(operation, request)


@in_loop
async def test_the_page_names_the_permissions() -> None:
    """The policy on the page allows what plan, apply and destroy ask for, and nothing else."""
    aws, needed = Aws(), set[str]()
    clients = aws.clients()
    for service in ("sqs", "dynamodb", "s3"):
        name = f"{service}_client"
        clients[name] = Recording(clients[name], service, needed)

    async def apply(fleet: Fleet) -> None:
        await Provisioner(fleet, **clients).apply()

    await apply(FLEET)
    for each in [*aws.tables.values(), *aws.queues.values()]:
        each["tags"] = {}
    await apply(replace(FLEET, deletion_protection=False, visibility_timeout_seconds=60))
    aws.buckets["orders-payloads"]["objects"] = ["a"]
    made = Provisioner(FLEET, **clients)
    await made.destroy(await made.plan_destruction(empty_bucket=True))
    page = (ROOT / "docs" / "provisioning.md").read_text(encoding="utf-8")
    (block,) = (each for each in blocks_of(page) if each.language == "json")
    statements = json.loads(block.text)["Statement"]
    allowed = {action for statement in statements for action in statement["Action"]}
    # Of an object that has versions, which is asked for by the same request.
    assert allowed == needed | {"s3:DeleteObjectVersion"}
