"""How a run begins, or goes on from its saved state, and how its caller cancels it."""

from __future__ import annotations

from typing import Any, NamedTuple

from flowcraft.core import events as ev
from flowcraft.engine.answering import Target
from flowcraft.engine.context import CancelToken
from flowcraft.engine.local import LocalRun
from flowcraft.engine.view import runs_below

_BY_CALLER = "cancelled by the caller"


class Resumption(NamedTuple):
    """How a saved run goes on: with an answer, or by itself where ``target`` is ``None``."""

    target: Target[LocalRun] | None
    output: Any
    action: Any


def begin(run: LocalRun, beginning: ev.RunStarted | Resumption, cancel: CancelToken | None) -> None:
    """Let a run begin, or go on; it is cancelled at once where the token is set."""
    # The token is looked at here, not earlier: planning takes a while, and it is set by others.
    if isinstance(beginning, ev.RunStarted):
        run.feed(beginning._replace(cancelled=_BY_CALLER) if cancel else beginning)
        return
    for live in runs_below(run):
        live.rearm()
    if cancel:
        # After that: what this leads to is not outstanding, it is carried out already. Of what
        # was outstanding nothing has begun yet.
        run.feed(ev.CancelRequested(_BY_CALLER))
        return
    target, output, action = beginning
    if target is None:
        return
    if target.key is not None:
        target.run.disarm(target.key)
    target.run.feed(ev.AnswerReceived(target.key, output, action, target.node_id))


def cancel_run(run: LocalRun) -> None:
    """Cancel a run that has begun and is not over, as its caller asks."""
    begun = run.state.started_at is not None
    if begun and not run.state.status.is_final and not run.session.closing:
        run.feed(ev.CancelRequested(_BY_CALLER))
