"""What AWS refuses is said so that somebody can do something about it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from flowcraft.adapters.aws.failures import Resource, Service, translated
from flowcraft.adapters.aws.transport import CONNECTION_FAILED, Answer, AwsError, Request
from flowcraft.engine.patience import Patient
from flowcraft.errors import StorageBusy, StorageError, StorageFull, StorageUnavailable
from flowcraft.testing import VirtualClock
from tests.unit.runs import drive

TABLE = Resource("table", "flowcraft-contexts", "runId")
QUEUE = Resource("queue", "https://sqs.eu-west-1.amazonaws.com/1/jobs")


def error(code: str, message: str = "so it is", **more: Any) -> AwsError:
    """An error of AWS."""
    return AwsError(code, message, **{"operation": "UpdateItem", **more})


def canceled(*codes: str) -> AwsError:
    """A transaction that was given up for these reasons."""
    reasons = [{"Code": code} for code in codes]
    return error("TransactionCanceledException", answer={"CancellationReasons": reasons})


@pytest.mark.parametrize(
    ("given", "resource", "kind", "words"),
    [
        (
            error("ResourceNotFoundException"),
            TABLE,
            StorageUnavailable,
            ["'runId'", "region", "aws apply"],
        ),
        (
            error("NonExistentQueue"),
            QUEUE,
            StorageUnavailable,
            ["standard queue", "region", "aws apply"],
        ),
        (
            error("AccessDeniedException"),
            TABLE,
            StorageUnavailable,
            ["dynamodb:UpdateItem", "Allow", "so it is"],
        ),
        (
            error("AccessDenied", operation="ChangeMessageVisibilityBatch"),
            QUEUE,
            StorageUnavailable,
            ["sqs:ChangeMessageVisibility on", "Allow"],
        ),
        (
            error("AccessDeniedException", operation="BatchGetItem"),
            TABLE,
            StorageUnavailable,
            ["dynamodb:BatchGetItem on"],
        ),
        (error("ExpiredTokenException"), TABLE, StorageUnavailable, ["Renew"]),
        (error("NoCredentials", status=0), QUEUE, StorageUnavailable, ["so it is"]),
        (error("KmsAccessDenied"), QUEUE, StorageUnavailable, ["encrypted"]),
        (
            error("ValidationException", "The provided key element does not match the schema"),
            TABLE,
            StorageUnavailable,
            ["partition key is 'runId'", "without a sort key"],
        ),
        (
            error(
                "ValidationException",
                "One or more parameter values were invalid: Missing the key id in the item",
            ),
            TABLE,
            StorageUnavailable,
            ["another key"],
        ),
        (
            error(
                "ValidationException",
                "One or more parameter values were invalid: Type mismatch for key runId "
                "expected: N actual: S",
            ),
            TABLE,
            StorageUnavailable,
            ["another key"],
        ),
        (
            error("ItemCollectionSizeLimitExceededException"),
            TABLE,
            StorageFull,
            ["limit"],
        ),
    ],
    ids=lambda value: getattr(value, "code", None),
)
def test_what_has_to_be_mended_is_named(
    given: AwsError, resource: Resource, kind: type[StorageError], words: list[str]
) -> None:
    """The error names the resource, what is wrong with it and what to do about it."""
    told = translated(given, resource)
    assert type(told) is kind
    assert resource.name in str(told)
    for word in words:
        assert word in str(told)


@pytest.mark.parametrize(
    "given",
    [
        error("ProvisionedThroughputExceededException"),
        error("ThrottlingException"),
        error("RequestLimitExceeded"),
        error("RequestThrottled"),
        error("KmsThrottled"),
        error("OverLimit"),
        error("TransactionConflictException"),
        error("TransactionInProgressException"),
        canceled("None", "TransactionConflict"),
        canceled("ConditionalCheckFailed", "TransactionConflict"),
        canceled("ThrottlingError"),
        error(CONNECTION_FAILED, status=0),
        error("InternalServerError", status=500),
        error("ServiceUnavailable", status=503),
    ],
    ids=str,
)
def test_what_passes_is_tried_again(given: AwsError) -> None:
    """Throttling, conflicts, a lost connection and trouble of AWS are waited for by the engine."""

    class Port:
        def __init__(self) -> None:
            self.calls = 0

        async def write(self) -> str:
            self.calls += 1
            if self.calls == 1:
                raise translated(given, TABLE)
            return "done"

    async def story() -> None:
        clock, port = VirtualClock(), Port()

        async def at_once(when: float) -> None:
            clock.advance_to(when)

        assert await Patient(port, clock, at_once, 10.0, lambda _: None).write() == "done"
        assert port.calls == 2

    drive(story())


@pytest.mark.parametrize(
    "given",
    [error(CONNECTION_FAILED, status=0), error("InternalServerError", status=500)],
    ids=str,
)
def test_without_an_answer_nothing_is_claimed(given: AwsError) -> None:
    """Where nobody knows whether a request was carried out, the error says so."""
    assert "is not known" in str(translated(given, TABLE))


@pytest.mark.parametrize(
    "given",
    [
        error("ValidationException", "Item size has exceeded the maximum allowed size"),
        error("ValidationException", "Item size to update has exceeded the maximum allowed size"),
        error("ValidationException", "Invalid UpdateExpression: Syntax error"),
        error("SomethingNew"),
        canceled("ValidationError"),
    ],
    ids=str,
)
def test_what_never_changes_is_fatal(given: AwsError) -> None:
    """The same request would be refused for ever: nobody tries it again."""
    told = translated(given, TABLE)
    assert type(told) in (StorageError, StorageFull)
    assert told.is_fatal


def test_the_limit_of_an_item_is_named() -> None:
    """An item that is too large is refused with the limit, as what can never be stored is."""
    given = error("ValidationException", "Item size has exceeded the maximum allowed size")
    told = translated(given, TABLE)
    assert "400 KB" in str(told)
    assert type(told) is StorageFull
    assert told.is_fatal


class Refusing:
    """A transport that refuses everything."""

    def __init__(self, refusal: Exception) -> None:
        self.refusal = refusal

    async def call(self, operation: str, request: Request) -> Answer:
        raise self.refusal


@pytest.mark.parametrize(
    "given",
    [
        error("ConditionalCheckFailedException", answer={"Item": {"a": {"S": "b"}}}),
        canceled("None", "ConditionalCheckFailed"),
    ],
    ids=str,
)
def test_a_condition_that_does_not_hold_is_an_answer(given: AwsError) -> None:
    """A refused condition reaches the adapter as it is, with what came with it."""
    with pytest.raises(AwsError) as raised:
        asyncio.run(Service(Refusing(given), TABLE).call("UpdateItem", {}))
    assert raised.value is given


def test_other_errors_are_those_of_the_package() -> None:
    """Anything else is a storage error, with the error of AWS as its cause."""
    given = error("ThrottlingException")
    with pytest.raises(StorageBusy) as raised:
        asyncio.run(Service(Refusing(given), TABLE).call("UpdateItem", {}))
    assert raised.value.__cause__ is given
    mistake = TypeError("no error of AWS")
    with pytest.raises(TypeError):
        asyncio.run(Service(Refusing(mistake), TABLE).call("UpdateItem", {}))
