"""States that become several nodes: Parallel, Map, answers by token, executions of machines.

As in ``asl_states`` each function adds the nodes of a state, the first of which has its name, and
gives the one that what follows comes after.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from flowcraft.importing.asl_document import Machine, State
from flowcraft.importing.asl_fields import data_params
from flowcraft.importing.asl_resources import Resource, resource_of
from flowcraft.importing.asl_retries import ALL, TASK_FAILED, retry_config, time_limits
from flowcraft.importing.asl_states import WORK_FIELDS, tell_service, unwrapped, work_config
from flowcraft.importing.builder import Builder, catch, shaped
from flowcraft.importing.state_nodes import COLLECT, ITEMS, JOIN, PAYLOAD, RESULT

_BEFORE: Final = ("InputPath", "Parameters", "Arguments")
_AFTER: Final = ("ResultSelector", "ResultPath", "OutputPath", "Output", "Assign")
_GUARDS: Final = ("Retry", "Catch")


def lay_guarded(builder: Builder, state: State) -> str:
    """A Parallel or Map that is tried again, or whose errors are caught: a run of its own.

    The child has the state without its ``Retry`` and ``Catch``; the node that runs it has these.
    """
    bare = {key: value for key, value in state.fields.items() if key not in _GUARDS}
    bare = {**{key: value for key, value in bare.items() if key != "Next"}, "End": True}
    inner = State(state.name, state.type, bare, state.place, state.language, state.branches)
    child = builder.child(Machine(state.name, {state.name: inner}, {}, state.place), state.name)
    config, findings = retry_config(state)
    builder.assembly.whole.findings += findings
    _tell_child_errors(builder, state)
    node_id = builder.assembly.node(state.name, "subflow", {"blueprintId": child}, config=config)
    catch(builder, state, node_id)
    return node_id


def _tell_child_errors(builder: Builder, state: State) -> None:
    for key in _GUARDS:
        for number, entry in enumerate(state.fields.get(key, [])):
            names = set(entry["ErrorEquals"]) - {ALL, TASK_FAILED}
            if names:
                message = (
                    f"The failure of a run inside is a 'SubflowFailed' outside, whatever it was: "
                    f"{', '.join(sorted(names))} would not be recognised."
                )
                advice = "Name 'SubflowFailed', or handle these errors inside."
                place = f"{state.place}.{key}[{number}].ErrorEquals"
                builder.assembly.whole.find(place, message, advice, "changed")


# ---------------------------------------------------------------- Parallel


def lay_parallel(builder: Builder, state: State) -> str | None:
    """Branches side by side, and a node that joins them; ``None`` where all of them fail."""
    assembly = builder.assembly
    assembly.node(state.name, PAYLOAD, shaped(builder, state, _BEFORE))
    _tell_shared_variables(builder, state)
    ends = [builder.lay(branch) for branch in state.branches]
    for branch in state.branches:
        assembly.edge(state.name, branch.start_at)
    if not all(ends):
        return None
    joined = assembly.helper(state.name, "join")
    params = {"state": state.name, "branches": len(ends), **shaped(builder, state, _AFTER)}
    assembly.node(joined, JOIN, params)
    for number, nodes in enumerate(ends):
        for node_id in nodes:
            transform = f"{{ branch: {number}, output: input }}"
            assembly.edge(node_id, joined, transform=transform)
    return joined


def _tell_shared_variables(builder: Builder, state: State) -> None:
    """List variables that branches assign: they are the run's, and not the branch's."""
    for branch in state.branches:
        for inner in branch.all_states():
            if "Assign" in inner.fields:
                message = "A variable of a branch is one of the whole run here, which others see."
                advice = (
                    "Give it a name of its own; two branches that share one disturb each other."
                )
                builder.assembly.whole.find(f"{inner.place}.Assign", message, advice, "changed")


# ---------------------------------------------------------------- Map

_LOST_OF_MAP: Final[Mapping[str, tuple[str, str]]] = {
    "MaxConcurrencyPath": ("A batch's concurrency is a constant.", "Set 'concurrency'."),
    "ResultWriter": (
        "The results are the state's output, and are not written to S3.",
        "Write them in a task behind it.",
    ),
    "Label": ("There are no map runs with names.", "Nothing is to be done."),
    "ToleratedFailurePercentagePath": ("What is tolerated is a constant.", "See failureMode."),
    "ToleratedFailureCountPath": ("What is tolerated is a constant.", "See failureMode."),
}


def lay_map(builder: Builder, state: State) -> str:
    """A batch, where each item is the work of one function; else a child run for each item."""
    for key, (message, advice) in _LOST_OF_MAP.items():
        if key in state.fields:
            builder.assembly.whole.find(f"{state.place}.{key}", message, advice)
    processor = state.branches[0]
    work = _single_task(processor)
    if work is not None:
        return _lay_batch(builder, state, work)
    return _lay_children(builder, state, processor)


def _single_task(machine: Machine) -> State | None:
    """The task of a machine that has nothing else, and whose function is given the item itself."""
    if len(machine.states) != 1:
        return None
    [state] = machine.states.values()
    if state.type != "Task" or "Catch" in state.fields:
        return None
    resource = resource_of(state.fields)
    if resource.waits_for_token or resource.kind == "execution":
        return None
    fields, params = unwrapped(state, resource)
    found = data_params(state, fields, WORK_FIELDS)
    return state if not (found.params or found.troubles or params) else None


def _lay_batch(builder: Builder, state: State, work: State) -> str:
    assembly = builder.assembly
    resource = resource_of(work.fields)
    about = [f'The state "{work.name}", for each item of "{state.name}": {resource.text}.']
    uses = assembly.whole.stub(resource.name or work.name, about)
    tell_service(builder, work, resource)
    last = _lay_items(builder, state, {})
    scatter, gather = assembly.helper(state.name, "each"), assembly.helper(state.name, "all")
    params: dict[str, Any] = {"workerUsesKey": uses, "gatherNodeId": gather}
    most = state.fields.get("MaxConcurrency", 0)
    if isinstance(most, int) and most > 0:
        params["concurrency"] = most
    if _tolerates(builder, state):
        params["failureMode"] = "collect"
    assembly.node(scatter, "batch-scatter", params, config=work_config(builder, work))
    assembly.node(gather, "batch-gather", {"gatherNodeId": gather})
    after = {"state": state.name, **shaped(builder, state, _AFTER)}
    result = assembly.node(assembly.helper(state.name, "result"), RESULT, after)
    for source, target in ((last, scatter), (scatter, gather), (gather, result)):
        assembly.edge(source, target)
    return result


def _tolerates(builder: Builder, state: State) -> bool:
    keys = ("ToleratedFailurePercentage", "ToleratedFailureCount")
    tolerated = [key for key in keys if state.fields.get(key)]
    for key in tolerated:
        message = (
            "A batch tolerates no failure, or all: here it tolerates all, and the place of a "
            "failed item has 'index' and 'error'."
        )
        advice = "Count them in a task behind it, and fail if they are too many."
        builder.assembly.whole.find(f"{state.place}.{key}", message, advice, "changed")
    return bool(tolerated)


def _lay_children(builder: Builder, state: State, processor: Machine) -> str:
    assembly = builder.assembly
    child = builder.child(processor, state.name)
    gather = assembly.helper(state.name, "all")
    last = _lay_items(builder, state, {"child": child, "gather": gather})
    after = {"state": state.name, "items": last, **shaped(builder, state, _AFTER)}
    assembly.node(gather, COLLECT, after)
    assembly.edge(last, gather)
    if state.fields.get("MaxConcurrency"):
        message = "Each item is a run of its own, and all of them begin at once."
        advice = "Limit the nodes inside by a 'concurrencyKey', or start fewer items at a time."
        builder.assembly.whole.find(f"{state.place}.MaxConcurrency", message, advice)
    for key in ("ToleratedFailurePercentage", "ToleratedFailureCount"):
        if state.fields.get(key):
            message = "Each item is a run of its own, and one that fails fails the state."
            advice = "Catch errors inside of the item."
            builder.assembly.whole.find(f"{state.place}.{key}", message, advice)
    return gather


def _lay_items(builder: Builder, state: State, params: dict[str, Any]) -> str:
    """The node that makes the list of items; a function reads them where they are elsewhere."""
    assembly = builder.assembly
    fields = dict(state.fields)
    if "Parameters" in fields:  # the name that ItemSelector had before
        fields["ItemSelector"] = fields.pop("Parameters")
    _check_batcher(builder, state, fields)
    keys = ("InputPath", "ItemsPath", "Items", "ItemSelector", "ItemBatcher")
    shape = shaped(builder, state, keys, fields)
    reader = fields.get("ItemReader")
    if reader is None:
        return assembly.node(state.name, ITEMS, {**params, **shape})
    source = reader.get("Resource", "") if isinstance(reader, Mapping) else ""
    about = [f'Gives the items of the state "{state.name}" as a list, which {source} read.']
    uses = assembly.whole.stub(f"read_{state.name}", about)
    message = "The items come from elsewhere; nothing here reads them."
    advice = f"Write the function '{assembly.whole.stubs[uses].name}', which gives them as a list."
    assembly.whole.find(f"{state.place}.ItemReader", message, advice, "stub")
    assembly.node(state.name, uses)
    items = assembly.helper(state.name, "items")
    assembly.node(items, ITEMS, {**params, **shape, "state": state.name})
    assembly.edge(state.name, items)
    return items


def _check_batcher(builder: Builder, state: State, fields: dict[str, Any]) -> None:
    batcher = fields.get("ItemBatcher")
    if batcher is None:
        return
    place = f"{state.place}.ItemBatcher"
    size = batcher.get("MaxItemsPerBatch") if isinstance(batcher, Mapping) else None
    for key in batcher if isinstance(batcher, Mapping) else ():
        if key not in ("MaxItemsPerBatch", "BatchInput"):
            message = "Batches of items have a constant number of items here."
            builder.assembly.whole.find(f"{place}.{key}", message, "Give MaxItemsPerBatch.")
    if not isinstance(size, int) or size < 1:
        del fields["ItemBatcher"]
        builder.assembly.whole.find(place, "The items are not batched.", "Give MaxItemsPerBatch.")


# ---------------------------------------------------------------- tokens and executions


def lay_callback(builder: Builder, state: State, resource: Resource) -> str:
    """A task that sends a token, a wait for the answer to it, and what becomes of the answer."""
    assembly = builder.assembly
    fields, params = unwrapped(state, resource)
    params.pop("wraps", None)
    before = shaped(builder, state, _BEFORE, fields)
    about = [
        f'The state "{state.name}": {resource.text}.',
        "Sends ctx.idempotency_key as the token; whoever has it answers the event "
        f'"{state.name}" with it as key.',
    ]
    uses = assembly.whole.stub(resource.name or state.name, about)
    tell_service(builder, state, resource)
    config, findings = retry_config(state)
    limit, more = time_limits(state)
    assembly.whole.findings += [*findings, *more]
    if config:
        message = "Sending the token is tried again; a failure that is answered is not."
        advice = "Lead the failure back to the state by a Catch."
        assembly.whole.find(f"{state.place}.Retry", message, advice, "changed")
    assembly.node(state.name, uses, {**before, **params, "callback": True}, config=config)
    answer, result = assembly.helper(state.name, "answer"), assembly.helper(state.name, "result")
    wait: dict[str, Any] = {
        "title": state.name,
        "event": state.name,
        "correlationKey": f"{state.name}.token",
        "actions": ["fail"],
    }
    if limit is not None:
        wait["timeout"] = limit
    assembly.node(answer, "wait", wait)
    after = shaped(builder, state, _AFTER, fields)
    assembly.node(result, RESULT, {"state": state.name, **after})
    assembly.edge(state.name, answer)
    assembly.edge(answer, result)
    catch(builder, state, state.name)
    _lay_failures(builder, state, answer, has_limit=limit is not None)
    return result


def _lay_failures(builder: Builder, state: State, answer: str, *, has_limit: bool) -> None:
    """What follows an answer that says that it failed, or none in time."""
    failed = str(catch(builder, state, answer, is_answer=True))
    builder.assembly.edge(answer, failed, action="fail")
    if has_limit:
        text = "{ error: 'States.Timeout', cause: 'nobody answered in time' }"
        builder.assembly.edge(answer, failed, action="timeout", transform=text)


def lay_execution(builder: Builder, state: State, resource: Resource) -> str:
    """A run of another machine's blueprint, which it waits for."""
    assembly = builder.assembly
    name = str(resource.name)
    before = shaped(builder, state, _BEFORE)
    assembly.node(state.name, PAYLOAD, {**before, "part": "Input"})
    run, result = assembly.helper(state.name, "run"), assembly.helper(state.name, "result")
    params = {"blueprintId": name, "inputs": {"input": state.name}}
    assembly.node(run, "subflow", params, config=work_config(builder, state))
    _tell_child_errors(builder, state)
    catch(builder, state, run)
    wrap = "data" if resource.suffix == ".sync:2" else "text"
    after = {"state": state.name, "wrap": wrap, **shaped(builder, state, _AFTER)}
    assembly.node(result, RESULT, after)
    assembly.edge(state.name, run)
    assembly.edge(run, result)
    message = f"It runs the machine '{name}', which is a definition of its own."
    advice = f"Import that one, too, with the id '{name}', and give both to the runtime."
    assembly.whole.find(f"{state.place}.Resource", message, advice, "stub")
    return result
