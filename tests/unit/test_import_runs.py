"""Imported definitions, run with their functions filled in: they mean what they meant.

What is expected was worked out by hand from the specification of Amazon States Language.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from flowcraft import FlowRuntime
from flowcraft.importing import state_error
from flowcraft.testing import TestEnvironment, durable
from tests.unit import state_machines
from tests.unit.runs import drive
from tests.unit.state_machines import (
    INVOKE,
    Definition,
    execute,
    imported,
    machine,
    outcome,
    registry,
    work,
)


@pytest.fixture(autouse=True, params=["process", "durable"])
def where(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test runs its definitions in the process, and by a worker over a store."""
    monkeypatch.setattr(state_machines, "WHERE", request.param)


def sequence(*values: Any) -> Callable[[Any], Any]:
    """A function that gives, or raises, one value after the other."""
    left = list(values)

    def give(_payload: Any) -> Any:
        value = left.pop(0)
        if isinstance(value, Exception):
            raise value
        return value

    return give


def noting(seen: list[Any], function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A function that keeps what it is given."""

    def call(payload: Any) -> Any:
        seen.append(payload)
        return function(payload)

    return call


# ---------------------------------------------------------------- an order

ORDER = machine(
    "Check stock",
    Check_stock=work("CheckStock", ResultPath="$.stock", Next="In stock?"),
    **{
        "In stock?": {
            "Type": "Choice",
            "Choices": [
                {
                    "And": [
                        {"Variable": "$.stock.count", "NumericGreaterThanEquals": 1},
                        {"Variable": "$.customer.blocked", "BooleanEquals": False},
                    ],
                    "Next": "Charge",
                },
                {"Variable": "$.stock.count", "NumericEquals": 0, "Next": "Sold out"},
            ],
            "Default": "Refuse",
        }
    },
    Charge={
        "Type": "Task",
        "Resource": INVOKE,
        "Parameters": {
            "FunctionName": "ChargeCard",
            "Payload": {"total.$": "$.total", "currency": "EUR"},
        },
        "ResultSelector": {"id.$": "$.Payload.receipt"},
        "ResultPath": "$.receipt",
        "OutputPath": "$.receipt",
        "Retry": [
            {
                "ErrorEquals": ["Lambda.ServiceException"],
                "IntervalSeconds": 2,
                "MaxAttempts": 2,
                "BackoffRate": 3,
            }
        ],
        "End": True,
    },
    Sold_out={"Type": "Pass", "Result": {"sold": "out"}, "ResultPath": "$.why", "End": True},
    Refuse={"Type": "Fail", "Error": "Refused", "CausePath": "$.customer.name"},
)


def order(count: Any, *, blocked: Any = False) -> Any:
    return outcome(
        ORDER,
        {"total": 5, "customer": {"name": "Ada", "blocked": blocked}},
        check_stock=lambda order: {"count": count},
        charge_card=lambda payload: {"receipt": payload},
    )


def test_an_order_takes_the_way_that_its_choice_says() -> None:
    """Rules are looked at in their order, and the data is shaped by the paths of each state."""
    assert order(3) == {"id": {"total": 5, "currency": "EUR"}}
    assert order(0) == {
        "total": 5,
        "customer": {"name": "Ada", "blocked": False},
        "stock": {"count": 0},
        "why": {"sold": "out"},
    }
    assert order(3, blocked=True) == ("Refused", "Ada")


def test_a_value_of_another_kind_is_no_match() -> None:
    """A rule about numbers does not hold for a text, which does not end the run early."""
    assert order("many") == ("Refused", "Ada")
    assert order(None) == ("Refused", "Ada")


def test_named_errors_are_tried_again_with_the_delays_of_the_retrier() -> None:
    """Attempts and delays are those of Retry, and other errors are not tried again."""

    async def run(charge: Callable[[Any], Any]) -> tuple[Any, float]:
        result = imported(ORDER)
        functions = {"check_stock": lambda _: {"count": 1}, "charge_card": charge}
        runtime = FlowRuntime(registry=registry(result, functions))
        async with TestEnvironment(runtime) as env:
            began = env.clock.now()
            data = {"total": 1, "customer": {"name": "Ada", "blocked": False}}
            run = await env.run(result.blueprint, {"input": data})
            return run, env.clock.now() - began

    fails = state_error("Lambda.ServiceException", "busy")
    run_of_three, seconds = drive(run(sequence(fails, fails, {"receipt": 7})))
    assert run_of_three.outputs["Charge"] == {"id": 7}
    assert seconds == pytest.approx(2 + 6)
    failed, _ = drive(run(sequence(fails, fails, fails)))
    assert (failed.status, failed.errors[0].type) == ("failed", "Lambda.ServiceException")
    other, seconds = drive(run(sequence(ValueError("no"))))
    assert (other.errors[0].type, seconds) == ("ValueError", 0)


# ---------------------------------------------------------------- a job poller

POLLER = machine(
    "Submit",
    Submit=work("SubmitJob", ResultPath="$.job", Next="Wait"),
    Wait={"Type": "Wait", "SecondsPath": "$.seconds", "Next": "Get status"},
    Get_status=work("JobStatus", InputPath="$.job", ResultPath="$.status", Next="Done?"),
    **{
        "Done?": {
            "Type": "Choice",
            "Choices": [
                {"Variable": "$.status", "StringEquals": "FAILED", "Next": "Job failed"},
                {"Variable": "$.status", "StringEquals": "SUCCEEDED", "Next": "Report"},
            ],
            "Default": "Wait",
        }
    },
    Job_failed={"Type": "Fail", "Error": "JobFailed", "Cause": "the job says so"},
    Report=work("Report", InputPath="$.job"),
)


def test_a_poller_goes_round_until_its_job_is_done() -> None:
    """A choice that leads back is a loop, and each round waits as long as the data says."""

    async def run() -> tuple[Any, float, list[Any]]:
        asked: list[Any] = []
        answers = sequence("RUNNING", "RUNNING", "SUCCEEDED")
        functions = {
            "submit_job": lambda _: "job-1",
            "job_status": noting(asked, answers),
            "report": lambda job: f"report of {job}",
        }
        result = imported(POLLER)
        async with TestEnvironment(FlowRuntime(registry=registry(result, functions))) as env:
            began = env.clock.now()
            ended = await env.run(result.blueprint, {"input": {"seconds": 60}})
            return ended.outputs["End"], env.clock.now() - began, asked

    assert drive(run()) == ("report of job-1", 180, ["job-1"] * 3)


def test_a_failed_job_fails_the_run_with_its_name() -> None:
    """A Fail state gives the run its error and cause."""
    answers = sequence("RUNNING", "FAILED")
    ended = outcome(POLLER, {"seconds": 0}, submit_job=lambda _: 1, job_status=answers)
    assert ended == ("JobFailed", "the job says so")


# ---------------------------------------------------------------- branches

PARALLEL = machine(
    "Both",
    Both={
        "Type": "Parallel",
        "Parameters": {"n.$": "$.n"},
        "Branches": [
            machine(
                "Is it odd",
                Is_it_odd={
                    "Type": "Choice",
                    "Choices": [{"Variable": "$.n", "NumericGreaterThan": 10, "Next": "Large"}],
                    "Default": "Small",
                },
                Large={"Type": "Pass", "Result": "large", "End": True},
                Small={"Type": "Succeed"},
            ),
            machine("Double", Double=work("Double", Next="Again"), Again=work("Double")),
            machine("Same", Same={"Type": "Pass", "InputPath": "$.n", "End": True}),
        ],
        "ResultSelector": {"size.$": "$[0]", "four.$": "$[1]", "n.$": "$[2]"},
        "ResultPath": "$.all",
        "Next": "After",
    },
    After={"Type": "Pass", "OutputPath": "$.all", "End": True},
)


def test_branches_are_joined_in_their_order() -> None:
    """The result is the list of the branches' outputs, whichever way each went."""

    def double(n: Any) -> Any:
        return n["n"] * 2 if isinstance(n, dict) else n * 2

    large = outcome(PARALLEL, {"n": 11, "more": True}, double=double)
    assert large == {"size": "large", "four": 44, "n": 11}
    small = outcome(PARALLEL, {"n": 1}, double=double)
    assert small == {"size": {"n": 1}, "four": 4, "n": 1}


def test_a_failing_branch_fails_the_run() -> None:
    """Without Catch the first error ends the run."""

    def fail(_: Any) -> Any:
        raise state_error("Broken", "in two")

    assert outcome(PARALLEL, {"n": 1}, double=fail) == ("Broken", "in two")


def guarded(**fields: Any) -> Definition:
    """A Parallel that is tried again and caught."""
    return machine(
        "Both",
        Both={
            "Type": "Parallel",
            "Branches": [machine("One", One=work("One")), machine("Two", Two=work("Two"))],
            "Retry": [{"ErrorEquals": ["States.ALL"], "MaxAttempts": 1, "IntervalSeconds": 5}],
            "Catch": [{"ErrorEquals": ["States.ALL"], "ResultPath": "$.error", "Next": "Rescue"}],
            "Next": "Last",
            **fields,
        },
        Rescue={"Type": "Pass", "OutputPath": "$.kept", "Next": "Last"},
        Last={"Type": "Succeed"},
    )


def test_branches_that_are_tried_again_begin_anew_together() -> None:
    """Retry of a Parallel is for all of its branches; Catch takes over when they are used up."""
    once = sequence(ValueError("no"), "one", "more")
    assert outcome(guarded(), {"kept": 1}, one=once, two=lambda _: "two") == ["one", "two"]
    never = sequence(ValueError("no"), ValueError("no"))
    assert outcome(guarded(), {"kept": 1}, one=never, two=lambda _: "two") == 1


# ---------------------------------------------------------------- items

SQUARES = machine(
    "Squares",
    Squares={
        "Type": "Map",
        "ItemsPath": "$.numbers",
        "ItemSelector": {
            "n.$": "$$.Map.Item.Value",
            "at.$": "$$.Map.Item.Index",
            "by.$": "$.factor",
        },
        "MaxConcurrency": 2,
        "ItemProcessor": {
            "ProcessorConfig": {"Mode": "INLINE"},
            **machine(
                "Square",
                Square={
                    "Type": "Task",
                    "Resource": INVOKE,
                    "Parameters": {"FunctionName": "Square:$LATEST", "Payload.$": "$"},
                    "OutputPath": "$.Payload",
                    "Retry": [{"ErrorEquals": ["Throttled"], "MaxAttempts": 5}],
                    "End": True,
                },
            ),
        },
        "ResultPath": "$.squares",
        "End": True,
    },
)


def test_a_map_over_one_function_is_a_batch() -> None:
    """Items are selected and worked on one by one, and the results come in their order."""
    batch = imported(SQUARES).blueprint
    [scatter] = [node for node in batch.nodes if node.uses == "batch-scatter"]
    assert (scatter.params["concurrency"], scatter.config.max_retries) == (2, 6)
    result = outcome(
        SQUARES,
        {"numbers": [1, 2, 3], "factor": 10},
        square=lambda item: item["n"] ** 2 * item["by"] + item["at"],
    )
    assert result == {"numbers": [1, 2, 3], "factor": 10, "squares": [10, 41, 92]}
    empty = {"numbers": [], "factor": 10}
    assert outcome(SQUARES, empty) == {**empty, "squares": []}


ITEMS = machine(
    "Each",
    Each={
        "Type": "Map",
        "InputPath": "$.lines",
        "Iterator": machine(
            "Known?",
            **{
                "Known?": {
                    "Type": "Choice",
                    "Choices": [{"Variable": "$.price", "IsPresent": True, "Next": "Tax"}],
                    "Default": "Look up",
                }
            },
            Look_up=work("LookUp", ResultPath="$.price", Next="Tax"),
            Tax=work("Tax"),
        ),
        "End": True,
    },
)


def test_a_map_over_several_states_is_a_run_for_each_item() -> None:
    """Each item takes its own way, and the results come in the order of the items."""
    result = outcome(
        ITEMS,
        {"lines": [{"price": 10}, {"name": "b"}, {"price": 30}]},
        look_up=lambda line: 20,
        tax=lambda line: line["price"] * 2,
    )
    assert result == [20, 40, 60]
    assert outcome(ITEMS, {"lines": []}) == []


def test_an_item_that_fails_fails_the_map() -> None:
    """Nothing follows a map of which an item failed."""
    result = execute(ITEMS, {"lines": [{"price": 1}]}, tax=lambda line: 1 / 0)
    assert (result.status, result.errors[0].type) == ("failed", "SubflowFailed")


# ---------------------------------------------------------------- errors

CAUGHT = machine(
    "Work",
    Work=work(
        "Work",
        TimeoutSeconds=30,
        Catch=[
            {"ErrorEquals": ["Missing", "Gone"], "ResultPath": "$.error", "Next": "Make it"},
            {"ErrorEquals": ["States.Timeout"], "Next": "Too late"},
            {"ErrorEquals": ["States.TaskFailed"], "ResultPath": None, "Next": "Give up"},
        ],
        Next="Done",
    ),
    Make_it=work("MakeIt", Next="Work"),
    Too_late={"Type": "Pass", "Parameters": {"late.$": "$.Error"}, "Next": "Done"},
    Give_up={"Type": "Succeed"},
    Done={"Type": "Succeed"},
)


def test_a_catcher_leads_back_and_the_work_is_done_again() -> None:
    """The first catcher that names the error is taken, with the error where it says."""
    made: list[Any] = []
    result = outcome(
        CAUGHT,
        {"id": 1},
        work=sequence(state_error("Gone", "away"), state_error("Missing"), "worked"),
        make_it=noting(made, lambda data: {"id": data["id"] + 1}),
    )
    assert result == "worked"
    assert [data["error"] for data in made] == [
        {"Error": "Gone", "Cause": "away"},
        {"Error": "Missing", "Cause": "Missing"},
    ]


def test_catchers_tell_timeouts_from_other_failures() -> None:
    """``States.Timeout`` is a timeout here, ``States.TaskFailed`` everything but one."""
    assert outcome(CAUGHT, 1, work=sequence(TimeoutError())) == {"late": "States.Timeout"}
    assert outcome(CAUGHT, {"kept": 1}, work=sequence(ValueError("x"))) == {"kept": 1}


def test_an_error_that_no_catcher_names_ends_the_run_under_its_name() -> None:
    """What is not caught is the error of the run, as if there were no Catch."""
    only = machine(
        "Work",
        Work=work("Work", Catch=[{"ErrorEquals": ["A"], "Next": "B"}], Next="B"),
        B={"Type": "Succeed"},
    )
    assert outcome(only, 1, work=sequence(state_error("Other", "why"))) == ("Other", "why")


# ---------------------------------------------------------------- answers by token

APPROVAL = machine(
    "Ask",
    Ask={
        "Type": "Task",
        "Resource": "arn:aws:states:::sqs:sendMessage.waitForTaskToken",
        "Parameters": {
            "QueueUrl": "https://example.invalid/queue",
            "MessageBody": {"token.$": "$$.Task.Token", "order.$": "$.order"},
        },
        "TimeoutSeconds": 3600,
        "ResultPath": "$.answer",
        "Catch": [
            {"ErrorEquals": ["Refused"], "ResultPath": "$.refusal", "Next": "Refused"},
            {"ErrorEquals": ["States.Timeout"], "Next": "Nobody"},
        ],
        "Next": "Approved",
    },
    Approved={"Type": "Succeed"},
    Refused={"Type": "Pass", "InputPath": "$.refusal", "End": True},
    Nobody={"Type": "Pass", "End": True},
)


def asked(answer: tuple[Any, ...] | None) -> tuple[Any, Any]:
    """How the approval ends for an answer, and what was sent."""

    async def run() -> tuple[Any, Any]:
        sent: list[Any] = []
        result = imported(APPROVAL)
        runtime = FlowRuntime(registry=registry(result, {"ask": sent.append}))
        async with TestEnvironment(runtime) as env:
            handle = await env.start(result.blueprint, {"input": {"order": 7}})
            [waiting] = handle.result.awaiting
            token = sent[0]["MessageBody"]["token"]
            assert (waiting.event, waiting.correlation_key) == ("Ask", token)
            if answer is None:
                await env.advance("1h")
            else:
                await handle.answer("Ask (answer)", *answer)
            return handle.result.outputs["End"], sent[0]["MessageBody"]["order"]

    return drive(run())


def test_a_task_with_a_token_waits_for_its_answer() -> None:
    """The answer is the result of the state, and is put where its paths say."""
    assert asked(({"by": "ops"},)) == ({"order": 7, "answer": {"by": "ops"}}, 7)


def test_an_answer_may_be_a_failure_or_not_come() -> None:
    """A failure that is answered, and an answer that does not come in time, are errors to catch."""
    failure = ({"error": "Refused", "cause": "too dear"}, "fail")
    assert asked(failure)[0] == {"Error": "Refused", "Cause": "too dear"}
    late = {"Error": "States.Timeout", "Cause": "nobody answered in time"}
    assert asked(None)[0] == late


def test_an_answer_finds_its_run_by_the_token() -> None:
    """Whoever was sent the token needs nothing else: it is the key of an event."""

    async def run() -> Any:
        sent: list[Any] = []
        result = imported(APPROVAL)
        runtime = FlowRuntime(
            registry=registry(result, {"ask": sent.append}), blueprints={"m": result.blueprint}
        )
        async with TestEnvironment(runtime) as env, durable(env) as adapter:
            runs = [await adapter.start_run("m", {"input": {"order": n}}) for n in (1, 2)]
            await env.settle()
            token = next(m for m in sent if m["MessageBody"]["order"] == 2)["MessageBody"]["token"]
            await adapter.send_event(event="Ask", correlation_key=token, output="yes")
            await env.settle()
            return [(await adapter.get_run(each)).outputs.get("End") for each in runs]

    assert drive(run()) == [None, {"order": 2, "answer": "yes"}]


# ---------------------------------------------------------------- runs of other machines


def test_an_execution_of_another_machine_is_a_subflow() -> None:
    """The other machine is given the input, and its output is where Step Functions puts it."""
    other = imported(machine("Twice", Twice=work("Twice")), "other")
    outer = machine(
        "Run",
        Run={
            "Type": "Task",
            "Resource": "arn:aws:states:::states:startExecution.sync:2",
            "Parameters": {
                "StateMachineArn": "arn:aws:states:eu-central-1:1:stateMachine:other",
                "Input": {"n.$": "$.n"},
            },
            "ResultSelector": {"output.$": "$.Output"},
            "End": True,
        },
    )
    assert outcome(outer, {"n": 4}, also=(other,), twice=lambda p: p["n"] * 2) == {"output": 8}


# ---------------------------------------------------------------- loops, data, variables

COUNTER = machine(
    "Count",
    Count={
        "Type": "Pass",
        "Parameters": {"n.$": "States.MathAdd($.n, 1)", "of.$": "$.of"},
        "Next": "Map it",
    },
    Map_it={
        "Type": "Map",
        "ItemsPath": "$.of",
        "ResultPath": "$.mapped",
        "Iterator": machine("A", A=work("A", Next="B"), B=work("B")),
        "Next": "Enough?",
    },
    **{
        "Enough?": {
            "Type": "Choice",
            "Choices": [{"Not": {"Variable": "$.n", "NumericLessThan": 3}, "Next": "Done"}],
            "Default": "Count",
        }
    },
    Done={"Type": "Succeed"},
)


def test_a_loop_back_to_the_first_state_with_a_map_inside() -> None:
    """A machine whose first state is led back to starts once, and goes round with its items."""
    result = outcome(
        COUNTER, {"n": 0, "of": [1, 2]}, a=lambda item: item + 1, b=lambda item: item * 10
    )
    assert result == {"n": 3, "of": [1, 2], "mapped": [20, 30]}


WAITING = machine(
    "Note",
    Note={
        "Type": "Pass",
        "Assign": {"when.$": "$.at", "name.$": "States.Format('{}-{}', $.who, 1)"},
        "Next": "Until",
    },
    Until={"Type": "Wait", "TimestampPath": "$.at", "Next": "Which"},
    Which={
        "Type": "Choice",
        "Choices": [{"Variable": "$name", "StringMatches": "Ada-*", "Next": "Tell"}],
        "Default": "Nothing",
    },
    Tell={"Type": "Pass", "Parameters": {"at.$": "$when", "who.$": "$name"}, "End": True},
    Nothing={"Type": "Succeed"},
)


def test_variables_and_a_wait_until_a_moment() -> None:
    """Later states see the variables of earlier ones, and time passes until the moment."""
    moment = "2024-01-03T12:00:00Z"
    result = outcome(WAITING, {"at": moment, "who": "Ada"})
    assert result == {"at": moment, "who": "Ada-1"}
    assert outcome(WAITING, {"at": moment, "who": "Bob"}) == {"at": moment, "who": "Bob"}


JSONATA = {
    "QueryLanguage": "JSONata",
    **machine(
        "Price",
        Price={
            "Type": "Task",
            "Resource": INVOKE,
            "Arguments": {
                "FunctionName": "Price",
                "Payload": {"items": "{% $states.input.items %}"},
            },
            "Assign": {"total": "{% $states.result.Payload.total %}"},
            "Output": {"name": "{% 'Dear ' & $states.input.name %}"},
            "Next": "Large",
        },
        Large={
            "Type": "Choice",
            "Choices": [
                {"Condition": "{% $total > 100 and $states.input.name != '' %}", "Next": "Ask"}
            ],
            "Default": "Go",
        },
        Ask={"Type": "Fail", "Error": "TooMuch", "Cause": "{% 'for ' & $states.input.name %}"},
        Go={
            "Type": "Pass",
            "Output": {"total": "{% $total + 1 %}", "to": "{% $states.input.name %}"},
            "End": True,
        },
    ),
}


def test_simple_jsonata_means_the_same() -> None:
    """Arguments, outputs, variables and conditions are translated."""
    data = {"items": [1, 2], "name": "Ada"}
    small = outcome(JSONATA, data, price=lambda p: {"total": len(p["items"])})
    assert small == {"total": 3, "to": "Dear Ada"}
    large = outcome(JSONATA, data, price=lambda p: {"total": 1000})
    assert large == ("TooMuch", "for Dear Ada")


def test_a_choice_that_no_condition_says_is_made_by_a_function() -> None:
    """The function names the next state, or none for the default."""
    odd = machine(
        "Which",
        Which={
            "Type": "Choice",
            "Choices": [{"Variable": "$.name", "StringMatches": "a*b*c", "Next": "Yes"}],
            "Default": "No",
        },
        Yes={"Type": "Pass", "Result": "yes", "End": True},
        No={"Type": "Pass", "Result": "no", "End": True},
    )
    [finding] = imported(odd).findings
    assert (finding.place, finding.kind) == ("States.Which.Choices[0].StringMatches", "stub")
    assert outcome(odd, {"name": "a-b-c"}, choose_which=lambda data: "Yes") == "yes"
    assert outcome(odd, {"name": "x"}, choose_which=lambda data: None) == "no"


def test_rules_that_may_hold_at_once_are_looked_at_in_their_order() -> None:
    """The first rule that holds is taken alone, also where a later one holds, too."""
    grades = machine(
        "Grade",
        Grade={
            "Type": "Choice",
            "Choices": [
                {"Variable": "$.n", "NumericGreaterThan": 90, "Next": "A"},
                {"Variable": "$.n", "NumericGreaterThan": 50, "Next": "B"},
                {"Variable": "$.extra", "BooleanEquals": True, "Next": "B"},
                {
                    "Or": [
                        {"Variable": "$.n", "IsNull": True},
                        {"Variable": "$.n", "NumericLessThan": 10},
                    ],
                    "Next": "C",
                },
            ],
        },
        A={"Type": "Pass", "Result": "A", "End": True},
        B={"Type": "Pass", "Result": "B", "End": True},
        C={"Type": "Pass", "Result": "C", "End": True},
    )
    assert [outcome(grades, {"n": n}) for n in (95, 60, 5, None)] == ["A", "B", "C", "C"]
    assert outcome(grades, {"n": "text", "extra": True}) == "B"
    assert outcome(grades, {"n": 95, "extra": True}) == "A"
    name, cause = outcome(grades, {"n": 20})
    assert name == "States.NoChoiceMatched"
    assert "'Grade'" in cause


NESTED = machine(
    "Round",
    Round={
        "Type": "Parallel",
        "ResultPath": "$.all",
        "Branches": [
            machine(
                "Inner",
                Inner={
                    "Type": "Parallel",
                    "Branches": [machine("One", One=work("One")), machine("Two", Two=work("Two"))],
                    "Next": "Pick",
                },
                Pick={"Type": "Pass", "Parameters": {"two.$": "$[1]"}, "End": True},
            ),
            machine(
                "Down",
                Down=work("Down", Next="Zero?"),
                **{
                    "Zero?": {
                        "Type": "Choice",
                        "Choices": [{"Variable": "$.n", "NumericGreaterThan": 0, "Next": "Down"}],
                        "Default": "Flat",
                    }
                },
                Flat={"Type": "Succeed"},
            ),
        ],
        "Next": "Next",
    },
    Next=work("Next", Next="Again?"),
    **{
        "Again?": {
            "Type": "Choice",
            "Choices": [{"Variable": "$.n", "NumericLessThan": 5, "Next": "Round"}],
            "Default": "Over",
        }
    },
    Over={"Type": "Succeed"},
)


def test_branches_in_branches_and_loops_in_branches_in_a_loop() -> None:
    """Each round has branches of its own, one of which goes round by itself."""
    rounds: list[Any] = []
    result = outcome(
        NESTED,
        {"n": 3},
        one=lambda data: 1,
        two=lambda data: data["n"] * 2,
        down=lambda data: {"n": data["n"] - 1},
        next=noting(rounds, lambda data: {"n": data["n"] + 1, "last": data["all"]}),
    )
    assert [data["all"] for data in rounds] == [
        [{"two": 6}, {"n": 0}],
        [{"two": 8}, {"n": 0}],
    ]
    assert result == {"n": 5, "last": [{"two": 8}, {"n": 0}]}
