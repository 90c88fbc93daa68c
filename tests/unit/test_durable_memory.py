"""How much of runs a worker keeps in memory when it is done with them."""

from __future__ import annotations

from typing import Any

import pytest

from flowcraft import create_flow
from flowcraft.engine import station
from tests.unit.durable import World, play


async def text(ctx: Any) -> str:
    return "x" * int(ctx.input)


async def length(ctx: Any) -> int:
    return len(ctx.input)


def test_large_runs_drive_each_other_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of runs with 1 MB each a worker keeps no more than it has room for; of small ones, all."""
    monkeypatch.setattr(station, "OPEN_CHARACTERS", 3_500_000)

    async def work(world: World) -> None:
        flow = create_flow("size").node("text", text, inputs="size")
        world.knows(flow.node("length", length).edge("text", "length"))
        process = await world.process()
        kept = []
        for number, size in enumerate((10, 10, 10, *[1_000_000] * 6)):
            await world.client.start_run("size", {"size": size}, run_id=f"run-{number}")
            stored = await world.finish(f"run-{number}")
            assert stored.outputs["length"] == size
            kept.append([n for n in range(9) if process.worker.station.has_open(f"run-{n}")])
        assert kept[5] == [0, 1, 2, 3, 4, 5]
        assert kept[8] == [5, 6, 7, 8]
        # One that is larger than all the room is worked on all the same.
        await world.client.start_run("size", {"size": 5_000_000}, run_id="last")
        assert (await world.finish("last")).outputs["length"] == 5_000_000

    play(work)
