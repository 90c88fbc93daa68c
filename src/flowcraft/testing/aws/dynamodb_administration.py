"""Requests about tables: creating and describing them, and when their items expire."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any, Final

from flowcraft.testing.aws.dynamodb_errors import Refusal, refused
from flowcraft.testing.aws.dynamodb_requests import (
    Request,
    choice,
    flag,
    table_named,
    whole_number,
)
from flowcraft.testing.aws.dynamodb_schema import Index, KeySchema
from flowcraft.testing.aws.dynamodb_tables import Staleness, Table

KEY_NAME_BYTES: Final = 255
INDEXES: Final = 20
TABLES_LISTED: Final = 100

_TABLE_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{3,255}", re.ASCII)


class Administration:
    """Carries out requests about tables.

    Args:
        tables: The tables by name; created ones are added.
        staleness: How far behind reads of created tables may be.
        creating_seconds: How long it takes until a created table is there.
    """

    def __init__(
        self, tables: dict[str, Table], staleness: Staleness, creating_seconds: float
    ) -> None:
        self._tables = tables
        self._staleness = staleness
        self._creating_seconds = creating_seconds

    def create_table(self, request: Request, now: float) -> dict[str, Any]:
        """Carry out CreateTable."""
        name = _table_name(request["TableName"])
        if name in self._tables:
            raise Refusal("ResourceInUseException", f"There is a table {name!r} already")
        _check_billing(request)
        types = _types(request["AttributeDefinitions"])
        schema = _schema(request["KeySchema"], types)
        indexes = _indexes(request.get("GlobalSecondaryIndexes"), schema, types)
        used = {*schema.names}.union(*(index.schema.names for index in indexes.values()))
        if used != types.keys():
            raise refused(
                f"AttributeDefinitions has to have exactly the key attributes {sorted(used)}, "
                f"but it has {sorted(types)}"
            )
        table = Table(name, schema, indexes, self._staleness)
        table.active_at = now + self._creating_seconds
        table.description = _description(request, name, now)
        self._tables[name] = table
        return {"TableDescription": _described(table, "CREATING")}

    def describe_table(self, request: Request, now: float) -> dict[str, Any]:
        """Carry out DescribeTable."""
        table = table_named(self._tables, request["TableName"], float("inf"))
        status = "ACTIVE" if table.active_at <= now else "CREATING"
        return {"Table": _described(table, status)}

    def delete_table(self, request: Request, now: float) -> dict[str, Any]:
        """Carry out DeleteTable; the table is gone at once."""
        table = table_named(self._tables, request["TableName"], float("inf"))
        if table.active_at > now:
            raise Refusal("ResourceInUseException", f"The table {table.name!r} is being created")
        if table.description["DeletionProtectionEnabled"]:
            raise refused(f"The table {table.name!r} is protected against deletion")
        del self._tables[table.name]
        return {"TableDescription": _described(table, "DELETING")}

    def list_tables(self, request: Request, _now: float) -> dict[str, Any]:
        """Carry out ListTables."""
        limit = whole_number(request, "Limit", 1, TABLES_LISTED) or TABLES_LISTED
        start = request.get("ExclusiveStartTableName", "")
        names = [name for name in sorted(self._tables) if name > start]
        page = names[:limit]
        more = {"LastEvaluatedTableName": page[-1]} if len(names) > limit else {}
        return {"TableNames": page, **more}

    def update_time_to_live(self, request: Request, now: float) -> dict[str, Any]:
        """Carry out UpdateTimeToLive."""
        table = table_named(self._tables, request["TableName"], now)
        wanted = request["TimeToLiveSpecification"]
        if not isinstance(wanted, Mapping) or wanted.keys() != {"Enabled", "AttributeName"}:
            raise refused("TimeToLiveSpecification has to have Enabled and AttributeName")
        name, enabled = _key_name(wanted["AttributeName"]), flag(wanted, "Enabled")
        if enabled and table.ttl_attribute is not None:
            raise refused("TimeToLive is already enabled")
        if not enabled and table.ttl_attribute is None:
            raise refused("TimeToLive is already disabled")
        if not enabled and table.ttl_attribute != name:
            raise refused(f"TimeToLive is enabled for another attribute than {name!r}")
        table.ttl_attribute = name if enabled else None
        return {"TimeToLiveSpecification": {"Enabled": enabled, "AttributeName": name}}

    def describe_time_to_live(self, request: Request, now: float) -> dict[str, Any]:
        """Carry out DescribeTimeToLive."""
        table = table_named(self._tables, request["TableName"], now)
        if table.ttl_attribute is None:
            return {"TimeToLiveDescription": {"TimeToLiveStatus": "DISABLED"}}
        told = {"TimeToLiveStatus": "ENABLED", "AttributeName": table.ttl_attribute}
        return {"TimeToLiveDescription": told}


def _table_name(name: object) -> str:
    if not isinstance(name, str) or not _TABLE_NAME.fullmatch(name):
        raise refused(f"A table name has 3 to 255 of the signs a-z A-Z 0-9 _ - . and not {name!r}")
    return name


def _key_name(name: object) -> str:
    if not isinstance(name, str) or not 0 < len(name.encode()) <= KEY_NAME_BYTES:
        raise refused(f"The name of a key attribute has 1 to {KEY_NAME_BYTES} bytes, not {name!r}")
    return name


def _check_billing(request: Request) -> None:
    mode = choice(request, "BillingMode", "PROVISIONED", "PAY_PER_REQUEST")
    if (mode == "PROVISIONED") is not ("ProvisionedThroughput" in request):
        raise refused(f"ProvisionedThroughput does not fit the BillingMode {mode}, or its lack")


def _listed(given: object, what: str) -> list[Mapping[str, Any]]:
    if not isinstance(given, list | tuple) or not given:
        raise refused(f"{what} is a list with at least one entry")
    entries = list(given)
    if not all(isinstance(entry, Mapping) for entry in entries):
        raise refused(f"{what} has an entry that is no mapping")
    return entries


def _types(given: object) -> dict[str, str]:
    types: dict[str, str] = {}
    for entry in _listed(given, "AttributeDefinitions"):
        name = _key_name(entry.get("AttributeName"))
        if name in types:
            raise refused(f"AttributeDefinitions has {name!r} twice")
        types[name] = choice(entry, "AttributeType", "", "S", "N", "B")
        if not types[name]:
            raise refused(f"AttributeDefinitions has no AttributeType of {name!r}")
    return types


def _schema(given: object, types: dict[str, str]) -> KeySchema:
    entries = _listed(given, "KeySchema")
    kinds = [entry.get("KeyType") for entry in entries]
    if kinds not in (["HASH"], ["HASH", "RANGE"]):
        raise refused(f"A KeySchema has a HASH key, and a RANGE key perhaps, not {kinds}")
    names = [_key_name(entry.get("AttributeName")) for entry in entries]
    if len(set(names)) < len(names):
        raise refused(f"Both attributes of the KeySchema have the name {names[0]!r}")
    for name in names:
        if name not in types:
            raise refused(f"AttributeDefinitions lacks the key attribute {name!r}")
    own = {name: types[name] for name in names}
    return KeySchema(names[0], names[1] if len(names) > 1 else None, own)


def _indexes(given: object, schema: KeySchema, types: dict[str, str]) -> dict[str, Index]:
    if given is None:
        return {}
    indexes: dict[str, Index] = {}
    for entry in _listed(given, "GlobalSecondaryIndexes"):
        name = _table_name(entry.get("IndexName"))
        if name in indexes:
            raise refused(f"There are two indexes {name!r}")
        own = _schema(entry.get("KeySchema"), types)
        keys = {*schema.names, *own.names}
        indexes[name] = Index(name, own, _projected(entry.get("Projection"), keys))
    if len(indexes) > INDEXES:
        raise refused(f"A table has at most {INDEXES} global secondary indexes")
    return indexes


def _projected(given: object, keys: Iterable[str]) -> frozenset[str] | None:
    if not isinstance(given, Mapping):
        raise refused("An index has to have a Projection")
    kind = choice(given, "ProjectionType", "", "ALL", "KEYS_ONLY", "INCLUDE")
    others = given.get("NonKeyAttributes")
    if not kind or (kind == "INCLUDE") is not bool(others):
        raise refused("A Projection has a ProjectionType, and with INCLUDE its NonKeyAttributes")
    if kind == "ALL":
        return None
    return frozenset(keys) | frozenset(_key_name(name) for name in others or ())


def _description(request: Request, name: str, now: float) -> dict[str, Any]:
    told = ("KeySchema", "AttributeDefinitions", "ProvisionedThroughput")
    return {
        "TableName": name,
        **{each: deepcopy(request[each]) for each in told if each in request},
        "BillingModeSummary": {"BillingMode": request.get("BillingMode", "PROVISIONED")},
        "CreationDateTime": datetime.fromtimestamp(now, UTC),
        "DeletionProtectionEnabled": flag(request, "DeletionProtectionEnabled"),
        "GlobalSecondaryIndexes": deepcopy(request.get("GlobalSecondaryIndexes", [])),
        # AWS brings these up to date every six hours: nobody may rely on them.
        "ItemCount": 0,
        "TableSizeBytes": 0,
        "TableArn": f"arn:aws:dynamodb:us-east-1:000000000000:table/{name}",
    }


def _described(table: Table, status: str) -> dict[str, Any]:
    told = {**deepcopy(table.description), "TableStatus": status}
    indexes = [{**index, "IndexStatus": status} for index in told["GlobalSecondaryIndexes"]]
    if indexes:
        return {**told, "GlobalSecondaryIndexes": indexes}
    del told["GlobalSecondaryIndexes"]
    return told
