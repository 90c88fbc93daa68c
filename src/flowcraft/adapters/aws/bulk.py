"""Many items of a table in few requests; what was left out of one is asked for again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from flowcraft.adapters.aws.transport import Transport
from flowcraft.errors import StorageBusy

GET_KEYS: Final = 100
"""The most keys of one BatchGetItem."""

WRITE_ITEMS: Final = 10
"""So many items in one BatchWriteItem: it takes 25, and 16 MB in all."""

_IDLE_ROUNDS = 5


async def get_items(
    service: Transport,
    table_name: str,
    key_name: str,
    keys: Sequence[str],
    projection: str | None = None,
) -> dict[str, Mapping[str, Any]]:
    """The items under keys, read consistently; those that are not there are missing.

    Args:
        service: DynamoDB.
        table_name: The table.
        key_name: Its key, a text.
        keys: The keys.
        projection: The attributes to read, the key among them; by default all.

    Raises:
        StorageBusy: The table is throttled.
    """
    found: dict[str, Mapping[str, Any]] = {}
    left = list(dict.fromkeys(keys))
    idle = 0
    while left:
        asked, left = left[:GET_KEYS], left[GET_KEYS:]
        request: dict[str, Any] = {
            "Keys": [{key_name: {"S": key}} for key in asked],
            "ConsistentRead": True,
        }
        if projection is not None:
            request["ProjectionExpression"] = projection
        answer = await service.call("BatchGetItem", {"RequestItems": {table_name: request}})
        for item in answer.get("Responses", {}).get(table_name, []):
            found[item[key_name]["S"]] = item
        unprocessed = answer.get("UnprocessedKeys", {}).get(table_name, {})
        again = [key[key_name]["S"] for key in unprocessed.get("Keys", [])]
        idle = _next_idle(table_name, idle, len(again) == len(asked))
        left = again + left
    return found


async def write_items(
    service: Transport, table_name: str, requests: Sequence[Mapping[str, Any]]
) -> None:
    """Put and delete items: ``{"PutRequest": …}``, ``{"DeleteRequest": …}``, each key once.

    Raises:
        StorageBusy: The table is throttled.
    """
    left = list(requests)
    idle = 0
    while left:
        some, left = left[:WRITE_ITEMS], left[WRITE_ITEMS:]
        answer = await service.call("BatchWriteItem", {"RequestItems": {table_name: some}})
        again = answer.get("UnprocessedItems", {}).get(table_name, [])
        idle = _next_idle(table_name, idle, len(again) == len(some))
        left = again + left


def _next_idle(table_name: str, idle: int, is_idle: bool) -> int:
    if not is_idle:
        return 0
    if idle + 1 >= _IDLE_ROUNDS:
        raise StorageBusy(
            f"The table '{table_name}' is throttled: nothing of a batch was carried out, "
            f"{idle + 1} times over. Raise its capacity, or use on-demand capacity."
        )
    return idle + 1
