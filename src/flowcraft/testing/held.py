"""Attempts that begin when a test says so, and copies of runs to return to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from typing import Any, NamedTuple

from flowcraft.core.batches import item_name
from flowcraft.core.commands import RunItem
from flowcraft.core.plan import Key, Plan, index_of_key
from flowcraft.core.state import RunState
from flowcraft.engine.answering import live_runs
from flowcraft.engine.attempt import Attempt
from flowcraft.engine.local import LocalRun, Session
from flowcraft.engine.pool import Pool

_SAME_TIME_SECONDS = 1e-6


class HeldPool(Pool[Attempt]):
    """A pool that begins nothing by itself.

    Attributes:
        jobs: What is ready, in the order in which it became so.
    """

    def __init__(self) -> None:
        super().__init__(_never, limit=1)
        self.jobs: list[Attempt] = []

    def submit(self, job: Attempt) -> None:
        """Hold a job until somebody takes it."""
        self.jobs.append(job)

    def discard(self, unwanted: Callable[[Attempt], bool]) -> list[Attempt]:
        """Take jobs away, and give them back."""
        dropped = [job for job in self.jobs if unwanted(job)]
        self.jobs = [job for job in self.jobs if not unwanted(job)]
        return dropped


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


def job_of(attempt: Attempt) -> Any:
    """What an attempt is about, comparable between a run and its copies."""
    return (attempt.run.state.run_id, attempt.command_key)


def name_of_job(job: Attempt | tuple[LocalRun, Key]) -> str:
    """How a test names an attempt or an instance: its node, behind the subflows it is in."""
    if isinstance(job, tuple):
        run, key = job
        name = run.plan.nodes[index_of_key(key)].id
    else:
        run, command = job.run, job.command
        name = item_name(job.uses, command.item) if isinstance(command, RunItem) else job.node.id
    return "/".join([*_way(run), name])


def due_names(root: LocalRun, when: float) -> Iterator[str]:
    """The nodes and items for which something is due by then."""
    latest = when + _SAME_TIME_SECONDS
    for run in live_runs(root):
        way = _way(run)
        for key, record in run.state.records.items():
            if record.due_at is not None and record.due_at <= latest and record.ended_at is None:
                yield "/".join([*way, run.plan.nodes[index_of_key(key)].id])
        for (key, index), item in run.state.items.items():
            if item.due_at is not None and item.due_at <= latest:
                worker = run.plan.nodes[index_of_key(key)].definition.params["workerUsesKey"]
                yield "/".join([*way, item_name(worker, index)])


def _way(run: LocalRun) -> list[str]:
    """The subflow nodes that lead to a run."""
    way: list[str] = []
    while run.parent is not None:
        run, key = run.parent
        way.insert(0, run.plan.nodes[index_of_key(key)].id)
    return way


def _copied(state: RunState) -> RunState:
    """A copy whose tables are its own; what is in them never changes."""
    tables = {f.name: getattr(state, f.name) for f in fields(state)}
    own = {name: type(v)(v) for name, v in tables.items() if isinstance(v, dict | list)}
    return replace(state, **own)


async def _never(attempt: Attempt) -> None:
    raise AssertionError(f"{attempt.node.id} was begun by the pool")
