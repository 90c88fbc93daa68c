"""Schedules of a fleet, on the fakes: the function that looks after them, requests, the time."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Any

import pytest

from flowcraft import create_flow
from flowcraft.adapters.aws.service_time import ServiceTime, Timed
from flowcraft.adapters.aws.transport import Answer, Request
from flowcraft.aws import DynamoDbCoordinationStore, SqsAdapter, create_sqs_reconciler
from flowcraft.testing import VirtualClock
from tests.unit.aws_tables import COORDINATION
from tests.unit.runs import drive
from tests.unit.test_aws_adapter import Fleet
from tests.unit.test_aws_lambda import Function, Left


async def price(_: Any) -> int:
    return 1


report = create_flow("report").node("price", price)


class Counted:
    """A transport whose requests are counted."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self.asked: Counter[str] = Counter()

    async def call(self, operation: str, request: Request) -> Answer:
        """Carry out a request."""
        self.asked[operation] += 1
        answer: Answer = await self._transport.call(operation, request)
        return answer


def test_a_function_that_is_called_every_minute_starts_what_is_due() -> None:
    """Where nothing but functions of Lambda works: the reconciler's starts runs, once each."""
    with Function(report) as function:
        run = function.handler._loop.run
        run(function.adapter.schedules.create("s", "report", cron="*/5 * * * *"))
        ticks = []
        for _ in range(12):
            function.clock.advance("1m")
            function.looks({}, Left(60))
            function.call()
            runs = run(function.adapter.list_runs(tags={"schedule": "s"})).runs
            ticks.append(len(runs))
        assert ticks == [0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 2]
        assert {str(each.status) for each in runs} == {"completed"}


def test_a_tick_costs_five_requests_and_a_look_one() -> None:
    """A tick costs two reads and three writes beside the start of its run; a look is one read."""

    async def work() -> None:
        fleet = await Fleet(VirtualClock(), report).open()
        counted: Any = Counted(fleet.dynamodb)
        fleet.resources["dynamodb_client"] = counted
        fleet.resources["coordination_store"] = DynamoDbCoordinationStore(
            counted, COORDINATION, fleet.clock
        )
        await fleet.close()
        fleet.adapter = SqsAdapter(
            fleet.runtime.options, **fleet.resources, clock=fleet.clock, heartbeat=False
        )
        schedules = fleet.adapter.schedules
        await schedules.create("s", "report", every="2m", overlap="allow")
        fleet.clock.advance("2m")
        await schedules.fire_due()
        for _ in range(3):
            fleet.clock.advance("1m")
            counted.asked.clear()
            assert (await schedules.fire_due()).due == 0
            # The lock, the counter, the lock given up again.
            assert counted.asked == {"PutItem": 1, "GetItem": 1, "DeleteItem": 1}
            fleet.clock.advance("1m")
            counted.asked.clear()
            assert (await schedules.fire_due()).started_runs == 1
            asked = counted.asked - Counter(PutItem=1, GetItem=1, DeleteItem=1)
            # The schedule and a part of the directory are read; both are written, the schedule
            # twice: what is decided, and that it was done. Two are the start of the run.
            assert asked == {"GetItem": 2, "PutItem": 2 + 1 + 2}
        await fleet.close()

    drive(work())


class Off:
    """A machine's clock that is wrong."""

    def __init__(self, clock: VirtualClock, seconds: float) -> None:
        self._clock, self._seconds = clock, seconds

    def now(self) -> float:
        return self._clock.now() + self._seconds

    def call_at(self, when: float, callback: Any) -> Any:
        return self._clock.call_at(when - self._seconds, callback)


def test_clocks_that_are_minutes_off_go_by_the_time_of_aws() -> None:
    """Of three machines, two with clocks that are five minutes off, none starts a run early.

    Each learns the time from the answers of AWS, before it decides anything.
    """

    async def work() -> None:
        fleet = await Fleet(VirtualClock(), report).open()
        await fleet.adapter.schedules.create("s", "report", every="1m", overlap="allow")
        machines = []
        for seconds in (300.0, -300.0, 0.0):
            time = ServiceTime(Off(fleet.clock, seconds))
            store = DynamoDbCoordinationStore(Timed(fleet.dynamodb, time), COORDINATION, time)
            resources = {**fleet.resources, "coordination_store": store}
            adapter = SqsAdapter(
                fleet.runtime.options,
                **resources,
                clock=Off(fleet.clock, seconds),
                heartbeat=False,
            )
            machines.append(adapter)
        for number in range(40):
            fleet.clock.advance("17s")
            await machines[number % 3].schedules.fire_due()
        runs = (await fleet.adapter.list_runs(tags={"schedule": "s"})).runs
        ticks = sorted(run.tags["schedule_tick"] for run in runs)
        assert ticks == [f"2024-01-01T00:{minute:02}:00Z" for minute in range(1, 12)]
        for run in runs:
            late = run.created_at - datetime.fromisoformat(run.tags["schedule_tick"])
            assert -2 <= late.total_seconds() <= 60
        for adapter in [*machines, fleet.adapter]:
            await adapter.stop()

    drive(work())


def test_stuck_runs_are_looked_for_although_schedules_are_in_trouble(caplog: Any) -> None:
    """A damaged text of a schedule is logged; the others start, and stuck runs get going."""

    async def work() -> None:
        fleet = await Fleet(VirtualClock(), report).open()
        for name in ("bad", "good"):
            await fleet.adapter.schedules.create(name, "report", every="1m")
        key = {"coordinationKey": {"S": "schedule/bad"}}
        request = {
            "TableName": COORDINATION,
            "Key": key,
            "UpdateExpression": "SET #v = :v",
            "ExpressionAttributeNames": {"#v": "value"},
            "ExpressionAttributeValues": {":v": {"S": "{}"}},
        }
        await fleet.dynamodb.call("UpdateItem", request)
        fleet.clock.advance("1m")
        reconciler = create_sqs_reconciler(adapter=fleet.adapter)
        assert (await reconciler.run()).stalled_runs == 0
        assert len((await fleet.adapter.list_runs(tags={"schedule": "good"})).runs) == 1
        assert "schedule 'bad' in the coordination store is damaged" in caplog.text
        await reconciler.aclose()
        await fleet.close()

    drive(work())


@pytest.mark.parametrize(
    ("budget", "status", "problem"),
    [
        ({"requests": 1}, "failed", ""),
        ({"requests": 1000}, "completed", ""),
        ({"requests": "many"}, None, "The budget of the blueprint 'dear': budget_requests is a"),
    ],
)
def test_a_scheduled_run_has_the_budget_of_its_blueprint(
    budget: dict[str, Any], status: str | None, problem: str
) -> None:
    """What a blueprint may cost holds for runs that start by the clock; a wrong one is told of."""

    async def work() -> None:
        flow = create_flow("dear").metadata(budget=budget).node("a", price).node("b", price)
        fleet = await Fleet(VirtualClock(), flow.edge("a", "b")).open()
        schedules = fleet.adapter.schedules
        await schedules.create("s", "dear", every="1m")
        fleet.clock.advance(61)
        await schedules.fire_due()
        await fleet.work()
        runs = (await fleet.adapter.list_runs()).runs
        assert [str(each.status) for each in runs] == ([] if status is None else [status])
        assert (await schedules.get("s")).problem.startswith(problem)
        await fleet.close()

    drive(work())


def test_schedules_in_code_are_there_where_only_functions_work() -> None:
    """The function that looks after schedules sees to those that its adapter was given, once."""
    declared = {"id": "s", "flow": "report", "every": "5m"}
    with Function(report, schedules=[declared]) as function:
        run = function.handler._loop.run
        function.looks({}, Left(60))
        assert [each.id for each in run(function.adapter.schedules.list())] == ["s"]
        run(function.adapter.schedules.delete("s"))
        function.looks({}, Left(60))
        assert run(function.adapter.schedules.list()) == ()


def test_a_declared_schedule_that_cannot_be_keeps_nobody_from_looking(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is logged, and stuck runs are looked for all the same."""
    declared = {"id": "s", "flow": "nobody's", "every": "5m"}
    with Function(report, schedules=[declared]) as function:
        assert function.looks({}, Left(60))["failed_runs"] == 0
        assert "Nobody knows a blueprint" in caplog.text
