"""Runs and workers, on any backend: what stands still, what waits, which versions there are."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from datetime import datetime
from typing import Final

from flowcraft.core.builtins import BUILTIN_USES
from flowcraft.doctor.checking import Check
from flowcraft.doctor.findings import Finding, error, note, ok, warning
from flowcraft.doctor.texts import counted, few, span
from flowcraft.engine.client import FlowClient
from flowcraft.engine.draining import Needed
from flowcraft.engine.standing import StandingRun, StandingRuns
from flowcraft.engine.worker_kinds import Seen
from flowcraft.ports.clock import Clock

LONG_SECONDS: Final = 3_600.0
"""Workers look for runs that stand still each minute: one that does so for longer has no worker."""

WAITING_SECONDS: Final = 90.0
"""A run in which nothing happened for so long waits. Newer rows are in no index of AWS yet."""

LOOK_SECONDS: Final = 120.0
"""How long looking at all runs may take."""

LOOKED_INSIDE: Final = 1_000
"""Of so many live runs each is read to see which nodes may still run in it."""

_UNREAD_CURE: Final = "The log says why; a run that nobody can read is mended or deleted by its id."


def run_checks(
    client: FlowClient,
    registry: Collection[str] | None,
    where: str,
    *,
    stalled_seconds: float,
    clock: Clock,
) -> list[Check]:
    """The checks of runs and workers.

    Args:
        client: Reads the runs, and writes nothing.
        registry: Keys that the code here has implementations for; ``None`` without an app.
        where: Where the runs are.
        stalled_seconds: How long nothing happens in a run before it counts as stuck.
        clock: The time.
    """

    async def look_at_runs() -> Iterable[Finding]:
        look = await client.standing_runs(for_seconds=WAITING_SECONDS)
        return _standing(look, stalled_seconds, where)

    async def look_at_workers() -> Iterable[Finding]:
        seen = await client.workers_seen()
        found = [*_workers(seen, clock.now(), where)]
        return [*found, *await _needs(client, seen, registry, where)]

    return [
        Check("runs.standing", where, look_at_runs, LOOK_SECONDS),
        Check("workers", where, look_at_workers, LOOK_SECONDS),
    ]


# --- runs ----------------------------------------------------------------------------------


def _standing(look: StandingRuns, stalled_seconds: float, where: str) -> Iterator[Finding]:
    """What stands still, and what waits: a message may be on its way to the latter."""
    if look.unread:
        text = f"{counted(look.unread, 'run')} could not be read."
        yield warning("runs.unread", text, where, _UNREAD_CURE)
    ages = {each: (look.at - each.since).total_seconds() for each in look.runs}
    still = [each for each, seconds in ages.items() if seconds >= stalled_seconds]
    waiting = [each for each in look.runs if each not in still]
    if still:
        yield _still(still, ages[still[0]], where, is_whole=look.is_whole)
    else:
        yield ok("runs.standing", "No run stands still that has something to do.", where)
    if waiting:
        text = f"{_these(waiting)} for a worker, the longest for {span(ages[waiting[0]])}: "
        cure = "If that goes on, start more workers."
        yield note("runs.waiting", text + _names(waiting), where, cure)
    elif not still:
        yield ok("runs.waiting", f"No run waits for a worker for {span(WAITING_SECONDS)}.", where)


def _still(still: list[StandingRun], seconds: float, where: str, *, is_whole: bool) -> Finding:
    text = f"{'' if is_whole else 'At least '}{counted(len(still), 'run')} with something to do "
    text += f"{'stands' if len(still) == 1 else 'stand'} still, the longest for {span(seconds)}: "
    cure = "Start a worker, which sets them going within a minute, or run 'flowcraft reconcile'."
    if seconds < LONG_SECONDS:
        return warning("runs.standing", text + _names(still), where, cure)
    cure = f"{cure} If workers are at hand, their log says what they lack."
    return error("runs.standing", text + _names(still), where, cure)


def _these(runs: list[StandingRun]) -> str:
    return f"{counted(len(runs), 'run')} {'waits' if len(runs) == 1 else 'wait'}"


def _names(runs: list[StandingRun]) -> str:
    return f"{few([each.run_id for each in runs])}."


# --- workers -------------------------------------------------------------------------------


def _workers(seen: list[Seen], now: float, where: str) -> Iterator[Finding]:
    check = "workers.seen"
    there = [each for each in seen if each.workers]
    for each in seen:
        yield (
            note(check, _told(each, now), where)
            if not each.workers
            else ok(check, _told(each, now), where)
        )
    if not there:
        text = "No worker has been seen in the last half an hour."
        yield warning(
            check,
            text,
            where,
            "Start one: 'flowcraft worker'. One that has just begun "
            "is seen after ten seconds, a Lambda function in its next call.",
        )
    packages = sorted({each.kind.package for each in there})
    if len(packages) > 1:
        yield note(
            "workers.versions",
            f"Workers of several versions work side by side: {', '.join(packages)}.",
            where,
            "That is how a deployment goes; if none is under way, bring all to one version.",
        )


def _told(seen: Seen, now: float) -> str:
    kind = seen.kind
    uses = "unknown nodes" if kind.uses is None else counted(len(kind.uses), "node function")
    name = f"flowcraft {kind.package} on Python {kind.python} with {uses} (kind {kind.id})"
    if seen.workers:
        since = span(max(now - seen.first_at, 1))
        return f"About {counted(seen.workers, 'worker')} of {name}, for {since}."
    return f"No worker any more of {name}; the last was seen {span(now - seen.seen_at)} ago."


# --- what live runs need -------------------------------------------------------------------


async def _needs(
    client: FlowClient, seen: list[Seen], registry: Collection[str] | None, where: str
) -> list[Finding]:
    """Whether all that live runs need is there: by the workers seen, and by the code here."""
    report = await client.drain_report(look_inside=False)
    if report.runs <= LOOKED_INSIDE and _lacking(report.needed, seen, registry):
        report = await client.drain_report()
    needed = [each for each in report.needed if each.may_run]
    newest = _newest(seen)
    found = [*_unknown(needed, seen, where)]
    if registry is not None:
        missing = [each for each in needed if each.uses not in registry]
        found += _older(missing, "The code here", where)
    elif newest is not None:
        missing = [each for each in needed if newest.kind.has(each.uses) is False]
        found += _older(missing, f"The newest kind of workers ({newest.kind.id})", where)
    if report.unread_runs:
        text = f"What {counted(report.unread_runs, 'live run')} may need is not known."
        found.append(warning("workers.unread", text, where, _UNREAD_CURE))
    if not found:
        text = f"{counted(report.runs, 'live run')}; no code that live runs need is missing."
        found.append(ok("workers.needed", text, where))
    return found


def _lacking(needed: Iterable[Needed], seen: list[Seen], registry: Collection[str] | None) -> bool:
    known = set(registry or ()) | BUILTIN_USES
    return any(each.uses not in known or not _is_there(each.uses, seen) for each in needed)


def _is_there(uses: str, seen: list[Seen]) -> bool:
    """Whether a worker is there that can, or may be able to, run a node."""
    return any(each.workers and each.kind.has(uses) is not False for each in seen)


def _newest(seen: list[Seen]) -> Seen | None:
    there = [each for each in seen if each.workers]
    return max(there, key=lambda each: each.first_at, default=None)


def _unknown(needed: list[Needed], seen: list[Seen], where: str) -> Iterator[Finding]:
    """What no worker that was seen can run: runs wait for it, and fail after a day."""
    if not any(each.workers for each in seen):
        return
    for each in needed:
        if not _is_there(each.uses, seen):
            yield error(
                "workers.needed",
                f"No worker that is there can run {_named(each)}.",
                where,
                "Start workers that have it: runs wait a day for it (implementation_timeout), and "
                "fail then.",
            )


def _older(missing: list[Needed], who: str, where: str) -> Iterator[Finding]:
    for each in missing:
        yield note(
            "workers.older",
            f"{who} cannot run {_named(each)}.",
            where,
            "Keep workers of the older version until these runs are over.",
        )


def _named(needed: Needed) -> str:
    version = "" if needed.version is None else f" version {needed.version}"
    since: datetime | None = needed.oldest_at
    begun = "" if since is None else f", the oldest of {since:%Y-%m-%d %H:%M}"
    runs = counted(needed.runs, "live run")
    return (
        f"'{needed.uses}', which {runs} of '{needed.blueprint_id}'{version} may still need"
        f"{begun}: {few(list(needed.examples))}"
    )
