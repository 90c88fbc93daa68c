"""What a run has cost on AWS: counted along the way, kept with the run, and bounded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from flowcraft import FlowRuntime
from flowcraft.adapters.aws.metering import Meter, MeteredQueue, MeteredTables
from flowcraft.adapters.aws.prices import PRICES, Prices, prices_of
from flowcraft.adapters.aws.sizes import item_size
from flowcraft.adapters.aws.spending import Spent, pack_spent, unpack_spent
from flowcraft.adapters.aws.transport import CONNECTION_FAILED, Answer, AwsError, Request
from flowcraft.aws import _charged
from flowcraft.engine.stored import StoredRun
from flowcraft.memory import MemoryAdapter
from flowcraft.sqlite import SqliteAdapter
from flowcraft.testing.simulate import Kind
from flowcraft.testing.simulate.campaign import run_all, sweep
from flowcraft.testing.simulate.chance import Chance
from flowcraft.testing.simulate.clock import SimulationClock
from flowcraft.testing.simulate.loop import SimulationLoop
from flowcraft.testing.simulate.named import backend_named
from flowcraft.testing.simulate.zoo import STORIES
from tests.acceptance.aws_shapes import Shape, batch, chain, families, fan, kilobytes, loop
from tests.fixtures.releases.places import AwsPlace

EXACT = 0.03
"""What a count of units may be off: what comes after the last write of a run, and what a worker
reads that writes nothing."""


class Counted(NamedTuple):
    """A run, and what the fakes of the services counted meanwhile."""

    run: StoredRun
    write_units: float
    read_units: float
    requests: int
    sqs_requests: int
    item: dict[str, Any]


def counted(shape: Shape, *, workers: int = 1, **start: Any) -> Counted:
    """Run a shape on fakes, with a client of its own."""
    simulation = SimulationLoop(Chance("cost"))
    place = AwsPlace(SimulationClock(simulation))
    runtime = FlowRuntime(flows=[shape.flow, *shape.below])

    async def run() -> Counted:
        await place.open()
        empty = _count_empty_polls(place)
        # What workers ask for beside their messages is no run's.
        alone: dict[str, Any] = {
            "sweeping": False,
            "schedules_every_seconds": None,
            "presence": False,
        }
        processes = [place.adapter(f"w{n}", runtime.options, **alone) for n in range(workers)]
        client = place.adapter("client", runtime.options)
        for process in processes:
            await process.start()
        await client.list_runs()
        before = _counts(place, empty)
        started = await client.start_run(shape.flow.to_blueprint().id, shape.context, **start)
        while place.waiting():
            await asyncio.sleep(0.5)
        after = _counts(place, empty)
        found = await client.get_run(started)
        item = next(
            each for each in await place._items("contexts") if each["runId"]["S"] == started
        )
        for each in (*processes, client):
            await each.stop()
        counts = [b - a for a, b in zip(before, after, strict=True)]
        return Counted(
            found, counts[0], counts[1], int(counts[2] + counts[3]), int(counts[3]), item
        )

    try:
        return simulation.run(run())
    finally:
        simulation.bury([])
        simulation.close()


def _count_empty_polls(place: AwsPlace) -> list[str]:
    """A list to which each poll adds that brings nothing: these are of no run."""
    empty: list[str] = []
    call = place.sqs.call

    async def counted(operation: str, request: Request) -> Answer:
        answer = await call(operation, request)
        if operation == "ReceiveMessage" and not answer.get("Messages"):
            empty.append(operation)
        return answer

    place.sqs.call = counted  # type: ignore[method-assign]
    return empty


def _counts(place: AwsPlace, empty: list[str]) -> tuple[float, float, float, float]:
    tables = place.dynamodb._tables.values()
    jobs = ("SendMessageBatch", "ReceiveMessage", "DeleteMessageBatch")
    return (
        sum(each.write_units for each in tables),
        sum(each.read_units for each in tables),
        place.dynamodb.calls.total(),
        sum(place.sqs.billed[name] for name in jobs) - len(empty),
    )


SHAPES: dict[str, Callable[[], Shape]] = {
    "chain": lambda: chain(50),
    "fan": lambda: fan(50),
    "fan of 1 KB": lambda: fan(50, kilobytes(1024)),
    "loop": lambda: loop(60),
    "families": lambda: families(5),
    "batch in shards": lambda: batch(1100),
}


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("workers", [1, 2])
def test_what_is_kept_is_what_was_asked_for(name: str, workers: int) -> None:
    """Units that services counted are those that the run has, within 3 %; dollars within 5 %."""
    shape = SHAPES[name]()
    found = counted(shape, workers=workers)
    # What comes after the end of a child run is what it nearly always is, less or more.
    children = 10 if shape.below else 0
    # A client's first start looks whether others can find the child flows: that is of no run.
    read_units = found.read_units - len(shape.below)
    cost = found.run.cost
    assert cost is not None
    assert str(found.run.status) == "completed"
    assert cost.write_units == pytest.approx(found.write_units, rel=EXACT, abs=2)
    assert cost.read_units == pytest.approx(read_units, rel=EXACT, abs=4)
    assert cost.requests == pytest.approx(found.requests, rel=0.05, abs=5 + children)
    # What another worker received that had nothing to write is lost, and what was sent at the end.
    assert 0 < cost.sqs_requests <= found.sqs_requests + children
    assert cost.sqs_requests == pytest.approx(found.sqs_requests, rel=0.3, abs=5 + children)
    usd = PRICES["us-east-1"].usd(
        sqs_requests=found.sqs_requests, write_units=found.write_units, read_units=found.read_units
    )
    assert cost.usd == pytest.approx(usd, rel=0.05, abs=2.5e-6)


def test_the_item_grows_by_a_few_bytes() -> None:
    """Whatever a run costs, it takes some 20 bytes of its item to keep that."""
    item = counted(chain(50)).item
    without = {name: value for name, value in item.items() if not name.startswith("$")}
    assert 0 < item_size(item) - item_size(without) <= 20
    most = pack_spent(Spent(99_999.99, 9_999.99, 99_999.0, 9_999.5))
    assert item_size(most) <= 25


def test_a_start_with_a_key_counts_its_transaction() -> None:
    """The transaction of a start with an idempotency key is in the cost, at twice the units."""
    plain, keyed = counted(chain(3)), counted(chain(3), idempotency_key="k")
    assert plain.run.cost is not None
    assert keyed.run.cost is not None
    assert keyed.write_units == plain.write_units + 3
    assert keyed.run.cost.write_units == plain.run.cost.write_units + 3


def test_what_is_0_takes_no_room() -> None:
    """Counts are kept in whole steps of one, a half and a hundredth, and not at all at 0."""
    packed = pack_spent(Spent(3.25, 0.0, 7.0, 1.5))
    assert packed == {"$n": {"N": "325"}, "$w": {"N": "7"}, "$r": {"N": "3"}}
    assert unpack_spent({"runId": {"S": "r"}, **packed}) == Spent(3.25, 0.0, 7.0, 1.5)
    assert unpack_spent({"runId": {"S": "r"}}) is None
    whole, rest = Spent(1 / 3, 2 / 3, 0.5, 0.75).split()
    assert whole == Spent(0.33, 0.66, 0.0, 0.5)
    assert whole.plus(rest) == pytest.approx(Spent(1 / 3, 2 / 3, 0.5, 0.75))


# -- metering ------------------------------------------------------------------------------------


class Scripted:
    """A service that gives what it is told, and keeps what it was asked."""

    def __init__(self, *answers: Answer | AwsError) -> None:
        self.answers = list(answers)
        self.requests: list[Request] = []

    async def call(self, operation: str, request: Request) -> Answer:
        """Answer."""
        del operation
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, AwsError):
            raise answer
        return answer

    def added(self) -> Spent:
        """What the latest update adds to the run."""
        request = self.requests[-1]
        assert request["UpdateExpression"].startswith("SET a = :a ADD #spent0 :spent0")
        names, values = request["ExpressionAttributeNames"], request["ExpressionAttributeValues"]
        added = unpack_spent({name: values[f":{each[1:]}"] for each, name in names.items()})
        assert added is not None
        return added


UPDATE: Request = {
    "TableName": "contexts",
    "Key": {"runId": {"S": "r"}},
    "UpdateExpression": "SET a = :a",
    "ExpressionAttributeValues": {":a": {"N": "1"}},
}
DONE: Answer = {"ConsumedCapacity": {"CapacityUnits": 3.0}}
REFUSED = AwsError("ConditionalCheckFailedException", answer={"Item": {"runId": {"S": "r" * 2500}}})
NO_ANSWER = AwsError(CONNECTION_FAILED, status=0)


async def _updates(*answers: Answer | AwsError) -> Spent:
    """What the last of some updates of one run adds."""
    service = Scripted(*answers)
    tables = MeteredTables(service, "contexts", Meter())
    for _ in answers:
        try:
            await tables.call("UpdateItem", UPDATE)
        except AwsError:
            continue
    return service.added()


def test_an_update_brings_what_the_one_before_it_consumed() -> None:
    """The first counts one unit for itself; what it was more comes with the second, which is taken
    for one like it."""
    assert asyncio.run(_updates(DONE)) == Spent(1.0, 0.0, 1.0, 0.0)
    assert asyncio.run(_updates(DONE, DONE)) == Spent(1.0, 0.0, 2.0 + 3.0, 0.0)
    assert asyncio.run(_updates(DONE, DONE, DONE)) == Spent(1.0, 0.0, 3.0, 0.0)


def test_a_refused_update_is_paid_for_and_loses_nothing() -> None:
    """Its units, by the size of the item that is there, come with the next one."""
    assert asyncio.run(_updates(REFUSED, DONE)) == Spent(2.0, 0.0, 3.0 + 3.0, 0.0)


def test_without_an_answer_it_is_counted_again() -> None:
    """What may have been added or not is added once more: a budget is never exceeded unseen."""
    assert asyncio.run(_updates(NO_ANSWER, DONE)) == Spent(2.0, 0.0, 2.0, 0.0)


def test_messages_of_several_runs_share_a_request() -> None:
    """Of a batch each run has its share; a delivery is known by its handle until it is deleted."""

    async def work() -> None:
        meter = Meter()
        messages = [{"Body": f'{{"v":1,"runId":"{r}"}}', "ReceiptHandle": r} for r in "aab"]
        service = Scripted({}, {"Messages": messages}, {"Successful": []}, {"Successful": []})
        queue = MeteredQueue(service, meter)
        await queue.call(
            "SendMessageBatch", {"Entries": [{"MessageBody": each["Body"]} for each in messages]}
        )
        await queue.call("ReceiveMessage", {})
        for _ in range(2):
            entries = [{"ReceiptHandle": each} for each in "ab"]
            await queue.call("DeleteMessageBatch", {"Entries": entries})
        assert meter.take("a", Spent(0.01, 0.01)).sqs_requests == pytest.approx(1.84, abs=0.011)
        assert meter.take("b", Spent(0.01, 0.01)).sqs_requests == pytest.approx(1.17, abs=0.011)

    asyncio.run(work())


def test_what_nobody_writes_again_takes_no_memory_for_ever() -> None:
    """A process that only reads remembers a bounded number of runs."""
    meter = Meter()
    for number in range(5000):
        meter.add(f"r{number}", Spent(1.0))
        meter.note_latest(f"r{number}", 1.0)
    assert len(meter._gathered) == len(meter._latest) == 4096


# -- prices and budgets --------------------------------------------------------------------------


def test_prices_are_those_of_a_region_or_ones_own() -> None:
    """A region is named, or prices are given; of a region that is not known it is said so."""
    assert prices_of(None) is PRICES["us-east-1"]
    assert prices_of("eu-central-1").write_units > prices_of("us-west-2").write_units
    mine = Prices(1, 1, 1, 1)
    assert prices_of(mine) is mine
    with pytest.raises(
        ValueError, match="no prices of the region 'mars-1' here, only of us-east-1"
    ):
        prices_of("mars-1")


class _OfRegion:
    """A boto3 client as far as its region goes."""

    def __init__(self, region: str) -> None:
        self.meta = SimpleNamespace(region_name=region)


@pytest.mark.parametrize(
    ("region", "given", "expected"),
    [
        ("eu-central-1", None, "eu-central-1"),
        ("mars-1", None, "us-east-1"),
        ("eu-central-1", "us-west-2", "us-west-2"),
    ],
)
def test_by_default_it_is_the_region_of_the_client(
    region: str, given: str | None, expected: str
) -> None:
    """Prices are those of where the tables are, unless others are given, or none are known."""
    assert _charged(given, _OfRegion(region)) is PRICES[expected]


@pytest.mark.parametrize(
    ("budget", "unit"),
    [({"budget_usd": 0.00003}, "USD"), ({"budget_requests": 40}, "requests")],
)
def test_a_run_ends_when_its_budget_is_spent(budget: dict[str, Any], unit: str) -> None:
    """A loop of 200 rounds is stopped soon after it has taken what it may, and says so."""
    run = counted(loop(200), **budget).run
    assert str(run.status) == "failed"
    (error,) = run.errors
    assert error.type == "BudgetExceeded"
    assert f"{unit}, and its budget is" in error.message
    assert run.cost is not None
    ((name, limit),) = budget.items()
    spent = run.cost.usd if name == "budget_usd" else run.cost.requests
    assert limit < spent < 1.3 * limit + 3


def test_what_child_runs_cost_counts_against_the_budget() -> None:
    """A run whose child runs take what it may is stopped with the end of one of them."""
    plain = counted(families(6)).run.cost
    assert plain is not None
    run = counted(families(6), budget_requests=plain.requests / 2).run
    assert (str(run.status), run.errors[0].type) == ("failed", "BudgetExceeded")
    assert run.cost is not None
    assert run.cost.requests < 0.8 * plain.requests


def test_a_budget_that_suffices_changes_nothing() -> None:
    """A run within its budget ends as it does without one, at the same cost."""
    plain, bounded = counted(chain(20)), counted(chain(20), budget_usd=0.01, budget_requests=1000)
    assert bounded.run.outputs == plain.run.outputs
    assert bounded.write_units == plain.write_units
    assert bounded.requests == plain.requests


@pytest.mark.parametrize("where", ["memory", "sqlite"])
def test_where_nothing_is_paid_for_a_budget_is_refused(where: str, tmp_path: Path) -> None:
    """A budget for a run on one machine is a mistake; what a blueprint says of it is not."""
    flow = chain(2).flow.metadata(budget={"usd": 0.01})
    options = FlowRuntime(flows=[flow]).options
    adapter: Any = (
        MemoryAdapter(options)
        if where == "memory"
        else SqliteAdapter(tmp_path / "runs.db", options)
    )

    async def work() -> None:
        with pytest.raises(ValueError, match=r"for runs on AWS: .*max_executions"):
            await adapter.start_run("chain", budget_usd=1.0)
        run = await adapter.start_run("chain")
        assert (await adapter.get_run(run)).cost is None
        await adapter.stop()

    asyncio.run(work())


@pytest.mark.parametrize("value", [0, -1.0, float("nan")])
def test_a_budget_is_more_than_nothing(value: float) -> None:
    """A bound of 0 or less, or none at all, is refused before anything is stored."""
    with pytest.raises(ValueError, match="budget_usd is more than 0"):
        counted(chain(2), budget_usd=value)


def test_a_budget_is_a_number() -> None:
    """A bound of another kind is refused."""
    with pytest.raises(TypeError, match="budget_requests is a number, not 'many'"):
        counted(chain(2), budget_requests="many")


@pytest.mark.slow
def test_a_runaway_is_stopped_whatever_dies() -> None:
    """A crash before and after every third request: the run fails by its budget, and is undone."""
    backend = backend_named("aws")
    kinds = (Kind.CRASH_BEFORE, Kind.CRASH_AFTER)
    scenarios = sweep(STORIES["budget"], 1, kinds, backend, workers=(1,))
    some = [each for number, each in enumerate(scenarios) if number % 12 == 0]
    report = run_all(STORIES, some, backend)
    assert report.ok, "\n\n".join(map(str, report.violations[:3]))
    assert report.runs > 10
