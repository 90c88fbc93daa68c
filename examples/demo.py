"""``make demo``: the order workflow, run in this process, with a timeline of what happened."""

from __future__ import annotations

import asyncio
import sys

from examples.order_workflow import Shop, order
from flowcraft import FlowEvent, FlowRuntime, RunResult, generate_mermaid, lint_blueprint

ORDER = {
    "customer": "Ada",
    "items": [
        {"sku": "cup", "quantity": 4},
        {"sku": "tea", "quantity": 10},
        {"sku": "pot", "quantity": 1},
    ],
}


class Timeline:
    """Prints events as they happen, one line each."""

    def __init__(self) -> None:
        self._began: float | None = None

    def __call__(self, event: FlowEvent) -> None:
        """Print an event, if a person wants to know of it."""
        if self._began is None:
            self._began = event.timestamp
        text = describe(event)
        if text:
            indent = "    " if event.blueprint_id == "delivery" else ""
            print(f"  {event.timestamp - self._began:6.2f} s  {indent}{text}")


def describe(event: FlowEvent) -> str | None:
    """One line for a person."""
    node, data = data_name(event), event.payload
    match event.type:
        case "node:finish":
            action = f" → {data['action']}" if data.get("action") else ""
            return f"✓ {node}{action}{shown(data.get('output'))}"
        case "node:retry":
            return f"↻ {node}: {data['message']} (attempt {event.attempt} follows)"
        case "node:error":
            return f"✗ {node}: {data['type']}: {data['message']}"
        case "node:skipped":
            return f"- {node} ({data['reason']})"
        case "node:awaiting":
            return f"… {node} waits for {'time' if data['reason'] == 'timer' else 'an answer'}"
        case "batch:start":
            return f"▸ {node}: {data['items']} items"
        case "compensation:finish" | "compensation:error":
            mark = "✓" if event.type.endswith("finish") else "✗"
            return f"{mark} compensation of {node}: {data['node']}"
        case "workflow:finish":
            return f"■ {event.blueprint_id} {data['status']}"
    return None


def data_name(event: FlowEvent) -> str:
    """The node's name, or a batch item's."""
    return str(event.payload.get("name", event.node_id))


def shown(output: object) -> str:
    """An output, shortened."""
    text = "" if output is None else f"  {output}"
    return text if len(text) <= 70 else f"{text[:69]}…"


async def run_order(runtime: FlowRuntime, title: str) -> RunResult:
    """One run up to the approval, then the rest of it from its saved state."""
    print(f"\n{title}\n")
    listener = Timeline()
    stop = runtime.subscribe(listener)
    result = await runtime.run("order", {"order": ORDER})
    if result.awaiting:
        wait = result.awaiting[0]
        print(f"\n  awaiting: {wait.title} ({', '.join(wait.actions)})")
        print(f"  saved as {len(result.state)} characters; a person approves, the run goes on\n")
        result = await runtime.resume(
            "order", result.state, node_id=wait.path, output={"by": "Grace"}, action="approve"
        )
    stop()
    return result


async def main() -> int:
    """Run the example twice: once to its end, once into a failure that is compensated."""
    flow, shop = order(), Shop()
    runtime = FlowRuntime(flows=[flow], dependencies={Shop: shop})
    blueprint = flow.to_blueprint()
    issues = lint_blueprint(blueprint, registry=runtime.registry, blueprints=runtime.blueprints)
    print(f"order: {len(blueprint.nodes)} nodes, {len(issues.issues)} lint findings")

    first = await run_order(runtime, "First run: the payment service fails twice, then works")
    shop.courier_is_there = False
    second = await run_order(runtime, "Second run: no courier, so what was done is undone")

    print("\nThe second run, drawn as Mermaid (paste it into any Mermaid viewer):\n")
    print(generate_mermaid(blueprint, states=second.states))
    print(f"first run: {first.status}; second run: {second.status}")
    print(f"stock after both: {shop.stock}, charged: {list(shop.charges.values())}")
    undone = [node for node, error in second.compensations if error is None]
    expected = ("completed", "failed", ["refund", "put_back"])
    return 0 if (first.status, second.status, undone) == expected else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
