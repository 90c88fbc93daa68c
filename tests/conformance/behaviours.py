"""The node behaviours that the blueprints of the corpus use.

Those of ``OF_VALUES`` are functions of input and params. Those of ``OF_CONTEXT`` also use the
run: its context, its clock, its cancelling.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final

from flowcraft.core.builtins import BUILTIN_USES
from flowcraft.engine.context import CancelToken, NodeContext
from flowcraft.engine.nodes import Node, NodeResult
from flowcraft.errors import FlowcraftError
from tests.conformance.recorder import Recorder
from tests.conformance.texts import in_order, is_number, is_true, text_of

Params = Mapping[str, Any]
_ITEM_SLOW_SECONDS: Final = 0.025


class BehaviourFailed(Exception):
    """The ordinary error that a behaviour fails with."""


class World:
    """What the behaviours of one case share, from its first run to its last resume.

    Attributes:
        recorder: Writes down what is called; one for each step of the case.
        cancel: The signal that the caller handed to the present run or resume.
        sleep: Waits for a number of seconds, on the clock of the runs.
        calls: Counters of ``flaky`` and ``flaky_fatal``, by name.
    """

    def __init__(self, sleep: Callable[[float], Awaitable[None]]) -> None:
        self.recorder: Recorder | None = None
        self.cancel: CancelToken | None = None
        self.sleep = sleep
        self.calls: Counter[str] = Counter()

    def registry(self) -> dict[str, Any]:
        """Every behaviour by name, ready for a runtime."""
        made: dict[str, Any] = {"phases": partial(Phases, self)}
        for name, function in OF_VALUES.items():
            made[name] = _node(self, partial(_of_values, function))
        for name, behaviour in OF_CONTEXT.items():
            made[name] = _node(self, behaviour)
        return made

    def started(self, ctx: NodeContext[Any]) -> None:
        """Record that a behaviour was started."""
        if self.recorder is not None:
            self.recorder.started(ctx)

    def called(self, ctx: NodeContext[Any]) -> None:
        """Record an attempt."""
        if self.recorder is not None:
            self.recorder.called(ctx)


Behaviour = Callable[[NodeContext[Any], World], Awaitable[Any]]


def _node(world: World, behaviour: Behaviour) -> Callable[[NodeContext[Any]], Awaitable[Any]]:
    async def node(ctx: NodeContext[Any]) -> Any:
        world.started(ctx)
        world.called(ctx)
        await asyncio.sleep(0)  # those started together finish in the order of their start
        return await behaviour(ctx, world)

    return node


async def _of_values(
    function: Callable[[Any, Params], Any], ctx: NodeContext[Any], world: World
) -> Any:
    return function(ctx.input, ctx.params)


# -- values ---------------------------------------------------------------------------------


def _error_result(given: Any, params: Params) -> NodeResult[Any]:
    return NodeResult(error={"message": _text_param(params, "message", "soft error")})


def _text_param(params: Params, name: str, default: str) -> str:
    value = params.get(name)
    return default if value is None else str(value)


# -- arithmetic and text --------------------------------------------------------------------


def _number(who: str, value: Any) -> Any:
    if not is_number(value):
        raise BehaviourFailed(f"{who}: expected a number")
    return value


def _add(given: Any, params: Params) -> Any:
    members = given if isinstance(given, dict) else {}
    return _number("add", members.get("a")) + _number("add", members.get("b"))


def _sum(given: Any, params: Params) -> Any:
    if not isinstance(given, list):
        raise BehaviourFailed("sum: expected a list")
    return sum(_number("sum", member) for member in given)


def _gt(given: Any, params: Params) -> bool:
    return bool(_number("gt", given) > params["than"])


def _concat(given: Any, params: Params) -> str:
    members = [given]
    if isinstance(given, list):
        members = given
    elif isinstance(given, dict):
        members = [given[key] for key in in_order(given)]
    return _text_param(params, "sep", "").join(map(text_of, members))


# -- looking at the input -------------------------------------------------------------------


def _pick(given: Any, params: Params) -> Any:
    field = params.get("field")
    if isinstance(given, dict):
        return given.get(text_of(field))
    if isinstance(given, list) and text_of(field).isdecimal():
        index = int(text_of(field))
        return given[index] if index < len(given) else None
    return None


def _kind(given: Any, params: Params) -> str:
    if given is None:
        return "nothing"
    if isinstance(given, bool):
        return "boolean"
    if is_number(given):
        return "number"
    if isinstance(given, str):
        return "string"
    return "list" if isinstance(given, list) else "dict"


# -- workers of batches ---------------------------------------------------------------------


def _is_odd(given: Any) -> bool:
    return bool(given % 2 == 1)


def _fail_odd(given: Any, params: Params) -> Any:
    if _is_odd(_number("fail_odd", given)):
        raise BehaviourFailed(f"odd: {text_of(given)}")
    return given * 10


def _drop_odd(given: Any, params: Params) -> Any:
    return NodeResult() if _is_odd(given) else given * 10


# -- failing --------------------------------------------------------------------------------


def _fail(given: Any, params: Params) -> Any:
    raise BehaviourFailed(_text_param(params, "message", "failed"))


def _fatal(given: Any, params: Params) -> Any:
    raise FlowcraftError(_text_param(params, "message", "fatal"), is_fatal=True)


def _soft_fail(given: Any, params: Params) -> Any:
    raise FlowcraftError(_text_param(params, "message", "soft"))


async def _flaky(ctx: NodeContext[Any], world: World) -> str:
    name = _text_param(ctx.params, "key", "flaky")
    world.calls[name] += 1
    if world.calls[name] <= ctx.params.get("times", 1):
        raise BehaviourFailed(f"flaky {world.calls[name]}")
    return "ok"


async def _flaky_fatal(ctx: NodeContext[Any], world: World) -> Any:
    name = _text_param(ctx.params, "key", "flaky_fatal")
    world.calls[name] += 1
    if world.calls[name] >= ctx.params.get("fatal_at", 2):
        raise FlowcraftError(f"fatal {world.calls[name]}", is_fatal=True)
    raise BehaviourFailed(f"flaky {world.calls[name]}")


# -- context --------------------------------------------------------------------------------


async def _ctx_get(ctx: NodeContext[Any], world: World) -> Any:
    return await ctx.context.get(ctx.params["key"])


async def _ctx_has(ctx: NodeContext[Any], world: World) -> bool:
    return await ctx.context.has(ctx.params["key"])


async def _ctx_set(ctx: NodeContext[Any], world: World) -> Any:
    value = ctx.params.get("value")
    await ctx.context.set(ctx.params["key"], value)
    return value


async def _ctx_del(ctx: NodeContext[Any], world: World) -> bool:
    return await ctx.context.delete(ctx.params["key"])


async def _ctx_inc(ctx: NodeContext[Any], world: World) -> Any:
    value = await ctx.context.get(ctx.params["key"])
    value = (value if is_true(value) else 0) + ctx.params.get("by", 1)
    await ctx.context.set(ctx.params["key"], value)
    return value


async def _ctx_push(ctx: NodeContext[Any], world: World) -> list[Any]:
    return await _push(ctx, ctx.params["key"], ctx.params.get("value"))


async def _push(ctx: NodeContext[Any], key: str, value: Any) -> list[Any]:
    longer = [*(await ctx.context.get(key) or ()), value]
    await ctx.context.set(key, longer)
    return longer


async def _ctx_keys(ctx: NodeContext[Any], world: World) -> list[str]:
    return in_order(await ctx.context.to_dict())


async def _save(ctx: NodeContext[Any], world: World) -> Any:
    await ctx.context.set(ctx.params["key"], ctx.input)
    return ctx.input


async def _tick(ctx: NodeContext[Any], world: World) -> int:
    count: int = (await ctx.context.get(ctx.params["counter"]) or 0) + 1
    await ctx.context.set(ctx.params["counter"], count)
    await ctx.context.set(ctx.params["flag"], count < ctx.params["limit"])
    return count


# -- choosing a way -------------------------------------------------------------------------


async def _route(ctx: NodeContext[Any], world: World) -> NodeResult[Any]:
    params = ctx.params
    if "action" in params:
        action = params["action"]
    elif "key" in params:
        action = await ctx.context.get(params["key"])
    elif "field" in params:
        action = ctx.input.get(params["field"]) if isinstance(ctx.input, dict) else None
    else:
        action = ctx.input
    return NodeResult(params.get("value", ctx.input), action)


# -- time, cancelling, added nodes ----------------------------------------------------------


async def _item_slow(ctx: NodeContext[Any], world: World) -> Any:
    await world.sleep(max(0, _ITEM_SLOW_SECONDS * (4 - ctx.input)))
    return ctx.input * 10


async def _delay(ctx: NodeContext[Any], world: World) -> Any:
    await world.sleep(ctx.params.get("ms", 0) / 1000)
    return ctx.params.get("value", ctx.input)


async def _abort(ctx: NodeContext[Any], world: World) -> str:
    if world.cancel is not None:
        world.cancel.cancel()
    return "aborted"


async def _dynamic(ctx: NodeContext[Any], world: World) -> NodeResult[Any]:
    return NodeResult(ctx.params.get("value"), dynamic_nodes=ctx.params.get("nodes") or ())


OF_VALUES: Final[Mapping[str, Callable[[Any, Params], Any]]] = {
    "const": lambda given, params: params.get("value"),
    "echo": lambda given, params: given,
    "nothing": lambda given, params: NodeResult(),
    "no_result": lambda given, params: None,
    "error_result": _error_result,
    "params": lambda given, params: dict(params),
    "double": lambda given, params: _number("double", given) * 2,
    "inc": lambda given, params: _number("inc", given) + 1,
    "add": _add,
    "sum": _sum,
    "gt": _gt,
    "concat": _concat,
    "append": lambda given, params: text_of(given) + text_of(params.get("suffix")),
    "pick": _pick,
    "inputs_keys": lambda given, params: in_order(given) if isinstance(given, dict) else None,
    "kind": _kind,
    "fail": _fail,
    "fatal": _fatal,
    "soft_fail": _soft_fail,
    "fail_odd": _fail_odd,
    "drop_odd": _drop_odd,
    "null_odd": lambda given, params: None if _is_odd(given) else given * 10,
    "item_route": lambda given, params: NodeResult(given, text_of(given)),
}

OF_CONTEXT: Final[Mapping[str, Behaviour]] = {
    "ctx_get": _ctx_get,
    "ctx_has": _ctx_has,
    "ctx_set": _ctx_set,
    "ctx_del": _ctx_del,
    "ctx_inc": _ctx_inc,
    "ctx_push": _ctx_push,
    "ctx_keys": _ctx_keys,
    "save": _save,
    "tick": _tick,
    "route": _route,
    "flaky": _flaky,
    "flaky_fatal": _flaky_fatal,
    "item_slow": _item_slow,
    "delay": _delay,
    "abort": _abort,
    "dynamic": _dynamic,
}


# -- a node with a lifecycle ----------------------------------------------------------------


class Phases(Node[Any, Any]):
    """A class node whose steps leave a trail in the context, and fail on demand."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def prep(self, ctx: NodeContext[Any]) -> Any:
        """Hand over the input; the start of the node."""
        self._world.started(ctx)
        await asyncio.sleep(0)
        await self._step(ctx, "prep")
        return {"prepared": ctx.input}

    async def exec(self, ctx: NodeContext[Any], prepared: Any) -> Any:
        """Give what was prepared; the step that is an attempt."""
        self._world.called(ctx)
        await self._step(ctx, "exec")
        if ctx.params.get("fail_in") == "exec_fatal":
            raise FlowcraftError("exec fatal", is_fatal=True)
        return prepared

    async def fallback(self, ctx: NodeContext[Any], error: BaseException) -> Any:
        """Rescue, where that is asked for."""
        await self._step(ctx, "fallback")
        if not is_true(ctx.params.get("rescue")):
            raise error
        return f"rescued: {error}"

    async def post(self, ctx: NodeContext[Any], result: Any) -> NodeResult[Any]:
        """Wrap the result."""
        await self._step(ctx, "post")
        return NodeResult({"posted": result})

    async def recover(self, ctx: NodeContext[Any], error: BaseException) -> None:
        """Note the error."""
        await _push(ctx, self._log(ctx), f"recover: {error}")
        if is_true(ctx.params.get("recover_fails")):
            raise BehaviourFailed("recover failed")

    async def _step(self, ctx: NodeContext[Any], name: str) -> None:
        await _push(ctx, self._log(ctx), name)
        if ctx.params.get("fail_in") == name:
            raise BehaviourFailed(f"{name} failed")

    def _log(self, ctx: NodeContext[Any]) -> str:
        return _text_param(ctx.params, "log", "phases")


LIBRARY: Final = frozenset(OF_VALUES) | frozenset(OF_CONTEXT) | {"phases"}
BUILTINS: Final = BUILTIN_USES
