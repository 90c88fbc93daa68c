"""What is simulated: a workflow, what people do meanwhile, and what has to come of it."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any, Literal

from flowcraft.adapters.memory_objects import MemoryObjects
from flowcraft.core.blueprint import NodeDefinition, WorkflowBlueprint
from flowcraft.core.context import CATCH_ERROR
from flowcraft.core.state import RunStatus
from flowcraft.engine.bus import EventBus
from flowcraft.engine.files import Files
from flowcraft.engine.options import RuntimeOptions
from flowcraft.engine.results import RunResult
from flowcraft.engine.runtime import FlowRuntime, Runnable
from flowcraft.ports.codec import AnyCodec
from flowcraft.testing.simulate.census import Census
from flowcraft.testing.simulate.chance import Chance
from flowcraft.testing.simulate.clock import CountedIdentifiers, SimulationClock
from flowcraft.testing.simulate.loop import (
    START_SECONDS,
    NotSimulated,
    SimulationError,
    SimulationLoop,
    Standstill,
)
from flowcraft.testing.simulate.threads import DirectCalls, NoWatch

RUN_ID = "run"
ROUNDS_OF_ANSWERS = 100
LONGEST_RUN_SECONDS = 10 * 366 * 86400.0
"""How long a run in process may take, in virtual time."""

STEPS_OF_A_BODY = 1_000_000
"""Callbacks after which something goes on for ever, if no body begins or ends meanwhile."""

Role = Callable[[Any], Awaitable[None]]
"""What somebody does while the run goes on; is given a :class:`Person`."""

Check = Callable[[RunResult], None]
"""Looks at a run that is over; raises an ``AssertionError`` if something is wrong with it."""


ASYNC_CHECK = (
    "check= has to be a plain function: it looks at a run that is over, and nobody awaits what it "
    "gives."
)


@dataclass(frozen=True)
class Story:
    """A workflow to be simulated.

    Attributes:
        name: Its name.
        build: Gives the flow, and the runtime that knows its nodes: anew for every run, where
            nodes keep something outside.
        context: The initial context.
        people: What people do meanwhile.
        answers: What waiting nodes are answered, by their id; those that time out are not in it.
        is_settled: Whether what comes of it depends on nobody's being faster than somebody else.
        statuses: How it may end where that depends.
        shard_items: Batches of more items than this are cut into shards.
        check: Looks at each run at its end.
        schedules: Whether workers look after schedules.
        lasts_seconds: How long people take, beside the run itself.
        codec: Gives each process, by its name, the codec that it has.
        starts: How many runs there are of its id, one after the other.
        is_deleted: Whether somebody deletes the run: then it may be gone, with all of it.
        new_process: Makes what works on the run; workers that poll, by default.
    """

    name: str
    build: Callable[[], tuple[FlowRuntime, Runnable]]
    context: Mapping[str, Any] = field(default_factory=dict)
    people: tuple[Role, ...] = ()
    answers: Mapping[str, Any] = field(default_factory=dict)
    is_settled: bool = True
    statuses: tuple[str, ...] = ("completed",)
    shard_items: int = 500
    check: Check | None = None
    schedules: bool = False
    lasts_seconds: float = 0.0
    is_deleted: bool = False
    starts: int = 1
    new_process: Callable[..., Any] | None = None
    codec: Callable[[str], AnyCodec] | None = None

    def codec_of(self, process: str) -> AnyCodec | None:
        """The codec that a process has."""
        return None if self.codec is None else self.codec(process)

    @cached_property
    def truth(self) -> Truth:
        """What comes of it in process, without anything going wrong."""
        return Told(self, self.build()).in_process()


@dataclass(frozen=True)
class Truth:
    """What has to come of a story.

    Attributes:
        summary: Status, outputs, errors and so on; what is not settled is not in it.
        bodies: How often each body runs, by idempotency key.
        seconds: How long it takes, in virtual time.
        long_seconds: How long those bodies take, one after the other, that take minutes.
    """

    summary: Mapping[str, Any]
    bodies: Counter[str]
    seconds: float
    long_seconds: float = 0.0


class Told:
    """A story that is about to be run, once.

    Attributes:
        story: The story.
        runtime: Knows nodes and blueprints.
        blueprint: The workflow.
    """

    def __init__(self, story: Story, built: tuple[FlowRuntime, Runnable]) -> None:
        self.story = story
        self.runtime, flow = built
        if isinstance(flow, WorkflowBlueprint | Mapping | str):
            self.blueprint = self.runtime._resolve(flow)[0]
        else:
            self.blueprint = self.runtime.add_flow(flow)

    @property
    def is_long(self) -> bool:
        """Whether it has timers that are due in more than an hour."""
        return self.story.truth.seconds > self.runtime.options.timers.hour_seconds

    @cached_property
    def attempts(self) -> Mapping[str, int]:
        """How many attempts nodes, and workers of batches, have at most, by their names."""
        most: Counter[str] = Counter()
        for node in self.nodes:
            for name in (node.id, node.params.get("workerUsesKey")):
                if isinstance(name, str):
                    most[name] = max(most[name], node.config.max_retries)
        return most

    @cached_property
    def undoes(self) -> bool:
        """Whether any node has a compensation."""
        return any(node.config.compensate is not None for node in self.nodes)

    @property
    def nodes(self) -> list[NodeDefinition]:
        """The nodes of the workflow, and of all others that are known."""
        blueprints = (self.blueprint, *self.runtime.blueprints.values())
        return [node for each in blueprints for node in each.nodes]

    @property
    def hurried(self) -> frozenset[str]:
        """Names of what has a timeout."""
        timed = [node for node in self.nodes if node.config.timeout_ms is not None]
        # On a batch it is each item that has it.
        workers = [node.params.get("workerUsesKey") for node in timed]
        return frozenset([*(node.id for node in timed), *filter(None, workers)])

    def options(self, census: Census) -> RuntimeOptions:
        """The options of a worker whose bodies are counted."""
        options = self.runtime.options
        return replace(options, middleware=(census, *options.middleware), bus=EventBus())

    def in_process(self) -> Truth:
        """What comes of it in process."""
        check = self.story.check if self.story.is_settled else None
        return self.try_out(check or (lambda _: None))

    def try_out(
        self,
        look: Callable[[RunResult], object],
        *,
        order: int = 0,
        longest_seconds: float = 0.0,
    ) -> Truth:
        """What comes of it in process.

        Args:
            look: Is given the result.
            order: Decides, beside the name of the story, the order of what is ready.
            longest_seconds: How long a body takes at most, beside what it does.

        Raises:
            SimulationError: It does not come to an end.
        """
        parts: tuple[int | str, ...] = ("truth", self.story.name, *([order] if order else []))
        loop = SimulationLoop(Chance(*parts))
        chance = Chance("truth", *([order] if order else []))
        loop.ends_at = START_SECONDS + LONGEST_RUN_SECONDS

        def go_on(_: object = None) -> None:
            loop.most_steps = loop.steps + STEPS_OF_A_BODY

        go_on()
        census = Census(
            chance,
            loop.time,
            longest_seconds=longest_seconds,
            hurried=self.hurried,
            see=go_on,
            see_end=go_on,
        )
        runtime = self._in_process(loop, self.options(census))
        began = loop.time()
        try:
            result = self._ended(loop, runtime, census)
            seconds = loop.time() - began
            look(result)
            summary = summary_of(result, self.story)
            return Truth(summary, census.counts(), seconds, census.long_seconds)
        finally:
            loop.bury([])
            loop.close()

    def _ended(self, loop: SimulationLoop, runtime: FlowRuntime, census: Census) -> RunResult:
        try:
            return loop.run(self._answered(runtime))
        except NotSimulated:
            raise
        except SimulationError as error:
            names = sorted({repr(each) for each in census.under_way.values()})
            who = f"under way: node {', '.join(names)}" if names else "no node is under way"
            why = "it waits for what never comes" if isinstance(error, Standstill) else error
            raise type(error)(
                f"The run of '{self.story.name}' in process does not end ({who}): {why}"
            ) from error

    def _in_process(self, loop: SimulationLoop, options: RuntimeOptions) -> FlowRuntime:
        runtime = FlowRuntime(
            blueprints=options.blueprints,
            registry=options.registry,
            dependencies=options.dependencies,
            serializer=options.serializer,
            middleware=options.middleware,
            evaluator=options.evaluator,
            concurrency=options.concurrency,
            strict=options.strict,
            max_executions=options.max_executions,
            limits=options.limits,
            clock=SimulationClock(loop),
            identifiers=CountedIdentifiers("truth"),
        )
        runtime.threads, runtime.watch = DirectCalls(), NoWatch()
        # Those of a directory are written in threads.
        runtime.files = Files(MemoryObjects(), runtime.identifiers)
        return runtime

    async def _answered(self, runtime: FlowRuntime) -> RunResult:
        story = self.story
        # What is answered does not wait for its time to be up.
        timers: Literal["wait", "return"] = "return" if story.answers else "wait"
        go_on = partial(runtime.resume, self.blueprint, timers=timers)
        result = await runtime.run(
            self.blueprint, dict(story.context), run_id=RUN_ID, timers=timers
        )
        for _ in range(ROUNDS_OF_ANSWERS):
            if result.status is not RunStatus.AWAITING:
                break
            wait = next((w for w in result.awaiting if w.node_id in story.answers), None)
            due = [each.due_at for each in result.awaiting if each.due_at is not None]
            if wait is not None:
                output = story.answers[wait.node_id]
                result = await go_on(result, node_id=wait.path, output=output)
            elif due:
                await asyncio.sleep(max(0.0, min(due) - runtime.clock.now()))
                result = await go_on(result, answer=False)
            else:
                break
        return result


def complaint_of(story: Story, run: RunResult) -> str | None:
    """What the check of a story says against a run; ``None`` if it says nothing.

    Raises:
        TypeError: The check gives something to be awaited, which nobody would do.
    """
    if story.check is None:
        return None
    try:
        given: Any = story.check(run)
    except AssertionError as error:
        return str(error) or "the check of the story does not hold"
    except Exception as error:
        return f"check raised {type(error).__name__}: {error}"
    if inspect.isawaitable(given):
        if inspect.iscoroutine(given):
            given.close()
        raise TypeError(ASYNC_CHECK)
    return None


def short(value: Any) -> str:
    """A value as text that is not too long."""
    text = json.dumps(value, default=repr, sort_keys=True)
    return text if len(text) < 600 else f"{text[:600]}…"


def summary_of(run: RunResult, story: Story) -> dict[str, Any]:
    """What has to come of a run, whatever happens to its processes."""
    if not story.is_settled:
        return {}
    return {
        "status": str(run.status),
        "outputs": dict(run.outputs),
        "context": {
            key: value
            for key, value in run.context.items()
            # The number of attempts is in it, and grows with each worker that is lost.
            if key not in run.outputs and key != CATCH_ERROR
        },
        "states": run.states,
        "errors": sorted((str(each.node_id), each.type) for each in run.errors),
        "compensations": sorted(node for node, _ in run.compensations),
    }
