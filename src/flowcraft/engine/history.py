"""The history of a durable run, told from its facts (decision 0036).

Nothing is written for it, and nothing stored besides. A run is read once, and so is each of its
child runs and each part of its large batches, when its turn comes: of all that only what goes on at
the same time is in memory. Events of one record come in the order of its facts; records are merged
by time, and what a run took over from another record comes behind the end of that one, whatever
the clocks of their workers say.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Final

from flowcraft.core import commands as cmd
from flowcraft.core import events as ev
from flowcraft.core.blueprint import WorkflowBlueprint
from flowcraft.core.step import Decision
from flowcraft.engine.children import child_run_id
from flowcraft.engine.facts import read_fact
from flowcraft.engine.family import whole
from flowcraft.engine.history_events import (
    MISSING,
    HistoryEvent,
    bare_event,
    damaged_event,
    events_of,
)
from flowcraft.engine.ledger import Gap, Ledger
from flowcraft.engine.shards import ShardLedger, shard_id
from flowcraft.engine.station import Station
from flowcraft.errors import (
    CodecError,
    FlowcraftError,
    RunNotFound,
    StorageCorrupt,
    StorageError,
)
from flowcraft.ports.runs import Fact, Head

MOST_OPEN: Final = 32
"""So many records are told of side by side. Where more of them go on at the same time, the others
wait until one of these is told; then they come later than their times say."""

LOOK_SECONDS: Final = 1.0
"""At most so long between two looks at a run that is followed and rests."""

FIRST_LOOK: Final = 0.05
LOOKS_GROW: Final = 1.5
"""Right after something happened it is this share of it, and from look to look longer."""


class _Log:
    """One record that is told of.

    Attributes:
        record: Its id.
        above: The log that has started it.
        is_shard: Whether it is a part of a large batch.
        next_at: When its next fact was written; of one that was not read yet a time before.
        ledger: What was told of is folded into it.
        facts: What is still to be told.
        problems: Of facts that could not be decoded why not, by number.
        is_damaged: Whether a fact could not be folded, so that none behind it can.
        is_absent: Whether it was looked for and was not there: it may be about to begin.
        nested: The records that it has started, and that are not told to their end.
        blueprint: The blueprint it was started with, until that is told.
    """

    def __init__(self, record: str, above: _Log | None, began: float, is_shard: bool) -> None:
        self.record = record
        self.above = above
        self.is_shard = is_shard
        self.ledger: Ledger | None = None
        self.facts: deque[Fact] = deque()
        self.problems: dict[int, str] = {}
        self.is_damaged = self.is_absent = False
        self.nested: dict[str, _Log] = {}
        self.seen: set[str] = set()
        self.blueprint: WorkflowBlueprint | None = None
        self._began = began

    @property
    def next_at(self) -> float:
        """When its next fact was written; a time before that where it was not read yet."""
        return self.facts[0].at if self.facts else self._began

    @property
    def is_to_begin(self) -> bool:
        """Whether it is still to be read for the first time."""
        return self.ledger is None and not self.is_absent

    @property
    def is_final(self) -> bool:
        """Whether nothing more can come."""
        return self.ledger is None or self.is_damaged or self.ledger.state.status.is_final


class History:
    """The events of a run, and of what belongs to it.

    Args:
        station: Ports and plans.
        run_id: The run.
        children: Whether to tell of its child runs, too.
        shards: Whether to tell of the items of batches that are recorded in parts.
        follow: Whether to go on until the run is over.
        look_seconds: At most so long between two looks at a run that is followed.

    Attributes:
        reads: Reads of records that it took so far.
    """

    def __init__(
        self,
        station: Station,
        run_id: str,
        *,
        children: bool = True,
        shards: bool = True,
        follow: bool = False,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self._station = station
        self._run_id = run_id
        self._children = children
        self._shards = shards
        self._follow = follow
        self._look_seconds = look_seconds
        self._open: list[_Log] = []
        self.reads = 0

    async def events(self) -> AsyncIterator[HistoryEvent]:
        """All events, one after the other.

        Raises:
            RunNotFound: There is no such run, or none any more.
            CodecError: None of its facts can be decoded here.
            FlowcraftError: Its blueprint is not stored.
        """
        root = _Log(self._run_id, None, 0.0, False)
        await self._begin_root(root)
        self._open = [root]
        pause = FIRST_LOOK * self._look_seconds
        while self._open:
            log = await self._choose()
            if log is None:
                if not self._follow:
                    break
                if not await self._look_again():
                    await self._station.sleep_until(self._station.clock.now() + pause)
                    pause = min(self._look_seconds, pause * LOOKS_GROW)
                continue
            pause = FIRST_LOOK * self._look_seconds
            if log.ledger is None:
                problem = await self._begin(log)
                if problem is not None and self._follow and not log.is_absent:
                    log.is_absent = True  # it may be about to begin
                elif problem is not None:
                    yield self._missing(log, problem)
                    self._close(log)
                continue
            for event in self._tell(log):
                yield event
            if not log.facts and (log.is_final or not self._follow):
                self._close(log)

    # -- which record is next ---------------------------------------------------------------

    async def _choose(self) -> _Log | None:
        """The record whose next fact is to be told; ``None`` if there is nothing new."""
        ready = [log for log in self._open if log.facts or log.is_to_begin]
        begun = [log for log in ready if log.facts]
        if len(begun) >= MOST_OPEN:
            ready = begun
        if not ready:
            return None
        log = min(ready, key=lambda each: each.next_at)
        while (other := self._has_to_come_first(log)) is not None:
            if other.facts or other.ledger is None or await self._catch_up(other):
                log = other
            else:
                self._close(other)
        return log

    def _has_to_come_first(self, log: _Log) -> _Log | None:
        """The record whose end is taken over by the next fact."""
        if not log.nested or log.ledger is None or log.is_damaged:
            return None
        try:
            serializer = self._station.options.serializer
            event = read_fact(log.facts[0].data, serializer).event
        except FlowcraftError:
            return None
        if isinstance(event, ev.ChildSettled):
            return log.nested.get(child_run_id(log.ledger, event.key, event.attempt))
        if isinstance(event, ev.ShardSettled):
            return log.nested.get(shard_id(log.ledger, event.key, event.first, event.attempt))
        return None

    def _close(self, log: _Log) -> None:
        """A record is told to its end. What it has started, and not waited for, goes on."""
        self._open.remove(log)
        if log.above is not None:
            log.above.nested.pop(log.record, None)
        for other in tuple(log.nested.values()):
            if other.is_absent and other.ledger is None:
                self._close(other)

    # -- reading ----------------------------------------------------------------------------

    async def _read(self, log: _Log, since: int) -> Head | None:
        """Read what is new in a record; ``None`` if it is not there."""
        self.reads += 1
        record, problems = await self._station.look_up(log.record, since)
        if record is None or record.head.is_gone(self._station.clock.now()):
            return None
        known = log if log.ledger is not None else log.above
        run = None if known is None else known.ledger
        if run is not None and run.epoch != record.head.epoch:
            return None
        log.facts.extend(record.facts)
        log.problems.update(problems)
        return record.head

    async def _begin_root(self, log: _Log) -> None:
        head = whole(log.record, await self._read(log, 0))
        if log.facts and len(log.problems) == len(log.facts):
            raise CodecError(log.problems[log.facts[0].number])
        if not log.facts:
            raise StorageCorrupt(f"The record of run '{log.record}' is damaged: it has no facts.")
        await self._open_ledger(log, head)

    async def _begin(self, log: _Log) -> str | None:
        """Read a record for the first time; gives why that cannot be done."""
        try:
            head = await self._read(log, 0)
            if head is not None and log.facts:
                await self._open_ledger(log, head)
                return None
        except StorageError as error:
            if not isinstance(error, CodecError):
                raise
            return str(error)
        except FlowcraftError as error:
            return str(error)  # its blueprint
        return (
            f"Nothing is stored of '{log.record}': it has not begun yet, could not begin, or was "
            "deleted."
        )

    async def _open_ledger(self, log: _Log, head: Head) -> None:
        above = None if log.above is None else log.above.ledger
        if log.is_shard:
            assert above is not None
            log.ledger = ShardLedger(self._station, head, above, above.tape)
            return
        plan, tape = await self._station.plan(head.blueprint_hash)
        log.ledger = Ledger(self._station, head, plan, tape)
        log.blueprint = plan.blueprint

    async def _look_again(self) -> bool:
        """See what is new in all that goes on."""
        return any([await self._catch_up(log) for log in tuple(self._open) if log in self._open])

    async def _catch_up(self, log: _Log) -> bool:
        """See what is new in a record; true where there is something to do about it."""
        if not self._follow:
            return False
        if log.ledger is None:
            return await self._begin(log) is None
        if await self._read(log, log.ledger.number) is None:
            if log.above is None:
                raise RunNotFound(f"The run '{log.record}' is there no more.")
            self._close(log)
            return True
        return bool(log.facts)

    # -- telling ----------------------------------------------------------------------------

    def _tell(self, log: _Log) -> Iterator[HistoryEvent]:
        """The events of the next fact of a record."""
        run, fact = log.ledger, log.facts.popleft()
        assert run is not None
        if log.is_damaged:
            yield bare_event(run, fact)
            return
        try:
            if fact.number in log.problems:
                raise CodecError(log.problems.pop(fact.number))
            run.catch_up((fact,))
        except Gap as gap:
            log.is_damaged = True
            yield damaged_event(run, replace(fact, number=run.number), str(gap))
            yield bare_event(run, fact)
            return
        except FlowcraftError as error:
            log.is_damaged = True
            yield damaged_event(run, fact, _naming(run, fact, error))
            return
        found = run.decision_of(fact.number)
        assert found is not None
        event, decision = found
        yield from events_of(run, fact, event, decision, log.blueprint)
        log.blueprint = None
        self._follow_commands(log, run, decision, fact.at)

    def _follow_commands(self, log: _Log, run: Ledger, decision: Decision, now: float) -> None:
        """Have the records told that a decision has started."""
        for command in decision.commands:
            if isinstance(command, cmd.StartChild) and self._children:
                record = child_run_id(run, command.key, command.attempt)
            elif isinstance(command, cmd.StartShard) and self._shards:
                record = shard_id(run, command.key, command.first, command.attempt)
            else:
                continue
            if record not in log.seen:
                log.seen.add(record)
                nested = _Log(record, log, now, isinstance(command, cmd.StartShard))
                log.nested[record] = nested
                self._open.append(nested)

    def _missing(self, log: _Log, problem: str) -> HistoryEvent:
        assert log.above is not None
        above = log.above.ledger
        assert above is not None
        return HistoryEvent(
            type=MISSING,
            timestamp=log.next_at,
            run_id=above.state.run_id if log.is_shard else log.record,
            blueprint_id=above.head.blueprint_id if log.is_shard else "",
            payload={"problem": problem},
            record=log.record,
        )


def _naming(run: Ledger, fact: Fact, error: FlowcraftError) -> str:
    """What is wrong with a fact, and where it is."""
    text = str(error)
    if f"'{run.run_id}'" in text and f"act {fact.number}" in text:
        return text
    return f"Run '{run.run_id}', fact {fact.number}: {text}"
