"""What a client does with links: makes those of open waits, looks where one leads, answers by one.

A link can be used once, and nothing is kept for that: the record of the run says whether the wait
has its answer. The answer is written by the client itself, and not only sent to the workers, since
whoever answers is to be told at once whether it was taken: of two answers at the same moment the
record takes one.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

from flowcraft.core import events as ev
from flowcraft.core.plan import Key, PlanNode, index_of_key, iteration_of_key
from flowcraft.core.state import SUCCEEDED, WAITING
from flowcraft.core.values import snapshot
from flowcraft.core.waits import refusal
from flowcraft.engine.answer_checks import check_answer, is_same
from flowcraft.engine.answer_urls import NO_LINKS, links_of, target_of, waiting_node
from flowcraft.engine.carrying import Carrier
from flowcraft.engine.jobs import Job
from flowcraft.engine.ledger import Ledger
from flowcraft.engine.links import Links, LinkTarget, Purpose
from flowcraft.engine.options import RuntimeOptions
from flowcraft.engine.results import open_instances
from flowcraft.engine.station import Station
from flowcraft.engine.telling import tell_facts
from flowcraft.errors import (
    AlreadyAnswered,
    FlowcraftError,
    InvalidRunState,
    NotWaitingYet,
    RunNotFound,
    StorageBusy,
)
from flowcraft.ports.clock import Clock
from flowcraft.ports.runs import Verdict, Written

WRITE_ATTEMPTS: Final = 20
"""How often an answer is written into a run that others are writing to."""

Standing = Literal["open", "early", "answered", "over", "not yet"]


@dataclass(frozen=True, slots=True)
class AnswerLink:
    """The link to an open wait.

    Attributes:
        run_id: The run that waits: a child run by its own id.
        path: Ids of the subflow nodes that lead to it, then the waiting node's id.
        iteration: The round of each loop around it, outermost first.
        title: What is asked.
        actions: The actions that the wait takes; any if there are none.
        action: The only action that the link answers with, if it carries one.
        purpose: ``webhook`` or ``approval``.
        expires_at: Until when it holds, in seconds since the epoch.
        due_at: When the wait itself is over, if it is.
        url: The address. It is not shown with the rest, since whoever knows it may answer.
    """

    run_id: str
    path: tuple[str, ...]
    iteration: tuple[int, ...]
    title: str | None
    actions: tuple[str, ...]
    action: str | None
    purpose: Purpose
    expires_at: float
    due_at: float | None
    url: str = field(repr=False)

    @property
    def node_id(self) -> str:
        """The id of the waiting node."""
        return self.path[-1]


@dataclass(frozen=True, slots=True)
class LinkedWait:
    """Where a link leads, as it was when it was looked at.

    Attributes:
        target: What the link says.
        standing: ``open``: it waits. ``early``: it has not begun; an answer is kept for it.
            ``answered``: it has its answer. ``over``: nobody can answer any more. ``not yet``: it
            is in a round of a loop that has not come; an answer cannot be kept.
        blueprint_id: The blueprint of the run.
        title: What is asked.
        schema: The JSON Schema of the answer, if there is one.
        actions: The actions that a link may choose from: one that it carries, or what is listed.
        due_at: When the wait is over by itself, if it is.
        action: The action of the answer, once it is there.
    """

    target: LinkTarget
    standing: Standing
    blueprint_id: str
    title: str | None
    schema: Any
    actions: tuple[str, ...]
    due_at: float | None = None
    action: str | None = None


class LinkAnswer(NamedTuple):
    """What became of an answer.

    Attributes:
        target: What the link says.
        is_repeated: Whether the same answer was there already, from an earlier request.
    """

    target: LinkTarget
    is_repeated: bool


class _Place(NamedTuple):
    """An instance that a link leads to, as far as its run is known."""

    ledger: Ledger
    node: PlanNode
    key: Key

    @property
    def standing(self) -> Standing:
        state = self.ledger.state
        record = state.records.get(self.key)
        if record is not None:
            if record.status is WAITING:
                return "over" if state.status.is_final else "open"
            return "answered" if record.status is SUCCEEDED else "over"
        if self.node.id in state.answers and not self.node.loops:
            return "answered"
        if state.status.is_final or state.stopping is not None:
            return "over"
        return "not yet" if self.node.loops else "early"

    @property
    def answer(self) -> tuple[Any, Any]:
        """Output and action of the answer that is there."""
        record = self.ledger.state.records.get(self.key)
        if record is None:
            kept: tuple[Any, Any] = self.ledger.state.answers[self.node.id]
            return kept
        return record.output, record.action

    @property
    def due_at(self) -> float | None:
        record = self.ledger.state.records.get(self.key)
        return None if record is None or record.status is not WAITING else record.due_at


class Linking:
    """The verbs of a :class:`FlowClient` that are about links."""

    _options: RuntimeOptions
    _clock: Clock

    @property
    def links(self) -> Links | None:
        """What makes the links of this client, if anything does."""
        return self._options.links

    def read_link(self, token: str, purpose: Purpose) -> LinkTarget:
        """What a link is for.

        Args:
            token: The last part of its address.
            purpose: What it is used for: ``webhook`` or ``approval``.

        Raises:
            FlowcraftError: The client has no links.
            LinkExpired: It was right once.
            LinkInvalid: It is none, was altered, or is for another purpose.
        """
        if self.links is None:
            raise FlowcraftError(NO_LINKS, is_fatal=True)
        return self.links.read(token, purpose, self._clock.now())

    async def _opened(self) -> Station:
        raise NotImplementedError

    async def _live(self, run_id: str) -> Ledger:
        raise NotImplementedError

    async def answer_links(
        self,
        run_id: str,
        *,
        node_id: str | None = None,
        action: str | None = None,
        purpose: Purpose | None = None,
        lifetime_seconds: float | None = None,
    ) -> list[AnswerLink]:
        """The links to all that a run and its child runs wait for, where an answer is awaited.

        Args:
            run_id: The run.
            node_id: Only to waits of this id.
            action: The only action that the links answer with; any without it.
            purpose: ``webhook`` or ``approval``; by default what each node is.
            lifetime_seconds: How long they hold; the lifetime of the links of the client without.

        Raises:
            FlowcraftError: The client has no links.
            RunNotFound: There is no such run.
            InvalidRunState: It is over, does not wait there, or a wait does not take the action.
            ValueError: The lifetime is not positive, or longer than a year.
        """
        ledger = await self._live(run_id)
        links = links_of(ledger)
        found: list[AnswerLink] = []
        for run, path, key, record in open_instances(ledger):
            node = run.plan.nodes[index_of_key(key)]
            if record.status is not WAITING or node_id not in (None, node.id):
                continue
            if (problem := refusal(node, action)) is not None:
                raise InvalidRunState(f"Run '{run_id}': {problem}")
            rounds = iteration_of_key(key)
            target = target_of(run, node, rounds, links, action, purpose, lifetime_seconds)
            found.append(
                AnswerLink(
                    run_id=target.run_id,
                    path=path,
                    iteration=rounds,
                    title=_title(node),
                    actions=_listed(node),
                    action=action,
                    purpose=target.purpose,
                    expires_at=target.expires_at,
                    due_at=record.due_at,
                    url=links.url(target),
                )
            )
        if node_id is not None and not found:
            raise InvalidRunState(f"Run '{run_id}': no node '{node_id}' waits for an answer.")
        return found

    async def look_at_link(self, target: LinkTarget) -> LinkedWait:
        """Where a link leads now; nothing changes.

        Args:
            target: What :meth:`read_link` found.

        Raises:
            RunNotFound: The run is not there any more.
        """
        place = await _place(await self._opened(), target)
        standing = place.standing
        action = place.answer[1] if standing == "answered" else None
        listed = _listed(place.node)
        return LinkedWait(
            target=target,
            standing=standing,
            blueprint_id=place.ledger.plan.blueprint.id,
            title=_title(place.node),
            schema=place.node.definition.params.get("schema"),
            actions=listed if target.action is None else (target.action,),
            due_at=place.due_at,
            action=None if action is None else str(action),
        )

    async def answer_by_link(
        self, target: LinkTarget, output: Any, *, action: str | None = None
    ) -> LinkAnswer:
        """Answer the wait that a link leads to.

        The answer is stored when this returns. The same answer again is no error, so that a sender
        that was not told may ask again; another one is.

        Args:
            target: What :meth:`read_link` found.
            output: The wait's output.
            action: The action, where the link carries none: one of those that the wait lists.

        Raises:
            RunNotFound: The run is not there any more.
            AlreadyAnswered: The wait has another answer, or is over.
            NotWaitingYet: It is in a round of a loop that has not come.
            InvalidRunState: The wait does not take the action.
            AnswerRefused: The output does not fit its schema.
            SerializationError: The output cannot be stored.
            StorageBusy: Too many others write to the run; ask again.
        """
        codecs = self._options.serializer.codec_for
        value = snapshot(output, registered=codecs, where="output")
        station = await self._opened()
        place = await _place(station, target)
        chosen = _chosen(place, target, action)
        # In a thread: others have their turn while a large answer is checked.
        await asyncio.to_thread(check_answer, place.node, value, target.run_id)
        return LinkAnswer(target, await _Writer(station, place, value, chosen).write())


class _Writer:
    """Writes one answer into the record of its run."""

    def __init__(self, station: Station, place: _Place, value: Any, action: str | None) -> None:
        self._station = station
        self._place = place
        self._ledger = place.ledger
        self._value = value
        self._action = action
        self._thread = station.identifiers.new_run_id()
        self._is_sent = False

    async def write(self) -> bool:
        """Write it; gives whether the same answer was there before.

        Raises:
            AlreadyAnswered: Another one was, or the wait is over.
            NotWaitingYet: It is in a round of a loop that has not come.
            StorageBusy: Others were faster again and again.
        """
        for _ in range(WRITE_ATTEMPTS):
            standing = self._place.standing
            if standing == "answered":
                self._expect_same()
                return True
            if standing in ("over", "not yet"):
                raise _refused(self._place, standing)
            written = await self._try(standing == "open")
            if self._is_mine(written):
                return False
        raise StorageBusy(
            f"Run '{self._ledger.run_id}' is being written to by many others; try again."
        )

    async def _try(self, is_open: bool) -> Written:
        key = self._place.key if is_open else None
        event = ev.AnswerReceived(key, self._value, self._action, self._place.node.id)
        job = self._job(event)
        if is_open and not self._is_sent:
            # First, so that what follows is done whatever becomes of this process: a wait that has
            # its answer by then takes no other. An answer that is kept leads to nothing yet.
            await self._station.send([job])
            self._is_sent = True
        ledger, before = self._ledger, self._ledger.state.status
        foreseen = ledger.foresee(event, self._station.clock.now())
        change = ledger.exactly(foreseen, self._thread, job.event_id)
        written = await self._station.runs.write(change)
        if written.verdict is Verdict.GONE:
            raise RunNotFound(f"There is no run '{ledger.run_id}' any more.")
        ledger.catch_up(written.facts)
        if written.verdict is Verdict.DONE:
            self._station.measures.told(ledger, written.first)
            tell_facts(ledger, [written.first])
            if ledger.state.status is not before:
                carrier = Carrier(self._station, ledger)
                carrier.tell_parent_of_rest()
                await carrier.flush()
        return written

    def _job(self, event: ev.AnswerReceived) -> Job:
        ledger = self._ledger
        return Job(
            ledger.run_id,
            ledger.epoch,
            ledger.head.blueprint_id,
            self._thread,
            event=event,
            event_id=f"link/{self._thread}",
            group=ledger.group,
        )

    def _is_mine(self, written: Written) -> bool:
        """Whether this answer was written: here, or by a worker that had its message sooner."""
        return any(fact.thread == self._thread for fact in written.facts)

    def _expect_same(self) -> None:
        output, action = self._place.answer
        if action != self._action or not is_same(output, self._value):
            raise _refused(self._place, "answered")


async def _place(station: Station, target: LinkTarget) -> _Place:
    """The instance that a link leads to.

    Raises:
        RunNotFound: The run, or this start of it, is not there any more.
    """
    ledger = await station.read(target.run_id, target.epoch)
    if ledger is None or ledger.head.is_part:
        raise RunNotFound(f"There is no run '{target.run_id}' any more.")
    node = waiting_node(ledger.plan, target.node_id)
    return _Place(ledger, node, ledger.plan.key(node, target.iteration))


def _chosen(place: _Place, target: LinkTarget, action: str | None) -> str | None:
    """The action of an answer: what the link carries, or one that the wait lists.

    Raises:
        InvalidRunState: It is another one.
    """
    if target.action is not None:
        if action not in (None, target.action):
            raise InvalidRunState(f"The link answers with '{target.action}', not '{action}'.")
        return target.action
    if action is None or action in _listed(place.node):
        return action
    known = ", ".join(map(repr, _listed(place.node))) or "none"
    raise InvalidRunState(
        f"Node '{place.node.id}' takes these actions from a link: {known}; not {action!r:.60}."
    )


def _refused(place: _Place, standing: Standing) -> InvalidRunState:
    name = f"node '{place.node.id}' of run '{place.ledger.run_id}'"
    if standing == "not yet":
        return NotWaitingYet(f"This round of {name} has not come yet; answer once it waits.")
    if standing == "over":
        return AlreadyAnswered(f"Nobody can answer {name} any more: it is over.")
    return AlreadyAnswered(f"There is another answer already for {name}.")


def _listed(node: PlanNode) -> tuple[str, ...]:
    actions = node.definition.params.get("actions")
    several = actions if isinstance(actions, list | tuple) else ()
    return tuple(each for each in several if isinstance(each, str))


def _title(node: PlanNode) -> str | None:
    title = node.definition.params.get("title")
    return title if isinstance(title, str) and title.strip() else None
