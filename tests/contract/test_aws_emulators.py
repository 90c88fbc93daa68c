"""The transport against emulators: what SQS and DynamoDB answer gets through."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from flowcraft.adapters.aws.client import BotoTransport
from flowcraft.adapters.aws.transport import AwsError
from tests.emulators import aws
from tests.emulators.aws import AwsNames


@pytest.fixture
def sqs(ministack: str) -> Iterator[Any]:
    """A client of queues."""
    client = aws.client("sqs", ministack)
    yield client
    client.close()


@pytest.fixture
def dynamodb(dynamodb_endpoint: str) -> Iterator[Any]:
    """A client of tables, of each emulator in turn."""
    client = aws.client("dynamodb", dynamodb_endpoint)
    yield client
    client.close()


@pytest.fixture
def new_dynamodb(ministack: str) -> Iterator[Any]:
    """A client of tables as they are now; DynamoDB Local is of 2020."""
    client = aws.client("dynamodb", ministack)
    yield client
    client.close()


def put(table: str, **more: Any) -> dict[str, Any]:
    """A request that stores an item where none is."""
    return {
        "TableName": table,
        "Item": {"runId": {"S": "r"}, "data": {"B": b"\0\xff"}, "n": {"N": "12345678901234567890"}},
        "ConditionExpression": "attribute_not_exists(runId)",
        **more,
    }


def key(table: str) -> dict[str, Any]:
    """A request for that item."""
    return {"TableName": table, "Key": {"runId": {"S": "r"}}, "ConsistentRead": True}


def test_an_item_comes_back_as_it_was_stored(dynamodb: Any, aws_names: AwsNames) -> None:
    """Bytes and long numbers survive, and a condition that fails is known as that."""

    async def main() -> None:
        transport = BotoTransport(dynamodb)
        request = put(aws_names.contexts)
        await transport.call("PutItem", request)
        got = await transport.call("GetItem", key(aws_names.contexts))
        assert got["Item"] == request["Item"]
        with pytest.raises(AwsError) as caught:
            await transport.call("PutItem", request)
        assert caught.value.is_refused_condition
        assert caught.value.status == 400
        assert await transport.aclose()

    aws.create_tables(dynamodb, aws_names, status_index=True)
    asyncio.run(main())


def test_a_failed_condition_brings_the_item(new_dynamodb: Any, aws_names: AwsNames) -> None:
    """The item that is there comes with the refusal, also out of a transaction."""
    asked = {"ReturnValuesOnConditionCheckFailure": "ALL_OLD"}

    async def main() -> None:
        transport = BotoTransport(new_dynamodb)
        request = put(aws_names.contexts, **asked)
        await transport.call("PutItem", request)
        with pytest.raises(AwsError) as caught:
            await transport.call("PutItem", request)
        assert caught.value.answer["Item"] == request["Item"]
        with pytest.raises(AwsError) as caught:
            await transport.call("TransactWriteItems", {"TransactItems": [{"Put": request}]})
        assert caught.value.code == "TransactionCanceledException"
        (reason,) = caught.value.answer["CancellationReasons"]
        assert (reason["Code"], reason["Item"]) == ("ConditionalCheckFailed", request["Item"])
        assert await transport.aclose()

    aws.create_tables(new_dynamodb, aws_names)
    asyncio.run(main())


def test_one_of_many_writers_wins(dynamodb: Any, aws_names: AwsNames) -> None:
    """Of 16 conditional writes at a time one is carried out, and 15 are refused."""

    async def main() -> list[Any]:
        transport = BotoTransport(dynamodb, threads=16)
        request = put(aws_names.contexts)
        calls = [transport.call("PutItem", request) for _ in range(16)]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert await transport.aclose()
        return outcomes

    aws.create_table(dynamodb, aws_names.contexts, "runId")
    refused = [each for each in asyncio.run(main()) if isinstance(each, AwsError)]
    assert [each.is_refused_condition for each in refused] == [True] * 15


def test_a_table_that_is_not_there(dynamodb: Any, aws_names: AwsNames) -> None:
    """The error has the code of a missing resource and does not pass."""

    async def main() -> AwsError:
        with pytest.raises(AwsError) as caught:
            await BotoTransport(dynamodb).call("GetItem", key(aws_names.contexts))
        return caught.value

    error = asyncio.run(main())
    assert (error.code, error.may_pass) == ("ResourceNotFoundException", False)


def test_a_queue_that_is_not_there(sqs: Any, ministack: str, aws_names: AwsNames) -> None:
    """Asking for its address and sending to it give the same code."""
    url = f"{ministack}/000000000000/{aws_names.queue}"
    requests = {
        "GetQueueUrl": {"QueueName": aws_names.queue},
        "SendMessage": {"QueueUrl": url, "MessageBody": "text"},
        "ReceiveMessage": {"QueueUrl": url},
    }

    async def main() -> list[str]:
        transport = BotoTransport(sqs)
        codes = []
        for operation, request in requests.items():
            with pytest.raises(AwsError) as caught:
                await transport.call(operation, request)
            assert not caught.value.may_pass
            codes.append(caught.value.code)
        return codes

    assert asyncio.run(main()) == ["NonExistentQueue"] * 3


def test_a_batch_may_fail_in_part(sqs: Any, aws_names: AwsNames) -> None:
    """Entries that fail are listed in an answer that is no error, beside those that did not."""

    async def main() -> None:
        transport = BotoTransport(sqs)
        entries = [{"Id": name, "MessageBody": name} for name in "ab"]
        sent = await transport.call("SendMessageBatch", {"QueueUrl": url, "Entries": entries})
        assert sorted(each["Id"] for each in sent["Successful"]) == ["a", "b"]
        got = await transport.call("ReceiveMessage", {"QueueUrl": url, "MaxNumberOfMessages": 10})
        handle = got["Messages"][0]["ReceiptHandle"]
        entries = [
            {"Id": "good", "ReceiptHandle": handle},
            {"Id": "bad", "ReceiptHandle": "made up"},
        ]
        done = await transport.call("DeleteMessageBatch", {"QueueUrl": url, "Entries": entries})
        assert [each["Id"] for each in done["Successful"]] == ["good"]
        assert [(each["Id"], each["SenderFault"]) for each in done["Failed"]] == [("bad", True)]
        assert await transport.aclose()

    url = aws.create_queue(sqs, aws_names.queue)
    asyncio.run(main())


def test_a_poll_beside_other_requests(sqs: Any, aws_names: AwsNames) -> None:
    """A message that is sent during a long poll ends it, and its date is the service's."""

    async def main() -> None:
        transport = BotoTransport(sqs, threads=2)
        receive = {"QueueUrl": url, "WaitTimeSeconds": 20}
        poll = asyncio.create_task(transport.call("ReceiveMessage", receive))
        await transport.call("SendMessage", {"QueueUrl": url, "MessageBody": "text"})
        got = await poll
        assert [message["Body"] for message in got["Messages"]] == ["text"]
        date = parsedate_to_datetime(got["ResponseMetadata"]["HTTPHeaders"]["date"])
        assert date.tzinfo is not None
        assert await transport.aclose()

    url = aws.create_queue(sqs, aws_names.queue)
    asyncio.run(main())


def test_messages_go_to_the_dead_letter_queue(sqs: Any, aws_names: AwsNames) -> None:
    """The queues that tests are given have the redrive policy they ask for."""
    url = aws.create_queue(
        sqs,
        aws_names.queue,
        visibility_seconds=0,
        dead_letters=aws_names.dead_letters,
        max_receives=2,
    )
    sqs.send_message(QueueUrl=url, MessageBody="text")
    for _ in range(2):
        assert sqs.receive_message(QueueUrl=url)["Messages"]
    assert "Messages" not in sqs.receive_message(QueueUrl=url)
    dead = sqs.get_queue_url(QueueName=aws_names.dead_letters)["QueueUrl"]
    (message,) = sqs.receive_message(QueueUrl=dead)["Messages"]
    assert message["Body"] == "text"
