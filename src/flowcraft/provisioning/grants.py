"""What a role of a template may do, on the resources of that template."""

from __future__ import annotations

from typing import Any

from flowcraft.provisioning.model import Fleet
from flowcraft.provisioning.policies import Resources, Role, policy

Data = dict[str, Any]


def granted(role: Role, fleet: Fleet) -> Data:
    """The policy of a role, whose resources are those of the template.

    Args:
        role: Such as ``worker``.
        fleet: What the template is made of.
    """
    document: Data = _filled(policy(role, _resources(fleet)))
    return document


def _resources(fleet: Fleet) -> Resources:
    index, bucket = fleet.statuses.index, None
    prefix = ""
    if fleet.bucket is not None:
        bucket, prefix = "${Payloads.Arn}", fleet.bucket.partition("/")[2].strip("/")
    return Resources(
        region="${AWS::Region}",
        queue="${Jobs.Arn}",
        dead_letter_queue="${DeadLetters.Arn}",
        context_table="${Contexts.Arn}",
        status_table="${Statuses.Arn}",
        coordination_table="${Coordination.Arn}",
        status_index=None if index is None else f"${{Statuses.Arn}}/index/{index.name}",
        bucket=bucket,
        bucket_prefix=prefix,
        kms_key=_key_arn(fleet.kms_key),
        dns_suffix="${AWS::URLSuffix}",
    )


def _key_arn(key: str | None) -> str | None:
    """A key as policies name it.

    An alias is none: policies of IAM are about keys, and the key of an alias may change.

    Raises:
        ValueError: It is an alias.
    """
    if key is None or ":key/" in key:
        return key
    if "alias/" in key:
        raise ValueError(
            f"kms_key is {key!r}, and a template with functions needs the key itself, as its id or "
            "its ARN (…:key/…): their policies cannot name an alias."
        )
    return f"arn:${{AWS::Partition}}:kms:${{AWS::Region}}:${{AWS::AccountId}}:key/{key}"


def _filled(value: Any) -> Any:
    """A document in which CloudFormation fills in what texts have placeholders for."""
    match value:
        case str() if "${" in value:
            return {"Fn::Sub": value}
        case dict():
            return {key: _filled(each) for key, each in value.items()}
        case list():
            return [_filled(each) for each in value]
        case _:
            return value
