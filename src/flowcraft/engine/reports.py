"""What a client tells of all runs together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from os import PathLike
from pathlib import Path

from flowcraft.engine.arguments import check_flag, check_positive, check_spans, checked_text
from flowcraft.engine.draining import Drain, DrainReport
from flowcraft.engine.following import Follower
from flowcraft.engine.history import LOOK_SECONDS, History
from flowcraft.engine.history_events import HistoryEvent
from flowcraft.engine.history_file import HistoryWriter, whole_file
from flowcraft.engine.inspecting import RunDetails
from flowcraft.engine.presence import workers_seen
from flowcraft.engine.pretending import pretended
from flowcraft.engine.reconcile import stalled_seconds
from flowcraft.engine.standing import Standing, StandingRuns
from flowcraft.engine.station import Station
from flowcraft.engine.worker_kinds import Seen
from flowcraft.ports.together import OpenPorts, Ports

STANDING_RUNS = 200
"""So many runs that stand still tell enough."""


class Reports:
    """The reports of a :class:`FlowClient`."""

    _open_ports: OpenPorts

    async def _opened(self) -> Station:
        raise NotImplementedError

    def _station_on(self, ports: Ports) -> Station:
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

    async def history(
        self,
        run_id: str,
        *,
        children: bool = True,
        shards: bool = True,
        follow: bool = False,
        look_seconds: float = LOOK_SECONDS,
    ) -> AsyncIterator[HistoryEvent]:
        """Everything that happened in a run, as events with times, from its beginning on.

        They are told from what is stored of the run in any case, so they are there as long as the
        run is. It takes the requests that reading the run takes, child runs and parts of large
        batches included, each of which is read when its turn comes. ``FlowRuntime.replay`` makes
        the run of them again.

        Args:
            run_id: The run.
            children: Whether to tell of its child runs, too.
            shards: Whether to tell of the items of batches that are recorded in parts.
            follow: Whether to go on until the run is over; it is then read again and again.
            look_seconds: At most so long between two looks at a run that is followed.

        Raises:
            RunNotFound: There is no such run, or none any more.
            CodecError: It is encoded, and cannot be decoded here.
            FlowcraftError: Its blueprint is not stored.
        """
        check_spans(look_seconds=look_seconds)
        station = await self._opened()
        history = History(
            station,
            checked_text("run_id", run_id),
            children=check_flag("children", children),
            shards=check_flag("shards", shards),
            follow=check_flag("follow", follow),
            look_seconds=look_seconds,
        )
        async for event in history.events():
            yield event

    async def export_history(
        self,
        run_id: str,
        file: str | PathLike[str],
        *,
        payloads: bool = True,
        children: bool = True,
        shards: bool = True,
    ) -> int:
        """Write the history of a run to a file as JSON lines, whole or not at all.

        Args:
            run_id: The run.
            file: The file; one that is there is replaced.
            payloads: Whether to write values: inputs, outputs, contexts, messages of errors.
                Without them the history cannot be replayed.
            children: Whether to tell of its child runs, too.
            shards: Whether to tell of the items of batches that are recorded in parts.

        Returns:
            How many events were written.

        Raises:
            RunNotFound: There is no such run.
            OSError: The file cannot be written.
        """
        events = self.history(run_id, children=children, shards=shards)
        serializer = (await self._opened()).options.serializer
        with whole_file(Path(file)) as out:
            writer = HistoryWriter(out.write, serializer, payloads=check_flag("payloads", payloads))
            async for event in events:
                writer.add(event)
            writer.end()
        return writer.events

    async def workers_seen(self) -> list[Seen]:
        """The kinds of workers that were there in the last week, those seen last first.

        Workers of one version, with the same implementations and blueprints, are one kind.

        Raises:
            StorageError: The coordination store cannot be read.
        """
        station = await self._opened()
        return await workers_seen(station.coordination, station.clock.now())

    async def standing_runs(
        self, *, for_seconds: float | None = None, limit: int = STANDING_RUNS
    ) -> StandingRuns:
        """Which runs have something to do that nobody does; nothing is sent, and nothing written.

        It is what :meth:`reconcile` would find, those included that it has sent again lately. After
        a shorter time than it waits, their messages may well be on the queue: then they are runs
        that wait for a worker.

        Args:
            for_seconds: How long nothing has happened in such a run; by default as long as for
                :meth:`reconcile`.
            limit: How many, at most.

        Raises:
            StorageError: The runs cannot be read.
            ValueError: An argument is less than nothing.
        """
        if for_seconds is not None:
            check_spans(for_seconds=for_seconds)
        check_positive(limit=limit)
        async with self._open_ports() as ports:
            if for_seconds is None:
                for_seconds = stalled_seconds(None, ports.queue.visibility_seconds)
            return await Standing(self._station_on(pretended(ports)), for_seconds).look(limit)
