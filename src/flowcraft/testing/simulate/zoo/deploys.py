"""Deploys: a new version of workflow and workers comes while runs of the old one are under way."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, Final

from flowcraft.core.blueprint import WorkflowBlueprint, blueprint_hash
from flowcraft.engine.bus import EventBus
from flowcraft.engine.options import RuntimeOptions
from flowcraft.engine.runtime import FlowRuntime, Runnable
from flowcraft.engine.stored import StoredRun
from flowcraft.errors import RunNotFound
from flowcraft.testing.simulate.loop import START_SECONDS
from flowcraft.testing.simulate.processes import Person, WorkerProcess
from flowcraft.testing.simulate.story import RUN_ID, Story

HOUR: Final = 3600.0
FLOW: Final = "order"
PAUSE_SECONDS: Final = 20.0
DRAIN_SECONDS: Final = 60.0
"""Between two looks at what live runs still need."""

WAITING_SECONDS: Final = "10m"
"""How long a run of the workflow rests in its middle: for old ones the deploy comes meanwhile."""

V1: Final[Mapping[str, Any]] = {
    "id": FLOW,
    "nodes": [
        {"id": "check", "uses": "order.check", "params": {"version": 1}},
        {"id": "rest", "uses": "sleep", "params": {"duration": WAITING_SECONDS}},
        {"id": "charge", "uses": "order.charge", "params": {"version": 1}},
        {"id": "send", "uses": "order.send", "params": {"version": 1}},
    ],
    "edges": [
        {"source": "check", "target": "rest"},
        {"source": "rest", "target": "charge"},
        {"source": "charge", "target": "send"},
    ],
    "metadata": {"version": "1"},
}

V2: Final[Mapping[str, Any]] = {
    "id": FLOW,
    "nodes": [
        # Indexes of nodes are others than before: a worker that took the plan of the other
        # version for a run would do the wrong thing.
        {"id": "note", "uses": "order.note", "params": {"version": 2}},
        {"id": "check", "uses": "order.check", "params": {"version": 2}},
        {"id": "rest", "uses": "sleep", "params": {"duration": WAITING_SECONDS}},
        {"id": "charge", "uses": "order.charge_card", "params": {"version": 2}},
        {"id": "send", "uses": "order.send", "params": {"version": 2}},
    ],
    "edges": [
        {"source": "check", "target": "note"},
        {"source": "note", "target": "rest"},
        {"source": "rest", "target": "charge"},
        {"source": "charge", "target": "send"},
    ],
    "metadata": {"version": "2"},
}

OUTPUTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "1": {"send": ["check 1", "charge 1", "send 1"]},
    "2": {"send": ["check 2", "note 2", "charge 2", "send 2"]},
}
"""What runs of each version come to: which nodes ran, in order, and with whose parameters."""


async def step(ctx: Any) -> list[str]:
    """What was done so far, and this."""
    return [*(ctx.input or []), f"{ctx.node_id} {ctx.params['version']}"]


COMMON: Final = {"order.check": step, "order.send": step}
OLD: Final = COMMON | {"order.charge": step}
NEW: Final = COMMON | {"order.charge_card": step, "order.note": step}


class Releases:
    """The two versions of the workflow, and the workers that know one of them.

    Attributes:
        blueprints: The workflow, by its version.
        runtimes: What workers of each version have.
    """

    def __init__(self, new: Mapping[str, Any]) -> None:
        documents: dict[str, Mapping[str, Any]] = {"1": V1, "2": V2}
        self.blueprints = {
            name: WorkflowBlueprint.from_dict(each) for name, each in documents.items()
        }
        self.runtimes = {
            name: FlowRuntime(registry=dict(registry), blueprints={FLOW: self.blueprints[name]})
            for name, registry in {"1": OLD, "2": new}.items()
        }

    def version_of(self, hash_: str) -> str:
        """The version of the workflow that has a hash."""
        hashes = {blueprint_hash(each): name for name, each in self.blueprints.items()}
        return hashes[hash_]


class Deploy:
    """What is done in the time of a deploy; the same object serves all of its people.

    Args:
        starts: How many runs are started meanwhile, besides the first one.
        seconds: How long starts keep coming.
        keeps_old: Whether the new workers still have the implementation that was renamed. If they
            do not, an old worker is kept for as long as a run needs it.
    """

    def __init__(self, starts: int, seconds: float = HOUR, *, keeps_old: bool) -> None:
        self.starts = starts
        self.seconds = seconds
        self.keeps_old = keeps_old
        self.releases = Releases({**NEW, **OLD} if keeps_old else NEW)

    def build(self) -> tuple[FlowRuntime, Runnable]:
        """The old version, with which it begins."""
        return self.releases.runtimes["1"], self.releases.blueprints["1"]

    def _options(self, person: Person, version: str) -> RuntimeOptions:
        """What workers of a version have, with bodies that are counted."""
        world = person.world
        runtime = self.releases.runtimes[version].options
        middleware = (world.census, *runtime.middleware)
        return replace(runtime, middleware=middleware, bus=EventBus())

    # -- traffic ----------------------------------------------------------------------------

    async def traffic(self, person: Person) -> None:
        """Start runs all the time."""
        pause = self.seconds / self.starts
        for number in range(self.starts):
            await person.rest(person.chance.between(0.0, 2 * pause))
            version = person.chance.pick(self._known(person))
            start = partial(
                person.client.start_run,
                self.releases.blueprints[version],
                run_id=f"{RUN_ID}-{number}",
            )
            await person.insist(start)

    async def audit(self, person: Person) -> None:
        """Wait for all runs, and see what becomes of them."""
        for run_id in self._run_ids:
            await self._see(person, run_id)

    @property
    def _run_ids(self) -> list[str]:
        return [RUN_ID, *(f"{RUN_ID}-{number}" for number in range(self.starts))]

    def _known(self, person: Person) -> tuple[str, ...]:
        """The versions that clients have: old ones go on for a while when the new one is there."""
        is_new = any("order.note" in _registry(each) for each in person.world.workers)
        return ("1", "2", "2") if is_new else ("1",)

    async def _see(self, person: Person, run_id: str) -> None:
        """Wait for a run, and look at what became of it."""
        world = person.world
        while True:
            with suppress(RunNotFound):
                run = await world.client.get_run(run_id)
                if run.status.is_final:
                    break
            await person.rest(PAUSE_SECONDS)
        problem = self._problem(run)
        if problem is not None:
            world.backend.watch.problems.append(("I10", f"run '{run_id}' {problem}"))

    def _problem(self, run: StoredRun) -> str | None:
        version = self.releases.version_of(run._head.blueprint_hash)
        if str(run.status) != "completed":
            return f"of version {version} is {run.status}: {run.errors}"
        expected, found = OUTPUTS[version], dict(run.outputs)
        if {name: found.get(name) for name in expected} != expected:
            return f"of version {version} came to {found}, and not to {expected}"
        return None

    # -- workers ----------------------------------------------------------------------------

    async def roll_out(self, person: Person) -> None:
        """Replace the workers in the midst of it, one after the other."""
        world = person.world
        await person.rest(max(0.0, START_SECONDS + self.seconds / 3 - world.loop.time()))
        world.options = self._options(person, "2")
        for old in list(world.workers):
            if not self._is_old(old) or self._is_the_last(old, world.workers):
                continue
            self._replace(person, old)
            await person.rest(person.chance.between(1.0, 2 * PAUSE_SECONDS))
        while not self.keeps_old:
            if await self._is_drained(person):
                break
            await self._keep_an_old_one(person)
            await person.rest(DRAIN_SECONDS)
        while left := [each for each in world.workers if self._is_old(each)]:
            self._replace(person, left[0])
            await person.rest(PAUSE_SECONDS)

    def _replace(self, person: Person, old: WorkerProcess) -> None:
        """Ask a worker to end, as a deploy does; or kill it. A new one comes for it."""
        if person.chance.happens(0.3):
            old.life.die()
        else:
            old.stop()

    @staticmethod
    def _is_old(worker: WorkerProcess) -> bool:
        registry = _registry(worker)
        is_ours = "order.check" in registry
        return is_ours and "order.note" not in registry and not worker.life.is_dead

    def _is_the_last(self, worker: WorkerProcess, workers: list[WorkerProcess]) -> bool:
        """Whether no other worker could run what only old ones have, while some run needs it."""
        others = [each for each in workers if each is not worker and self._is_old(each)]
        return not self.keeps_old and not others

    async def _is_drained(self, person: Person) -> bool:
        """Whether the new workers can finish every run, and nobody starts old ones any more."""
        for run_id in (self._run_ids[0], self._run_ids[-1]):
            try:
                await person.insist(partial(person.client.get_run, run_id))
            except RunNotFound:
                return False
        report = await person.insist(person.client.drain_report)
        return not report.needed_by(self.releases.runtimes["2"].options.registry)

    async def _keep_an_old_one(self, person: Person) -> None:
        """Start an old worker, should the last one have died."""
        world = person.world
        if any(map(self._is_old, world.workers)):
            return
        new, world.options = world.options, self._options(person, "1")
        world.start_worker()
        world.options = new


def _registry(worker: WorkerProcess) -> Mapping[str, Any]:
    return worker.worker._options.registry


def deploy_story(name: str, deploy: Deploy) -> Story:
    """A deploy as a story."""
    return Story(
        name,
        deploy.build,
        people=(deploy.traffic, deploy.roll_out, deploy.audit),
        is_settled=False,
        lasts_seconds=2 * deploy.seconds,
    )


STORIES = (
    deploy_story("deploy", Deploy(4, HOUR / 3, keeps_old=True)),
    deploy_story("deploy-drained", Deploy(4, HOUR / 3, keeps_old=False)),
)
