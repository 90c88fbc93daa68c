"""Traces of a fleet on an emulator of AWS: spans in the attributes of messages."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from flowcraft import FlowRuntime, create_flow
from flowcraft.adapters.aws.client import BotoTransport
from flowcraft.adapters.aws.queue import SqsQueue
from flowcraft.adapters.system import SystemClock
from flowcraft.aws import SqsAdapter
from flowcraft.ports.queue import Outgoing
from tests.acceptance.aws_shapes import fleet_at
from tests.emulators import aws
from tests.emulators.aws import AwsNames
from tests.unit.traces import Exported, tree

SPAN = f"00-{1:032x}-{2:016x}-01"
PATIENCE_SECONDS = 60.0


@pytest.mark.slow
def test_a_message_that_comes_again_brings_its_span(ministack: str, aws_names: AwsNames) -> None:
    """A redelivery has the attribute that the message was sent with, and one without has none."""

    async def main() -> list[tuple[str, str | None, int]]:
        sqs = aws.client("sqs", ministack)
        url = aws.create_queue(sqs, aws_names.queue, visibility_seconds=1)
        transport = BotoTransport(sqs, 2)
        queue = SqsQueue(transport, url, SystemClock())
        await queue.open()
        await queue.send([Outgoing("traced", trace=SPAN), Outgoing("plain")])
        found: list[tuple[str, str | None, int]] = []
        while len(found) < 4:
            found += [(each.body, each.trace, each.receives) for each in await queue.receive(10, 5)]
        await queue.close()
        await transport.aclose()
        sqs.close()
        return sorted(found, key=lambda each: (each[0], each[2]))

    found = asyncio.run(asyncio.wait_for(main(), PATIENCE_SECONDS))
    assert found == [
        ("plain", None, 1),
        ("plain", None, 2),
        ("traced", SPAN, 1),
        ("traced", SPAN, 2),
    ]


@pytest.mark.slow
def test_two_workers_of_a_fleet_tell_one_tree(ministack: str, aws_names: AwsNames) -> None:
    """Nodes side by side on two workers are one trace, and each was made ready by a known span."""

    async def main() -> list[Exported]:
        meet = asyncio.Barrier(2)

        async def side(ctx: Any) -> str:
            await meet.wait()  # each worker has one of them
            return str(ctx.node_id)

        async def one(ctx: Any) -> int:
            return 1

        flow = create_flow("fan").node("out", one, uses="one").node("in", one, uses="one")
        for name in ("left", "right"):
            flow.node(name, side, uses="side").edge("out", name).edge(name, "in")
        exported = [Exported(), Exported()]
        with fleet_at(ministack, aws_names) as fleet:
            adapters = [
                SqsAdapter(
                    FlowRuntime(flows=[flow]).options,
                    **fleet.settings(),
                    concurrency=1,
                    poll_seconds=1.0,
                    reconcile_every_seconds=None,
                    schedules_every_seconds=None,
                    telemetry=each.telemetry,
                )
                for each in exported
            ]
            async with adapters[0], adapters[1]:
                run = await adapters[0].start_run("fan")
                assert (await run.result(timeout=30)).status == "completed"
        return exported

    one, two = asyncio.run(asyncio.wait_for(main(), PATIENCE_SECONDS))
    assert one.spans()
    assert two.spans()
    spans = one.spans() + two.spans()
    assert tree(spans) == [
        "run fan completed",
        "  node in succeeded",
        "    attempt in #1 succeeded",
        "  node left succeeded",
        "    attempt left #1 succeeded",
        "  node out succeeded",
        "    attempt out #1 succeeded",
        "  node right succeeded",
        "    attempt right #1 succeeded",
    ]
    attempts = {each.name: each for each in spans if each.name.startswith("attempt")}
    out = attempts["attempt out"]
    for name in ("left", "right"):
        # One of them went on in the worker of `out`, the other came by a message.
        assert attempts[f"attempt {name}"].links == (("cause", out.trace_id, out.span_id),)
