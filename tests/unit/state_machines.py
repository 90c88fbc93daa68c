"""Definitions in Amazon States Language for tests, and what it takes to run one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from flowcraft import FlowRuntime, RunResult, analyze_blueprint, lint_blueprint
from flowcraft.importing import Imported, choice, import_asl, state_nodes, task
from flowcraft.testing import TestEnvironment, VirtualClock, durable
from tests.unit.runs import Ctx, drive

Definition = dict[str, Any]
WHERE = "process"
"""Where definitions are run: in the process, or ``durable``, by a worker over a store."""

LAMBDA = "arn:aws:lambda:eu-central-1:123456789012:function:"
INVOKE = "arn:aws:states:::lambda:invoke"


def machine(start: str, /, **states: Definition) -> Definition:
    """A definition; a ``_`` in the name of a state stands for a blank."""
    named = {name.replace("_", " "): state for name, state in states.items()}
    return {"StartAt": start, "States": named}


def work(function: str, **fields: Any) -> Definition:
    """A task whose function is told by its ARN; without ``Next`` it is the last state."""
    way = {} if "Next" in fields else {"End": True}
    return {"Type": "Task", "Resource": f"{LAMBDA}{function}", **way, **fields}


def imported(definition: Definition, name: str = "m") -> Imported:
    """What comes of a definition, which lint has nothing to say about."""
    result = import_asl(json.dumps(definition), name)
    known = {blueprint.id for blueprint in result.blueprints}
    for blueprint in result.blueprints:
        found = lint_blueprint(
            blueprint, registry=registry(result, {}), blueprints={*known, "other"}
        )
        assert not found.issues, [issue.message for issue in found.issues]
    return result


def registry(
    result: Imported,
    functions: Mapping[str, Callable[..., Any]],
    clock: VirtualClock | None = None,
) -> dict[str, Any]:
    """The functions of an import, filled in: each is given the payload and gives the result."""
    prefix = f"{result.blueprint.id}."
    filled: dict[str, Any] = dict(state_nodes(clock))
    for line in result.module.splitlines():
        if line.strip().startswith(f'"{prefix}'):
            key, _, maker = line.strip().rstrip("),").partition(": ")
            kind, _, name = maker.partition("(")
            make = choice if kind == "choice" else task
            filled[key.strip('"')] = make(_function(functions.get(name), name))
    return filled


def _function(function: Callable[..., Any] | None, name: str) -> Callable[..., Any]:
    async def call(payload: Any, ctx: Ctx) -> Any:
        assert function is not None, f"{name} was called, and no test expects it"
        return function(payload)

    return call


def execute(
    definition: Definition,
    value: Any = None,
    *,
    also: tuple[Imported, ...] = (),
    **functions: Callable[..., Any],
) -> RunResult:
    """Import a definition, fill in its functions, and run it with an input."""
    result = imported(definition)
    return drive(_execute(result, value, functions, also))


async def _execute(
    result: Imported,
    value: Any,
    functions: Mapping[str, Callable[..., Any]],
    also: tuple[Imported, ...],
) -> RunResult:
    clock = VirtualClock()
    filled = dict(state_nodes(clock))
    for part in (result, *also):
        tasks = registry(part, functions)
        filled |= {key: tasks[key] for key in tasks if key not in filled}
    blueprints = {each.id: each for part in (result, *also) for each in part.blueprints}
    runtime = FlowRuntime(registry=filled, blueprints=blueprints)
    async with TestEnvironment(runtime, clock=clock) as env:
        if WHERE == "process":
            return await env.run(result.blueprint, {"input": value})
        async with durable(env) as adapter:
            run = await adapter.start_run(result.blueprint.id, {"input": value})
            for _ in range(10):
                await env.advance("1d")
                ended = await adapter.get_run(run)
                if ended.status.is_final:
                    return ended
            raise AssertionError(f"not over after ten days: {ended.states}")


def output(result: RunResult, definition: Definition) -> Any:
    """What the execution gave: the output of the one node that no edge leaves."""
    [last] = analyze_blueprint(imported(definition).blueprint).terminal_node_ids
    return result.outputs[last]


def outcome(
    definition: Definition,
    value: Any = None,
    *,
    also: tuple[Imported, ...] = (),
    **functions: Callable[..., Any],
) -> Any:
    """The output of an execution, or ``(error, cause)`` where it fails."""
    result = execute(definition, value, also=also, **functions)
    if result.status == "failed":
        return result.errors[0].type, result.errors[0].message
    assert result.status == "completed", result.status
    return output(result, definition)
