"""Worker processes of a fleet, on an emulator of AWS: long nodes, blocked loops, SIGKILL."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.aws_worker_fleet import fleet_in
from tests.acceptance.test_workers import drained, noted, play, until
from tests.emulators.aws import AwsNames


@pytest.mark.slow
def test_long_nodes_run_once_on_a_queue_that_hides_messages_for_less(
    ministack: str, aws_names: AwsNames, tmp_path: Path
) -> None:
    """Nodes of 8 s, one of which blocks its loop, under a visibility of 4 s: each runs once.

    Renewals are due each third of it: a busy machine may keep a worker from its turn for 2 s.
    """

    async def main() -> list[str]:
        with fleet_in(tmp_path, ministack, aws_names, 4.0) as fleet:
            async with fleet.worker() as one, fleet.worker() as two:
                await until(tmp_path, "starts", 2)
                client = fleet.adapter()
                runs = [await client.start_run(flow, {}) for flow in ("block", "long")]
                results = [await client.wait_for_run(run, timeout=30) for run in runs]
                await client.aclose()
                # A copy of a message may still be on its way: whoever stops leaves it to others.
                await fleet.emptied()
                said = sorted([await drained(one), await drained(two)], key=len)
            assert [list(each.outputs.values()) for each in results] == [["done"], ["done"]]
            assert fleet.messages(fleet.dead_url) == 0
            assert fleet.messages(fleet.queue_url) == 0
            return said

    said = play(main())
    assert len(noted(tmp_path, "begins")) == 2
    assert sorted(noted(tmp_path, "begins")) == sorted(noted(tmp_path, "ends"))
    assert "Node 'blocks' has kept the event loop busy" in said[1]


@pytest.mark.slow
def test_another_worker_takes_over_from_one_that_was_killed(
    ministack: str, aws_names: AwsNames, tmp_path: Path
) -> None:
    """SIGKILL in mid node: another worker makes the second attempt, with the same key."""

    async def main() -> tuple[int, int]:
        with fleet_in(tmp_path, ministack, aws_names) as fleet:
            async with fleet.worker() as first:
                client = fleet.adapter()
                run = await client.start_run("fragile", {})
                await until(tmp_path, "begins", 1)
                async with fleet.worker() as second:
                    await until(tmp_path, "starts", 2)
                    first.kill()
                    result = await client.wait_for_run(run, timeout=30)
                    assert result.outputs == {"fragile": 2}
                    await drained(second)
                await client.aclose()
            assert fleet.messages(fleet.dead_url) == 0
            return first.pid, second.pid

    first, second = play(main())
    (one, by_one), (two, by_two) = noted(tmp_path, "begins")
    assert (by_one, by_two) == (first, second)
    assert (one.split("|")[0], two.split("|")[0]) == ("1", "2")
    assert one.split("|")[1] == two.split("|")[1]
