"""Trying again what failed, and running again from some node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flowcraft.core import events as ev
from flowcraft.core.plan import Key
from flowcraft.core.values import snapshot
from flowcraft.engine import rerun, wishes
from flowcraft.engine.arguments import checked_run_id
from flowcraft.engine.ledger import Ledger
from flowcraft.engine.options import RuntimeOptions
from flowcraft.engine.run import Run
from flowcraft.engine.station import Station
from flowcraft.ports.clock import Identifiers


class Restarts:
    """The verbs of a :class:`FlowClient` that may start a run over."""

    _options: RuntimeOptions
    _identifiers: Identifiers

    async def _opened(self) -> Station:
        raise NotImplementedError

    async def _read(self, run_id: str) -> Ledger:
        raise NotImplementedError

    def _run(self, run_id: str) -> Run:
        raise NotImplementedError

    async def retry_failed(self, run_id: str) -> Run:
        """Try failed nodes again.

        In a live run they are tried again where nothing behind them is settled. For a run that
        is over a new one is started, which takes over what the old one achieved.

        Returns:
            The run in which they are tried: the same one, or the new one.

        Raises:
            RunNotFound: There is no such run.
            InvalidRunState: Nothing has failed, or something behind is settled.
        """
        ledger = await self._read(run_id)
        if not ledger.state.status.is_final:
            await wishes.ask(await self._opened(), ledger, ev.RetryRequested())
            return self._run(run_id)
        failed, batches = rerun.what_failed(ledger)
        # Asked twice, it is one new run.
        name, key = f"{run_id}~retry", f"retry/{ledger.epoch}"
        return await self._start_over(ledger, failed, {}, name, key, batches)

    async def rerun_from(
        self,
        run_id: str,
        node_id: str,
        *,
        inputs: Mapping[str, Any] | None = None,
        new_run_id: str | None = None,
    ) -> Run:
        """Start a new run that takes over what an earlier one achieved, up to a node.

        The node and everything that can follow it run anew; other outputs are taken over.

        Args:
            run_id: The earlier run, over or not; it stays as it is.
            node_id: The node to run from.
            inputs: Inputs by node id that nodes are given instead of what leads to them.
            new_run_id: The id of the new run; a fresh one by default.

        Raises:
            RunNotFound: There is no such run.
            InvalidRunState: There is a run of the new id already.
            FlowcraftError: Its blueprint has no such node.
            SerializationError: An input cannot be stored.
        """
        codecs = self._options.serializer.codec_for
        given = snapshot(dict(inputs or {}), registered=codecs, where="inputs")
        ledger = await self._read(run_id)
        return await self._start_over(ledger, {node_id, *given}, given, new_run_id)

    async def _start_over(
        self,
        ledger: Ledger,
        node_ids: set[str],
        inputs: Mapping[str, Any],
        new_run_id: str | None = None,
        key: str | None = None,
        batches: Sequence[Key] = (),
    ) -> Run:
        if new_run_id is None:
            new_run_id = self._identifiers.new_run_id()
        job = await rerun.start_over(
            await self._opened(),
            ledger,
            node_ids,
            inputs,
            checked_run_id(new_run_id, "new_run_id"),
            key,
            batches,
        )
        return self._run(job.run_id)
