"""The three tables: there, with the right key, expiring what is over, with the index, backed up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from flowcraft.adapters.aws.failures import Resource
from flowcraft.adapters.aws.status_index import fitting_indexes, is_ready, missing_attributes
from flowcraft.adapters.aws.transport import AwsError
from flowcraft.doctor.checking import Check, Unchecked
from flowcraft.doctor.findings import Finding, error, note, ok, warning
from flowcraft.doctor.services import Services

TTL: Final = "ttl"

_INDEX_CURE: Final = (
    "Run 'flowcraft aws apply', or make a global secondary index with the partition key status "
    "(a string), the sort key lastUpdated (a number) and all attributes."
)


def table_checks(
    services: Services, name: str, key: str, *, purpose: str, with_index: bool = False
) -> list[Check]:
    """The checks of one table.

    Args:
        services: Whom to ask.
        name: The table.
        key: Its partition key.
        purpose: What is kept there: ``contexts``, ``statuses`` or ``coordination``.
        with_index: Whether it is to have the status index.
    """
    resource = Resource("table", name, key)

    async def describe() -> Mapping[str, Any]:
        answer = await services.ask("dynamodb", "DescribeTable", {"TableName": name}, resource)
        table: Mapping[str, Any] = answer.get("Table", {})
        return table

    async def look_at_table() -> Iterable[Finding]:
        table = await describe()
        found = [*_state(table, name, key, resource)]
        if with_index:
            found += _index(table, resource)
        return [*found, *await _expiry(services, name, resource)]

    async def look_at_backups() -> Iterable[Finding]:
        return await _backups(services, name, resource)

    checks = [Check(f"table.{purpose}", str(resource), look_at_table)]
    if purpose == "contexts":
        checks.append(Check("table.backups", str(resource), look_at_backups))
    return checks


def _state(table: Mapping[str, Any], name: str, key: str, resource: Resource) -> Iterator[Finding]:
    state = table.get("TableStatus", "ACTIVE")
    if state not in ("ACTIVE", "UPDATING"):
        yield error(
            "table.state",
            f"It is not ready: DynamoDB says {state}.",
            str(resource),
            "Wait until it is ACTIVE; one that is being deleted has to be made anew.",
        )
    types = {
        each["AttributeName"]: each["AttributeType"]
        for each in table.get("AttributeDefinitions", ())
    }
    keys = [
        (each["AttributeName"], types.get(each["AttributeName"], "?"))
        for each in table.get("KeySchema", ())
    ]
    if keys == [(key, "S")]:
        yield ok("table.key", f"It is there, with the key '{key}' (a string).", str(resource))
        return
    there = ", ".join(f"'{each}' ({kind})" for each, kind in keys) or "none"
    yield error(
        "table.key",
        f"Its key is {there}; '{key}' (S) alone is needed.",
        str(resource),
        f"Give the name of another table, or make one whose partition key is '{key}', a string, "
        f"without a sort key: the key of a table cannot be changed, and '{name}' may be in use.",
    )


def _index(table: Mapping[str, Any], resource: Resource) -> Iterator[Finding]:
    fitting = fitting_indexes(table)
    if not fitting:
        yield warning(
            "table.index",
            "It has no index on status and lastUpdated: each look for runs that stand still "
            "reads the whole table.",
            str(resource),
            _INDEX_CURE,
        )
    for index in fitting:
        name = index.get("IndexName", "?")
        if missing := missing_attributes(index):
            yield warning(
                "table.index",
                f"Its index '{name}' lacks {', '.join(missing)}, so it is not used and the whole "
                "table is read.",
                str(resource),
                "Make another one that projects all attributes, then delete this one.",
            )
        elif is_ready(index):
            yield ok("table.index", f"Its index '{name}' is used.", str(resource))
        else:
            state = "backfilling" if index.get("Backfilling") else index.get("IndexStatus", "?")
            yield note(
                "table.index",
                f"Its index '{name}' is {state}; until it is ready the whole table is read.",
                str(resource),
                "Wait; how long goes by the size of the table.",
            )


async def _expiry(services: Services, name: str, resource: Resource) -> list[Finding]:
    try:
        answer = await services.ask("dynamodb", "DescribeTimeToLive", {"TableName": name})
    except Unchecked as reason:
        return [note("table.ttl", reason.reason, str(resource), reason.cure)]
    told = answer.get("TimeToLiveDescription", {})
    state, attribute = told.get("TimeToLiveStatus", "DISABLED"), told.get("AttributeName")
    if attribute == TTL and state in ("ENABLED", "ENABLING"):
        return [ok("table.ttl", f"Items expire by '{TTL}'.", str(resource))]
    cure = (
        f"aws dynamodb update-time-to-live --table-name {name} "
        f"--time-to-live-specification Enabled=true,AttributeName={TTL}"
    )
    if attribute not in (None, TTL) and state in ("ENABLED", "ENABLING"):
        text = f"Items expire by '{attribute}', not by '{TTL}': nothing of a fleet does."
        cure = f"Turn that off and wait an hour, then: {cure}"
    else:
        text = f"Nothing expires ({state}): what is over is paid for, for ever."
    return [warning("table.ttl", text, str(resource), cure)]


async def _backups(services: Services, name: str, resource: Resource) -> list[Finding]:
    request = {"TableName": name}
    try:
        answer = await services.call("dynamodb", "DescribeContinuousBackups", request)
    except AwsError as refusal:
        if refusal.code in ("ResourceNotFoundException", "TableNotFoundException"):
            return []  # another check tells of that
        text = f"Whether it can be restored could not be asked for ({refusal.code})."
        return [note("table.backups", text, str(resource))]
    told = answer.get("ContinuousBackupsDescription", {}).get("PointInTimeRecoveryDescription", {})
    if told.get("PointInTimeRecoveryStatus") == "ENABLED":
        return [ok("table.backups", "Point-in-time recovery is on.", str(resource))]
    return [
        note(
            "table.backups",
            "Point-in-time recovery is off: a table that is deleted by mistake is gone.",
            str(resource),
            f"aws dynamodb update-continuous-backups --table-name {name} "
            "--point-in-time-recovery-specification PointInTimeRecoveryEnabled=true",
        )
    ]
