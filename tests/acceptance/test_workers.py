"""Worker processes: killed, blocked, drained."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.acceptance import killing
from tests.acceptance.blocking_worker import adapter, notes
from tests.unit.runs import drive

ROOT = Path(__file__).resolve().parents[2]


async def worker(directory: Path) -> asyncio.subprocess.Process:
    """A worker process on a directory."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.acceptance.blocking_worker", str(directory)),
        cwd=ROOT,
        stderr=asyncio.subprocess.PIPE,
    )


async def until(directory: Path, count: int) -> None:
    """Wait until so many things have been noted."""
    while len(notes(directory)) < count:
        await asyncio.sleep(0.02)


@pytest.mark.slow
def test_orders_come_out_right_however_workers_are_killed() -> None:
    """A seeded slice of the campaign: SIGKILL at random moments loses and doubles nothing."""
    assert asyncio.run(killing.campaign(6, seed=42)) == 0


@pytest.mark.slow
def test_a_node_that_blocks_the_loop_keeps_its_lease(tmp_path: Path) -> None:
    """It runs once although it blocks for three leases beside an idle worker, and is named."""

    async def main() -> str:
        workers = [await worker(tmp_path) for _ in range(2)]
        client = adapter(tmp_path)
        run = await client.start_run("block", {})
        result = await client.wait_for_run(run, timeout=30)
        await client.aclose()
        assert result.outputs["blocks"] == "done"
        said = []
        for each in workers:
            each.send_signal(signal.SIGTERM)
            _, stderr = await each.communicate()
            said.append(stderr.decode())
        return "".join(said)

    said = drive(main())
    assert [line.rsplit(" ", 1)[0] for line in notes(tmp_path)] == ["blocks begins", "blocks ends"]
    assert "Node 'blocks' has kept the event loop busy" in said


@pytest.mark.slow
def test_sigterm_lets_nodes_finish_or_hands_them_back(tmp_path: Path) -> None:
    """Of twenty running nodes the short ones finish, the others end elsewhere, none twice."""

    async def main() -> None:
        first = await worker(tmp_path)
        client = adapter(tmp_path)
        run = await client.start_run("many", {})
        await until(tmp_path, 20)
        (tmp_path / "go").touch()  # whoever begins an endless node from now on ends it
        first.send_signal(signal.SIGTERM)
        await first.communicate()
        assert first.returncode == 0
        second = await worker(tmp_path)
        result = await client.wait_for_run(run, timeout=30)
        assert result.status == "completed"
        second.send_signal(signal.SIGTERM)
        await second.communicate()
        await client.aclose()

    drive(main())
    ended = Counter(line.split()[0] for line in notes(tmp_path) if " ends " in line)
    assert len(ended) == 20
    assert set(ended.values()) == {1}
    begun = Counter(line.split()[0] for line in notes(tmp_path) if " begins " in line)
    assert all(begun[f"short{number}"] == 1 for number in range(10))
    assert all(begun[f"endless{number}"] == 2 for number in range(10))
