"""Functions of AWS Lambda that work on the messages of a queue.

Lambda receives the messages, calls the function with a batch of them, and deletes those that the
answer does not name as failed. Between two calls it freezes the process: so a call leaves nothing
going, no heartbeat and no node, and keeps what may be kept, connections and what is known of runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from flowcraft.adapters.aws.queue import TRACE
from flowcraft.adapters.aws.threads import rest
from flowcraft.errors import FlowcraftError

T = TypeVar("T")

DEFAULT_MARGIN_SECONDS: Final = 5.0
"""How long before its deadline a function begins nothing new."""

MOST_MARGIN: Final = 0.5
"""The share of its time that the margin is at most."""

DRAIN_SHARE: Final = 0.5
"""The share of the margin in which nodes may still end."""

HAND_BACK_SHARE: Final = 0.4
"""The share in which those that do not are stopped and handed back; the answer has the rest."""

SOURCE: Final = "aws:sqs"


class Context(Protocol):
    """What Lambda says of a call."""

    def get_remaining_time_in_millis(self) -> int:
        """How long the function may still take."""
        ...


class Record(NamedTuple):
    """A message of an event, and the span that it was sent from."""

    id: str
    body: str
    trace: str | None = None


class Jobs(Protocol):
    """Who works on messages."""

    async def handle_jobs(
        self,
        jobs: Sequence[str],
        *,
        seconds: float,
        drain_seconds: float,
        hand_back_seconds: float,
        traces: Sequence[str | None],
    ) -> list[bool]:
        """Work on messages; tells which of them may be deleted."""
        ...


class Loop:
    """An event loop that is kept from call to call, since what was opened in it is."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop."""
        if self._loop is None or self._loop.is_closed():
            self._loop = asyncio.new_event_loop()
        return self._loop

    def run(self, work: Awaitable[T]) -> T:
        """Do some work in it."""
        return self.loop.run_until_complete(_awaited(work))

    def close(self) -> None:
        """End it."""
        if self._loop is not None:
            self._loop.close()


async def _awaited(work: Awaitable[T]) -> T:
    return await work


class LambdaHandler:
    """A function for an event source mapping of a queue; ``flowcraft.aws.lambda_handler`` makes it.

    Args:
        jobs: Works on the messages.
        queue_name: The queue that they have to be of.
        margin_seconds: How long before the deadline nothing new begins.
    """

    def __init__(
        self, jobs: Jobs, queue_name: str, margin_seconds: float = DEFAULT_MARGIN_SECONDS
    ) -> None:
        if not 0 < margin_seconds < 900:
            raise ValueError(
                "margin_seconds is more than 0, and less than 900, the longest that a function "
                f"runs, not {margin_seconds!r}."
            )
        self._jobs = jobs
        self._queue_name = queue_name
        self._margin_seconds = margin_seconds
        self._loop = Loop()

    def __call__(self, event: Any, context: Context) -> dict[str, Any]:
        """Work on a batch of messages.

        Returns:
            ``{"batchItemFailures": [{"itemIdentifier": message id}, …]}``: those that have to be
            delivered again. The event source mapping needs ``ReportBatchItemFailures``.

        Raises:
            ValueError: The event is none of SQS, or of another queue. No message is lost: Lambda
                delivers all of them again.
            StorageError: Queue or tables cannot be used. The same.
            FlowcraftError: It was called in an event loop.
            TypeError: The context is none of Lambda.
        """
        _check_no_loop("await adapter.handle_job(body)")
        try:
            return self._loop.run(self.answer(event, context))
        finally:
            rest()

    async def answer(self, event: Any, context: Context) -> dict[str, Any]:
        """The same for an event loop that runs already: that of a simulation."""
        records = records_of(event, self._queue_name)
        left = _seconds_left(context)
        margin = min(self._margin_seconds, left * MOST_MARGIN)
        is_done = await self._jobs.handle_jobs(
            [record.body for record in records],
            seconds=left - margin,
            drain_seconds=margin * DRAIN_SHARE,
            hand_back_seconds=margin * HAND_BACK_SHARE,
            traces=[record.trace for record in records],
        )
        failed = [each.id for each, done in zip(records, is_done, strict=True) if not done]
        return {"batchItemFailures": [{"itemIdentifier": id_} for id_ in failed]}

    def close(self) -> None:
        """End the event loop; for tests."""
        self._loop.close()


def _check_no_loop(instead: str) -> None:
    """See that no event loop is running in this thread, which the call would stop.

    Raises:
        FlowcraftError: There is one.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise FlowcraftError(
        f"A handler of Lambda was called inside a running event loop; use '{instead}' there."
    )


def _seconds_left(context: Context) -> float:
    """How long a call may still take.

    Raises:
        TypeError: What it is called with does not tell.
    """
    if not hasattr(context, "get_remaining_time_in_millis"):
        raise TypeError(
            "The context of the call has no get_remaining_time_in_millis(): pass on what Lambda "
            f"gives, or in a test an object that has it, not {context!r}."
        )
    return context.get_remaining_time_in_millis() / 1000


def records_of(event: Any, queue_name: str) -> list[Record]:
    """The messages of an event.

    Raises:
        ValueError: It is no event of SQS, or of another queue.
    """
    records = event.get("Records") if isinstance(event, Mapping) else None
    if not isinstance(records, Sequence) or isinstance(records, str):
        raise ValueError(
            "The event has no list 'Records': this function is for the messages of an SQS queue, "
            "which an event source mapping calls it with."
        )
    return [_record(place, each, queue_name) for place, each in enumerate(records)]


def _record(place: int, data: Any, queue_name: str) -> Record:
    where = f"Records[{place}]"
    if not isinstance(data, Mapping):
        raise ValueError(f"{where} of the event is no object.")
    source = data.get("eventSource")
    if source != SOURCE:
        raise ValueError(f"{where}.eventSource of the event is {source!r}, not '{SOURCE}'.")
    for name in ("messageId", "body", "eventSourceARN"):
        if not isinstance(data.get(name), str):
            raise ValueError(f"{where}.{name} of the event is no text, but {data.get(name)!r}.")
    other = str(data["eventSourceARN"]).rsplit(":", 1)[-1]
    if other != queue_name:
        raise ValueError(
            f"{where} of the event is of the queue '{other}', and the adapter's is "
            f"'{queue_name}': what follows would be sent there. Give the adapter the URL of the "
            "queue that the event source mapping reads."
        )
    return Record(str(data["messageId"]), str(data["body"]), _trace(data.get("messageAttributes")))


def _trace(attributes: Any) -> str | None:
    """What the attributes of a message say of the span that it was sent from."""
    said = attributes.get(TRACE) if isinstance(attributes, Mapping) else None
    text = said.get("stringValue") if isinstance(said, Mapping) else None
    return text if isinstance(text, str) else None


class ReconcilerHandler:
    """A function that a schedule calls; ``flowcraft.aws.reconciler_handler`` makes it.

    Args:
        look: Looks for stuck runs, and tells what came of it.
    """

    def __init__(self, look: Callable[[], Awaitable[dict[str, Any]]]) -> None:
        self._look = look
        self._loop = Loop()

    def __call__(self, _event: Any, context: Context) -> dict[str, Any]:
        """Look once, whatever the event is; gives how many runs were looked at, stuck and so on.

        Raises:
            FlowcraftError: The look was not done before the deadline; the next one begins anew.
            StorageError: A table cannot be used.
        """
        _check_no_loop("await reconciler.run()")
        try:
            return self._loop.run(self.answer(context))
        finally:
            rest()

    async def answer(self, context: Context) -> dict[str, Any]:
        """The same for an event loop that runs already: that of a simulation."""
        left = _seconds_left(context)
        margin = min(DEFAULT_MARGIN_SECONDS, left * MOST_MARGIN)
        return await self._within(left - margin)

    async def _within(self, seconds: float) -> dict[str, Any]:
        try:
            async with asyncio.timeout(seconds):
                await asyncio.sleep(0)
                return await self._look()
        except TimeoutError as error:
            raise FlowcraftError(
                f"Not all runs could be looked at in {seconds:.0f} s. Give the function more time, "
                "the status table an index, or the adapter more scan_segments."
            ) from error

    def close(self) -> None:
        """End the event loop; for tests."""
        self._loop.close()
