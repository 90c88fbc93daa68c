"""Backends of a simulation with a bug in each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from flowcraft.ports.queue import Delivery, Outgoing
from flowcraft.ports.runs import Change, Record, Written
from flowcraft.testing.simulate.backends import MemoryBackend


class Passing:
    """A port that does what the one behind it does."""

    def __init__(self, port: Any) -> None:
        self._port = port

    def __getattr__(self, name: str) -> Any:
        return getattr(self._port, name)


class DeletesFirst(Passing):
    """Messages are gone once they are received."""

    async def receive(self, limit: int, wait_seconds: float) -> Sequence[Delivery]:
        found: Sequence[Delivery] = await self._port.receive(limit, wait_seconds)
        await self._port.delete([each.handle for each in found])
        return found


class LosesHalf(Passing):
    """Of messages that are sent together the last one is lost."""

    async def send(self, messages: Sequence[Outgoing]) -> None:
        await self._port.send(messages[:-1] if len(messages) > 1 else messages)


class NeverDeletes(Passing):
    """Messages come again and again."""

    async def delete(self, handles: Sequence[str]) -> None:
        pass


class CommitsWithoutLease(Passing):
    """Whoever writes is taken for the one that holds the lease."""

    async def write(self, change: Change) -> Written:
        if change.holding is not None and not change.holding.expired:
            record: Record | None = await self._port.read(change.run_id)
            leases = {each.place: each for each in record.leases} if record else {}
            lease = leases.get(change.holding.place)
            token = lease.token if lease is not None else None
            holding = None if token is None else replace(change.holding, token=token)
            change = replace(change, holding=holding)
        written: Written = await self._port.write(change)
        return written


class GrantsEverything(Passing):
    """A claim is granted also where somebody else has the lease."""

    async def write(self, change: Change) -> Written:
        written: Written = await self._port.write(change)
        if change.claim is not None and written.lease is not None:
            return replace(written, granted=True, lease=None)
        return written


class ForgetsIds(Passing):
    """Facts of the same id are written as often as they come."""

    async def write(self, change: Change) -> Written:
        entries = tuple(replace(each, id=None) for each in change.entries)
        written: Written = await self._port.write(replace(change, entries=entries))
        return written


PLANTED = {
    "deletes first": ("queue", DeletesFirst),
    "loses half": ("queue", LosesHalf),
    "never deletes": ("queue", NeverDeletes),
    "commits without lease": ("runs", CommitsWithoutLease),
    "grants everything": ("runs", GrantsEverything),
    "forgets ids": ("runs", ForgetsIds),
}


def planted(name: str) -> type[MemoryBackend]:
    """A backend with a bug."""
    port, bug = PLANTED[name]

    class Planted(MemoryBackend):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self._ports = self._ports._replace(**{port: bug(getattr(self._ports, port))})

    return Planted
