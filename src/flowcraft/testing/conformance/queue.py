"""What a queue does."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress

from flowcraft.ports.queue import Delivery, Outgoing, Queue
from flowcraft.testing.conformance.stage import Cases, Stage, equal

cases = Cases()

WAIT = 20.0
"""How long the cases wait for a message, in seconds."""


# --- sending and receiving -----------------------------------------------------------------


@cases
async def what_is_sent_is_received(stage: Stage) -> None:
    """Bodies come out as they went in, each once, with ids and handles of their own."""
    bodies = ["plain", "{}", "äöü€😀\n\t\"'", "x" * 100_000]
    await send(stage.queue, *bodies)
    deliveries = await receive_all(stage.queue)
    equal(sorted(bodies_of(deliveries)), sorted(bodies), "the bodies")
    equal({delivery.receives for delivery in deliveries}, {1}, "how often they were received")
    equal(len({delivery.id for delivery in deliveries}), len(bodies), "the number of ids")
    equal(len({delivery.handle for delivery in deliveries}), len(bodies), "the number of handles")


@cases
async def a_message_brings_its_own_trace(stage: Stage) -> None:
    """The span that a message was sent from comes along with each delivery, or not at all."""
    spans = [f"00-{number:032x}-{number:016x}-01" for number in (1, 2)]
    await stage.queue.send([Outgoing(span, trace=span) for span in spans] + [Outgoing("none")])
    for _ in range(2):
        deliveries = await receive_all(stage.queue)
        equal(len(deliveries), 3, "how many messages can be received")
        for delivery in deliveries:
            own = delivery.body if delivery.body in spans else None
            if delivery.trace is not None:
                equal(delivery.trace, own, "the span that a message was sent from")
        stage.clock.advance(stage.queue.visibility_seconds + 1)


@cases
async def another_client_receives_it(stage: Stage) -> None:
    """What one client sends another receives."""
    other = await stage.another()
    await send(stage.queue, "a")
    equal(bodies_of(await other.queue.receive(1, 0)), ["a"], "what the other client receives")


@cases
async def an_empty_send_does_nothing(stage: Stage) -> None:
    """No messages, no handles: nothing happens and nothing fails."""
    await stage.queue.send([])
    await stage.queue.delete([])
    await stage.queue.extend([])
    equal(list(await stage.queue.receive(10, 0)), [], "what is received")


@cases
async def no_more_than_the_limit_is_received(stage: Stage) -> None:
    """At most ``limit`` messages are received at once, and none is left out or doubled."""
    await send(stage.queue, *"abcdefg")
    first = await stage.queue.receive(3, 0)
    if not 1 <= len(first) <= 3:
        raise AssertionError(f"asked for 3 of 7 messages, got {len(first)}")
    rest = await receive_all(stage.queue)
    equal(sorted(bodies_of([*first, *rest])), list("abcdefg"), "all messages")


@cases
async def competing_clients_receive_each_message_once(stage: Stage) -> None:
    """Clients that receive at the same time share the messages out among them."""
    other = await stage.another()
    await send(stage.queue, *map(str, range(40)))
    shares = await asyncio.gather(receive_all(stage.queue, 3), receive_all(other.queue, 3))
    received = sorted(int(body) for share in shares for body in bodies_of(share))
    equal(received, list(range(40)), "what both received")


@cases
async def the_timeouts_are_told(stage: Stage) -> None:
    """A queue says how long deliveries are hidden, and how long a delay may be."""
    if not (stage.queue.visibility_seconds > 0 and stage.queue.max_delay_seconds >= 0):
        raise AssertionError("visibility_seconds and max_delay_seconds are numbers from 0 on")


@cases
async def a_body_that_was_received_elsewhere_is_made_whole(stage: Stage) -> None:
    """What a queue delivers is whole already: as a body it stays as it is."""
    await send(stage.queue, "a text")
    (delivery,) = await stage.queue.receive(1, 0)
    equal(await stage.queue.whole(delivery.body), "a text", "the body")


# --- waiting -------------------------------------------------------------------------------


@cases
async def an_empty_queue_gives_nothing_at_once(stage: Stage) -> None:
    """Without ``wait_seconds`` an empty queue is left at once: no time passes."""
    before = stage.clock.now()
    equal(list(await stage.queue.receive(1, 0)), [], "what is received")
    equal(stage.clock.now(), before, "the time")


@cases
async def waiting_ends_when_the_time_is_over(stage: Stage) -> None:
    """An empty queue is waited at for ``wait_seconds``, and then gives nothing."""
    before = stage.clock.now()
    equal(list(await stage.outcome(stage.queue.receive(1, WAIT))), [], "what is received")
    equal(round(stage.clock.now() - before, 3), WAIT, "the seconds waited")


@cases
async def a_waiting_client_gets_what_is_sent(stage: Stage) -> None:
    """A receive that waits returns with a message that is sent meanwhile, before its time."""
    before = stage.clock.now()
    task = await stage.begin(stage.queue.receive(1, WAIT))
    await send(stage.queue, "a")
    equal(bodies_of(await stage.outcome(task)), ["a"], "what is received")
    require_before(stage, before + WAIT)


@cases
async def a_waiting_client_gets_what_another_sends(stage: Stage) -> None:
    """A receive that waits returns with a message that another client sends."""
    before = stage.clock.now()
    other = await stage.another()
    task = await stage.begin(other.queue.receive(1, WAIT))
    await send(stage.queue, "a")
    equal(bodies_of(await stage.outcome(task)), ["a"], "what is received")
    require_before(stage, before + WAIT)


@cases
async def of_two_waiting_clients_one_gets_it(stage: Stage) -> None:
    """One message wakes one of two clients for good; the other waits to its end."""
    other = await stage.another()
    tasks = [await stage.begin(q.receive(1, WAIT)) for q in (stage.queue, other.queue)]
    await send(stage.queue, "a")
    received = [bodies_of(await stage.outcome(task)) for task in tasks]
    equal(sorted(received), [[], ["a"]], "what both received")


@cases
async def a_receive_that_is_cancelled_takes_nothing(stage: Stage) -> None:
    """A client that gave up waiting does not hide what is sent afterwards."""
    task = await stage.begin(stage.queue.receive(1, WAIT))
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    await send(stage.queue, "a")
    equal(bodies_of(await stage.queue.receive(1, 0)), ["a"], "what the next receive gets")


# --- delays --------------------------------------------------------------------------------


@cases
async def a_delayed_message_comes_later(stage: Stage) -> None:
    """A message with a delay is received once the delay is over, not before."""
    delay = min(10.0, stage.queue.max_delay_seconds)
    await stage.queue.send([Outgoing("later", delay), Outgoing("now")])
    equal(bodies_of(await receive_all(stage.queue)), ["now"], "what is received at first")
    stage.clock.advance(delay / 2)
    equal(bodies_of(await receive_all(stage.queue)), [], "what is received half way")
    stage.clock.advance(delay / 2)
    equal(bodies_of(await receive_all(stage.queue)), ["later"], "what is received when due")


@cases
async def the_longest_delay_is_kept(stage: Stage) -> None:
    """A delay of days, or else the longest the queue announces, is kept to the end."""
    delay = min(30 * 86_400.0, stage.queue.max_delay_seconds)
    await stage.queue.send([Outgoing("later", delay)])
    stage.clock.advance(delay - 1)
    equal(bodies_of(await receive_all(stage.queue)), [], "what is received a second before")
    stage.clock.advance(1)
    equal(bodies_of(await receive_all(stage.queue)), ["later"], "what is received when due")


@cases
async def a_waiting_client_gets_what_becomes_visible(stage: Stage) -> None:
    """A receive that waits returns when the delay of a message is over."""
    before = stage.clock.now()
    await stage.queue.send([Outgoing("later", 5)])
    received = await stage.outcome(stage.queue.receive(1, WAIT))
    equal(bodies_of(received), ["later"], "what is received")
    if stage.clock.now() < before + 5:
        raise AssertionError("the message was received before its delay was over")
    require_before(stage, before + WAIT)


# --- visibility ----------------------------------------------------------------------------


@cases
async def a_delivery_is_hidden(stage: Stage) -> None:
    """What was received nobody else receives until the visibility timeout is over."""
    other = await stage.another()
    await send(stage.queue, "a")
    await stage.queue.receive(1, 0)
    stage.clock.advance(stage.queue.visibility_seconds - 1)
    equal(list(await stage.queue.receive(1, 0)), [], "what the same client receives")
    equal(list(await other.queue.receive(1, 0)), [], "what another client receives")


@cases
async def a_delivery_comes_again(stage: Stage) -> None:
    """What was not deleted is received again after the timeout, and counted."""
    await send(stage.queue, "a")
    first = await only(stage.queue)
    stage.clock.advance(stage.queue.visibility_seconds)
    second = await only(stage.queue)
    equal((second.id, second.body), (first.id, "a"), "the message")
    equal(second.receives, 2, "how often it was received")
    stage.clock.advance(stage.queue.visibility_seconds)
    equal((await only(stage.queue)).receives, 3, "how often it was received in the end")


@cases
async def a_waiting_client_gets_what_another_left(stage: Stage) -> None:
    """A receive that waits returns with a message that another client did not finish."""
    other = await stage.another()
    await send(stage.queue, "a")
    await only(other.queue)
    wait = stage.queue.visibility_seconds + WAIT
    again = await stage.outcome(stage.queue.receive(1, wait))
    equal([(d.body, d.receives) for d in again], [("a", 2)], "what is received")


@cases
async def an_extended_delivery_stays_hidden(stage: Stage) -> None:
    """Extending hides for a whole timeout from then on, and counts for nothing else."""
    await send(stage.queue, "a")
    delivery = await only(stage.queue)
    timeout = stage.queue.visibility_seconds
    stage.clock.advance(timeout - 1)
    await stage.queue.extend([delivery.handle])
    stage.clock.advance(timeout - 1)
    equal(list(await stage.queue.receive(1, 0)), [], "what is received before its end")
    stage.clock.advance(1)
    equal((await only(stage.queue)).receives, 2, "how often it was received")


@cases
async def some_deliveries_are_extended(stage: Stage) -> None:
    """Extending some deliveries leaves the others as they are."""
    await send(stage.queue, *"abc")
    handles = {d.body: d.handle for d in await receive_all(stage.queue)}
    stage.clock.advance(stage.queue.visibility_seconds - 1)
    await stage.queue.extend([handles["a"], handles["c"]])
    stage.clock.advance(1)
    equal(bodies_of(await receive_all(stage.queue)), ["b"], "what is received again")


# --- deleting ------------------------------------------------------------------------------


@cases
async def a_deleted_message_is_gone(stage: Stage) -> None:
    """What was deleted is never received again; the rest is."""
    await send(stage.queue, *"abc")
    handles = {d.body: d.handle for d in await receive_all(stage.queue)}
    await stage.queue.delete([handles["a"], handles["b"]])
    stage.clock.advance(stage.queue.visibility_seconds)
    equal(bodies_of(await receive_all(stage.queue)), ["c"], "what is received again")


@cases
async def deleting_twice_is_no_error(stage: Stage) -> None:
    """Deleting, or extending, what is gone already does nothing."""
    await send(stage.queue, "a")
    delivery = await only(stage.queue)
    await stage.queue.delete([delivery.handle])
    await send(stage.queue, "b")
    await stage.queue.delete([delivery.handle])
    await stage.queue.extend([delivery.handle])
    equal(bodies_of(await stage.queue.receive(1, 0)), ["b"], "what is received")


@cases
async def a_late_delete_is_no_longer_heard(stage: Stage) -> None:
    """Once a message was received again, the earlier delivery of it cannot delete it."""
    other = await stage.another()
    await send(stage.queue, "a")
    early = await only(stage.queue)
    stage.clock.advance(stage.queue.visibility_seconds)
    late = await only(other.queue)
    await stage.queue.delete([early.handle])
    stage.clock.advance(stage.queue.visibility_seconds)
    equal((await only(stage.queue)).id, late.id, "the message received once more")


@cases
async def a_late_extension_is_no_longer_heard(stage: Stage) -> None:
    """Once a message was received again, the earlier delivery of it cannot hide it."""
    other = await stage.another()
    await send(stage.queue, "a")
    early = await only(stage.queue)
    stage.clock.advance(stage.queue.visibility_seconds)
    await only(other.queue)
    stage.clock.advance(stage.queue.visibility_seconds - 1)
    await stage.queue.extend([early.handle])
    stage.clock.advance(1)
    equal((await only(stage.queue)).receives, 3, "how often it was received")


@cases
async def a_late_delete_is_heard_until_then(stage: Stage) -> None:
    """A delivery whose timeout is over may still be deleted while nobody received it again."""
    await send(stage.queue, "a")
    delivery = await only(stage.queue)
    stage.clock.advance(stage.queue.visibility_seconds + 1)
    await stage.queue.delete([delivery.handle])
    equal(list(await stage.queue.receive(1, 0)), [], "what is received")


# --- helpers -------------------------------------------------------------------------------


async def send(queue: Queue, *bodies: str) -> None:
    """Send messages without a delay."""
    await queue.send([Outgoing(body) for body in bodies])


async def only(queue: Queue) -> Delivery:
    """The one message that can be received."""
    deliveries = await receive_all(queue)
    equal(len(deliveries), 1, "how many messages can be received")
    return deliveries[0]


async def receive_all(queue: Queue, limit: int = 10) -> Sequence[Delivery]:
    """Everything that can be received now."""
    received: list[Delivery] = []
    while some := await queue.receive(limit, 0):
        received += some
        await asyncio.sleep(0)
    return received


def bodies_of(deliveries: Iterable[Delivery]) -> list[str]:
    """The texts of messages."""
    return [delivery.body for delivery in deliveries]


def require_before(stage: Stage, when: float) -> None:
    """Require that it is not ``when`` yet."""
    if stage.clock.now() >= when:
        raise AssertionError("the receive waited to its end, although there was a message")
