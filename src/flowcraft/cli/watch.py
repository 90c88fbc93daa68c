"""``flowcraft watch``: runs while they go on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Protocol

import click
from rich.console import Group
from rich.live import Live
from rich.text import Text

from flowcraft.cli.changes import Changed, list_changes, run_changes
from flowcraft.cli.failures import DONE, FAILED, NOT_OVER, TIMED_OUT, CommandError
from flowcraft.cli.invocation import Invocation, pass_invocation
from flowcraft.cli.list_ import run_lines
from flowcraft.cli.output import Output, plain
from flowcraft.cli.portrait import (
    awaiting_text,
    batch_text,
    counts_text,
    exit_code_of,
    heading,
    live_text,
    status_text,
)
from flowcraft.cli.times import local
from flowcraft.engine.client import FlowClient
from flowcraft.engine.finding import LIVE, Wanted, find
from flowcraft.engine.following import Follower
from flowcraft.engine.inspecting import RunDetails
from flowcraft.engine.stored import RunSummary

MOST_RUNS: Final = 20
MOST_LISTED: Final = 50
LINES_OF_RUN: Final = 8
REDRAWN_SECONDS: Final = 1.0
"""So often a terminal is drawn anew, so that times go on; nothing is read for that."""

PAUSES: Final = {
    ("sqlite", True): (0.2, 2.0),
    ("sqlite", False): (1.0, 5.0),
    ("aws", True): (2.0, 15.0),
    ("aws", False): (5.0, 30.0),
}
"""Seconds between two looks, right after a change and where nothing changes for long; by backend,
and whether runs were named: a list of all live runs costs more."""

EPILOG: Final = """\b
flowcraft watch RUN && echo completed
flowcraft watch
flowcraft watch RUN --json | jq .nodeStatus"""

HELP: Final = """Follow runs until they are over, or until Ctrl-C; without RUN all live runs.

On AWS each look takes one read of each run that is named, and one of each child run and of each
part of a large batch that is under way; without RUN it takes three lists of runs. Looks are 2 s
apart while something changes (5 s without RUN), and up to 15 s (30 s) where nothing does.

Exit codes where runs were named: 0 completed, 1 one failed or was cancelled, 6 not over in time."""


class Subject(Protocol):
    """What is watched."""

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen."""
        ...

    @property
    def exit_code(self) -> int:
        """What it came to so far."""
        ...

    async def look(self) -> Sequence[Changed]:
        """Look again; gives what has become different."""
        ...

    def lines(self, out: Output, now: float) -> Iterator[Text]:
        """How it is, for a terminal."""
        ...


@click.command(name="watch", help=HELP, epilog=EPILOG)
@click.argument("run_ids", metavar="[RUN]...", nargs=-1)
@click.option(
    "--every",
    type=click.FloatRange(0.05, 3600.0),
    metavar="SECONDS",
    help="Look so often, whether or not something changes.",
)
@click.option("--timeout", type=click.FloatRange(0.0), metavar="SECONDS", help="End after so long.")
@pass_invocation
def command(
    invocation: Invocation,
    /,
    run_ids: tuple[str, ...],
    every: float | None,
    timeout: float | None,
) -> int:
    """Follow runs."""
    names = tuple(dict.fromkeys(run_ids))
    if len(names) > MOST_RUNS:
        raise CommandError(f"Up to {MOST_RUNS} runs can be watched at a time, not {len(names)}.")
    pauses = PAUSES[invocation.settings["backend"], bool(names)]
    rhythm = Rhythm(*(pauses if every is None else (every, every)))

    async def work() -> int:
        async with invocation.client() as client:
            subject: Subject = await Named.of(client, names) if names else Listed(client)
            return await follow(invocation, subject, rhythm, timeout)

    return invocation.run(work())


# --- what is watched -----------------------------------------------------------------------


@dataclass(slots=True)
class Named:
    """Runs that were named.

    Attributes:
        followers: What looks at each of them.
        runs: Each as it was at the last look.
    """

    followers: Sequence[Follower]
    runs: list[RunDetails | None] = field(default_factory=list)

    @classmethod
    async def of(cls, client: FlowClient, run_ids: Sequence[str]) -> Named:
        """Runs by their ids."""
        return cls([await client.follow_run(run_id) for run_id in run_ids], [None] * len(run_ids))

    @property
    def is_over(self) -> bool:
        """Whether all of them are."""
        return all(run is not None and run.status.is_final for run in self.runs)

    @property
    def exit_code(self) -> int:
        """0 if all completed, 1 if one failed or was cancelled, else that of a run not over."""
        codes = {NOT_OVER if run is None else exit_code_of(run.status) for run in self.runs}
        return next(code for code in (FAILED, NOT_OVER, DONE) if code in codes)

    async def look(self) -> Sequence[Changed]:
        """Look again at those that are not over."""
        changed: list[Changed] = []
        for place, follower in enumerate(self.followers):
            before = self.runs[place]
            if before is None or not before.status.is_final:
                after = self.runs[place] = await follower.look()
                changed += run_changes(before, after)
        return changed

    def lines(self, out: Output, now: float) -> Iterator[Text]:
        """Each run in a few lines."""
        room = max(4, (out.console.height - 1) // len(self.runs) - 1)
        for place, run in enumerate(self.runs):
            if run is not None:
                if place:
                    yield Text()
                yield from _lines_of_run(out, run, now, min(room, 40))


def _lines_of_run(out: Output, run: RunDetails, now: float, room: int) -> Iterator[Text]:
    yield heading(run)
    yield status_text(run, now)
    yield Text("nodes ").append_text(counts_text(run))
    more = [
        Text(f"  {plain(node.name)} ").append_text(batch_text(out, node.batch))
        for node in run.nodes
        if node.batch is not None
    ]
    if not run.status.is_final:
        busy = ("running", "retrying", "child")
        more += [Text(f"  {plain(live_text(n, now))}") for n in run.nodes if n.status in busy]
        more += [Text(f"  waits for {plain(awaiting_text(w, now))}") for w in run.awaiting]
    more += [
        Text(f"  {plain(error.node_id or 'run')}: {plain(f'{error.type}: {error.message}')}", "red")
        for error in run.errors
    ]
    fits = max(1, room - 3)
    yield from more[:fits] if len(more) <= fits else more[: fits - 1]
    if len(more) > fits:
        yield Text(f"  … and {len(more) - fits + 1} more", style="dim")


@dataclass(slots=True)
class Listed:
    """All runs that are not over.

    Attributes:
        client: Whose runs.
        runs: Those of the last look, by id, the newest first.
        has_more: Whether there are more than are shown.
    """

    client: FlowClient
    runs: dict[str, RunSummary] = field(default_factory=dict)
    has_more: bool = False
    is_over: bool = False
    exit_code: int = DONE

    async def look(self) -> Sequence[Changed]:
        """List them again."""
        wanted = Wanted(tuple(map(str, LIVE)), {}, None, MOST_LISTED)
        found = await find(self.client, wanted)
        after = {run.run_id: run for run in found.runs}
        changed = list(list_changes(self.runs, after))
        self.runs, self.has_more = after, found.after is not None
        return changed

    def lines(self, out: Output, now: float) -> Iterator[Text]:
        """A table of them."""
        if not self.runs:
            yield Text("There are no live runs. Waiting for one; Ctrl-C ends.", style="dim")
            return
        room = max(1, out.console.height - 3)
        lines = run_lines(out, tuple(self.runs.values()), now)
        yield from lines[: room + 1]
        left = len(lines) - room - 1
        if left > 0 or self.has_more:
            yield Text("… and more: flowcraft list --live", style="dim")


# --- following -----------------------------------------------------------------------------


@dataclass(slots=True)
class Rhythm:
    """How far apart looks are: the longer nothing changes, the farther.

    Attributes:
        shortest: Seconds after a change.
        longest: Seconds where nothing changes for long.
    """

    shortest: float
    longest: float
    seconds: float = 0.0

    def next(self, *, has_changed: bool) -> float:
        """Seconds until the next look."""
        if has_changed or not self.seconds:
            self.seconds = self.shortest
        else:
            self.seconds = min(self.longest, self.seconds * 1.5)
        return self.seconds


async def pause(seconds: float) -> None:
    """Wait; a test has its own."""
    await asyncio.sleep(seconds)


async def follow(
    invocation: Invocation, subject: Subject, rhythm: Rhythm, timeout: float | None
) -> int:
    """Show what is watched until it is over, or time is up; gives the exit code."""
    out, clock = invocation.out, invocation.clock
    end = None if timeout is None else clock.now() + timeout
    is_drawn = out.is_terminal and not out.as_json
    # What is drawn is cleared by nobody: the last picture stays.
    with Live(console=out.console, auto_refresh=False) if is_drawn else _Nothing() as live:
        while True:
            changed = await subject.look()
            _show(invocation, subject, changed, live)
            if subject.is_over:
                return subject.exit_code
            left = rhythm.next(has_changed=bool(changed))
            while left > 0:
                if end is not None and clock.now() >= end:
                    return TIMED_OUT if isinstance(subject, Named) else DONE
                part = min(left, REDRAWN_SECONDS)
                await pause(part if end is None else min(part, max(0.01, end - clock.now())))
                left -= part
                if is_drawn:
                    _show(invocation, subject, (), live)


class _Nothing:
    """Stands for the picture where there is none."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None


def _show(
    invocation: Invocation, subject: Subject, changed: Sequence[Changed], live: Live | None
) -> None:
    out, now = invocation.out, invocation.clock.now()
    if live is not None:
        lines = [_one_line(line) for line in subject.lines(out, now)]
        live.update(Group(*lines), refresh=True)
        return
    moment = datetime.fromtimestamp(now, UTC)
    for each in changed:
        if out.as_json:
            out.json_line({"at": moment, **_data(each)})
        else:
            out.print(f"{local(moment)} {each}")
    out.flush()


def _data(changed: Changed) -> dict[str, Any]:
    return {
        "runId": changed.run_id,
        "status": changed.status,
        "node": changed.node,
        "nodeStatus": changed.node_status,
        "detail": changed.detail,
    }


def _one_line(text: Text) -> Text:
    """A line that is cut where the terminal ends."""
    text.no_wrap, text.overflow = True, "ellipsis"
    return text
