"""What a person is shown of a run, in lines: how it is, what it waits for, what went wrong."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, Final

from rich.cells import cell_len
from rich.text import Text

from flowcraft.cli.failures import DONE, FAILED, NOT_OVER
from flowcraft.cli.list_ import event_text
from flowcraft.cli.output import STYLES, Output, plain
from flowcraft.cli.times import both, local, relative, span
from flowcraft.core.correlation import Correlation
from flowcraft.core.state import RunStatus
from flowcraft.engine.inspecting import BatchDetails, NodeDetails, RunDetails
from flowcraft.engine.jsonable import jsonable
from flowcraft.engine.results import Awaiting

LABEL_COLUMNS: Final = 11
"""How wide the labels are that stand in front of lines."""

NODE_STYLES: Final = {
    "succeeded": "green",
    "running": "cyan",
    "retrying": "yellow",
    "waiting": "yellow",
    "sleeping": "yellow",
    "child": "cyan",
    "ready": "magenta",
    "failed": "red",
    "rescuing": "red",
    "rescued": "yellow",
    "skipped": "bright_black",
    "blocked": "bright_black",
    "cancelled": "bright_black",
    "pending": "bright_black",
}
"""The colours of the states of nodes; the word is always there, too."""

ORDER: Final = tuple(NODE_STYLES)


def exit_code_of(status: RunStatus) -> int:
    """What ``--exit-status`` makes of how a run is."""
    if status is RunStatus.COMPLETED:
        return DONE
    return FAILED if status.is_final else NOT_OVER


# --- lines ---------------------------------------------------------------------------------


def say(out: Output, label: str, text: object, style: str = "", *, is_folded: bool = True) -> None:
    """Write a line behind a label, broken where it has to be so that the rest stands below it.

    Args:
        out: Where to.
        label: A word or two.
        text: The line, or several.
        style: A style of rich, or a word of ``STYLES``.
        is_folded: Otherwise the line is left to the terminal, so that it can be copied in whole.
    """
    words = text if isinstance(text, Text) else Text(plain(text), style=STYLES.get(style, style))
    room = out.width - LABEL_COLUMNS
    for line in _folded(words, room) if room >= 20 and is_folded else [words]:
        head = Text().append(label.ljust(LABEL_COLUMNS), "bold")
        out.console.print(head.append_text(line), soft_wrap=True)
        label = ""


def _folded(text: Text, width: int) -> Iterable[Text]:
    """The lines of a text; broken between words, and within one only if it has no room at all."""
    for line in text.split("\n", allow_blank=True):
        if line.cell_len <= width:
            yield line
        else:
            yield from _words(line, width)


def _words(line: Text, width: int) -> Iterator[Text]:
    part = Text()
    for word in line.split(" ", allow_blank=True):
        if part and part.cell_len + 1 + word.cell_len > width:
            yield part
            part = Text()
        if part:
            part.append(" ")
        part.append_text(word)
    yield part


# --- how it is -----------------------------------------------------------------------------


def status_text(run: RunDetails, now: float) -> Text:
    """How a run is, and since when."""
    word = str(run.status.value)
    text = Text().append(word, f"bold {STYLES.get(word, '')}")
    created = run.created_at.timestamp()
    if run.ended_at is not None:
        took = span(run.ended_at.timestamp() - created)
        text.append(f" {relative(run.ended_at, now)}, after {took}")
    else:
        text.append(f", {span(now - created)} after its start")
    if run.stopping is not None:
        text.append(f", being stopped: it will be {run.stopping}")
    if run.reason:
        text.append(f" ({plain(run.reason)})")
    return text


def counts_text(run: RunDetails) -> Text:
    """How many nodes are in which state."""
    counts = run.counts
    text = Text(f"{sum(counts.values())}: ")
    known = [state for state in ORDER if state in counts]
    others = [state for state in counts if state not in known]
    for place, state in enumerate([*known, *others]):
        text.append(", " if place else "")
        text.append(f"{counts[state]} {state}", style=NODE_STYLES.get(state, ""))
    return text


def awaiting_text(wait: Awaiting, now: float) -> str:
    """Something that is waited for, with what a person has to know to answer it."""
    parts = [" / ".join(wait.path)]
    if wait.reason == "timer":
        due = "" if wait.due_at is None else f" until {_due(wait.due_at, now)}"
        return f"{parts[0]}: sleeps{due}"
    if wait.title:
        parts.append(f'"{wait.title}"')
    if wait.actions:
        parts.append(f"actions: {', '.join(wait.actions)}")
    if wait.event is not None:
        parts.append(f"event: {event_text(Correlation(wait.event, wait.correlation_key))}")
    if wait.due_at is not None:
        parts.append(f"until {_due(wait.due_at, now)}")
    return "; ".join(parts)


def _due(seconds: float, now: float) -> str:
    return both(datetime.fromtimestamp(seconds, UTC), now)


def live_text(node: NodeDetails, now: float) -> str:
    """What a node is doing that something is still to become of."""
    parts = [f"{node.name}: {node.status}"]
    if node.attempt > 1:
        lost = f", {node.lost} lost their worker" if node.lost else ""
        parts.append(f"attempt {node.attempt}{lost}")
    since = node.attempts[-1].started_at if node.attempts else node.started_at
    if node.status == "running" and since is not None:
        parts.append(f"for {span(now - since.timestamp())}")
    if node.status == "retrying" and node.due_at is not None:
        parts.append(f"next attempt {both(node.due_at, now)}")
    if node.status == "running":
        parts.append(_held(node, now))
    if node.child_run_id is not None:
        parts.append(f"{node.child_run_id} is {node.child_status or 'about to begin'}")
    return "; ".join(part for part in parts if part)


def _held(node: NodeDetails, now: float) -> str:
    """Who has an attempt, as far as its lease tells."""
    if node.lease_until is None:
        return "no worker has it yet"
    if node.lease_until.timestamp() < now:
        gone = span(now - node.lease_until.timestamp())
        return f"its worker has not been heard of: the lease ended {gone} ago"
    return ""


# --- batches -------------------------------------------------------------------------------


def bar(out: Output, share: float, columns: int) -> Text:
    """A bar that is filled to a share of its length."""
    full, empty = ("█", "░") if out.has_all_signs else ("#", ".")
    filled = min(columns, int(max(0.0, share) * columns))
    text = Text().append(full * filled, "green")
    return text.append(empty * (columns - filled), "dim")


def batch_text(out: Output, batch: BatchDetails, columns: int = 24) -> Text:
    """How far a batch is."""
    share = batch.done / batch.items if batch.items else 1.0
    text = bar(out, share, columns)
    text.append(f" {'' if batch.is_exact else 'at least '}{batch.done:,} of {batch.items:,} items")
    text.append(f" ({int(share * 100)} %)")
    if batch.failed:
        text.append(f", {batch.failed:,} failed", style="red")
    if batch.running:
        text.append(f", {batch.running:,} under way")
    if batch.shards:
        text.append(f", in {batch.shards} records of which {batch.shards_over} are over")
    return text


# --- values --------------------------------------------------------------------------------


def value_text(value: Any) -> str:
    """A value as JSON on one line."""
    return json.dumps(jsonable(value), ensure_ascii=False)


def clipped(text: str, columns: int, more: str = "…") -> str:
    """The beginning of a text, with how much is left out."""
    if cell_len(text[: columns + 1]) <= columns and len(text) <= columns:
        return text
    note = f"{more} ({len(text):,} characters)"
    kept = text[: max(0, columns - cell_len(note))]
    while kept and cell_len(kept) + cell_len(note) > columns:
        kept = kept[:-1]
    return kept + note


# --- what to do ----------------------------------------------------------------------------


def next_steps(run: RunDetails) -> Iterator[str]:
    """Commands that a person may want now."""
    if run.status is RunStatus.FAILED:
        yield shlex.join(["flowcraft", "inspect", run.run_id])
        yield shlex.join(["flowcraft", "retry", run.run_id])
    if run.status is RunStatus.PAUSED:
        yield shlex.join(["flowcraft", "continue", run.run_id])
    for wait in run.awaiting[:3]:
        if wait.reason == "external_event" and not run.status.is_final:
            words = ["flowcraft", "resume", run.run_id, "--node", "/".join(wait.path)]
            yield shlex.join(words + (["--action", wait.actions[0]] if wait.actions else []))


def heading(run: RunDetails) -> Text:
    """Which run it is, and of what."""
    version = "" if run.version is None else f" version {run.version}"
    text = Text().append(plain(run.run_id), "bold")
    return text.append(f"  {plain(run.blueprint_id)}{plain(version)}")


def times_text(run: RunDetails, now: float) -> str:
    """When a run began and ended."""
    began = f"started {both(run.created_at, now)}"
    return began if run.ended_at is None else f"{began}, ended {local(run.ended_at, now)}"
