"""Records the requests of any tests by role, and fails those that a policy would not allow.

With ``FLOWCRAFT_RECORD_REQUESTS=FILE`` in the environment each request of each test is decided by
the policies of the roles that may call the verb which made it. What was asked for is added to
``FILE``; ``python -m tests.role_recording FILE`` then tells what nobody asked for.

A verb is known by the task that calls it: what a worker does in the name of a run is a worker's.
"""

from __future__ import annotations

import functools
import inspect
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest

from flowcraft.adapters.aws.client import BotoTransport
from flowcraft.aws import SqsReconciler
from flowcraft.engine.adapter import Adapter
from flowcraft.engine.blobs import StoredBlobs
from flowcraft.engine.client import FlowClient
from flowcraft.engine.heartbeat import Heartbeat
from flowcraft.engine.linking import Linking
from flowcraft.engine.reports import Reports
from flowcraft.engine.restarts import Restarts
from flowcraft.engine.schedules import Schedules
from flowcraft.engine.stored_context import StoredContext
from flowcraft.engine.worker import Worker
from flowcraft.testing.aws.dynamodb import FakeDynamoDb
from flowcraft.testing.aws.s3 import FakeS3
from flowcraft.testing.aws.sqs import FakeSqs
from tests.unit.iam import Access, accesses, is_like
from tests.unit.role_fleet import (
    BUCKET,
    CONTEXTS,
    COORDINATION,
    LETTERS,
    PLACE,
    QUEUE,
    STATUSES,
    books,
)

VARIABLE = "FLOWCRAFT_RECORD_REQUESTS"

PEOPLE = ("viewer", "operator")
STARTING = ("starter", "operator")
ANSWERING = ("answerer", *STARTING)
VERBS: dict[type, dict[str, tuple[str, ...]]] = {
    FlowClient: {
        "start_run": STARTING,
        "resume_with_action": STARTING,
        "send_event": STARTING,
        "get_run": (*PEOPLE, "starter"),
        "wait_for_run": (*PEOPLE, "starter"),
        "list_runs": PEOPLE,
        "reconcile": ("operator", "reconciler"),
        **dict.fromkeys(
            ("cancel_run", "pause_run", "continue_run", "skip_node", "patch_context", "delete_run"),
            ("operator",),
        ),
    },
    Linking: {
        "answer_links": STARTING,
        "look_at_link": ANSWERING,
        "answer_by_link": ANSWERING,
    },
    Restarts: dict.fromkeys(("retry_failed", "rerun_from"), ("operator",)),
    Reports: {"drain_report": PEOPLE},
    Schedules: {
        **dict.fromkeys(("get", "list", "next_times"), PEOPLE),
        **dict.fromkeys(
            ("create", "update", "pause", "resume", "trigger", "delete"), ("operator",)
        ),
        "declare": ("worker", "reconciler"),
        "fire_due": ("worker", "reconciler"),
    },
    StoredBlobs: dict.fromkeys(("get", "save_to"), (*PEOPLE, "starter")),
    StoredContext: {
        **dict.fromkeys(("get", "has", "to_dict"), PEOPLE),
        **dict.fromkeys(("set", "delete", "add", "patch"), ("operator",)),
    },
    Adapter: dict.fromkeys(("start", "handle_job", "handle_jobs"), ("worker",)),
    Worker: dict.fromkeys(("start", "open", "handle_job", "send_back"), ("worker",)),
    # A heartbeat has a thread of its own, which knows nothing of who started it.
    Heartbeat: {"beat": ("worker",)},
    SqsReconciler: {"run": ("reconciler",)},
}
"""Who may call what: each of them has to be allowed what it asks for."""

TOLERATED = {("viewer", "dynamodb:PutItem"), ("viewer", "dynamodb:DeleteItem")}
"""A viewer that finds a row behind its run leaves it to others."""

_roles: ContextVar[tuple[str, ...]] = ContextVar("roles", default=())
_books = books()
_refused: set[str] = set()


def _as_roles(function: Callable[..., Any], roles: tuple[str, ...]) -> Callable[..., Any]:
    assert inspect.iscoroutinefunction(function), f"{function} is no verb"

    @functools.wraps(function)
    async def call(*arguments: Any, **options: Any) -> Any:
        if _roles.get():
            return await function(*arguments, **options)
        token = _roles.set(roles)
        try:
            return await function(*arguments, **options)
        finally:
            _roles.reset(token)

    return call


def _recorded(function: Callable[..., Any], service: str | None) -> Callable[..., Any]:
    @functools.wraps(function)
    async def call(self: Any, operation: str, request: Any) -> Any:
        if roles := _roles.get():
            _decide(roles, service or self._service, operation, request)
        return await function(self, operation, request)

    return call


def _decide(roles: tuple[str, ...], service: str, operation: str, request: Any) -> None:
    for access in accesses(service, operation, request):
        known = _canonical(access)
        if known is None:
            continue
        for role in roles:
            allowed = _books[role].decide(known)
            if not allowed and (role, known.action) not in TOLERATED:
                _refused.add(f"{role}: {operation} needs {known}")


def _canonical(access: Access) -> Access | None:
    """The same about the resources that the policies are for; ``None`` if it is none of a fleet."""
    place, _, name = access.resource.rpartition("table/")
    if place:
        for kind, canonical in (
            ("context", CONTEXTS),
            ("status", STATUSES),
            ("coordination", COORDINATION),
        ):
            if kind in name:
                index = f"/index/{name.partition('/index/')[2]}" if "/index/" in name else ""
                return access._replace(resource=f"{place}table/{canonical}{index}")
        return None
    if access.action.startswith("sqs:"):
        queue = LETTERS if "dead" in access.resource else QUEUE
        return access._replace(resource=f"{access.resource.rpartition(':')[0]}:{queue}")
    if access.action == "s3:ListBucket":
        prefix = dict(access.context).get("s3:prefix")
        context = () if prefix is None else (("s3:prefix", _key(prefix)),)
        return Access(access.action, f"arn:aws:s3:::{BUCKET}", context)
    return access._replace(resource=f"arn:aws:s3:::{BUCKET}/{_key(access.resource)}")


def _key(key: str) -> str:
    """A key behind the prefix that the policies are for."""
    found = re.search("(runs|texts)/.*", key)
    return f"{PLACE.partition('/')[2]}/{found.group() if found else key}"


def pytest_configure() -> None:
    """Look at all requests from now on."""
    for owner, verbs in VERBS.items():
        for name, roles in verbs.items():
            setattr(owner, name, _as_roles(getattr(owner, name), roles))
    for transport, service in (
        (BotoTransport, None),
        (FakeSqs, "sqs"),
        (FakeDynamoDb, "dynamodb"),
        (FakeS3, "s3"),
    ):
        setattr(transport, "call", _recorded(transport.call, service))  # noqa: B010


@pytest.fixture(autouse=True)
def _nothing_is_denied() -> Iterator[None]:
    """Fail the test that asked for what a policy does not allow."""
    _refused.clear()
    yield
    assert not _refused, "policies are not sufficient: " + "; ".join(sorted(_refused))


def pytest_sessionfinish() -> None:
    """Add what was asked for to the file."""
    with Path(os.environ[VARIABLE]).open("a") as file:
        for role, book in _books.items():
            used = {
                f"{action} {pattern}"
                for _, action, pattern in book.policy.grants()
                if any(
                    is_like(action, a.action) and is_like(pattern, a.resource) for a in book.used
                )
            }
            file.write(json.dumps([role, sorted(used)]) + "\n")


def unused(lines: list[str]) -> dict[str, list[str]]:
    """What the policies allow and nobody asked for, by role, by what was recorded."""
    used: dict[str, set[str]] = {}
    for line in lines:
        role, grants = json.loads(line)
        used.setdefault(role, set()).update(grants)
    return {
        role: [
            f"{action} {pattern}"
            for _, action, pattern in book.policy.grants()
            if f"{action} {pattern}" not in used.get(role, set())
        ]
        for role, book in _books.items()
    }


def main(path: str) -> None:
    """Tell what nobody asked for."""
    for role, grants in unused(Path(path).read_text().splitlines()).items():
        print(f"{role}: {len(grants)} permissions were not needed")
        for each in grants:
            print(f"  {each}")


if __name__ == "__main__":
    main(sys.argv[1])
