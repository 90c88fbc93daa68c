"""What limits do that processes keep together, on the coordination store of a backend."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from flowcraft.core.limits import Limit, Visitor, ticket_name
from flowcraft.engine.swap_limits import limits_of
from flowcraft.ports.limits import LimitStore, Place
from flowcraft.testing.conformance.stage import Cases, Stage, equal

T = TypeVar("T")

cases = Cases()

SECONDS = 30.0
"""How long places of these cases are kept."""
PARALLEL = 20
ONE = Limit(concurrency=1)
TWO = Limit(concurrency=2)
SPACED = Limit(rate=6, per_seconds=60)


async def _both(stage: Stage) -> tuple[LimitStore, LimitStore]:
    """The limits as two clients see them."""
    return limits_of(stage.coordination), limits_of((await stage.another()).coordination)


async def _all(work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    return await asyncio.gather(*work)


@cases
async def as_many_come_in_as_may(stage: Stage) -> None:
    """As many are let in as the limit has it, whichever client they ask; another key is free."""
    one, other = await _both(stage)
    now = stage.clock.now()
    for token, store in (("a", one), ("b", other)):
        entered = await store.enter("key", TWO, Visitor(token, SECONDS), now)
        equal(entered.granted, True, f"whether {token} is let in")
        equal(entered.until, now + SECONDS, "until when its place is kept")
    third = await one.enter("key", TWO, Visitor("c", SECONDS, may_wait=False), now)
    equal(third, (False, 0.0, None, (), third.until), "the answer to one too many")
    equal((await one.enter("else", TWO, Visitor("c", SECONDS), now)).granted, True, "another key")


@cases
async def of_many_no_more_come_in(stage: Stage) -> None:
    """Of many who ask at the same time exactly as many are let in, and the others have tickets."""
    both, now = await _both(stage), stage.clock.now()
    work = [
        both[number % 2].enter("key", TWO, Visitor(f"t{number}", SECONDS), now)
        for number in range(PARALLEL)
    ]
    answers = await stage.outcome(_all(work))
    equal(sum(each.granted for each in answers), 2, "how many are let in")
    tickets = sorted(each.ticket for each in answers if each.ticket is not None)
    equal(tickets, list(range(PARALLEL - 2)), "the tickets of the others")


@cases
async def who_asks_twice_is_let_in_once(stage: Stage) -> None:
    """The same token has one place, however often it asks: an answer may have been lost."""
    one, other = await _both(stage)
    now = stage.clock.now()
    for store in (one, other):
        entered = await store.enter("key", TWO, Visitor("a", SECONDS), now)
        equal(entered.granted, True, "whether it is let in")
    entered = await one.enter("key", TWO, Visitor("b", SECONDS), now)
    equal(entered.granted, True, "whether there is a second place")


@cases
async def a_place_that_is_given_back_is_the_next_ones(stage: Stage) -> None:
    """Who leaves calls the first ticket, whose place nobody else is given."""
    one, other = await _both(stage)
    now = stage.clock.now()
    await one.enter("key", ONE, Visitor("a", SECONDS), now)
    first = await other.enter("key", ONE, Visitor("b", SECONDS), now)
    second = await one.enter("key", ONE, Visitor("c", SECONDS), now)
    equal((first.ticket, second.ticket), (0, 1), "the tickets")
    equal(await other.wait("key", 0, "message of b"), True, "whether b's message is kept")
    equal(list(await one.leave(Place("key", ONE, "a"), now, SECONDS)), [0], "who is called")
    equal(await one.call("key", 0), "message of b", "the message of who is called")
    late = await one.enter("key", ONE, Visitor("d", SECONDS, may_wait=False), now)
    equal(late.granted, False, "whether one who came later is let in")
    still = await one.enter("key", ONE, Visitor("c", SECONDS, 1), now)
    equal((still.granted, still.ticket), (False, 1), "whether the second waits on")
    entered = await other.enter("key", ONE, Visitor("b", SECONDS, 0), now)
    equal(entered.granted, True, "whether the first is let in")
    equal(list(await other.leave(Place("key", ONE, "b"), now, SECONDS)), [1], "who is called then")


@cases
async def a_place_is_passed_on_without_knowing_the_limit(stage: Stage) -> None:
    """Who does not know how many may be in gives the place that it has to the next in line."""
    one, other = await _both(stage)
    now = stage.clock.now()
    for token in ("a", "b"):
        await one.enter("key", TWO, Visitor(token, SECONDS), now)
    tickets = [(await one.enter("key", TWO, Visitor(each, SECONDS), now)).ticket for each in "cde"]
    equal(tickets, [0, 1, 2], "the tickets")
    equal(list(await other.pass_on("key", "nobody", now, SECONDS)), [], "who has no place")
    equal(list(await other.pass_on("key", "a", now, SECONDS)), [0], "who is called")
    equal(list(await other.pass_on("key", "a", now, SECONDS)), [], "who is called again")
    equal(list(await other.pass_on("key", "#0", now, SECONDS)), [1], "who is called next")
    late = await one.enter("key", TWO, Visitor("x", SECONDS, may_wait=False), now)
    equal(late.granted, False, "whether there is room")
    entered = await one.enter("key", TWO, Visitor("d", SECONDS, 1), now)
    equal(entered.granted, True, "whether who was called is let in")
    equal(list(await one.leave(Place("key", TWO, "b"), now, SECONDS)), [2], "who is called last")
    equal(list(await other.pass_on("key", "d", now, SECONDS)), [], "with nobody in line")
    entered = await one.enter("key", TWO, Visitor("y", SECONDS, may_wait=False), now)
    equal(entered.granted, True, "whether there is room then")


@cases
async def a_ticket_is_used_once(stage: Stage) -> None:
    """Of two copies of a message one gets the place that was kept for its ticket."""
    one, other = await _both(stage)
    now = stage.clock.now()
    await one.enter("key", ONE, Visitor("a", SECONDS), now)
    await one.enter("key", ONE, Visitor("b", SECONDS), now)
    await one.leave(Place("key", ONE, "a"), now, SECONDS)
    copies = [Visitor(token, SECONDS, 0, may_wait=False) for token in ("b1", "b2")]
    work = [
        store.enter("key", ONE, copy, now) for store, copy in zip((one, other), copies, strict=True)
    ]
    answers = await stage.outcome(_all(work))
    equal(sum(each.granted for each in answers), 1, "how many are let in")


@cases
async def the_place_of_the_dead_comes_back(stage: Stage) -> None:
    """A place that is not renewed is somebody else's when its time is over, and lost to its own."""
    one, other = await _both(stage)
    place = Place("key", ONE, "a")
    await one.enter("key", ONE, Visitor("a", SECONDS), stage.clock.now())
    stage.clock.advance(SECONDS - 1)
    equal(list(await one.renew([place], stage.clock.now() + SECONDS)), [True], "the renewal")
    stage.clock.advance(SECONDS - 1)
    early = Visitor("b", SECONDS, may_wait=False)
    entered = await other.enter("key", ONE, early, stage.clock.now())
    equal(entered.granted, False, "whether another is let in before its time is over")
    stage.clock.advance(1)
    entered = await other.enter("key", ONE, early, stage.clock.now())
    equal(entered.granted, True, "whether another is let in then")
    equal(list(await one.renew([place], stage.clock.now() + SECONDS)), [False], "who was late")
    equal(list(await one.leave(place, stage.clock.now(), SECONDS)), [], "who is called by it")
    again = await one.enter("key", ONE, Visitor("c", SECONDS, may_wait=False), stage.clock.now())
    equal(again.granted, False, "whether there is room after one left who was late")


@cases
async def who_looks_in_calls_for_the_dead(stage: Stage) -> None:
    """Where nobody lives to give a place back, whoever comes next has the first ticket called."""
    one, other = await _both(stage)
    now = stage.clock.now()
    await one.enter("key", ONE, Visitor("a", SECONDS), now)
    await one.enter("key", ONE, Visitor("b", SECONDS), now)
    await one.wait("key", 0, "message of b")
    stage.clock.advance(SECONDS)
    entered = await other.enter("key", ONE, Visitor("c", SECONDS), stage.clock.now())
    equal((entered.granted, entered.ticket), (False, 1), "what becomes of who came later")
    equal(entered.called, (0,), "who is called")
    stage.clock.advance(SECONDS)
    entered = await one.enter("key", ONE, Visitor("c", SECONDS, 1), stage.clock.now())
    equal(entered.granted, True, "whether the next is let in where the first is gone, too")


@cases
async def a_message_that_comes_late_is_told_so(stage: Stage) -> None:
    """Whoever keeps the message of a ticket that was called already is told that it was."""
    one, other = await _both(stage)
    equal(await one.call("key", 0), None, "the message that is not kept yet")
    equal(await other.wait("key", 0, "late"), False, "the answer to who keeps it then")
    equal(await one.call("key", 0), None, "the message of a ticket that is called again")
    equal(await other.wait("key", 1, "early"), True, "the answer to another")
    equal(await other.wait("key", 1, "early"), True, "the same call again")
    equal(await one.call("key", 1), "early", "the message")


@cases
async def old_messages_are_in_nobodys_way(stage: Stage) -> None:
    """A message that was never called, or a call without a message, is forgotten by and by."""
    one, other = await _both(stage)
    await one.wait("key", 0, "old")
    await one.call("key", 1)
    stage.clock.advance(2 * 86_400)
    for ticket in (0, 1):
        equal(await other.wait("key", ticket, "new"), True, "whether a new message is kept")
        equal(await one.call("key", ticket), "new", "the message that is called")


@cases
async def starts_are_spaced(stage: Stage) -> None:
    """Starts of a rate follow each other at its spacing; who is early is told when to come back."""
    one, other = await _both(stage)
    now = stage.clock.now()
    first = await one.enter("key", SPACED, Visitor("a", SECONDS), now)
    equal((first.granted, first.at), (True, now), "the first start")
    answers = [
        await store.enter("key", SPACED, Visitor(token, SECONDS), now)
        for store, token in ((other, "b"), (one, "c"))
    ]
    equal([each.granted for each in answers], [False, False], "whether others may begin")
    equal([each.at for each in answers], [now + 10, now + 20], "when they are to come back")
    stage.clock.advance(9)
    back = Visitor("b", SECONDS, has_waited=True)
    entered = await one.enter("key", SPACED, back, stage.clock.now())
    equal((entered.granted, entered.at), (True, now + 10), "the start of who came back early")
    newcomer = await one.enter("key", SPACED, Visitor("d", SECONDS), stage.clock.now())
    equal((newcomer.granted, newcomer.at), (False, now + 30), "what is left for who came later")


@cases
async def a_burst_begins_at_once(stage: Stage) -> None:
    """With a burst so many begin at once, and no more than the rate within its window."""
    store, _ = await _both(stage)
    limit = Limit(rate=5, per_seconds=60, burst=3)
    starts = []
    for number in range(200):
        visitor = Visitor(f"t{number}", SECONDS, may_wait=False)
        entered = await store.enter("key", limit, visitor, stage.clock.now())
        if entered.granted:
            starts.append(entered.at)
        else:
            stage.clock.advance(5)
    equal(len([at for at in starts if at == starts[0]]), 3, "how many begin at once")
    for at in starts:
        within = [each for each in starts if at <= each < at + 60]
        equal(len(within) <= 5, True, f"whether {within} are at most five")


@cases
async def rates_are_exact_for_many(stage: Stage) -> None:
    """Of many who ask at the same time each is given a time of its own."""
    both, now = await _both(stage), stage.clock.now()
    limit = Limit(rate=2, per_seconds=1)
    work = [
        both[number % 2].enter("key", limit, Visitor(f"t{number}", SECONDS), now)
        for number in range(PARALLEL)
    ]
    answers = await stage.outcome(_all(work))
    equal(
        sorted(each.at for each in answers),
        [now + number / 2 for number in range(PARALLEL)],
        "when they begin, or are to come back",
    )
    equal(sum(each.granted for each in answers), 5, "how many begin within two seconds")


@cases
async def both_limits_hold(stage: Stage) -> None:
    """With a concurrency and a rate, whoever waits for its time takes nobody's place."""
    store, _ = await _both(stage)
    limit = Limit(concurrency=1, rate=1, per_seconds=60)
    now = stage.clock.now()
    await store.enter("key", limit, Visitor("a", SECONDS), now)
    line = await store.enter("key", limit, Visitor("b", SECONDS), now)
    equal((line.granted, line.ticket), (False, 0), "what becomes of the second")
    equal(list(await store.leave(Place("key", limit, "a"), now, SECONDS)), [0], "who is called")
    early = await store.enter("key", limit, Visitor("b", SECONDS, 0), now)
    equal((early.granted, early.at, early.ticket), (False, now + 60, 0), "who is called too early")
    stage.clock.advance(60)
    entered = await store.enter("key", limit, Visitor("b", SECONDS, 0, True), stage.clock.now())
    equal(entered.granted, True, "whether its place was kept meanwhile")
    equal(entered.at, now + 60, "when it begins")


@cases
async def a_ticket_of_the_past_means_nothing(stage: Stage) -> None:
    """A ticket that this store never gave out is none, and keeps nobody from coming in."""
    store, _ = await _both(stage)
    entered = await store.enter("key", ONE, Visitor("a", SECONDS, 7), stage.clock.now())
    equal(entered.granted, True, "whether its owner is let in")
    gone = Place("key", ONE, ticket_name(7))
    equal(list(await store.leave(gone, stage.clock.now(), SECONDS)), [], "who is called by it")
    late = Visitor("b", SECONDS, may_wait=False)
    entered = await store.enter("key", ONE, late, stage.clock.now())
    equal(entered.granted, False, "whether that made room")
