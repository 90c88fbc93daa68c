"""The timeline of a run in text: a line for each node, and for each of several attempts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from rich.text import Text

from flowcraft.cli.columns import Column, lines_of
from flowcraft.cli.output import Output, plain
from flowcraft.cli.portrait import NODE_STYLES
from flowcraft.cli.times import span
from flowcraft.engine.inspecting import AttemptDetails, NodeDetails, RunDetails

BAR_COLUMNS: Final = (10, 60)
"""How wide the bars are, at least and at most."""

PIPED_BAR: Final = 40
NAME_SHARE: Final = 0.35
"""Of the width of a terminal so much at most is for the names of nodes."""

SIGNS: Final = {
    "succeeded": ("█", "="),
    "running": ("█", ">"),
    "failed": ("▒", "x"),
    "open": ("░", "-"),
    "between": ("·", "."),
}
"""What bars are made of, and in plain ASCII: work that was done, is under way, or failed; waits
and sleeps; the time between two attempts."""


class Span(NamedTuple):
    """A part of a bar.

    Attributes:
        kind: What it is made of: a key of :data:`SIGNS`.
        state: What gives its colour.
        begun: When it begins, in seconds since the epoch.
        ended: When it ends; ``None`` for what is not over.
    """

    kind: str
    state: str
    begun: float
    ended: float | None


@dataclass(frozen=True, slots=True)
class Scale:
    """What the columns of the bars stand for.

    Attributes:
        begin: The time at their left end, in seconds since the epoch.
        end: The time at their right end.
        columns: How many there are.
    """

    begin: float
    end: float
    columns: int

    def place(self, moment: float) -> int:
        """The column of a time."""
        share = (moment - self.begin) / (self.end - self.begin) if self.end > self.begin else 0.0
        return min(self.columns - 1, max(0, int(share * self.columns)))


def show_timeline(out: Output, run: RunDetails, now: float, nodes: Sequence[NodeDetails]) -> None:
    """Write the timeline of a run.

    Args:
        out: Where to.
        run: The run.
        now: The time, in seconds since the epoch.
        nodes: Those of its nodes that are shown.
    """
    begin = run.created_at.timestamp()
    end = now if run.ended_at is None else run.ended_at.timestamp()
    rows = [row for node in nodes for row in _rows(node, begin, now)]
    names = max([4, *(row.name.cell_len for row in rows)])
    if out.is_terminal:
        names = min(names, int(out.width * NAME_SHARE))
    head = [Column("node", least=8), Column("state"), Column("begins", right=True)]
    columns = [*head, Column("took", right=True)]
    width = names + 9 + 9 + 9 + 2 * len(columns)
    scale = Scale(begin, max(end, begin + 0.001), _bar_columns(out, width))
    for row in rows:
        row.cut_name(names)
    title = f"0 s{span(scale.end - begin).rjust(scale.columns - 3)}"
    lines = lines_of(
        [*columns, Column(title, is_whole=True, least=scale.columns)],
        [(*row.cells, _bar(out, row, scale, now)) for row in rows],
        max(out.width, width + scale.columns),
    )
    for line in lines:
        out.console.print(line, soft_wrap=True)


def _bar_columns(out: Output, taken: int) -> int:
    if not out.is_terminal:
        return PIPED_BAR
    least, most = BAR_COLUMNS
    return max(least, min(most, out.width - taken))


@dataclass(slots=True)
class _Row:
    """A line: a node, or one of its attempts.

    ``spans`` are what its bar is made of.
    """

    name: Text
    state: str
    begins: float | None
    took: float | None
    spans: list[Span]

    def cut_name(self, columns: int) -> None:
        """Make the name fit."""
        if self.name.cell_len > columns:
            self.name.truncate(columns, overflow="ellipsis")

    @property
    def cells(self) -> tuple[object, ...]:
        """All columns but that of the bar."""
        state = Text(self.state, style=NODE_STYLES.get(self.state, ""))
        begins = "" if self.begins is None else f"+{span(max(0.0, self.begins))}"
        return self.name, state, begins, span(self.took)


def _rows(node: NodeDetails, begin: float, now: float) -> Iterator[_Row]:
    spans = [_span_of(node, each) for each in node.attempts]
    spans += _between(node)
    if node.batch is not None and node.batch.done < node.batch.items and node.ended_at is not None:
        # The node is done when its items are handed out; they are what takes time.
        spans.append(Span("running", "running", node.ended_at.timestamp(), None))
    yield _row(
        Text(plain(node.name)), node.status, node.started_at, node.ended_at, spans, begin, now
    )
    if len(node.attempts) > 1:
        unknown = node.attempts[0].number - 1
        if unknown:
            yield _Row(Text(f"  {unknown} attempts before"), "failed", None, None, [])
        for each in node.attempts:
            own = _span_of(node, each)
            name = Text(f"  attempt {each.number}", style="dim")
            yield _row(name, own.state, each.started_at, each.ended_at, [own], begin, now)


def _row(
    name: Text,
    state: str,
    started_at: datetime | None,
    ended_at: datetime | None,
    spans: list[Span],
    begin: float,
    now: float,
) -> _Row:
    if started_at is None:
        return _Row(name, state, None, None, [])
    started = started_at.timestamp()
    ended = now if ended_at is None else ended_at.timestamp()
    return _Row(name, state, started - begin, ended - started, spans)


def _span_of(node: NodeDetails, attempt: AttemptDetails) -> Span:
    """What an attempt is in the bar."""
    is_last = attempt is node.attempts[-1] and node.status != "retrying"
    state = node.status if is_last else "failed"
    started = attempt.started_at or attempt.ended_at
    ended = None if attempt.ended_at is None else attempt.ended_at.timestamp()
    begun = 0.0 if started is None else started.timestamp()
    kind = {
        "failed": "failed",
        "rescued": "failed",
        "rescuing": "failed",
        "cancelled": "failed",
        "running": "running",
        "waiting": "open",
        "sleeping": "open",
        "child": "open",
    }.get(state, "succeeded")
    return Span(kind, state, begun, ended)


def _between(node: NodeDetails) -> Iterator[Span]:
    """The times between attempts, in which nothing was done."""
    for before, after in zip(node.attempts, node.attempts[1:], strict=False):
        if before.ended_at is not None and after.started_at is not None:
            yield Span(
                "between", "pending", before.ended_at.timestamp(), after.started_at.timestamp()
            )
    last = node.attempts[-1].ended_at if node.attempts else None
    if node.status == "retrying" and last is not None:
        yield Span("between", "pending", last.timestamp(), None)


def _bar(out: Output, row: _Row, scale: Scale, now: float) -> Text:
    """The bar of a line; what is short is seen all the same."""
    place = 0 if out.has_all_signs else 1
    cells: list[tuple[str, str]] = [(" ", "")] * scale.columns
    # Times between attempts come first: an attempt is never hidden by one of them.
    for kind, state, begun, ended in sorted(row.spans, key=lambda each: each[0] != "between"):
        first, last = scale.place(begun), scale.place(now if ended is None else ended)
        for column in range(first, last + 1):
            cells[column] = (SIGNS[kind][place], NODE_STYLES.get(state, ""))
    text = Text()
    for sign, style in cells:
        text.append(sign, style=style)
    text.rstrip()
    return text
