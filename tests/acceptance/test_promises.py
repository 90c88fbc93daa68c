"""The public API as its description shows it, and a blueprint that came as JSON."""

from __future__ import annotations

import json
from typing import Any

from flowcraft import (
    FlowRuntime,
    NodeContext,
    NodeResult,
    Registry,
    SyncNodeContext,
    create_flow,
    generate_mermaid,
    lint_blueprint,
)
from tests.unit.runs import drive


def test_the_first_example() -> None:
    """Two nodes, one of them plain, run with one line and without any wiring."""

    async def start(ctx: NodeContext[Any]) -> Any:
        return await ctx.context.get("value")

    def double(ctx: SyncNodeContext[Any]) -> Any:
        return ctx.input * 2

    flow = create_flow("simple").node("start", start).node("double", double)
    result = flow.edge("start", "double").run_sync({"value": 42})
    assert (result.status, result.context["double"], result.outputs["double"]) == (
        "completed",
        84,
        84,
    )


DOCUMENT = """{
  "id": "newsletter",
  "metadata": {"version": 3, "x-editor": {"zoom": 2}},
  "nodes": [
    {"id": "subscribers", "uses": "load", "params": {"table": "people"}, "position": {"x": 1}},
    {"id": "split", "uses": "batch-scatter",
     "params": {"workerUsesKey": "send", "gatherNodeId": "sent", "failureMode": "collect"}},
    {"id": "sent", "uses": "batch-gather", "params": {"outputKey": "receipts"}},
    {"id": "check", "uses": "check"},
    {"id": "again", "uses": "loop-controller", "params": {"condition": "failed > 0"},
     "config": {"joinStrategy": "any"}},
    {"id": "report", "uses": "report"}
  ],
  "edges": [
    {"source": "subscribers", "target": "again"},
    {"source": "again", "target": "split", "action": "continue"},
    {"source": "split", "target": "sent"},
    {"source": "sent", "target": "check"},
    {"source": "check", "target": "again"},
    {"source": "again", "target": "report", "action": "break"}
  ]
}"""


class Mailer:
    """Sends mail; to some addresses only at the second try."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.seen: set[str] = set()

    def send(self, address: str) -> str:
        first = address not in self.seen
        self.seen.add(address)
        if first and address.startswith("slow"):
            raise TimeoutError(address)
        self.sent.append(address)
        return f"to {address}"


def registry() -> Registry:
    """The code behind the document."""

    async def load(ctx: NodeContext[Any]) -> list[str]:
        people = [f"{ctx.params['table']}{n}" for n in range(3)] + ["slow1", "slow2"]
        await ctx.context.set("failed", len(people))
        await ctx.context.set("todo", people)
        return people

    def send(ctx: SyncNodeContext[str]) -> str:
        return ctx.dependency(Mailer).send(ctx.input)

    async def check(ctx: NodeContext[Any]) -> None:
        todo = await ctx.context.get("todo")
        left = [todo[item["index"]] for item in ctx.input if isinstance(item, dict)]
        await ctx.context.set("todo", left)
        await ctx.context.set("failed", len(left))
        await ctx.context.add("rounds", 1)

    async def report(ctx: NodeContext[Any]) -> NodeResult[str]:
        return NodeResult(f"{await ctx.context.get('rounds')} rounds")

    return Registry({"load": load, "send": send, "check": check, "report": report})


def with_input() -> dict[str, Any]:
    """The document, in which each round scatters what is left."""
    document: dict[str, Any] = json.loads(DOCUMENT)
    document["nodes"][1]["inputs"] = "todo"
    return document


def test_a_document_from_elsewhere_runs_as_it_is() -> None:
    """JSON with fields of an editor runs: a batch in a loop until nothing is left."""
    mailer = Mailer()
    runtime = FlowRuntime(registry=registry(), dependencies={Mailer: mailer})
    result = drive(runtime.run(with_input())).raise_for_status()
    assert result.outputs["report"] == "2 rounds"
    assert sorted(mailer.sent) == ["people0", "people1", "people2", "slow1", "slow2"]
    assert result.context["receipts"] == ["to slow1", "to slow2"]


def test_the_document_has_nothing_to_complain_about_and_can_be_drawn() -> None:
    """Lint finds no error in it, and the drawing has every node."""
    found = lint_blueprint(with_input(), registry=registry())
    assert [issue for issue in found.issues if issue.severity == "error"] == []
    drawing = generate_mermaid(with_input())
    assert all(node["id"] in drawing for node in with_input()["nodes"])
