"""What runs of a blueprint will cost on AWS, before any has run.

The model counts what the adapters do for a run: a write for each node, one more and a message for
each node that runs beside others, what begins and ends a run, what is stored beside it. Its factors
are those that were counted (``docs/aws-costs.md``; ``tests/acceptance/test_aws_estimates.py``
compares the two). How often each node runs is derived from the blueprint, with assumptions where
only data would tell.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

from flowcraft.adapters.aws.prices import MILLION, Prices, prices_of
from flowcraft.core.blueprint import WorkflowBlueprint
from flowcraft.core.durations import parse_duration_ms
from flowcraft.core.plan import Kind, Link, Plan, PlanNode, build_plan
from flowcraft.errors import FlowcraftError

INLINE_BYTES: Final = 384
WRITE_UNIT: Final = 1024
READ_UNIT: Final = 4096
SHARD_ITEMS: Final = 500
SHORT_RUN_FACTS: Final = 64
BATCH: Final = 10
HOP_SECONDS: Final = 900.0
SOON_SECONDS: Final = 2.0
MOST_HOPS: Final = 4
MONTH_DAYS: Final = 30.0
GIGABYTE: Final = 1024.0**3
DEEPEST: Final = 20

# Counted, see docs/aws-costs.md; each is what is left to explain by the size of the run's item.
LONG_RUN: Final = 0.075
BESIDE: Final = 1.04
ITEM: Final = 1.13
ITEM_OF_SHARD: Final = 1.23
CONTENTION: Final = 0.3
COMPRESSED: Final = 0.85
FACT_BYTES: Final = 45
"""What a fact takes that is kept, beside its output."""


@dataclass(frozen=True, slots=True)
class CostAssumptions:
    """What a blueprint does not tell of its runs. Numbers are for all nodes, or by node id.

    Attributes:
        output_bytes: How much a node returns, as JSON; more than 384 bytes are stored apart.
        loop_iterations: How often each loop goes round, by the id of its controller or first node.
        batch_items: How many items a batch has, by the id of its scatter node.
        branch_probabilities: By ``(source, target)`` how likely an edge is taken that has an action
            or a condition; by default such edges of a node share what there is.
        retry_rate: Which share of attempts fails and is made again, of nodes that may be.
        wait_seconds: How long a wait waits for its answer.
        workers: How many workers share a run: with more than one they get in each other's way.
        kept_days: How long a run is kept.
        lambda_gb: Memory of the function that runs the nodes; ``None`` for none.
        node_seconds: How long a node runs; only a function is paid for that.
        s3_over_bytes: Outputs that are larger go to S3; ``None`` for none.
    """

    output_bytes: float | Mapping[str, float] = 100.0
    loop_iterations: float | Mapping[str, float] = 10.0
    batch_items: float | Mapping[str, float] = 100.0
    branch_probabilities: Mapping[tuple[str, str], float] = field(default_factory=dict)
    retry_rate: float = 0.0
    wait_seconds: float | Mapping[str, float] = 3600.0
    workers: int = 1
    kept_days: float = 30.0
    lambda_gb: float | None = None
    node_seconds: float | Mapping[str, float] = 0.1
    s3_over_bytes: float | None = None


DEFAULTS: Final = CostAssumptions()


@dataclass(slots=True)
class _Tally:
    """What a run asks for, as expected values."""

    executions: float = 0.0
    sqs_requests: float = 0.0
    write_units: float = 0.0
    read_units: float = 0.0
    stored_bytes: float = 0.0
    s3_puts: float = 0.0
    s3_gets: float = 0.0
    s3_bytes: float = 0.0
    calls: float = 0.0
    gb_seconds: float = 0.0

    def add(self, other: _Tally, times: float = 1.0) -> None:
        """Add what another one asks for, so many times."""
        for each in fields(self):
            value = getattr(self, each.name) + times * getattr(other, each.name)
            setattr(self, each.name, value)

    def message(self, width: float = 1.0) -> None:
        """A message that is sent, received and deleted, together with others."""
        self.sqs_requests += 3 / max(1.0, min(BATCH, width))
        self.calls += 1 / max(1.0, min(BATCH, width))


@dataclass(frozen=True, slots=True)
class CostEstimate:
    """What a run is expected to cost.

    Attributes:
        usd: Dollars, all together.
        parts: The same, by what it is for.
        executions: How often nodes and items run.
        sqs_requests: Requests to SQS.
        write_units: Write units of DynamoDB.
        read_units: Read units of DynamoDB.
    """

    usd: float
    parts: Mapping[str, float]
    executions: float
    sqs_requests: float
    write_units: float
    read_units: float

    def __str__(self) -> str:
        lines = [f"{self.usd:.6f} USD a run, {self.executions:g} executions of nodes"]
        lines += [f"  {name}: {usd:.6f} USD" for name, usd in self.parts.items() if usd]
        lines.append(
            f"  of {self.sqs_requests:.1f} requests to SQS, {self.write_units:.1f} write units, "
            f"{self.read_units:.1f} read units"
        )
        return "\n".join(lines)


def estimate_cost(
    blueprint: WorkflowBlueprint | Mapping[str, Any],
    assumptions: CostAssumptions = DEFAULTS,
    *,
    prices: Prices | str | None = None,
    blueprints: Mapping[str, WorkflowBlueprint | Mapping[str, Any]] | None = None,
) -> CostEstimate:
    """What a run of a blueprint is expected to cost on AWS, in dollars.

    Args:
        blueprint: The blueprint.
        assumptions: What it does not tell.
        prices: Of a region, by its name, or one's own; us-east-1 by default.
        blueprints: Those of subflows, by id.

    Raises:
        BlueprintError: A blueprint is malformed.
        FlowcraftError: The blueprint of a subflow is not given.
        ValueError: There are no prices of the region, or an assumption is out of its range.
    """
    _check(assumptions)
    charged = prices_of(prices)
    known = {name: _read(each) for name, each in (blueprints or {}).items()}
    tally = _Estimator(assumptions, known).of_run(_read(blueprint), 0)
    return _priced(tally, charged, assumptions.kept_days)


def _read(blueprint: WorkflowBlueprint | Mapping[str, Any]) -> WorkflowBlueprint:
    if isinstance(blueprint, WorkflowBlueprint):
        return blueprint
    return WorkflowBlueprint.from_dict(blueprint)


def _check(assumptions: CostAssumptions) -> None:
    rates = [assumptions.retry_rate, *assumptions.branch_probabilities.values()]
    if not all(0 <= each <= 1 for each in rates) or assumptions.retry_rate == 1:
        raise ValueError("A probability is from 0 to 1, and retry_rate less than 1.")
    if assumptions.workers < 1:
        raise ValueError(f"workers is at least 1, not {assumptions.workers}.")


def _priced(tally: _Tally, prices: Prices, kept_days: float) -> CostEstimate:
    months = kept_days / MONTH_DAYS
    parts = {
        "SQS requests": tally.sqs_requests * prices.sqs_requests / MILLION,
        "DynamoDB writes": tally.write_units * prices.write_units / MILLION,
        "DynamoDB reads": tally.read_units * prices.read_units / MILLION,
        "DynamoDB storage": tally.stored_bytes / GIGABYTE * months * prices.table_gb_months,
        "S3 requests": (tally.s3_puts * prices.s3_puts + tally.s3_gets * prices.s3_gets) / MILLION,
        "S3 storage": tally.s3_bytes / GIGABYTE * months * prices.s3_gb_months,
        "Lambda": (
            tally.calls * prices.lambda_requests * bool(tally.gb_seconds)
            + tally.gb_seconds * prices.lambda_gb_seconds
        )
        / MILLION,
    }
    return CostEstimate(
        sum(parts.values()),
        parts,
        tally.executions,
        tally.sqs_requests,
        tally.write_units,
        tally.read_units,
    )


class _Estimator:
    """Adds up what the nodes of runs ask for."""

    def __init__(
        self, assumptions: CostAssumptions, blueprints: Mapping[str, WorkflowBlueprint]
    ) -> None:
        self._assumed = assumptions
        self._blueprints = blueprints

    def of_run(self, blueprint: WorkflowBlueprint, depth: int) -> _Tally:
        """A run with all that belongs to it."""
        plan = build_plan(blueprint)
        times = self._times(plan)
        tally = _Tally()
        # Row and item at its start, the row at its end; its first message; what a worker reads.
        tally.write_units, tally.read_units, tally.stored_bytes = 3.0, 1.0, 600.0
        tally.message()
        tally.write_units += 1.0  # and one that somebody else did not know of
        for node in plan.nodes:
            if times[node.index]:
                tally.add(self._node(node, depth), times[node.index])
        for node in plan.nodes:
            width = self._ready_beside(node, plan, times)
            if width:
                self._beside(tally, width, times[node.index])
        if len(plan.starts) > 1:
            self._beside(tally, len(plan.starts) - 1.0, 1.0)
        facts = sum(times)
        tally.write_units *= 1 + LONG_RUN * max(0.0, 1 - SHORT_RUN_FACTS / max(facts, 1.0))
        return tally

    # -- how often --------------------------------------------------------------------------

    def _times(self, plan: Plan) -> list[float]:
        """How often each node is expected to run."""
        reached = [0.0] * len(plan.nodes)
        for index in plan.starts:
            reached[index] = 1.0
        for node in self._in_order(plan):
            for link in node.out:
                if not link.back:
                    likely = reached[node.index] * self._likely(node, link)
                    reached[link.target] = min(1.0, reached[link.target] + likely)
        return [reached[node.index] * self._rounds(plan, node) for node in plan.nodes]

    def _in_order(self, plan: Plan) -> list[PlanNode]:
        """The nodes, each behind those that lead to it."""
        left = {n.index: sum(1 for link in n.into if not link.is_fallback) for n in plan.nodes}
        free = [node for node in plan.nodes if left[node.index] == 0]
        order: list[PlanNode] = []
        while free:
            node = free.pop()
            order.append(node)
            for link in node.out:
                if link.back:
                    continue
                left[link.target] -= 1
                if left[link.target] == 0:
                    free.append(plan.nodes[link.target])
        return order

    def _likely(self, node: PlanNode, link: Link) -> float:
        """How likely a link is taken when its source has run."""
        nodes = (node.definition.id, link.edges[0].target)
        given = self._assumed.branch_probabilities.get(nodes)
        if given is not None:
            return given
        if link.plain or link.leaves or node.kind is Kind.LOOP:
            return 1.0
        return 1.0 / sum(1 for each in node.out if not (each.plain or each.back or each.leaves))

    def _rounds(self, plan: Plan, node: PlanNode) -> float:
        rounds = 1.0
        for number in node.loops:
            header = plan.nodes[plan.loops[number].header]
            controllers = [
                each.id
                for each in plan.nodes
                if each.kind is Kind.LOOP and each.loops[-1:] == (number,)
            ]
            names = [header.id, *controllers]
            assumed = self._assumed.loop_iterations
            if isinstance(assumed, Mapping):
                rounds *= next((assumed[name] for name in names if name in assumed), 10.0)
            else:
                rounds *= assumed
        return rounds

    # -- what for ---------------------------------------------------------------------------

    def _node(self, node: PlanNode, depth: int) -> _Tally:
        """What one execution of a node asks for."""
        tally = _Tally()
        if node.kind in (Kind.LOOP, Kind.GATHER):
            return tally  # decided along with what leads to them
        if node.kind is Kind.SCATTER:
            self._items(tally, node)
        elif node.kind is Kind.SUBFLOW:
            self._child(tally, node, depth)
        elif node.kind is Kind.SLEEP:
            self._rest(tally, _seconds_of(node))
        elif node.kind is Kind.WAIT:
            self._rest(tally, _by_id(self._assumed.wait_seconds, node.id, 3600.0))
            tally.read_units += 1.0  # who answers looks at the run
        else:
            self._task(tally, node)
        return tally

    def _task(self, tally: _Tally, node: PlanNode) -> None:
        tally.executions += 1.0
        tally.write_units += 1.0
        self._output(tally, node)
        self._work(tally, node.id, 1.0)
        config = node.definition.config
        if config.max_retries > 1 and self._assumed.retry_rate:
            again = self._assumed.retry_rate / (1 - self._assumed.retry_rate)
            again = min(again, config.max_retries - 1.0)
            tally.write_units += 2 * again  # that it failed, and that it begins again
            self._work(tally, node.id, again)
            if config.retry_delay_ms / 1000 > SOON_SECONDS:
                tally.sqs_requests += 3 * again

    def _work(self, tally: _Tally, node_id: str, times: float) -> None:
        if self._assumed.lambda_gb is not None:
            seconds = _by_id(self._assumed.node_seconds, node_id, 0.1)
            tally.gb_seconds += times * seconds * self._assumed.lambda_gb

    def _output(self, tally: _Tally, node: PlanNode) -> None:
        size = _by_id(self._assumed.output_bytes, node.id, 100.0)
        over = self._assumed.s3_over_bytes
        if over is not None and size > over:
            tally.s3_puts += 1.0
            tally.s3_gets += self._assumed.workers
            tally.s3_bytes += size * COMPRESSED
        elif size > INLINE_BYTES:
            stored = size * COMPRESSED + 100
            tally.write_units += math.ceil(stored / WRITE_UNIT)
            tally.read_units += (self._assumed.workers - 1) * math.ceil(stored / READ_UNIT)
            tally.stored_bytes += stored
        tally.stored_bytes += FACT_BYTES + min(size, INLINE_BYTES) * COMPRESSED

    def _items(self, tally: _Tally, node: PlanNode) -> None:
        items = _by_id(self._assumed.batch_items, node.id, 100.0)
        shards = items // SHARD_ITEMS if items > SHARD_ITEMS else 0.0
        factor = ITEM_OF_SHARD if shards else ITEM
        crowd = 1 + CONTENTION * (1 - 1 / self._assumed.workers)
        tally.executions += items
        tally.write_units += 1.0 + 2 * items * factor * crowd + 6 * shards
        # Those of a shard begin with the end of others, in the same write.
        tally.sqs_requests += (0.05 if shards else 3 / BATCH) * items + 4 * shards
        tally.calls += (0.02 if shards else 1 / BATCH) * items
        tally.stored_bytes += items * 2 * FACT_BYTES
        self._work(tally, str(node.definition.params.get("workerUsesKey")), items)

    def _child(self, tally: _Tally, node: PlanNode, depth: int) -> None:
        name = str(node.definition.params.get("blueprintId"))
        child = self._blueprints.get(name)
        if child is None or depth >= DEEPEST:
            why = "is not among blueprints=" if child is None else "contains itself"
            raise FlowcraftError(f"Subflow '{node.id}': the blueprint '{name}' {why}.")
        tally.add(self.of_run(child, depth + 1))
        tally.write_units += 1.0
        tally.message()

    def _rest(self, tally: _Tally, seconds: float) -> None:
        """A run that rests, and goes on by a message: its row says so, twice."""
        hops = max(1, min(MOST_HOPS, math.ceil(seconds / HOP_SECONDS)))
        tally.sqs_requests += 3.0 * hops
        tally.calls += hops
        tally.write_units += 3.0 + (2.0 if seconds > MOST_HOPS * HOP_SECONDS else 0.0)

    def _ready_beside(self, node: PlanNode, plan: Plan, times: list[float]) -> float:
        """How many nodes become ready with the end of one, besides the one that goes on at once."""
        if not times[node.index]:
            return 0.0
        ready = 0.0
        for link in node.out:
            target = plan.nodes[link.target]
            entries = 1 if target.join_any else max(1, len(target.into))
            ready += self._likely(node, link) / entries
        return max(0.0, ready - 1.0)

    def _beside(self, tally: _Tally, width: float, times: float) -> None:
        """Nodes that run beside others: each is claimed by itself, and has a message."""
        crowd = 1 + CONTENTION * (1 - 1 / self._assumed.workers)
        more = _Tally()
        more.write_units = width * (BESIDE * crowd + (BESIDE * crowd - 1))
        more.sqs_requests = width * 3 / max(1.0, min(BATCH, width))
        more.calls = width / max(1.0, min(BATCH, width))
        tally.add(more, times)


def _by_id(assumed: float | Mapping[str, float], node_id: str, default: float) -> float:
    return assumed.get(node_id, default) if isinstance(assumed, Mapping) else assumed


def _seconds_of(node: PlanNode) -> float:
    try:
        return parse_duration_ms(node.definition.params.get("duration")) / 1000
    except ValueError:
        return 0.0  # such a node fails, which costs little
