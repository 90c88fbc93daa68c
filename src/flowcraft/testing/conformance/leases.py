"""Who may carry out an attempt: leases, taken, held, prolonged, ended and taken over."""

from __future__ import annotations

import asyncio
from typing import Any

from flowcraft.ports.runs import Change, Entry, Held, Lease, Renewed, Row, Verdict
from flowcraft.testing.clock import START
from flowcraft.testing.conformance.helpers import (
    SECONDS,
    claim,
    create,
    data_of,
    done,
    holding,
    leases,
    log,
    record,
    renew,
    unchanged,
    write,
)
from flowcraft.testing.conformance.stage import Cases, Stage, equal

cases = Cases()


# --- taking --------------------------------------------------------------------------------


@cases
async def a_free_place_is_taken(stage: Stage) -> None:
    """A claim to a free place is granted, for so many seconds from now."""
    await create(stage.runs)
    stage.clock.advance(3)
    written = await done(stage.runs, 1, "a", claim=claim())
    equal((written.granted, written.lease), (True, None), "granted, and what is in the way")
    until = stage.clock.now() + SECONDS
    equal(await leases(stage.runs), [Lease("place", "token", "thread of token", until)], "leases")


@cases
async def a_taken_place_is_refused(stage: Stage) -> None:
    """A claim to a place that is taken is refused with the lease there; the rest is done."""
    await create(stage.runs)
    await done(stage.runs, 1, claim=claim("first"))
    (lease,) = await leases(stage.runs)
    stage.clock.advance(1)
    written = await done(stage.runs, 1, "a", claim=claim("second"), row=Row("paused"))
    equal((written.granted, written.lease), (False, lease), "granted, and what is in the way")
    equal(written.row_written, True, "whether the row is written")
    equal(await log(stage.runs), ["begin", "a"], "the facts")
    equal(await leases(stage.runs), [lease], "the leases")


@cases
async def an_expired_lease_is_still_in_the_way(stage: Stage) -> None:
    """An expired lease is not overwritten: who takes over does so at another place."""
    await create(stage.runs)
    await done(stage.runs, 1, claim=claim("first"))
    (lease,) = await leases(stage.runs)
    stage.clock.advance(SECONDS + 1)
    written = await done(stage.runs, 1, claim=claim("second"))
    equal((written.granted, written.lease), (False, lease), "granted, and what is in the way")
    equal(await leases(stage.runs), [lease], "the leases")


@cases
async def places_are_independent(stage: Stage) -> None:
    """Places, and runs, have leases of their own, even under the same token."""
    for run_id in ("run", "other"):
        await create(stage.runs, run_id)
        for place in ("p1", "p2"):
            written = await done(stage.runs, 1, run_id=run_id, claim=claim(place=place))
            equal(written.granted, True, f"whether {place} of {run_id} is granted")
    equal([lease.place for lease in await leases(stage.runs)], ["p1", "p2"], "the places")


@cases
async def of_two_that_claim_one_is_granted(stage: Stage) -> None:
    """Of clients that claim a place at the same time, one is granted it."""
    await create(stage.runs)
    other = await stage.another()
    both = {"first": stage.runs, "second": other.runs}
    answers = await asyncio.gather(
        *(done(runs, 1, claim=claim(token)) for token, runs in both.items())
    )
    equal(sorted(answer.granted for answer in answers), [False, True], "who is granted it")


@cases
async def who_does_not_know_everything_takes_nothing(stage: Stage) -> None:
    """With facts to append a claim needs the writer to know everything; the facts are written."""
    await create(stage.runs)
    await done(stage.runs, 1, "a")
    written = await done(stage.runs, 1, "b", claim=claim())
    equal((written.granted, written.lease), (False, None), "granted, and what is in the way")
    equal(await log(stage.runs), ["begin", "a", "b"], "the facts")
    equal(await leases(stage.runs), [], "the leases")


@cases
async def who_does_not_know_everything_is_told_who_is_there(stage: Stage) -> None:
    """A claim refused for both reasons is answered with the lease at its place."""
    await create(stage.runs)
    await done(stage.runs, 1, "a", claim=claim("first"))
    written = await done(stage.runs, 1, "b", claim=claim("second"))
    equal(written.granted, False, "whether it is granted")
    equal(written.lease, (await leases(stage.runs))[0], "what is in the way")


@cases
async def a_bare_claim_needs_no_knowledge(stage: Stage) -> None:
    """A claim without facts is granted also to who does not know everything."""
    await create(stage.runs)
    await done(stage.runs, 1, "a")
    written = await done(stage.runs, 1, claim=claim())
    equal((written.granted, data_of(written.facts)), (True, ["a"]), "granted, and the facts")


@cases
async def a_claim_may_be_repeated(stage: Stage) -> None:
    """A claim whose answer was lost is granted again, also with facts and little knowledge."""
    await create(stage.runs)
    await done(stage.runs, 1, claim=claim())
    equal((await done(stage.runs, 1, claim=claim())).granted, True, "the claim repeated")
    await done(stage.runs, 1, "a")
    equal((await done(stage.runs, 1, "b", claim=claim())).granted, True, "the claim with a fact")
    equal([lease.token for lease in await leases(stage.runs)], ["token"], "the tokens")


@cases
async def a_claim_to_what_is_over_is_refused(stage: Stage) -> None:
    """Once an attempt has ended nobody takes its place, not even who had it."""
    await create(stage.runs)
    await done(stage.runs, 1, claim=claim())
    await done(stage.runs, 1, holding=holding())
    for token in ("token", "other"):
        written = await done(stage.runs, 1, claim=claim(token))
        equal(written.granted, False, f"whether {token} is granted it")
        lease = written.lease
        told = None if lease is None else (lease.place, lease.over)
        equal(told, ("place", True), "place and over of what is in the way")


# --- holding -------------------------------------------------------------------------------


@cases
async def a_lease_is_used_once(stage: Stage) -> None:
    """A write that requires a lease ends it: it is listed no more, and does for no second."""
    await create(stage.runs)
    await done(stage.runs, 1, claim=claim())
    await done(stage.runs, 1, "a", holding=holding())
    equal(await leases(stage.runs), [], "the leases")
    before = await record(stage.runs)
    more = {"holding": holding(), "row": Row("paused"), "claim": claim(place="p2")}
    answer = await write(stage.runs, 1, "b", **more)
    equal((answer.verdict, data_of(answer.facts)), (Verdict.LOST, ["a"]), "the answer")
    equal((answer.first, answer.granted, answer.row_written), (-1, False, False), "what was done")
    await unchanged(stage.runs, before)


@cases
async def the_token_must_fit(stage: Stage) -> None:
    """A write is ``LOST`` under another token, at another place, or of another run."""
    await create(stage.runs)
    await create(stage.runs, "other")
    await done(stage.runs, 1, claim=claim())
    before = await record(stage.runs)
    for name in (holding("stranger"), holding(place="p2"), holding("stranger", give_back=True)):
        equal((await write(stage.runs, 1, "a", holding=name)).verdict, Verdict.LOST, f"{name}")
    answer = await write(stage.runs, 1, "a", run_id="other", holding=holding())
    equal(answer.verdict, Verdict.LOST, "the verdict in another run")
    await unchanged(stage.runs, before)
    equal(await log(stage.runs, "other"), ["begin"], "the other run's facts")


@cases
async def an_expired_lease_serves_its_holder(stage: Stage) -> None:
    """Who holds a lease that has expired, and that nobody took over, may still use it."""
    await create(stage.runs)
    await done(stage.runs, 1, claim=claim())
    stage.clock.advance(SECONDS * 10)
    await done(stage.runs, 1, "a", holding=holding())
    equal(await log(stage.runs), ["begin", "a"], "the facts")


@cases
async def who_does_not_know_everything_may_hold(stage: Stage) -> None:
    """A lease is good for a write also if facts came in between."""
    await create(stage.runs)
    await done(stage.runs, 1, claim=claim())
    await done(stage.runs, 1, "a")
    written = await done(stage.runs, 1, "b", holding=holding())
    equal(data_of(written.facts), ["a", "b"], "the facts answered")


@cases
async def one_lease_is_exchanged_for_another(stage: Stage) -> None:
    """A write may end one lease and take another."""
    await create(stage.runs)
    await done(stage.runs, 1, claim=claim("first"))
    written = await done(stage.runs, 1, "a", holding=holding("first"), claim=claim("second", "p2"))
    equal(written.granted, True, "whether it is granted")
    found = [(lease.place, lease.token) for lease in await leases(stage.runs)]
    equal(found, [("p2", "second")], "the leases")


# --- taking over ---------------------------------------------------------------------------


@cases
async def nobody_is_taken_over_before_time(stage: Stage) -> None:
    """Taking over is ``LOST`` as long as the lease has not expired."""
    await create(stage.runs)
    await done(stage.runs, 1, claim=claim())
    stage.clock.advance(SECONDS - 1)
    before = await record(stage.runs)
    answer = await write(stage.runs, 1, "a", holding=holding(expired=True))
    equal(answer.verdict, Verdict.LOST, "the verdict")
    await unchanged(stage.runs, before)


@cases
async def who_is_gone_is_taken_over(stage: Stage) -> None:
    """A lease that has expired is taken over by whoever names its token; the holder lost it."""
    await create(stage.runs)
    other = await stage.another()
    await done(stage.runs, 1, claim=claim("first", "attempt 1"))
    stage.clock.advance(SECONDS)
    over = holding("first", "attempt 1", expired=True)
    written = await done(other.runs, 1, "a", holding=over, claim=claim("second", "attempt 2"))
    equal(written.granted, True, "whether the next place is granted")
    answer = await write(stage.runs, 1, "b", holding=holding("first", "attempt 1"))
    equal((answer.verdict, data_of(answer.facts)), (Verdict.LOST, ["a"]), "what its holder is told")
    equal([lease.token for lease in await leases(stage.runs)], ["second"], "the tokens")


@cases
async def of_two_that_take_over_one_does(stage: Stage) -> None:
    """Of clients that take the same lease over at the same time, one does."""
    await create(stage.runs)
    other = await stage.another()
    await done(stage.runs, 1, claim=claim())
    stage.clock.advance(SECONDS)
    over = holding(expired=True)
    answers = await asyncio.gather(
        *(write(runs, 1, "a", holding=over) for runs in (stage.runs, other.runs))
    )
    verdicts = sorted(answer.verdict for answer in answers)
    equal(verdicts, [Verdict.DONE, Verdict.LOST], "the verdicts")
    equal(await log(stage.runs), ["begin", "a"], "the facts")


# --- asking again --------------------------------------------------------------------------


@cases
async def a_takeover_may_be_repeated(stage: Stage) -> None:
    """Who takes over, and is not answered, has the next place when the same is asked again."""
    await create(stage.runs)
    await done(stage.runs, 1, claim=claim("first", "attempt 1"))
    stage.clock.advance(SECONDS)
    over = holding("first", "attempt 1", expired=True)
    await _is_done_once(stage, holding=over, claim=claim("second", "attempt 2"))


@cases
async def a_commit_with_a_claim_may_be_repeated(stage: Stage) -> None:
    """So has who ends one attempt and takes another, exactly or not."""
    await create(stage.runs)
    await done(stage.runs, 1, claim=claim("first", "p1"))
    await _is_done_once(stage, holding=holding("first", "p1"), claim=claim("second", "p2"))
    more = {"holding": holding("second", "p2"), "claim": claim("third", "p3")}
    await _is_done_once(stage, seen=2, data="b", exact=True, **more)


@cases
async def an_exact_write_with_a_claim_may_be_repeated(stage: Stage) -> None:
    """So has who holds nothing: a timer is due, for example."""
    await create(stage.runs)
    await _is_done_once(stage, exact=True, claim=claim())


@cases
async def an_entry_with_an_id_and_a_claim_may_be_repeated(stage: Stage) -> None:
    """So has who writes an entry that a run takes once: what a message brings, for example."""
    await create(stage.runs)
    change = Change(
        "run", "epoch", 1, "thread", (Entry("a", START, "id"),), claim=claim(), exact=True
    )
    for which in ("first", "second"):
        written = await stage.runs.write(change)
        answer = (written.verdict, written.first, written.granted)
        equal(answer, (Verdict.DONE, 1, True), f"the {which} answer")
    equal(await log(stage.runs), ["begin", "a"], "the facts")


@cases
async def what_another_did_is_not_ones_own(stage: Stage) -> None:
    """The same takeover, under another token, is ``LOST``: its claim stands there for nobody."""
    await create(stage.runs)
    await done(stage.runs, 1, claim=claim("first", "attempt 1"))
    stage.clock.advance(SECONDS)
    over = holding("first", "attempt 1", expired=True)
    await done(stage.runs, 1, "a", holding=over, claim=claim("second", "attempt 2"))
    before = await record(stage.runs)
    other = await write(stage.runs, 1, "a", holding=over, claim=claim("third", "attempt 2"))
    equal((other.verdict, other.granted), (Verdict.LOST, False), "under another token")
    facts = await write(stage.runs, 1, "b", holding=over, claim=claim("second", "attempt 2"))
    equal((facts.verdict, facts.granted), (Verdict.LOST, False), "with other facts")
    await unchanged(stage.runs, before)


@cases
async def what_is_repeated_late_is_granted_nothing(stage: Stage) -> None:
    """What others wrote meanwhile is told; once they have taken over there is nothing to grant."""
    await create(stage.runs)
    await done(stage.runs, 1, claim=claim("first", "p1"))
    more = {"holding": holding("first", "p1"), "claim": claim("second", "p2")}
    await done(stage.runs, 1, "a", **more)
    await done(stage.runs, 2, "b")
    again = await done(stage.runs, 1, "a", **more)
    told = (again.first, again.granted, data_of(again.facts))
    equal(told, (1, True, ["a", "b"]), "as long as nobody took over")
    stage.clock.advance(SECONDS * 2)
    await done(stage.runs, 3, "c", holding=holding("second", "p2", expired=True))
    late = await write(stage.runs, 1, "a", **more)
    equal(late.granted, False, "whether it is granted afterwards")
    equal(await log(stage.runs), ["begin", "a", "b", "c"], "the facts")


async def _is_done_once(stage: Stage, *, seen: int = 1, data: str = "a", **more: Any) -> None:
    for which in ("first", "second"):
        written = await write(stage.runs, seen, data, **more)
        answer = (written.verdict, written.first, written.granted)
        equal(answer, (Verdict.DONE, seen, True), f"the {which} answer")
    equal((await log(stage.runs))[seen:], [data], "the facts")
    equal([each.token for each in await leases(stage.runs)], [more["claim"].token], "the tokens")


# --- giving back ---------------------------------------------------------------------------


@cases
async def what_is_given_back_is_free(stage: Stage) -> None:
    """A lease given back leaves its place to anybody, and its holder without it."""
    await create(stage.runs)
    await done(stage.runs, 1, claim=claim("first"))
    await done(stage.runs, 1, holding=holding("first", give_back=True))
    equal(await leases(stage.runs), [], "the leases")
    equal(
        (await write(stage.runs, 1, holding=holding("first"))).verdict, Verdict.LOST, "holding it"
    )
    equal((await done(stage.runs, 1, claim=claim("second"))).granted, True, "whether it is granted")


@cases
async def what_is_over_is_not_given_back(stage: Stage) -> None:
    """An attempt that has ended cannot be said never to have happened."""
    await create(stage.runs)
    await done(stage.runs, 1, claim=claim())
    await done(stage.runs, 1, holding=holding())
    answer = await write(stage.runs, 1, holding=holding(give_back=True))
    equal(answer.verdict, Verdict.LOST, "the verdict")
    equal((await done(stage.runs, 1, claim=claim())).granted, False, "whether it is granted")


@cases
async def a_place_given_back_may_be_taken_at_once(stage: Stage) -> None:
    """The lease is given up before the other is taken, also where both are at one place."""
    await create(stage.runs)
    await done(stage.runs, 1, claim=claim("first"))
    back = holding("first", give_back=True)
    written = await done(stage.runs, 1, holding=back, claim=claim("second"))
    equal(written.granted, True, "whether it is granted")
    equal([lease.token for lease in await leases(stage.runs)], ["second"], "the tokens")


# --- renewing ------------------------------------------------------------------------------


@cases
async def a_lease_is_prolonged_from_now_on(stage: Stage) -> None:
    """Renewing moves the end to so many seconds from now, and says that the lease is held."""
    await create(stage.runs)
    await done(stage.runs, 1, claim=claim())
    stage.clock.advance(SECONDS - 1)
    equal(await renew(stage.runs), Renewed(held=True, stopping=False), "the answer")
    (lease,) = await leases(stage.runs)
    equal(lease.expires_at, stage.clock.now() + SECONDS, "when it expires")
    stage.clock.advance(SECONDS - 1)
    answer = await write(stage.runs, 1, holding=holding(expired=True))
    equal(answer.verdict, Verdict.LOST, "the verdict on taking it over")


@cases
async def an_expired_lease_may_be_prolonged(stage: Stage) -> None:
    """Who was slow to renew still holds the lease if nobody took it over."""
    await create(stage.runs)
    await done(stage.runs, 1, claim=claim())
    stage.clock.advance(SECONDS * 10)
    equal((await renew(stage.runs)).held, True, "whether it is held")
    answer = await write(stage.runs, 1, holding=holding(expired=True))
    equal(answer.verdict, Verdict.LOST, "the verdict on taking it over")


@cases
async def a_lost_lease_is_not_prolonged(stage: Stage) -> None:
    """A lease that is over, somebody else's or not there is not held, and not changed."""
    await create(stage.runs)
    equal((await renew(stage.runs)).held, False, "without a lease")
    await done(stage.runs, 1, claim=claim())
    before = await record(stage.runs)
    equal((await renew(stage.runs, "stranger")).held, False, "under another token")
    await unchanged(stage.runs, before)
    await done(stage.runs, 1, holding=holding())
    equal((await renew(stage.runs)).held, False, "when it is over")
    equal(await leases(stage.runs), [], "the leases")


@cases
async def renewing_tells_whether_the_run_is_stopping(stage: Stage) -> None:
    """Whoever renews learns that the run is to stop, whether or not it holds the lease."""
    await create(stage.runs)
    await done(stage.runs, 1, claim=claim(), row=Row("running", stopping=True))
    equal(await renew(stage.runs), Renewed(held=True, stopping=True), "the holder's answer")
    answer = await renew(stage.runs, "stranger")
    equal(answer, Renewed(held=False, stopping=True), "the stranger's answer")


@cases
async def renewing_in_a_run_that_is_gone(stage: Stage) -> None:
    """The leases of a run that is gone are not held."""
    await create(stage.runs)
    await done(stage.runs, 1, claim=claim())
    await stage.runs.remove("run", "epoch")
    equal(await renew(stage.runs), Renewed(held=False, stopping=False), "the answer")


@cases
async def answers_to_renewing_are_in_order(stage: Stage) -> None:
    """Many leases are renewed at once and answered in the order asked; none is no error."""
    await create(stage.runs)
    await create(stage.runs, "stopping")
    for number in range(0, 60, 2):
        await done(stage.runs, 1, claim=claim(place=str(number)))
    await done(stage.runs, 1, run_id="stopping", claim=claim(), row=Row("running", stopping=True))
    asked = [Held("run", str(number), "token") for number in range(60)]
    answers = await stage.runs.renew([*asked, Held("stopping", "place", "token")], SECONDS)
    expected = [Renewed(number % 2 == 0, stopping=False) for number in range(60)]
    equal(list(answers), [*expected, Renewed(held=True, stopping=True)], "the answers")
    equal(list(await stage.runs.renew([], SECONDS)), [], "the answers to nothing")
