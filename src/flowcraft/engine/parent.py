"""What a record that is part of another one knows of it."""

from __future__ import annotations

import json
from typing import NamedTuple

from flowcraft.core.plan import Key
from flowcraft.engine.saved import key_data, read_key
from flowcraft.ports.runs import Head

NO_SHARD = -1


class Parent(NamedTuple):
    """The subflow node that a child run belongs to, or the scatter node of a shard.

    Attributes:
        run_id: The run of that node.
        epoch: Which start of it.
        blueprint_id: Its blueprint.
        key: The instance of the node.
        attempt: Of a subflow which attempt at it.
        depth: How many runs there are above this one.
        first: Of a shard the place of its first item; of a child run :data:`NO_SHARD`.
    """

    run_id: str
    epoch: str
    blueprint_id: str
    key: Key
    attempt: int
    depth: int
    first: int = NO_SHARD

    @classmethod
    def of(cls, head: Head, key: Key, attempt: int, first: int = NO_SHARD) -> Parent:
        """The parent that a run is to what one of its nodes starts."""
        above = cls.read(head.parent)
        depth = 1 if above is None else above.depth + 1
        return cls(head.run_id, head.epoch, head.blueprint_id, key, attempt, depth, first)

    @classmethod
    def read(cls, text: str | None) -> Parent | None:
        """The parent that :meth:`text` wrote."""
        if text is None:
            return None
        run_id, epoch, blueprint_id, key, *numbers = json.loads(text)
        return cls(run_id, epoch, blueprint_id, read_key(key), *numbers)

    def text(self) -> str:
        """The parent as it is kept with the child."""
        run_id, epoch, blueprint_id, key, *numbers = self
        if numbers[-1] == NO_SHARD:
            del numbers[-1]
        return json.dumps([run_id, epoch, blueprint_id, key_data(key), *numbers])

    @property
    def is_of_shard(self) -> bool:
        """Whether what it is the parent of is a shard."""
        return self.first != NO_SHARD
