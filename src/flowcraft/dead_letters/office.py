"""Looking at dead letters, sending them back, and deleting them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol, TypeVar

from flowcraft.dead_letters.letter import Letter
from flowcraft.dead_letters.outcome import Listing, Outcome
from flowcraft.dead_letters.reading import Reader
from flowcraft.dead_letters.selection import LetterNotFound, Selection
from flowcraft.dead_letters.viewing import Viewing
from flowcraft.engine.station import Station
from flowcraft.ports.letters import BoxFacts, LetterBox, RawLetter, Settled

T = TypeVar("T")
Tell = Callable[[int], None]
"""Is called with the number of letters that are through so far."""

DEFAULT_LIMIT: Final = 1_000
MOST: Final = 100_000
"""Letters that are looked at at most: SQS lets 120,000 messages of a queue be hidden at a time."""

SAMPLE: Final = 100
"""Letters that are looked at before all are moved at once, without a look at each."""

KEPT_CHARACTERS: Final = 2_000
"""Of a body in a list; all of it is in the letter that is asked for by its id."""

ALL: Final = Selection()


class Mover(Protocol):
    """Sends back all letters of a box at once."""

    async def move_all(self, tell: Tell | None = None) -> int | None:
        """Send them back; gives how many, or ``None`` if that cannot be done here."""
        ...


Act = Callable[[Sequence[RawLetter]], Awaitable[Settled]]


class DeadLetters:
    """The dead letters of a queue; :func:`flowcraft.dead_letters.open_dead_letters` gives it.

    Args:
        box: Where they are.
        new_station: Gives what their runs are read with: a fresh one each time, so that runs are
            seen as they are.
        is_letter: Whether what the box gives is a dead letter at all; by default all is.
        mover: Sends back all at once, where that can be done.
    """

    def __init__(
        self,
        box: LetterBox,
        new_station: Callable[[], Station],
        *,
        is_letter: Callable[[Letter], bool] | None = None,
        mover: Mover | None = None,
    ) -> None:
        self._box = box
        self._new_station = new_station
        self._is_letter = is_letter or _is_any
        self._is_all_letters = is_letter is None
        self._mover = mover

    async def facts(self) -> BoxFacts:
        """What is known of the box, without a look at its letters."""
        return await self._box.facts()

    # -- looking ----------------------------------------------------------------------------

    async def look(
        self,
        selection: Selection = ALL,
        *,
        limit: int = DEFAULT_LIMIT,
        reads_runs: bool = True,
        tell: Tell | None = None,
    ) -> Listing:
        """Look at letters. They are hidden from others meanwhile, and visible again afterwards.

        Args:
            selection: Which ones are wanted.
            limit: How many are looked at, at most.
            reads_runs: Whether their runs are looked at, too.
            tell: Is told how many were looked at so far.

        Raises:
            ValueError: The limit is not from 1 to 100,000.
            StorageError: The box cannot be used.
        """
        sight = await self._sight(checked_limit(limit), reads_runs)
        found: list[Letter] = []
        async with sight.viewing:
            while letters := await sight.more():
                keep = [letter for letter, _ in letters if selection.includes(letter)]
                found += keep if selection.ids else map(_short, keep)
                if tell is not None:
                    tell(sight.viewing.seen)
                if selection.has_found({letter.id for letter in found}):
                    break
        found.sort(key=_order)
        is_cut = sight.is_cut and not selection.has_found({letter.id for letter in found})
        return Listing(sight.facts, tuple(found), sight.seen, is_cut, sight.reader.trouble)

    async def get(self, letter_id: str, *, limit: int = MOST) -> Letter:
        """One letter, by its id, or by the beginning of one.

        Raises:
            LetterNotFound: There is none.
            FlowcraftError: Several ids begin so.
            StorageError: The box cannot be used.
        """
        selection = Selection.of([letter_id])
        listing = await self.look(selection, limit=limit)
        meant, missing = selection.resolved({letter.id for letter in listing.letters})
        if missing:
            raise LetterNotFound(_not_found(letter_id, listing.box))
        return next(letter for letter in listing.letters if letter.id in meant)

    async def _sight(self, limit: int | None, reads_runs: bool = True) -> _Sight:
        facts = await self._box.facts()
        station = self._new_station()
        reader = Reader(station, facts, reads_runs=reads_runs)
        viewing = Viewing(self._box, station.clock, facts.waiting)
        return _Sight(facts, reader, viewing, limit, self._is_letter)

    # -- sending back and deleting ----------------------------------------------------------

    async def redrive(
        self,
        selection: Selection = ALL,
        *,
        foreign: bool = False,
        limit: int | None = None,
        tell: Tell | None = None,
    ) -> Outcome:
        """Send letters back to the queue that they came from.

        All of them, where none can be of another queue, are moved by a task of SQS if there are
        such tasks; otherwise letter by letter, each sent first and deleted then.

        Args:
            selection: Which ones.
            foreign: Send those of other queues back, too: each to its own. Those whose queue
                nobody knows are left in any case.
            limit: How many are sent back at most; all by default.
            tell: Is told how many are through so far.

        Raises:
            FlowcraftError: Several ids begin like one that was given.
            StorageError: The box cannot be used; what is through by then is through.
        """
        checked_limit(limit)
        if selection.is_all and limit is None and not foreign:
            moved = await self._move_all(tell)
            if moved is not None:
                return Outcome(moved, by="task")
        return await self._settle(self._box.redrive, selection, _May(foreign, False), limit, tell)

    async def _move_all(self, tell: Tell | None) -> int | None:
        """Have all letters moved at once; ``None`` where that cannot, or must not, be done."""
        if self._mover is None or not await self._are_all_ours():
            return None
        return await self._mover.move_all(tell)

    async def _are_all_ours(self) -> bool:
        """Whether a task would move no letters but those of this queue, as far as can be told."""
        sight = await self._sight(SAMPLE, False)
        if sight.facts.is_shared:
            return False
        async with sight.viewing:
            while letters := await sight.more():
                # A task fails at letters that were sent here and came from no queue.
                if not all(raw.source == sight.facts.source for _, raw in letters):
                    return False
        return True

    async def delete(
        self,
        selection: Selection,
        *,
        foreign: bool = False,
        limit: int | None = None,
        tell: Tell | None = None,
    ) -> Outcome:
        """Delete letters for good.

        Args:
            selection: Which ones.
            foreign: Delete those of other queues, or of nobody knows which, too.
            limit: How many are deleted at most; all by default.
            tell: Is told how many are through so far.

        Raises:
            FlowcraftError: Several ids begin like one that was given.
            StorageError: The box cannot be used; what is through by then is through.
        """
        checked_limit(limit)
        return await self._settle(self._box.delete, selection, _May(foreign, foreign), limit, tell)

    async def purge(self, *, foreign: bool = False, tell: Tell | None = None) -> Outcome:
        """Delete all letters.

        Where letters of other queues may be among them it is done letter by letter, and those
        are left; unless they are to be deleted, too.

        Args:
            foreign: Delete what is of other queues, too.
            tell: Is told how many are through so far.

        Raises:
            StorageError: The box cannot be used.
        """
        facts = await self._box.facts()
        if facts.purgeable and (foreign or await self._are_all_ours()):
            await self._box.purge()
            return Outcome(facts.waiting + facts.hidden, by="purge")
        return await self._settle(self._box.delete, ALL, _May(foreign, foreign), None, tell)

    async def _settle(
        self, act: Act, selection: Selection, may: _May, limit: int | None, tell: Tell | None
    ) -> Outcome:
        needs_runs = bool(selection.causes or selection.run_id) or not self._is_all_letters
        sight = await self._sight(None, needs_runs)
        outcome = Outcome()
        async with sight.viewing:
            if selection.ids:
                await self._settle_some(act, selection, may, sight, outcome)
            else:
                await self._settle_many(act, selection, may, sight, outcome, limit, tell)
        outcome.trouble = sight.reader.trouble
        return outcome

    async def _settle_some(
        self, act: Act, selection: Selection, may: _May, sight: _Sight, outcome: Outcome
    ) -> None:
        """Deal with letters that were named: not before each name is known to mean one."""
        found: dict[str, _Pair] = {}
        while letters := await sight.more():
            found |= {pair[0].id: pair for pair in letters if selection.includes(pair[0])}
            if selection.has_found(found):
                break
        meant, outcome.missing = selection.resolved(found)
        chosen = may.touch([found[each] for each in sorted(meant)], outcome)
        await _act(act, chosen, sight.viewing, outcome)

    async def _settle_many(
        self,
        act: Act,
        selection: Selection,
        may: _May,
        sight: _Sight,
        outcome: Outcome,
        limit: int | None,
        tell: Tell | None,
    ) -> None:
        """Deal with letters as they come."""
        viewing = sight.viewing
        while outcome.error is None and (letters := await sight.more()):
            chosen = may.touch([pair for pair in letters if selection.includes(pair[0])], outcome)
            if limit is not None:
                chosen = chosen[: limit - outcome.done]
            await _act(act, chosen, viewing, outcome)
            if tell is not None:
                tell(outcome.done)
            if limit is not None and outcome.done >= limit:
                outcome.is_cut = True
                break
        await _act(self._box.delete, viewing.take_again(), viewing, Outcome())


_Pair = tuple[Letter, RawLetter]


@dataclass(frozen=True, slots=True)
class _May:
    """Which letters may be touched that are not surely of this queue."""

    foreign: bool
    unknown: bool

    def touch(self, letters: Sequence[_Pair], outcome: Outcome) -> list[RawLetter]:
        """The letters that may be touched; the others are counted."""
        chosen = []
        for letter, raw in letters:
            if letter.is_ours is False and not self.foreign:
                outcome.foreign += 1
            elif letter.is_ours is None and not self.unknown:
                outcome.unknown += 1
            else:
                chosen.append(raw)
        return chosen


@dataclass(slots=True)
class _Sight:
    """Letters as they come, with what they are."""

    facts: BoxFacts
    reader: Reader
    viewing: Viewing
    limit: int | None
    is_letter: Callable[[Letter], bool]
    seen: int = 0
    is_cut: bool = False

    async def more(self) -> list[_Pair]:
        """The next letters; none at the end, or at the limit."""
        while True:
            left = MOST if self.limit is None else self.limit - self.seen
            if left <= 0:
                self.is_cut = True
                return []
            raws = await self.viewing.more(left)
            if not raws:
                return []
            read = await self.reader.read(raws)
            pairs = [each for each in zip(read, raws, strict=True) if self.is_letter(each[0])]
            self.seen += len(pairs)
            if pairs:
                return pairs


def _is_any(_: Letter) -> bool:
    return True


async def _act(act: Act, letters: Sequence[RawLetter], viewing: Viewing, outcome: Outcome) -> None:
    """Do something with letters, to its end also where the caller is cancelled meanwhile."""
    if not letters:
        return
    task = asyncio.ensure_future(act(letters))
    try:
        await asyncio.shield(task)
    finally:
        # Sent and not deleted yet is a state that nobody is to be left in.
        settled = await task
        viewing.forget(settled.done)
        outcome.add(settled)


def checked_limit(limit: Any) -> Any:
    """A number of letters.

    Raises:
        TypeError: It is no whole number.
        ValueError: It is not from 1 to 100,000.
    """
    if limit is None:
        return None
    if isinstance(limit, bool) or not isinstance(limit, int):
        raise TypeError(f"limit is a whole number of letters, not {limit!r}.")
    if not 1 <= limit <= MOST:
        raise ValueError(f"limit is from 1 to {MOST:,}, not {limit}.")
    return limit


def _not_found(letter_id: str, facts: BoxFacts) -> str:
    hidden = ""
    if facts.hidden:
        hidden = (
            f" {facts.hidden} letters were hidden, because somebody received them a moment ago: "
            "try again in a minute."
        )
    return f"There is no letter '{letter_id}' in '{facts.name}'.{hidden}"


def _short(letter: Letter) -> Letter:
    """A letter with the beginning of its body: a list of many has no room for all of it."""
    if len(letter.body) <= KEPT_CHARACTERS:
        return letter
    return replace(letter, body=letter.body[:KEPT_CHARACTERS] + "…")


def _order(letter: Letter) -> tuple[str, float, str]:
    sent = 0.0 if letter.sent_at is None else letter.sent_at.timestamp()
    return letter.cause, sent, letter.id
