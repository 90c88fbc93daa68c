"""The contract suite is able to fail: an adapter with a mistake does not pass it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from flowcraft.adapters.memory import MemoryBlobs, MemoryCoordination, MemoryQueue, MemoryRuns
from flowcraft.ports.clock import Clock
from flowcraft.ports.coordination import Swapped
from flowcraft.ports.queue import Delivery, Outgoing
from flowcraft.ports.runs import (
    Change,
    Claim,
    Created,
    Entry,
    Head,
    Held,
    Query,
    Record,
    Renewed,
    Verdict,
    Written,
)
from flowcraft.ports.suspicion import Suspects, Suspicion
from flowcraft.testing import VirtualClock
from flowcraft.testing.conformance import CASES, Connect, Ports, check
from flowcraft.testing.conformance.suspects import LIVE


class ForgetsDelays(MemoryQueue):
    """Messages can be received at once."""

    async def send(self, messages: Sequence[Outgoing]) -> None:
        await super().send([Outgoing(message.body) for message in messages])


class DoesNotWait(MemoryQueue):
    """An empty queue is left at once."""

    async def receive(self, limit: int, wait_seconds: float) -> Sequence[Delivery]:
        return await super().receive(limit, 0)


class IgnoresTheLimit(MemoryQueue):
    """More is received than was asked for."""

    async def receive(self, limit: int, wait_seconds: float) -> Sequence[Delivery]:
        return await super().receive(limit + 1, wait_seconds)


class HearsLateHandles(MemoryQueue):
    """A handle means the message, not one delivery of it."""

    async def delete(self, handles: Sequence[str]) -> None:
        await super().delete([self._latest(handle) for handle in handles])

    async def extend(self, handles: Sequence[str]) -> None:
        await super().extend([self._latest(handle) for handle in handles])

    def _latest(self, handle: str) -> str:
        message = self._messages.get(int(handle.partition("/")[0]))
        return handle if message is None else message.handle


class MixesUpTraces(MemoryQueue):
    """A message is told the span of another one."""

    async def receive(self, limit: int, wait_seconds: float) -> Sequence[Delivery]:
        received = await super().receive(limit, wait_seconds)
        traces = [each.trace for each in received]
        turned = zip(received, traces[1:] + traces[:1], strict=True)
        return [replace(each, trace=trace) for each, trace in turned]


class CreatesTwice(MemoryRuns):
    """An idempotency key is not looked at."""

    async def create(self, head: Head, entries: Sequence[Entry], thread: str) -> Created:
        created = await super().create(replace(head, key=None), entries, thread)
        return created._replace(head=replace(created.head, key=head.key))


class ReadsEverything(MemoryRuns):
    """Facts are read from the first on, whatever was asked for."""

    async def read(self, run_id: str, since: int = 0) -> Record | None:
        return await super().read(run_id)


def with_changes(alter: Callable[[Change], Change]) -> type[MemoryRuns]:
    """A store that does something else than it is told."""

    class Altered(MemoryRuns):
        async def write(self, change: Change) -> Written:
            return await super().write(alter(change))

    return Altered


def without_expiry(change: Change) -> Change:
    """Take over leases whether or not they have expired."""
    holding = change.holding and replace(change.holding, expired=False)
    return replace(change, holding=holding)


def without_giving_back(change: Change) -> Change:
    """End leases that were to be given back."""
    holding = change.holding and replace(change.holding, give_back=False)
    return replace(change, holding=holding)


def with_short_leases(change: Change) -> Change:
    """Grant leases for half of their time."""
    claim = change.claim
    if claim is None:
        return change
    short = Claim(claim.place, claim.token, claim.thread, claim.seconds / 2)
    return replace(change, claim=short)


class AnswersOwnFactsOnly(MemoryRuns):
    """A writer is not told what it missed."""

    async def write(self, change: Change) -> Written:
        written = await super().write(change)
        own = [fact for fact in written.facts if fact.number >= written.first >= 0]
        return replace(written, facts=own)


class ForgetsWhatItDid(MemoryRuns):
    """Who asks again is refused for what it has done itself."""

    async def write(self, change: Change) -> Written:
        before = await self.read(change.run_id)
        written = await super().write(change)
        is_old = before is not None and 0 <= written.first < len(before.facts)
        return Written(Verdict.LOST, written.facts) if is_old else written


class TakesAnyClaimForItsOwn(MemoryRuns):
    """Whoever writes what is there already is told that it has done so."""

    async def write(self, change: Change) -> Written:
        written = await super().write(change)
        if written.verdict is Verdict.LOST and change.is_in(written.facts):
            return replace(written, verdict=Verdict.DONE, first=change.seen, granted=True)
        return written


class RenewsNothing(MemoryRuns):
    """Leases are said to be held, and not prolonged."""

    async def renew(self, leases: Sequence[Held], seconds: float) -> Sequence[Renewed]:
        return [replace(renewed) for renewed in await super().renew(leases, 0.0)]


class RemovesAnyEpoch(MemoryRuns):
    """A run is removed although an earlier one was meant."""

    async def remove(self, run_id: str, epoch: str, *, only_hide: bool = False) -> None:
        record = await self.read(run_id)
        epoch = record.head.epoch if record else epoch
        await super().remove(run_id, epoch, only_hide=only_hide)


class RemovesAtOnce(MemoryRuns):
    """What is only to be hidden is gone."""

    async def remove(self, run_id: str, epoch: str, *, only_hide: bool = False) -> None:
        del only_hide
        await super().remove(run_id, epoch)


class HidesNothing(MemoryRuns):
    """What is to be hidden stays as it is."""

    async def remove(self, run_id: str, epoch: str, *, only_hide: bool = False) -> None:
        if not only_hide:
            await super().remove(run_id, epoch)


class ListsTheHidden(MemoryRuns):
    """Lists take no notice of the time of runs."""

    async def find(self, query: Query) -> Sequence[Head]:
        times = {run_id: run.head.expires_at for run_id, run in self._runs.items()}
        for run in self._runs.values():
            run.head = replace(run.head, expires_at=None)
        found = await super().find(replace(query, lapsed=None))
        for run_id, expires_at in times.items():
            run = self._runs[run_id]
            run.head = replace(run.head, expires_at=expires_at)
        return found


class WritesToTheHidden(MemoryRuns):
    """A run that counts as absent is written to."""

    async def write(self, change: Change) -> Written:
        run = self._runs.get(change.run_id)
        if run is not None:
            run.head = replace(run.head, expires_at=None)
        return await super().write(change)


class HidesAgain(MemoryRuns):
    """Each time that a run is hidden counts anew."""

    async def remove(self, run_id: str, epoch: str, *, only_hide: bool = False) -> None:
        run = self._runs.get(run_id)
        if run is not None and only_hide:
            run.head = replace(run.head, expires_at=None)
        await super().remove(run_id, epoch, only_hide=only_hide)


class ListsOldestFirst(MemoryRuns):
    """The order of lists is the wrong one."""

    async def find(self, query: Query) -> Sequence[Head]:
        return list(reversed(await super().find(query)))


class ListsParts(MemoryRuns):
    """Parts of runs are listed like runs."""

    async def find(self, query: Query) -> Sequence[Head]:
        return await super().find(replace(query, parts=True))


class IgnoresEvents(MemoryRuns):
    """Runs are found whatever they await."""

    async def find(self, query: Query) -> Sequence[Head]:
        return await super().find(replace(query, awaits=None))


class ForgetsFirstEvents(MemoryRuns):
    """What a run awaits from its beginning on is not kept."""

    async def create(self, head: Head, entries: Sequence[Entry], thread: str) -> Created:
        row = replace(head.row, awaits=())
        return await super().create(replace(head, row=row), entries, thread)


class RemembersEvents(MemoryRuns):
    """What a run has awaited once it is found by for ever, also when it is gone."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self._ever: dict[str, set[str]] = {}

    async def create(self, head: Head, entries: Sequence[Entry], thread: str) -> Created:
        self._ever.setdefault(head.run_id, set()).update(head.row.awaits)
        return await super().create(head, entries, thread)

    async def find(self, query: Query) -> Sequence[Head]:
        heads = await super().find(replace(query, awaits=None))
        if query.awaits is None:
            return heads
        return [head for head in heads if query.awaits in self._ever.get(head.run_id, ())]


class WritesEventsAlways(MemoryRuns):
    """The events of a row are taken over also where the row is not."""

    async def write(self, change: Change) -> Written:
        written = await super().write(change)
        run = self._runs.get(change.run_id)
        if run is not None and change.row is not None:
            row = replace(run.head.row, awaits=change.row.awaits)
            run.head = replace(run.head, row=row)
        return written


class FoldsCase(MemoryRuns):
    """Events that differ in case are taken for one."""

    async def find(self, query: Query) -> Sequence[Head]:
        heads = await super().find(replace(query, awaits=None))
        if query.awaits is None:
            return heads
        wanted = query.awaits.lower()
        return [head for head in heads if wanted in map(str.lower, head.row.awaits)]


class SuspectsOnlyTheOld(MemoryRuns):
    """A timer that is overdue is no reason."""

    async def suspects(self, suspicion: Suspicion, after: str | None = None) -> Suspects:
        return await super().suspects(replace(suspicion, overdue=()), after)


class SuspectsByTheStart(MemoryRuns):
    """A run that was started long ago is suspected, however lately its row was written."""

    async def suspects(self, suspicion: Suspicion, after: str | None = None) -> Suspects:
        for run in self._runs.values():
            run.head = replace(run.head, updated_at=run.head.created_at)
        return await super().suspects(suspicion, after)


class SuspectsWhatIsOver(MemoryRuns):
    """The status makes no difference."""

    async def suspects(self, suspicion: Suspicion, after: str | None = None) -> Suspects:
        statuses = (*LIVE, "completed", "failed")
        return await super().suspects(replace(suspicion, untouched=statuses), after)


class HasOnePage(MemoryRuns):
    """More suspects than a page has are forgotten."""

    async def suspects(self, suspicion: Suspicion, after: str | None = None) -> Suspects:
        return (await super().suspects(suspicion, after))._replace(after=None)


class ReplacesTexts(MemoryBlobs):
    """The last text stays instead of the first."""

    async def put(self, key: str, text: str, *, replace: bool = False) -> None:
        await super().put(key, text, replace=True)


class KeepsTexts(MemoryBlobs):
    """Nothing is ever deleted."""

    async def delete(self, key: str) -> None:
        return


class OverwritesTexts(MemoryCoordination):
    """A key that is taken is taken over."""

    async def set_if_not_exist(
        self, key: str, value: str, *, ttl_seconds: float | None = None
    ) -> bool:
        self._items.pop(key, None)
        return await super().set_if_not_exist(key, value, ttl_seconds=ttl_seconds)


class LetsTheSameTextIn(MemoryCoordination):
    """Who sets what is there already is told that it was set."""

    async def set_if_not_exist(
        self, key: str, value: str, *, ttl_seconds: float | None = None
    ) -> bool:
        was_set = await super().set_if_not_exist(key, value, ttl_seconds=ttl_seconds)
        return was_set or await self.get(key) == value


class KeepsTheExpired(MemoryCoordination):
    """What has expired is there until somebody has removed it, as in a table with a late sweep."""

    def _get(self, key: str) -> str | int | None:
        value, _ = self._items.get(key, (None, 0.0))
        return value

    def _clear(self) -> None:
        return


class NeverExpires(MemoryCoordination):
    """The time of texts is not looked at."""

    async def set_if_not_exist(
        self, key: str, value: str, *, ttl_seconds: float | None = None
    ) -> bool:
        return await super().set_if_not_exist(key, value)


class ProlongsForAnybody(MemoryCoordination):
    """Whoever asks prolongs, whatever the text."""

    async def extend_ttl(self, key: str, value: str, ttl_seconds: float) -> bool:
        there = await self.get(key)
        return isinstance(there, str) and await super().extend_ttl(key, there, ttl_seconds)


class RevivesTheExpired(MemoryCoordination):
    """An owner that is late gets its text back, as long as nobody else has set one."""

    async def extend_ttl(self, key: str, value: str, ttl_seconds: float) -> bool:
        if self._items.get(key, ("",))[0] == value:
            self._items[key] = (value, self._clock.now() + ttl_seconds)
            return True
        return False


class ProlongsFromTheEnd(MemoryCoordination):
    """Time is added to what was left."""

    async def extend_ttl(self, key: str, value: str, ttl_seconds: float) -> bool:
        left = self._items.get(key, ("", 0.0))[1] - self._clock.now()
        return await super().extend_ttl(key, value, left + ttl_seconds)


class ExchangesForAnybody(MemoryCoordination):
    """The text that is to be exchanged is not compared."""

    async def swap(
        self, key: str, expected: str | None, value: str | None, *, ttl_seconds: float | None = None
    ) -> Swapped:
        there = await self.get(key)
        known = there if isinstance(there, str) else expected
        return await super().swap(key, known, value, ttl_seconds=ttl_seconds)


class KeepsTheTime(MemoryCoordination):
    """A text that is exchanged lives for as long as the one before."""

    async def swap(
        self, key: str, expected: str | None, value: str | None, *, ttl_seconds: float | None = None
    ) -> Swapped:
        before = self._items.get(key)
        swapped = await super().swap(key, expected, value, ttl_seconds=ttl_seconds)
        if swapped.done and before and key in self._items:
            self._items[key] = (self._items[key][0], before[1])
        return swapped


class TakesCountersForTexts(MemoryCoordination):
    """The number of a counter is a text like any other."""

    async def swap(
        self, key: str, expected: str | None, value: str | None, *, ttl_seconds: float | None = None
    ) -> Swapped:
        there = await self.get(key)
        if there is not None and str(there) == expected:
            await self.delete(key)
            expected = None
        return await super().swap(key, expected, value, ttl_seconds=ttl_seconds)


class DeletesForAnybody(MemoryCoordination):
    """The text that is to be deleted is not compared."""

    async def delete(self, key: str, value: str | None = None) -> bool:
        return await super().delete(key)


class LosesCounts(MemoryCoordination):
    """A number is read, and written a turn of the loop later."""

    async def increment(self, key: str, by: int = 1, *, ttl_seconds: float | None = None) -> int:
        number = await self.get(key) or 0
        await asyncio.sleep(0)
        if not isinstance(number, int):
            raise ValueError
        self._items.setdefault(key, (0, math.inf))
        self._items[key] = (number, self._items[key][1])
        return await super().increment(key, by, ttl_seconds=ttl_seconds)


class KeepsTheFirstTime(MemoryCoordination):
    """A counter expires when its first call said."""

    async def increment(self, key: str, by: int = 1, *, ttl_seconds: float | None = None) -> int:
        is_new = await self.get(key) is None
        return await super().increment(key, by, ttl_seconds=ttl_seconds if is_new else None)


class CountsTexts(MemoryCoordination):
    """A text that looks like a number is one."""

    async def increment(self, key: str, by: int = 1, *, ttl_seconds: float | None = None) -> int:
        value, expires_at = self._items.get(key, (0, math.inf))
        self._items[key] = (int(value), expires_at)
        return await super().increment(key, by, ttl_seconds=ttl_seconds)


def failures(
    queue: type[MemoryQueue] = MemoryQueue,
    runs: type[MemoryRuns] = MemoryRuns,
    blobs: type[MemoryBlobs] = MemoryBlobs,
    coordination: type[MemoryCoordination] = MemoryCoordination,
) -> set[str]:
    """The cases that adapters do not pass."""

    @asynccontextmanager
    async def open_storage(clock: VirtualClock) -> AsyncIterator[Connect]:
        ports = Ports(queue(clock), runs(clock), blobs(), coordination(clock))

        async def connect() -> Ports:
            return ports

        yield connect

    failed = set()
    for case in CASES:
        try:
            check(case, open_storage)
        except AssertionError:
            failed.add(case.__name__)
    return failed


def test_a_faultless_adapter_passes() -> None:
    """The adapters that the broken ones are made of pass every case."""
    assert failures() == set()


@pytest.mark.parametrize(
    ("queue", "case"),
    [
        (MixesUpTraces, "a_message_brings_its_own_trace"),
        (ForgetsDelays, "a_delayed_message_comes_later"),
        (DoesNotWait, "waiting_ends_when_the_time_is_over"),
        (IgnoresTheLimit, "no_more_than_the_limit_is_received"),
        (HearsLateHandles, "a_late_delete_is_no_longer_heard"),
        (HearsLateHandles, "a_late_extension_is_no_longer_heard"),
    ],
)
def test_a_broken_queue_is_found(queue: type[MemoryQueue], case: str) -> None:
    """Each mistake of a queue fails the case that is about it."""
    assert case in failures(queue=queue)


@pytest.mark.parametrize(
    ("runs", "case"),
    [
        (CreatesTwice, "a_second_run_of_the_same_key_does_not_begin"),
        (ReadsEverything, "facts_are_read_from_a_number_on"),
        (
            with_changes(lambda c: replace(c, exact=False)),
            "an_exact_write_refuses_what_it_does_not_know",
        ),
        (with_changes(lambda c: replace(c, holding=None)), "the_token_must_fit"),
        (with_changes(lambda c: replace(c, row=None)), "the_row_is_written_with_its_time"),
        (with_changes(without_expiry), "nobody_is_taken_over_before_time"),
        (with_changes(without_giving_back), "what_is_given_back_is_free"),
        (with_changes(with_short_leases), "a_free_place_is_taken"),
        (AnswersOwnFactsOnly, "who_lags_behind_is_told"),
        (RenewsNothing, "a_lease_is_prolonged_from_now_on"),
        (RemovesAnyEpoch, "another_epoch_is_left_alone"),
        (RemovesAnyEpoch, "hiding_another_epoch_does_nothing"),
        (RemovesAtOnce, "a_hidden_run_is_read_with_its_time"),
        (RemovesAtOnce, "a_hidden_run_keeps_its_place_until_it_is_removed"),
        (HidesNothing, "a_hidden_run_takes_nothing"),
        (HidesNothing, "another_client_finds_a_run_hidden"),
        (ListsTheHidden, "a_hidden_run_is_in_no_list_but_one"),
        (ListsTheHidden, "runs_that_were_over_long_ago_have_lapsed"),
        (WritesToTheHidden, "a_hidden_run_takes_nothing"),
        (HidesAgain, "a_hidden_run_is_read_with_its_time"),
        (ListsOldestFirst, "the_newest_run_comes_first"),
        (ForgetsWhatItDid, "a_takeover_may_be_repeated"),
        (ForgetsWhatItDid, "a_commit_with_a_claim_may_be_repeated"),
        (ForgetsWhatItDid, "an_exact_write_with_a_claim_may_be_repeated"),
        (ForgetsWhatItDid, "an_entry_with_an_id_and_a_claim_may_be_repeated"),
        (TakesAnyClaimForItsOwn, "what_another_did_is_not_ones_own"),
        (TakesAnyClaimForItsOwn, "what_is_repeated_late_is_granted_nothing"),
        (ListsParts, "parts_are_listed_when_asked_for"),
        (IgnoresEvents, "runs_are_found_by_what_they_await"),
        (ForgetsFirstEvents, "runs_are_found_by_what_they_await"),
        (RemembersEvents, "a_removed_run_awaits_nothing"),
        (WritesEventsAlways, "a_row_that_is_not_written_awaits_nothing"),
        (FoldsCase, "awaited_events_are_compared_as_they_are"),
        (SuspectsOnlyTheOld, "runs_with_an_overdue_timer_are_suspected"),
        (SuspectsOnlyTheOld, "one_pass_finds_all_kinds"),
        (SuspectsByTheStart, "a_run_whose_row_was_written_is_not_suspected"),
        (SuspectsWhatIsOver, "runs_that_nobody_touched_are_suspected"),
        (SuspectsWhatIsOver, "suspects_are_the_same_at_each_depth"),
        (HasOnePage, "pages_of_suspects_cover_all"),
    ],
)
def test_a_broken_store_of_runs_is_found(runs: type[MemoryRuns], case: str) -> None:
    """Each mistake of a store of runs fails the case that is about it."""
    assert case in failures(runs=runs)


@pytest.mark.parametrize(
    ("blobs", "case"),
    [(ReplacesTexts, "the_first_text_stays"), (KeepsTexts, "a_deleted_text_is_gone")],
)
def test_a_broken_store_of_texts_is_found(blobs: type[MemoryBlobs], case: str) -> None:
    """Each mistake of a store of texts fails the case that is about it."""
    assert case in failures(blobs=blobs)


@pytest.mark.parametrize(
    ("coordination", "case"),
    [
        (OverwritesTexts, "a_text_is_set_once"),
        (OverwritesTexts, "of_many_one_sets_it"),
        (LetsTheSameTextIn, "a_text_is_set_once"),
        (KeepsTheExpired, "a_text_expires"),
        (KeepsTheExpired, "a_counter_expires"),
        (NeverExpires, "a_text_expires"),
        (ProlongsForAnybody, "nobody_else_prolongs_it"),
        (RevivesTheExpired, "an_owner_that_is_late_has_lost_it"),
        (ProlongsFromTheEnd, "an_owner_prolongs_its_text"),
        (DeletesForAnybody, "a_deleted_text_frees_its_key"),
        (ExchangesForAnybody, "nobody_exchanges_what_it_does_not_know"),
        (KeepsTheTime, "what_was_exchanged_expires"),
        (TakesCountersForTexts, "a_counter_is_not_exchanged"),
        (LosesCounts, "a_count_loses_nothing"),
        (KeepsTheFirstTime, "counting_sets_the_time"),
        (CountsTexts, "texts_and_counters_do_not_mix"),
    ],
)
def test_a_broken_store_of_locks_is_found(
    coordination: type[MemoryCoordination], case: str
) -> None:
    """Each mistake of a store of locks and counters fails the case that is about it."""
    assert case in failures(coordination=coordination)


def test_every_case_says_what_it_shows() -> None:
    """Every case has a sentence, and a name of its own."""
    assert all((case.__doc__ or "").strip().endswith(".") for case in CASES)
    assert len({case.__name__ for case in CASES}) == len(CASES)
