"""Telling listeners what happens in a run (rule S16)."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

logger = logging.getLogger("flowcraft")


@dataclass(frozen=True, slots=True)
class FlowEvent:
    """One transition of a run.

    Attributes:
        type: Such as ``node:start``; rule S16 lists them.
        timestamp: Seconds since the epoch.
        run_id: The run.
        blueprint_id: Its blueprint.
        node_id: The node it is about; ``None`` for the run as a whole.
        attempt: The attempt it is about, where there is one.
        iteration: The iteration of each loop around the node, outermost first.
        payload: What else there is to tell, by the type of event.
    """

    type: str
    timestamp: float
    run_id: str
    blueprint_id: str
    node_id: str | None = None
    attempt: int | None = None
    iteration: tuple[int, ...] = ()
    payload: Mapping[str, Any] = field(default_factory=dict)


Listener = Callable[[FlowEvent], Awaitable[None] | None]


class Tails:
    """The calls of async listeners that one run has not heard the end of."""

    def __init__(self) -> None:
        # By identity: a listener need not be hashable.
        self._last: dict[int, asyncio.Future[None]] = {}
        self._open: set[asyncio.Future[None]] = set()

    def add(self, listener: Listener, outcome: Awaitable[None]) -> None:
        """Call an async listener after its previous call, for the same run, has ended."""
        task = asyncio.ensure_future(_in_turn(self._last.get(id(listener)), outcome))
        self._last[id(listener)] = task
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def drain(self) -> None:
        """Wait until all calls have ended."""
        while self._open:
            await asyncio.wait(tuple(self._open))


class EventBus:
    """Hands events to listeners, plain or async, in the order in which they happened.

    A listener that raises is logged and goes on being told; it never disturbs a run. An async
    listener is called for one event of a run after the other.
    """

    def __init__(self) -> None:
        # Looked at for every node: whether anyone listens at all.
        self.active = False
        self._listeners: list[tuple[Listener, frozenset[str] | None]] = []

    def subscribe(
        self, listener: Listener, types: Collection[str] | None = None
    ) -> Callable[[], None]:
        """Tell ``listener`` of every event, or of those of the given types.

        Returns:
            A function that ends the subscription.

        Raises:
            TypeError: The listener cannot be called.
        """
        if not callable(listener):
            raise TypeError(f"A listener is a function of an event, not {type(listener).__name__}.")
        entry = (listener, None if types is None else frozenset(types))
        self._listeners.append(entry)
        self.active = True

        def unsubscribe() -> None:
            # By identity: what a listener thinks it is equal to does not matter.
            self._listeners = [other for other in self._listeners if other is not entry]
            self.active = bool(self._listeners)

        return unsubscribe

    def emit(self, event: FlowEvent, tails: Tails) -> None:
        """Hand an event to everyone who wants it; async calls are added to ``tails``."""
        for listener, types in tuple(self._listeners):
            if types is not None and event.type not in types:
                continue
            try:
                outcome = listener(event)
                if inspect.isawaitable(outcome):
                    tails.add(listener, outcome)
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException:
                logger.exception("An event listener raised on %s", event.type)


async def _in_turn(before: asyncio.Future[None] | None, outcome: Awaitable[None]) -> None:
    """Run an async listener's call after its previous one has ended."""
    if before is not None and not before.done():
        await asyncio.wait([before])
    try:
        await outcome
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException:
        logger.exception("An async event listener raised")
