"""The proxy of chaos campaigns: what clients get, and what the service behind it has seen."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest

from flowcraft.adapters.aws.client import BotoTransport
from flowcraft.adapters.aws.transport import CONNECTION_FAILED, AwsError
from tests.acceptance.chaos import faults
from tests.acceptance.chaos.faults import NO_HARM, Fate, Fault, Lots
from tests.acceptance.chaos.proxy import Message, Proxy, read_message, seeded
from tests.emulators.aws import client
from tests.unit.runs import drive

BODY = json.dumps({"text": "as it is"}).encode()
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)


class Service:
    """What is behind the proxy: it notes what it is asked, and always says the same."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.connections = 0
        self.heard = asyncio.Event()
        self.tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of a connection."""
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        self.connections += 1
        try:
            while (request := await read_message(reader)) is not None:
                self.asked.append(request.body.decode())
                self.heard.set()
                writer.write(ANSWER)
                await writer.drain()
        except ConnectionError:
            pass  # nobody waits for the answer any more
        finally:
            writer.close()


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[Service, str]]:
    """A service, and its endpoint."""
    service = Service()
    server = await asyncio.start_server(service.serve, "127.0.0.1", 0)
    try:
        yield service, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await asyncio.gather(*service.tasks)


class Caller:
    """A client with one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def ask(self, body: str, path: str = "/") -> None:
        """Send a request."""
        head = f"POST {path} HTTP/1.1\r\nX-Amz-Target: DynamoDB_20120810.PutItem\r\n"
        self.writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        await self.writer.drain()

    async def hear(self) -> Message | None:
        """An answer; ``None`` where the connection was closed."""
        return await read_message(self.reader)


@asynccontextmanager
async def calling(proxy: Proxy) -> AsyncIterator[Caller]:
    """A client of a proxy."""
    address = urlsplit(proxy.endpoint)
    caller = Caller(*await asyncio.open_connection(address.hostname, address.port))
    try:
        yield caller
    finally:
        caller.writer.close()


def always(fate: Fate) -> Callable[[], Fate]:
    """The same becomes of every request."""
    return lambda: fate


def test_requests_go_through_as_they_are() -> None:
    """Without a fault, requests of a connection are answered in turn, over one to the service."""

    async def work() -> None:
        async with serving() as (service, upstream):
            proxy = Proxy(upstream, always(NO_HARM))
            async with proxy.serving(), calling(proxy) as caller:
                for body in ("one", "two"):
                    await caller.ask(body)
                    answer = await caller.hear()
                    assert answer is not None
                    assert answer.data == ANSWER
            assert (service.asked, service.connections) == (["one", "two"], 1)
            assert (proxy.requests, proxy.faults) == (2, Counter())

    drive(work())


@pytest.mark.parametrize(
    ("fault", "status", "is_carried_out"),
    [
        (Fault.THROTTLED, 400, False),
        (Fault.ERROR_BEFORE, 500, False),
        (Fault.ERROR_AFTER, 500, True),
        (Fault.UNAVAILABLE, 503, False),
        (Fault.LATE, 200, True),
        (Fault.DROPPED_BEFORE, None, False),
        (Fault.DROPPED_AFTER, None, True),
        (Fault.SILENT, None, True),
    ],
)
def test_each_fault_does_what_it_says(
    fault: Fault, status: int | None, is_carried_out: bool
) -> None:
    """The client gets an error, an answer or none, and the service has or has not been asked."""

    async def work() -> None:
        async with serving() as (service, upstream):
            proxy = Proxy(upstream, always(Fate(fault, seconds=0.001)))
            async with proxy.serving(), calling(proxy) as caller:
                await caller.ask("please")
                answer = await caller.hear()
            found = None if answer is None else int(answer.first.split()[1])
            assert found == status
            assert service.asked == (["please"] if is_carried_out else [])
            assert proxy.faults == {fault: 1}

    drive(work())


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_an_answer_that_is_cut_off_is_never_whole(share: float) -> None:
    """A part of the answer comes, at least a byte and never all, and the connection is closed."""

    async def work() -> None:
        async with serving() as (service, upstream):
            proxy = Proxy(upstream, always(Fate(Fault.CUT, share=share)))
            async with proxy.serving(), calling(proxy) as caller:
                await caller.ask("please")
                data = await caller.reader.read()
            assert ANSWER.startswith(data)
            assert 0 < len(data) < len(ANSWER)
            assert service.asked == ["please"]

    drive(work())


def test_a_client_that_leaves_does_not_take_its_request_along() -> None:
    """What was passed on is carried out, also if nobody waits for the answer any more."""

    async def work() -> None:
        async with serving() as (service, upstream):
            proxy = Proxy(upstream, always(NO_HARM))
            async with proxy.serving():
                async with calling(proxy) as caller:
                    await caller.ask("please")
                await service.heard.wait()
            assert service.asked == ["please"]

    drive(work())


def test_it_harms_nothing_until_it_is_told_to() -> None:
    """The share of faults is set, and their number told, over the connection that is there."""

    async def work() -> None:
        async with serving() as (service, upstream):
            proxy = seeded(upstream, seed=1)
            async with proxy.serving(), calling(proxy) as caller:
                for body in ("one", "two"):
                    await caller.ask(body)
                    assert await caller.hear() is not None
                await caller.ask("1.0", "/-chaos/share")
                told = await caller.hear()
                assert told is not None
                assert json.loads(told.body) == {"requests": 2, "faults": {}}
                await caller.ask("three")
                await caller.hear()
            assert service.asked[:2] == ["one", "two"]
            assert proxy.faults.total() == 1

    drive(work())


def test_a_seed_decides_what_becomes_of_each_request() -> None:
    """The same seed draws the same, another one does not, and all kinds come up in their share."""
    drawn = [[Lots(seed, 0.05).draw] * 4000 for seed in (1, 1, 2)]
    first, again, other = ([draw() for draw in each] for each in drawn)
    assert first == again
    assert first != other
    kinds = Counter(fate.fault for fate in first)
    assert set(kinds) == {None, *Fault}
    assert 150 < 4000 - kinds[None] < 250
    assert all(0 < fate.share < 1 for fate in first)


@pytest.mark.parametrize("service", ["dynamodb", "sqs"])
@pytest.mark.parametrize("fault", [Fault.THROTTLED, Fault.ERROR_BEFORE, Fault.UNAVAILABLE])
def test_boto3_takes_refusals_for_those_of_the_service(service: str, fault: Fault) -> None:
    """Refused requests are throttled, or trouble that may pass, to whoever calls through boto3."""
    error = refused(service, Fate(fault))
    assert error.may_pass
    assert error.is_throttling is (fault is Fault.THROTTLED)
    assert error.status == {Fault.THROTTLED: 400, Fault.ERROR_BEFORE: 500}.get(fault, 503)


@pytest.mark.parametrize("service", ["dynamodb", "sqs"])
@pytest.mark.parametrize("share", [0.05, 0.9])
def test_boto3_does_not_take_half_an_answer_for_one(service: str, share: float) -> None:
    """An answer that is cut off in its head, or in its body, is no answer."""
    assert refused(service, Fate(Fault.CUT, share=share)).code == CONNECTION_FAILED


def refused(service: str, fate: Fate) -> AwsError:
    """What a request through boto3 comes to."""
    operation, request = {
        "dynamodb": ("DescribeTable", {"TableName": "table"}),
        "sqs": ("GetQueueUrl", {"QueueName": "queue"}),
    }[service]

    async def work() -> AwsError:
        async with serving() as (_, upstream):
            proxy = Proxy(upstream, always(fate))
            async with proxy.serving():
                boto = client(service, proxy.endpoint)
                transport = BotoTransport(boto)
                try:
                    with pytest.raises(AwsError) as raised:
                        await transport.call(operation, request)
                finally:
                    await transport.aclose()
                    boto.close()
                return raised.value

    return drive(work())


def test_both_ways_of_dynamodb_to_throttle_come_up() -> None:
    """It has one error for a table with too many requests, and one for an account."""
    answers = [faults.refusal(Fault.THROTTLED, "DynamoDB_20120810.X", each) for each in (0.1, 0.9)]
    assert b"#ThrottlingException" in answers[0]
    assert b"#ProvisionedThroughputExceededException" in answers[1]
