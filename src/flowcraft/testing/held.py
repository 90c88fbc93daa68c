"""Attempts that begin when a test says so, and copies of runs to return to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from typing import Any, NamedTuple

from flowcraft.core.commands import RunItem, RunUndo
from flowcraft.core.items import item_name
from flowcraft.core.plan import Key, Plan, index_of_key
from flowcraft.core.state import RETRYING, SLEEPING, WAITING, RunState
from flowcraft.engine.local import LocalRun, execute
from flowcraft.engine.pool import Pool
from flowcraft.engine.session import AttemptCommand, Job, Session
from flowcraft.engine.view import runs_below

_SAME_TIME_SECONDS = 1e-6
_TIMED = frozenset({RETRYING, WAITING, SLEEPING})


class HeldPool(Pool[LocalRun, AttemptCommand]):
    """A pool that begins nothing by itself.

    Attributes:
        jobs: What is ready, in the order in which it became so: runs and their commands.
    """

    def __init__(self) -> None:
        super().__init__(execute, limit=1)
        self.jobs: list[Job] = []

    def submit(self, owner: LocalRun, job: AttemptCommand) -> None:
        """Hold a job until somebody takes it."""
        self.jobs.append((owner, job))

    def discard(self, unwanted: Callable[[LocalRun], bool]) -> list[Job]:
        """Take jobs away, and give them back."""
        dropped = [job for job in self.jobs if unwanted(job[0])]
        self.jobs = [job for job in self.jobs if not unwanted(job[0])]
        return dropped

    def begin(self, job: Job) -> asyncio.Task[None]:
        """Execute a job in a task of its own."""
        self.jobs.remove(job)
        return asyncio.get_running_loop().create_task(_perform(job))


class RunCopy(NamedTuple):
    """A run at one time, with its children by the instance that waits for them."""

    plan: Plan
    state: RunState
    children: dict[Key, RunCopy]

    @classmethod
    def fresh(cls, plan: Plan) -> RunCopy:
        """A run that has not started."""
        return cls(plan, RunState(), {})


def copy_of(run: LocalRun) -> RunCopy:
    """Copy a run and its children; as deep as subflows go, which the engine bounds."""
    children = {key: copy_of(child) for key, child in run.children.items()}
    return RunCopy(run.plan, _copied(run.state), children)


def restore(
    copy: RunCopy, session: Session, parent: tuple[LocalRun, Key] | None = None
) -> LocalRun:
    """A live run made of a copy, in a new session; nothing of it is under way yet."""
    run = LocalRun(session, copy.plan, copy.state, parent)
    for key, child in copy.children.items():
        run.children[key] = restore(child, session, (run, key))
    return run


def mark_of(job: Job) -> tuple[Any, ...]:
    """What a job is about, comparable between a run and its copies."""
    run, command = job
    key = command.target if isinstance(command, RunUndo) else command.key
    item = command.item if isinstance(command, RunItem) else None
    return (run.state.run_id, type(command), key, item)


def name_of_job(job: Job) -> str:
    """How a test names a job: its node or item, behind the subflows it is in."""
    run, command = job
    if isinstance(command, RunUndo):
        return path_of(run, command.node)
    if isinstance(command, RunItem):
        return "/".join([*way_to(run), item_name(command.uses, command.item)])
    return path_of(run, command.key)


def path_of(run: LocalRun, key: Key) -> str:
    """How a test names an instance: its node, behind the subflows it is in."""
    return "/".join([*way_to(run), run.plan.nodes[index_of_key(key)].id])


def due_names(root: LocalRun, when: float) -> Iterator[str]:
    """The nodes and items for which something is due by then."""
    latest = when + _SAME_TIME_SECONDS
    for run in runs_below(root):
        for key, record in run.state.records.items():
            if record.status in _TIMED and record.due_at is not None and record.due_at <= latest:
                yield path_of(run, key)
        for (key, index), item in run.state.items.items():
            if item.due_at is not None and item.due_at <= latest:
                worker = run.plan.nodes[index_of_key(key)].definition.params["workerUsesKey"]
                yield "/".join([*way_to(run), item_name(worker, index)])


def way_to(run: LocalRun) -> list[str]:
    """The subflow nodes that lead to a run."""
    way: list[str] = []
    while run.parent is not None:
        run, key = run.parent
        way.insert(0, run.plan.nodes[index_of_key(key)].id)
    return way


def _copied(state: RunState) -> RunState:
    """A copy whose tables are its own; what is in them never changes."""
    copied = replace(state)
    for entry in fields(state):
        value = getattr(state, entry.name)
        if isinstance(value, dict | list):
            setattr(copied, entry.name, type(value)(value))
    return copied


async def _perform(job: Job) -> None:
    task = asyncio.current_task()
    assert task is not None
    await execute(*job, task)
