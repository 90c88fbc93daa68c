"""What runs will cost: the estimate, beside what was counted, and what its assumptions do."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from flowcraft import create_flow
from flowcraft.aws import CostAssumptions, CostEstimate, Prices, estimate_cost
from flowcraft.errors import BlueprintError, FlowcraftError
from tests.acceptance.aws_shapes import Shape, batch, chain, fan, kilobytes, loop
from tests.house.source import ROOT

NOTHING_KEPT = 0.0
ONE_WORKER, TWO_WORKERS = 0.15, 0.25
"""What an estimate may be off from what was counted, with one worker and with two."""

Row = tuple[Callable[[], Shape], dict[str, Any]]

ROWS: dict[str, Row] = {
    "chain of 50": (lambda: chain(50), {}),
    "fan-out and fan-in of 50": (lambda: fan(50), {}),
    "the same, outputs of 1 KB": (
        lambda: fan(50, kilobytes(1024)),
        {"output_bytes": {f"b{n}": 1024 for n in range(50)}},
    ),
    "chain of 1,000": (lambda: chain(1000), {}),
    "fan-out and fan-in of 1,000": (lambda: fan(1000), {}),
    "loop of 3 nodes × 1,000": (lambda: loop(1000), {"loop_iterations": 1000}),
    "batch of 100": (lambda: batch(100), {"batch_items": 100}),
    "batch of 2,000": (lambda: batch(2000), {"batch_items": 2000}),
    "batch of 10,000": (lambda: batch(10_000), {"batch_items": 10_000}),
}


def table(heading: str) -> dict[str, tuple[float, float]]:
    """The requests and USD per million nodes that a table of the page on costs has."""
    text = (ROOT / "docs" / "aws-costs.md").read_text(encoding="utf-8")
    rows = text[text.index(heading) :].split("\n\n")[1]
    found = {}
    for line in rows.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        numbers = [cell for cell in cells[1:] if re.fullmatch(r"[\d.,]+", cell)]
        if numbers:
            usd = cells[3] if "limit" in rows else cells[2]
            found[cells[0]] = (float(cells[1]), float(usd))
    return found


def estimated(name: str, **more: Any) -> float:
    """USD per million nodes, as they are estimated."""
    make, assumed = ROWS[name]
    shape = make()
    assumptions = CostAssumptions(kept_days=NOTHING_KEPT, **assumed, **more)
    return estimate_cost(shape.flow.to_blueprint(), assumptions).usd * 1e6 / shape.nodes


@pytest.mark.parametrize("name", ROWS)
def test_an_estimate_is_what_was_counted(name: str) -> None:
    """Of each shape that is counted, within 15 %."""
    _, usd = table("One worker with ten messages")[name]
    assert estimated(name) == pytest.approx(usd, rel=ONE_WORKER)


def test_two_workers_get_in_each_others_way() -> None:
    """With two workers, within 25 %, but for outputs that are stored apart."""
    counted = table("With **two workers**")
    names = [name for name in counted if "1 KB" not in name]
    assert len(names) == 4
    for name in names:
        _, usd = counted[name]
        assert estimated(name, workers=2) == pytest.approx(usd, rel=TWO_WORKERS), name


async def body(_: Any) -> None:
    """A node."""


def cost(flow: Any, *, blueprints: Any = None, prices: Any = None, **assumed: Any) -> CostEstimate:
    """An estimate, of runs that are not kept."""
    assumptions = CostAssumptions(**{"kept_days": NOTHING_KEPT, **assumed})
    return estimate_cost(flow.to_blueprint(), assumptions, prices=prices, blueprints=blueprints)


def chosen() -> Any:
    """A branch with ten nodes, and one with none."""
    flow = create_flow("choice").node("a", body).node("none", body)
    for number in range(10):
        flow.node(f"n{number}", body)
        if number:
            flow.edge(f"n{number - 1}", f"n{number}")
    flow.edge("a", "n0", condition="x > 1").edge("a", "none", condition="x <= 1")
    return flow.node("join", body).edge("n9", "join").edge("none", "join")


def test_branches_count_as_often_as_they_are_taken() -> None:
    """Each of two is taken half of the time, unless something else is said; a join runs once."""
    assert cost(chosen()).executions == pytest.approx(1 + 5 + 0.5 + 1)
    rare = {("a", "n0"): 0.1, ("a", "none"): 0.9}
    assert cost(chosen(), branch_probabilities=rare).executions == pytest.approx(1 + 1 + 0.9 + 1)
    assert cost(chosen(), branch_probabilities=rare).usd < cost(chosen()).usd


def test_loops_within_loops_multiply() -> None:
    """A node in two loops runs as often as both go round, each by its controller's id."""
    flow = create_flow("nested").node("start", body).node("inner", body).node("inner_end", body)
    flow.edge("inner", "inner_end").node("outer_end", body).node("outer", body)
    flow.edge("start", "outer_loop").loop("inner_loop", "i", start="inner", end="inner_end")
    flow.edge("outer", "inner_loop").edge("inner_loop", "outer_end")
    flow.loop("outer_loop", "o", start="outer", end="outer_end")
    rounds = {"outer_loop": 3, "inner_loop": 4}
    assert cost(flow, loop_iterations=rounds).executions == 1 + 3 * (2 + 2 * 4)


def test_each_assumption_costs_what_it_is_for() -> None:
    """Retries, rests, a function, large outputs, S3 and time kept each add to their part."""
    flow = create_flow("one").node("a", body)
    plain = cost(flow)
    nap = create_flow("nap").node("a", body).sleep("s", "20m").edge("a", "s")
    assert cost(nap).sqs_requests == plain.sqs_requests + 6
    month = create_flow("nap").node("a", body).sleep("s", "30d").edge("a", "s")
    assert cost(month).sqs_requests + cost(month).write_units < 100
    asked = create_flow("ask").node("a", body).wait("w").edge("a", "w")
    assert cost(asked, wait_seconds=60.0).sqs_requests == plain.sqs_requests + 3
    assert cost(flow, lambda_gb=1.0, node_seconds=2.0).parts["Lambda"] == pytest.approx(
        2 * 16.6667e-6 + 0.2e-6
    )
    assert plain.parts["Lambda"] == 0.0
    large = cost(flow, output_bytes=100_000.0)
    assert large.write_units == pytest.approx(plain.write_units + 84, abs=1)
    away = cost(flow, output_bytes=100_000.0, s3_over_bytes=50_000.0)
    assert away.write_units == plain.write_units
    assert away.parts["S3 requests"] == pytest.approx(5.4e-6)
    assert cost(flow, kept_days=30.0).parts["DynamoDB storage"] > 0


def test_retries_cost_attempts() -> None:
    """Half of the attempts failing, a node is tried twice: that it failed, and begins again."""
    document = {"id": "r", "nodes": [{"id": "a", "uses": "a", "config": {"maxRetries": 5}}]}
    once = estimate_cost(document)
    twice = estimate_cost(document, CostAssumptions(retry_rate=0.5))
    assert twice.write_units == once.write_units + 2
    document["nodes"][0]["config"] = {}  # type: ignore[index]
    assert estimate_cost(document, CostAssumptions(retry_rate=0.5)).write_units == once.write_units


def test_a_subflow_is_a_run_of_its_own() -> None:
    """Its blueprint is asked for; the child's start, end and message to its parent are paid for."""
    child = create_flow("child").node("x", body).node("y", body).edge("x", "y")
    flow = create_flow("parent").node("a", body).subflow("s", child).edge("a", "s")
    found = cost(flow, blueprints={"child": child.to_blueprint()})
    assert found.executions == 3
    assert found.write_units == pytest.approx(1 + 4 + (2 + 4) + 1)
    with pytest.raises(FlowcraftError, match="'child' is not among blueprints="):
        cost(flow)
    itself = create_flow("child").subflow("s", child)
    with pytest.raises(FlowcraftError, match="'child' contains itself"):
        cost(flow, blueprints={"child": itself.to_blueprint()})


def test_regions_and_ones_own_prices() -> None:
    """The same units cost more in some regions; prices may be given."""
    flow = chain(10).flow
    here, there = cost(flow), cost(flow, prices="eu-central-1")
    assert there.write_units == here.write_units
    assert there.usd > here.usd
    free = cost(flow, prices=Prices(0, 0, 1.0, 0))
    assert free.usd == pytest.approx(free.sqs_requests / 1e6)


def test_what_it_says() -> None:
    """As text it has the sum, its parts, and what they are made of."""
    text = str(estimate_cost(chain(50).flow.to_blueprint()))
    assert text.startswith("0.000037 USD a run, 50 executions of nodes\n")
    assert "  DynamoDB writes: 0.000034 USD\n" in text
    assert "of 3.0 requests to SQS, 54.0 write units, 1.0 read units" in text


def test_what_cannot_be_estimated_is_refused() -> None:
    """A malformed blueprint, and assumptions that are none."""
    with pytest.raises(BlueprintError):
        estimate_cost({"id": "x", "nodes": [{"id": "a"}]})
    with pytest.raises(ValueError, match="retry_rate less than 1"):
        estimate_cost(chain(1).flow.to_blueprint(), CostAssumptions(retry_rate=1.0))
    rates = {("a", "b"): 1.5}
    with pytest.raises(ValueError, match="from 0 to 1"):
        estimate_cost(chain(1).flow.to_blueprint(), CostAssumptions(branch_probabilities=rates))
    with pytest.raises(ValueError, match="workers is at least 1"):
        estimate_cost(chain(1).flow.to_blueprint(), CostAssumptions(workers=0))
