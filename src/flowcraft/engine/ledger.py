"""A stored run as a worker knows it: its facts folded into a state, and what is outstanding."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from flowcraft.core import commands as cmd
from flowcraft.core import events as ev
from flowcraft.core.decide import decide
from flowcraft.core.plan import Key, Plan
from flowcraft.core.state import DELETED, FAILED, RunState, Usage, has_run
from flowcraft.core.step import Decision, Step
from flowcraft.engine.awaited import Awaited
from flowcraft.engine.facts import read_fact, write_fact
from flowcraft.engine.failures import instead_of
from flowcraft.engine.places import (
    ATTEMPTS,
    AttemptCommand,
    Subject,
    item_subject,
    node_subject,
    place_of,
    shard_subject,
    subject_of,
    timer_of,
)
from flowcraft.engine.tape import Recording, Tape
from flowcraft.engine.timers import LongTimers
from flowcraft.engine.view import Host, RunView
from flowcraft.errors import FlowcraftError, InvalidRunState, SerializationError, StorageCorrupt
from flowcraft.ports.runs import Change, Entry, Fact, Head, Lease, Record, Row

if TYPE_CHECKING:
    from flowcraft.engine.attempt import Attempt

KEPT_DECISIONS = 256
"""Decisions that are kept for the writers of their facts, who may learn of them late."""


@dataclass(slots=True)
class Work:
    """Commands that are still to be carried out, the thread they belong to, the latest fact."""

    thread: str
    commands: list[cmd.Command]
    number: int


class Foreseen(NamedTuple):
    """What follows from an event, if nothing else is written first."""

    event: ev.Event
    decision: Decision
    tape: Recording
    number: int
    now: float

    @property
    def is_nothing(self) -> bool:
        """Whether nothing follows: it has happened before, or can no longer happen."""
        return is_nothing(self.decision)


class Gap(Exception):
    """Facts between those that are known and those that were read are missing."""


class Ledger(RunView):
    """One run, as far as its facts are known here.

    Attributes:
        head: The run as it was when it was read.
        number: How many facts are folded into the state.
        characters: How many characters they have, as they are stored.
        outstanding: What is to be done, by what it is about.
        leases: Leases that are not over, as of the last time that the record was read.
        row: The row as it was last written, as far as is known.
        usage: What it has cost itself, as of its latest read or write; ``None`` if not counted.
        tape: The evaluator of the plan.
        timers: Those that are, or were, kept apart from the messages.
        caller: The span that it was started in, as a ``traceparent``.
        sampled: Whether its trace is kept, once that is known here.
        settled_first: Instances that the run began with as settled.
        rounds: How often instances were reopened that had failed; only those are in it.
    """

    def __init__(self, host: Host, head: Head, plan: Plan, tape: Tape) -> None:
        super().__init__(host, plan, RunState())
        self.head = head
        self.run_id = head.run_id
        self.epoch = head.epoch
        self.number = 0
        self.characters = 0
        self.outstanding: dict[Subject, Work] = {}
        self.leases: dict[str, Lease] = {}
        self.row: Row | None = None
        self.usage: Usage | None = None
        self.tape = tape
        self.caller: str | None = None
        self.sampled: bool | None = None
        self.rounds: Counter[Key] = Counter()
        self.settled_first: list[Key] = []
        self._looked = (0, 0)
        self._recent: dict[int, tuple[ev.Event, Decision]] = {}
        self._foreseen: tuple[Foreseen, str] | None = None
        # The same by the place of attempts, and when what is outstanding is due.
        self._places: dict[str, AttemptCommand] = {}
        self._dues: dict[Subject, float] = {}
        self._awaited = Awaited()
        self.timers = LongTimers(head.run_id, head.epoch, host.options.timers.hour_seconds)

    def look(self, asked: int, record: Record) -> None:
        """See who has what, and what the row says, unless a later answer told that already.

        Several strands of a process may read at the same time. Who asks has to see how it was then
        or later; an answer that is on its way for long tells how it was before.

        Args:
            asked: Tells in which order reads began.
            record: What was read; its facts are known by now.
        """
        looked = (record.head.facts, asked)
        if looked < self._looked:
            return
        self._looked = looked
        self.leases = {lease.place: lease for lease in record.leases}
        self.row = record.head.row
        self.usage = record.head.usage

    @property
    def group(self) -> str | None:
        """Whose run it is, for queues that are fair among those."""
        return self.state.fairness_key

    # -- attempts --------------------------------------------------------------------------

    def enter(self, attempt: Attempt) -> None:
        """An attempt begins, which reads the context as it is now."""
        self.running[attempt] = attempt.seen

    def leave(self, attempt: Attempt) -> None:
        """An attempt is over."""
        del self.running[attempt]
        if not self.running and (self.past.kept or self.past.born):
            self.forget_past()

    # -- deciding ---------------------------------------------------------------------------

    def foresee(self, event: ev.Event, now: float) -> Foreseen:
        """What follows from an event, without writing anything.

        Raises:
            InvalidRunState: It is somebody's wish, and the run's state does not allow it.
        """
        recording = self.tape.record()
        try:
            decision = decide(self.plan, self.state, event, now)
        except InvalidRunState:
            raise
        except Exception as error:
            event, recording = instead_of(event, error), self.tape.record()
            decision = decide(self.plan, self.state, event, now)
        return Foreseen(event, decision, recording, self.number, now)

    def entry(self, foreseen: Foreseen, id_: str | None = None) -> Entry:
        """The fact that an event has happened."""
        text = write_fact(foreseen.event, foreseen.tape, self.host.options.serializer)
        if foreseen.number == self.number:
            self._foreseen = (foreseen, text)
        return Entry(text, foreseen.now, id_)

    def exactly(self, foreseen: Foreseen, thread: str, id_: str | None = None) -> Change:
        """The write of a fact, for a run that is as it is known here and no other."""
        return Change(
            self.run_id,
            self.epoch,
            foreseen.number,
            thread,
            entries=(self.entry(foreseen, id_),),
            row=self.row_after(foreseen.decision),
            exact=True,
        )

    def row_after(self, decision: Decision) -> Row:
        """The row that goes with a decision."""
        scalars = decision.changes.scalars or {}
        dues = dict(self._dues)
        if dues:
            for subject in _subjects(decision):
                dues.pop(subject, None)
        for command in decision.commands:
            _note_due(dues, command)
        status = scalars.get("status", self.state.status)
        stopping = scalars.get("stopping", self.state.stopping) is not None
        awaits = self._awaited.after(decision.changes.records)
        return Row(str(status), stopping, min(dues.values(), default=None), awaits)

    def row_now(self) -> Row:
        """The row that goes with the state as it is."""
        stopping = self.state.stopping is not None
        due_at = min(self._dues.values(), default=None)
        return Row(str(self.state.status), stopping, due_at, self._awaited.texts)

    # -- folding ----------------------------------------------------------------------------

    def catch_up(self, facts: Sequence[Fact]) -> None:
        """Fold what was written since.

        Raises:
            Gap: Facts are missing in between.
            SerializationError: One cannot be read.
            StorageCorrupt: One cannot be what happened.
        """
        for fact in facts:
            if fact.number > self.number:
                raise Gap(f"Run '{self.run_id}': fact {self.number} is missing.")
            if fact.number == self.number:
                self._fold_stored(fact)

    def _fold_stored(self, fact: Fact) -> None:
        """Fold a fact; where it was altered in the store, the error names run and fact."""
        try:
            self._fold(fact)
        except SerializationError as error:
            raise SerializationError(f"Run '{self.run_id}', fact {fact.number}: {error}") from error
        except FlowcraftError:
            raise
        except Exception as error:
            raise StorageCorrupt(
                f"The record of run '{self.run_id}' is damaged: what follows from its fact "
                f"{fact.number} cannot be told ({error!r}). Restore it from a backup, or delete "
                "the run."
            ) from error

    def decision_of(self, number: int) -> tuple[ev.Event, Decision] | None:
        """What was decided about a fact that was folded not long ago."""
        return self._recent.get(number)

    def _fold(self, fact: Fact) -> None:
        event, decision = self._decided(fact)
        self._foreseen = None
        if isinstance(event, ev.RunStarted):
            self.caller = event.caller
        elif isinstance(event, ev.RetryRequested | ev.SkipRequested):
            self._note_rounds(decision)
        self.write(decision)
        if fact.number == 0 or fact.at < self.head.created_at:
            self.settled_first += [k for k, r in decision.changes.records.items() if has_run(r)]
        self.number = fact.number + 1
        self.characters += len(fact.data)
        self._note_outstanding(decision, fact)
        self._awaited.note(decision.changes.records)
        self._recent[fact.number] = (event, decision)
        if len(self._recent) > KEPT_DECISIONS:
            del self._recent[next(iter(self._recent))]

    def _note_rounds(self, decision: Decision) -> None:
        """Note which instances had failed for good, and get another chance."""
        for key in decision.changes.records:
            record = self.state.records.get(key)
            if record is not None and record.status is FAILED:
                self.rounds[key] += 1

    def _decided(self, fact: Fact) -> tuple[ev.Event, Decision]:
        if self._foreseen is not None:
            # Most facts are those that were foreseen a moment ago, with nothing in between.
            foreseen, text = self._foreseen
            same = (foreseen.number, foreseen.now, text) == (fact.number, fact.at, fact.data)
            if same:
                return foreseen.event, foreseen.decision
        event, tape = read_fact(fact.data, self.host.options.serializer)
        self.tape.play(tape)
        try:
            return event, decide(self.plan, self.state, event, fact.at)
        except InvalidRunState:
            return event, Step(self.plan, self.state, fact.at)  # nothing follows

    def _note_outstanding(self, decision: Decision, fact: Fact) -> None:
        thread = fact.thread
        for subject in _subjects(decision):
            self._forget(subject, fact)
        if fact.number == 0:
            self.timers.arm_start(("start",), self.head.created_at, fact)
        for command in decision.commands:
            subject = subject_of(command)
            work = self.outstanding.get(subject)
            if work is None:
                self.outstanding[subject] = Work(thread, [command], self.number - 1)
            else:
                work.thread, work.number = thread, self.number - 1
                if command not in work.commands:  # shards are told again and again
                    work.commands.append(command)
            if isinstance(command, ATTEMPTS):
                self._places[place_of(command)] = command
            else:
                _note_due(self._dues, command)
                event, due_at = timer_of(command)
                self.timers.arm(subject, event, due_at, fact)
        if self.state.status.is_final:
            for subject in tuple(self.outstanding):
                if subject != ("finish",):
                    self._forget(subject, fact)
            self.timers.drop(("start",), fact)

    def _forget(self, subject: Subject, fact: Fact) -> None:
        self.timers.drop(subject, fact)
        work = self.outstanding.pop(subject, None)
        if work is not None:
            self._dues.pop(subject, None)
            for command in work.commands:
                if isinstance(command, ATTEMPTS):
                    self._places.pop(place_of(command), None)

    # -- what is to be done -----------------------------------------------------------------

    def work_of(self, thread: str, since: int, now: float) -> list[cmd.Command]:
        """The commands, of facts from a number on, that a thread has to see to, and nobody has.

        Where a lease has expired nobody has it; under the thread itself it is taken over.
        """
        return [
            command
            for work in self.outstanding.values()
            if work.thread == thread and work.number >= since
            for command in work.commands
            if not (isinstance(command, ATTEMPTS) and self._has(place_of(command), thread, now))
        ]

    def _has(self, place: str, thread: str, now: float) -> bool:
        lease = self.leases.get(place)
        return lease is not None and (lease.expires_at > now or lease.thread == thread)

    def has_work_of(self, thread: str) -> bool:
        """Whether anything is outstanding for a thread, whoever has taken it on."""
        return any(work.thread == thread for work in self.outstanding.values())

    def attempt_at(self, place: str) -> AttemptCommand | None:
        """The attempt that is outstanding under a place, if it still is."""
        return self._places.get(place)

    def commands_of(self, key: Key) -> Sequence[cmd.Command]:
        """What is outstanding for a node instance."""
        work = self.outstanding.get(node_subject(key))
        return () if work is None else tuple(work.commands)

    def attempts(self) -> Collection[AttemptCommand]:
        """All attempts that are outstanding."""
        return tuple(self._places.values())


def is_nothing(decision: Decision) -> bool:
    """Whether nothing follows from what happened."""
    changes = decision.changes
    return not decision.commands and not any(
        getattr(changes, name) for name in type(changes).__slots__
    )


def _subjects(decision: Decision) -> Iterator[Subject]:
    """What a decision changes, so that what was to be done about it no longer is."""
    for key in decision.changes.records:
        yield node_subject(key)
    tables = decision.changes.tables
    if tables is None:
        return
    for key, item in tables.get("items", ()):
        yield item_subject(key, item)
    for (key, first), shard in tables.get("shards", {}).items():
        if shard.over:
            yield shard_subject(key, first)
    for undo in tables.get("undos", {}).values():
        if undo is not DELETED:
            yield ("undo", undo.target)


def _note_due(dues: dict[Subject, float], command: cmd.Command) -> None:
    due_at = None if isinstance(command, ATTEMPTS) else getattr(command, "due_at", None)
    if due_at is not None:
        subject = subject_of(command)
        dues[subject] = min(due_at, dues.get(subject, due_at))
