"""A drawing of a workflow in a terminal, each node in the colour of its state."""

from __future__ import annotations

from collections.abc import Iterable

from rich.text import Text

from flowcraft.cli.columns import cut
from flowcraft.cli.output import Output, plain
from flowcraft.cli.portrait import NODE_STYLES
from flowcraft.core.draw_text import TextLine, in_plain_signs


def show_lines(out: Output, lines: Iterable[TextLine]) -> None:
    """Write a drawing; lines that a terminal has no room for are cut.

    Args:
        out: Where to.
        lines: The drawing, as ``draw_lines`` makes it.
    """
    for line in lines:
        text, rails = plain(line.text), line.rails
        if not out.has_all_signs:
            text, rails = in_plain_signs(text), in_plain_signs(rails)
        style = NODE_STYLES.get(line.state or "", "")
        shown = Text().append(rails, "" if line.node_id is None else style)
        shown.append(f" {text}", "dim" if line.node_id is None else style)
        more = "…" if out.has_all_signs else "~"
        out.console.print(cut(shown, out.width, more), soft_wrap=True)
