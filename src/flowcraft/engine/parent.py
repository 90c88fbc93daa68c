"""What a record that is part of another one knows of it."""

from __future__ import annotations

import json
from typing import NamedTuple

from flowcraft.core.plan import Key
from flowcraft.engine.saved import key_data, read_key
from flowcraft.engine.shapes import check_shape
from flowcraft.errors import StorageCorrupt
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
        above = cls.read(head)
        depth = 1 if above is None else above.depth + 1
        return cls(head.run_id, head.epoch, head.blueprint_id, key, attempt, depth, first)

    @classmethod
    def read(cls, head: Head) -> Parent | None:
        """The parent that :meth:`text` wrote into a record.

        Raises:
            StorageCorrupt: It is none.
        """
        if head.parent is None:
            return None
        try:
            run_id, epoch, blueprint_id, key, *numbers = json.loads(head.parent)
            parent = cls(run_id, epoch, blueprint_id, read_key(key), *numbers)
            # Only of a shard the place is written.
            check_shape(parent if len(numbers) > 2 else parent._replace(first=0))
        except (TypeError, ValueError) as error:
            raise StorageCorrupt(
                f"The record of run '{head.run_id}' is damaged: what it is a part of cannot be "
                f"read ({error}). Restore it from a backup, or delete the run."
            ) from error
        return parent

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
