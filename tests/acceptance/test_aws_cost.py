"""What runs cost, as they say themselves, on an emulator: as it is counted at boto3's clients."""

from __future__ import annotations

import asyncio
from itertools import count as numbers
from typing import Any

import pytest

from flowcraft import FlowRuntime
from flowcraft.aws import SqsAdapter
from flowcraft.engine.stored import StoredRun
from tests.acceptance.aws_counting import Bill, Counting
from tests.acceptance.aws_shapes import Fleet, Shape, chain, fan, fleet_at, loop, working
from tests.emulators.aws import AwsNames

pytestmark = pytest.mark.slow
_numbers = numbers(1)


async def _counted(shape: Shape, fleet: Fleet, start: dict[str, Any]) -> tuple[Bill, StoredRun]:
    runtime = FlowRuntime(flows=[shape.flow])
    starter = SqsAdapter.client_of(**fleet.settings(), runtime_options=runtime.options)
    async with working(fleet, runtime, 1), starter:
        counting = Counting(fleet.dynamodb, fleet.sqs)
        try:
            run = await starter.start_run(shape.flow.to_blueprint().id, shape.context, **start)
            bill = await counting.until_done(60.0)
        finally:
            counting.close()
        return bill, await starter.wait_for_run(run, timeout=10)


def counted(ministack: str, shape: Shape, **start: Any) -> tuple[Bill, StoredRun]:
    """Run a shape; gives what was counted, and the run."""
    with fleet_at(ministack, AwsNames.numbered(950_000 + next(_numbers))) as fleet:
        return asyncio.run(_counted(shape, fleet, start))


@pytest.mark.parametrize("shape", [chain(50), fan(50), loop(30)], ids=["chain", "fan", "loop"])
def test_a_run_says_what_was_counted(ministack: str, shape: Shape) -> None:
    """Dollars, units and requests are those of boto3's clients, within 10 %; a blueprint that is
    stored for the first time is of no run."""
    bill, run = counted(ministack, shape)
    cost = run.cost
    assert cost is not None
    assert cost.usd == pytest.approx(bill.usd, rel=0.1)
    assert cost.write_units == pytest.approx(bill.write_units, rel=0.1)
    assert cost.requests == pytest.approx(bill.all_requests, rel=0.1, abs=5)


def test_a_runaway_is_stopped(ministack: str) -> None:
    """A loop of a thousand rounds ends soon after it has spent what it may."""
    bill, run = counted(ministack, loop(1000), budget_usd=0.0001)
    assert (str(run.status), run.errors[0].type) == ("failed", "BudgetExceeded")
    assert 0.0001 < bill.usd < 0.00013
