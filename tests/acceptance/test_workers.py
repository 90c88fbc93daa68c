"""Worker processes: killed, blocked, drained."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import pytest

from tests.acceptance import killing
from tests.acceptance.blocking_worker import adapter, notes
from tests.unit.runs import drive

ROOT = Path(__file__).resolve().parents[2]


async def worker(directory: Path, lease_seconds: float) -> asyncio.subprocess.Process:
    """A worker process on a directory."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.acceptance.blocking_worker", str(directory)),
        str(lease_seconds),
        cwd=ROOT,
        stderr=asyncio.subprocess.PIPE,
    )


async def until(directory: Path, what: str, count: int) -> None:
    """Wait until something has been noted so many times."""
    while len(noted(directory, what)) < count:
        await asyncio.sleep(0.02)


def noted(directory: Path, what: str) -> list[tuple[str, int]]:
    """Of whom something was noted, and by which process: ``begins``, ``ends``, ``starts``."""
    words = [line.split() for line in notes(directory)]
    return [(who, int(process)) for who, does, process in words if does == what]


@pytest.mark.slow
def test_orders_come_out_right_however_workers_are_killed() -> None:
    """A seeded slice of the campaign: SIGKILL at random moments loses and doubles nothing."""
    assert asyncio.run(killing.campaign(6, seed=42)) == 0


@pytest.mark.slow
def test_a_node_that_blocks_the_loop_keeps_its_lease(tmp_path: Path) -> None:
    """An async node that calls `time.sleep(5)` under a lease of 2 s runs once, with a warning."""

    async def main() -> list[str]:
        workers = [await worker(tmp_path, 2.0) for _ in range(2)]
        await until(tmp_path, "starts", 2)  # one of them will be idle all the time
        client = adapter(tmp_path, 2.0)
        run = await client.start_run("block", {})
        result = await client.wait_for_run(run, timeout=30)
        await client.aclose()
        assert result.outputs["blocks"] == "done"
        said = []
        for each in workers:
            each.send_signal(signal.SIGTERM)
            _, stderr = await each.communicate()
            assert each.returncode == 0
            said.append(stderr.decode())
        return sorted(said)

    said = drive(main())
    (begun,), (ended,) = noted(tmp_path, "begins"), noted(tmp_path, "ends")
    assert begun == ended
    assert said[0] == ""  # who was idle had nothing to say
    assert said[1].count("Node 'blocks' has kept the event loop busy for more than 1 s") == 1


@pytest.mark.slow
def test_sigterm_lets_nodes_finish_or_hands_them_back(tmp_path: Path) -> None:
    """Of twenty running nodes the short ones finish, the others end elsewhere, none twice."""
    # So long that whatever is not handed back is not taken over before the test gives up.
    lease_seconds = 300.0

    async def main() -> tuple[int, int]:
        first = await worker(tmp_path, lease_seconds)
        client = adapter(tmp_path, lease_seconds)
        run = await client.start_run("many", {})
        await until(tmp_path, "begins", 20)
        assert noted(tmp_path, "ends") == []
        first.send_signal(signal.SIGTERM)
        # The short ones end now, and so does every endless one that begins from now on.
        (tmp_path / "go").touch()
        await first.communicate()
        assert first.returncode == 0
        second = await worker(tmp_path, lease_seconds)
        result = await client.wait_for_run(run, timeout=30)
        assert result.status == "completed"
        second.send_signal(signal.SIGTERM)
        await second.communicate()
        await client.aclose()
        return first.pid, second.pid

    first, second = drive(main())
    short = [f"short{number}" for number in range(10)]
    endless = [f"endless{number}" for number in range(10)]
    by_first = [(name, first) for name in (*short, *endless)]
    by_second = [(name, second) for name in endless]
    assert sorted(noted(tmp_path, "begins")) == sorted(by_first + by_second)
    assert sorted(noted(tmp_path, "ends")) == sorted([(name, first) for name in short] + by_second)
