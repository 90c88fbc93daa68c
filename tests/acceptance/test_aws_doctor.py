"""The doctor on emulators, and over HTTP where AWS says no."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from flowcraft import FlowRuntime, create_flow
from flowcraft.aws import DynamoDbCoordinationStore, SqsAdapter
from flowcraft.cli.main import run
from flowcraft.doctor import Diagnosis
from flowcraft.doctor.fleet import Fleet, examine_fleet
from flowcraft.engine.presence import workers_seen
from tests.emulators import aws
from tests.emulators.aws import AwsNames
from tests.emulators.scripted import RESET, ScriptedServer, answer, scripted

SERVICES = {"dynamodb", "sqs", "s3"}


@contextmanager
def fleet_at(endpoint: str, names: AwsNames, **more: Any) -> Iterator[Fleet]:
    """A fleet at an endpoint, with clients that are closed."""
    clients: dict[str, Any] = {}

    def client(service: str) -> Any:
        clients[service] = aws.client(service, endpoint)
        return clients[service]

    fleet: dict[str, Any] = {
        "queue": names.queue,
        "context_table": names.contexts,
        "status_table": names.statuses,
        "coordination_table": names.coordination,
        "region": "us-east-1",
    }
    try:
        yield Fleet(client, **fleet | more)
    finally:
        for each in clients.values():
            each.close()


def made(endpoint: str, names: AwsNames, make: Callable[[Any, Any], Any]) -> Any:
    """What is made with clients of SQS and DynamoDB."""
    sqs, dynamodb = aws.client("sqs", endpoint), aws.client("dynamodb", endpoint)
    try:
        return make(sqs, dynamodb)
    finally:
        sqs.close()
        dynamodb.close()


def found(diagnosis: Diagnosis, check: str) -> list[tuple[str, str]]:
    """How bad the findings of a check are, and what was found."""
    return [(str(each.severity), each.found) for each in diagnosis.findings if each.check == check]


@pytest.mark.slow
def test_a_fleet_on_an_emulator_is_looked_at_from_end_to_end(
    ministack: str, aws_names: AwsNames
) -> None:
    """Resources, a worker with its trace, and a run that needs code which nobody has."""
    flow = create_flow("order").wait("ask").node("charge", _body, uses="charge")
    flow.edge("ask", "charge")

    async def play() -> Diagnosis:
        sqs, dynamodb = aws.client("sqs", ministack), aws.client("dynamodb", ministack)
        aws.create_tables(dynamodb, aws_names, status_index=True)
        url = aws.create_queue(sqs, aws_names.queue, dead_letters=aws_names.dead_letters)
        store = DynamoDbCoordinationStore(dynamodb, aws_names.coordination)
        common: dict[str, Any] = {
            "sqs_client": sqs,
            "dynamodb_client": dynamodb,
            "queue_url": url,
            "context_table_name": aws_names.contexts,
            "status_table_name": aws_names.statuses,
            "coordination_store": store,
        }
        async with SqsAdapter.client_of(
            runtime_options=FlowRuntime(flows=[flow]).options, **common
        ) as client:
            await client.start_run("order", run_id="order-1")
        lacking = SqsAdapter(FlowRuntime().options, **common)
        # A function's way: it is seen in its first call after ten seconds.
        await lacking.handle_jobs([], seconds=0.0)
        worker = lacking.worker
        assert worker is not None
        assert worker.duties._presence is not None
        worker.duties._presence._due_at = 0.0
        await lacking.handle_jobs([], seconds=0.0)
        (seen,) = await workers_seen(store, lacking._clock.now())
        assert seen.workers == 1
        await lacking.stop()
        with fleet_at(ministack, aws_names) as fleet:
            diagnosis = await examine_fleet(fleet)
        sqs.close()
        dynamodb.close()
        return diagnosis

    diagnosis = asyncio.run(play())
    severities = {check: found(diagnosis, check) for check in ("table.key", "table.index")}
    assert [severity for severity, _ in severities["table.key"]] == ["ok"] * 3
    assert severities["table.index"][0][0] == "ok"
    for check in ("queue.kind", "queue.receives", "queue.dead_letters", "clock", "workers.seen"):
        assert [severity for severity, _ in found(diagnosis, check)] == ["ok"], check
    assert [severity for severity, _ in found(diagnosis, "permissions")][-1] == "note"
    ((severity, text),) = found(diagnosis, "workers.needed")
    assert severity == "error"
    assert "'charge', which 1 live run of 'order'" in text


async def _body(_: Any) -> int:
    return 1


def test_what_is_not_made_yet_is_told_by_its_name(ministack: str, aws_names: AwsNames) -> None:
    """Where nothing has been made, tables and queue are an error each, and there is no other."""
    with fleet_at(ministack, aws_names) as fleet:
        diagnosis = asyncio.run(examine_fleet(fleet))
    errors = [each for each in diagnosis.findings if each.severity == "error"]
    assert [each.check for each in errors] == [
        "table.contexts",
        "table.statuses",
        "table.coordination",
        "queue",
    ]
    assert all(f"'{aws_names.queue}'" in each.found for each in errors[3:])


@pytest.mark.slow
def test_a_table_with_another_key_is_told_by_both_emulators(
    dynamodb_endpoint: str, aws_names: AwsNames
) -> None:
    """The key that is there and the one that is needed are named; the right tables are fine."""

    def make(_: Any, dynamodb: Any) -> None:
        aws.create_table(dynamodb, aws_names.contexts, "id")
        aws.create_table(dynamodb, aws_names.statuses, "runId")
        aws.create_table(dynamodb, aws_names.coordination, "coordinationKey", expires=False)

    made(dynamodb_endpoint, aws_names, make)
    with fleet_at(dynamodb_endpoint, aws_names) as fleet:
        diagnosis = asyncio.run(examine_fleet(fleet))
    assert found(diagnosis, "table.key") == [
        ("error", "Its key is 'id' (S); 'runId' (S) alone is needed."),
        ("ok", "It is there, with the key 'runId' (a string)."),
        ("ok", "It is there, with the key 'coordinationKey' (a string)."),
    ]
    assert [severity for severity, _ in found(diagnosis, "table.ttl")] == ["ok", "ok", "warning"]
    assert found(diagnosis, "table.index")[0][0] == "warning"


@pytest.mark.slow
def test_the_command_tells_of_a_queue_without_redrive_policy(
    ministack: str,
    aws_names: AwsNames,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """The command ends with 1 and one clear message, with the cure below it."""

    def make(sqs: Any, dynamodb: Any) -> str:
        aws.create_tables(dynamodb, aws_names, status_index=True)
        return aws.create_queue(sqs, aws_names.queue)

    url = made(ministack, aws_names, make)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    settings = {
        "backend": "aws",
        "aws.endpoint_url": ministack,
        "aws.region": "us-east-1",
        "aws.queue_url": url,
        "aws.context_table": aws_names.contexts,
        "aws.status_table": aws_names.statuses,
        "aws.coordination_table": aws_names.coordination,
    }
    arguments = [part for pair in settings.items() for part in ("--set", "=".join(pair))]
    assert run(["doctor", *arguments, "--json"]) == 1
    data = json.loads(capsys.readouterr().out)
    (error,) = [each for each in data["findings"] if each["severity"] == "error"]
    assert error["check"] == "queue.redrive"
    assert "maxReceiveCount of 100" in error["cure"]


# --- no --------------------------------------------------------------------------------------


def refused(code: str, text: str) -> Any:
    """What DynamoDB and SQS answer to those who may not."""
    body = {"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": text}
    return answer(body, 403)


def looked_at(*replies: Any) -> tuple[Diagnosis, ScriptedServer]:
    """A look at a fleet that answers each request alike."""
    with scripted() as server:
        server.script(*replies)
        with fleet_at(
            server.endpoint, AwsNames.numbered(1), queue=f"{server.endpoint}/1/q"
        ) as fleet:
            return asyncio.run(examine_fleet(fleet)), server


def test_an_account_that_may_nothing_is_told_so_by_every_check() -> None:
    """With 403 to each request each check says which permission it lacks."""
    no = refused("AccessDeniedException", "User: u is not authorized to perform this")
    diagnosis, _ = looked_at(*[no] * 60)
    checks = {each.check: each for each in diagnosis.findings}
    assert checks["table.contexts"].cure.startswith("Allow dynamodb:DescribeTable")
    assert checks["queue"].cure.startswith("Allow sqs:GetQueueAttributes")
    assert {str(checks[name].severity) for name in ("table.contexts", "queue")} == {"note"}
    denied = [each for each in diagnosis.findings if each.check == "permissions"]
    assert any("dynamodb:PutItem" in each.found for each in denied)
    assert diagnosis.exit_code() == 1


def test_a_network_that_gives_no_answer_is_told_so_by_every_check() -> None:
    """With each connection torn down tables and queue are errors, and nothing breaks off."""
    diagnosis, _ = looked_at(*[RESET] * 80)
    checks = {each.check: each for each in diagnosis.findings}
    for name in ("table.contexts", "table.statuses", "table.coordination", "queue"):
        assert str(checks[name].severity) == "error", name
        assert "cannot be reached" in checks[name].found
    assert not any("broke off" in each.found for each in diagnosis.findings)
