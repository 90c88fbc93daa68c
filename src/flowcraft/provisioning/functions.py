"""Functions of AWS Lambda in a template: one that works on jobs, one that looks after runs.

There may be a third one, for links that answer waits: it has an address that anybody may call, and
a role that can do no more than answers need.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from flowcraft.provisioning.grants import granted
from flowcraft.provisioning.model import Fleet
from flowcraft.provisioning.policies import Role

Data = dict[str, Any]

VISIBILITY_FACTOR: Final = 6
"""By which AWS advises that the visibility timeout is more than the function's: a batch that is
throttled is tried again for a while before it is given back."""

LONGEST_SECONDS: Final = 900
LARGEST_MB: Final = 10_240
LARGEST_CONCURRENCY: Final = 1_000
"""Quotas of Lambda."""

LOG_DAYS: Final = 30

_HANDLERS: Final = "flowcraft.lambda_functions"


@dataclass(frozen=True, slots=True)
class Functions:
    """How the functions are to be.

    Args:
        timeout_seconds: How long a call of the worker may take: longer than any node does, and five
            seconds more.
        memory_mb: Their memory; the processor grows with it.
        maximum_concurrency: How many calls of the worker there are at a time, at most.
        batch_size: How many messages a call gets, at most.
        reconcile_every_minutes: How often runs and schedules are looked after.
        runtime: The runtime of Lambda.
        architecture: ``arm64`` or ``x86_64``; packages with machine code have to be for it.
        links: Whether there is a function for links that answer waits, with an address that anybody
            may call, and a secret of Secrets Manager that signs them.
        environment: Further variables of their environment.

    Raises:
        ValueError: A number is beyond what Lambda takes.
    """

    timeout_seconds: int = 60
    memory_mb: int = 512
    maximum_concurrency: int = 10
    batch_size: int = 10
    reconcile_every_minutes: int = 1
    runtime: str = "python3.13"
    architecture: str = "arm64"
    links: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # With a margin of five seconds before its end a call begins nothing new.
        _check("timeout_seconds", self.timeout_seconds, 15, LONGEST_SECONDS)
        _check("memory_mb", self.memory_mb, 128, LARGEST_MB)
        _check("maximum_concurrency", self.maximum_concurrency, 2, LARGEST_CONCURRENCY)
        _check("batch_size", self.batch_size, 1, 10)
        _check("reconcile_every_minutes", self.reconcile_every_minutes, 1, 10)


def function_parameters() -> Data:
    """What is said when the stack is made: where the code is, and what the app is called."""
    return {
        "CodeBucket": {
            "Type": "String",
            "Description": "The bucket with the code, as a .zip with flowcraft and the app in it.",
        },
        "CodeKey": {"Type": "String", "Description": "The key of that .zip in it."},
        "App": {
            "Type": "String",
            "AllowedPattern": r"[A-Za-z_][\w.]*(:[A-Za-z_][\w.]*)?",
            "Description": "The workflows and their code, as module:attribute.",
        },
    }


def function_resources(fleet: Fleet, functions: Functions, tags: Sequence[Data]) -> Data:
    """The functions, with their roles, logs and what calls them.

    Args:
        fleet: What they work on.
        functions: How they are.
        tags: Of all of it.
    """
    made: Data = {}
    roles: dict[str, Role] = {"Worker": "worker", "Reconciler": "reconciler"}
    for name, role in roles.items():
        made[f"{name}Logs"] = _logs(role, tags)
        made[f"{name}Role"] = _role(name, role, fleet, tags)
        made[f"{name}Function"] = _function(name, role, fleet, functions, tags)
    if functions.links:
        made |= _links(fleet, functions, tags)
    made["WorkerMapping"] = _mapping(functions)
    made["ReconcilerSchedule"] = _schedule(functions)
    made["ReconcilerPermission"] = _permission()
    return made


LINKS_SECONDS: Final = 15
"""A request reads a run, checks an answer and writes it."""


def _links(fleet: Fleet, functions: Functions, tags: Sequence[Data]) -> Data:
    """The function for links: its role, its log, its address and the secret."""
    function = _function("Links", "links", fleet, functions, tags)
    properties = function["Properties"]
    properties["Timeout"] = LINKS_SECONDS
    variables = properties["Environment"]["Variables"]
    # Its address cannot be in its own environment: it takes that from each request.
    variables.pop("FLOWCRAFT_LINKS_BASE_URL", None)
    generated = {"PasswordLength": 64, "ExcludePunctuation": True}
    secret = {
        "Description": "Signs the links that answer waits.",
        "GenerateSecretString": generated,
        "Tags": tags,
    }
    address = {"AuthType": "NONE", "TargetFunctionArn": {"Fn::GetAtt": ["LinksFunction", "Arn"]}}
    anybody = {"FunctionName": {"Ref": "LinksFunction"}, "Principal": "*"}
    by_address = {"Action": "lambda:InvokeFunctionUrl", "FunctionUrlAuthType": "NONE"}
    # Since October 2025 an address needs both; this one counts for nothing but the address.
    through_it = {"Action": "lambda:InvokeFunction", "InvokedViaFunctionUrl": True}
    permission = "AWS::Lambda::Permission"
    return {
        "LinksSecret": {
            "Type": "AWS::SecretsManager::Secret",
            "DeletionPolicy": "Delete",
            "UpdateReplacePolicy": "Delete",
            "Properties": secret,
        },
        "LinksLogs": _logs("links", tags),
        "LinksRole": _role("Links", "answerer", fleet, tags),
        "LinksFunction": function,
        "LinksUrl": {"Type": "AWS::Lambda::Url", "Properties": address},
        "LinksPermission": {"Type": permission, "Properties": {**anybody, **by_address}},
        "LinksUrlPermission": {"Type": permission, "Properties": {**anybody, **through_it}},
    }


def links_outputs() -> Data:
    """Where links lead, and where their secret is, for workers that are no functions."""
    return {
        "LinksUrl": {
            "Description": "Where links that answer waits lead (links.base_url).",
            "Value": {"Fn::GetAtt": ["LinksUrl", "FunctionUrl"]},
        },
        "LinksSecretArn": {
            "Description": "The secret that signs them.",
            "Value": {"Ref": "LinksSecret"},
        },
    }


def _logs(role: str, tags: Sequence[Data]) -> Data:
    properties = {
        "LogGroupName": {"Fn::Sub": f"/aws/lambda/${{Prefix}}-{role}"},
        "RetentionInDays": LOG_DAYS,
        "Tags": tags,
    }
    return {
        "Type": "AWS::Logs::LogGroup",
        "DeletionPolicy": "Delete",
        "UpdateReplacePolicy": "Delete",
        "Properties": properties,
    }


def _role(name: str, role: Role, fleet: Fleet, tags: Sequence[Data]) -> Data:
    logging = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
                "Resource": {"Fn::Sub": f"${{{name}Logs.Arn}}"},
            }
        ],
    }
    assumed = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "lambda.amazonaws.com"},
                "Action": "sts:AssumeRole",
            }
        ],
    }
    properties = {
        "AssumeRolePolicyDocument": assumed,
        "Policies": [
            {"PolicyName": f"flowcraft-{role}", "PolicyDocument": granted(role, fleet)},
            {"PolicyName": "logs", "PolicyDocument": logging},
        ],
        "Tags": tags,
    }
    return {"Type": "AWS::IAM::Role", "Properties": properties}


def _function(
    name: str, role: str, fleet: Fleet, functions: Functions, tags: Sequence[Data]
) -> Data:
    properties = {
        "FunctionName": {"Fn::Sub": f"${{Prefix}}-{role}"},
        "Handler": f"{_HANDLERS}.{role}",
        "Runtime": functions.runtime,
        "Architectures": [functions.architecture],
        "Code": {"S3Bucket": {"Ref": "CodeBucket"}, "S3Key": {"Ref": "CodeKey"}},
        "Role": {"Fn::GetAtt": [f"{name}Role", "Arn"]},
        "Timeout": functions.timeout_seconds,
        "MemorySize": functions.memory_mb,
        "LoggingConfig": {"LogGroup": {"Ref": f"{name}Logs"}},
        "Environment": {"Variables": _environment(fleet, functions)},
        "Tags": tags,
    }
    return {"Type": "AWS::Lambda::Function", "Properties": properties}


def _environment(fleet: Fleet, functions: Functions) -> Data:
    """The settings of the functions; flowcraft.settings reads them."""
    variables: Data = {
        "FLOWCRAFT_APP": {"Ref": "App"},
        "FLOWCRAFT_BACKEND": "aws",
        "FLOWCRAFT_AWS_PREFIX": {"Ref": "Prefix"},
        "FLOWCRAFT_AWS_QUEUE_URL": {"Ref": "Jobs"},
        "FLOWCRAFT_WORKER_CONCURRENCY": str(functions.batch_size),
        "FLOWCRAFT_TELEMETRY_EXPORTER": "emf",
        "FLOWCRAFT_LOG_FORMAT": "json",
    }
    if fleet.bucket is not None:
        variables["FLOWCRAFT_AWS_PAYLOAD_BUCKET"] = fleet.bucket
    if functions.links:
        variables["FLOWCRAFT_LINKS_BASE_URL"] = {"Fn::GetAtt": ["LinksUrl", "FunctionUrl"]}
        variables["FLOWCRAFT_LINKS_SECRET"] = {
            "Fn::Sub": "{{resolve:secretsmanager:${LinksSecret}}}"
        }
    return {**variables, **functions.environment}


def _mapping(functions: Functions) -> Data:
    properties = {
        "EventSourceArn": {"Fn::GetAtt": ["Jobs", "Arn"]},
        "FunctionName": {"Ref": "WorkerFunction"},
        "BatchSize": functions.batch_size,
        # Without it Lambda deletes messages that have to come again.
        "FunctionResponseTypes": ["ReportBatchItemFailures"],
        "ScalingConfig": {"MaximumConcurrency": functions.maximum_concurrency},
    }
    return {"Type": "AWS::Lambda::EventSourceMapping", "Properties": properties}


def _schedule(functions: Functions) -> Data:
    minutes = functions.reconcile_every_minutes
    properties = {
        "Description": "Looks after runs that stand still, timers and schedules.",
        "ScheduleExpression": f"rate({minutes} minute{'' if minutes == 1 else 's'})",
        "Targets": [{"Arn": {"Fn::GetAtt": ["ReconcilerFunction", "Arn"]}, "Id": "reconciler"}],
    }
    return {"Type": "AWS::Events::Rule", "Properties": properties}


def _permission() -> Data:
    properties = {
        "Action": "lambda:InvokeFunction",
        "FunctionName": {"Ref": "ReconcilerFunction"},
        "Principal": "events.amazonaws.com",
        "SourceArn": {"Fn::GetAtt": ["ReconcilerSchedule", "Arn"]},
    }
    return {"Type": "AWS::Lambda::Permission", "Properties": properties}


def _check(name: str, value: Any, least: int, most: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError(f"{name} is a whole number from {least} to {most:,}, not {value!r}.")
