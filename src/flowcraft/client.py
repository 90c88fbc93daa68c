"""A client for durable runs, wherever they are kept."""

from __future__ import annotations

from os import PathLike

from flowcraft.engine import client as engine
from flowcraft.engine.options import RuntimeOptions
from flowcraft.engine.shards import SHARD_ITEMS
from flowcraft.ports.codec import Codec
from flowcraft.sqlite import Durability, SqliteAdapter

__all__ = ["FlowClient"]


class FlowClient(engine.FlowClient):
    """Starts and steers durable runs; it runs no node and needs no registry.

    Made by :meth:`sqlite`. Close it with :meth:`aclose`, or use it as ``async with``.
    """

    @classmethod
    def sqlite(
        cls,
        path: str | PathLike[str],
        runtime_options: RuntimeOptions | None = None,
        *,
        durability: Durability = "normal",
        shard_items: int = SHARD_ITEMS,
        codec: Codec | None = None,
    ) -> engine.FlowClient:
        """A client of the runs in an SQLite file.

        Args:
            path: The file that the workers use.
            runtime_options: Needed only for blueprints that no worker knows yet, and for types
                that were registered with the serializer.
            durability: As for :class:`SqliteAdapter`.
            shard_items: Batches of more items than this, in runs that are started here, are cut
                into records of so many each.
            codec: The one that the workers have.
        """
        return SqliteAdapter.client_of(
            path, runtime_options, durability=durability, shard_items=shard_items, codec=codec
        )
