"""What a client tells of all runs together."""

from __future__ import annotations

from flowcraft.engine.arguments import checked_text
from flowcraft.engine.draining import Drain, DrainReport
from flowcraft.engine.following import Follower
from flowcraft.engine.inspecting import RunDetails
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

    async def inspect_run(self, run_id: str) -> RunDetails:
        """A run in detail: what each node was given, tried and gave, its batches and child runs.

        Raises:
            RunNotFound: There is no such run.
        """
        follower = await self.follow_run(run_id, with_values=True)
        return await follower.look()

    async def follow_run(self, run_id: str, *, with_values: bool = False) -> Follower:
        """A run to be looked at again and again, each time reading only what is new.

        Nothing is read yet; its ``look`` does that.

        Args:
            run_id: The run.
            with_values: Whether to tell inputs, outputs and context, too.
        """
        station = await self._opened()
        return Follower(station, checked_text("run_id", run_id), with_values=with_values)
