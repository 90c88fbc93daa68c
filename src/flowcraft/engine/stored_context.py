"""The context of a durable run, from outside of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from flowcraft.core import events as ev
from flowcraft.engine.arguments import context_writes
from flowcraft.engine.ledger import Ledger
from flowcraft.engine.station import Station
from flowcraft.engine.stored import StoredRun
from flowcraft.errors import RunNotFound, StorageBusy
from flowcraft.ports.runs import Verdict

WRITE_ATTEMPTS: Final = 20


class StoredContext:
    """The context of a run as it is stored: an ``AsyncContext``.

    It is read as it is at the moment. It is written at once, and only while the run is paused:
    otherwise nodes would see it change under their hands (rule S8).

    Args:
        run_id: The run.
        open_station: Gives the stores.
    """

    def __init__(self, run_id: str, open_station: Callable[[], Awaitable[Station]]) -> None:
        self.run_id = run_id
        self._open_station = open_station

    async def get(self, key: str, default: Any = None) -> Any:
        """The value of ``key``, or ``default``.

        Raises:
            RunNotFound: There is no such run.
        """
        return (await self.to_dict()).get(key, default)

    async def has(self, key: str) -> bool:
        """Whether ``key`` has a value (``None`` is one).

        Raises:
            RunNotFound: There is no such run.
        """
        return key in await self.to_dict()

    async def to_dict(self) -> dict[str, Any]:
        """A copy of everything, engine keys included.

        Raises:
            RunNotFound: There is no such run.
        """
        return dict(StoredRun(await self._read(await self._open_station())).context)

    async def set(self, key: str, value: Any) -> None:
        """Write a key; see :meth:`patch`."""
        await self.patch({key: value})

    async def delete(self, key: str) -> bool:
        """Remove a key; whether it was there. See :meth:`patch`."""
        was_there = await self.has(key)
        await self.patch(delete=[key])
        return was_there

    async def add(self, key: str, by: int | float = 1) -> None:
        """Add ``by`` to a number; others who do so lose nothing. See :meth:`patch`."""
        await self._write((ev.Write("add", key, by),))

    async def patch(
        self, values: Mapping[str, Any] | None = None, *, delete: Sequence[str] = ()
    ) -> None:
        """Write and remove keys, all or none.

        Raises:
            RunNotFound: There is no such run.
            InvalidRunState: It is not paused.
            SerializationError: A value cannot be stored.
            ValueError: A key is the engine's: it begins with ``_``.
        """
        station = await self._open_station()
        codec_for = station.options.serializer.codec_for
        await self._write(context_writes(values or {}, delete, codec_for))

    async def _write(self, writes: tuple[ev.Write, ...]) -> None:
        station = await self._open_station()
        id_ = f"context/{station.identifiers.new_run_id()}"
        for _ in range(WRITE_ATTEMPTS):
            ledger = await self._read(station)
            foreseen = ledger.foresee(ev.ContextPatched(writes), station.clock.now())
            written = await station.runs.write(ledger.exactly(foreseen, id_, id_))
            if written.verdict is Verdict.GONE:
                raise self._not_found()
            if written.verdict is not Verdict.STALE:
                return
        raise StorageBusy(
            f"Run '{self.run_id}' is changed by others all the time: its context was not written."
        )

    async def _read(self, station: Station) -> Ledger:
        ledger = await station.read(self.run_id)
        if ledger is None:
            raise self._not_found()
        return ledger

    def _not_found(self) -> RunNotFound:
        return RunNotFound(f"There is no run '{self.run_id}'.")
