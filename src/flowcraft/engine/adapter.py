"""A durable backend as users meet it: a worker and a client on the same queue and stores."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self

from flowcraft.engine.arguments import check_options, in_event_loop
from flowcraft.engine.client import LONGEST_LOOK_SECONDS, FlowClient
from flowcraft.engine.jobs import UnreadableJob
from flowcraft.engine.options import RuntimeOptions
from flowcraft.engine.schedule_options import DeclaredSchedule
from flowcraft.engine.serving import serve
from flowcraft.engine.shards import SHARD_ITEMS
from flowcraft.engine.threads import rest
from flowcraft.engine.trouble import log_trouble
from flowcraft.engine.worker import Worker
from flowcraft.errors import FlowcraftError
from flowcraft.ports.clock import Clock, Identifiers
from flowcraft.ports.codec import AnyCodec
from flowcraft.ports.telemetry import Telemetry
from flowcraft.ports.together import OpenPorts

logger = logging.getLogger("flowcraft.worker")

TRACE_SHARE: Final = 6
"""Of the time to hand back, a part of so many is left for the trace of the worker, if it is due."""

_FOR_TESTS: Final = ("clock", "heartbeat", "identifiers", "longest_look_seconds")


class Adapter(FlowClient):
    """Runs nodes, and starts and steers runs.

    Args:
        open_ports: Opens queue and stores.
        runtime_options: ``FlowRuntime.options``: implementations, blueprints and the rest.
        clock: The time.
        identifiers: Where fresh ids come from.
        longest_look_seconds: Between two looks at a run that somebody waits for.
        shard_items: Batches of more items than this are cut into records of so many each.
        codec: Encodes payloads before they are stored; all that work on the same runs have it.
        telemetry: Is told what is counted and timed.
        schedules: Schedules that are to be there once it starts; see ``schedules.declare``.
        worker_options: What :class:`Worker` takes: ``concurrency``, ``lease_seconds``,
            ``drain_timeout_seconds`` and so on.
    """

    def __init__(
        self,
        open_ports: OpenPorts,
        runtime_options: RuntimeOptions,
        *,
        clock: Clock,
        identifiers: Identifiers,
        longest_look_seconds: float = LONGEST_LOOK_SECONDS,
        shard_items: int = SHARD_ITEMS,
        codec: AnyCodec | None = None,
        telemetry: Telemetry | None = None,
        schedules: Sequence[DeclaredSchedule] = (),
        **worker_options: Any,
    ) -> None:
        super().__init__(
            open_ports,
            runtime_options,
            clock=clock,
            identifiers=identifiers,
            longest_look_seconds=longest_look_seconds,
            shard_items=shard_items,
            codec=codec,
            telemetry=telemetry,
        )
        takers = (type(self).__init__, Adapter.__init__, Worker.__init__)
        check_options(type(self).__name__, worker_options, *takers, untold=_FOR_TESTS)
        self._declared = tuple(schedules)
        self._worker_options = worker_options
        self._worker: Worker | None = None
        self._new_worker()  # what is wrong with the options is said now

    @property
    def worker(self) -> Worker | None:
        """The worker, once it was started."""
        return self._worker

    async def start(self) -> None:
        """Begin to work; returns once the queue is being polled."""
        if self._worker is not None and self._worker.is_polling:
            return
        worker = self._worker = self._worker or self._new_worker()
        try:
            await self._declare()
            await worker.start()
        except BaseException:
            self._worker = None  # to be started again, once what was wrong has been mended
            await worker.stop()
            raise

    async def handle_job(self, job: str | Mapping[str, Any]) -> bool:
        """Work on one message that was received elsewhere: in a function of AWS Lambda, say.

        The adapter need not be started; it is ready for more until :meth:`stop`.

        Args:
            job: The body of the message, as text or as the JSON data that it is.

        Returns:
            Whether nothing depends on the message any more: then it is to be deleted. Otherwise
            it is to be delivered again.

        Raises:
            UnreadableJob: It is no message of this package.
            StorageError: Queue or stores cannot be used.
        """
        if self._worker is None:
            self._worker = self._new_worker()
        await self._worker.open()
        return await self._worker.handle_job(job if isinstance(job, str) else json.dumps(job))

    async def handle_jobs(
        self,
        jobs: Sequence[str],
        *,
        seconds: float,
        drain_seconds: float = 0.0,
        hand_back_seconds: float = 5.0,
        traces: Sequence[str | None] | None = None,
    ) -> list[bool]:
        """Work on messages that were received elsewhere, for a time, and leave nothing going.

        When the time is over nothing new begins: what follows, and what has not begun, is sent
        for others. Nodes that run then have ``drain_seconds`` to end; those that do not are
        handed back, and the next attempt begins anew.

        Args:
            jobs: The bodies of the messages.
            seconds: How long they may be worked on.
            drain_seconds: How long nodes may take to end after that.
            hand_back_seconds: How long those may take to stop that have not ended then.
            traces: Of each message the span that it was sent from (its attribute
                ``traceparent``), if it says so.

        Returns:
            Of each message whether nothing depends on it any more, as :meth:`handle_job` says. One
            that cannot be read, or whose node does not let itself be stopped, has to be delivered
            again, and is logged.

        Raises:
            StorageError: Queue or stores cannot be used.
        """
        if self._worker is None:
            self._worker = self._new_worker()
        worker = self._worker
        await worker.open()
        hands, is_over = asyncio.Semaphore(worker.concurrency), seconds <= 0

        async def work(job: str, trace: str | None) -> bool:
            async with hands:
                return await (worker.send_back(job) if is_over else worker.handle_job(job, trace))

        seen = asyncio.ensure_future(worker.duties.be_seen(worker.station))
        said = traces or [None] * len(jobs)
        tasks = [asyncio.ensure_future(work(*each)) for each in zip(jobs, said, strict=True)]
        try:
            if tasks and not is_over:
                await asyncio.wait(tasks, timeout=seconds)
        finally:
            is_over = True
            await worker.rest(drain_seconds, hand_back_seconds, tasks)
            await asyncio.wait([seen], timeout=hand_back_seconds / TRACE_SHARE)
            seen.cancel()  # nothing is left going
            await asyncio.gather(seen, return_exceptions=True)
            rest()
        outcomes = await asyncio.gather(
            *(task for task in tasks if task.done()), return_exceptions=True
        )
        for outcome in outcomes:
            if isinstance(outcome, UnreadableJob):
                logger.error("A message is left on the queue: %s", outcome)
            elif isinstance(outcome, BaseException):
                log_trouble(logger, outcome, "A message comes again")
        return [_is_done(task) for task in tasks]

    async def stop(self) -> None:
        """Drain: take no more messages, let nodes finish or hand back what does not in time."""
        worker, self._worker = self._worker, None
        if worker is not None:
            await worker.stop()
        await self.aclose()

    def run(self) -> None:
        """Be a worker process: work until SIGTERM or SIGINT, then drain.

        Raises:
            StorageError: Queue or stores cannot be used: at once where only somebody can mend
                that, otherwise after as long as a lease.
        """
        if in_event_loop():
            raise FlowcraftError(
                "run() is for a process of its own, and was called inside a running event loop; "
                "use 'await adapter.start()' there."
            )
        if threading.current_thread() is not threading.main_thread():
            raise FlowcraftError(
                "run() stops at a signal, which only the main thread of a process hears of, and "
                "was called in another; use 'await adapter.start()' in an event loop there."
            )
        asyncio.run(self._be_worker())

    async def _be_worker(self) -> None:
        async def prepare() -> None:
            try:
                await self._declare()
            finally:
                await self.aclose()

        await serve(self._new_worker(), prepare, self._clock)

    async def _declare(self) -> None:
        if self._declared:
            await self.schedules.declare(*self._declared)

    def _new_worker(self) -> Worker:
        return Worker(
            self._open_ports,
            self._options,
            clock=self._clock,
            identifiers=self._identifiers,
            codec=self._codec,
            telemetry=self._telemetry,
            **self._worker_options,
        )

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()


def _is_done(call: asyncio.Task[bool]) -> bool:
    """Whether a call has ended, and nothing depends on its message any more."""
    return call.done() and not call.cancelled() and call.exception() is None and call.result()
