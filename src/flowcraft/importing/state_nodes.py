"""The nodes that imported blueprints are made of, beside those that the engine has itself.

``state_nodes`` gives them as a registry; ``task`` makes a node of a function that does the work of
a state. Each node's parameters say what its state is to do, so a blueprint tells all of it.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

from flowcraft.adapters.system import SystemClock
from flowcraft.core.durations import MAX_DURATION_MS
from flowcraft.engine.context import NodeContext
from flowcraft.engine.nodes import NodeResult
from flowcraft.importing.state_data import (
    Known,
    effective_input,
    output_of,
    payload_of,
    placed,
)
from flowcraft.importing.state_errors import TIMEOUT_NAMES, state_error
from flowcraft.ports.clock import Clock

PASS: Final = "asl.pass"
PAYLOAD: Final = "asl.payload"
CHOICE: Final = "asl.choice"
RESULT: Final = "asl.result"
JOIN: Final = "asl.join"
ITEMS: Final = "asl.items"
COLLECT: Final = "asl.collect"
CATCH: Final = "asl.catch"
FAIL: Final = "asl.fail"
WAIT: Final = "asl.wait"
WAITED: Final = "asl.waited"
START: Final = "asl.start"
END: Final = "asl.end"

RULE_ACTION: Final = "if"
"""The action of a choice: edges with it have a rule's condition, the one without is the rest."""

INPUT_KEY: Final = "input"
"""The context key that holds the input of an execution."""

Context: TypeAlias = NodeContext[Any]
Work: TypeAlias = Callable[[Any, Context], Awaitable[Any]]
NodeFunction: TypeAlias = Callable[[Context], Awaitable[Any]]


def task(work: Work) -> NodeFunction:
    """A node that does the work of a state.

    Args:
        work: An async function of the payload (the state's input by ``Parameters``) and the
            node's context; what it returns is the state's result. An error that ``Retry`` or
            ``Catch`` name is raised by ``state_error(name, cause)``, or is any exception whose
            class has that name.
    """

    async def run(ctx: Context) -> Any:
        data = ctx.params.get("data", {})
        known = await _known(ctx, ctx.input)
        payload = payload_of(data, known)
        part = ctx.params.get("payload")
        if part is not None:
            payload = payload.get(part) if isinstance(payload, Mapping) else None
        result = await work(payload, ctx)
        if ctx.params.get("callback"):
            return {"token": ctx.idempotency_key, "result": result}
        if "wraps" in ctx.params:
            result = {ctx.params["wraps"]: result, "StatusCode": 200}
        return await _finished(ctx, data, known, result)

    run.__name__ = getattr(work, "__name__", "run")
    run.__doc__ = work.__doc__
    return run


def choice(choose: Work) -> NodeFunction:
    """A node that chooses where to go on.

    Args:
        choose: An async function of the state's input and the node's context; it returns the name
            of the next state, or ``None`` for the default.
    """

    async def run(ctx: Context) -> NodeResult[Any]:
        known = await _known(ctx, ctx.input)
        value = effective_input(ctx.params.get("data", {}), known)
        return NodeResult(value, action=await choose(value, ctx))

    run.__name__ = getattr(choose, "__name__", "run")
    run.__doc__ = choose.__doc__
    return run


def state_nodes(clock: Clock | None = None) -> dict[str, NodeFunction]:
    """The registry of all nodes that imported blueprints use beside their tasks.

    Args:
        clock: Tells what time it is for states that wait until a moment; the machine's by default.
    """
    return {
        PASS: _pass,
        PAYLOAD: _payload,
        CHOICE: _choice,
        RESULT: _result,
        JOIN: _join,
        ITEMS: _items,
        COLLECT: _collect,
        CATCH: _catch,
        FAIL: _fail,
        WAIT: _waiting(clock or SystemClock()),
        WAITED: _waited,
        START: _same,
        END: _same,
    }


# ---------------------------------------------------------------- what a state knows


async def _known(ctx: Context, state_input: Any, **more: Any) -> Known:
    """What paths can see; only what the parameter ``reads`` names is read from the context."""
    reads = ctx.params.get("reads", ())
    variables = {}
    for name in reads:
        if await ctx.context.has(f"${name}"):
            variables[name] = await ctx.context.get(f"${name}")
    execution = {
        "Execution": {"Id": ctx.run_id, "Name": ctx.run_id},
        "StateMachine": {"Id": ctx.blueprint_id, "Name": ctx.blueprint_id},
        "State": {
            "Name": ctx.params.get("state", ctx.node_id),
            "RetryCount": max(0, ctx.attempt - 1),
        },
        "Task": {"Token": ctx.idempotency_key},
    }
    if ctx.params.get("readsExecution"):
        execution["Execution"]["Input"] = await ctx.context.get(INPUT_KEY)
    return Known(state_input, execution, variables, ctx.idempotency_key, **more)


async def _finished(ctx: Context, data: Mapping[str, Any], known: Known, result: Any) -> Any:
    """A state's output, with its variables set."""
    after = Known(known.input, known.execution, known.variables, known.seed, result, known.error)
    output = output_of(data, after)
    await _assign(ctx, data, after, result)
    return output


async def _assign(ctx: Context, data: Mapping[str, Any], known: Known, value: Any) -> None:
    for name, assigned in known.fill(data.get("Assign", {}), value).items():
        await ctx.context.set(f"${name}", assigned)


async def _input_of_state(ctx: Context) -> Any:
    """The input of the state that a node finishes, which another node began."""
    return await ctx.context.get(f"_inputs.{ctx.params['state']}")


# ---------------------------------------------------------------- the nodes


async def _pass(ctx: Context) -> Any:
    data = ctx.params.get("data", {})
    known = await _known(ctx, ctx.input)
    result = data["Result"] if "Result" in data else payload_of(data, known)
    return await _finished(ctx, data, known, result)


async def _payload(ctx: Context) -> Any:
    """What is handed to branches and children; the state goes on in another node."""
    payload = payload_of(ctx.params.get("data", {}), await _known(ctx, ctx.input))
    part = ctx.params.get("part")
    return payload if part is None else payload.get(part, {})


async def _choice(ctx: Context) -> NodeResult[Any]:
    data = ctx.params.get("data", {})
    known = await _known(ctx, ctx.input)
    return NodeResult(effective_input(data, known), action=RULE_ACTION)


async def _result(ctx: Context) -> Any:
    """The end of a state whose work other nodes have done: children, answers, batches."""
    data = ctx.params.get("data", {})
    known = await _known(ctx, await _input_of_state(ctx))
    result = ctx.input
    wrapped = ctx.params.get("wrap")
    if wrapped is not None:
        text = json.dumps(result) if wrapped == "text" else result
        result = {"Output": text, "Status": "SUCCEEDED"}
    return await _finished(ctx, data, known, result)


async def _join(ctx: Context) -> Any:
    """The results of branches in their order; each comes with the number of its branch."""
    entries = [ctx.input] if ctx.params["branches"] == 1 else list(ctx.input.values())
    results = [entry["output"] for entry in sorted(entries, key=lambda entry: entry["branch"])]
    known = await _known(ctx, await _input_of_state(ctx))
    return await _finished(ctx, ctx.params.get("data", {}), known, results)


async def _items(ctx: Context) -> Any:
    """The items of a map: for a batch as a list, else with a child for each."""
    data = ctx.params.get("data", {})
    is_read = "state" in ctx.params  # another node has read them, from a file for example
    known = await _known(ctx, await _input_of_state(ctx) if is_read else ctx.input)
    items = _selected(data, known, ctx.input if is_read else _listed(data, known))
    items = _batched(data, known, items)
    child = ctx.params.get("child")
    if child is None:
        return items
    nodes = [
        {
            "id": f"{ctx.node_id}[{number}]",
            "uses": "subflow",
            "inputs": f"{ctx.node_id}.items.{number}",
            "params": {"blueprintId": child},
        }
        for number in range(len(items))
    ]
    output = {"items": items, "gatherNodeId": ctx.params["gather"]}
    return NodeResult(output, dynamic_nodes=nodes)


def _listed(data: Mapping[str, Any], known: Known) -> list[Any]:
    if "Items" in data:
        items = known.fill(data["Items"], known.input)
    else:
        items = known.at(data.get("ItemsPath", "$"), effective_input(data, known))
    if isinstance(items, Mapping):
        items = [{"Key": key, "Value": value} for key, value in items.items()]
    if not isinstance(items, list):
        kind = type(items).__name__
        raise state_error("States.Runtime", f"the items are no list but {kind}", is_fatal=True)
    return items


def _selected(data: Mapping[str, Any], known: Known, items: list[Any]) -> list[Any]:
    selector = data.get("ItemSelector")
    if selector is None:
        return items
    value = effective_input(data, known) if "InputPath" in data else known.input
    selected = []
    for index, item in enumerate(items):
        here = {**known.execution, "Map": {"Item": {"Index": index, "Value": item}}}
        each = Known(known.input, here, known.variables, f"{known.seed}/{index}")
        selected.append(each.fill(selector, value))
    return selected


def _batched(data: Mapping[str, Any], known: Known, items: list[Any]) -> list[Any]:
    batcher = data.get("ItemBatcher")
    if batcher is None:
        return items
    size = batcher["MaxItemsPerBatch"]
    more = known.fill({k: v for k, v in batcher.items() if k.startswith("BatchInput")}, known.input)
    return [{**more, "Items": items[at : at + size]} for at in range(0, len(items), size)]


async def _collect(ctx: Context) -> Any:
    """The results of the children of a map, in the order of its items."""
    added_by = ctx.params["items"]
    count = len(ctx.input["items"])
    results = [await ctx.context.get(f"_outputs.{added_by}[{number}]") for number in range(count)]
    known = await _known(ctx, await _input_of_state(ctx))
    return await _finished(ctx, ctx.params.get("data", {}), known, results)


async def _catch(ctx: Context) -> NodeResult[Any]:
    """Choose the catcher of an error: its number is the action; without one, fail with it."""
    error = await _caught(ctx)
    catchers: Sequence[Mapping[str, Any]] = ctx.params.get("catchers", ())
    for number, catcher in enumerate(catchers):
        if any(_is_meant(name, error["Error"]) for name in catcher["errors"]):
            known = await _known(ctx, await _input_of_state(ctx), error=error)
            if "Output" in catcher:
                output = known.fill(catcher["Output"], error)
            else:
                output = placed(catcher.get("resultPath", "$"), known.input, error)
            await _assign(ctx, catcher, known, error)
            return NodeResult(output, action=f"catch {number}")
    raise state_error(error["Error"], error["Cause"])


async def _caught(ctx: Context) -> dict[str, str]:
    if ctx.params.get("answered"):
        answer = ctx.input if isinstance(ctx.input, Mapping) else {}
        name = str(answer.get("error") or "States.TaskFailed")
        return {"Error": name, "Cause": str(answer.get("cause") or "")}
    caught = await ctx.context.get("_catch_error")
    name = "States.Timeout" if caught["type"] in TIMEOUT_NAMES else caught["type"]
    return {"Error": name, "Cause": caught["message"]}


def _is_meant(name: str, error: str) -> bool:
    if name == "States.ALL":
        return error not in ("States.DataLimitExceeded", "States.Runtime")
    return name == error or (name == "States.TaskFailed" and error != "States.Timeout")


async def _fail(ctx: Context) -> Any:
    known = await _known(ctx, ctx.input)
    name, cause = (_told(ctx.params, known, field) for field in ("Error", "Cause"))
    raise state_error(name or "States.Failed", cause)


def _told(params: Mapping[str, Any], known: Known, field: str) -> str:
    if f"{field}Path" in params:
        return str(known.dynamic(params[f"{field}Path"]))
    return str(known.fill(params.get(field, ""), known.input))


def _waiting(clock: Clock) -> NodeFunction:
    async def wait(ctx: Context) -> Any:
        """Adds a sleep that is as long as the data says."""
        data = ctx.params.get("data", {})
        known = await _known(ctx, ctx.input)
        length_ms = _length_ms(ctx.params["wait"], known, data, clock)
        if not 0 <= length_ms <= MAX_DURATION_MS:
            raise state_error("States.Runtime", f"cannot wait {length_ms} ms", is_fatal=True)
        nap = {
            "id": f"{ctx.node_id} (sleep {ctx.idempotency_key})",
            "uses": "sleep",
            "params": {"duration": length_ms},
        }
        value = await _finished(ctx, data, known, effective_input(data, known))
        output = {"gatherNodeId": ctx.params["gather"], "value": value}
        return NodeResult(output, dynamic_nodes=[nap])

    return wait


def _length_ms(wait: Mapping[str, Any], known: Known, data: Mapping[str, Any], clock: Clock) -> int:
    value = effective_input(data, known)
    if "SecondsPath" in wait:
        return round(1000 * _number(known.dynamic(wait["SecondsPath"], value)))
    if "Seconds" in wait:
        return round(1000 * _number(known.fill(wait["Seconds"], value)))
    if "TimestampPath" in wait:
        moment = known.dynamic(wait["TimestampPath"], value)
    else:
        moment = known.fill(wait["Timestamp"], value)
    return max(0, round(1000 * (_seconds(moment) - clock.now())))


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise state_error("States.Runtime", f"{value!r} is no number of seconds", is_fatal=True)
    return value


def _seconds(moment: Any) -> float:
    try:
        read = datetime.fromisoformat(moment)
    except (TypeError, ValueError):
        text = f"{moment!r} is no timestamp such as 2025-01-31T09:00:00Z"
        raise state_error("States.Runtime", text, is_fatal=True) from None
    return (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()


async def _waited(ctx: Context) -> Any:
    return ctx.input["value"]


async def _same(ctx: Context) -> Any:
    return ctx.input
