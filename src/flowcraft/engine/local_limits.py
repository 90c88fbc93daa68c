"""Limits in this process: all runs of one runtime together, in whatever threads they are.

Nobody dies here but with everybody else, so there are no leases: who has a place has it until the
attempt ends. Those who wait stand in line by key, first come, first served.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from flowcraft.core.limits import Limit
from flowcraft.engine.limited import Once, limit_of

if TYPE_CHECKING:
    from flowcraft.engine.local import LocalRun
    from flowcraft.engine.session import AttemptCommand, Session

logger = logging.getLogger("flowcraft")

KEPT_LINES = 1_000
"""So many keys are known before those are forgotten that make no difference any more."""


@dataclass(slots=True, eq=False)
class Entry:
    """An attempt that is limited.

    Attributes:
        session: Whose it is.
        run: The run.
        command: The attempt.
        key: Its key.
        limit: What holds for the key.
        is_in: Whether it has a place.
        is_gone: Whether it wants none any more.
    """

    session: Session
    run: LocalRun
    command: AttemptCommand
    key: str
    limit: Limit
    is_in: bool = False
    is_gone: bool = False


@dataclass(slots=True)
class _Line:
    """One key: how many have a place, who waits, when the next one may begin."""

    held: int = 0
    waiting: deque[Entry] = field(default_factory=deque)
    next_at: float = 0.0
    armed: Session | None = None

    def matters(self, now: float) -> bool:
        """Whether what is known of it makes a difference."""
        return bool(self.held or self.waiting) or self.next_at > now


class LocalLimits:
    """The lines of one runtime; used from the threads of all of its sessions.

    Args:
        now: Tells the time.

    Attributes:
        once: Logs what is odd about keys.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._lines: dict[str, _Line] = {}
        self._clear_at = KEPT_LINES
        self.once = Once(logger)

    def join(self, entry: Entry) -> None:
        """Stand in line; it begins, in its session's loop, when it is its turn."""
        with self._lock:
            self._clear()
            self._lines.setdefault(entry.key, _Line()).waiting.append(entry)
        self._admit(entry.key)

    def _clear(self) -> None:
        """Forget keys of which nobody begins any more, and whose last start is long ago enough."""
        if len(self._lines) < self._clear_at:
            return
        now = self._now()
        self._lines = {key: line for key, line in self._lines.items() if line.matters(now)}
        self._clear_at = max(KEPT_LINES, 2 * len(self._lines))

    def leave(self, entry: Entry) -> None:
        """Give a place back, or leave the line."""
        with self._lock:
            if entry.is_gone:
                return
            entry.is_gone = True
            line = self._lines[entry.key]
            if entry.is_in:
                line.held -= 1
            else:
                line.waiting.remove(entry)
        self._admit(entry.key)

    def forget(self, session: Session) -> None:
        """Wake nobody by the timers of a session that ends."""
        with self._lock:
            keys = [key for key, line in self._lines.items() if line.armed is session]
            for key in keys:
                self._lines[key].armed = None
        for key in keys:
            self._admit(key)

    def _admit(self, key: str) -> None:
        """Let in whoever may be."""
        admitted: list[Entry] = []
        arm: tuple[Session, float] | None = None
        with self._lock:
            line = self._lines.get(key)
            while line is not None and line.waiting:
                entry = line.waiting[0]
                limit, now = entry.limit, self._now()
                if limit.concurrency is not None and line.held >= limit.concurrency:
                    break
                earliest = limit.earliest(line.next_at, now)
                if earliest > now:
                    if line.armed is None:
                        line.armed = entry.session
                        arm = (entry.session, earliest)
                    break
                line.next_at = limit.after_start(line.next_at, now)
                line.held += 1
                entry.is_in = True
                admitted.append(line.waiting.popleft())
            if line is not None and not line.matters(self._now()):
                del self._lines[key]
        for entry in admitted:
            entry.session.in_loop(partial(entry.session.door_opens, entry))
        if arm is not None:
            session, at = arm
            session.in_loop(partial(self._arm, session, key, at))

    def _arm(self, session: Session, key: str, at: float) -> None:
        if session.closing:
            self.forget(session)
        else:
            session.call_at(at, partial(self._fire, key), resting=False)

    def _fire(self, key: str) -> None:
        with self._lock:
            line = self._lines.get(key)
            if line is not None:
                line.armed = None
        self._admit(key)


class Door:
    """What a session has to do with limits.

    Args:
        session: The session.
        limits: Those of its runtime.
    """

    def __init__(self, session: Session, limits: LocalLimits) -> None:
        self._session = session
        self._limits = limits
        # By the identity of commands, which hold values of any kind; the entry keeps them alive.
        self._waiting: dict[int, Entry] = {}
        self._inside: dict[int, Entry] = {}

    def stops(self, run: LocalRun, command: AttemptCommand) -> bool:
        """Whether an attempt is limited: it then begins when it is its turn."""
        found = limit_of(
            self._session.options, run.plan, run.state, command, self._limits.once.tell
        )
        if found is None:
            return False
        entry = Entry(self._session, run, command, *found)
        self._waiting[id(command)] = entry
        self._limits.join(entry)
        return True

    def opens(self, entry: Entry, submit: Callable[[LocalRun, AttemptCommand], None]) -> None:
        """Somebody's turn has come."""
        if self._waiting.pop(id(entry.command), None) is None:
            return  # it left meanwhile
        self._inside[id(entry.command)] = entry
        submit(entry.run, entry.command)

    def leave(self, command: AttemptCommand) -> None:
        """An attempt has ended, or will not begin."""
        entry = self._inside.pop(id(command), None)
        if entry is not None:
            self._limits.leave(entry)

    def withdraw(
        self, unwanted: Callable[[LocalRun], bool]
    ) -> list[tuple[LocalRun, AttemptCommand]]:
        """Take the attempts of some runs out of the line, and give them back."""
        found = [entry for entry in self._waiting.values() if unwanted(entry.run)]
        self._drop(self._waiting, found)
        return [(entry.run, entry.command) for entry in found]

    def close(self) -> None:
        """Leave everything."""
        self._drop(self._waiting, list(self._waiting.values()))
        self._drop(self._inside, list(self._inside.values()))
        self._limits.forget(self._session)

    def _drop(self, table: dict[int, Entry], entries: Iterable[Entry]) -> None:
        for entry in entries:
            del table[id(entry.command)]
            self._limits.leave(entry)
