"""Large things on a fleet, on an emulator of AWS: right results, and bounded memory."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from flowcraft.aws import SqsAdapter
from tests.acceptance.aws_worker import GRAPH_LAYERS, GRAPH_WIDTH, dense_text
from tests.acceptance.aws_worker_fleet import fleet_in
from tests.acceptance.test_workers import drained, noted, until
from tests.emulators.aws import AwsNames

MEGABYTE = 1_000_000
SIZES = (500_000, 3 * MEGABYTE)
ITEMS = int(os.environ.get("FLOWCRAFT_TEST_ITEMS", "1000"))
"""Of the batch; by hand with 10,000."""
LEASE_SECONDS = 10.0
PATIENCE_SECONDS = 60.0 + 0.05 * ITEMS

Story = Callable[[SqsAdapter], Awaitable[None]]


def grown(endpoint: str, names: AwsNames, directory: Path, story: Story) -> int:
    """Let a story take place with one worker; by how many bytes the worker's memory grew."""

    async def main() -> None:
        with fleet_in(directory, endpoint, names, LEASE_SECONDS) as fleet:
            async with fleet.worker() as worker:
                await until(directory, "starts", 1)
                client = fleet.adapter()
                await story(client)
                await client.aclose()
                assert await drained(worker) == ""
            assert fleet.messages(fleet.dead_url) == 0
            assert fleet.messages(fleet.queue_url) == 0

    asyncio.run(asyncio.wait_for(main(), PATIENCE_SECONDS))
    ((before, _),) = noted(directory, "before")
    ((peak, _),) = noted(directory, "peak")
    print(f"{int(peak) / MEGABYTE:.0f} MB at most, {(int(peak) - int(before)) / MEGABYTE:.0f} more")
    return int(peak) - int(before)


@pytest.mark.slow
def test_large_outputs(ministack: str, aws_names: AwsNames, tmp_path: Path) -> None:
    """500 KB and 3 MB that nothing makes smaller: as output, as result of a child, as answer."""

    async def story(client: SqsAdapter) -> None:
        for size in SIZES:
            expected = dense_text(size)
            run = await client.start_run("large", {"size": size})
            result = await client.wait_for_run(run, timeout=30)
            assert result.outputs == {"text": expected, "length": size}
            run = await client.start_run("large-parent", {"size": size})
            result = await client.wait_for_run(run, timeout=30)
            assert (result.outputs["length"], result.context["text"]) == (size, expected)
            run = await client.start_run("large-answer", {})
            while (await run.get()).status != "awaiting":
                await asyncio.sleep(0.05)
            await client.resume_with_action(run, output=expected)
            result = await client.wait_for_run(run, timeout=30)
            assert result.outputs == {"ask": expected, "length": size}

    assert grown(ministack, aws_names, tmp_path, story) < 300 * MEGABYTE


@pytest.mark.slow
def test_a_graph_of_a_thousand_nodes(ministack: str, aws_names: AwsNames, tmp_path: Path) -> None:
    """20 layers of 50 nodes with two predecessors each come to the right sums."""

    async def story(client: SqsAdapter) -> None:
        result = await client.wait_for_run(await client.start_run("graph", {}), timeout=50)
        assert result.status == "completed"
        assert len(result.outputs) == GRAPH_LAYERS * GRAPH_WIDTH
        for layer in range(GRAPH_LAYERS):
            for number in range(GRAPH_WIDTH):
                assert result.outputs[f"{layer}-{number}"] == 2 ** (layer + 1) - 1

    assert grown(ministack, aws_names, tmp_path, story) < 100 * MEGABYTE


@pytest.mark.slow
def test_a_large_batch(ministack: str, aws_names: AwsNames, tmp_path: Path) -> None:
    """A batch that is cut into shards gives its results in the order of its items."""

    async def story(client: SqsAdapter) -> None:
        run = await client.start_run("batch", {"items": list(range(ITEMS))})
        result = await client.wait_for_run(run, timeout=PATIENCE_SECONDS)
        assert result.outputs["twice_gather"] == [2 * item for item in range(ITEMS)]

    assert grown(ministack, aws_names, tmp_path, story) < 100 * MEGABYTE
