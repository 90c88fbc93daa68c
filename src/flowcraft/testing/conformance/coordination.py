"""What a store of locks, counters and marks does."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from flowcraft.ports.coordination import CoordinationStore
from flowcraft.testing.conformance.stage import Cases, Stage, equal

T = TypeVar("T")

cases = Cases()

SECONDS = 60.0
"""How long items of these cases live."""
PARALLEL = 20


@cases
async def a_text_is_set_once(stage: Stage) -> None:
    """The first text stays, and only the one who set it is told so."""
    store = stage.coordination
    equal(await store.set_if_not_exist("key", "first"), True, "the first answer")
    equal(await store.set_if_not_exist("key", "second"), False, "the second answer")
    equal(await store.set_if_not_exist("key", "first"), False, "the answer to the same once more")
    equal(await store.get("key"), "first", "the text")


@cases
async def what_was_never_set_is_none(stage: Stage) -> None:
    """A key without anything gives ``None``, and nothing of it can be prolonged or deleted."""
    store = stage.coordination
    equal(await store.get("key"), None, "the text of an unknown key")
    equal(await store.extend_ttl("key", "", SECONDS), False, "whether it was prolonged")
    equal(await store.delete("key"), False, "whether it was deleted")
    equal(await store.delete("key", ""), False, "whether it was deleted as an empty text")


@cases
async def texts_are_kept_as_they_are(stage: Stage) -> None:
    """Texts come back unchanged, empty ones too; keys are compared as they are."""
    store = stage.coordination
    for key, text in {"empty": "", "Key": "A", "key": "äöü€😀\n", "a/b:c d": "7"}.items():
        equal(await store.set_if_not_exist(key, text), True, f"whether {key!r} was free")
        equal(await store.get(key), text, f"the text under {key!r}")


@cases
async def of_many_one_sets_it(stage: Stage) -> None:
    """Of clients that set a key at the same time one is granted it."""
    clients = [stage.coordination, (await stage.another()).coordination] * (PARALLEL // 2)
    work = [client.set_if_not_exist("key", str(n)) for n, client in enumerate(clients)]
    equal((await stage.outcome(_all(work))).count(True), 1, "the number of those who set it")


@cases
async def a_text_expires(stage: Stage) -> None:
    """When its time is over a text counts as absent, and its key is free for everybody."""
    store, other = stage.coordination, (await stage.another()).coordination
    await store.set_if_not_exist("key", "first", ttl_seconds=SECONDS)
    stage.clock.advance(SECONDS - 1)
    equal(await other.get("key"), "first", "the text before its time is over")
    equal(await other.set_if_not_exist("key", "second"), False, "whether the key was free by then")
    stage.clock.advance(1)
    equal(await other.get("key"), None, "the text after its time")
    equal(await other.set_if_not_exist("key", "second"), True, "whether the key was free")
    equal(await store.get("key"), "second", "the text that came next")


@cases
async def a_text_without_a_time_stays(stage: Stage) -> None:
    """Without ``ttl_seconds`` a text never expires."""
    await stage.coordination.set_if_not_exist("key", "text")
    stage.clock.advance(10 * 365 * 86_400)
    equal(await stage.coordination.get("key"), "text", "the text ten years later")


@cases
async def an_owner_prolongs_its_text(stage: Stage) -> None:
    """A text that is prolonged lives for so long from now on, be that longer or shorter."""
    store = stage.coordination
    await store.set_if_not_exist("key", "owner", ttl_seconds=SECONDS)
    stage.clock.advance(SECONDS - 1)
    equal(await store.extend_ttl("key", "owner", SECONDS), True, "whether it was prolonged")
    stage.clock.advance(SECONDS - 1)
    equal(await store.get("key"), "owner", "the text that was prolonged")
    equal(await store.extend_ttl("key", "owner", 10), True, "whether it was prolonged again")
    stage.clock.advance(10)
    equal(await store.get("key"), None, "the text after the shorter time")


@cases
async def nobody_else_prolongs_it(stage: Stage) -> None:
    """Another text than the one that is there prolongs nothing."""
    store = stage.coordination
    await store.set_if_not_exist("key", "owner", ttl_seconds=SECONDS)
    equal(await store.extend_ttl("key", "another", 10 * SECONDS), False, "the other's answer")
    stage.clock.advance(SECONDS)
    equal(await store.get("key"), None, "the text")


@cases
async def an_owner_that_is_late_has_lost_it(stage: Stage) -> None:
    """Who lets its text expire owns the key no longer, whether or not another took it."""
    store = stage.coordination
    await store.set_if_not_exist("key", "late", ttl_seconds=SECONDS)
    stage.clock.advance(SECONDS)
    equal(await store.extend_ttl("key", "late", SECONDS), False, "whether it was prolonged")
    equal(await store.delete("key", "late"), False, "whether it was deleted")
    await store.set_if_not_exist("key", "next", ttl_seconds=SECONDS)
    equal(await store.extend_ttl("key", "late", SECONDS), False, "whether the next's was")
    equal(await store.delete("key", "late"), False, "whether the next's was deleted")
    equal(await store.get("key"), "next", "the next owner's text")


@cases
async def a_deleted_text_frees_its_key(stage: Stage) -> None:
    """An owner gives its key up, anybody else only by leaving the text out."""
    store = stage.coordination
    await store.set_if_not_exist("key", "owner")
    await store.set_if_not_exist("other", "text")
    equal(await store.delete("key", "another"), False, "what another is told")
    equal(await store.delete("key", "owner"), True, "what the owner is told")
    equal(await store.get("key"), None, "the deleted text")
    equal(await store.set_if_not_exist("key", "next"), True, "whether the key was free")
    equal(await store.delete("key"), True, "what one without a text is told")
    equal(await store.get("other"), "text", "the text under another key")


@cases
async def a_counter_counts(stage: Stage) -> None:
    """A counter begins at 0, goes up and down, and is read as a number."""
    store, other = stage.coordination, (await stage.another()).coordination
    equal(await store.increment("key"), 1, "the first number")
    equal(await other.increment("key", 5), 6, "the second number")
    equal(await store.increment("key", -7), -1, "the third number")
    equal(await store.increment("key", 0), -1, "the fourth number")
    equal(await other.get("key"), -1, "the number that is read")
    equal(await store.increment("other"), 1, "the number of another counter")


@cases
async def a_count_loses_nothing(stage: Stage) -> None:
    """Of clients that count at the same time each is given a number of its own."""
    clients = [stage.coordination, (await stage.another()).coordination] * (PARALLEL // 2)
    numbers = await stage.outcome(_all([client.increment("key") for client in clients]))
    equal(sorted(numbers), list(range(1, PARALLEL + 1)), "the numbers")


@cases
async def a_counter_expires(stage: Stage) -> None:
    """When its time is over a counter begins anew; its new time is what that call says."""
    store = stage.coordination
    await store.increment("key", 3, ttl_seconds=SECONDS)
    stage.clock.advance(SECONDS)
    equal(await store.get("key"), None, "the number after its time")
    equal(await store.increment("key", 2), 2, "the number it begins with")
    stage.clock.advance(10 * SECONDS)
    equal(await store.get("key"), 2, "the number of a counter that does not expire")


@cases
async def counting_sets_the_time(stage: Stage) -> None:
    """Each call with ``ttl_seconds`` says anew how long a counter lives; one without does not."""
    store = stage.coordination
    await store.increment("key", ttl_seconds=SECONDS)
    await store.increment("other", ttl_seconds=SECONDS)
    stage.clock.advance(SECONDS - 1)
    equal(await store.increment("key", ttl_seconds=SECONDS), 2, "the number")
    equal(await store.increment("other"), 2, "the number of the other")
    stage.clock.advance(SECONDS - 1)
    equal(await store.get("key"), 2, "the counter that was prolonged")
    equal(await store.get("other"), None, "the counter that kept its time")
    stage.clock.advance(1)
    equal(await store.get("key"), None, "the counter after its time")


@cases
async def texts_and_counters_do_not_mix(stage: Stage) -> None:
    """A text is no counter, also if it looks like one; a counter is nobody's, and keeps its key."""
    store = stage.coordination
    await store.set_if_not_exist("text", "1")
    try:
        number = await store.increment("text")
    except ValueError:
        equal(await store.get("text"), "1", "the text that was counted")
    else:
        raise AssertionError(f"expected ValueError for counting a text, got {number}")
    await store.increment("counter")
    equal(await store.set_if_not_exist("counter", "x"), False, "whether a counter's key is free")
    equal(await store.extend_ttl("counter", "1", SECONDS), False, "whether a counter has an owner")
    equal(await store.delete("counter", "1"), False, "whether it was deleted as a text")
    equal(await store.delete("counter"), True, "whether it was deleted")


@cases
async def a_text_is_exchanged(stage: Stage) -> None:
    """Who knows the text that is there puts another in its place; with nothing known it is new."""
    store, other = stage.coordination, (await stage.another()).coordination
    equal(await store.swap("key", None, "first"), (True, "first"), "what became of a new one")
    equal(await other.swap("key", "first", "second"), (True, "second"), "what became of the next")
    equal(await store.get("key"), "second", "the text")
    equal(await store.swap("key", "second", None), (True, None), "what became of it at last")
    equal(await other.get("key"), None, "the text that was forgotten")


@cases
async def nobody_exchanges_what_it_does_not_know(stage: Stage) -> None:
    """Who knows another text, or none, changes nothing, and is told what is there."""
    store, other = stage.coordination, (await stage.another()).coordination
    await store.swap("key", None, "text")
    for expected in (None, "another", "TEXT"):
        for value in ("new", None):
            told = await other.swap("key", expected, value)
            equal(told, (False, "text"), f"the answer to {expected!r} and {value!r}")
    equal(await store.swap("none", "text", "new"), (False, None), "the answer where nothing is")
    equal(await store.swap("none", "text", None), (False, None), "the same for forgetting it")
    equal(await store.swap("none", None, None), (True, None), "the answer to nothing for nothing")
    equal(await store.get("key"), "text", "the text")


@cases
async def a_counter_is_not_exchanged(stage: Stage) -> None:
    """A counter is neither a text nor nothing, whatever its number is."""
    store = stage.coordination
    await store.increment("counter", 7)
    equal(await store.swap("counter", "7", "8"), (False, 7), "the answer with its number")
    equal(await store.swap("counter", None, "8"), (False, 7), "the answer without a text")
    equal(await store.increment("counter"), 8, "the number")


@cases
async def what_was_exchanged_expires(stage: Stage) -> None:
    """Each new text lives for as long as was said with it; one that has expired is not there."""
    store, other = stage.coordination, (await stage.another()).coordination
    await store.swap("key", None, "first", ttl_seconds=SECONDS)
    stage.clock.advance(SECONDS - 1)
    await store.swap("key", "first", "second", ttl_seconds=SECONDS)
    stage.clock.advance(SECONDS - 1)
    equal(await other.get("key"), "second", "the text before its time is over")
    stage.clock.advance(1)
    equal(await other.swap("key", "second", "third"), (False, None), "the answer after it")
    equal(await other.swap("key", None, "fourth"), (True, "fourth"), "the answer to a new one")
    stage.clock.advance(10 * SECONDS)
    equal(await store.get("key"), "fourth", "a text without a time")


@cases
async def exchanges_lose_nothing(stage: Stage) -> None:
    """Of clients that change a text at the same time each adds to what the others made of it."""
    clients = [stage.coordination, (await stage.another()).coordination] * (PARALLEL // 2)

    async def add(client: CoordinationStore, name: str) -> None:
        known: str | int | None = None
        while True:
            assert known is None or isinstance(known, str)
            text = name if known is None else f"{known},{name}"
            swapped = await client.swap("names", known, text)
            if swapped.done:
                return
            known = swapped.value

    names = [f"{number:02}" for number in range(len(clients))]
    await stage.outcome(_all([add(*each) for each in zip(clients, names, strict=True)]))
    there = await stage.coordination.get("names")
    equal(sorted(str(there).split(",")), names, "the names")


async def _all(work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    return list(await asyncio.gather(*work))
