"""Putting an UpdateItem request together: names and values that its expressions refer to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowcraft.adapters.aws.item import Value


class Update:
    """One conditional update of an item.

    Args:
        table_name: The table.
        key: The item.
    """

    def __init__(self, table_name: str, key: Mapping[str, Value]) -> None:
        self._table_name = table_name
        self._key = key
        self._names: dict[str, str] = {}
        self._values: dict[str, Value] = {}
        self._sets: list[str] = []
        self._removes: list[str] = []
        self._conditions: list[str] = []

    def path(self, *parts: str | int) -> str:
        """A document path: names of attributes and of map keys, numbers of list elements."""
        text = ""
        for part in parts:
            if isinstance(part, int):
                text += f"[{part}]"
            else:
                name = self._names.setdefault(part, f"#{len(self._names)}")
                text += f".{name}" if text else name
        return text

    def value(self, value: Value) -> str:
        """A value."""
        name = f":{len(self._values)}"
        self._values[name] = value
        return name

    def require(self, condition: str) -> None:
        """Write nothing unless this holds too."""
        self._conditions.append(condition)

    def require_equal(self, path: str, value: Value) -> None:
        """Write nothing unless something has this value."""
        self.require(f"{path} = {self.value(value)}")

    def set(self, path: str, expression: str) -> None:
        """Set a path to what an expression gives."""
        self._sets.append(f"{path} = {expression}")

    def set_value(self, name: str, value: Value | None) -> None:
        """Set an attribute, or remove it."""
        if value is None:
            self.remove(self.path(name))
        else:
            self.set(self.path(name), self.value(value))

    def remove(self, path: str) -> None:
        """Remove what is at a path."""
        self._removes.append(path)

    def request(self) -> dict[str, Any]:
        """The request; it asks for the whole item, also where the condition does not hold."""
        expression = ""
        if self._sets:
            expression += "SET " + ", ".join(self._sets)
        if self._removes:
            expression += " REMOVE " + ", ".join(self._removes)
        request: dict[str, Any] = {
            "TableName": self._table_name,
            "Key": self._key,
            "UpdateExpression": expression.strip(),
            "ConditionExpression": " AND ".join(self._conditions),
            "ExpressionAttributeNames": {name: each for each, name in self._names.items()},
            "ReturnValues": "ALL_NEW",
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        if self._values:
            request["ExpressionAttributeValues"] = self._values
        return request
