"""The fake of SQS against a model of a queue that is plain enough to be seen to be right.

The model has a record for each message, and nothing that is there for speed. It takes the fake's
word for the order of messages, and for nothing else.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from flowcraft.adapters.aws.transport import AwsError
from flowcraft.testing import VirtualClock
from flowcraft.testing.aws.sqs import FakeSqs, Unkindness
from tests.unit.runs import drive

MAX_RECEIVES = 3
IN_FLIGHT = 4
VISIBILITY = 30
RETENTION = 3_600
TWELVE_HOURS = 43_200


@dataclass
class Modelled:
    """A message, as the model knows it."""

    body: str
    sent_at: float
    visible_at: float
    receives: int = 0
    received_at: float = 0.0
    handle: str = ""
    where: str = "jobs"
    handles: set[str] = field(default_factory=set)


class Queue(RuleBasedStateMachine):
    """A queue with a dead-letter queue, and what people may do with it."""

    handles = Bundle("handles")

    def __init__(self) -> None:
        super().__init__()
        self.clock = VirtualClock()
        self.sqs = FakeSqs(self.clock, in_flight_limit=IN_FLIGHT)
        self.dead = self.sqs.create("dead", MessageRetentionPeriod=RETENTION)
        policy = f'{{"deadLetterTargetArn": "{self.sqs.arn(self.dead)}", "maxReceiveCount": 3}}'
        self.url = self.sqs.create(
            "jobs",
            RedrivePolicy=policy,
            VisibilityTimeout=VISIBILITY,
            MessageRetentionPeriod=RETENTION,
        )
        self.model: dict[str, Modelled] = {}

    def call(self, operation: str, **request: Any) -> dict[str, Any]:
        """Ask the fake."""
        return drive(self.sqs.call(operation, {"QueueUrl": self.url, **request}))

    def code(self, operation: str, **request: Any) -> str:
        """The code of the error that the fake answers with; empty for none."""
        try:
            self.call(operation, **request)
        except AwsError as error:
            return error.code
        return ""

    @property
    def now(self) -> float:
        """The time."""
        return self.clock.now()

    def there(self, where: str) -> dict[str, Modelled]:
        """The messages of a queue that are not kept for too long."""
        return {
            name: each
            for name, each in self.model.items()
            if each.where == where and each.sent_at + RETENTION > self.now
        }

    def state(self, message: Modelled) -> str:
        """What a message is in."""
        if message.visible_at <= self.now:
            return "visible"
        return "in flight" if message.receives else "delayed"

    def in_flight(self) -> int:
        """How many messages are in flight; those that were kept for too long count, too."""
        mine = [each for each in self.model.values() if each.where == "jobs"]
        return sum(self.state(each) == "in flight" for each in mine)

    def owner(self, handle: str) -> Modelled | None:
        """The message that a handle is of, if it is there."""
        return next((each for each in self.model.values() if handle in each.handles), None)

    @rule(delay=st.sampled_from([None, 0, 1, 45]))
    def send(self, delay: int | None) -> None:
        """A message is sent, for now or for later."""
        body = f"body {len(self.model)}"
        more = {} if delay is None else {"DelaySeconds": delay}
        sent = self.call("SendMessage", MessageBody=body, **more)["MessageId"]
        assert sent not in self.model
        self.model[sent] = Modelled(body, self.now, self.now + (delay or 0))

    @rule(target=handles, limit=st.integers(1, 5), visibility=st.sampled_from([None, 0, 10, 100]))
    def receive(self, limit: int, visibility: int | None) -> Any:
        """Somebody receives messages."""
        more = {} if visibility is None else {"VisibilityTimeout": visibility}
        hidden_for = VISIBILITY if visibility is None else visibility
        room = IN_FLIGHT - self.in_flight()
        before = {k for k, each in self.there("jobs").items() if self.state(each) == "visible"}
        if room == 0:
            code = self.code("ReceiveMessage", MaxNumberOfMessages=limit, **more)
            assert code == "OverLimit"
            return multiple()
        answer = self.call("ReceiveMessage", MaxNumberOfMessages=limit, **more)
        found = answer.get("Messages", [])
        for each in found:
            message = self.model[each["MessageId"]]
            assert each["MessageId"] in before, "it was hidden, or taken"
            before.remove(each["MessageId"])
            assert each["Body"] == message.body
            assert message.receives < MAX_RECEIVES, "it belongs to the dead letters"
            message.receives += 1
            message.received_at, message.visible_at = self.now, self.now + hidden_for
            message.handle = each["ReceiptHandle"]
            assert message.handle not in message.handles
            message.handles.add(message.handle)
        dead = {each.id for each in self.sqs.messages(self.dead)}
        for name in before & dead:
            assert self.model[name].receives >= MAX_RECEIVES, "it may be received once more"
            self.model[name].where = "dead"
        # With no room for more, or enough of them, the others wait.
        if len(found) < min(limit, room if hidden_for else limit):
            assert before <= dead, "there was more to receive"
        return multiple(*(each["ReceiptHandle"] for each in found))

    @rule(handle=handles)
    def delete(self, handle: str) -> None:
        """Somebody deletes a message; by an old handle nothing happens."""
        message = self.owner(handle)
        assert self.code("DeleteMessage", ReceiptHandle=handle) == ""
        if message is not None and message.where == "jobs" and handle == message.handle:
            self.model = {k: each for k, each in self.model.items() if each is not message}

    @rule(handle=handles, seconds=st.sampled_from([0, 5, 600, TWELVE_HOURS]))
    def change(self, handle: str, seconds: int) -> None:
        """Somebody hides a message for longer, or no longer."""
        message = self.owner(handle)
        code = self.code("ChangeMessageVisibility", ReceiptHandle=handle, VisibilityTimeout=seconds)
        if message is None or message.where != "jobs" or handle != message.handle:
            assert code == "InvalidParameterValue"
        elif self.state(message) != "in flight":
            assert code == "MessageNotInflight"
        elif self.now + seconds > message.received_at + TWELVE_HOURS:
            assert code == "InvalidParameterValue"
        else:
            assert code == ""
            message.visible_at = self.now + seconds

    @rule(seconds=st.sampled_from([1, 20, 40, 1_000]))
    def time_passes(self, seconds: int) -> None:
        """Nothing happens for a while."""
        self.clock.advance(seconds)

    @invariant()
    def both_have_the_same(self) -> None:
        """Both queues have the messages of the model, each in its state."""
        for url, where in ((self.url, "jobs"), (self.dead, "dead")):
            found = {each.id: each for each in self.sqs.messages(url)}
            expected = self.there(where)
            assert found.keys() == expected.keys()
            for name, message in expected.items():
                assert found[name].receives == message.receives
                assert where == "dead" or found[name].state == self.state(message)


class _Chance:
    """Choices that are the same each time."""

    def __init__(self) -> None:
        self._random = random.Random(7)

    def fraction(self) -> float:
        """From 0 up to 1."""
        return self._random.random()

    def below(self, bound: int) -> int:
        """A whole number."""
        return self._random.randrange(bound)


class UnkindQueue(RuleBasedStateMachine):
    """A queue that does all that a standard queue may do, and what has to hold all the same."""

    handles = Bundle("handles")

    def __init__(self) -> None:
        super().__init__()
        self.clock = VirtualClock()
        often = Unkindness(True, 0.3, 0.3, 0.3, 0.3, 0.5, 0.2, 1.0)
        self.sqs = FakeSqs(self.clock, _Chance(), often)
        self.url = self.sqs.create("jobs", VisibilityTimeout=VISIBILITY)
        self.bodies: dict[str, str] = {}
        self.owners: dict[str, str] = {}
        self.visible_from: dict[str, float] = {}
        self.may_be_gone: set[str] = set()

    def call(self, operation: str, **request: Any) -> dict[str, Any]:
        """Ask the fake."""
        return drive(self.sqs.call(operation, {"QueueUrl": self.url, **request}))

    @rule(count=st.integers(1, 4), delay=st.sampled_from([0, 45]))
    def send(self, count: int, delay: int) -> None:
        """Messages are sent; those that fail are not there."""
        entries: list[dict[str, Any]] = [
            {"Id": str(place), "MessageBody": f"{len(self.bodies) + place}", "DelaySeconds": delay}
            for place in range(count)
        ]
        answer = self.call("SendMessageBatch", Entries=entries)
        told = [*answer.get("Successful", []), *answer.get("Failed", [])]
        assert sorted(each["Id"] for each in told) == [each["Id"] for each in entries]
        for each in answer.get("Successful", []):
            self.bodies[each["MessageId"]] = str(entries[int(each["Id"])]["MessageBody"])
            self.visible_from[each["MessageId"]] = self.clock.now() + delay

    @rule(target=handles, limit=st.integers(1, 10))
    def receive(self, limit: int) -> Any:
        """What is received was sent, is due, and unchanged."""
        found = self.call("ReceiveMessage", MaxNumberOfMessages=limit).get("Messages", [])
        assert len(found) <= limit
        for each in found:
            assert each["Body"] == self.bodies[each["MessageId"]]
            assert self.visible_from[each["MessageId"]] <= self.clock.now()
            self.owners[each["ReceiptHandle"]] = each["MessageId"]
        return multiple(*(each["ReceiptHandle"] for each in found))

    @precondition(lambda self: self.owners)
    @rule(handle=handles)
    def delete(self, handle: str) -> None:
        """Somebody asks for a message to be deleted."""
        entries = [{"Id": "only", "ReceiptHandle": handle}]
        self.call("DeleteMessageBatch", Entries=entries)
        self.may_be_gone.add(self.owners[handle])

    @rule(seconds=st.sampled_from([1, 40]))
    def time_passes(self, seconds: int) -> None:
        """Nothing happens for a while."""
        self.clock.advance(seconds)

    @invariant()
    def nothing_is_lost(self) -> None:
        """What nobody asked to delete is there, and nothing is there that was not sent."""
        there = {each.id for each in self.sqs.messages(self.url)}
        assert self.bodies.keys() - self.may_be_gone <= there <= self.bodies.keys()


OFTEN = settings(
    max_examples=40,
    stateful_step_count=40,
    # Without the explanation of a failure, which traces every line, and some Pythons do not bear.
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
)


def test_a_kind_queue_is_as_its_model() -> None:
    """Sends, receives, deletions, hiding and time in any order: state by state as in the model."""
    run_state_machine_as_test(Queue, settings=OFTEN)


def test_an_unkind_queue_loses_nothing_and_invents_nothing() -> None:
    """Copies, failed entries and old handles: what was sent is there until it is deleted."""
    run_state_machine_as_test(UnkindQueue, settings=OFTEN)
