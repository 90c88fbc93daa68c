"""The floor: a bare asyncio loop that makes and awaits one task per node."""

from __future__ import annotations

import asyncio
import platform
from typing import Any

from benchmarks.serving import Run, main


async def trivial() -> int:
    return 1


async def giving_way() -> int:
    await asyncio.sleep(0)
    return 1


class Floor:
    """Does what any engine on asyncio has to do, and nothing else."""

    def about(self) -> dict[str, Any]:
        """The interpreter."""
        return {"name": "bare asyncio loop", "version": f"Python {platform.python_version()}"}

    async def prepare(self, shape: str, nodes: int) -> tuple[Run, dict[str, float]]:
        """One after the other for every shape but ``together``."""
        node = giving_way if shape == "giving-way" else trivial

        async def in_turn() -> None:
            # The loop is asked for once: per task it would make the floor slower.
            create_task = asyncio.get_running_loop().create_task
            for _ in range(nodes):
                await create_task(node())

        async def together() -> None:
            create_task = asyncio.get_running_loop().create_task
            for task in [create_task(node()) for _ in range(nodes)]:
                await task

        return together if shape == "together" else in_turn, {}


if __name__ == "__main__":
    main(Floor())
