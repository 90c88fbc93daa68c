"""The policies are sufficient and minimal: what roles ask for is compared with what they may."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from flowcraft import create_flow
from flowcraft.errors import StorageUnavailable
from flowcraft.provisioning.permitted import KINDS, Asked, Kind, requests_of
from flowcraft.provisioning.policies import ROLES, Role
from flowcraft.testing import VirtualClock
from tests.unit.guarded import Book
from tests.unit.iam import is_like
from tests.unit.role_fleet import CONTEXTS, RESOURCES, STATUSES, RoleFleet, books
from tests.unit.roles_at_work import SCENARIOS, in_virtual_time, passed
from tests.unit.runs import drive


@pytest.fixture(scope="module")
def worked() -> dict[str, Book]:
    """What each role has asked for when all scenarios are through."""
    made = books()
    for scenario in SCENARIOS:
        asyncio.run(scenario(made))
    return made


@pytest.mark.slow
@pytest.mark.parametrize("role", ROLES)
def test_policies_are_sufficient(worked: dict[str, Book], role: Role) -> None:
    """Nothing that a role asks for all day is denied by its policy."""
    assert sorted(map(str, worked[role].refused)) == []


@pytest.mark.slow
@pytest.mark.parametrize("role", ROLES)
def test_policies_are_minimal(worked: dict[str, Book], role: Role) -> None:
    """Each action on each resource that a policy allows was needed by some request."""
    unused = [
        f"{action} on {resource}"
        for _, action, resource in worked[role].policy.grants()
        if not any(
            is_like(action, used.action) and is_like(resource, used.resource)
            for used in worked[role].used
        )
    ]
    assert unused == []


@pytest.mark.slow
@pytest.mark.parametrize("role", ROLES)
def test_the_table_has_the_requests_that_are_made(worked: dict[str, Book], role: Role) -> None:
    """The table names the requests of each role, one by one: none is missing, none too many."""
    made = {
        Asked(name, kind)
        for name, resource in worked[role].asked
        for kind in KINDS
        if _is_about(kind, resource)
    }
    # What is moved is sent to the queue, too; the request is about the other one.
    made.discard(Asked("StartMessageMoveTask", "queue"))
    assert made == requests_of(role)


def _is_about(kind: Kind, resource: str) -> bool:
    if resource == "*":
        return kind == "metrics"
    return kind != "metrics" and any(is_like(each, resource) for each in RESOURCES.arns(kind))


async def order() -> tuple[RoleFleet, Any, Any]:
    """A fleet with a run that waits, and its worker."""
    ask = create_flow("ask").node("n", passed).wait("w").edge("n", "w")
    fleet = await RoleFleet(VirtualClock(), books()).open()
    worker = fleet.adapter(ask, heartbeat=False)
    await worker.start_run("ask", run_id="r")
    await fleet.work(worker)
    return fleet, worker, ask


def test_a_viewer_looks_and_changes_nothing() -> None:
    """A viewer lists and reads; whatever changes something is refused, and says what is missing."""

    async def work() -> None:
        fleet, worker, ask = await order()
        viewer = fleet.client("viewer", ask)
        assert [each.run_id for each in (await viewer.list_runs()).runs] == ["r"]
        before = repr(fleet.dynamodb.items(CONTEXTS)), fleet.sqs.messages(fleet.url)
        for verb in (
            viewer.start_run("ask", run_id="other"),
            viewer.resume_with_action("r", output=1),
            viewer.cancel_run("r"),
            viewer.delete_run("r", force=True),
            viewer.reconcile(),
            viewer.schedules.create("s", "ask", every="5m"),
        ):
            with pytest.raises(StorageUnavailable, match=r"may not be used: access to (sqs|dyn)"):
                await verb
        assert (repr(fleet.dynamodb.items(CONTEXTS)), fleet.sqs.messages(fleet.url)) == before
        await viewer.aclose()
        await worker.stop()

    drive(work())


def test_a_viewer_mends_no_row(caplog: pytest.LogCaptureFixture) -> None:
    """A row that is behind its run is told as the run is, and left to others, without alarm."""

    async def work() -> None:
        fleet, worker, _ = await order()
        (row,) = fleet.dynamodb.items(STATUSES)
        old = {**row, "status": {"S": "running"}, "r": {"N": "0"}}
        await fleet.dynamodb.call("PutItem", {"TableName": STATUSES, "Item": old})
        viewer = fleet.client("viewer")
        (listed,) = (await viewer.list_runs()).runs
        assert str(listed.status) == "awaiting"
        assert str((await viewer.get_run("r")).status) == "awaiting"
        assert fleet.dynamodb.items(STATUSES) == [old]
        operator = fleet.client("operator")
        await operator.list_runs()
        assert fleet.dynamodb.items(STATUSES)[0]["r"] == row["r"]
        for each in (viewer, operator):
            await each.aclose()
        await worker.stop()

    with caplog.at_level(logging.INFO):
        drive(work())
    told = [each for each in caplog.records if "row of run" in each.getMessage()]
    assert len(told) == 2
    assert {each.levelno for each in told} == {logging.INFO}


def test_a_starter_is_no_worker() -> None:
    """With the policy of a starter no job is received."""

    async def work() -> None:
        fleet, worker, ask = await order()
        adapter = fleet.adapter(ask, role="starter", heartbeat=False)
        station = await adapter._opened()
        with pytest.raises(StorageUnavailable, match="sqs:ReceiveMessage"):
            await station.queue.receive(1, 0)
        await adapter.stop()
        await worker.stop()

    drive(work())


def test_a_missing_object_is_told_from_a_forbidden_one() -> None:
    """Whoever may list is told that an object is missing; beside the fleet's it is forbidden."""

    async def work() -> None:
        async with in_virtual_time(books()) as (fleet, _, _):
            objects = fleet.objects("viewer")
            assert await objects.read("runs/r/e/v/1") is None
            with pytest.raises(StorageUnavailable, match="s3:GetObject"):
                await objects.read("else/r")

    drive(work())
