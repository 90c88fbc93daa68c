"""Requests through a user's own boto3 client, each in a thread.

boto3 blocks, so every request occupies a thread until its answer is there. The threads belong to
the transport, and their number bounds how many requests are under way: whoever shares a transport
between long polls and anything else waits for the polls.

This is the only module that knows botocore. What it knows beyond the calls: how errors look, and
that an answer which was cut off on its way is taken for an empty one.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import zlib
from collections.abc import Callable, Mapping
from contextvars import copy_context
from functools import partial
from typing import Any, Final, NoReturn

from flowcraft.adapters.aws.failures import Resource, translated
from flowcraft.adapters.aws.threads import Job, Threads
from flowcraft.adapters.aws.transport import CONNECTION_FAILED, Answer, AwsError, Request

try:
    import boto3
    from botocore import exceptions as botocore_errors
    from botocore.config import Config
    from botocore.parsers import ResponseParserError
except ImportError as missing:
    raise ImportError(
        "SQS and DynamoDB are reached through boto3, which is not installed here. "
        'Install it with: pip install "flowcraft-sqs[aws]"'
    ) from missing

logger = logging.getLogger("flowcraft")

NO_CREDENTIALS: Final = "NoCredentials"
"""The code of an error that a client without (valid) credentials gives; nothing was sent."""

CHECKSUM_MISMATCH: Final = "ChecksumMismatch"
"""The code of an error for an object of S3 that is not what its checksum says."""

MISCONFIGURED: Final = "ClientMisconfigured"
"""The code of an error of a client that does not know where or how to send; nothing was sent."""

THREADS: Final = 10
"""Requests at a time unless the caller says otherwise; boto3 keeps as many connections."""

DRAIN_SECONDS: Final = 25.0
"""How long :meth:`BotoTransport.aclose` waits: more than the longest poll, which takes 20 s."""


class BotoTransport:
    """Carries out requests through a boto3 client (see ``transport.Transport``).

    Endpoint, region, credentials, timeouts and retries are the client's. One transport may be
    used by several event loops.

    Args:
        client: A low-level client, ``boto3.client("sqs")`` or ``boto3.client("dynamodb")``.
        threads: How many requests may be under way at a time; further ones wait in line.
    """

    def __init__(self, client: Any, threads: int = THREADS) -> None:
        self._client = client
        self._service: str = client.meta.service_model.service_id.hyphenize()
        self._names = {api: name for name, api in client.meta.method_to_api_mapping.items()}
        self._threads = Threads(threads, f"flowcraft-{self._service}")
        self._closed = False
        self._warn_of_few_connections(threads)
        # The id makes it one check for all transports of a client.
        client.meta.events.register(
            f"after-call.{self._service}", _check_answer, unique_id="flowcraft-whole-answers"
        )
        client.meta.events.register(
            f"before-parse.{self._service}", _check_head, unique_id="flowcraft-whole-heads"
        )

    @property
    def read_timeout_seconds(self) -> float:
        """How long the client waits for an answer; a long poll has to be shorter."""
        return float(self._client.meta.config.read_timeout)

    @property
    def running(self) -> int:
        """Requests under way or in line, those included that nobody waits for any more."""
        return self._threads.unfinished

    async def call(self, operation: str, request: Request) -> Answer:
        """Carry out a request in a thread.

        A request whose waiting task is cancelled goes on if it was begun: what AWS does about it
        cannot be undone, and an abandoned poll would swallow messages. One that is still in line
        is left out.

        Args:
            operation: Its name as AWS has it, such as ``UpdateItem``.
            request: Its parameters, as boto3 takes them.

        Returns:
            The answer, as boto3 gives it.

        Raises:
            AwsError: It was refused, or there was no answer, or none that is whole.
            botocore.exceptions.ParamValidationError: The request is malformed.
            ValueError: The client's service has no such operation.
            RuntimeError: The transport is closed.
        """
        if self._closed:
            raise RuntimeError(f"{operation} was called on a transport that is closed")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[tuple[Any, BaseException | None]] = loop.create_future()
        function = partial(copy_context().run, _carry_out, self._method(operation), request)
        job = Job(function, partial(_tell, loop, future, operation))
        self._threads.start(job)
        try:
            answer, error = await future
        except asyncio.CancelledError:
            job.is_wanted = False
            raise
        if error is not None:
            _raise(error, operation)
        return answer  # type: ignore[no-any-return]

    async def aclose(self, timeout_seconds: float = DRAIN_SECONDS) -> bool:
        """Take no further requests, and wait for those under way.

        Long polls are left to run out: a message that is sent to a poll which its receiver has
        given up is hidden until its visibility ends.

        Args:
            timeout_seconds: How long to wait. The threads of requests that take longer are left
                alone; they do not keep the process from ending.

        Returns:
            Whether everything has ended.
        """
        self._closed = True
        loop = asyncio.get_running_loop()
        idle = loop.create_future()
        self._threads.close(partial(_tell, loop, idle, "aclose", None, None))
        try:
            async with asyncio.timeout(timeout_seconds):
                await idle
        except TimeoutError:
            logger.warning(
                "%d requests to %s had not ended after %g s and were left alone",
                *(self.running, self._service, timeout_seconds),
            )
            return False
        return True

    def _method(self, operation: str) -> Callable[..., Any]:
        name = self._names.get(operation)
        if name is None:
            raise ValueError(f"The service {self._service} has no operation {operation!r}")
        method: Callable[..., Any] = getattr(self._client, name)
        return method

    def _warn_of_few_connections(self, threads: int) -> None:
        connections = self._client.meta.config.max_pool_connections
        if connections < threads:
            logger.warning(
                "The %s client keeps %d connections for up to %d requests at a time, so that some "
                "connect anew each time. Make it with config=botocore.config.Config("
                "max_pool_connections=%d)",
                *(self._service, connections, threads, threads),
            )


def _tell(
    loop: asyncio.AbstractEventLoop,
    future: asyncio.Future[tuple[Any, BaseException | None]],
    operation: str,
    answer: Any,
    error: BaseException | None,
) -> None:
    """From a thread: settle what a task waits for, if it still does."""

    def settle() -> None:
        if not future.done():
            future.set_result((answer, error))
        elif error is not None:
            logger.debug("%s failed when nobody waited for it any more: %s", operation, error)

    try:
        loop.call_soon_threadsafe(settle)
    except RuntimeError:
        logger.debug("The event loop ended before %s did", operation)


# --- answers that are not whole ------------------------------------------------------------


class _Incomplete(Exception):
    """The body of an answer is not the one that was sent."""


class _Watched(threading.local):
    """Whether this thread is carrying out a request of ours.

    The check is registered with a client that is the user's: what else he does with it stays as
    it was.
    """

    is_ours = False


_watched = _Watched()


def _carry_out(method: Callable[..., Any], request: Request) -> Any:
    _watched.is_ours = True
    try:
        answer = method(**request)
        body = answer.get("Body")
        if hasattr(body, "read"):
            # Of S3: it comes while it is read, which is for this thread to wait for.
            with body:
                answer["Body"] = body.read()
        return answer
    finally:
        _watched.is_ours = False


def _check_answer(http_response: Any, model: Any, **_: Any) -> None:
    """After the last try of a request: refuse a body that was cut off or damaged.

    botocore reads a body without looking at ``Content-Length`` and takes JSON that it cannot read
    for an empty answer: of messages that were received, or an item that is there, nothing would
    be left, without an error. A head that ends early it takes for one with fewer headers, while
    AWS always says how long a body is. The checksum of DynamoDB it does compare, but it gives
    out the answer all the same when its retries are used up.
    """
    if not _watched.is_ours or http_response.raw is None or model.http.get("method") == "HEAD":
        return
    status = http_response.status_code
    headers = http_response.headers
    length, checksum = _number(headers, "content-length"), _number(headers, "x-amz-crc32")
    has_length = length is not None or "transfer-encoding" in headers
    if model.has_streaming_output and status < 300:
        # It is read later, and compared with its length then.
        if not has_length:
            http_response.raw.close()
            raise _Incomplete("the answer ends in its head")
        return
    body = http_response.content
    if length is not None and length != len(body):
        raise _Incomplete(f"the answer has {len(body)} of {length} bytes")
    if checksum is not None and checksum != zlib.crc32(body):
        raise _Incomplete(f"the answer of {len(body)} bytes does not match its checksum")
    is_json = _protocol(model) == "json"
    if not body and not has_length and (is_json or status >= 400):
        raise _Incomplete("the answer ends in its head")
    if status < 300 and body and is_json:
        text = body.strip()
        if not (text.startswith(b"{") and text.endswith(b"}")):
            raise _Incomplete(f"the answer of {len(body)} bytes is not a JSON object")


def _check_head(response_dict: Mapping[str, Any], **_: Any) -> None:
    """Before an answer is read: refuse a head with numbers that botocore could not read either."""
    if not _watched.is_ours:
        return
    try:
        for name in ("content-length", "x-amz-crc32"):
            _number(response_dict["headers"], name)
    except _Incomplete:
        if hasattr(response_dict["body"], "close"):
            response_dict["body"].close()
        raise


def _number(headers: Mapping[str, str], name: str) -> int | None:
    """A number of the head; ``None`` where it is not there."""
    text = headers.get(name)
    if text is None:
        return None
    try:
        return int(text)
    except ValueError:
        raise _Incomplete(f"the head of the answer ends within its {name}") from None


def _protocol(model: Any) -> str:
    service = model.service_model
    return str(getattr(service, "resolved_protocol", None) or service.metadata["protocol"])


# --- errors --------------------------------------------------------------------------------

# Without an answer; whether the request was carried out is not known for most of them. Fetching
# credentials anew is a request, too, that may fail now and succeed a little later.
_NO_ANSWER = (
    botocore_errors.HTTPClientError,
    botocore_errors.ConnectionError,
    botocore_errors.IncompleteReadError,
    botocore_errors.ChecksumError,
    botocore_errors.CredentialRetrievalError,
    botocore_errors.MetadataRetrievalError,
    ResponseParserError,
    _Incomplete,
)
_UNAUTHENTICATED = (
    botocore_errors.NoCredentialsError,
    botocore_errors.PartialCredentialsError,
    botocore_errors.NoAuthTokenError,
    botocore_errors.TokenRetrievalError,
    botocore_errors.SSOError,
    # Newer than the oldest boto3 that is meant to work.
    getattr(botocore_errors, "LoginError", botocore_errors.SSOError),
)
# Requests that are not what AWS asks for: the caller's mistake, which nothing here can mend.
_MALFORMED = (botocore_errors.ParamValidationError, botocore_errors.ValidationError)

# SQS has two names for some errors: that of its JSON protocol and the one from before, which it
# sends along and boto3 gives. Servers that do not send it along leave the other one.
_OTHER_NAMES: Final = {
    "QueueDoesNotExist": "NonExistentQueue",
    "QueueNameExists": "QueueAlreadyExists",
}


def plain_code(code: str) -> str:
    """The code of an error alone: ``NonExistentQueue`` of ``AWS.SimpleQueueService.Non…``.

    Args:
        code: As boto3 gives it, with or without what some protocols put before it.
    """
    name = code.rpartition("#")[2].rpartition(".")[2] or code
    return _OTHER_NAMES.get(name, name)


def _raise(error: BaseException, operation: str) -> NoReturn:
    """Raise what the caller is to see of an error."""
    match error:
        case botocore_errors.ClientError():
            raise _refused(error.response, operation) from error
        case botocore_errors.FlexibleChecksumError():
            raise AwsError(
                CHECKSUM_MISMATCH, str(error), operation=operation, status=200
            ) from error
        case _ if isinstance(error, _NO_ANSWER):
            raise AwsError(CONNECTION_FAILED, str(error), operation=operation, status=0) from error
        case _ if isinstance(error, _UNAUTHENTICATED):
            cure = (
                "Give the boto3 client credentials: a role of the machine, task or function, the "
                "variables AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile"
            )
            raise AwsError(
                NO_CREDENTIALS, f"{_sentence(error)} {cure}", operation=operation, status=0
            ) from error
        case botocore_errors.BotoCoreError() if not isinstance(error, _MALFORMED):
            cure = (
                "Look at how the boto3 client was made: region_name (or AWS_DEFAULT_REGION), "
                "endpoint_url and config"
            )
            raise AwsError(
                MISCONFIGURED, f"{_sentence(error)} {cure}", operation=operation, status=0
            ) from error
        case _:
            raise error


def _refused(response: dict[str, Any], operation: str) -> AwsError:
    """The error that an answer of AWS tells of."""
    told = response.get("Error", {})
    return AwsError(
        plain_code(str(told.get("Code") or "Unknown")),
        str(told.get("Message") or ""),
        operation=operation,
        status=response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400),
        answer={name: value for name, value in response.items() if name != "Error"},
    )


def _sentence(error: BaseException) -> str:
    return f"{str(error).rstrip('. ')}."


# --- for commands and functions, which are given no clients --------------------------------


def make_client(
    service: str,
    *,
    region: str | None = None,
    profile: str | None = None,
    endpoint_url: str | None = None,
    connections: int = THREADS,
) -> Any:
    """A boto3 client as whoever configures boto3 itself would make it.

    Args:
        service: Such as ``sqs``.
        region: Where; by default ``AWS_REGION``, then what AWS's own configuration says.
        profile: Of that configuration.
        endpoint_url: Another address: an emulator's.
        connections: Requests at a time.

    Raises:
        ValueError: There is no such profile, or no region; the message says what to do.
    """
    try:
        # AWS's own tools take this variable first; boto3 knows only AWS_DEFAULT_REGION.
        region = region or os.environ.get("AWS_REGION")
        session = boto3.session.Session(profile_name=profile, region_name=region)
        return session.client(
            service, endpoint_url=endpoint_url, config=Config(max_pool_connections=connections)
        )
    except botocore_errors.ProfileNotFound as error:
        raise ValueError(
            f"AWS's configuration has no profile '{profile}'; see 'aws configure list-profiles'."
        ) from error
    except botocore_errors.NoRegionError as error:
        raise ValueError(
            "No region of AWS is known. Name one: --region, aws.region in flowcraft.toml, "
            "AWS_REGION, or that of a profile."
        ) from error
    except (botocore_errors.BotoCoreError, ValueError) as error:
        raise ValueError(f"No client of {service} can be made: {_sentence(error)}") from error


def queue_url_of(client: Any, name: str) -> str:
    """The URL of a queue by its name.

    Args:
        client: ``boto3.client("sqs")``.
        name: The queue's.

    Raises:
        StorageUnavailable: There is none, or it may not be asked for.
        StorageError: There was no answer, or another that is none.
    """
    try:
        return str(client.get_queue_url(QueueName=name)["QueueUrl"])
    except Exception as error:
        try:
            _raise(error, "GetQueueUrl")
        except AwsError as refused:
            raise translated(refused, Resource("queue", name)) from error
        raise
