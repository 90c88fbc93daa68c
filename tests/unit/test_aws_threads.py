"""The threads of a transport: made as needed, bounded, and gone when there is nothing to do."""

from __future__ import annotations

import threading
from functools import partial
from queue import SimpleQueue
from typing import Any

import pytest

from flowcraft.adapters.aws.threads import Job, Threads

WAIT_SECONDS = 30.0
Told = SimpleQueue[tuple[Any, BaseException | None]]


def job(function: Any, told: Told) -> Job:
    """A job that puts what came of it in line."""
    return Job(function, lambda answer, error: told.put((answer, error)))


def close(threads: Threads) -> None:
    """Close, and wait until all jobs are done."""
    idle = threading.Event()
    threads.close(idle.set)
    assert idle.wait(WAIT_SECONDS)


def names(prefix: str) -> set[str]:
    """The threads there are whose names begin so."""
    return {thread.name for thread in threading.enumerate() if thread.name.startswith(prefix)}


def test_one_job_after_the_other_needs_one_thread() -> None:
    """A thread that has nothing to do is used again."""
    threads, told = Threads(8, "reuse"), Told()
    for number in range(20):
        threads.start(job(partial(int, number), told))
        assert told.get(timeout=WAIT_SECONDS) == (number, None)
    assert names("reuse") == {"reuse-1"}
    close(threads)


def test_as_many_threads_as_there_are_jobs_up_to_the_size() -> None:
    """Three threads at most carry out seven jobs that wait for each other's turn."""
    threads, told, gate = Threads(3, "bounded"), Told(), threading.Event()
    for _ in range(7):
        threads.start(job(partial(gate.wait, WAIT_SECONDS), told))
    assert (threads.alive, threads.unfinished) == (3, 7)
    gate.set()
    assert [told.get(timeout=WAIT_SECONDS) for _ in range(7)] == [(True, None)] * 7
    close(threads)
    assert threads.unfinished == 0


def test_an_idle_thread_ends_and_another_comes() -> None:
    """After its idle time a thread is gone; the next job gets a new one."""
    threads, told = Threads(1, "idle", idle_seconds=0.01), Told()
    for _ in range(2):
        threads.start(job(int, told))
        assert told.get(timeout=WAIT_SECONDS) == (0, None)
        for thread in threading.enumerate():
            if thread.name.startswith("idle"):
                thread.join(WAIT_SECONDS)
        assert threads.alive == 0


def test_whatever_is_raised_is_told() -> None:
    """An exit that a function asks for does not leave its caller waiting, nor end the thread."""
    threads, told = Threads(1, "raise"), Told()

    def leave() -> None:
        raise SystemExit(3)

    threads.start(job(leave, told))
    threads.start(job(int, told))
    answer, error = told.get(timeout=WAIT_SECONDS)
    assert answer is None
    assert isinstance(error, SystemExit)
    assert told.get(timeout=WAIT_SECONDS) == (0, None)
    close(threads)


def test_an_unwanted_job_is_left_out() -> None:
    """A job in line that nobody wants any more is not begun, and counts as finished."""
    threads, told, gate = Threads(1, "unwanted"), Told(), threading.Event()
    threads.start(job(partial(gate.wait, WAIT_SECONDS), told))
    done: list[str] = []
    unwanted = job(int, told)
    unwanted.function = partial(done.append, "begun")
    threads.start(unwanted)
    unwanted.is_wanted = False
    gate.set()
    close(threads)
    assert told.get(timeout=WAIT_SECONDS) == (True, None)
    assert (told.empty(), done, threads.unfinished) == (True, [], 0)


def test_closing_ends_the_threads() -> None:
    """Threads that are closed do not stay for their idle time."""
    threads, told = Threads(2, "close", idle_seconds=1_000), Told()
    for _ in range(2):
        threads.start(job(int, told))
        told.get(timeout=WAIT_SECONDS)
    close(threads)
    for thread in threading.enumerate():
        if thread.name.startswith("close"):
            thread.join(WAIT_SECONDS)
    assert (threads.alive, names("close")) == (0, set())


def test_there_is_a_thread_at_least() -> None:
    """A size of nothing is refused: every call would wait for ever."""
    with pytest.raises(ValueError, match="At least one thread"):
        Threads(0, "none")


def test_threads_that_rest_end_and_others_take_their_place() -> None:
    """At rest no thread is left; a job in hand keeps it from ending, and a later one gets a new."""
    threads = Threads(2, "resting", idle_seconds=60.0)
    begun, go_on = threading.Event(), threading.Event()
    answers: SimpleQueue[Any] = SimpleQueue()

    def wait() -> str:
        begun.set()
        go_on.wait(5.0)
        return "done"

    threads.start(Job(wait, lambda answer, _: answers.put(answer)))
    begun.wait(5.0)
    threads.rest()
    assert threads.alive == 1
    go_on.set()
    assert answers.get(timeout=5.0) == "done"
    resting = [each for each in threading.enumerate() if each.name.startswith("resting")]
    while threads.alive:  # the job is told before it is counted as finished
        threads.rest()
    for thread in resting:
        thread.join(5.0)
    assert (threads.alive, [each.is_alive() for each in resting]) == (0, [False])
    threads.start(Job(lambda: "again", lambda answer, _: answers.put(answer)))
    assert answers.get(timeout=5.0) == "again"


def test_one_that_has_just_told_its_answer_rests_with_the_others() -> None:
    """Whoever hears an answer may have threads rest at once: the one that told it ends, too."""
    threads = Threads(1, "telling", idle_seconds=60.0)
    rested: SimpleQueue[int] = SimpleQueue()

    def tell(_: Any, __: BaseException | None) -> None:
        threads.rest()
        rested.put(threads.alive)

    threads.start(Job(lambda: "done", tell))
    assert rested.get(timeout=5.0) == 0
    for each in threading.enumerate():
        if each.name.startswith("telling"):
            each.join(5.0)
    assert names("telling") == set()
