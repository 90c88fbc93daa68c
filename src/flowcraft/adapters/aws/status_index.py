"""The index of the status table, if it has one: rows by status, and by when they were written.

It is the table's owner who makes one. It spares the reconciler the rows of runs that are over, and
who lists runs all rows that are not on the page.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

from flowcraft.adapters.aws.transport import Transport
from flowcraft.errors import StorageError
from flowcraft.ports.clock import Clock

logger = logging.getLogger("flowcraft.aws")

AGAIN_SECONDS: Final = 3_600.0
"""What was found out about the index is believed for so long."""

NEEDED: Final = ("dueAt", "e", "r")
"""What the index has to have besides its keys: what tells runs that may be stuck."""

FOR_LISTS: Final = (*NEEDED, "blueprintId", "createdAt", "isPart", "tags")
"""What it has to have so that lists of runs can be read from it."""

_KEYS: Final = {"HASH": ("status", "S"), "RANGE": ("lastUpdated", "N")}
_USABLE: Final = ("ACTIVE", "UPDATING")


class StatusIndex:
    """Says by which index rows are found, if there is one.

    Args:
        service: DynamoDB.
        table_name: The status table.
        clock: The time.
        needed: What the index has to have besides its keys.
        wanted: What is looked for by it, for the log.
    """

    def __init__(
        self,
        service: Transport,
        table_name: str,
        clock: Clock,
        needed: tuple[str, ...] = NEEDED,
        wanted: str = "runs that stand still",
    ) -> None:
        self._needed = needed
        self._wanted = wanted
        self._service = service
        self._table_name = table_name
        self._clock = clock
        self._name: str | None = None
        self._until = -float("inf")
        self._told = ""

    async def name(self) -> str | None:
        """The name of an index on ``status`` and ``lastUpdated`` that can be used, or ``None``."""
        now = self._clock.now()
        if now >= self._until:
            self._until = now + AGAIN_SECONDS
            self._name = await self._detected()
        return self._name

    def give_up(self, error: StorageError) -> None:
        """The index that was named cannot be used: do without it for a while."""
        self._tell(
            logging.WARNING,
            f"The index '{self._name}' of the table '{self._table_name}' cannot be used, so the "
            f"table is scanned: {error}",
        )
        self._name = None
        self._until = self._clock.now() + AGAIN_SECONDS

    async def _detected(self) -> str | None:
        try:
            request = {"TableName": self._table_name}
            table = (await self._service.call("DescribeTable", request)).get("Table", {})
        except StorageError as error:
            self._tell(
                logging.WARNING,
                f"The table '{self._table_name}' is scanned for {self._wanted}, because "
                f"whether it has an index for that cannot be seen: {error}",
            )
            return None
        return self._chosen(fitting_indexes(table))

    def _chosen(self, fitting: list[Mapping[str, Any]]) -> str | None:
        reason = ""
        for index in fitting:
            name = str(index["IndexName"])
            if missing := missing_attributes(index, self._needed):
                reason = f"it does not have {', '.join(missing)}: project ALL attributes"
            elif not is_ready(index):
                reason = "it is being built or deleted"
            else:
                self._tell(
                    logging.INFO,
                    f"The index '{name}' of the table '{self._table_name}' is used for "
                    f"{self._wanted}",
                )
                return name
        if fitting:
            self._tell(
                logging.WARNING,
                f"The table '{self._table_name}' is scanned for {self._wanted}, because "
                f"its index '{fitting[-1]['IndexName']}' cannot be used: {reason}",
            )
        return None

    def _tell(self, level: int, text: str) -> None:
        """Log something, unless it was the last that was said."""
        if text != self._told:
            self._told = text
            logger.log(level, text)


def fitting_indexes(table: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The indexes on ``status`` and ``lastUpdated`` of a table, as ``DescribeTable`` tells it."""
    types = {
        each["AttributeName"]: each["AttributeType"]
        for each in table.get("AttributeDefinitions", ())
    }
    indexes = table.get("GlobalSecondaryIndexes", ())
    return [index for index in indexes if _is_fitting(index, types)]


def _is_fitting(index: Mapping[str, Any], types: Mapping[str, str]) -> bool:
    keys = {
        each["KeyType"]: (each["AttributeName"], types.get(each["AttributeName"], ""))
        for each in index.get("KeySchema", ())
    }
    return keys == _KEYS


def missing_attributes(index: Mapping[str, Any], needed: tuple[str, ...] = NEEDED) -> list[str]:
    """What an index would have to have besides its keys, and has not."""
    projection = index.get("Projection", {})
    if projection.get("ProjectionType") == "ALL":
        return []
    there = projection.get("NonKeyAttributes") or ()
    return [name for name in needed if name not in there]


def is_ready(index: Mapping[str, Any]) -> bool:
    """Whether an index can be read."""
    # Some stand-ins for DynamoDB do not say how an index is.
    return index.get("IndexStatus", "ACTIVE") in _USABLE and not index.get("Backfilling", False)


def may_pass(error: StorageError) -> bool:
    """Whether the same request may succeed another time, so that the index is not given up."""
    return error.disposition == "retry" and not error.is_fatal
