"""Alarms of CloudWatch: what somebody has to look at before customers tell."""

from __future__ import annotations

from typing import Any, Final

from flowcraft.emf import FLEET, METRICS, NAMESPACE
from flowcraft.provisioning.functions import Functions
from flowcraft.provisioning.model import Fleet

Data = dict[str, Any]

OLDEST_MESSAGE_SECONDS: Final = 1_800
"""Messages may be delayed by 15 minutes, and a node may have one in hand for long."""

PERIOD_SECONDS: Final = 300


def alarms_of(fleet: Fleet, functions: Functions | None, oldest_message_seconds: int) -> Data:
    """The alarms, by their names in a template.

    Args:
        fleet: What is watched.
        functions: The functions, if the template has any.
        oldest_message_seconds: How old the oldest message may get.
    """
    made = {
        "OldestMessageAlarm": _queue_alarm(
            "Jobs",
            "ApproximateAgeOfOldestMessage",
            oldest_message_seconds,
            "Nobody has worked on a message for long: are there workers, and enough of them? "
            "flowcraft doctor tells more.",
        ),
        "DeadLettersAlarm": _queue_alarm(
            "DeadLetters",
            "ApproximateNumberOfMessagesVisible",
            0,
            "There are dead letters: flowcraft dlq list shows them, with their runs and causes.",
        ),
        "ThrottledAlarm": _throttled(fleet),
        "StalledRunsAlarm": _stalled(),
    }
    if functions is not None:
        for name in ("Worker", "Reconciler"):
            made[f"{name}ErrorsAlarm"] = _errors(name)
    return made


def throttle_metrics(fleet: Fleet) -> list[list[Any]]:
    """The metrics of throttled requests: each as namespace, name, and pairs of dimensions."""
    metrics: list[list[Any]] = []
    for table in ("Contexts", "Statuses", "Coordination"):
        for name in ("ReadThrottleEvents", "WriteThrottleEvents"):
            metrics.append(["AWS/DynamoDB", name, "TableName", f"${{{table}}}"])
    if (index := fleet.statuses.index) is not None:
        # An index that cannot keep up holds up the writes of its table.
        dimensions = ["TableName", "${Statuses}", "GlobalSecondaryIndexName", index.name]
        metrics.append(["AWS/DynamoDB", "WriteThrottleEvents", *dimensions])
    return metrics


def _queue_alarm(queue: str, metric: str, threshold: int, description: str) -> Data:
    dimensions = [{"Name": "QueueName", "Value": {"Fn::GetAtt": [queue, "QueueName"]}}]
    return _alarm(
        description,
        threshold,
        MetricName=metric,
        Namespace="AWS/SQS",
        Dimensions=dimensions,
        Statistic="Maximum",
        Period=PERIOD_SECONDS,
    )


def _throttled(fleet: Fleet) -> Data:
    queries: list[Data] = []
    for number, (namespace, name, *dimensions) in enumerate(throttle_metrics(fleet)):
        pairs = zip(dimensions[::2], dimensions[1::2], strict=True)
        metric = {
            "Namespace": namespace,
            "MetricName": name,
            "Dimensions": [{"Name": key, "Value": _filled(value)} for key, value in pairs],
        }
        stat = {"Metric": metric, "Stat": "Sum", "Period": PERIOD_SECONDS}
        queries.append({"Id": f"m{number}", "MetricStat": stat, "ReturnData": False})
    added = " + ".join(f"FILL({each['Id']}, 0)" for each in queries)
    total = {"Id": "total", "Expression": added, "Label": "throttled requests"}
    return _alarm(
        "DynamoDB turns requests away: workers try again, and runs take longer. Look at which "
        "table it is; a hot index can be left out (status_index=False).",
        0,
        evaluations=3,
        Metrics=[*queries, {**total, "ReturnData": True}],
    )


def _stalled() -> Data:
    return _alarm(
        "Runs stood still, and were set going again: why did their messages not come? flowcraft "
        "doctor tells more. It needs the metrics that telemetry.exporter = emf writes.",
        0,
        evaluations=2,
        MetricName=METRICS["flowcraft.runs.stalled"].name,
        Namespace=NAMESPACE,
        Dimensions=[{"Name": FLEET, "Value": {"Ref": "Prefix"}}],
        Statistic="Sum",
        Period=PERIOD_SECONDS,
    )


def _errors(name: str) -> Data:
    return _alarm(
        f"The function of the {name.lower()} failed as a whole: its log tells why.",
        0,
        MetricName="Errors",
        Namespace="AWS/Lambda",
        Dimensions=[{"Name": "FunctionName", "Value": {"Ref": f"{name}Function"}}],
        Statistic="Sum",
        Period=PERIOD_SECONDS,
    )


def _alarm(description: str, threshold: int, *, evaluations: int = 1, **metric: Any) -> Data:
    properties: Data = {
        "AlarmDescription": description,
        "ComparisonOperator": "GreaterThanThreshold",
        "Threshold": threshold,
        "EvaluationPeriods": evaluations,
        # Nothing is told of a queue that is not used, and of functions that are not called.
        "TreatMissingData": "notBreaching",
        **metric,
    }
    return {"Type": "AWS::CloudWatch::Alarm", "Properties": properties}


def _filled(value: str) -> Any:
    return {"Ref": value[2:-1]} if value.startswith("${") else value
