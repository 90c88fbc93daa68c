"""Tables of DynamoDB: how one is, and what makes it what a fleet needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from flowcraft.adapters.aws.failures import Resource, translated
from flowcraft.adapters.aws.status_index import fitting_indexes, is_ready, missing_attributes
from flowcraft.adapters.aws.transport import Answer, AwsError, Request, Transport
from flowcraft.provisioning.differences import (
    WHOLE,
    Action,
    Call,
    Difference,
    Holding,
    Kind,
    Look,
    Step,
    foreign,
    settled,
    tag_difference,
)
from flowcraft.provisioning.model import TTL_ATTRIBUTE, Fleet, Table

INDEX: Final = "status index"
TIME_TO_LIVE: Final = "time to live"
RECOVERY: Final = "point-in-time recovery"
PROTECTION: Final = "deletion protection"
ENCRYPTION: Final = "encryption"

_GONE: Final = "ResourceNotFoundException"
# DynamoDB Local says so about tags and backups, which it does not have.
_UNKNOWN: Final = "UnknownOperationException"


class TableKeeper:
    """Knows one table.

    Args:
        transport: DynamoDB.
        table: What the table is to be.
        fleet: The options.
    """

    kind: Kind = "table"

    def __init__(self, transport: Transport, table: Table, fleet: Fleet) -> None:
        self._transport = transport
        self._table = table
        self._fleet = fleet

    @property
    def name(self) -> str:
        """How the table is called."""
        return self._table.name

    async def look(self) -> Look:
        """Read how the table is; see ``Keeper.look``.

        Raises:
            StorageError: It cannot be read.
        """
        found = await self._described()
        if found is None or found.get("TableStatus") == "DELETING":
            is_deleted = found is not None
            return Look([self._creation(is_deleted)], is_busy=is_deleted)
        if problem := _key_problem(found, self._table.key):
            return Look([self._step("refuse", WHOLE, problem)])
        tags = await self._tags(found)
        if (refusal := foreign("table", self.name, tags, self._fleet.prefix)) is not None:
            return Look([refusal])
        is_busy = found.get("TableStatus", "ACTIVE") != "ACTIVE" or _is_indexing(found)
        steps = [
            self._index(found),
            self._protection(found),
            self._encryption(found),
            await self._time_to_live(found),
            await self._recovery(found),
            self._tagging(found, tags),
        ]
        found_steps = [step for step in steps if step is not None]
        return Look(settled("table", self.name, found_steps, tags), is_busy)

    async def carry_out(self, call: Call) -> None:
        """Make a request of a step; see ``Keeper.carry_out``."""
        await self._transport.call(call.operation, call.request)

    async def holding(self) -> Holding | None:
        """What would be deleted; see ``Keeper.holding``."""
        found = await self._described()
        if found is None or found.get("TableStatus") == "DELETING":
            return None
        obstacle = ""
        if found.get("DeletionProtectionEnabled"):
            obstacle = "it is protected against deletion: apply without that protection first"
        # Keys that are not ours are those of somebody who happens to use the same name.
        if _key_problem(found, self._table.key):
            obstacle = "its keys are others than those of this table in a fleet"
        # DynamoDB counts every six hours.
        contents = f"about {found.get('ItemCount', 0):,} items"
        return Holding(await self._tags(found), contents, obstacle)

    async def delete(self, *, empty: bool) -> None:  # noqa: ARG002 - tables go with all in them
        """Delete the table; see ``Keeper.delete``."""
        try:
            await self._transport.call("DeleteTable", {"TableName": self.name})
        except AwsError as error:
            if error.code != _GONE:
                raise

    # --- reading -------------------------------------------------------------------------------

    async def _described(self) -> dict[str, Any] | None:
        answer = await self._read("DescribeTable", {"TableName": self.name}, _GONE)
        return None if answer is None else dict(answer["Table"])

    async def _tags(self, found: Mapping[str, Any]) -> dict[str, str] | None:
        """The tags; none while it is being created, when they cannot be asked for everywhere."""
        tags: dict[str, str] = {}
        request = {"ResourceArn": found["TableArn"]}
        while True:
            answer = await self._read("ListTagsOfResource", request, _UNKNOWN, _GONE)
            if answer is None:
                return None
            tags |= {each["Key"]: each["Value"] for each in answer.get("Tags", ())}
            if not answer.get("NextToken"):
                return tags
            request = {"ResourceArn": found["TableArn"], "NextToken": answer["NextToken"]}

    async def _read(self, operation: str, request: Request, *absent: str) -> Answer | None:
        """An answer; ``None`` for errors that say there is nothing of that."""
        try:
            return await self._transport.call(operation, request)
        except AwsError as error:
            if error.code in absent:
                return None
            raise translated(error, Resource("table", self.name, self._table.key)) from error

    # --- what is different ---------------------------------------------------------------------

    def _creation(self, is_being_deleted: bool) -> Step:
        fleet = self._fleet
        request = {**self._table.creation(), "Tags": _as_list(fleet.all_tags)}
        if fleet.deletion_protection is not None:
            request["DeletionProtectionEnabled"] = fleet.deletion_protection
        if fleet.kms_key is not None:
            request["SSESpecification"] = _encrypted_by(fleet.kms_key)
        reason = "it is not there"
        if is_being_deleted:
            reason = "it is being deleted, which is waited for"
        keys = f"key {self._table.key}"
        if self._table.index is not None:
            keys += f", index {self._table.index.name}"
        return self._step("create", WHOLE, reason, after=keys, call=Call("CreateTable", request))

    def _index(self, found: Mapping[str, Any]) -> Step | None:
        wanted = self._table.index
        if wanted is None:
            return None
        if any(not missing_attributes(each) for each in fitting_indexes(found)):
            return None
        there = found.get("GlobalSecondaryIndexes", ())
        if any(each["IndexName"] == wanted.name for each in there):
            return self._step("refuse", INDEX, _index_problem(self.name, wanted.name))
        creation = wanted.creation()
        if found.get("BillingModeSummary", {}).get("BillingMode") != "PAY_PER_REQUEST":
            creation["ProvisionedThroughput"] = _capacity(found)
        request = {
            "TableName": self.name,
            "AttributeDefinitions": self._table.definitions(),
            "GlobalSecondaryIndexUpdates": [{"Create": creation}],
        }
        reason = "runs that stand still are found without reading all rows"
        return self._step(
            "change", INDEX, reason, after=wanted.name, call=Call("UpdateTable", request)
        )

    def _protection(self, found: Mapping[str, Any]) -> Step | None:
        wanted = self._fleet.deletion_protection
        there = bool(found.get("DeletionProtectionEnabled", False))
        if wanted is None or wanted is there:
            return None
        request = {"TableName": self.name, "DeletionProtectionEnabled": wanted}
        call = Call("UpdateTable", request)
        return self._step("change", PROTECTION, "asked for", _on(there), _on(wanted), call)

    def _encryption(self, found: Mapping[str, Any]) -> Step | None:
        key = self._fleet.kms_key
        there = found.get("SSEDescription", {}).get("KMSMasterKeyArn", "")
        if key is None or _is_key(key, there):
            return None
        request = {"TableName": self.name, "SSESpecification": _encrypted_by(key)}
        call = Call("UpdateTable", request)
        return self._step("change", ENCRYPTION, "asked for", there or "by AWS", key, call)

    async def _time_to_live(self, found: Mapping[str, Any]) -> Step | None:
        # A table that is being created does not tell, and has none yet.
        told: Mapping[str, Any] = {}
        if not _is_new(found):
            answer = await self._read("DescribeTimeToLive", {"TableName": self.name}, _GONE)
            told = (answer or {}).get("TimeToLiveDescription", {})
        status, attribute = told.get("TimeToLiveStatus", "DISABLED"), told.get("AttributeName", "")
        if status == "DISABLING":
            reason = "it is being switched off, which takes up to an hour: apply again after that"
            return self._step("refuse", TIME_TO_LIVE, reason)
        if status == "DISABLED":
            call = Call("UpdateTimeToLive", self._table.time_to_live())
            reason = "what is over is deleted by DynamoDB"
            return self._step("change", TIME_TO_LIVE, reason, "off", TTL_ATTRIBUTE, call)
        if attribute == TTL_ATTRIBUTE:
            return None
        reason = (
            f"The items of the table '{self.name}' expire by '{attribute}', and those of a fleet "
            f"by '{TTL_ATTRIBUTE}'. DynamoDB has one such attribute for a table: switch it off, "
            "and apply again an hour later; or choose another prefix."
        )
        return self._step("refuse", TIME_TO_LIVE, reason, attribute, TTL_ATTRIBUTE)

    async def _recovery(self, found: Mapping[str, Any]) -> Step | None:
        wanted = self._fleet.point_in_time_recovery
        request = {"TableName": self.name}
        there = False
        if wanted is not None and not _is_new(found):
            answer = await self._read("DescribeContinuousBackups", request, _GONE, _UNKNOWN)
            if answer is None:
                return None
            told = answer["ContinuousBackupsDescription"].get("PointInTimeRecoveryDescription", {})
            there = told.get("PointInTimeRecoveryStatus") == "ENABLED"
        if wanted is None or there is wanted:
            return None
        specification = {"PointInTimeRecoveryEnabled": wanted}
        call = Call(
            "UpdateContinuousBackups",
            {**request, "PointInTimeRecoverySpecification": specification},
        )
        return self._step("change", RECOVERY, "asked for", _on(there), _on(wanted), call)

    def _tagging(self, found: Mapping[str, Any], tags: Mapping[str, str] | None) -> Step | None:
        if tags is None:
            return None
        changed = tag_difference("table", self.name, tags, self._fleet.all_tags)
        if changed is None:
            return None
        difference, lacking = changed
        request = {"ResourceArn": found["TableArn"], "Tags": _as_list(lacking)}
        return Step(difference, Call("TagResource", request))

    def _step(
        self,
        action: Action,
        aspect: str,
        reason: str,
        before: str = "",
        after: str = "",
        call: Call | None = None,
    ) -> Step:
        return Step(
            Difference("table", self.name, action, aspect, reason, before, after),
            call,
        )


def _is_new(found: Mapping[str, Any]) -> bool:
    return found.get("TableStatus") == "CREATING"


def _is_indexing(found: Mapping[str, Any]) -> bool:
    indexes = found.get("GlobalSecondaryIndexes", ())
    return any(
        not is_ready(each) or each.get("IndexStatus", "ACTIVE") != "ACTIVE" for each in indexes
    )


def _types(found: Mapping[str, Any]) -> dict[str, str]:
    return {
        each["AttributeName"]: each["AttributeType"]
        for each in found.get("AttributeDefinitions", ())
    }


_NAMES_OF_TYPES: Final = {"S": "a string", "N": "a number", "B": "binary"}


def _key_problem(found: Mapping[str, Any], key: str) -> str:
    """What is wrong with the keys of a table; an empty text if nothing is."""
    types = _types(found)
    keys = {each["KeyType"]: each["AttributeName"] for each in found["KeySchema"]}
    partition = keys["HASH"]
    if (partition, types.get(partition), len(keys)) == (key, "S", 1):
        return ""
    there = f"'{partition}' ({_NAMES_OF_TYPES.get(types.get(partition, ''), 'of another type')})"
    if "RANGE" in keys:
        there += f" with the sort key '{keys['RANGE']}'"
    return (
        f"The table '{found['TableName']}' has the partition key {there}, and a fleet needs "
        f"'{key}' (a string) without a sort key. Keys cannot be changed: choose another prefix; or "
        "delete the table, if nobody needs what is in it, and apply again."
    )


def _index_problem(table: str, index: str) -> str:
    return (
        f"The index '{index}' of the table '{table}' has other keys than 'status' (a string) and "
        "'lastUpdated' (a number), or lacks attributes. An index cannot be changed: delete it and "
        "apply again; until then the table is read as a whole."
    )


def _capacity(found: Mapping[str, Any]) -> dict[str, int]:
    there = found.get("ProvisionedThroughput", {})
    names = ("ReadCapacityUnits", "WriteCapacityUnits")
    return {name: max(1, int(there.get(name, 1))) for name in names}


def _encrypted_by(key: str) -> dict[str, Any]:
    return {"Enabled": True, "SSEType": "KMS", "KMSMasterKeyId": key}


def _is_key(wanted: str, there: str) -> bool:
    """Whether a key that is named by ARN, id or alias is the one that is in use.

    An alias says nothing about the key behind it: a table that has a key of its own is left alone.
    """
    if wanted.startswith("alias/") or ":alias/" in wanted:
        return bool(there)
    return there == wanted or there.rpartition("/")[2] == wanted


def _on(value: bool) -> str:
    return "on" if value else "off"


def _as_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]
