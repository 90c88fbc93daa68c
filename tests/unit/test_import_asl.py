"""What an import refuses, what it lists, and the module it writes."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flowcraft.importing import DefinitionError, import_asl
from tests.unit.state_machines import INVOKE, LAMBDA, Definition, imported, machine, work


def problems(definition: Any) -> list[str]:
    """What is wrong with a definition, a line for each problem."""
    text = definition if isinstance(definition, str) else json.dumps(definition)
    with pytest.raises(DefinitionError) as refused:
        import_asl(text, "m")
    return [str(problem) for problem in refused.value.problems]


def test_text_that_is_no_json_is_refused_with_its_line() -> None:
    """The place is a line and a column."""
    assert problems('{\n  "StartAt": "A",\n  "States": {,}\n}') == [
        "line 3, column 14: is not valid JSON: Expecting property name enclosed in double quotes"
    ]
    assert problems("[]") == ["a state machine is an object, not a list"]


def test_all_problems_are_listed_with_their_places() -> None:
    """Everything that is malformed is told at once, also inside of branches."""
    definition = {
        "StartAt": "Nowhere",
        "States": {
            "A": {"Type": "Task", "Next": "B", "Retry": [{"ErrorEquals": [], "MaxAttempts": -1}]},
            "C": {"Type": "Choice", "Choices": [{"Variable": "$.a", "StringEqual": "x"}]},
            "D": {"Type": "Jump"},
            "E": {"Type": "Wait", "Seconds": 1, "Timestamp": "x", "End": True},
            "F": {
                "Type": "Parallel",
                "End": True,
                "Branches": [{"StartAt": "A", "States": {"A": {"Type": "Pass"}}}],
            },
            "G": {
                "Type": "Pass",
                "Next": "C",
                "End": True,
                "Catch": [{"ErrorEquals": ["States.ALL", "x"], "Next": "H"}],
            },
            "I": {"Type": "Map", "End": True},
            "J": 5,
        },
    }
    assert problems(definition) == [
        "States.F.Branches[0].States.A: has the name of States.A: names are unique",
        "States.F.Branches[0].States.A: has neither Next nor 'End': true",
        "States.J: a state is an object, not a number",
        "StartAt: names the state 'Nowhere', which does not exist",
        "States.A.Next: names the state 'B', which does not exist here",
        "States.A.Resource: must be text: what does the work of the task",
        "States.A.Retry[0].ErrorEquals: must be a list of names of errors",
        "States.A.Retry[0].MaxAttempts: must be a number from 0",
        "States.C.Choices[0].Next: is missing",
        "States.C.Choices[0].StringEqual: is no operator of a rule",
        "States.D.Type: is 'Jump'; there are Pass, Task, Choice, Wait, Succeed, Fail, Parallel, "
        "Map",
        "States.E: has Seconds and Timestamp: give one of Seconds, SecondsPath, Timestamp, "
        "TimestampPath",
        "States.G: has both Next and End: give one of them",
        "States.G.Catch[0].ErrorEquals: 'States.ALL' stands alone, and in the last place",
        "States.G.Catch[0].Next: names the state 'H', which does not exist here",
        "States.I.ItemProcessor: is missing",
    ]


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ({"Variable": "$.a", "NumericEquals": "5"}, ".NumericEquals: must be a number"),
        ({"Variable": "$.a", "BooleanEquals": 1}, ".BooleanEquals: must be true or false"),
        ({"Variable": "$.a", "StringLessThanPath": 1}, ".StringLessThanPath: must be text: a path"),
        ({"StringEquals": "x"}, ".Variable: must be text: a path"),
        ({"Variable": "$.a"}, ": needs one operator, and has none"),
        (
            {"Variable": "$.a", "IsNull": True, "IsString": True},
            ": needs one operator, and has IsNull and IsString",
        ),
        ({"Not": []}, ".Not: a rule is an object"),
        ({"And": []}, ".And: must be a list of rules, and the only one of its kind"),
        ({"Or": [{"Variable": 5, "IsNull": True}]}, ".Or[0].Variable: must be text: a path"),
    ],
)
def test_malformed_rules_are_refused_with_their_place(rule: Definition, problem: str) -> None:
    """An operator without its value, or a rule without one, is found inside of others as well."""
    data = machine(
        "A", A={"Type": "Choice", "Choices": [{**rule, "Next": "B"}]}, B={"Type": "Succeed"}
    )
    assert problems(data) == [f"States.A.Choices[0]{problem}"]


def found(definition: Definition) -> list[str]:
    """The places and kinds of what could not be taken over."""
    return [f"{finding.place} {finding.kind}" for finding in imported(definition).findings]


def test_what_is_mapped_faithfully_is_not_listed() -> None:
    """Retry, Catch and time limits that a node has, too, are no findings."""
    data = machine(
        "A",
        A=work(
            "A",
            TimeoutSeconds=5,
            Retry=[
                {"ErrorEquals": ["Never"], "MaxAttempts": 0},
                {
                    "ErrorEquals": ["Busy", "States.Timeout"],
                    "IntervalSeconds": 2,
                    "MaxAttempts": 4,
                    "BackoffRate": 1.5,
                    "MaxDelaySeconds": 10,
                },
            ],
        ),
    )
    assert found(data) == []
    [node] = imported(data).blueprint.nodes
    assert node.to_dict()["config"] == {
        "maxRetries": 5,
        "retryDelay": 2000,
        "backoff": 1.5,
        "jitter": False,
        "retryDelayMax": 10000,
        "retryOn": ["Busy", "States.Timeout", "NodeTimeout", "TimeoutError"],
        "noRetryOn": ["Never"],
        "timeout": 5000,
    }


def test_all_but_timeouts_are_tried_again_for_task_failed() -> None:
    """``States.TaskFailed`` is every error that is no timeout."""
    data = machine("A", A=work("A", Retry=[{"ErrorEquals": ["States.TaskFailed"]}]))
    [node] = imported(data).blueprint.nodes
    assert (node.config.max_retries, node.config.retry_on) == (4, ())
    assert "NodeTimeout" in node.config.no_retry_on


@pytest.mark.parametrize(
    ("fields", "listed"),
    [
        ({"HeartbeatSeconds": 3}, "States.A.HeartbeatSeconds lost"),
        ({"TimeoutSecondsPath": "$.t"}, "States.A.TimeoutSecondsPath lost"),
        ({"Credentials": {"RoleArn": "x"}}, "States.A.Credentials lost"),
        ({"Retries": []}, "States.A.Retries lost"),
        (
            {
                "Retry": [
                    {"ErrorEquals": ["A"], "MaxAttempts": 1},
                    {"ErrorEquals": ["B"], "IntervalSeconds": 9},
                ]
            },
            "States.A.Retry[1] changed",
        ),
        (
            {"Retry": [{"ErrorEquals": ["A"], "JitterStrategy": "FULL"}]},
            "States.A.Retry[0].JitterStrategy changed",
        ),
        ({"Parameters": {"a.$": "$..b[?(@.c)]"}}, "States.A.Parameters['a.$'] stub"),
        (
            {"Parameters": {"a.$": "$$.Execution.StartTime"}},
            "States.A.Parameters['a.$'] stub",
        ),
        ({"ResultSelector": {"a.$": "States.Unheard($.x)"}}, "States.A.ResultSelector['a.$'] stub"),
        ({"Resource": "arn:aws:states:::dynamodb:putItem"}, "States.A.Resource stub"),
        ({"Resource": "arn:aws:states:::batch:submitJob.sync"}, "States.A.Resource stub"),
    ],
)
def test_what_a_task_has_no_counterpart_for_is_listed(fields: Definition, listed: str) -> None:
    """Nothing is dropped in silence: each field is named with its place."""
    assert found(machine("A", A=work("A", **fields))) == [listed]


def test_what_other_states_have_no_counterpart_for_is_listed() -> None:
    """Machines, maps, branches and waits are looked at as well."""
    item = machine("I", I=work("I", Next="J"), J=work("J", Parameters={"x.$": "$total"}))
    data = machine(
        "M",
        M={
            "Type": "Map",
            "ItemProcessor": item,
            "ItemReader": {"Resource": "arn:aws:states:::s3:getObject"},
            "ItemBatcher": {"MaxInputBytesPerBatch": 5},
            "ResultWriter": {},
            "MaxConcurrency": 3,
            "ToleratedFailurePercentage": 5,
            "Next": "W",
        },
        W={"Type": "Wait", "Seconds": 40_000_000, "Next": "P"},
        P={
            "Type": "Parallel",
            "Branches": [machine("Q", Q=work("Q"))],
            "Retry": [{"ErrorEquals": ["Mine"]}],
            "Next": "C",
        },
        C={
            "Type": "Choice",
            "Choices": [{"Variable": "$.t", "TimestampEquals": "x", "Next": "E"}],
        },
        E={"Type": "Succeed"},
        Alone={"Type": "Succeed"},
    )
    data["TimeoutSeconds"] = 60
    assert found(data) == [
        "TimeoutSeconds lost",
        "States.M.ResultWriter lost",
        "States.M.ItemProcessor.States.J lost",
        "States.M.ItemBatcher.MaxInputBytesPerBatch lost",
        "States.M.ItemBatcher lost",
        "States.M.ItemReader stub",
        "States.M.MaxConcurrency lost",
        "States.M.ToleratedFailurePercentage lost",
        "States.W.Seconds changed",
        "States.P.Retry[0].ErrorEquals changed",
        "States.C.Choices[0].TimestampEquals changed",
        "States.Alone lost",
    ]


MODULE = machine(
    "Charge card",
    Charge_card={
        "Type": "Task",
        "Resource": INVOKE,
        "Parameters": {"FunctionName": f"{LAMBDA}charge-card:prod", "Payload.$": "$"},
        "Next": "class",
    },
    **{"class": work("Choice", Next='say """hi"""\\')},
    **{'say """hi"""\\': work("charge_card", HeartbeatSeconds=5, Next="choice")},
    choice={
        "Type": "Choice",
        "Choices": [{"Variable": "$..a", "IsNull": True, "Next": "Each"}],
        "Default": "Each",
    },
    Each={
        "Type": "Map",
        "ItemProcessor": machine("x", x=work("X", Next="y"), y=work("Y")),
        "End": True,
    },
)


def test_the_module_has_a_function_for_each_task(tmp_path: Path) -> None:
    """Names are Python's, states that share a function share it, and ruff has nothing to say."""
    result = import_asl(json.dumps(MODULE), "pay.ments")
    for name, text in result.files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert sorted(result.files) == ["pay.ments.each.json", "pay.ments.json", "pay_ments.py"]
    tree = ast.parse(result.module)
    functions = [each for each in tree.body if isinstance(each, ast.AsyncFunctionDef)]
    assert [each.name for each in functions] == [
        "charge_card",
        "charge_card_2",
        "choice_state",
        "choose_choice",
        "x",
        "y",
    ]
    command = [sys.executable, "-m", "ruff"]
    for check in (["check", "--isolated"], ["format", "--check", "--isolated"]):
        done = subprocess.run(
            [*command, *check, str(tmp_path / "pay_ments.py")], capture_output=True, check=False
        )
        assert done.returncode == 0, done.stdout.decode()


def test_the_module_makes_a_runtime_that_knows_all_blueprints(tmp_path: Path) -> None:
    """It loads what lies beside it, and a function that is not written says so."""
    result = import_asl(json.dumps(MODULE), "pay.ments")
    for name, text in result.files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    code = (
        "import asyncio\nimport pay_ments\n"
        "runtime = pay_ments.create_runtime()\n"
        "result = asyncio.run(runtime.run('pay.ments', {'input': 1}))\n"
        "print(sorted(runtime.blueprints), result.errors[0].type, result.errors[0].message)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == (
        "['pay.ments', 'pay.ments.Each'] NotImplementedError charge_card has to be written"
    )


def test_findings_stand_in_the_module_and_are_data() -> None:
    """Whoever opens the module reads what is left to do."""
    result = import_asl(json.dumps(MODULE), "m")
    listed = result.findings[0]
    assert listed.place.endswith(".HeartbeatSeconds")
    assert "HeartbeatSeconds" in result.module
    assert sorted(listed.to_dict()) == ["advice", "kind", "message", "place"]
