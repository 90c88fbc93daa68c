"""Functions of AWS Lambda that work on the queue."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from flowcraft.adapters.aws.transport import AwsError
from flowcraft.doctor.checking import Check
from flowcraft.doctor.findings import Finding, note, ok, warning
from flowcraft.doctor.queues import Node, QueueLook
from flowcraft.doctor.services import Services
from flowcraft.doctor.texts import counted

TIMES: Final = 6
"""https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html: the visibility timeout
is at least six times the timeout of the function."""

NAME: Final = "queue.lambda"


def mapping_checks(services: Services, look: QueueLook, longest: Node | None) -> list[Check]:
    """The checks of the functions that are called with messages of the queue.

    Args:
        services: Whom to ask.
        look: What is known of the queue.
        longest: The node with the longest timeout.
    """

    async def look_at_mappings() -> Iterable[Finding]:
        arn = look.attributes.get("QueueArn")
        if look.trouble is not None or arn is None:
            return []
        answer = await services.ask("lambda", "ListEventSourceMappings", {"EventSourceArn": arn})
        found: list[Finding] = []
        for mapping in answer.get("EventSourceMappings", ()):
            found += await _mapping(services, mapping, look, longest)
        return found or [ok(NAME, "No Lambda function is called with its messages.", where)]

    where = str(look.resource)
    return [Check(NAME, where, look_at_mappings)]


async def _mapping(
    services: Services, mapping: Mapping[str, Any], look: QueueLook, longest: Node | None
) -> list[Finding]:
    name = str(mapping.get("FunctionArn", "?")).rpartition(":")[2]
    where = f"function '{name}'"
    found = list(_reports(mapping, where))
    request = {"FunctionName": mapping.get("FunctionArn", name)}
    try:
        function = await services.call("lambda", "GetFunctionConfiguration", request)
    except AwsError as refusal:
        text = f"How long it may run could not be asked for ({refusal.code})."
        return [*found, note(NAME, text, where, "Allow lambda:GetFunctionConfiguration.")]
    return [*found, *_timeout(int(function.get("Timeout", 3)), look, longest, where)]


def _reports(mapping: Mapping[str, Any], where: str) -> Iterator[Finding]:
    state = mapping.get("State", "Enabled")
    if state not in ("Enabled", "Enabling", "Updating"):
        yield note(NAME, f"Its event source mapping is {state}: it is not called.", where)
    if "ReportBatchItemFailures" not in (mapping.get("FunctionResponseTypes") or ()):
        yield warning(
            NAME,
            "Its event source mapping does not report failures of single messages: of a batch of "
            "which one cannot be worked on all come again, and in the end all are given up.",
            where,
            "Set FunctionResponseTypes to ReportBatchItemFailures.",
        )


def _timeout(seconds: int, look: QueueLook, longest: Node | None, where: str) -> Iterator[Finding]:
    visibility = look.seconds("VisibilityTimeout", 30)
    if visibility < TIMES * seconds:
        yield warning(
            NAME,
            f"It may run for {counted(seconds, 'second')}, and the queue hides messages for "
            f"{visibility} s: they come again while they wait for a function that is free.",
            where,
            f"Set the visibility timeout of the queue to {TIMES * seconds} s or more.",
        )
    else:
        yield ok(
            NAME,
            f"It may run for {counted(seconds, 'second')}, and the queue hides messages for "
            f"{visibility} s.",
            where,
        )
    if longest is not None and longest.seconds >= seconds:
        yield warning(
            NAME,
            f"It may run for {counted(seconds, 'second')}, which is not enough for {longest}: that "
            "is handed back each time, and never ends there.",
            where,
            "Give the function more time than any node takes, or leave that node to workers.",
        )
