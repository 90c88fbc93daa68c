"""A run that is traced over worker processes, one of which is killed in the middle."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.acceptance.tracing_worker import adapter, provider, spans_in
from tests.unit.traces import tree

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 60.0


@asynccontextmanager
async def worker(directory: Path, name: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A worker process on a directory; it is killed in the end."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.acceptance.tracing_worker", str(directory), name),
        cwd=ROOT,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def begun(directory: Path, times: int) -> list[int]:
    """Wait until the node in the middle has begun so often; which processes began it."""
    path = directory / "begun.txt"
    while not path.exists() or len(path.read_text(encoding="utf-8").splitlines()) < times:
        await asyncio.sleep(0.02)
    return [int(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.slow
def test_a_run_over_two_processes_is_one_tree(tmp_path: Path) -> None:
    """One worker is killed with SIGKILL in a node, another goes on, and no span is lost or doubled.

    The spans of the client, and of both workers, are in files that each of them wrote by itself.
    """

    async def main() -> tuple[int, int]:
        spans = provider(tmp_path, "client")
        client = adapter(tmp_path, "client", spans)
        async with worker(tmp_path, "one") as one:
            with spans.get_tracer("web").start_as_current_span("request"):
                run = await client.start_run("order", {})
            (first,) = await begun(tmp_path, 1)
            one.kill()
            await one.wait()
        async with worker(tmp_path, "two"):
            await begun(tmp_path, 2)
            (tmp_path / "go").touch()
            result = await client.wait_for_run(run)
            assert result.status == "completed"
            while not any(each.name == "run order" for each in spans_in(tmp_path)):
                await asyncio.sleep(0.02)
        await client.aclose()
        return first, one.pid

    first, one = asyncio.run(asyncio.wait_for(main(), PATIENCE_SECONDS))
    assert first == one
    spans = spans_in(tmp_path)
    (request,) = [each for each in spans if each.name == "request"]
    of_run = [each for each in spans if each is not request]
    assert tree(of_run) == [
        "run order completed",
        "  node after succeeded",
        "    attempt after #1 succeeded",
        "  node before succeeded",
        "    attempt before #1 succeeded",
        "  node hangs succeeded",
        "    attempt hangs #1 lost",
        "    attempt hangs #2 succeeded",
    ]
    told_by = {
        (each.name, each.attributes.get("flowcraft.attempt")): each.process for each in of_run
    }
    assert told_by["attempt before", 1] == "one"
    assert told_by["attempt hangs", 1] == told_by["attempt hangs", 2] == "two"
    lost, again = [each for each in of_run if each.name == "attempt hangs"]
    assert again.links == (("retry", lost.trace_id, lost.span_id),)
    (root,) = [each for each in of_run if each.name == "run order"]
    assert root.links == (("caller", request.trace_id, request.span_id),)
