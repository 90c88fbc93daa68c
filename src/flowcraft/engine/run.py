"""A run as the verbs that start or reach it give it back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowcraft.engine.results import RunResult
from flowcraft.engine.stored import StoredRun

if TYPE_CHECKING:
    from flowcraft.engine.client import FlowClient


class Run(str):
    """The id of a run, with a way to its result."""

    _client: FlowClient

    @classmethod
    def of(cls, client: FlowClient, run_id: str) -> Run:
        """A run that a client can ask about."""
        run = cls(run_id)
        run._client = client
        return run

    async def result(self, timeout: float | None = None) -> RunResult:
        """Wait until the run is over.

        Args:
            timeout: Seconds to wait; without end by default.

        Raises:
            RunTimeout: It was not over in time.
        """
        return await self._client.wait_for_run(self, timeout=timeout)

    async def get(self) -> StoredRun:
        """The run as it is now."""
        return await self._client.get_run(self)
