"""Keys and indexes of a table: which attributes they are, and what they allow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from flowcraft.testing.aws.dynamodb_errors import refused
from flowcraft.testing.aws.dynamodb_items import (
    Item,
    Value,
    copy_of,
    order_of,
    size_of,
    type_of,
)
from flowcraft.testing.aws.dynamodb_shelves import Key

PARTITION_KEY_BYTES: Final = 2048
SORT_KEY_BYTES: Final = 1024


@dataclass(frozen=True, slots=True)
class KeySchema:
    """The key attributes of a table or of an index.

    Attributes:
        partition: The name of the partition key.
        sort: The name of the sort key, or None.
        types: The types of both, by name.
    """

    partition: str
    sort: str | None
    types: dict[str, str]

    @property
    def names(self) -> tuple[str, ...]:
        """The names, the partition key first."""
        return (self.partition,) if self.sort is None else (self.partition, self.sort)

    def key_of(self, item: Item) -> Key:
        """The key of an item that has one."""
        return tuple([order_of(item[name]) for name in self.names])

    def key_if_any(self, item: Item | None) -> Key | None:
        """The key of an item in an index; None if it lacks an attribute and is not in it."""
        if item is None or any(name not in item for name in self.names):
            return None
        return self.key_of(item)

    def attributes_of(self, item: Item) -> Item:
        """A copy of the key attributes of an item."""
        return {name: copy_of(item[name]) for name in self.names}

    def check_item(self, item: Item) -> None:
        """Refuse an item whose key attributes are missing or wrong."""
        for name in self.names:
            if name not in item:
                raise refused(f"The item lacks the key attribute {name!r}")
            self.check_value(name, item[name])

    def check_key(self, key: Item) -> None:
        """Refuse a key that has other attributes than the schema."""
        if key.keys() != set(self.names):
            raise refused(
                f"The key does not match the schema: it has {sorted(key)}, not {list(self.names)}"
            )
        self.check_item(key)

    def check_index(self, item: Item) -> None:
        """Refuse an item whose attributes an index cannot have as its key."""
        for name in self.names:
            if name in item:
                self.check_value(name, item[name])

    def check_value(self, name: str, value: Value) -> None:
        """Refuse a value that a key attribute cannot have."""
        kind = self.types[name]
        if kind not in value:
            raise refused(f"The key attribute {name!r} is of type {kind}, not {type_of(value)}")
        size = size_of(value)
        limit = PARTITION_KEY_BYTES if name == self.partition else SORT_KEY_BYTES
        if kind != "N" and not size:
            raise refused(f"The key attribute {name!r} may not be empty")
        if size > limit:
            raise refused(f"The key attribute {name!r} has more than {limit} bytes: {size}")


@dataclass(frozen=True, slots=True)
class Index:
    """A global secondary index.

    Attributes:
        name: Its name.
        schema: Its key.
        projected: The attributes that it has; None for all.
    """

    name: str
    schema: KeySchema
    projected: frozenset[str] | None

    def size(self, sizes: dict[str, int]) -> int:
        """How many bytes an item counts for in the index.

        Args:
            sizes: Of the item's attributes, by name.
        """
        if self.projected is None:
            return sum(sizes.values())
        return sum(size for name, size in sizes.items() if name in self.projected)

    def part_of(self, item: Item) -> Item:
        """What the index has of an item. Not to be changed."""
        if self.projected is None:
            return item
        return {name: value for name, value in item.items() if name in self.projected}


def key_parts(key: Key) -> tuple[Any, Any]:
    """The partition key and the sort key; 0 if there is none."""
    return (key[0], key[1]) if len(key) > 1 else (key[0], 0)
