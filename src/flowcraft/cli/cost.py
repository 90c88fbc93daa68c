"""``flowcraft cost``: what a run costs on AWS, before there is any; and what one has cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any, Final

import click

from flowcraft.adapters.aws.estimating import DEFAULTS, CostAssumptions, CostEstimate, estimate_cost
from flowcraft.adapters.aws.prices import DATED, DEFAULT_REGION, PRICES, Prices
from flowcraft.cli.failures import DONE, CommandError
from flowcraft.cli.invocation import Invocation, pass_invocation
from flowcraft.cli.portrait import say
from flowcraft.cli.run_ import find
from flowcraft.core.blueprint import WorkflowBlueprint
from flowcraft.core.state import Usage
from flowcraft.engine.stored import StoredRun

EPILOG: Final = """\b
flowcraft cost order.json --items 500
flowcraft cost shop.py:order --prices eu-central-1 --runs-per-month 100000
flowcraft cost order --items lines_scatter=20 --branch check:refuse=0.1
flowcraft cost --run RUN"""

HELP: Final = """Tell what a run of a workflow is expected to cost on AWS, or what a run has cost.

What a workflow does not tell is assumed, and shown. Numbers that may differ from node to node are
given as N for all, or as NODE=N, as often as needed."""

Number = float | Mapping[str, float]


def _numbers(_: click.Context, parameter: click.Parameter, given: Sequence[str]) -> Number | None:
    """A number for all nodes, or numbers by node."""
    if not given:
        return None
    by_node: dict[str, float] = {}
    for text in given:
        node, equals, value = text.rpartition("=")
        number = _number(value, parameter)
        if equals:
            by_node[node] = number
        elif len(given) > 1:
            raise click.BadParameter("give one number for all nodes, or NODE=N for each.")
        else:
            return number
    return by_node


def _number(text: str, parameter: click.Parameter) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number >= 0):
        raise click.BadParameter(f"'{text}' is no number from 0.", param=parameter)
    return number


def _branches(
    _context: click.Context, parameter: click.Parameter, given: Sequence[str]
) -> dict[tuple[str, str], float]:
    found = {}
    for text in given:
        edge, _, value = text.rpartition("=")
        source, colon, target = edge.partition(":")
        if not colon or not target:
            raise click.BadParameter(f"'{text}' is not written SOURCE:TARGET=P.", param=parameter)
        found[(source, target)] = _number(value, parameter)
    return found


def _option(name: str, help_: str) -> Callable[[Any], Any]:
    """An option for a number of all nodes, or of one."""
    metavar = "N|NODE=N"
    return click.option(name, multiple=True, callback=_numbers, metavar=metavar, help=help_)


@click.command(name="cost", help=HELP, epilog=EPILOG)
@click.argument("flow", required=False)
@click.option("--run", "run_id", metavar="ID", help="Tell what this run has cost.")
@click.option(
    "--prices", "price_region", metavar="REGION", help="Whose prices; aws.region by default."
)
@_option("--items", "Items of a batch, by its scatter node (100).")
@_option("--iterations", "Rounds of a loop, by its controller or first node (10).")
@_option("--output-bytes", "What a node gives, as JSON (100).")
@_option("--wait-seconds", "How long a wait waits (3600).")
@_option("--node-seconds", "How long a node runs, with --lambda-gb (0.1).")
@click.option(
    "--branch",
    "branches",
    multiple=True,
    callback=_branches,
    metavar="SOURCE:TARGET=P",
    help="How likely an edge is taken; edges with conditions share equally.",
)
@click.option(
    "--retry-rate",
    type=float,
    metavar="N",
    help="Share of attempts that fail, of those retried (0).",
)
@click.option("--workers", type=int, metavar="N", help="Workers that share a run (1).")
@click.option("--kept-days", type=float, metavar="N", help="How long a run is kept (30).")
@click.option(
    "--lambda-gb", type=float, metavar="N", help="Memory of the function that is the worker."
)
@click.option("--s3-over-bytes", type=float, metavar="N", help="Outputs that are larger go to S3.")
@click.option(
    "--runs-per-month", type=float, metavar="N", help="Tell what that many runs cost, too."
)
@pass_invocation
def command(
    invocation: Invocation,
    /,
    flow: str | None,
    run_id: str | None,
    price_region: str | None,
    runs_per_month: float | None,
    **given: Any,
) -> int:
    """Tell what is asked for."""
    if (flow is None) == (run_id is None):
        raise CommandError("Name a workflow (an id, module:attribute or file) or give --run ID.")
    name = _region(invocation, price_region)
    if run_id is not None:
        _tell_run(invocation, run_id, name)
        return DONE
    runtime, blueprint = find(invocation, str(flow))
    assumptions = _assumptions(given)
    _check_nodes(assumptions, blueprint, runtime.blueprints)
    try:
        estimate = estimate_cost(blueprint, assumptions, prices=name, blueprints=runtime.blueprints)
    except ValueError as error:
        raise CommandError(str(error)) from error
    _tell_estimate(invocation, blueprint.id, estimate, assumptions, name, runs_per_month)
    return DONE


def _region(invocation: Invocation, given: str | None) -> str:
    """The region whose prices are used: one that was named has to be known."""
    if given is not None:
        if given not in PRICES:
            raise CommandError(f"No prices of '{given}' are known, only of {', '.join(PRICES)}.")
        return given
    configured = invocation.settings["aws.region"]
    if configured is None or configured in PRICES:
        return configured or DEFAULT_REGION
    invocation.out.remark(
        f"No prices of '{configured}' are known: these are of {DEFAULT_REGION}. "
        f"--prices takes {', '.join(PRICES)}.",
        "warning",
    )
    return DEFAULT_REGION


_NAMES: Final[Mapping[str, str]] = {
    "batch_items": "items",
    "loop_iterations": "iterations",
    "branch_probabilities": "branches",
}
"""What assumptions are called among the options, where that is something else."""


def _assumptions(given: Mapping[str, Any]) -> CostAssumptions:
    values = {each.name: given[_NAMES.get(each.name, each.name)] for each in fields(DEFAULTS)}
    return CostAssumptions(**{name: value for name, value in values.items() if value is not None})


def _check_nodes(
    assumptions: CostAssumptions,
    blueprint: WorkflowBlueprint,
    blueprints: Mapping[str, WorkflowBlueprint],
) -> None:
    """Refuse numbers for nodes that are not there: they would change nothing, in silence."""
    everything = (blueprint, *blueprints.values())
    nodes = [node for each in everything for node in each.nodes]
    known = {name for node in nodes for name in (node.id, str(node.params.get("workerUsesKey")))}
    edges = {(edge.source, edge.target) for each in everything for edge in each.edges}
    for each in fields(assumptions):
        value = getattr(assumptions, each.name)
        if not isinstance(value, Mapping):
            continue
        is_edge = each.name == "branch_probabilities"
        unknown = [name for name in value if name not in (edges if is_edge else known)]
        if unknown:
            option = "branch" if is_edge else _NAMES.get(each.name, each.name).replace("_", "-")
            name = ":".join(unknown[0]) if is_edge else unknown[0]
            what = "edge" if is_edge else "node"
            raise CommandError(f"--{option}: '{blueprint.id}' has no {what} '{name}'.")


# --- an estimate ------------------------------------------------------------------------------


def _tell_estimate(
    invocation: Invocation,
    flow: str,
    estimate: CostEstimate,
    assumptions: CostAssumptions,
    region: str,
    runs: float | None,
) -> None:
    assumed = _assumed(assumptions)
    out = invocation.out
    if out.as_json:
        data = {"flow": flow, "region": region, "pricesOf": DATED, **_estimate_data(estimate)}
        if runs is not None:
            data |= {"runsPerMonth": runs, "usdPerMonth": estimate.usd * runs}
        out.json({**data, "assumptions": assumed})
        return
    out.print(f"A run of {flow} on AWS, at the prices of {region} of {DATED}", style="bold")
    columns = ["what", "USD a run", *(["USD a month"] if runs is not None else []), "share"]
    rows = [
        [name, usd_text(usd), *_monthly(usd, runs), f"{100 * usd / estimate.usd:.0f} %"]
        for name, usd in estimate.parts.items()
        if usd
    ]
    rows.append(["in all", usd_text(estimate.usd), *_monthly(estimate.usd, runs), ""])
    out.table(columns, rows, right=columns[1:])
    say(
        out,
        "counted",
        f"{estimate.executions:,.1f} executions of nodes; {estimate.sqs_requests:,.1f} requests to "
        f"SQS, {estimate.write_units:,.1f} write units, {estimate.read_units:,.1f} read units",
    )
    if runs is not None:
        say(out, "a month", f"{runs:,.0f} runs, without free tiers and idle workers")
    say(out, "assumed", "; ".join(f"{name} {_shown(value)}" for name, value in assumed.items()))


def _assumed(assumptions: CostAssumptions) -> dict[str, Any]:
    """What is assumed, by the names of the options."""
    values = {
        _NAMES.get(each.name, each.name).replace("_", "-"): getattr(assumptions, each.name)
        for each in fields(assumptions)
    }
    values["branches"] = {":".join(edge): p for edge, p in values["branches"].items()}
    return values


def _estimate_data(estimate: CostEstimate) -> dict[str, Any]:
    return {
        "usd": estimate.usd,
        "parts": dict(estimate.parts),
        "executions": estimate.executions,
        "sqsRequests": estimate.sqs_requests,
        "writeUnits": estimate.write_units,
        "readUnits": estimate.read_units,
    }


def _monthly(usd: float, runs: float | None) -> list[str]:
    return [] if runs is None else [f"{usd * runs:,.2f}"]


def usd_text(usd: float) -> str:
    """Dollars with as many digits as such small sums need."""
    return f"{usd:.2f}" if usd >= 1 else f"{usd:.8f}"


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, Mapping):
        pairs = [f"{key}={number:g}" for key, number in value.items()]
        return ", ".join(pairs) or "shared equally"
    return f"{value:g}"


# --- a run -----------------------------------------------------------------------------------


def _tell_run(invocation: Invocation, run_id: str, region: str) -> None:
    async def look() -> StoredRun:
        async with invocation.client() as client:
            return await client.get_run(run_id)

    run = invocation.run(look())
    out = invocation.out
    usage = run.cost
    if out.as_json:
        data = None if usage is None else _usage_data(usage, PRICES[region])
        out.json({"runId": run_id, "status": run.status, "region": region, "cost": data})
        return
    if usage is None:
        out.print(f"Run {run_id} is in a file on this machine, where nothing is paid for.")
        return
    prices = PRICES[region]
    so_far = "" if run.status.is_final else " so far"
    out.print(
        f"Run {run_id} of {run.blueprint_id}{so_far}, at the prices of {region} of {DATED}",
        style="bold",
    )
    parts = [
        ("SQS requests", usage.sqs_requests, prices.sqs_requests),
        ("DynamoDB write units", usage.write_units, prices.write_units),
        ("DynamoDB read units", usage.read_units, prices.read_units),
    ]
    rows = [[name, f"{count:,.1f}", usd_text(count * price / 1e6)] for name, count, price in parts]
    rows.append(["in all", f"{usage.requests:,.1f} requests", usd_text(_usd(usage, prices))])
    out.table(["what", "count", "USD"], rows, right=["count", "USD"])
    out.print("Storage, polls that bring nothing, S3 and Lambda are not counted.", style="dim")


def _usd(usage: Usage, prices: Prices) -> float:
    return prices.usd(
        sqs_requests=usage.sqs_requests,
        write_units=usage.write_units,
        read_units=usage.read_units,
    )


def _usage_data(usage: Usage, prices: Prices) -> dict[str, float]:
    return {
        "usd": _usd(usage, prices),
        "requests": usage.requests,
        "sqsRequests": usage.sqs_requests,
        "writeUnits": usage.write_units,
        "readUnits": usage.read_units,
    }
