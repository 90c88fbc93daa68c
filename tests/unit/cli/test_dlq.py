"""``flowcraft dlq``: what it says, what it asks, and its exit codes."""

from __future__ import annotations

import io
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from flowcraft.cli import dlq
from flowcraft.cli.output import Output
from flowcraft.dead_letters import (
    BoxFacts,
    DeadLetters,
    Letter,
    LetterRun,
    Listing,
    Outcome,
    Refusal,
    Standing,
    Tell,
)
from flowcraft.dead_letters.letter import Cause
from flowcraft.errors import StorageError
from tests.unit.cli.conftest import Call


def put(project: Path, *bodies: str) -> None:
    """Messages on the queue of a project that were received in vain."""
    with closing(sqlite3.connect(project / "runs.db")) as connection, connection:
        for body in bodies:
            connection.execute(
                "INSERT INTO messages (body, visible_at, receives) VALUES (?, 0, 3)", [body]
            )


@pytest.fixture
def queue(project: Path, flowcraft: Call) -> Path:
    """A project with a queue that holds one healthy message."""
    settings = 'app = "shop:runtime"\nbackend = "sqlite"\n[sqlite]\npath = "runs.db"\n'
    (project / "flowcraft.toml").write_text(settings, encoding="utf-8")
    assert flowcraft("start", "order", "-c", "amount=1").code == 0
    return project


def test_an_empty_queue_has_no_dead_letters(queue: Path, flowcraft: Call) -> None:
    """A list of nothing is one sentence, and success; so is a purge."""
    ended = flowcraft("dlq", "list")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("There are no dead letters in '")
    assert flowcraft("dlq", "purge", "--yes").out == "0 letters deleted.\n"


def test_letters_are_listed_by_cause(queue: Path, flowcraft: Call) -> None:
    """Each cause says what it means and what helps; JSON has the same."""
    put(queue, "nonsense", "rubbish", '{"runId": "r", "blueprintId": "b", "nodeId": "n"}')
    text = flowcraft("dlq", "list").out
    assert text.index("not-json: 2 letters") < text.index("not-ours: 1 letter")
    assert "nobody can read it; delete it" in text
    assert "letter  body" in text
    assert "rubbish" in text
    assert not [line for line in text.splitlines() if line.endswith("  sent")]  # nobody knows
    data = flowcraft("dlq", "list", "--json").data
    assert data["causes"] == {"not-json": 2, "not-ours": 1}
    assert [each["cause"] for each in data["letters"]] == ["not-json", "not-json", "not-ours"]
    only = flowcraft("dlq", "list", "--json", "--cause", "not-ours").data
    assert [each["body"] for each in only["letters"]] == [data["letters"][2]["body"]]


def test_one_letter_is_shown_whole(queue: Path, flowcraft: Call) -> None:
    """Cause, run, what redriving and deleting do, and the body, without signs that are obeyed."""
    put(queue, '{"runId": "r\\u001b[31m", "n": 1}', "\x1b[31mred")
    first, second = (each["id"] for each in flowcraft("dlq", "list", "--json").data["letters"])
    by_body = {each: flowcraft("dlq", "show", each).out for each in (first, second)}
    assert any('"n": 1' in text for text in by_body.values())
    assert any("It comes back here: no worker can read it." in text for text in by_body.values())
    assert not any("\x1b" in text for text in by_body.values())
    ended = flowcraft("dlq", "show", "999")
    assert (ended.code, ended.out) == (3, "")
    assert "There is no letter '999'" in ended.err


def test_it_is_said_which_letters_are_meant(queue: Path, flowcraft: Call) -> None:
    """None, or all and some, is wrong use, and nothing is done; so is an unknown cause."""
    put(queue, "nonsense")
    for verb in ("redrive", "delete"):
        assert "Say which letters" in flowcraft("dlq", verb).err
        assert "not both" in flowcraft("dlq", verb, "--all", "--cause", "not-json").err
        ended = flowcraft("dlq", verb, "--cause", "bad")
        assert ended.code == 2
        assert "not-json" in ended.err
    assert flowcraft("dlq", "list", "--json").data["causes"] == {"not-json": 1}


@pytest.mark.parametrize(
    "arguments", [("redrive", "--all"), ("delete", "--all"), ("delete", "1"), ("purge",)]
)
def test_where_nobody_can_be_asked_nothing_is_done(
    queue: Path, flowcraft: Call, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    """A script says --yes; without it what cannot be undone is refused with the question."""
    put(queue, "nonsense")
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    ended = flowcraft("dlq", *arguments)
    assert ended.code == 2
    assert "--yes" in ended.err
    assert flowcraft("dlq", "list", "--json").data["causes"] == {"not-json": 1}


@pytest.mark.parametrize(("answer", "code", "left"), [("y\n", 0, 0), ("n\n", 4, 1)])
def test_a_person_is_asked(
    queue: Path,
    flowcraft: Call,
    monkeypatch: pytest.MonkeyPatch,
    answer: str,
    code: int,
    left: int,
) -> None:
    """At a terminal the answer decides."""
    put(queue, "nonsense")

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdin", Terminal(answer))
    ended = flowcraft("dlq", "purge")
    assert ended.code == code
    assert "Delete all of about" in ended.err
    assert len(flowcraft("dlq", "list", "--json").data["letters"]) == left


def test_letters_are_deleted_and_sent_back(queue: Path, flowcraft: Call) -> None:
    """One by its id, some by their cause, all: each says how many; what is missing is told."""
    put(queue, "nonsense", "rubbish", "[]", "{}")
    first = flowcraft("dlq", "list", "--json").data["letters"][0]["id"]
    assert flowcraft("dlq", "redrive", first).out == "1 letter sent back.\n"
    ended = flowcraft("dlq", "delete", first, "--yes")
    assert (ended.code, ended.out) == (3, "0 letters deleted.\n")
    assert f"There is no letter '{first}'." in ended.err
    data = flowcraft("dlq", "redrive", "--cause", "not-ours", "--limit", "1", "--json").data
    assert (data["done"], data["isCut"], data["by"]) == (1, True, "letters")
    assert flowcraft("dlq", "delete", "--all", "--yes").out == "2 letters deleted.\n"
    assert flowcraft("dlq", "list", "--json").data["letters"] == []


# --- what a fleet's queue has to say -------------------------------------------------------


def shown(function: object, *arguments: object) -> tuple[str, str]:
    """What a function writes, to standard output and to standard error."""
    out, err = io.StringIO(), io.StringIO()
    function(Output(False, out, err), *arguments)  # type: ignore[operator]
    return out.getvalue(), err.getvalue()


def box(*others: str, known: bool = True) -> BoxFacts:
    """A dead-letter queue that others share."""
    ours = "arn:aws:sqs:us-east-1:1:jobs"
    sources = (ours, *(f"arn:aws:sqs:us-east-1:1:{name}" for name in others)) if known else None
    return BoxFacts("dead", ours, 4, 2, sources, forwards_after=3, purgeable=True)


def test_a_list_says_what_is_odd_about_the_queue() -> None:
    """Shared, hidden, cut, on its way elsewhere, or without runs: each is one line of remarks."""
    run = LetterRun("run-1", "b", "running", Standing.WAITING, "n", 2)
    ours = Letter("abcdefgh-1", Cause.RUN_GONE, "r", True, "jobs", "{}", 2, run=run)
    theirs = Letter("ijklmnop-1", Cause.RUN_GONE, "r", False, "other", "{}", 2)
    out, err = shown(dlq._show_listing, Listing(box("other"), (ours, theirs), 2, False, "no"))
    assert "abcdefgh  run-1" in out
    assert "waiting" in out
    assert "(of the queue 'other')" in out
    assert "Letters of 'other' come here, too." in err
    assert "About 2 letters were hidden" in err
    assert "after 3 receives" in err
    assert "Runs could not be looked at: no" in err
    _, err = shown(dlq._show_listing, Listing(box(), (ours,), 1, True))
    assert "first 1;" in err
    assert "hidden" not in err


def test_a_purge_says_whose_letters_it_deletes() -> None:
    """Alone, shared with known queues, or with nobody knows which: each has its own question."""
    assert dlq._purge_question(box(), False) == (
        "Delete all of about 6 letters of 'dead' for good?"
    )
    shared = dlq._purge_question(box("other"), False)
    assert "that came from 'jobs'" in shared
    assert "Letters of 'other' come here, too. Theirs are left" in shared
    assert "cannot be told" in dlq._purge_question(box(known=False), False)
    forced = dlq._purge_question(box("other"), True)
    assert "Delete all of about 6" in forced
    assert "Theirs are left" not in forced


def test_what_was_left_is_told() -> None:
    """Refused, foreign, unknown and missing letters are told, and how it was done."""
    refused = [Refusal(f"id-{number}", number == 0, "why") for number in range(12)]
    outcome = Outcome(5, refused, 1, 2, ("x",), "task", None, False, "no tables")
    out, err = shown(dlq._show_outcome, outcome, "sent back")
    assert out == "About 5 letters sent back, by a task of SQS.\n"
    assert "id-0 is still there: why. It was sent back, and is there twice" in err
    assert "… and 2 more are still there." in err
    assert "1 letter of other queues left; see --foreign." in err
    assert "2 letters left, since nobody knows" in err
    assert "There is no letter 'x'." in err
    assert "no tables" in err


def test_trouble_in_the_middle_is_told_after_what_was_done(
    queue: Path, flowcraft: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is through is counted before the error, which gives the exit code."""
    put(queue, "nonsense")

    async def broken(*_: object, **__: object) -> Outcome:
        return Outcome(3, [Refusal("x", False, "why")], error=StorageError("The queue is down."))

    monkeypatch.setattr(DeadLetters, "redrive", broken)
    ended = flowcraft("dlq", "redrive", "--all", "--yes")
    assert (ended.code, ended.out) == (5, "3 letters sent back.\n")
    assert "The queue is down." in ended.err


def test_ctrl_c_says_how_far_it_came(
    queue: Path, flowcraft: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted in the middle, the number of letters that are through is told."""
    put(queue, "nonsense")

    async def interrupted(*_: object, tell: Tell, **__: object) -> Outcome:
        tell(7)
        raise KeyboardInterrupt

    monkeypatch.setattr(DeadLetters, "redrive", interrupted)
    ended = flowcraft("dlq", "redrive", "--all", "--yes")
    assert (ended.code, ended.out) == (130, "")
    assert "7 letters were sent back by then." in ended.err
