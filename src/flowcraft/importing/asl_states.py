"""States that become one node, or a few in a row: Pass, Task, Choice, Wait, Succeed, Fail.

Each function adds the nodes of a state, the first of which has the state's name, and gives the
node that what follows comes after; ``None`` where nothing does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from flowcraft.core.durations import MAX_DURATION_MS
from flowcraft.core.expressions import check_expression
from flowcraft.errors import ExpressionError
from flowcraft.importing.asl_conditions import (
    Condition,
    Domain,
    Untranslatable,
    translate_rule,
)
from flowcraft.importing.asl_document import State
from flowcraft.importing.asl_fields import Trouble, data_params
from flowcraft.importing.asl_resources import Resource, resource_of
from flowcraft.importing.asl_retries import retry_config, time_limits
from flowcraft.importing.builder import Builder, catch, list_troubles, shaped
from flowcraft.importing.jsonata import NotSimple, translate
from flowcraft.importing.state_nodes import (
    CHOICE,
    FAIL,
    PASS,
    RULE_ACTION,
    WAIT,
    WAITED,
)

WORK_FIELDS: Final = (
    "InputPath",
    "Parameters",
    "Arguments",
    "ResultSelector",
    "ResultPath",
    "OutputPath",
    "Output",
    "Assign",
)
OTHERWISE: Final = "'otherwise'"
"""A condition that is always true, and says what it is for: a bare edge back would look to lint as
if it were taken whatever the rules say."""

_ENDS: Final = ("InputPath", "OutputPath", "Output", "Assign")


def lay_pass(builder: Builder, state: State) -> str:
    """A node that makes its output of its input."""
    found = data_params(state, state.fields, (*WORK_FIELDS, "Result"))
    if found.troubles:
        about = [f'Gives the output of the state "{state.name}" for its input.']
        return _stubbed(builder, state, state.name, about, found.troubles)
    return builder.assembly.node(state.name, PASS, found.params)


def _stubbed(
    builder: Builder, state: State, name: str, about: list[str], troubles: Sequence[Trouble]
) -> str:
    """A task whose function does what is not understood."""
    whole = builder.assembly.whole
    uses = whole.stub(name, about)
    for trouble in troubles:
        message = f"This is not understood: {trouble.why}."
        advice = f"Do it in the function '{whole.stubs[uses].name}', which gets the state's input."
        whole.find(trouble.place, message, advice, "stub")
    return builder.assembly.node(state.name, uses)


def lay_task(builder: Builder, state: State) -> str:
    """A node with a function to write."""
    resource = resource_of(state.fields)
    config = work_config(builder, state)
    fields, params = unwrapped(state, resource)
    found = data_params(state, fields, WORK_FIELDS)
    name = resource.name or state.name
    about = [f'The state "{state.name}": {resource.text}.']
    if found.troubles:
        about.append(f'In "{state.name}" it is given the input, and gives the output of the state.')
        node_id = _stubbed(builder, state, name, about, found.troubles)
    else:
        uses = builder.assembly.whole.stub(name, about)
        node_id = builder.assembly.node(state.name, uses, {**found.params, **params})
    tell_service(builder, state, resource)
    if config:
        builder.assembly.configure(node_id, **config)
    catch(builder, state, node_id)
    return node_id


def tell_service(builder: Builder, state: State, resource: Resource) -> None:
    """List a call of a service, which no function of the user's did before."""
    if resource.kind in ("service", "execution", "activity"):
        waits = ", and waits until it is done" if resource.suffix.startswith(".sync") else ""
        builder.assembly.whole.find(
            f"{state.place}.Resource",
            f"Step Functions itself calls {resource.text}; here a function does{waits}.",
            "Write its stub with the client library of the service.",
            "stub",
        )


def work_config(builder: Builder, state: State) -> dict[str, Any]:
    """Attempts and time limit of a node; what has no counterpart is listed."""
    config, findings = retry_config(state)
    limit, more = time_limits(state)
    builder.assembly.whole.findings += [*findings, *more]
    return config | ({} if limit is None else {"timeout": limit})


def unwrapped(state: State, resource: Resource) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields of a task, and what tells the node that its function is only given the payload.

    The service that calls a function takes ``Payload`` among other arguments and gives the result
    as ``Payload`` among other values; a function knows nothing of that.
    """
    fields = dict(state.fields)
    if resource.kind != "invoke":
        return fields, {}
    params: dict[str, Any] = {}
    if state.language == "JSONata":
        fields["Arguments"] = _payload(fields.get("Arguments"))
        is_plain = re.fullmatch(r"\{%\s*\$states\.result\.Payload\s*%\}", str(fields.get("Output")))
        plain = is_plain is not None
        if plain:
            del fields["Output"]
    else:
        template = fields.pop("Parameters", {})
        if isinstance(template, Mapping) and template.get("Payload.$") != "$":
            keys = [key for key in template if key in ("Payload", "Payload.$")]
            fields["Parameters"] = {key: template[key] for key in keys}
            params["payload"] = "Payload"
        plain = fields.get("OutputPath") == "$.Payload" and not (
            {"ResultPath", "ResultSelector"} & fields.keys()
        )
        if plain:
            del fields["OutputPath"]
    return fields, params if plain else {**params, "wraps": "Payload"}


def _payload(arguments: Any) -> Any:
    return arguments.get("Payload") if isinstance(arguments, Mapping) else arguments


# ---------------------------------------------------------------- choices


def lay_choice(builder: Builder, state: State) -> None:
    """A node whose edges have the rules as conditions, and one without for the rest.

    Edges with the action of the node come first, and all whose condition holds are taken. So rules
    share a node only if at most one of them can hold, or if they lead to the same state; the next
    rule has a node of its own behind the edge that is left.
    """
    try:
        rules = [_rule(builder, state, number) for number in range(len(state.fields["Choices"]))]
    except Untranslatable as error:
        _choose_by_function(builder, state, error)
        return
    assembly = builder.assembly
    params = shaped(builder, state, ("InputPath",))
    here = assembly.node(state.name, CHOICE, params)
    group: list[tuple[list[Condition], str]] = []
    for conditions, target in rules:
        if not all(_fits(conditions, target, *other) for other in group):
            following = assembly.node(assembly.helper(state.name, "otherwise"), CHOICE)
            assembly.edge(here, following, condition=OTHERWISE)
            here, group = following, []
        group.append((conditions, target))
        for condition in conditions:
            assembly.edge(here, target, action=RULE_ACTION, condition=condition.text)
    assembly.edge(here, _default(builder, state), condition=OTHERWISE)


def _fits(
    conditions: list[Condition], target: str, others: list[Condition], other_target: str
) -> bool:
    apart = all(one.excludes(other) for one in conditions for other in others)
    return apart or target == other_target


def _rule(builder: Builder, state: State, number: int) -> tuple[list[Condition], str]:
    rule, place = state.fields["Choices"][number], f"{state.place}.Choices[{number}]"
    if state.language == "JSONata":
        conditions = [_jsonata_condition(rule["Condition"], f"{place}.Condition")]
    else:
        conditions, notes = translate_rule(rule, place)
        for note in notes:
            advice = "If other forms occur, convert them in a task before."
            builder.assembly.whole.find(note.place, note.message, advice, "changed")
    for condition in conditions:
        try:
            check_expression(condition.text)
        except ExpressionError as error:
            raise Untranslatable(place, str(error)) from error
    return conditions, _on_the_way(builder, state, f"rule {number + 1}", rule, rule["Next"], place)


_EQUALITY: Final = re.compile(r'([\w.?]+) == ("[^"\\]*"|-?\d+(?:\.\d+)?|true|false)')


def _jsonata_condition(text: Any, place: str) -> Condition:
    if isinstance(text, bool):
        return Condition("true" if text else "false", {})
    try:
        condition = translate(str(text), "condition").text
    except NotSimple as error:
        raise Untranslatable(place, f"{text}: {error}.") from error
    found = _EQUALITY.fullmatch(condition)
    if found is None:
        return Condition(condition, {})
    kind = {'"': "text", "t": "boolean", "f": "boolean"}.get(found[2][0], "number")
    value: Any = float(found[2]) if kind == "number" else found[2]
    return Condition(condition, {found[1]: Domain(kind, value, value)})


def _default(builder: Builder, state: State) -> str:
    target = state.fields.get("Default")
    if target is not None:
        return _on_the_way(builder, state, "default", state.fields, target, state.place)
    helper = builder.assembly.helper(state.name, "no rule")
    cause = f"No rule of the choice '{state.name}' holds, and it has no Default."
    builder.assembly.node(helper, FAIL, {"Error": "States.NoChoiceMatched", "Cause": cause})
    builder.stop(helper)
    return helper


def _on_the_way(
    builder: Builder, state: State, word: str, fields: Mapping[str, Any], target: str, place: str
) -> str:
    """Where an edge leads: a node in between sets variables and the output, where they are said."""
    given = {key: fields[key] for key in ("Assign", "Output") if key in fields}
    if state.fields.get("OutputPath", "$") != "$":
        given["InputPath"] = state.fields["OutputPath"]
    if not given:
        return target
    at = State(state.name, state.type, given, place, state.language)
    params = shaped(builder, at, given)
    helper = builder.assembly.node(builder.assembly.helper(state.name, word), PASS, params)
    builder.assembly.edge(helper, target)
    return helper


def _choose_by_function(builder: Builder, state: State, error: Untranslatable) -> None:
    """A choice whose rules no condition can say: a function names the next state."""
    assembly = builder.assembly
    targets = list(dict.fromkeys(rule["Next"] for rule in state.fields["Choices"]))
    names = ", ".join(f'"{target}"' for target in targets)
    about = [
        f'Chooses what follows the state "{state.name}": {names},',
        "or None for the default. The rules are in its definition.",
    ]
    uses = assembly.whole.stub(f"choose_{state.name}", about, "choice")
    assembly.node(state.name, uses, shaped(builder, state, ("InputPath",)))
    for target in targets:
        assembly.edge(state.name, target, action=target)
    assembly.edge(state.name, _default(builder, state), condition=OTHERWISE)
    message = f"No condition says this rule. {error.why}"
    advice = f"Write the function '{assembly.whole.stubs[uses].name}', which names the next state."
    assembly.whole.find(error.place, message, advice, "stub")


# ---------------------------------------------------------------- waits and ends


def lay_wait(builder: Builder, state: State) -> str:
    """A sleep: of a constant length, or of one that a node before it adds."""
    assembly = builder.assembly
    seconds = state.fields.get("Seconds")
    found = data_params(state, state.fields, _ENDS)
    list_troubles(builder, found.troubles)
    if isinstance(seconds, int | float):
        duration = _duration(builder, state, seconds)
        if not found.params:
            return assembly.node(state.name, "sleep", {"duration": duration})
        before = assembly.node(state.name, PASS, found.params)
        sleep = assembly.node(assembly.helper(state.name, "sleep"), "sleep", {"duration": duration})
        assembly.edge(before, sleep)
        return sleep
    keys = ("Seconds", "SecondsPath", "Timestamp", "TimestampPath")
    length = data_params(state, state.fields, keys)
    list_troubles(builder, length.troubles)
    after = assembly.helper(state.name, "over")
    params = {**length.params, **found.params, "wait": length.params["data"], "gather": after}
    if "data" not in found.params:
        del params["data"]
    assembly.node(state.name, WAIT, params)
    assembly.node(after, WAITED)
    assembly.edge(state.name, after)
    return after


def _duration(builder: Builder, state: State, seconds: float) -> int | str:
    longest = MAX_DURATION_MS // 1000
    if seconds > longest:
        message = f"A sleep lasts at most 366 days; {seconds:,} seconds are more."
        advice = "Put several waits in a row, or start the rest by a schedule."
        builder.assembly.whole.find(f"{state.place}.Seconds", message, advice, "changed")
        seconds = longest
    return f"{seconds}s" if isinstance(seconds, int) else round(seconds * 1000)


def lay_succeed(builder: Builder, state: State) -> str:
    """A node that nothing follows."""
    return builder.assembly.node(state.name, PASS, shaped(builder, state, _ENDS))


def lay_fail(builder: Builder, state: State) -> None:
    """A node that raises the error of the state."""
    found = data_params(state, state.fields, ("Error", "Cause", "ErrorPath", "CausePath"))
    list_troubles(builder, found.troubles)
    params = {**found.params, **found.params.get("data", {})}
    params.pop("data", None)
    builder.assembly.node(state.name, FAIL, params)
    builder.stop(state.name)
