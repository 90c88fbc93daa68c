"""Dead letters: what they are, whose they are, and what becomes of them."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from flowcraft import FlowRuntime
from flowcraft.adapters.aws.transport import CONNECTION_FAILED, Answer, AwsError, Request
from flowcraft.core import events as ev
from flowcraft.dead_letters import (
    MEANINGS,
    Cause,
    LetterNotFound,
    Selection,
    Standing,
    open_dead_letters,
)
from flowcraft.dead_letters.viewing import Viewing
from flowcraft.engine.jobs import Job, read_job, write_job
from flowcraft.engine.serializer import JsonSerializer
from flowcraft.errors import FlowcraftError, StorageBusy, StorageError, StorageUnavailable
from flowcraft.memory import MemoryAdapter
from flowcraft.ports.queue import Outgoing
from flowcraft.ports.runs import Change, Claim
from flowcraft.testing.aws.sqs import KIND
from tests.unit.dead_letters import NOT_THERE, Post, asks, flow, play
from tests.unit.runs import drive
from tests.unit.test_fake_sqs_unkind import Dice

SERIALIZER = JsonSerializer()
JOB = {"v": 1, "runId": "r", "epoch": "e", "blueprintId": "f", "thread": "t"}
TYPESCRIPT = {"runId": "r", "blueprintId": "b", "nodeId": "n"}

BODIES = {
    "no JSON": ("nonsense", Cause.NOT_JSON),
    "no object": ("[1]", Cause.NOT_OURS),
    "of the TypeScript adapter": (json.dumps(TYPESCRIPT), Cause.NOT_OURS),
    "of somebody else": ('{"v": "one"}', Cause.NOT_OURS),
    "of a newer version": (json.dumps(JOB | {"v": 2}), Cause.NEWER_VERSION),
    "damaged": (json.dumps(JOB | {"thread": 7}), Cause.DAMAGED),
    "encoded": (json.dumps(JOB | {"event": "encoded:abc"}), Cause.ENCODED),
    "without its body": ('{"flowcraftBody":"message/0"}', Cause.BODY_MISSING),
    "of no run": (json.dumps(JOB), Cause.RUN_GONE),
}


def job_of(post: Post) -> Job:
    """The one job on the queue."""
    (body,) = post.alive
    return read_job(body, SERIALIZER)


async def bury_instead(post: Post, job: Job) -> None:
    """Have another message as a dead letter than the one on the queue."""
    request = {"QueueUrl": post.url}
    (message,) = await post.found(request)
    await post.sqs.call("DeleteMessage", request | {"ReceiptHandle": message["ReceiptHandle"]})
    await post.send(write_job(job, SERIALIZER))
    await post.bury()


# --- causes --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", BODIES)
def test_what_is_wrong_with_a_letter_is_its_cause(kind: str) -> None:
    """A body that cannot be worked on says why: by its cause, and in a sentence."""
    body, cause = BODIES[kind]

    async def story(post: Post) -> None:
        await post.send(body)
        await post.bury()
        async with post.letters() as letters:
            listing = await letters.look()
        (letter,) = listing.letters
        assert (letter.cause, letter.body, letter.is_ours) == (cause, body, True)
        assert letter.reason
        assert letter.redriving
        assert letter.source == "jobs"
        assert list(listing.groups) == [cause]
        assert ("TypeScript" in letter.reason) == (kind == "of the TypeScript adapter")

    play(story)


def test_each_cause_has_a_meaning_and_a_cure() -> None:
    """No cause is listed without saying what it means, and what helps."""
    assert MEANINGS.keys() == set(Cause)
    assert all(": " in meaning for meaning in MEANINGS.values())


def test_a_missing_implementation_is_the_cause_of_what_was_put_back() -> None:
    """A job that workers put back says what they lacked, and since when."""

    async def story(post: Post) -> None:
        await post.client.start_run(flow, {}, run_id="r")
        job = replace(job_of(post), place="0/1", node_id="a", put_back=3, first_at=60.0)
        await bury_instead(post, job)
        async with post.letters() as letters:
            letter = await letters.get((await letters.look()).letters[0].id)
        assert letter.cause is Cause.IMPLEMENTATION_MISSING
        assert "put back 3 times since 1970-01-01 00:01:00+00:00" in letter.reason
        assert "'tests.unit.dead_letters:one' of node 'a'" in letter.reason
        assert letter.run is not None
        assert (letter.run.node_id, letter.run.standing) == ("a", Standing.WAITING)

    play(story)


def test_a_run_whose_record_is_damaged_is_the_cause() -> None:
    """A letter whose run cannot be read says so, with what is wrong with it."""

    async def story(post: Post) -> None:
        await post.dead_run(run_id="r")
        keys = [item["runId"]["S"] for item in post.tables.items("contexts")]
        snapshot = next(key for key in keys if "blueprint/" in key)
        request = {"TableName": "contexts", "Key": {"runId": {"S": snapshot}}}
        await post.tables.call("DeleteItem", request)
        async with post.letters(post.new_client()) as letters:
            (letter,) = (await letters.look()).letters
        assert letter.cause is Cause.RUN_UNREADABLE
        assert "is not stored" in letter.reason

    play(story)


# --- runs ----------------------------------------------------------------------------------


def test_a_run_that_waits_for_a_letter_goes_on_when_it_is_sent_back() -> None:
    """A run whose only message is a letter waits for it, and completes once it is redriven."""

    async def story(post: Post) -> None:
        run_id = await post.dead_run()
        async with post.letters() as letters:
            (letter,) = (await letters.look()).letters
            assert letter.run is not None
            assert (letter.run.run_id, letter.run.status) == (run_id, "running")
            assert letter.run.standing is Standing.WAITING
            assert letter.redriving == "The run goes on with it."
            assert "send it again" in letter.deleting
            assert (await letters.redrive(Selection.of([letter.id]))).done == 1
        assert (post.dead, len(post.alive)) == ([], 1)
        await post.work()
        assert (await post.client.get_run(run_id)).status == "completed"

    play(story)


def test_a_run_that_went_on_needs_its_letter_no_more() -> None:
    """Of a run that another message has carried to its end the letter is told to do nothing."""

    async def story(post: Post) -> None:
        await post.client.start_run(flow, {}, run_id="r")
        (body,) = post.alive
        await post.bury()
        await post.send(body)
        await post.work()
        async with post.letters() as letters:
            (letter,) = (await letters.look()).letters
        assert letter.run is not None
        assert (letter.run.standing, letter.run.status) == (Standing.OVER, "completed")
        assert letter.redriving == "Does nothing: the run is over (completed)."
        assert letter.deleting == "Nothing is lost."

    play(story)


def test_a_letter_whose_part_is_done_was_carried_on() -> None:
    """A run that waits for something else needs neither the letter's place nor its thread."""

    async def story(post: Post) -> None:
        await post.client.start_run(asks, {}, run_id="r")
        (body,) = post.alive
        await post.bury()
        await post.send(body)
        await post.work()
        async with post.letters() as letters:
            (letter,) = (await letters.look()).letters
        assert letter.run is not None
        assert (letter.run.standing, letter.run.status) == (Standing.CARRIED_ON, "awaiting")
        assert letter.redriving == "Does nothing: the run went on without it."

    play(story)


def test_an_answer_that_is_a_letter_is_lost_when_it_is_deleted() -> None:
    """What nobody sends again, such as somebody's answer, is said to be lost."""

    async def story(post: Post) -> None:
        await post.client.start_run(asks, {}, run_id="r")
        job = replace(job_of(post), event=ev.AnswerReceived(0, {"by": "ops"}, None), event_id="x")
        await post.work()
        await bury_instead(post, job)
        async with post.letters() as letters:
            (letter,) = (await letters.look()).letters
        assert letter.run is not None
        assert (letter.run.standing, letter.run.brings) == (Standing.WAITING, "AnswerReceived")
        assert letter.deleting == (
            "What it brings (AnswerReceived) is lost: nobody sends it again."
        )

    play(story)


@pytest.mark.parametrize(("seconds", "standing"), [(10, "in hand"), (40, "waiting")])
def test_an_attempt_that_somebody_has_is_in_hand(seconds: int, standing: str) -> None:
    """While the lease of the attempt lasts somebody is at it; then the run waits for the letter."""

    async def story(post: Post) -> None:
        await post.client.start_run(flow, {}, run_id="r")
        job = replace(job_of(post), place="0/1", node_id="a")
        await bury_instead(post, job)
        async with post.client._open_ports() as ports:
            record = await ports.runs.read("r")
            assert record is not None
            claim = Claim("0/1", "token", "another", 30.0)
            await ports.runs.write(
                Change("r", record.head.epoch, record.head.facts, "another", claim=claim)
            )
        post.clock.advance(seconds)
        async with post.letters() as letters:
            (letter,) = (await letters.look()).letters
        assert letter.run is not None
        assert letter.run.standing == standing

    play(story)


def test_letters_are_listed_where_their_runs_cannot_be_looked_at() -> None:
    """Without the tables a list says what the bodies say, and why it says no more."""

    async def story(post: Post) -> None:
        await post.dead_run()
        await post.dead_run()
        real = post.tables.call

        async def down(operation: str, request: Request) -> Answer:
            if operation == "GetItem":
                raise AwsError("AccessDeniedException", "no", operation=operation)
            return await real(operation, request)

        post.tables.call = down  # type: ignore[method-assign]
        async with post.letters(post.new_client()) as letters:
            listing = await letters.look()
        assert [letter.cause for letter in listing.letters] == [Cause.DELIVERED_TOO_OFTEN] * 2
        assert listing.trouble is not None
        assert "may not be used" in listing.trouble
        (first, _) = listing.letters
        assert first.deleting == ("What is lost is not known: the run could not be looked at.")

    play(story)


# --- looking -------------------------------------------------------------------------------


def test_a_look_hides_no_letter_longer_than_it_takes() -> None:
    """After a list all letters are visible, each was listed once, and nothing was changed."""

    async def story(post: Post) -> None:
        for number in range(25):
            await post.send(f"no {number}")
        await post.bury()
        before = post.dead
        async with post.letters() as letters:
            listing = await letters.look()
            again = await letters.look()
        assert sorted(letter.body for letter in listing.letters) == before
        assert [each.id for each in again.letters] == [each.id for each in listing.letters]
        assert (post.dead, post.states) == (before, {"visible"})
        assert (listing.is_cut, listing.seen) == (False, 25)

    play(story)


def test_a_look_is_bounded() -> None:
    """No more letters are received than were asked for, and the list says that it is cut."""

    async def story(post: Post) -> None:
        for number in range(25):
            await post.send(f"no {number}")
        await post.bury()
        async with post.letters() as letters:
            listing = await letters.look(limit=12)
            assert (len(listing.letters), listing.is_cut) == (12, True)
            for wrong in (0, 100_001):
                with pytest.raises(ValueError, match="from 1 to 100,000"):
                    await letters.look(limit=wrong)
        received = [m for m in post.sqs.messages(post.dead_url) if m.receives > 1]
        assert (len(received), post.states) == (12, {"visible"})

    play(story)


@pytest.mark.parametrize("how", ["cancelled", "error"])
def test_letters_are_visible_again_however_a_look_ends(how: str) -> None:
    """Ctrl-C in the middle of a long poll, or trouble there: nothing stays hidden."""

    async def story(post: Post) -> None:
        for number in range(25):
            await post.send(f"no {number}")
        await post.bury()
        polls = 0

        def meddle(operation: str, _: Request) -> Answer | AwsError | None:
            nonlocal polls
            polls += operation == "ReceiveMessage"
            if polls == 2 and operation == "ReceiveMessage":
                if how == "cancelled":
                    task.cancel()
                else:
                    return AwsError("AccessDenied", "no", operation=operation)
            return None

        post.aws.meddle = meddle
        async with post.letters() as letters:
            task = asyncio.ensure_future(letters.look())
            with pytest.raises((asyncio.CancelledError, StorageUnavailable)):
                await task
        assert post.states == {"visible"}

    play(story)


def test_letters_of_a_look_that_was_killed_come_back_in_a_minute() -> None:
    """Where nobody could make them visible again they are so a minute later, by themselves."""

    async def story(post: Post) -> None:
        await post.send("nonsense")
        await post.bury()
        async with post.letters() as letters:
            await Viewing(letters._box, post.clock, 1).more(10)
        assert post.states == {"in flight"}
        post.clock.advance(61)
        assert post.states == {"visible"}

    play(story)


def test_a_long_look_goes_on_hiding_what_it_has() -> None:
    """Letters do not come again while others are still looked at, however long that takes."""

    async def story(post: Post) -> None:
        for number in range(30):
            await post.send(f"no {number}")
        await post.bury()
        async with post.letters() as letters, Viewing(letters._box, post.clock, 30) as viewing:
            for _ in range(3):
                assert len(await viewing.more(10)) == 10
                post.clock.advance(45)
            assert await viewing.more(10) == []
        assert {message.receives for message in post.sqs.messages(post.dead_url)} == {2}

    play(story)


def test_one_letter_is_found_by_the_beginning_of_its_id() -> None:
    """Four characters will do where no other id has them; otherwise those that have are named."""

    async def story(post: Post) -> None:
        for number in range(3):
            await post.send(f"no {number}")
        await post.bury()
        async with post.letters() as letters:
            ids = [letter.id for letter in (await letters.look()).letters]
            assert (await letters.get(ids[1][:8])).id == ids[1]
            with pytest.raises(FlowcraftError, match="is the beginning of 3 ids"):
                await letters.get("0000")
            with pytest.raises(LetterNotFound, match="no letter 'ffff'"):
                await letters.get("ffff")
            outcome = await letters.delete(Selection.of([ids[0], "ffff"]))
            assert (outcome.done, outcome.missing) == (1, ("ffff",))
        assert post.states == {"visible"}

    play(story)


def test_a_service_at_its_worst_hides_no_letter_from_a_look() -> None:
    """Out of order, twice, few at a time and late: all letters are listed, and all are moved."""

    async def story(post: Post) -> None:
        bodies = [f"no {number}" for number in range(120)]
        for body in bodies:
            await post.send(body)
        for _ in range(30):
            await post.bury()
        before = set(post.dead)
        assert len(before) > 100
        async with post.letters() as letters:
            listing = await letters.look()
            assert {letter.body for letter in listing.letters} == before
            assert len({letter.id for letter in listing.letters}) == len(listing.letters)
            for _ in range(20):
                outcome = await letters.redrive(Selection.of(causes=[Cause.NOT_JSON]))
                if not post.dead:
                    break
            assert outcome.error is None
        assert set(post.alive) | set(post.dead) == set(bodies)
        assert len(post.dead) <= 2

    play(story, choices=Dice(3))


# --- sending back --------------------------------------------------------------------------


def test_a_letter_keeps_all_that_came_with_it() -> None:
    """Body, attributes, group and trace header are the same; the receives are counted anew."""

    async def story(post: Post) -> None:
        attributes = {
            "traceparent": {"DataType": "String", "StringValue": "00-1-2-01"},
            "raw": {"DataType": "Binary", "BinaryValue": b"\x00\x01"},
        }
        header = {"AWSTraceHeader": {"DataType": "String", "StringValue": "Root=1"}}
        await post.send(
            "nonsense",
            MessageAttributes=attributes,
            MessageSystemAttributes=header,
            MessageGroupId="tenant",
        )
        await post.bury()
        async with post.letters() as letters:
            (letter,) = (await letters.look()).letters
            assert (await letters.redrive(Selection.of([letter.id]))).done == 1
        names = {"AttributeNames": ["All"], "MessageAttributeNames": ["All"]}
        (message,) = await post.found({"QueueUrl": post.url, **names})
        assert message["Body"] == "nonsense"
        assert message["MessageAttributes"] == attributes
        told = message["Attributes"]
        assert (told["AWSTraceHeader"], told["MessageGroupId"]) == ("Root=1", "tenant")
        assert told["ApproximateReceiveCount"] == "1"
        assert post.dead == []

    play(story)


STEPS = ("ReceiveMessage", "SendMessageBatch", "DeleteMessageBatch", "ChangeMessageVisibilityBatch")


@pytest.mark.parametrize("answered", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_no_letter_is_lost_wherever_redriving_breaks_off(step: str, answered: bool) -> None:
    """A connection that fails before or after any request: each letter is somewhere, or twice."""

    async def story(post: Post) -> None:
        bodies = sorted(f"no {number}" for number in range(25))
        for body in bodies:
            await post.send(body)
        await post.bury()
        real, seen = post.sqs.call, 0

        async def call(operation: str, request: Request) -> Answer:
            nonlocal seen
            seen += operation == step
            if operation != step or seen != 2:
                return await real(operation, request)
            if not answered:
                await real(operation, request)
            raise AwsError(CONNECTION_FAILED, "cut off", operation=operation, status=0)

        post.sqs.call = call  # type: ignore[method-assign]
        async with post.letters() as letters:
            with suppress(StorageError):
                outcome = await letters.redrive(Selection.of(causes=["not-json"]))
                assert outcome.error is not None or step == "ChangeMessageVisibilityBatch"
        assert sorted({*post.alive, *post.dead}) == bodies
        post.clock.advance(61)
        assert post.states <= {"visible"}

    play(story)


@pytest.mark.parametrize("step", STEPS)
def test_no_letter_is_lost_when_redriving_is_cancelled(step: str) -> None:
    """Ctrl-C at any request: what was sent is deleted yet, and the others are visible again."""

    async def story(post: Post) -> None:
        bodies = sorted(f"no {number}" for number in range(25))
        for body in bodies:
            await post.send(body)
        await post.bury()
        real, seen = post.sqs.call, 0

        async def call(operation: str, request: Request) -> Answer:
            nonlocal seen
            seen += operation == step
            if operation == step and seen == 2:
                task.cancel()
            await asyncio.sleep(0)
            answer = await real(operation, request)
            await asyncio.sleep(0)
            return answer

        post.sqs.call = call  # type: ignore[method-assign]
        async with post.letters() as letters:
            task = asyncio.ensure_future(letters.redrive(Selection.of(causes=["not-json"])))
            with suppress(asyncio.CancelledError):
                await task
        assert sorted([*post.alive, *post.dead]) == bodies
        assert post.states <= {"visible"}

    play(story)


def test_a_letter_that_comes_again_after_its_deletion_is_sent_back_once() -> None:
    """A standard queue may deliver what was deleted: that is deleted again, and not sent."""

    async def story(post: Post) -> None:
        bodies = sorted(f"no {number}" for number in range(40))
        for body in bodies:
            await post.send(body)
        await post.bury()

        def meddle(operation: str, _: Request) -> None:
            if operation == "ReceiveMessage":
                post.clock.advance(61)  # what comes again does so when its visibility ends

        post.aws.meddle = meddle
        async with post.letters() as letters:
            outcome = await letters.redrive(Selection.of(causes=["not-json"]))
        assert (outcome.done, post.alive) == (40, bodies)
        assert sum(len(each["Entries"]) for each in post.aws.of("DeleteMessageBatch")) > 40

    again = replace(KIND, delivers_deleted=0.3)
    play(story, choices=Dice(5), unkindness=again)


def test_a_deletion_that_is_refused_is_told() -> None:
    """A letter that was sent and cannot be deleted is reported as being there twice."""

    async def story(post: Post) -> None:
        await post.send("nonsense")
        await post.bury()

        def meddle(operation: str, _: Request) -> Answer | None:
            if operation != "DeleteMessageBatch":
                return None
            failed = {"Id": "0", "Code": "ReceiptHandleIsInvalid", "Message": "stale"}
            return {"Failed": [failed | {"SenderFault": True}]}

        post.aws.meddle = meddle
        async with post.letters() as letters:
            (letter,) = (await letters.look()).letters
            outcome = await letters.redrive(Selection.of([letter.id]))
            (refusal,) = outcome.refused
            assert (outcome.done, refusal.was_sent) == (0, True)
            assert refusal.reason == "ReceiptHandleIsInvalid: stale"
            outcome = await letters.delete(Selection.of([letter.id]))
            (refusal,) = outcome.refused
            assert (outcome.done, refusal.was_sent) == (0, False)
        assert (post.alive, post.dead) == (["nonsense"], ["nonsense"])

    play(story)


def test_a_large_body_is_kept_for_as_long_as_its_letter_may_be_on_the_queue() -> None:
    """What a letter refers to in the table gets its time anew when the letter is sent back."""

    async def story(post: Post) -> None:
        await post.client.start_run(asks, {}, run_id="r")
        answer = ev.AnswerReceived(0, "x" * 300_000, None)
        job = replace(job_of(post), event=answer, event_id="x")
        await post.work()
        await post.bury()
        async with post.letters() as letters:
            await letters.purge()
        async with post.client._open_ports() as ports:
            await ports.queue.send([Outgoing(write_job(job, SERIALIZER))])
        (pointer,) = [body for body in post.alive if "flowcraftBody" in body]

        def ttls() -> list[int]:
            items = post.tables.items("contexts")
            return [int(each["ttl"]["N"]) for each in items if "message/" in each["runId"]["S"]]

        (before,) = set(ttls())
        await post.bury()
        post.clock.advance(13 * 86_400)
        async with post.letters() as letters:
            found = [each for each in (await letters.look()).letters if each.body == pointer]
            assert found[0].run is not None
            assert found[0].run.brings == "AnswerReceived"
            assert (await letters.redrive(Selection.of([found[0].id]))).done == 1
        assert pointer in post.alive
        assert min(ttls()) >= before + 13 * 86_400

    play(story)


# --- all at once ---------------------------------------------------------------------------


def test_all_letters_are_moved_by_a_task_where_there_are_such() -> None:
    """SQS moves them by itself, and it is waited for; no letter is sent from here."""

    async def story(post: Post) -> None:
        for number in range(30):
            await post.send(f"no {number}")
        await post.bury()
        told: list[int] = []
        async with post.letters() as letters:
            outcome = await letters.redrive(tell=told.append)
        assert (outcome.done, outcome.by, told[-1]) == (30, "task", 30)
        assert (len(post.alive), post.dead) == (30, [])
        assert not post.aws.of("SendMessageBatch")

    play(story)


@pytest.mark.parametrize("lacks", [*NOT_THERE, "both"])
def test_all_letters_are_moved_one_by_one_where_there_are_no_tasks(lacks: str) -> None:
    """Where the service lacks tasks, or does not say whose the letters are, none is used."""

    async def story(post: Post) -> None:
        for number in range(30):
            await post.send(f"no {number}")
        await post.bury()
        post.refuse(*(NOT_THERE if lacks == "both" else [lacks]))
        async with post.letters() as letters:
            outcome = await letters.redrive()
        assert (outcome.done, outcome.by) == (30, "letters")
        assert (len(post.alive), post.dead) == (30, [])

    play(story)


def test_a_task_that_is_under_way_is_not_joined() -> None:
    """While another task moves the letters, that is said, and nothing is done."""

    async def story(post: Post) -> None:
        await post.send("nonsense")
        await post.bury()
        await post.sqs.call("StartMessageMoveTask", {"SourceArn": post.sqs.arn(post.dead_url)})
        async with post.letters() as letters:
            with pytest.raises(StorageBusy, match=r"is moving the letters .* already"):
                await letters.redrive()
        assert post.dead == ["nonsense"]

    play(story)


def test_a_task_is_cancelled_with_its_caller() -> None:
    """Ctrl-C while SQS moves letters ends the task, too: the others stay where they are."""

    async def story(post: Post) -> None:
        await post.send("nonsense")
        await post.bury()
        async with post.letters() as letters:

            def interrupt(_: int) -> None:
                task.cancel()

            task = asyncio.ensure_future(letters.redrive(tell=interrupt))
            with pytest.raises(asyncio.CancelledError):
                await task
        assert post.aws.requests[-1][0] == "CancelMessageMoveTask"
        assert post.dead == ["nonsense"]

    play(story)


# --- other queues --------------------------------------------------------------------------


async def shared(post: Post) -> str:
    """A letter of this queue, and one of another; gives the other's URL."""
    other = post.create("other")
    await post.send("ours")
    await post.send("theirs", other)
    await post.bury()
    await post.bury(other)
    return other


def test_letters_of_another_queue_are_shown_and_left_alone() -> None:
    """Nothing that this queue's people do moves, deletes or purges a letter of another one."""

    async def story(post: Post) -> None:
        other = await shared(post)
        async with post.letters() as letters:
            listing = await letters.look()
            by_body = {letter.body: letter for letter in listing.letters}
            assert listing.box.is_shared
            assert (by_body["theirs"].is_ours, by_body["theirs"].source) == (False, "other")
            assert "--foreign" in by_body["theirs"].redriving
            outcome = await letters.redrive()
            assert (outcome.done, outcome.foreign, outcome.by) == (1, 1, "letters")
            for refused in (
                await letters.redrive(Selection.of([by_body["theirs"].id])),
                await letters.delete(Selection.of([by_body["theirs"].id])),
                await letters.delete(Selection()),
                await letters.purge(),
            ):
                assert (refused.done, refused.foreign, refused.missing) == (0, 1, ())
        assert (post.alive, post.dead, post.bodies(other)) == (["ours"], ["theirs"], [])
        assert not post.aws.of("PurgeQueue")
        assert not post.aws.of("StartMessageMoveTask")

    play(story)


def test_letters_of_another_queue_go_back_there_where_that_is_wanted() -> None:
    """With the flag each letter goes to the queue that it came from, and to no other."""

    async def story(post: Post) -> None:
        other = await shared(post)
        async with post.letters() as letters:
            outcome = await letters.redrive(foreign=True)
        assert (outcome.done, outcome.foreign) == (2, 0)
        assert (post.alive, post.bodies(other), post.dead) == (["ours"], ["theirs"], [])

    play(story)


def test_a_queue_that_shared_the_letters_once_is_noticed() -> None:
    """Letters of a queue that goes elsewhere by now keep a task from being used, too."""

    async def story(post: Post) -> None:
        other = await shared(post)
        attributes = {"RedrivePolicy": ""}
        await post.sqs.call("SetQueueAttributes", {"QueueUrl": other, "Attributes": attributes})
        async with post.letters() as letters:
            assert not (await letters.facts()).is_shared
            outcome = await letters.redrive()
            assert (outcome.done, outcome.foreign, outcome.by) == (1, 1, "letters")
            assert (await letters.purge()).by == "letters"
        assert post.dead == ["theirs"]

    play(story)


def test_a_letter_that_came_from_nowhere_is_ours_if_its_run_is() -> None:
    """What somebody sent to a shared queue by hand is moved only if the run is known here."""

    async def story(post: Post) -> None:
        post.create("other")
        await post.client.start_run(flow, {}, run_id="r")
        (body,) = post.alive
        for text in (body, "nonsense", json.dumps(JOB)):
            await post.send(text, post.dead_url)
        async with post.letters() as letters:
            known = {letter.body: letter.is_ours for letter in (await letters.look()).letters}
            assert known == {body: True, "nonsense": None, json.dumps(JOB): None}
            outcome = await letters.redrive(foreign=True)
            assert (outcome.done, outcome.unknown) == (1, 2)
            assert (await letters.delete(Selection(), foreign=True)).done == 2
        assert (post.alive, post.dead) == ([body, body], [])

    play(story)


def test_a_purge_of_letters_that_are_all_ours_is_one_request() -> None:
    """SQS deletes all at once; a second purge within its minute says when to try again."""

    async def story(post: Post) -> None:
        for number in range(15):
            await post.send(f"no {number}")
        await post.bury()
        async with post.letters() as letters:
            outcome = await letters.purge()
            assert (outcome.by, post.dead) == ("purge", [])
            with pytest.raises(StorageBusy, match="less than a minute ago"):
                await letters.purge()
        assert not post.aws.of("DeleteMessageBatch")

    play(story)


# --- no dead letters to be had -------------------------------------------------------------


def test_a_queue_without_a_dead_letter_queue_says_what_to_do() -> None:
    """No redrive policy: one clear message, with what happens now and what helps."""

    async def story(post: Post) -> None:
        attributes = {"RedrivePolicy": ""}
        await post.sqs.call("SetQueueAttributes", {"QueueUrl": post.url, "Attributes": attributes})
        with pytest.raises(StorageUnavailable, match="'jobs' has no dead-letter queue"):
            async with post.letters():
                pass

    play(story)


def test_a_dead_letter_queue_that_is_gone_is_named() -> None:
    """A redrive policy that names no queue that there is: the error names it."""

    async def story(post: Post) -> None:
        await post.sqs.call("DeleteQueue", {"QueueUrl": post.dead_url})
        with pytest.raises(StorageUnavailable, match="no queue 'dead' any more"):
            async with post.letters():
                pass

    play(story)


def test_an_account_that_may_not_look_for_queues_reaches_it_all_the_same() -> None:
    """The URL of the dead-letter queue is told by that of the queue where GetQueueUrl is denied."""

    async def story(post: Post) -> None:
        await post.send("nonsense")
        await post.bury()
        post.refuse("GetQueueUrl", "ListDeadLetterSourceQueues", code="AccessDenied", status=403)
        async with post.letters() as letters:
            listing = await letters.look()
        assert [letter.body for letter in listing.letters] == ["nonsense"]
        assert listing.box.sources is None

    play(story)


def test_a_service_that_does_not_answer_is_not_taken_for_one_that_lacks_something() -> None:
    """Whose letters there are is not guessed while the service cannot be reached."""

    async def story(post: Post) -> None:
        post.refuse("ListDeadLetterSourceQueues", code=CONNECTION_FAILED, status=0)
        async with post.letters() as letters:
            with pytest.raises(StorageError, match="cannot be reached"):
                await letters.facts()

    play(story)


def test_there_are_no_dead_letters_in_memory() -> None:
    """A queue in memory says that it keeps none."""

    async def story() -> None:
        adapter = MemoryAdapter(FlowRuntime(flows=[flow]).options)
        with pytest.raises(StorageUnavailable, match="not by one in memory"):
            async with open_dead_letters(adapter):
                pass
        await adapter.aclose()

    drive(story())


def test_a_selection_of_what_there_is_not_is_refused() -> None:
    """An unknown cause is refused with those that there are, and so is an empty id."""
    with pytest.raises(ValueError, match="no cause 'bad'; there are not-json"):
        Selection.of(causes=["bad"])
    with pytest.raises(ValueError, match="is empty"):
        Selection.of([""])


def test_a_letter_is_plain_data_for_programs() -> None:
    """All of a letter can be written as JSON, binary attributes by their length."""

    async def story(post: Post) -> Any:
        raw = {"raw": {"DataType": "Binary", "BinaryValue": b"\x00\x01"}}
        await post.send(json.dumps(TYPESCRIPT), MessageAttributes=raw)
        await post.bury()
        async with post.letters() as letters:
            (letter,) = (await letters.look()).letters
        return letter.to_dict()

    data = play(story)
    assert json.loads(json.dumps(data)) == data
    assert data["messageAttributes"] == {"raw": "2 bytes"}
    assert data["run"]["runId"] == "r"
    assert data["sentAt"].endswith("+00:00")


def test_a_task_of_the_fake_takes_its_time() -> None:
    """A task of the fake moves at most as many messages in a second as was asked for."""

    async def story(post: Post) -> None:
        for number in range(5):
            await post.send(f"no {number}")
        await post.bury()
        arn = {"SourceArn": post.sqs.arn(post.dead_url)}
        await post.sqs.call("StartMessageMoveTask", arn | {"MaxNumberOfMessagesPerSecond": 2})
        post.clock.advance(1.5)
        (task,) = (await post.sqs.call("ListMessageMoveTasks", arn))["Results"]
        assert (task["Status"], task["ApproximateNumberOfMessagesMoved"]) == ("RUNNING", 3)
        post.clock.advance(5)
        (task,) = (await post.sqs.call("ListMessageMoveTasks", arn))["Results"]
        assert (task["Status"], len(post.alive)) == ("COMPLETED", 5)

    play(story)
