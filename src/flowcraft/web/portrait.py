"""A run as JSON data: what ``flowcraft inspect --json`` tells, with large values cut."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final
from urllib.parse import quote, urlencode

from flowcraft.core.context import INPUTS
from flowcraft.core.state import ErrorInfo
from flowcraft.engine.inspecting import NodeDetails, RunDetails
from flowcraft.engine.jsonable import jsonable
from flowcraft.engine.results import Awaiting
from flowcraft.engine.stored import RunSummary, moment_or_none
from flowcraft.web.routes import address
from flowcraft.web.values import Cutter, shortened

MOST_MESSAGE: Final = 2_000
MOST_TRACEBACK: Final = 20_000
"""Characters of the texts of errors; the whole ones are among the values."""

Instance = tuple[str, tuple[int, ...]]
"""A node, and in which iteration of the loops around it."""


def summary_data(run: RunSummary) -> dict[str, Any]:
    """A run of a list."""
    data: dict[str, Any] = jsonable(run)
    return data


def instance_of(node: NodeDetails) -> Instance:
    """What tells an instance of a node from the others of its run."""
    return node.node_id, node.iteration


def head_data(run: RunDetails) -> dict[str, Any]:
    """All of a run but its nodes and its context."""
    data: dict[str, Any] = jsonable(replace(run, nodes=(), context={}, awaiting=(), errors=()))
    for name in ("nodes", "context"):
        del data[name]
    data["awaiting"] = [awaiting_data(each) for each in run.awaiting]
    data["errors"] = [error_data(each) for each in run.errors]
    data["compensations"] = [
        {"nodeId": node_id, "error": None if error is None else error_data(error)}
        for node_id, error in run.compensations
    ]
    data["counts"] = dict(run.counts)
    data["isFinal"] = run.status.is_final
    return data


def awaiting_data(wait: Awaiting) -> dict[str, Any]:
    """Something that a run waits for."""
    data: dict[str, Any] = jsonable(wait)
    data["nodeId"] = wait.node_id
    data["dueAt"] = jsonable(moment_or_none(wait.due_at))
    return data


def error_data(error: ErrorInfo) -> dict[str, Any]:
    """An error; texts that are long are shortened."""
    data: dict[str, Any] = jsonable(error._replace(causes=()))
    data["message"] = shortened(error.message, MOST_MESSAGE)
    data["causes"] = [
        {"type": kind, "message": shortened(message, MOST_MESSAGE)}
        for kind, message in error.causes[:20]
    ]
    if error.traceback is not None:
        data["traceback"] = shortened(error.traceback, MOST_TRACEBACK)
    return data


def node_data(node: NodeDetails) -> dict[str, Any]:
    """An instance of a node, without its values."""
    data: dict[str, Any] = jsonable(replace(node, input=None, output=None, error=None, attempts=()))
    for name in ("input", "output"):
        del data[name]
    data["error"] = None if node.error is None else error_data(node.error)
    data["attempts"] = [
        {**jsonable(replace(each, error=None)), "error": each.error and error_data(each.error)}
        for each in node.attempts
    ]
    return data


class Portrait:
    """Puts a run with its values together.

    Args:
        run: The run.
        base: Where the application is mounted.
        log_link: The template of links to logs.
    """

    def __init__(self, run: RunDetails, base: str, log_link: str | None = None) -> None:
        self._run = run
        self._base = base
        self._log_link = log_link
        self._cutter = Cutter()

    def whole(self) -> dict[str, Any]:
        """All of the run."""
        data = head_data(self._run)
        data["nodes"] = [self.node(each) for each in self._run.nodes]
        data["context"], data["cut"] = self._context()
        return data

    def node(self, node: NodeDetails) -> dict[str, Any]:
        """An instance of a node, with its values and links to its logs."""
        data = node_data(node)
        data["cut"] = {}
        for part in ("input", "output"):
            value, cut = self._cutter.fit(getattr(node, part), self._href(node, part))
            data[part] = value
            if cut is not None:
                data["cut"][part] = jsonable(cut)
        if self._log_link is not None:
            for attempt in data["attempts"]:
                attempt["logHref"] = log_href(
                    self._log_link, self._run.run_id, node.node_id, attempt["number"]
                )
        return data

    def _href(self, node: NodeDetails, part: str) -> Callable[[], str]:
        def href() -> str:
            where = {"node": node.node_id, "part": part}
            if node.iteration:
                where["iteration"] = ",".join(map(str, node.iteration))
            return value_href(self._base, self._run.run_id, where)

        return href

    def _context(self) -> tuple[dict[str, Any], dict[str, Any]]:
        values: dict[str, Any] = {}
        cuts: dict[str, Any] = {}
        for key in self._run.context:
            if key.startswith(INPUTS):
                continue  # what the engine keeps of inputs is told with the nodes
            where = {"key": key}
            values[key], cut = self._cutter.fit(
                self._run.context[key], partial(self._value_href, where)
            )
            if cut is not None:
                cuts[key] = jsonable(cut)
        return values, cuts

    def _value_href(self, where: Mapping[str, str]) -> str:
        return value_href(self._base, self._run.run_id, where)


def value_href(base: str, run_id: str, where: Mapping[str, str]) -> str:
    """The address of a value of a run."""
    return address(base, "runs", run_id, "values") + "?" + urlencode(where, quote_via=quote)


def log_href(template: str, run_id: str, node_id: str, attempt: int) -> str:
    """A link to the log of an attempt."""
    for name, value in (("run_id", run_id), ("node_id", node_id), ("attempt", str(attempt))):
        template = template.replace(f"{{{name}}}", quote(value, safe=""))
    return template


# --- what has become different -------------------------------------------------------------


def changes_of(before: RunDetails | None, after: RunDetails) -> dict[str, Any] | None:
    """What has become different of a run; ``None`` if nothing has."""
    if before is None:
        return live_data(after)
    known = {instance_of(each): each for each in before.nodes}
    here = {instance_of(each) for each in after.nodes}
    changed = [each for each in after.nodes if known.get(instance_of(each)) != each]
    gone = [{"nodeId": name, "iteration": list(of)} for name, of in known if (name, of) not in here]
    is_same = replace(before, nodes=()) == replace(after, nodes=())
    if is_same and not changed and not gone:
        return None
    return {"run": head_data(after), "nodes": list(_nodes(changed)), "gone": gone}


def live_data(run: RunDetails) -> dict[str, Any]:
    """All of a run without its values: what those who watch begin with."""
    return {"run": head_data(run), "nodes": list(_nodes(run.nodes)), "gone": []}


def _nodes(nodes: Sequence[NodeDetails]) -> Iterator[dict[str, Any]]:
    return map(node_data, nodes)
