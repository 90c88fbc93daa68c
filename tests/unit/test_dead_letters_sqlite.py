"""SQLite has no dead-letter queue: what is delivered in vain there is found on the queue itself."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Coroutine
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from flowcraft import FlowRuntime
from flowcraft.adapters.sqlite import Database, SqliteQueue
from flowcraft.dead_letters import OFTEN, Cause, DeadLetters, Selection, open_dead_letters
from flowcraft.engine.client import FlowClient
from flowcraft.ports.queue import Outgoing
from flowcraft.sqlite import SqliteAdapter
from flowcraft.testing import VirtualClock
from tests.unit.dead_letters import flow
from tests.unit.runs import drive

Story = Callable[[DeadLetters, FlowClient], Coroutine[Any, Any, None]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file of a database."""
    return tmp_path / "runs.db"


def ask(path: Path, statement: str, *values: object) -> list[Any]:
    """What a statement gives, by a connection of its own."""
    with closing(sqlite3.connect(path)) as connection, connection:
        return connection.execute(statement, values).fetchall()


def put(path: Path, body: object, receives: int = 1) -> None:
    """Put a message on the queue that was received so often."""
    values = (body, 0.0, receives)
    ask(path, "INSERT INTO messages (body, visible_at, receives) VALUES (?, ?, ?)", *values)


def play(path: Path, story: Story) -> None:
    """Let a story take place, with the dead letters of the file."""

    async def work() -> None:
        client = SqliteAdapter.client_of(path, FlowRuntime(flows=[flow]).options)
        async with client, open_dead_letters(client) as letters:
            await story(letters, client)

    drive(work())


def test_messages_that_are_received_in_vain_are_letters(path: Path) -> None:
    """What nobody can read, and what comes again and again, is listed; healthy messages are not."""

    async def story(letters: DeadLetters, client: FlowClient) -> None:
        await client.start_run(flow, {}, run_id="healthy")
        await client.start_run(flow, {}, run_id="deadly")
        ask(path, "UPDATE messages SET receives = 2 WHERE body LIKE '%healthy%'")
        ask(path, "UPDATE messages SET receives = ? WHERE body LIKE '%deadly%'", OFTEN)
        put(path, "nonsense")
        put(path, b"\xff\xfe")
        put(path, "never received", receives=0)
        listing = await letters.look()
        assert [(letter.cause, letter.body) for letter in listing.letters][:2] == [
            (Cause.DAMAGED, ""),
            (Cause.DELIVERED_TOO_OFTEN, listing.letters[1].body),
        ]
        assert [letter.cause for letter in listing.letters][2:] == [Cause.NOT_JSON]
        run = listing.letters[1].run
        assert run is not None
        assert (run.run_id, run.standing) == ("deadly", "waiting")
        assert (await letters.look()).seen == 3  # each look begins anew

    play(path, story)


def test_a_letter_that_is_sent_back_is_received_for_the_first_time_again(path: Path) -> None:
    """It is a new message, which the handles of those who had the old one do not name."""

    async def story(letters: DeadLetters, _: FlowClient) -> None:
        put(path, "nonsense", 7)
        ((before,),) = ask(path, "SELECT id FROM messages")
        assert (await letters.redrive()).done == 1
        ((id_, body, receives),) = ask(path, "SELECT id, body, receives FROM messages")
        assert (id_ > before, body, receives) == (True, "nonsense", 0)
        assert (await letters.look()).letters == ()

    play(path, story)


def test_deleting_all_letters_leaves_the_messages_of_healthy_runs(path: Path) -> None:
    """A purge deletes what is in vain, and nothing that a run waits for."""

    async def story(letters: DeadLetters, client: FlowClient) -> None:
        await client.start_run(flow, {}, run_id="healthy")
        ask(path, "UPDATE messages SET receives = 1")
        put(path, "nonsense")
        put(path, "rubbish")
        outcome = await letters.purge()
        assert (outcome.done, outcome.by) == (2, "letters")
        ((body,),) = ask(path, "SELECT body FROM messages")
        assert "healthy" in body

    play(path, story)


def test_a_letter_that_a_worker_has_received_meanwhile_stays(path: Path) -> None:
    """Deleting and sending back refuse what somebody has in hand since it was looked at."""

    async def story(letters: DeadLetters, _: FlowClient) -> None:
        put(path, "nonsense")
        box = letters._box
        await box.facts()
        raws = await box.receive(10, 0)
        ask(path, "UPDATE messages SET receives = receives + 1")
        for settled in (await box.delete(raws), await box.redrive(raws)):
            assert settled.done == ()
            assert "meanwhile" in settled.refused[0].reason
        assert ask(path, "SELECT receives FROM messages") == [(2,)]

    play(path, story)


def test_one_letter_is_found_by_its_number_alone(path: Path) -> None:
    """Numbers are no beginnings of others: 1 is not 10."""

    async def story(letters: DeadLetters, _: FlowClient) -> None:
        for number in range(10):
            put(path, f"no {number}")
        assert (await letters.get("1")).body == "no 0"
        assert (await letters.delete(Selection.of(["1"]))).done == 1
        assert len(ask(path, "SELECT id FROM messages")) == 9

    play(path, story)


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_a_message_whose_time_became_text_is_received(path: Path, when: str) -> None:
    """Altered into no time it is due at once, whether the queue was in use by then or not."""

    async def story() -> None:
        clock = VirtualClock()
        with Database(path, clock) as database:
            queue = SqliteQueue(database)
            if when == "meanwhile":
                assert await queue.receive(1, 0) == ()
            await queue.send([Outgoing("a")])
            ask(path, "UPDATE messages SET visible_at = 'soon'")
            if when == "before":
                await queue.send([Outgoing("b")])
            received = await queue.receive(10, 0)
            expected = ["a", "b"] if when == "before" else ["a"]
            assert sorted(each.body for each in received) == expected

    drive(asyncio.wait_for(story(), 10))
