"""A dashboard of CloudWatch: jobs, tables, functions, and what workers tell of runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from flowcraft.emf import FLEET, METRICS, NAMESPACE
from flowcraft.provisioning.alarms import PERIOD_SECONDS, throttle_metrics
from flowcraft.provisioning.functions import Functions
from flowcraft.provisioning.model import Fleet

Data = dict[str, Any]
Metrics = Sequence[Sequence[Any]]

WIDTH: Final = 12
HEIGHT: Final = 6
COLUMNS: Final = 24


def dashboard_of(fleet: Fleet, functions: Functions | None) -> Data:
    """The resource of a template.

    Args:
        fleet: What is shown.
        functions: The functions, if the template has any.
    """
    widgets = [_jobs(), _age(), _dead_letters(), _throttled(fleet), _capacity(), *_runs()]
    if functions is not None:
        widgets += [_calls(), _durations()]
    body = {"widgets": [_placed(each, number) for number, each in enumerate(widgets)]}
    properties = {
        "DashboardName": {"Fn::Sub": "${Prefix}-flowcraft"},
        "DashboardBody": {"Fn::Sub": json.dumps(body)},
    }
    return {"Type": "AWS::CloudWatch::Dashboard", "Properties": properties}


def _placed(widget: Data, number: int) -> Data:
    per_row = COLUMNS // WIDTH
    return {
        "type": "metric",
        "x": number % per_row * WIDTH,
        "y": number // per_row * HEIGHT,
        "width": WIDTH,
        "height": HEIGHT,
        "properties": widget,
    }


def _widget(title: str, metrics: Metrics, stat: str, **more: Any) -> Data:
    return {
        "title": title,
        "region": "${AWS::Region}",
        "view": "timeSeries",
        "stacked": False,
        "stat": stat,
        "period": PERIOD_SECONDS,
        "metrics": [list(metric) for metric in metrics],
        **more,
    }


def _queue(queue: str, metric: str, label: str) -> list[Any]:
    return ["AWS/SQS", metric, "QueueName", f"${{{queue}.QueueName}}", {"label": label}]


def _jobs() -> Data:
    metrics = [
        _queue("Jobs", "ApproximateNumberOfMessagesVisible", "waiting"),
        _queue("Jobs", "ApproximateNumberOfMessagesNotVisible", "in hand"),
        _queue("Jobs", "ApproximateNumberOfMessagesDelayed", "not due yet"),
    ]
    return _widget("Jobs", metrics, "Maximum")


def _age() -> Data:
    metrics = [_queue("Jobs", "ApproximateAgeOfOldestMessage", "oldest message")]
    return _widget("Age of the oldest job, in seconds", metrics, "Maximum")


def _dead_letters() -> Data:
    metrics = [_queue("DeadLetters", "ApproximateNumberOfMessagesVisible", "dead letters")]
    return _widget("Dead letters", metrics, "Maximum")


def _throttled(fleet: Fleet) -> Data:
    return _widget("Throttled requests of tables", throttle_metrics(fleet), "Sum")


def _capacity() -> Data:
    metrics = [
        ["AWS/DynamoDB", name, "TableName", f"${{{table}}}"]
        for table in ("Contexts", "Statuses", "Coordination")
        for name in ("ConsumedReadCapacityUnits", "ConsumedWriteCapacityUnits")
    ]
    return _widget("Units of tables", metrics, "Sum")


def _told(name: str, label: str) -> list[Any]:
    """A metric that workers write into their log."""
    return [NAMESPACE, METRICS[name].name, FLEET, "${Prefix}", {"label": label}]


def _runs() -> list[Data]:
    ends = [_told("flowcraft.runs.finished", "ended"), _told("flowcraft.runs.stalled", "stalled")]
    failures = [
        _told("flowcraft.node.failures", "nodes"),
        _told("flowcraft.attempt.failures", "attempts"),
    ]
    times = [
        _told("flowcraft.attempt.duration", "attempts"),
        _told("flowcraft.runs.duration", "runs"),
    ]
    return [
        _widget("Runs", ends, "Sum"),
        _widget("Failures", failures, "Sum"),
        _widget("Durations, in seconds (p95)", times, "p95"),
    ]


def _function(name: str, metric: str, **options: Any) -> list[Any]:
    label = f"{name.lower()}: {metric.lower()}"
    reference = f"${{{name}Function}}"
    return ["AWS/Lambda", metric, "FunctionName", reference, {"label": label, **options}]


def _calls() -> Data:
    metrics = [
        _function(name, metric)
        for name in ("Worker", "Reconciler")
        for metric in ("Invocations", "Errors", "Throttles")
    ]
    return _widget("Calls of functions", metrics, "Sum")


def _durations() -> Data:
    metrics = [
        _function("Worker", "Duration", stat="p95"),
        _function("Reconciler", "Duration", stat="p95"),
        _function("Worker", "ConcurrentExecutions", stat="Maximum", yAxis="right"),
    ]
    return _widget("Duration of calls (ms), and calls at a time", metrics, "p95")
