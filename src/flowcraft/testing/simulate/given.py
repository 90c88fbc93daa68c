"""What :func:`simulate` is given, looked at before anything runs."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from flowcraft.core.blueprint import WorkflowBlueprint
from flowcraft.engine.runtime import FlowRuntime
from flowcraft.testing.simulate.faults import KINDS, Kind
from flowcraft.testing.simulate.options import kinds_of
from flowcraft.testing.simulate.story import ASYNC_CHECK

STATUSES = ("completed", "failed", "cancelled")


def checked_kinds(faults: Any) -> tuple[Kind, ...]:
    """The kinds of fault that are given.

    Raises:
        TypeError: They are no collection of texts.
        ValueError: There is no such kind.
    """
    kinds = ", ".join(KINDS)
    if isinstance(faults, str) or not isinstance(faults, Collection):
        raise TypeError(f"faults= is a list of kinds, not {faults!r}. There are: {kinds}.")
    for each in faults:
        if not isinstance(each, str):
            raise TypeError(f"faults= has {each!r}, which is no kind of fault. There are: {kinds}.")
    return kinds_of(list(faults)) if faults else ()


def checked_number(name: str, value: Any, least: int | None = None) -> int:
    """A whole number.

    Raises:
        TypeError: It is none.
        ValueError: It is less than the least.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name}= is a whole number, not {value!r}.")
    if least is not None and value < least:
        raise ValueError(f"{name}= is {value}, and has to be at least {least}.")
    return value


def checked_statuses(statuses: Any) -> tuple[str, ...]:
    """How a run may end.

    Raises:
        TypeError: It is no list.
        ValueError: No run ends like that.
    """
    how = f"Runs end as: {', '.join(STATUSES)}."
    if isinstance(statuses, str) or not isinstance(statuses, Collection):
        raise TypeError(f"statuses= is a list, such as ('failed',), not {statuses!r}. {how}")
    unknown = [each for each in statuses if each not in STATUSES]
    if unknown or not statuses:
        what = repr(unknown[0]) if unknown else "empty"
        raise ValueError(f"statuses= has {what}, as which no run ends. {how}")
    return tuple(map(str, statuses))


def check_call(name: str, value: Any) -> None:
    """See that something can be called.

    Raises:
        TypeError: It cannot.
    """
    if not callable(value):
        raise TypeError(f"{name}= is something that is called, not {value!r}.")


def check_mapping(name: str, value: Any) -> None:
    """See that something is a mapping, if it is anything.

    Raises:
        TypeError: It is none.
    """
    if not isinstance(value, Mapping | None):
        raise TypeError(f"{name}= is a mapping, not {value!r}.")


def check_check(check: Any) -> None:
    """See that a check is a plain function.

    Raises:
        TypeError: It is none.
    """
    if check is None:
        return
    check_call("check", check)
    if _is_async(check):
        raise TypeError(ASYNC_CHECK)


def check_people(people: Any) -> None:
    """See that people are async functions.

    Raises:
        TypeError: Somebody is none.
    """
    if not isinstance(people, Sequence) or isinstance(people, str):
        raise TypeError(f"people= is a list of async functions, not {people!r}.")
    for each in people:
        if not _is_async(each):
            name = getattr(each, "__qualname__", repr(each))
            raise TypeError(
                f"people= has {name}, which is no async function: write "
                "'async def somebody(person): ...'."
            )


def check_flow(flow: Any, runtime: Any) -> None:
    """See that there is a flow, or a function that gives one, and a runtime, if any.

    Raises:
        TypeError: There is not.
    """
    if runtime is not None and not isinstance(runtime, FlowRuntime):
        raise TypeError(f"runtime= is a FlowRuntime, not {runtime!r}.")
    if isinstance(flow, FlowRuntime):
        raise TypeError(
            "The flow comes first, and the runtime goes by its name: simulate(flow, "
            "runtime=runtime)."
        )
    is_flow = isinstance(flow, WorkflowBlueprint | Mapping | str) or hasattr(flow, "to_blueprint")
    if not (is_flow or callable(flow)):
        raise TypeError(f"{_WANTED}, not {flow!r}.")
    if not is_flow and (_is_async(flow) or _needs_arguments(flow)):
        name = getattr(flow, "__qualname__", repr(flow))
        raise TypeError(
            f"{name} is no flow, and no function without arguments that gives one. Of a node "
            "make a flow: create_flow(id).node(id, function)."
        )


def checked_pair(made: Any, runtime: FlowRuntime | None) -> tuple[FlowRuntime, Any]:
    """The runtime and the flow that a function gave.

    Raises:
        TypeError: It gave something else.
    """
    pair = made if isinstance(made, tuple) else (runtime or FlowRuntime(), made)
    known = pair[0] if len(pair) == 2 else None
    flow = pair[1] if len(pair) == 2 else None
    is_flow = isinstance(flow, WorkflowBlueprint | Mapping | str) or hasattr(flow, "to_blueprint")
    if isinstance(known, FlowRuntime) and is_flow:
        return known, flow
    if isinstance(flow, FlowRuntime):
        raise TypeError("A function gives the runtime first, and then the flow: (runtime, flow).")
    raise TypeError(f"{_WANTED}; the function that was given gave {made!r}.")


_WANTED = (
    "What is simulated is a flow, a blueprint, the id of one that runtime= knows, or a function "
    "that gives one of these, or (runtime, flow)"
)


def _is_async(function: Any) -> bool:
    call = getattr(function, "__call__", None)  # noqa: B004 - whether that is async
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)


def _needs_arguments(function: Any) -> bool:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(
        each.default is each.empty and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
        for each in parameters
    )
