"""Keeping leases and messages while nodes run, from a thread of its own.

A node that keeps the event loop to itself must not lose its lease: so this runs in a thread with
an event loop and clients of its own. From the same call a worker learns that a run is to stop,
or that a lease is somebody else's by now.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from flowcraft.engine.hands import InHand
from flowcraft.engine.swap_limits import limits_of
from flowcraft.engine.trouble import log_trouble
from flowcraft.ports.coordination import CoordinationStore
from flowcraft.ports.limits import LimitStore, Place
from flowcraft.ports.runs import Held
from flowcraft.ports.together import OpenPorts, Ports

logger = logging.getLogger("flowcraft.worker")


SOONER = 4
"""After a beat that was in trouble the next one comes in a fourth of the time."""


class Beat(NamedTuple):
    """What is to be kept for one message: its delivery, and the lease in hand if there is one.

    A message that was received elsewhere has no handle here. The place that the lease's attempt
    has under a limit is kept until ``kept_until``. It was asked for at ``asked_at``.
    """

    handle: str
    lease: Held | None
    strand: Any
    place: Place | None = None
    kept_until: float = 0.0
    hand: InHand | None = None
    asked_at: float = 0.0


class Keeper(Protocol):
    """Who needs leases. All of it is called from the heartbeat's thread."""

    def beats(self) -> Sequence[Beat]:
        """What is to be kept now."""
        ...

    def hidden(self, beat: Beat) -> None:
        """The message was hidden from others for longer."""

    def lost(self, beat: Beat) -> None:
        """Somebody else holds the lease."""

    def displaced(self, beat: Beat) -> None:
        """The place under a limit is somebody else's."""

    def stopping(self, beat: Beat) -> None:
        """The run is to stop."""


class Heartbeat:
    """Prolongs leases and deliveries until it is stopped.

    Args:
        open_ports: Opens the clients that the thread uses.
        keeper: Says what is to be kept, and is told what became of it.
        lease_seconds: For how long leases are prolonged; a third of it is the interval.
    """

    def __init__(self, open_ports: OpenPorts, keeper: Keeper, lease_seconds: float) -> None:
        self._open_ports = open_ports
        self._keeper = keeper
        self._lease_seconds = lease_seconds
        self._limits: tuple[CoordinationStore, LimitStore] | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="flowcraft-heartbeat", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, and wait until the thread has ended."""
        self._stop.set()
        self._thread.join(timeout=5.0)

    def _serve(self) -> None:
        # Who has loops watched for what blocks them (`python -X dev`) does not mean this one, which
        # waits between two beats.
        asyncio.run(self._main(), debug=False)

    async def _main(self) -> None:
        while not self._stop.is_set():
            try:
                async with self._open_ports() as ports:
                    await self._keep_beating(ports)
            except Exception as error:
                log_trouble(logger, error, "Leases cannot be prolonged; trying again")
                self._stop.wait(self._lease_seconds / 3)

    async def _keep_beating(self, ports: Ports) -> None:
        pause = self.interval_seconds(ports)
        while not self._stop.wait(pause):
            pause = await self.beat_once(ports)

    def interval_seconds(self, ports: Ports) -> float:
        """How long after a beat the next one comes, where nothing is the matter."""
        return min(self._lease_seconds, ports.queue.visibility_seconds) / 3

    async def beat_once(self, ports: Ports) -> float:
        """Prolong everything once, whatever becomes of it; gives the seconds until the next beat.

        After trouble that comes sooner: two beats that fail would else be all that there is time
        for before what was prolonged last runs out.
        """
        interval = self.interval_seconds(ports)
        try:
            is_answered = await self.beat(ports)
        except Exception as error:
            log_trouble(logger, error, "Leases could not be prolonged; trying again")
            is_answered = False
        return interval if is_answered else interval / SOONER

    async def beat(self, ports: Ports) -> bool:
        """Prolong everything once: trouble with the queue costs no lease, nor the other way.

        Returns:
            Whether all was answered in time.
        """
        beats = self._keeper.beats()
        if not beats:
            return True
        results = await asyncio.gather(
            self._hide(ports, [beat for beat in beats if beat.handle]),
            self._renew(ports, beats),
            self._keep_places(ports, beats),
            return_exceptions=True,
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return False not in results

    async def _hide(self, ports: Ports, beats: Sequence[Beat]) -> bool:
        if beats:
            # A queue that gives no answer must not keep the next beat waiting.
            patience = self._lease_seconds / 3
            try:
                async with asyncio.timeout(patience):
                    await ports.queue.extend([beat.handle for beat in beats])
            except TimeoutError:
                logger.warning(
                    "The queue has not answered for %.0f s: messages in hand may come once more",
                    patience,
                )
                return False
            for beat in beats:
                self._keeper.hidden(beat)
        return True

    async def _keep_places(self, ports: Ports, beats: Sequence[Beat]) -> None:
        placed = [beat for beat in beats if beat.place is not None]
        places = [beat.place for beat in placed if beat.place is not None]
        if not places:
            return
        if self._limits is None or self._limits[0] is not ports.coordination:
            self._limits = (ports.coordination, limits_of(ports.coordination))
        until = min(beat.kept_until for beat in placed)
        for beat, is_kept in zip(placed, await self._limits[1].renew(places, until), strict=True):
            if not is_kept:
                self._keeper.displaced(beat)

    async def _renew(self, ports: Ports, beats: Sequence[Beat]) -> bool:
        leased = [beat for beat in beats if beat.lease is not None]
        held = [beat.lease for beat in leased if beat.lease is not None]
        if not held:
            return True
        patience = self._lease_seconds / 3
        try:
            async with asyncio.timeout(patience):
                answers = await ports.runs.renew(held, self._lease_seconds)
        except TimeoutError:
            logger.warning(
                "The store of runs has not answered for %.0f s: leases may be lost", patience
            )
            return False
        for beat, renewed in zip(leased, answers, strict=True):
            if not renewed.held:
                self._keeper.lost(beat)
            elif renewed.stopping:
                self._keeper.stopping(beat)
        return True
