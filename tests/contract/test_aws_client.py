"""Requests through boto3: what comes back when something goes wrong on the way."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import pytest
from botocore import exceptions
from botocore.parsers import ResponseParserError
from botocore.stub import Stubber

from flowcraft.adapters.aws.client import (
    MISCONFIGURED,
    NO_CREDENTIALS,
    BotoTransport,
    plain_code,
)
from flowcraft.adapters.aws.transport import CONNECTION_FAILED, Answer, AwsError
from tests.emulators import aws
from tests.emulators.scripted import RESET, Reply, ScriptedServer, answer, scripted

RECEIVE = {"QueueUrl": "http://127.0.0.1/1/queue", "WaitTimeSeconds": 20}
GET = {"TableName": "contexts", "Key": {"runId": {"S": "r"}}}
MESSAGES = {"Messages": [{"MessageId": "m", "ReceiptHandle": "h", "Body": "text"}]}
ITEM = {"Item": {"runId": {"S": "r"}, "data": {"B": "AAE="}}}

Make = Callable[..., Any]


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """A server that answers as told."""
    with scripted() as running:
        yield running


@pytest.fixture
def make(server: ScriptedServer) -> Iterator[Make]:
    """Makes clients of the server, which are closed in the end."""
    made = []

    def client(service: str = "dynamodb", endpoint: str = server.endpoint, **more: Any) -> Any:
        made.append(aws.client(service, endpoint, **more))
        return made[-1]

    yield client
    for each in made:
        each.close()


def call(client: Any, operation: str = "GetItem", request: Any = GET) -> Answer:
    """One call of a transport of its own."""

    async def main() -> Answer:
        transport = BotoTransport(client)
        try:
            return await transport.call(operation, request)
        finally:
            assert await transport.aclose()

    return asyncio.run(main())


def refusal(client: Any, operation: str = "GetItem", request: Any = GET) -> AwsError:
    """The error of one call."""
    with pytest.raises(AwsError) as caught:
        call(client, operation, request)
    return caught.value


# --- answers -------------------------------------------------------------------------------


def test_an_answer_has_the_shape_that_boto3_gives(server: ScriptedServer, make: Make) -> None:
    """Values come as in boto3's low-level client, and with them the service's clock."""
    date = "Fri, 27 Nov 2026 04:19:08 GMT"
    server.script(answer(ITEM, headers={"Date": date}))
    got = call(make())
    assert got["Item"] == {"runId": {"S": "r"}, "data": {"B": b"\0\1"}}
    assert got["ResponseMetadata"]["HTTPHeaders"]["date"] == date
    assert server.requests == ["GetItem"]


@pytest.mark.parametrize(
    ("code", "plain"),
    [
        ("com.amazonaws.dynamodb.v20120810#ResourceNotFoundException", "ResourceNotFoundException"),
        ("AWS.SimpleQueueService.NonExistentQueue", "NonExistentQueue"),
        ("QueueDoesNotExist", "NonExistentQueue"),
        ("QueueAlreadyExists", "QueueAlreadyExists"),
        ("QueueNameExists", "QueueAlreadyExists"),
        ("503", "503"),
    ],
)
def test_a_code_has_no_prefix(code: str, plain: str) -> None:
    """An error has one code, whichever protocol it came by."""
    assert plain_code(code) == plain


@pytest.mark.parametrize(
    "code", ["ThrottlingException", "ProvisionedThroughputExceededException", "RequestThrottled"]
)
def test_throttling_is_known(server: ScriptedServer, make: Make, code: str) -> None:
    """A request that was throttled says so, and that it may pass later."""
    body = {"__type": f"com.amazon.coral.availability#{code}", "message": "Rate exceeded"}
    server.script(answer(body, 400))
    error = refusal(make())
    assert (error.code, error.status, error.message) == (code, 400, "Rate exceeded")
    assert (error.operation, error.is_throttling, error.may_pass) == ("GetItem", True, True)


def test_throttling_of_a_queue_is_known(server: ScriptedServer, make: Make) -> None:
    """SQS names the older code in a header, with a prefix; what is told is the plain one."""
    body = {"__type": "com.amazonaws.sqs#RequestThrottled", "message": "slow down"}
    old = {"x-amzn-query-error": "AWS.SimpleQueueService.RequestThrottled;Sender"}
    server.script(answer(body, 403, headers=old))
    error = refusal(make("sqs"), "ReceiveMessage", RECEIVE)
    assert (error.code, error.status, error.is_throttling) == ("RequestThrottled", 403, True)


def test_a_missing_queue_is_known(server: ScriptedServer, make: Make) -> None:
    """A queue that is not there is told by its plain code, and does not pass."""
    body = {"__type": "com.amazonaws.sqs#QueueDoesNotExist", "message": "not here"}
    old = {"x-amzn-query-error": "AWS.SimpleQueueService.NonExistentQueue;Sender"}
    server.script(answer(body, 400, headers=old))
    error = refusal(make("sqs"), "ReceiveMessage", RECEIVE)
    assert (error.code, error.message, error.may_pass) == ("NonExistentQueue", "not here", False)


def test_a_failed_condition_brings_the_item(server: ScriptedServer, make: Make) -> None:
    """Where DynamoDB sends the item that did not fit, it is in the error, without a read."""
    kind = "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException"
    body = {"__type": kind, "message": "The conditional request failed", **ITEM}
    server.script(answer(body, 400))
    put = {"TableName": "contexts", "Item": {"runId": {"S": "r"}}}
    error = refusal(make(), "PutItem", put)
    assert error.is_refused_condition
    assert not error.may_pass
    assert error.answer["Item"] == {"runId": {"S": "r"}, "data": {"B": b"\0\1"}}
    assert "Error" not in error.answer


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (
            answer({"__type": "x#InternalServerError", "message": "ours"}, 500),
            "InternalServerError",
        ),
        (answer(b"<html>Service Unavailable</html>", 503), "503"),
        (answer(b"", 502), "502"),
    ],
)
def test_trouble_of_aws_may_pass(
    server: ScriptedServer, make: Make, reply: Reply, code: str
) -> None:
    """A status of 500 and above is an error that may pass, whatever the body is."""
    server.script(reply)
    error = refusal(make())
    assert (error.code, error.status >= 500, error.may_pass) == (code, True, True)


# --- no answer, or none that is whole ------------------------------------------------------


def test_a_connection_that_is_reset(server: ScriptedServer, make: Make) -> None:
    """After a reset nobody knows what became of the request: that has a code of its own."""
    server.script(RESET)
    error = refusal(make())
    assert (error.code, error.status, error.may_pass) == (CONNECTION_FAILED, 0, True)


def test_a_connection_that_nobody_accepts(make: Make) -> None:
    """Where nothing listens the error is that of a connection, and names the endpoint."""
    with scripted() as gone:
        endpoint = gone.endpoint
    error = refusal(make(endpoint=endpoint))
    assert (error.code, error.status) == (CONNECTION_FAILED, 0)
    assert endpoint in error.message


def test_an_answer_that_does_not_come(server: ScriptedServer, make: Make) -> None:
    """The client's own timeout ends the wait for an answer."""
    gate = threading.Event()
    server.script(answer(ITEM, gate=gate))
    error = refusal(make(read_timeout=0.1))
    gate.set()
    assert (error.code, error.status, error.may_pass) == (CONNECTION_FAILED, 0, True)


CHUNKED = {"Content-Length": None, "Transfer-Encoding": "chunked"}
DAMAGED = {
    "cut off": answer(MESSAGES, cut=9),
    "cut off before it began": answer(MESSAGES, cut=len(answer(MESSAGES).data)),
    "nothing but a head": answer(b"{}", cut=2),
    "cut off in an error": answer({"__type": "x#ThrottlingException"}, 400, cut=4),
    "cut off between chunks": answer(b'5\r\n{"Mes\r\n', headers=CHUNKED),
    "cut off, of unknown length": answer(MESSAGES, cut=9, headers={"Content-Length": None}),
    "somebody else's page": answer(b"<html>Sign in to this network</html>"),
}


@pytest.mark.parametrize("reply", DAMAGED.values(), ids=DAMAGED.keys())
def test_messages_that_were_cut_off_are_not_no_messages(
    server: ScriptedServer, make: Make, reply: Reply
) -> None:
    """Part of an answer is no answer: it is told as a connection that failed."""
    server.script(reply)
    error = refusal(make("sqs"), "ReceiveMessage", RECEIVE)
    assert (error.code, error.status, error.may_pass) == (CONNECTION_FAILED, 0, True)


def whole(status: int, body: bytes, length_first: bool) -> bytes:
    """All bytes of an answer of DynamoDB, with the headers in one order or the other."""
    headers = [b"Content-Length: %d" % len(body), b"x-amz-crc32: %d" % zlib.crc32(body)]
    lines = [b"HTTP/1.1 %d Told" % status, *(headers if length_first else headers[::-1])]
    return b"\r\n".join([*lines, b"", body])


@pytest.mark.parametrize("length_first", [True, False], ids=["length first", "length last"])
@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b'{"Item": {"runId": {"S": "s"}}}'),
        (400, b'{"__type": "x#ConditionalCheckFailedException"}'),
        (500, b'{"__type": "x#InternalServerError"}'),
    ],
    ids=["an item", "a condition", "an error"],
)
def test_an_answer_may_be_cut_off_at_any_byte(
    server: ScriptedServer, make: Make, status: int, body: bytes, length_first: bool
) -> None:
    """Wherever an answer ends, in its head too, what is missing is taken for no answer at all."""
    data, client = whole(status, body, length_first), make()
    found = {}
    for length in range(len(data)):
        server.script(Reply(data[:length]))
        error = refusal(client)
        found[length] = (error.code, error.may_pass)
    wrong = {length: each for length, each in found.items() if each != (CONNECTION_FAILED, True)}
    assert not wrong, {data[:length]: each for length, each in wrong.items()}


@pytest.mark.parametrize("length_first", [True, False], ids=["length first", "length last"])
def test_a_number_of_the_head_may_be_cut_off_whoever_looks_at_it(
    server: ScriptedServer, make: Make, length_first: bool
) -> None:
    """A client with retries looks at checksums itself, and cannot read one without digits."""
    data = whole(200, b'{"Item": {}}', length_first)
    name = b"x-amz-crc32: " if length_first else b"Content-Length: "
    client = make(retries={"mode": "standard", "total_max_attempts": 3})
    server.script(Reply(data[: data.index(name) + len(name)]))
    error = refusal(client)
    assert (error.code, error.may_pass) == (CONNECTION_FAILED, True)


def test_the_check_is_for_our_calls_alone(server: ScriptedServer, make: Make) -> None:
    """The user's own calls of the client are as before: boto3 takes half an answer for none."""
    client = make("sqs")
    server.script(answer(MESSAGES, cut=9), answer(MESSAGES, cut=9), answer(MESSAGES))
    assert refusal(client, "ReceiveMessage", RECEIVE).code == CONNECTION_FAILED
    assert "Messages" not in client.receive_message(**RECEIVE)
    assert call(client, "ReceiveMessage", RECEIVE)["Messages"] == MESSAGES["Messages"]


@pytest.mark.parametrize("body", [b"", b"{}", b' {"Item": {}} \n'])
def test_an_answer_may_be_empty(server: ScriptedServer, make: Make, body: bytes) -> None:
    """An answer that is empty, and whole, is none that was cut off."""
    server.script(answer(body))
    assert not call(make()).get("Item")


def test_an_item_that_was_damaged(server: ScriptedServer, make: Make) -> None:
    """An item whose checksum does not match is refused, which boto3 gives out after its retries."""
    body = b'{"Item": {"runId": {"S": "s"}}}'
    wrong = {"x-amz-crc32": str(zlib.crc32(body) ^ 1)}
    server.script(answer(body, headers=wrong), answer(body, headers=wrong))
    client = make()
    assert client.get_item(**GET)["Item"] == {"runId": {"S": "s"}}
    error = refusal(client)
    assert error.code == CONNECTION_FAILED
    assert "checksum" in error.message
    server.script(answer(body, headers={"x-amz-crc32": str(zlib.crc32(body))}))
    assert call(client)["Item"] == {"runId": {"S": "s"}}


# --- errors of the client ------------------------------------------------------------------

URL = {"endpoint_url": "http://127.0.0.1", "error": "it broke"}
ERRORS = [
    (exceptions.EndpointConnectionError(**URL), CONNECTION_FAILED),
    (exceptions.ConnectTimeoutError(**URL), CONNECTION_FAILED),
    (exceptions.ReadTimeoutError(**URL), CONNECTION_FAILED),
    (exceptions.ConnectionClosedError(**URL), CONNECTION_FAILED),
    (exceptions.SSLError(**URL), CONNECTION_FAILED),
    (exceptions.ProxyConnectionError(proxy_url="http://p", error="no"), CONNECTION_FAILED),
    (exceptions.ResponseStreamingError(error="no"), CONNECTION_FAILED),
    (exceptions.IncompleteReadError(actual_bytes=1, expected_bytes=2), CONNECTION_FAILED),
    (ResponseParserError("no"), CONNECTION_FAILED),
    (exceptions.CredentialRetrievalError(provider="iam", error_msg="busy"), CONNECTION_FAILED),
    (exceptions.MetadataRetrievalError(error_msg="busy"), CONNECTION_FAILED),
    (exceptions.NoCredentialsError(), NO_CREDENTIALS),
    (exceptions.PartialCredentialsError(provider="env", cred_var="x"), NO_CREDENTIALS),
    (exceptions.TokenRetrievalError(provider="sso", error_msg="expired"), NO_CREDENTIALS),
    (exceptions.UnauthorizedSSOTokenError(), NO_CREDENTIALS),
    (exceptions.NoRegionError(), MISCONFIGURED),
    (exceptions.EndpointProviderError(msg="which one?"), MISCONFIGURED),
]


@pytest.mark.parametrize(("raised", "code"), ERRORS, ids=lambda value: type(value).__name__)
def test_what_botocore_raises(make: Make, raised: Exception, code: str) -> None:
    """Each error of botocore without an answer has the code that tells what to do about it."""
    client = make()

    def fail(**_: Any) -> None:
        raise raised

    client.meta.events.register("before-send.dynamodb", fail)
    error = refusal(client)
    assert (error.code, error.status) == (code, 0)
    assert error.may_pass is (code == CONNECTION_FAILED)
    assert error.__cause__ is raised
    assert str(raised).rstrip(".") in error.message


def test_without_credentials(make: Make) -> None:
    """A client without credentials says so, and how to give it some."""
    error = refusal(make(authorized=False))
    assert (error.code, error.status, error.may_pass) == (NO_CREDENTIALS, 0, False)
    assert "AWS_ACCESS_KEY_ID" in error.message


def test_a_client_that_cannot_find_its_way(make: Make) -> None:
    """A client with settings that botocore cannot use says what to look at."""
    error = refusal(make(signature_version="unheard-of"))
    assert (error.code, error.status) == (MISCONFIGURED, 0)
    assert "region_name" in error.message


def test_a_malformed_request_is_the_callers_mistake(server: ScriptedServer, make: Make) -> None:
    """A request that AWS does not know is no error of AWS; nothing is sent."""
    with pytest.raises(exceptions.ParamValidationError, match="Key"):
        call(make(), "GetItem", {"TableName": "contexts"})
    with pytest.raises(ValueError, match="dynamodb has no operation 'SendMessage'"):
        call(make(), "SendMessage", {})
    assert server.requests == []


def test_a_stubbed_client_can_be_used(make: Make) -> None:
    """botocore's Stubber, which has no connection, works behind the transport."""
    client = make()
    with Stubber(client) as stubber:
        stubber.add_response("get_item", ITEM | {"Item": {"runId": {"S": "r"}}})
        stubber.add_client_error("get_item", "ResourceNotFoundException", "gone", 400)
        assert call(client)["Item"] == {"runId": {"S": "r"}}
        assert refusal(client).code == "ResourceNotFoundException"


# --- threads -------------------------------------------------------------------------------


def test_a_small_pool_of_connections_is_told(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    """A client with fewer connections than the transport has threads gets one warning."""
    client = make(max_pool_connections=3)
    with caplog.at_level(logging.WARNING):
        BotoTransport(client, threads=3)
        assert caplog.records == []
        BotoTransport(client, threads=4)
    (record,) = caplog.records
    assert "max_pool_connections=4" in record.getMessage()


def test_as_many_requests_at_a_time_as_there_are_threads(
    server: ScriptedServer, make: Make
) -> None:
    """Further requests wait in line and are sent in the end."""
    gate = threading.Event()
    server.script(*[answer(ITEM, gate=gate)] * 5)

    async def main() -> list[Answer]:
        transport = BotoTransport(make(), threads=2)
        calls = [asyncio.create_task(transport.call("GetItem", GET)) for _ in range(5)]
        await asyncio.to_thread(server.wait_for_requests, 2)
        assert (len(server.requests), transport.running) == (2, 5)
        gate.set()
        answers = await asyncio.gather(*calls)
        assert await transport.aclose()
        assert transport.running == 0
        return answers

    assert len(asyncio.run(main())) == 5


def test_a_request_that_nobody_waits_for_goes_on(server: ScriptedServer, make: Make) -> None:
    """Of two cancelled calls the one under way ends in its time, the one in line is not begun."""
    gate = threading.Event()
    server.script(answer(ITEM, gate=gate), answer(ITEM))

    async def main() -> None:
        transport = BotoTransport(make(), threads=1)
        begun = asyncio.create_task(transport.call("GetItem", GET))
        await asyncio.to_thread(server.wait_for_requests, 1)
        in_line = asyncio.create_task(transport.call("GetItem", GET))
        await asyncio.sleep(0)
        for task in (begun, in_line):
            task.cancel()
        assert await asyncio.gather(begun, in_line, return_exceptions=True)
        assert transport.running == 2
        closing = asyncio.create_task(transport.aclose())
        await asyncio.sleep(0)
        gate.set()
        assert await closing

    asyncio.run(main())
    assert server.requests == ["GetItem"]


def test_closing_waits_for_so_long(
    server: ScriptedServer, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """A poll is left alone after the time given, and a transport that is closed refuses."""
    gate = threading.Event()
    server.script(answer(ITEM, gate=gate))

    async def main() -> None:
        transport = BotoTransport(make(), threads=1)
        poll = asyncio.create_task(transport.call("GetItem", GET))
        await asyncio.to_thread(server.wait_for_requests, 1)
        assert not await transport.aclose(timeout_seconds=0)
        with pytest.raises(RuntimeError, match="closed"):
            await transport.call("GetItem", GET)
        gate.set()
        assert (await poll)["Item"]
        assert await transport.aclose()

    asyncio.run(main())
    assert "1 requests to dynamodb had not ended after 0 s" in caplog.text


def test_an_answer_after_the_event_loop(server: ScriptedServer, make: Make) -> None:
    """A request whose event loop has ended ends without a complaint, and without its thread's."""
    gate = threading.Event()
    server.script(answer(ITEM, gate=gate))
    transport = BotoTransport(make(), threads=1)

    async def begin() -> None:
        task = asyncio.create_task(transport.call("GetItem", GET))
        await asyncio.to_thread(server.wait_for_requests, 1)
        assert not task.done()

    asyncio.run(begin())
    gate.set()
    assert asyncio.run(transport.aclose())


def test_the_context_goes_along(server: ScriptedServer, make: Make) -> None:
    """A hook of the client sees the context variables of the task that calls, as tracing needs."""
    span: ContextVar[str] = ContextVar("span", default="none")
    seen = []
    client = make()
    client.meta.events.register("before-send.dynamodb", lambda **_: seen.append(span.get()))
    server.script(answer(ITEM))
    span.set("of the task")
    call(client)
    assert seen == ["of the task"]


def test_a_poll_does_not_hold_up_the_end(server: ScriptedServer) -> None:
    """A process ends while a request of it is under way."""
    gate = threading.Event()
    server.script(answer(ITEM, gate=gate))
    program = f"""
import asyncio
from flowcraft.adapters.aws.client import BotoTransport
from tests.emulators import aws

async def main():
    transport = BotoTransport(aws.client("dynamodb", {server.endpoint!r}))
    asyncio.create_task(transport.call("GetItem", {GET!r}))
    await asyncio.sleep(0)
    assert transport.running == 1

asyncio.run(main())
print("done")
"""
    try:
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
        )
    finally:
        gate.set()
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


def test_without_boto3_the_import_says_what_to_do() -> None:
    """Where boto3 is missing, importing the module says how to install it."""
    program = """
import sys
sys.modules["botocore"] = None
try:
    import flowcraft.adapters.aws.client
except ImportError as error:
    print(error)
"""
    told = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert 'pip install "flowcraft-sqs[aws]"' in told.stdout
