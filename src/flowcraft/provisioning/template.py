"""What a fleet needs as a template of CloudFormation, made from the same model as plans.

The names of queues and tables begin with the parameter ``Prefix``; what else there is to choose is
chosen when the template is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from flowcraft.provisioning.alarms import OLDEST_MESSAGE_SECONDS, alarms_of
from flowcraft.provisioning.buckets import PRIVATE, RULE_ID
from flowcraft.provisioning.dashboard import dashboard_of
from flowcraft.provisioning.functions import (
    VISIBILITY_FACTOR,
    Functions,
    function_parameters,
    function_resources,
    links_outputs,
)
from flowcraft.provisioning.grants import granted
from flowcraft.provisioning.model import (
    ABORT_UPLOADS_DAYS,
    CREATED_TAG,
    OWNER_TAG,
    TTL_ATTRIBUTE,
    VISIBILITY_SECONDS,
    Fleet,
    Queue,
    Table,
)
from flowcraft.provisioning.policies import ROLES, Role

Data = dict[str, Any]

VERSION: Final = "2010-09-09"
PREFIX: Final = {"Ref": "Prefix"}

_KEPT: Final = {"DeletionPolicy": "RetainExceptOnCreate", "UpdateReplacePolicy": "Retain"}
"""Whoever deletes a stack does not mean its data: that is deleted by hand. What a stack leaves that
never came to be is empty, and would be in the way of the next."""


def template(
    fleet: Fleet,
    *,
    functions: Functions | None = None,
    alarms: bool = False,
    dashboard: bool = False,
    policies: bool = False,
    oldest_message_seconds: int = OLDEST_MESSAGE_SECONDS,
) -> Data:
    """A template of CloudFormation, as JSON data.

    Args:
        fleet: What is wanted; its prefix is the default of the parameter.
        functions: The functions of AWS Lambda that work on the jobs, if there are to be any. The
            visibility timeout of the queue is six times theirs then.
        alarms: Whether there are alarms of CloudWatch.
        dashboard: Whether there is a dashboard of CloudWatch.
        policies: Whether there is a policy of IAM for each role of people and programs, to be
            attached to what they sign in as; the outputs name them.
        oldest_message_seconds: How old the oldest message may get before there is an alarm.

    Raises:
        ValueError: The visibility timeout is less than six times the timeout of the functions.
    """
    fleet = _with_visibility(fleet, functions)
    resources = {
        "DeadLetters": _queue(fleet, fleet.dead_letters),
        "Jobs": _queue(fleet, fleet.jobs),
        "Contexts": _table(fleet, fleet.contexts),
        "Statuses": _table(fleet, fleet.statuses),
        "Coordination": _table(fleet, fleet.coordination),
    }
    if fleet.bucket_name is not None:
        resources["Payloads"] = _bucket(fleet, fleet.bucket_name)
    parameters = {"Prefix": _prefix_parameter(fleet)}
    if functions is not None:
        parameters |= function_parameters()
        resources |= function_resources(fleet, functions, _tags(fleet))
    made: Data = {
        "AWSTemplateFormatVersion": VERSION,
        "Description": "A fleet of Flowcraft: what its workflows need on AWS.",
        "Parameters": parameters,
    }
    if alarms:
        parameters["AlarmTopicArn"] = _TOPIC
        made["Conditions"] = {
            "HasTopic": {"Fn::Not": [{"Fn::Equals": [{"Ref": "AlarmTopicArn"}, ""]}]}
        }
        found = alarms_of(fleet, functions, oldest_message_seconds)
        resources |= {name: {**each, **_told(each)} for name, each in found.items()}
    if dashboard:
        resources["Dashboard"] = dashboard_of(fleet, functions)
    outputs = _outputs(fleet)
    if functions is not None and functions.links:
        outputs |= links_outputs()
    if policies:
        resources |= {f"{role.title()}Policy": _policy(role, fleet) for role in ROLES}
        outputs |= {f"{role.title()}PolicyArn": _policy_output(role) for role in ROLES}
    return {**made, "Resources": resources, "Outputs": outputs}


def named(name: str, fleet: Fleet) -> Data:
    """A name of the model, with the parameter in the place of the prefix."""
    return {"Fn::Sub": "${Prefix}" + name.removeprefix(fleet.prefix)}


def _with_visibility(fleet: Fleet, functions: Functions | None) -> Fleet:
    wanted = fleet.visibility_timeout_seconds
    if functions is None:
        return replace(fleet, visibility_timeout_seconds=wanted or VISIBILITY_SECONDS)
    least = VISIBILITY_FACTOR * functions.timeout_seconds
    if wanted is not None and wanted < least:
        raise ValueError(
            f"The visibility timeout is at least {VISIBILITY_FACTOR} times the timeout of the "
            f"functions, {least} s, and not {wanted} s: Lambda would get messages again that it "
            "still works on."
        )
    return replace(fleet, visibility_timeout_seconds=wanted or least)


def _prefix_parameter(fleet: Fleet) -> Data:
    return {
        "Type": "String",
        "Default": fleet.prefix,
        "AllowedPattern": "[A-Za-z0-9][A-Za-z0-9_-]{0,49}",
        "Description": "What the names of queues and tables begin with.",
    }


_TOPIC: Final = {
    "Type": "String",
    "Default": "",
    "Description": "The ARN of a topic of SNS that is told of alarms, if there is one.",
}


def _told(alarm: Mapping[str, Any]) -> Data:
    """An alarm that tells the topic, when it begins and when it is over."""
    topic = {"Fn::If": ["HasTopic", [{"Ref": "AlarmTopicArn"}], {"Ref": "AWS::NoValue"}]}
    properties = {**alarm["Properties"], "AlarmActions": topic, "OKActions": topic}
    return {"Properties": properties}


def _tags(fleet: Fleet) -> list[Data]:
    tags: dict[str, Any] = {**fleet.tags, OWNER_TAG: PREFIX}
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def _queue(fleet: Fleet, queue: Queue) -> Data:
    properties: Data = {
        "QueueName": named(queue.name, fleet),
        "MessageRetentionPeriod": queue.retention_seconds,
        "Tags": _tags(fleet),
    }
    if queue.dead_letters is not None:
        properties["VisibilityTimeout"] = queue.visibility_seconds
        target: Any = {"Fn::GetAtt": ["DeadLetters", "Arn"]}
        properties["RedrivePolicy"] = queue.redrive(target)
    if fleet.kms_key is None:
        properties["SqsManagedSseEnabled"] = True
    else:
        properties["KmsMasterKeyId"] = fleet.kms_key
    return {"Type": "AWS::SQS::Queue", **_DELETED, "Properties": properties}


_DELETED: Final = {"DeletionPolicy": "Delete", "UpdateReplacePolicy": "Delete"}
"""Jobs are what records say has to be done: a reconciler sends them anew."""


def _table(fleet: Fleet, table: Table) -> Data:
    properties = table.creation()
    properties |= {
        "TableName": named(table.name, fleet),
        "TimeToLiveSpecification": {"AttributeName": TTL_ATTRIBUTE, "Enabled": True},
        "PointInTimeRecoverySpecification": {
            "PointInTimeRecoveryEnabled": bool(fleet.point_in_time_recovery)
        },
        "DeletionProtectionEnabled": bool(fleet.deletion_protection),
        "Tags": _tags(fleet),
    }
    if fleet.kms_key is not None:
        properties["SSESpecification"] = {
            "SSEEnabled": True,
            "SSEType": "KMS",
            "KMSMasterKeyId": fleet.kms_key,
        }
    return {"Type": "AWS::DynamoDB::Table", **_KEPT, "Properties": properties}


def _bucket(fleet: Fleet, name: str) -> Data:
    algorithm: Data = {"SSEAlgorithm": "AES256"}
    if fleet.kms_key is not None:
        algorithm = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": fleet.kms_key}
    rule = {
        "Id": RULE_ID,
        "Status": "Enabled",
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": ABORT_UPLOADS_DAYS},
    }
    encryption = {"ServerSideEncryptionByDefault": algorithm}
    if fleet.kms_key is not None:
        encryption["BucketKeyEnabled"] = True  # type: ignore[assignment]
    properties = {
        "BucketName": name,
        "PublicAccessBlockConfiguration": dict(PRIVATE),
        "LifecycleConfiguration": {"Rules": [rule]},
        "BucketEncryption": {"ServerSideEncryptionConfiguration": [encryption]},
        "Tags": [*_tags(fleet), {"Key": CREATED_TAG, "Value": PREFIX}],
    }
    return {"Type": "AWS::S3::Bucket", **_KEPT, "Properties": properties}


def _policy(role: Role, fleet: Fleet) -> Data:
    properties = {
        "Description": f"What a {role} of a fleet of Flowcraft needs, and no more.",
        "PolicyDocument": granted(role, fleet),
    }
    return {"Type": "AWS::IAM::ManagedPolicy", "Properties": properties}


def _policy_output(role: Role) -> Data:
    return {"Description": f"The policy of a {role}.", "Value": {"Ref": f"{role.title()}Policy"}}


def _outputs(fleet: Fleet) -> Data:
    found = {
        "QueueUrl": ("The queue of jobs.", {"Ref": "Jobs"}),
        "DeadLetterQueueUrl": ("Messages that were received too often.", {"Ref": "DeadLetters"}),
        "ContextTable": ("The table of runs.", {"Ref": "Contexts"}),
        "StatusTable": ("The table that shows runs to people.", {"Ref": "Statuses"}),
        "CoordinationTable": ("Locks, timers and schedules.", {"Ref": "Coordination"}),
    }
    if fleet.bucket_name is not None:
        found["PayloadBucket"] = ("Large values and files.", {"Ref": "Payloads"})
    return {
        name: {"Description": description, "Value": value}
        for name, (description, value) in found.items()
    }
