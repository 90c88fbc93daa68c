"""Durable runs and schedules in a test environment: they follow its clock."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any

import pytest

from flowcraft import RetryPolicy, create_flow
from flowcraft.errors import RunTimeout
from flowcraft.testing import TestEnvironment, durable


def drive(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a test."""
    asyncio.run(work())


def test_schedules_fire_while_time_passes() -> None:
    """A month of a monthly, a daily and a frequent schedule: each run at its tick."""

    async def work() -> None:
        seen: list[str] = []

        async def note(ctx: Any) -> None:
            seen.append((await ctx.context.get("_schedule"))["id"])

        flow = create_flow("report").node("note", note)
        async with TestEnvironment(flow) as env, durable(env) as adapter:
            create = adapter.schedules.create
            await create("monthly", "report", cron="@monthly", time_zone="America/New_York")
            await create("daily", "report", cron="0 9 * * *", time_zone="Europe/Berlin")
            await create("often", "report", every="6h")
            await env.advance("31d")
            assert {name: seen.count(name) for name in set(seen)} == {
                "monthly": 1,  # 1 January begins in New York at 05:00 UTC
                "daily": 31,
                "often": 124,
            }
            runs = (await adapter.list_runs(limit=1000)).runs
            assert len(runs) == len(seen)
            for run in runs:
                assert run.created_at == datetime.fromisoformat(run.tags["schedule_tick"])

    drive(work)


def test_time_passes_while_a_worker_has_a_retry_in_its_hands() -> None:
    """A retry that is due within two seconds stays with its worker, and takes no real time."""

    async def work() -> None:
        attempts: list[float] = []

        async def flaky(ctx: Any) -> str:
            attempts.append(env.clock.now())
            if ctx.attempt < 3:
                raise ValueError("not yet")
            return "done"

        retry = RetryPolicy(max_attempts=3, delay=1, backoff=1, jitter=False)
        flow = create_flow("soon").node("flaky", flaky, retry=retry)
        async with TestEnvironment(flow) as env, durable(env) as adapter:
            run = await adapter.start_run("soon")
            await env.advance("10s")
            assert (await run.get()).outputs == {"flaky": "done"}
            assert [at - attempts[0] for at in attempts] == [0.0, 1.0, 2.0]

    drive(work)


def test_time_waits_for_nodes_in_threads_and_retries() -> None:
    """A plain function in a thread, a retry after an hour, a sleep of a day: each in its time."""

    async def work() -> None:
        threads: list[int] = []

        def plain(ctx: Any) -> int:
            threads.append(threading.get_ident())
            if ctx.attempt == 1:
                raise ConnectionError("not yet")
            return 7

        policy = RetryPolicy(max_attempts=2, delay=3600)
        flow = create_flow("work").node("plain", plain, retry=policy).sleep("s", "1d")
        flow.edge("plain", "s")
        async with TestEnvironment(flow) as env, durable(env) as adapter:
            run = await adapter.start_run("work")
            await env.advance("25h")
            stored = await run.get()
            assert (stored.status, stored.outputs["plain"]) == ("completed", 7)
            assert len(threads) == 2
            assert threading.get_ident() not in threads

    drive(work)


def test_a_node_that_hangs_is_named() -> None:
    """Virtual time stands still for a durable node that makes no progress; the error names it."""

    async def work() -> None:
        never = asyncio.Event()

        async def hang(_: Any) -> None:
            await never.wait()

        flow = create_flow("work").node("hang", hang)
        async with TestEnvironment(flow, patience_seconds=0.05) as env, durable(env) as adapter:
            await adapter.start_run("work", run_id="r")
            with pytest.raises(RunTimeout, match="'hang' of run 'r'"):
                await env.advance("1d")
            never.set()

    drive(work)
