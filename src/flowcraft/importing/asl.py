"""AWS Step Functions definitions become blueprints, and a module with functions to write."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from flowcraft.core.blueprint import WorkflowBlueprint
from flowcraft.importing.asl_compound import (
    lay_callback,
    lay_execution,
    lay_guarded,
    lay_map,
    lay_parallel,
)
from flowcraft.importing.asl_document import Machine, State, read_definition
from flowcraft.importing.asl_resources import python_name, resource_of
from flowcraft.importing.asl_states import (
    lay_choice,
    lay_fail,
    lay_pass,
    lay_succeed,
    lay_task,
    lay_wait,
)
from flowcraft.importing.assembly import Assembly, Import
from flowcraft.importing.builder import Builder
from flowcraft.importing.findings import Finding
from flowcraft.importing.state_nodes import END, INPUT_KEY, START
from flowcraft.importing.stubs import file_names, module_text


@dataclass(frozen=True, slots=True)
class Imported:
    """What came of a definition.

    Attributes:
        blueprints: The outermost first, then those that it runs.
        module: The text of a Python module with a function to write for each task.
        functions: The names of these functions.
        findings: What did not become exactly what it was, in the order of the definition.
    """

    blueprints: tuple[WorkflowBlueprint, ...]
    module: str
    functions: tuple[str, ...]
    findings: tuple[Finding, ...]

    @property
    def blueprint(self) -> WorkflowBlueprint:
        """The outermost blueprint, which is the one to start."""
        return self.blueprints[0]

    @property
    def files(self) -> dict[str, str]:
        """The texts by the names under which the module expects them beside it."""
        blueprints = zip(file_names(self.blueprints), self.blueprints, strict=True)
        texts = {name: f"{blueprint.to_json(indent=2)}\n" for name, blueprint in blueprints}
        return {**texts, f"{python_name(self.blueprint.id)}.py": self.module}


def import_asl(text: str | bytes, name: str) -> Imported:
    """Turn a definition in Amazon States Language into blueprints.

    A run is started with the input of an execution under the context key ``input``; its output is
    that of the only node that no edge leaves.

    Args:
        text: The definition, as JSON.
        name: The id of the blueprint, and the first part of the keys of its functions.

    Raises:
        DefinitionError: It is no JSON, or is malformed; every problem has its place.
    """
    machine = read_definition(text)
    states = list(machine.all_states())
    whole = Import(name, {state.name for state in states})
    _look_at_machine(whole, machine)
    for state in states:
        _look_at_fields(whole, state)
    outermost = _Builder(whole, name).blueprint(machine, is_outermost=True)
    blueprints = (outermost, *whole.blueprints)
    module = module_text(name, blueprints, whole.stubs.values(), whole.findings)
    functions = tuple(sorted(stub.name for stub in whole.stubs.values()))
    return Imported(blueprints, module, functions, tuple(dict.fromkeys(whole.findings)))


class _Builder:
    """Turns one machine, and those that are nested in it in place, into a blueprint."""

    def __init__(self, whole: Import, blueprint_id: str) -> None:
        self.assembly = Assembly(whole, blueprint_id)
        self._stops: list[str] = []

    def blueprint(self, machine: Machine, *, is_outermost: bool = False) -> WorkflowBlueprint:
        """The blueprint, with one start and one end."""
        assembly = self.assembly
        ends = self.lay(machine)
        first = machine.start_at
        if first in assembly.targets():
            # A node that an edge leads back to is no start.
            first = assembly.node(assembly.helper(first, "start"), START)
            assembly.edge(first, machine.start_at)
        if is_outermost:
            assembly.feed(first, INPUT_KEY)
        if ends and len(ends) + len(self._stops) > 1:
            # One node has the output, whichever way a run took.
            end = assembly.node(assembly.helper("End", "of all") if _has_end(self) else "End", END)
            for node_id in (*ends, *self._stops):
                assembly.edge(node_id, end)
        comment = machine.fields.get("Comment")
        return assembly.finish({"comment": comment} if comment else {})

    def lay(self, machine: Machine) -> list[str]:
        """Add the states of a machine, and give the nodes that it ends with."""
        ends = []
        reached = _reached(machine)
        for name, state in machine.states.items():
            if name not in reached:
                message = "No state leads here; it was left out."
                self.assembly.whole.find(state.place, message, "Nothing is to be done.")
                continue
            last = self._lay_state(state)
            if last is not None and state.next is not None:
                self.assembly.edge(last, state.next)
            elif last is not None:
                ends.append(last)
        return ends

    def child(self, machine: Machine, name: str) -> str:
        """A blueprint of its own for a nested machine."""
        whole = self.assembly.whole
        child_id = f"{self.assembly.id}.{name}"
        _look_at_scope(whole, machine)
        whole.blueprints.append(_Builder(whole, child_id).blueprint(machine))
        return child_id

    def stop(self, node_id: str) -> None:
        """Say that a node ends the run with an error."""
        self._stops.append(node_id)

    def _lay_state(self, state: State) -> str | None:
        if state.type == "Task":
            return self._lay_task(state)
        if state.type in ("Parallel", "Map") and (
            "Retry" in state.fields or "Catch" in state.fields
        ):
            return lay_guarded(self, state)
        return _LAYERS[state.type](self, state)

    def _lay_task(self, state: State) -> str:
        resource = resource_of(state.fields)
        if resource.waits_for_token:
            return lay_callback(self, state, resource)
        if resource.kind == "execution" and resource.name and resource.suffix.startswith(".sync"):
            return lay_execution(self, state, resource)
        return lay_task(self, state)


_LAYERS: Final[Mapping[str, Callable[[Builder, State], str | None]]] = {
    "Pass": lay_pass,
    "Choice": lay_choice,
    "Wait": lay_wait,
    "Succeed": lay_succeed,
    "Fail": lay_fail,
    "Parallel": lay_parallel,
    "Map": lay_map,
}


def _has_end(builder: _Builder) -> bool:
    return "End" in builder.assembly.whole.taken


def _reached(machine: Machine) -> set[str]:
    reached: set[str] = set()
    todo = [machine.start_at]
    while todo:
        name = todo.pop()
        if name not in reached and name in machine.states:
            reached.add(name)
            todo.extend(_followers(machine.states[name]))
    return reached


def _followers(state: State) -> Iterator[str]:
    rules = state.fields["Choices"] if state.type == "Choice" else ()
    for entry in (state.fields, *rules, *state.fields.get("Catch", ())):
        if "Next" in entry:
            yield entry["Next"]
    if state.type == "Choice" and "Default" in state.fields:
        yield state.fields["Default"]


# ---------------------------------------------------------------- what nothing is made of

_ANYWHERE: Final = frozenset(
    {"Type", "Comment", "Next", "End", "QueryLanguage", "InputPath", "OutputPath", "Output"}
)
_WORK: Final = frozenset(
    {"Parameters", "Arguments", "ResultSelector", "ResultPath", "Retry", "Catch", "Assign"}
)
_OF_TYPE: Final[dict[str, frozenset[str]]] = {
    "Pass": _WORK | {"Result"},
    "Task": _WORK
    | {"Resource", "TimeoutSeconds", "TimeoutSecondsPath", "HeartbeatSeconds"}
    | {"HeartbeatSecondsPath"},
    "Choice": frozenset({"Choices", "Default", "Assign"}),
    "Wait": frozenset({"Seconds", "SecondsPath", "Timestamp", "TimestampPath", "Assign"}),
    "Succeed": frozenset(),
    "Fail": frozenset({"Error", "Cause", "ErrorPath", "CausePath"}),
    "Parallel": _WORK | {"Branches"},
    "Map": _WORK
    | {"ItemProcessor", "Iterator", "ItemsPath", "Items", "ItemSelector", "ItemReader"}
    | {"ItemBatcher", "ResultWriter", "MaxConcurrency", "MaxConcurrencyPath", "Label"}
    | {"ToleratedFailurePercentage", "ToleratedFailureCount"}
    | {"ToleratedFailurePercentagePath", "ToleratedFailureCountPath"},
}


def _look_at_machine(whole: Import, machine: Machine) -> None:
    if "TimeoutSeconds" in machine.fields:
        message = "A run has no time limit of its own."
        advice = "Run it as a subflow with a 'timeout', which is for the whole child run."
        whole.find("TimeoutSeconds", message, advice)


def _look_at_fields(whole: Import, state: State) -> None:
    known = _ANYWHERE | _OF_TYPE[state.type]
    for key in state.fields:
        if key == "Credentials":
            message = "A node has no role of its own."
            advice = "Assume the role in the function."
            whole.find(f"{state.place}.Credentials", message, advice)
        elif key not in known:
            message = f"A {state.type} state has no such field; it was left out."
            whole.find(f"{state.place}.{key}", message, "Look whether it is misspelled.")


_NESTED: Final = frozenset({"Branches", "ItemProcessor", "Iterator"})
_VARIABLE: Final = re.compile(r"\$([A-Za-z_]\w*)(?![\w(])")


def _look_at_scope(whole: Import, machine: Machine) -> None:
    """List what the states of a run of its own read and do not see there."""
    states = list(machine.all_states())
    assigned = {name.removesuffix(".$") for state in states for name in _assigned(state)}
    for state in states:
        text = str({key: value for key, value in state.fields.items() if key not in _NESTED})
        for sign in ("$$.Execution.Input", "$states.context.Execution.Input"):
            if sign in text:
                message = f"It reads {sign}, but is in a run of its own, which has another input."
                whole.find(state.place, message, "Hand it in by the input of the state outside.")
        outside = set(_VARIABLE.findall(text)) - assigned - {"states"}
        if outside:
            names = ", ".join(f"${name}" for name in sorted(outside))
            message = f"It reads {names}, but is in a run of its own, which has other variables."
            whole.find(state.place, message, "Hand them in by the input of the state outside.")


def _assigned(state: State) -> Iterator[str]:
    rules = state.fields["Choices"] if state.type == "Choice" else ()
    for entry in (state.fields, *rules, *state.fields.get("Catch", ())):
        if isinstance(entry.get("Assign"), dict):
            yield from entry["Assign"]
