"""What a fleet needs, made on emulators, by the command, and by a stack; and then used."""

from __future__ import annotations

import asyncio
import io
import json
import time
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import boto3
import pytest

import flowcraft
from flowcraft.adapters.aws.client import BotoTransport
from flowcraft.adapters.aws.transport import Answer, Request
from flowcraft.application import load_app, open_client
from flowcraft.cli.main import run
from flowcraft.provisioning import Fleet, Functions, Provisioner, template
from flowcraft.settings import load_settings
from tests.emulators.aws import REGION, AwsNames, client
from tests.unit.cli.modules import forgotten
from tests.unit.standin_aws import in_loop

SERVICES = ("sqs", "dynamodb", "s3")
SECONDS = 60.0

APP = """
from flowcraft import RetryPolicy, create_flow

def numbers(ctx):
    return [1, 2, 3]

def double(ctx):
    return ctx.input * 2

def total(ctx):
    if ctx.attempt == 1:
        raise ConnectionError("not yet")
    return sum(ctx.input)

flow = create_flow("sums").node("numbers", numbers).batch("double", double)
flow.node("total", total, retry=RetryPolicy(max_attempts=3, delay=0.01))
flow.edge("numbers", "double").edge("double", "total")
"""


class Dying:
    """A transport to an emulator; its process ends after some requests that changes something."""

    def __init__(self, transport: BotoTransport, left: list[int]) -> None:
        self._transport, self._left = transport, left

    async def call(self, operation: str, request: Request) -> Answer:
        if operation.startswith(("Get", "List", "Describe", "Head")):
            return await self._transport.call(operation, request)
        answer = await self._transport.call(operation, request)
        self._left[0] -= 1
        if self._left[0] == 0:
            raise InterruptedError
        return answer


def clients(stack: ExitStack, endpoint: str) -> dict[str, Any]:
    """Clients of the services that a provisioner needs."""
    return {
        f"{service}_client": stack.enter_context(closing(client(service, endpoint)))
        for service in SERVICES
    }


def test_an_emulator_gets_all_of_it_by_applies_that_die(
    ministack: str, aws_names: AwsNames
) -> None:
    """Applies that each die after a request over HTTP get to the end; the last changes nothing."""
    fleet = Fleet(
        aws_names.prefix,
        bucket=aws_names.bucket,
        tags={"team": "blue"},
        point_in_time_recovery=True,
        deletion_protection=True,
        kms_key="12345678-1234-1234-1234-123456789012",
    )
    with ExitStack() as stack:
        made = clients(stack, ministack)

        async def applied(left: int) -> int:
            transports = {name: BotoTransport(each, 1) for name, each in made.items()}
            budget = [left]
            dying: dict[str, Any] = {name: Dying(each, budget) for name, each in transports.items()}
            try:
                return len((await Provisioner(fleet, **dying).apply()).changes)
            finally:
                for each in transports.values():
                    await each.aclose()

        deaths = 0
        while True:
            try:
                asyncio.run(applied(1))
            except InterruptedError:
                deaths += 1
            else:
                break
        assert deaths >= 10
        assert asyncio.run(applied(1)) == 0


@in_loop
async def test_an_index_is_built_by_dynamodb_local(
    ministack: str, dynamodb_local: str, aws_names: AwsNames
) -> None:
    """DynamoDB Local, which takes its time for an index and has no tags, gets all that it can."""
    with ExitStack() as stack:
        made = clients(stack, ministack)
        made["dynamodb_client"] = stack.enter_context(closing(client("dynamodb", dynamodb_local)))
        for index in (False, True):
            fleet = Fleet(aws_names.prefix, status_index=index, point_in_time_recovery=True)
            async with Provisioner(fleet, **made) as provisioner:
                done = await provisioner.apply()
                assert done.changes
                assert (await provisioner.apply()).changes == ()
        (change,) = done.changes
        assert change.aspect == "status index"
        told = made["dynamodb_client"].describe_table(TableName=aws_names.statuses)["Table"]
        assert told["GlobalSecondaryIndexes"][0]["IndexStatus"] == "ACTIVE"


@pytest.fixture
def project(
    ministack: str, aws_names: AwsNames, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """A directory whose settings are of a fleet on the emulator."""
    (tmp_path / "sums.py").write_text(APP, encoding="utf-8")
    lines = [
        'app = "sums:flow"',
        'backend = "aws"',
        "[aws]",
        f'region = "{REGION}"',
        f'prefix = "{aws_names.prefix}"',
        f'endpoint_url = "{ministack}"',
    ]
    (tmp_path / "flowcraft.toml").write_text("\n".join(lines), encoding="utf-8")
    for name, value in {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    with forgotten("sums"):
        yield tmp_path


class Terminal(io.StringIO):
    """What a person types."""

    def isatty(self) -> bool:
        return True


def called(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """What a command answers: its exit code, and what it wrote."""
    code = run(["aws", *arguments])
    written = capsys.readouterr()
    return code, written.out, written.err


def test_the_command_makes_a_fleet_and_takes_it_away(
    project: Path,
    aws_names: AwsNames,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Plan, apply, apply again and destroy, with the exit codes that a script goes by."""
    for stdin, told in (
        (io.StringIO("y\n"), (2, "give --yes")),
        (Terminal("n\n"), (4, "Nothing was done")),
    ):
        monkeypatch.setattr("sys.stdin", stdin)
        code, _, err = called(capsys, "apply")
        assert (code, told[1] in err) == (told[0], True)
    code, out, _ = called(capsys, "plan", "--detailed-exit-code")
    assert (code, f"{aws_names.prefix}-jobs-dead-letters" in out) == (2, True)
    code, out, _ = called(capsys, "apply", "--yes", "--json", "--bucket", aws_names.bucket)
    done = json.loads(out)
    assert (code, done["queueUrl"].endswith(aws_names.queue), done["bucket"]) == (
        *(0, True),
        aws_names.bucket,
    )
    code, out, _ = called(capsys, "apply", "--yes", "--tag", "team=blue")
    assert (code, "5 to change." in out) == (0, True)
    code, out, _ = called(capsys, "plan", "--detailed-exit-code", "--tag", "team=blue")
    assert (code, "No changes" in out) == (0, True)
    code, out, _ = called(capsys, "destroy", "--yes", "--json", "--bucket", aws_names.bucket)
    fates = {each["name"]: each["fate"] for each in json.loads(out)["removals"]}
    assert (code, set(fates.values()), len(fates)) == (0, {"deleted"}, 6)
    code, out, _ = called(capsys, "destroy", "--yes")
    assert (code, out) == (0, "Nothing to delete.\n")


def test_the_command_says_what_cannot_be(
    project: Path, ministack: str, aws_names: AwsNames, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong key, a wrong option, and nobody who agrees: one message each, and nothing is made."""
    with closing(client("dynamodb", ministack)) as dynamodb:
        other = {**Fleet().coordination.creation(), "TableName": aws_names.contexts}
        dynamodb.create_table(**other)
        code, out, _ = called(capsys, "apply", "--yes")
        assert (code, "choose another prefix" in out) == (4, True)
        assert called(capsys, "plan")[0] == 4
        code, _, err = called(capsys, "destroy", "--yes")
        assert (code, "Traceback" in err) == (4, False)
        assert dynamodb.describe_table(TableName=aws_names.contexts)
    for arguments, message in {
        ("plan", "--max-receives", "0"): "max_receives is from 1",
        ("plan", "--tag", "x"): "--tag takes KEY=VALUE",
        ("plan", "--set", "aws.context_table=x"): "make resources by their prefix",
        ("template", "--batch-size", "3"): "need --functions",
        ("template", "-o", "gone/x.json"): "cannot be written",
        ("plan", "--endpoint-url", "http://127.0.0.1:9"): "cannot be reached",
    }.items():
        code, _, err = called(capsys, *arguments)
        assert (code in (2, 5), message in err) == (True, True), (arguments, err)


def test_a_start_needs_the_table_of_locks_too(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A start writes nothing there, but a wrong name of it is told at once, and starts nothing."""
    assert called(capsys, "apply", "--yes")[0] == 0
    code = run(["start", "sums", "--run-id", "r", "--set", "aws.coordination_table=nope"])
    assert (code, "There is no table 'nope'" in capsys.readouterr().err) == (5, True)
    assert run(["status", "r"]) == 3
    assert run(["start", "sums", "--run-id", "r"]) == 0
    assert called(capsys, "destroy", "--yes")[0] == 0


def test_the_command_writes_the_template(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A template is the same in a file and on standard output."""
    arguments = ["--functions", "--alarms", "--dashboard", "--policies", "--function-timeout", "30"]
    _, out, _ = called(capsys, "template", *arguments)
    called(capsys, "template", *arguments, "-o", "fleet.json")
    written = json.loads((project / "fleet.json").read_text(encoding="utf-8"))
    assert json.loads(out) == written
    assert written["Resources"]["Jobs"]["Properties"]["VisibilityTimeout"] == 180


# What the emulator's CloudFormation does not know; AWS does.
UNKNOWN = ("ThrottledAlarm",)


def deployed(cloudformation: Any, document: dict[str, Any], values: dict[str, str]) -> Any:
    """Make a stack, and give its outputs."""
    cloudformation.create_stack(
        StackName="fleet",
        TemplateBody=json.dumps(document),
        Parameters=[
            {"ParameterKey": key, "ParameterValue": value} for key, value in values.items()
        ],
        Capabilities=["CAPABILITY_IAM"],
    )
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        stack = cloudformation.describe_stacks(StackName="fleet")["Stacks"][0]
        if not stack["StackStatus"].endswith("IN_PROGRESS"):
            assert stack["StackStatus"] == "CREATE_COMPLETE", stack
            return {each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]}
        time.sleep(0.05)
    raise AssertionError("the stack is not there in time")


def code_of_the_app() -> bytes:
    """The .zip of the functions."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("sums.py", APP)
    return buffer.getvalue()


def metrics(logs: Any) -> list[dict[str, Any]]:
    """What the worker's function has written for CloudWatch to make metrics of."""
    group = "/aws/lambda/shop-worker"
    found = logs.filter_log_events(logGroupName=group)["events"]
    lines = [line for each in found for line in each["message"].splitlines() if "_aws" in line]
    return [json.loads(line) for line in lines]


@pytest.mark.slow
def test_functions_of_a_stack_do_the_work(
    ministack_stacks: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The template is deployed with all in it, and its functions alone bring a run to its end."""
    for name, value in {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}.items():
        monkeypatch.setenv(name, value)
    # The functions' processes have neither boto3 nor this package, which a .zip on AWS would hold.
    packages = [Path(each.__file__ or "").parents[1] for each in (flowcraft, boto3)]
    functions = Functions(
        environment={"PYTHONPATH": ":".join(map(str, packages))}, maximum_concurrency=2
    )
    document = template(
        Fleet(bucket="shop-payloads"),
        functions=functions,
        alarms=True,
        dashboard=True,
        policies=True,
    )
    for name in UNKNOWN:
        del document["Resources"][name]
    with ExitStack() as stack:
        services = ("s3", "cloudformation", "lambda", "logs")
        s3, cloudformation, lambda_, logs = (
            stack.enter_context(closing(client(each, ministack_stacks))) for each in services
        )
        s3.create_bucket(Bucket="code")
        s3.put_object(Bucket="code", Key="app.zip", Body=code_of_the_app())
        values = {"Prefix": "shop", "App": "sums:flow", "CodeBucket": "code", "CodeKey": "app.zip"}
        outputs = deployed(cloudformation, document, values)
        assert outputs["ContextTable"] == "shop-contexts"
        overrides = {
            "app": "sums:flow",
            "backend": "aws",
            "aws.prefix": "shop",
            "aws.region": REGION,
            "aws.endpoint_url": ministack_stacks,
            "aws.payload_bucket": outputs["PayloadBucket"],
        }
        (tmp_path / "sums.py").write_text(APP, encoding="utf-8")
        settings = load_settings(overrides, tmp_path, {})
        with forgotten("sums"):
            total = asyncio.run(_total(settings))
        assert total == 12
        answer = lambda_.invoke(FunctionName="shop-reconciler", Payload=b"{}")
        stats = json.loads(answer["Payload"].read())
        assert stats["stalled_runs"] == 0, stats
        ended = [each for each in metrics(logs) if each.get("RunsFinished")]
        assert ended
        assert {each["Fleet"] for each in ended} == {"shop"}


async def _total(settings: Any) -> Any:
    async with open_client(settings, load_app(settings)) as runs:
        run_id = await runs.start_run("sums", {})
        run = await runs.wait_for_run(run_id, timeout=SECONDS)
        return run.outputs["total"]
