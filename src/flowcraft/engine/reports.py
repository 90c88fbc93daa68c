"""What a client tells of all runs together."""

from __future__ import annotations

from flowcraft.engine.draining import Drain, DrainReport
from flowcraft.engine.station import Station


class Reports:
    """The reports of a :class:`FlowClient`."""

    async def _opened(self) -> Station:
        raise NotImplementedError

    async def drain_report(self, *, look_inside: bool = True) -> DrainReport:
        """Which live runs still need which implementations: what tells when old workers may go.

        All live runs are read, ten at a time, and of all rows a page at a time. Memory is taken for
        their ids, and for counts. A run that is started meanwhile may be missing.

        Args:
            look_inside: Whether to read each run, to see which nodes may still run. Otherwise only
                rows are read, and each run counts as if it needed all of its blueprint.

        Raises:
            StorageError: The runs cannot be read.
        """
        return await Drain(await self._opened(), look_inside=look_inside).report()
