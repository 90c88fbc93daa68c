"""Looking at runs for people who watch: one look serves all who watch the same.

Whoever watches first has a look-out started, which looks again and again as long as somebody
watches, and for a little longer, so that who comes back goes on where they were. What has become
different is kept for a while by number; who has fallen behind that begins anew with all of it.
Nobody waits for anybody who reads slowly.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from flowcraft.errors import FlowcraftError, RunNotFound, StorageError
from flowcraft.ports.clock import Clock, Identifiers
from flowcraft.web.problems import problem_of

logger = logging.getLogger("flowcraft.web")

KEPT_CHANGES: Final = 100
LINGER_SECONDS: Final = 20.0
"""So long a look-out goes on after the last who watched has gone."""

MOST_LOOKOUTS: Final = 200


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How far apart looks are: the longer nothing changes, the farther.

    Attributes:
        shortest: Seconds after a change.
        longest: Seconds where nothing changes for long.
    """

    shortest: float
    longest: float

    def after(self, seconds: float, *, has_changed: bool) -> float:
        """Seconds until the next look, where so many passed before the last one."""
        if has_changed or not seconds:
            return self.shortest
        return min(self.longest, seconds * 1.5)


RHYTHMS: Final[Mapping[tuple[str, bool], Rhythm]] = {
    ("here", True): Rhythm(0.25, 2.0),
    ("here", False): Rhythm(1.0, 4.0),
    ("apart", True): Rhythm(2.0, 15.0),
    ("apart", False): Rhythm(5.0, 30.0),
}
"""By whether runs are kept on this machine or apart from it, where each look costs something; and
whether it is one run that is watched, or a list."""


class Scene(Protocol):
    """What is watched."""

    @property
    def is_over(self) -> bool:
        """Whether nothing more will change."""
        ...

    async def look(self) -> Mapping[str, Any] | None:
        """Look again; gives what has become different since, ``None`` if nothing has."""
        ...

    def whole(self) -> Mapping[str, Any]:
        """All of it, as it was at the last look."""
        ...


@dataclass(frozen=True, slots=True)
class Told:
    """One thing that those who watch are told.

    Attributes:
        event: ``snapshot``, ``change``, ``trouble``, ``gone`` or ``end``.
        data: JSON data.
        number: Its number among the changes; 0 for what is not one of them.
    """

    event: str
    data: Mapping[str, Any]
    number: int = 0


class Lookout:
    """Looks at one thing for all who watch it.

    Args:
        open_scene: Begins to look.
        rhythm: How often.
        clock: The time.
        token: Tells this look-out from others of the same thing.
    """

    def __init__(
        self, open_scene: Callable[[], Any], rhythm: Rhythm, clock: Clock, token: str
    ) -> None:
        self._open_scene = open_scene
        self._rhythm = rhythm
        self._clock = clock
        self.token = token
        self.watchers = 0
        self.looks = 0
        self.number = 0
        self.scene: Scene | None = None
        self.end: Told | None = None
        self.trouble: Told | None = None
        self.changes: deque[Told] = deque(maxlen=KEPT_CHANGES)
        self._waiting: set[asyncio.Future[None]] = set()
        self._nudge: asyncio.Future[None] | None = None
        self.idle_since = clock.now()
        self.task: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Look until it is over, or nobody has watched for a while."""
        seconds = 0.0
        try:
            self.scene = await self._open_scene()
            while self.end is None:
                has_changed = await self._look()
                seconds = self._rhythm.after(seconds, has_changed=has_changed)
                if self.end is None:
                    await self._pause(seconds)
                idle = self._clock.now() - self.idle_since
                if not self.watchers and idle >= LINGER_SECONDS:
                    self.end = Told("end", {"reason": "idle"})
        except Exception:
            logger.exception("Looking at what is watched has broken off.")
            self.end = Told("end", {"reason": "failed"})
        finally:
            self.wake()

    async def _look(self) -> bool:
        assert self.scene is not None
        self.looks += 1
        try:
            changed = await self.scene.look()
        except RunNotFound as error:
            self.end = Told("gone", problem_of(error).to_dict())
            return True
        except (StorageError, FlowcraftError) as error:
            return self._tell_of_trouble(error)
        was_troubled, self.trouble = self.trouble is not None, None
        if changed is not None:
            self.number += 1
            self.changes.append(Told("change", changed, self.number))
        if self.scene.is_over:
            self.end = Told("end", {"reason": "over"})
        if changed is not None or was_troubled:
            self.wake()
        return changed is not None

    def _tell_of_trouble(self, error: FlowcraftError) -> bool:
        before = self.trouble
        self.trouble = Told("trouble", problem_of(error).to_dict())
        if before is None or before.data != self.trouble.data:
            self.wake()
        return False

    async def _pause(self, seconds: float) -> None:
        self._nudge = asyncio.get_running_loop().create_future()
        await wait_for(self._nudge, self._clock, seconds)
        self._nudge = None

    def nudge(self) -> None:
        """Look again at once: somebody has just changed something."""
        if self._nudge is not None and not self._nudge.done():
            self._nudge.set_result(None)

    def wake(self) -> None:
        """Have those who watch see whether there is news."""
        waiting, self._waiting = self._waiting, set()
        for each in waiting:
            if not each.done():
                each.set_result(None)

    async def wait(self, seconds: float) -> None:
        """Wait until there is something to be told, or time is up."""
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(waiting)
        try:
            await wait_for(waiting, self._clock, seconds)
        finally:
            self._waiting.discard(waiting)


async def wait_for(future: asyncio.Future[None], clock: Clock, seconds: float) -> None:
    """Wait for somebody to resolve a future, so long at most."""

    def give_up() -> None:
        if not future.done():
            future.set_result(None)

    timer = clock.call_at(clock.now() + seconds, give_up)
    try:
        await future
    finally:
        timer.cancel()


@dataclass(slots=True)
class Watcher:
    """Somebody who watches.

    Attributes:
        lookout: Who looks for them.
        seen: The number of the last change they know; ``None`` if they know nothing.
        trouble: The trouble that they were told of.
    """

    lookout: Lookout
    seen: int | None = None
    trouble: Told | None = None

    @property
    def has_news(self) -> bool:
        """Whether there is anything to be told now."""
        lookout = self.lookout
        is_behind = lookout.number != (self.seen or 0)
        return is_behind or lookout.trouble is not self.trouble or lookout.end is not None

    def told(self) -> list[Told]:
        """What there is to be told now."""
        lookout = self.lookout
        told: list[Told] = []
        kept_from = lookout.number - len(lookout.changes)
        if lookout.number:
            if self.seen is None or not kept_from <= self.seen <= lookout.number:
                assert lookout.scene is not None
                told.append(Told("snapshot", lookout.scene.whole(), lookout.number))
            else:
                told += [each for each in lookout.changes if each.number > self.seen]
            self.seen = lookout.number
        if lookout.trouble is not self.trouble:
            if lookout.trouble is not None:
                told.append(lookout.trouble)
            self.trouble = lookout.trouble
        if lookout.end is not None:
            told.append(lookout.end)
        return told


@dataclass(slots=True)
class Live:
    """Who looks at what.

    Attributes:
        clock: The time.
        identifiers: Where names of look-outs come from.
        most: Look-outs at once; before there are more, one goes that nobody watches.
    """

    clock: Clock
    identifiers: Identifiers
    most: int = MOST_LOOKOUTS
    lookouts: dict[Hashable, Lookout] = field(default_factory=dict)

    def watch(
        self,
        key: Hashable,
        open_scene: Callable[[], Any],
        rhythm: Rhythm,
        last_id: str | None = None,
    ) -> Watcher:
        """Watch something; :meth:`leave` has to follow.

        Args:
            key: Names what is watched.
            open_scene: Begins to look at it, if nobody does yet.
            rhythm: How often it is looked at.
            last_id: The last thing that this watcher was told.
        """
        lookout = self.lookouts.get(key)
        if lookout is None or lookout.end is not None:
            self._make_room()
            token = self.identifiers.new_token()
            lookout = self.lookouts[key] = Lookout(open_scene, rhythm, self.clock, token)
            lookout.task = asyncio.get_running_loop().create_task(lookout.run())
            lookout.task.add_done_callback(lambda _: self._forget(key, lookout))
        lookout.watchers += 1
        return Watcher(lookout, _seen(last_id, lookout))

    def leave(self, watcher: Watcher) -> None:
        """Watch no longer."""
        watcher.lookout.watchers -= 1
        watcher.lookout.idle_since = self.clock.now()

    def _make_room(self) -> None:
        """End the look-out that nobody has watched for longest, if there are too many."""
        idle = [(each.idle_since, key) for key, each in self.lookouts.items() if not each.watchers]
        if idle and len(self.lookouts) >= self.most:
            _, key = min(idle, key=lambda each: each[0])
            task = self.lookouts.pop(key).task
            if task is not None:
                task.cancel()

    def _forget(self, key: Hashable, lookout: Lookout | None) -> None:
        if self.lookouts.get(key) is lookout:
            del self.lookouts[key]

    def nudge(self, run_id: str | None = None) -> None:
        """Have those look at once who look at a run, or at lists."""
        for key, lookout in self.lookouts.items():
            if key == ("run", run_id) or (isinstance(key, tuple) and key[0] == "list"):
                lookout.nudge()

    def wake(self) -> None:
        """Have all who watch see whether there is news."""
        for lookout in self.lookouts.values():
            lookout.wake()

    async def aclose(self) -> None:
        """Look at nothing any more."""
        tasks = [each.task for each in self.lookouts.values() if each.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def event_id(lookout: Lookout, told: Told) -> str | None:
    """What an event is called, so that whoever comes back can say how far they were."""
    return f"{lookout.token}.{told.number}" if told.number else None


def _seen(last_id: str | None, lookout: Lookout) -> int | None:
    token, _, number = (last_id or "").rpartition(".")
    if token != lookout.token or not (number.isascii() and number.isdecimal()):
        return None
    return int(number[:15])
