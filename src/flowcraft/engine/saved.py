"""A run as text, and back: what ``FlowRuntime.resume`` continues from.

The text holds the state of the run and of its waiting children. It names the blueprint and its
hash, so that it is not continued with another one.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from flowcraft.core.blueprint import WorkflowBlueprint, blueprint_hash
from flowcraft.core.plan import Key, Plan, extend_plan
from flowcraft.core.state import (
    HIDDEN,
    Batch,
    Earlier,
    ErrorInfo,
    Item,
    ItemResult,
    Join,
    NodeStatus,
    Record,
    RunState,
    RunStatus,
    Undo,
)
from flowcraft.engine.added_nodes import read_nodes
from flowcraft.engine.shapes import check_error
from flowcraft.errors import FlowcraftError, SerializationError

if TYPE_CHECKING:
    from flowcraft.engine.local import LocalRun
    from flowcraft.engine.serializer import Serializer

FORMAT = 1
_SCALARS = (
    "run_id",
    "working",
    "waiting",
    "undoing",
    "executions",
    "max_executions",
    "fail_fast",
    "paused",
    "reason",
    "started_at",
    "ended_at",
)


def save_run(run: LocalRun) -> str:
    """Write a run and its children as text."""
    return run.host.options.serializer.dumps(_run_data(run))


def _run_data(run: LocalRun) -> dict[str, Any]:
    # Depth is bounded by the limit on subflows within subflows.
    blueprint = run.plan.blueprint
    return {
        "format": FORMAT,
        "blueprintId": blueprint.id,
        "blueprintHash": blueprint_hash(blueprint),
        "state": state_data(run.state),
        "children": [[key_data(key), _run_data(child)] for key, child in run.children.items()],
    }


def state_data(state: RunState) -> dict[str, Any]:
    """The state as plain data."""
    data: dict[str, Any] = {name: getattr(state, name) for name in _SCALARS}
    data |= {
        "status": str(state.status),
        "stopping": state.stopping and str(state.stopping),
        "context": {k: v for k, v in state.context.items() if v is not HIDDEN},
        "hidden": [k for k, v in state.context.items() if v is HIDDEN],
        "records": [[key_data(k), _record_data(r)] for k, r in state.records.items()],
        "joins": [[key_data(k), [*j[:5], key_data(j.origin)]] for k, j in state.joins.items()],
        "remaining": _pairs(state.remaining, list, _same),
        "loop_failed": _pairs(state.loop_failed, list, _same),
        "exits": _pairs(state.exits, list, key_data),
        "latest": _pairs(state.latest, _same, key_data),
        "rescues": _pairs(state.rescues, key_data, lambda keys: [key_data(key) for key in keys]),
        "holds": _pairs(state.holds, key_data, key_data),
        "batches": _pairs(
            state.batches, key_data, lambda b: [list(b.items), *b[1:4], key_data(b.gather)]
        ),
        "results": _pairs(state.results, _item_key, list),
        "items": _pairs(state.items, _item_key, list),
        "answers": _pairs(state.answers, _same, list),
        "completed": [key_data(key) for key in state.completed],
        "errors": [error_data(error) for error in state.errors],
        "resting": [key_data(key) for key in state.resting],
        "ready": [key_data(key) for key in state.ready],
        "undos": [_undo_data(undo) for undo in state.undos.values()],
        "added": [[list(loops), definition.to_dict()] for loops, definition in state.added],
    }
    return data


class SavedRun:
    """A run read from text, with its children by the instance that waits for them."""

    def __init__(self, blueprint_id: str, state: RunState) -> None:
        self.blueprint_id = blueprint_id
        self.state = state
        self.hash = ""
        self.children: dict[Key, SavedRun] = {}


def read_run(text: str, serializer: Serializer) -> SavedRun:
    """Read what :func:`save_run` wrote.

    Raises:
        SerializationError: It is something else, or of a newer format.
    """
    return _read(serializer.loads(text))


def check_blueprint(saved: SavedRun, blueprint: WorkflowBlueprint) -> None:
    """Refuse to continue a run with a blueprint that it was not started with.

    Raises:
        FlowcraftError: The blueprints differ.
    """
    if saved.hash != blueprint_hash(blueprint):
        other = f"another version of the blueprint '{blueprint.id}'"
        if saved.blueprint_id != blueprint.id:
            other = f"the blueprint '{saved.blueprint_id}', and this one is '{blueprint.id}'"
        raise FlowcraftError(
            f"The saved run '{saved.state.run_id}' was started with {other}. Resume it with the "
            "blueprint it was started with.",
            is_fatal=True,
        )


def restore_plan(plan: Plan, state: RunState) -> Plan:
    """The plan with the nodes that were added while the run was under way."""
    for loops, group in groupby(state.added, key=itemgetter(0)):
        plan = extend_plan(plan, [definition for _, definition in group], loops)
    return plan


def _read(data: Any) -> SavedRun:
    if not isinstance(data, Mapping) or "state" not in data or "format" not in data:
        raise SerializationError("This is not the saved state of a run: 'state' is missing.")
    if data["format"] != FORMAT:
        raise SerializationError(
            f"The saved run has the format {data['format']!r}; this version reads {FORMAT}."
        )
    try:
        saved = SavedRun(data["blueprintId"], read_state(data["state"]))
        saved.hash = data["blueprintHash"]
        saved.children = {read_key(key): _read(child) for key, child in data["children"]}
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise SerializationError(f"The saved state of the run is damaged: {error!r}.") from error
    return saved


def read_state(data: Mapping[str, Any]) -> RunState:
    """The state that :func:`state_data` wrote."""
    state = RunState(**{name: data[name] for name in _SCALARS})
    state.status = RunStatus(data["status"])
    state.stopping = RunStatus(data["stopping"]) if data["stopping"] else None
    state.context = {**data["context"], **dict.fromkeys(data["hidden"], HIDDEN)}
    state.records = {read_key(k): _read_record(r) for k, r in data["records"]}
    state.joins = {read_key(k): _read_join(j) for k, j in data["joins"]}
    state.remaining = {_read_pair(k): v for k, v in data["remaining"]}
    state.loop_failed = {_read_pair(k): v for k, v in data["loop_failed"]}
    state.exits = {_read_pair(k): read_key(v) for k, v in data["exits"]}
    state.latest = {k: read_key(v) for k, v in data["latest"]}
    state.rescues = {read_key(k): tuple(map(read_key, v)) for k, v in data["rescues"]}
    state.holds = {read_key(k): read_key(v) for k, v in data["holds"]}
    state.batches = {
        read_key(k): Batch(tuple(items), begun, done, failed, read_key(gather))
        for k, (items, begun, done, failed, gather) in data["batches"]
    }
    state.results = {(read_key(k), i): ItemResult(*r) for (k, i), r in data["results"]}
    state.items = {(read_key(k), i): Item(*item) for (k, i), item in data["items"]}
    state.answers = {k: (v[0], v[1]) for k, v in data["answers"]}
    state.completed = [read_key(key) for key in data["completed"]]
    state.errors = [read_error(error) for error in data["errors"]]
    state.resting = frozenset(read_key(key) for key in data["resting"])
    state.ready = tuple(read_key(key) for key in data["ready"])
    state.undos = dict(enumerate(map(_read_undo, data["undos"])))
    state.added = tuple((tuple(ls), read_nodes([d], "?")[0]) for ls, d in data["added"])
    return state


def _pairs(table: Mapping[Any, Any], key: Any, value: Any) -> list[list[Any]]:
    return [[key(k), value(v)] for k, v in table.items()]


def _same(value: Any) -> Any:
    return value


def key_data(key: Key) -> Any:
    """An instance's key as plain data."""
    return key if isinstance(key, int) else [key[0], list(key[1])]


def read_key(data: Any) -> Key:
    """The key that :func:`key_data` wrote.

    Raises:
        ValueError: It is none.
    """
    if type(data) is int and data >= -1:  # -1 stands for no instance, where that may be
        return data
    match data:
        case [int(node), [*iteration]] if all(map(_is_number, [node, *iteration])):
            return node, tuple(iteration)
    raise ValueError(f"this is no instance of a node: {data!r}")


def _is_number(data: Any) -> bool:
    return type(data) is int and data >= 0


def _item_key(key: tuple[Key, int]) -> list[Any]:
    return [key_data(key[0]), key[1]]


def _read_pair(data: Any) -> tuple[int, tuple[int, ...]]:
    return (data[0], tuple(data[1]))


def _record_data(record: Record) -> list[Any]:
    values = record.values and [[link, value] for link, value in record.values.items()]
    return [
        str(record.status),
        record.attempt,
        record.input,
        record.output,
        record.action,
        record.fired,
        key_data(record.origin),
        None if record.taken is None else list(record.taken),
        values,
        record.started_at,
        record.ended_at,
        record.due_at,
        record.error and error_data(record.error),
        [[e.started_at, e.ended_at, error_data(e.error)] for e in record.earlier],
        record.lost,
    ]


def _read_record(data: list[Any]) -> Record:
    status, attempt, given, output, action, fired, origin, taken, values, *rest = data
    started, ended, due, error, earlier, lost = rest
    return Record(
        NodeStatus(status),
        attempt,
        given,
        output,
        action,
        fired,
        read_key(origin),
        None if taken is None else tuple(taken),
        dict(map(tuple, values)) if values else None,
        started,
        ended,
        due,
        error and read_error(error),
        tuple(Earlier(begun, over, read_error(cause)) for begun, over, cause in earlier),
        lost,
    )


def error_data(error: ErrorInfo) -> list[Any]:
    """A failure as plain data."""
    causes = [list(cause) for cause in error.causes]
    return [*error[:2], list(error.names), *error[3:6], causes, error[7], list(error.iteration)]


def read_error(data: list[Any]) -> ErrorInfo:
    """The failure that :func:`error_data` wrote.

    Raises:
        TypeError: It is none.
        ValueError: It is none.
    """
    type_, message, names, is_fatal, node_id, attempts, causes, traceback, iteration = data
    error = ErrorInfo(
        type_,
        message,
        tuple(names),
        is_fatal,
        node_id,
        attempts,
        tuple((name, text) for name, text in causes),
        traceback,
        tuple(iteration),
    )
    check_error(error)
    return error


def _read_join(data: list[Any]) -> Join:
    pending, taken, failed, held, fired, origin = data
    return Join(pending, taken, failed, held, fired, read_key(origin))


def _undo_data(undo: Undo) -> list[Any]:
    error = undo.error and error_data(undo.error)
    target = key_data(undo.target)
    return [target, undo.node, undo.attempt, undo.succeeded, error, undo.due_at, undo.lost]


def _read_undo(data: list[Any]) -> Undo:
    target, node, attempt, succeeded, error, due_at, *lost = data
    read = error and read_error(error)
    return Undo(read_key(target), node, attempt, succeeded, read, due_at, *lost)
