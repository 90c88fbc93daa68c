"""``flowcraft graph``: drawings of workflows and runs."""

from __future__ import annotations

import io
from pathlib import Path
from xml.etree import ElementTree

import pytest

from flowcraft.cli.drawing import show_lines
from flowcraft.cli.output import Output
from flowcraft.core.draw_text import draw_lines
from tests.unit.cli.conftest import Call, Work


def test_a_workflow_is_drawn_as_text_by_default(project: Path, flowcraft: Call) -> None:
    """A line for each node, with rails for the edges."""
    assert flowcraft("graph", "order").out.splitlines() == [
        "○ check",
        "├─╮ [usual] send · [large] approve",
        "│ ○ approve  (wait)",
        "├─╯ [yes] send",
        "○ send",
    ]


@pytest.mark.parametrize(
    ("format_", "begin"), [("mermaid", "flowchart TD"), ("svg", "<svg "), ("dot", "digraph ")]
)
def test_other_formats_are_texts_for_other_programs(
    project: Path, flowcraft: Call, format_: str, begin: str
) -> None:
    """What is piped is the drawing and nothing else."""
    ended = flowcraft("graph", "shop:order", "--format", format_)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith(begin)
    as_json = flowcraft("graph", "shop:order", "--format", format_, "--json").data
    assert (as_json["format"], as_json["graph"]) == (format_, ended.out)


@pytest.mark.parametrize(
    ("name", "begin"),
    [("o.svg", "<svg "), ("o.gv", "digraph"), ("o.mmd", "flow"), ("o", "○ check")],
)
def test_a_file_has_the_format_of_its_ending(
    project: Path, flowcraft: Call, name: str, begin: str
) -> None:
    """--out needs no --format where the ending says it."""
    ended = flowcraft("graph", "order", "--out", name)
    assert (ended.code, ended.out, ended.err) == (0, "", f"Wrote {name}\n")
    assert (project / name).read_text(encoding="utf-8").startswith(begin)


def test_a_run_is_drawn_with_the_states_of_its_nodes(
    project: Path, flowcraft: Call, work: Work
) -> None:
    """The blueprint is that of the run, and each node says how it fared."""
    flowcraft("start", "order", "-c", "amount=5000", "--run-id", "r1")
    work("r1")
    lines = flowcraft("graph", "--run", "r1").out.splitlines()
    assert [lines[0], lines[2], lines[4]] == [
        "✔ check  succeeded",
        "│ ◷ approve  (wait)  waiting",
        "○ send",
    ]
    svg = flowcraft("graph", "--run", "r1", "--format", "svg").out
    assert ElementTree.fromstring(svg).findtext("{*}title") == "order, run r1"
    mermaid = flowcraft("graph", "--run", "r1", "--format", "mermaid").out
    assert "class approve waiting" in mermaid


def test_what_cannot_be_drawn_is_told_in_one_message(project: Path, flowcraft: Call) -> None:
    """Nothing named, too much named, unknown names and unknown runs have their own codes."""
    flowcraft("start", "order", "-c", "amount=1", "--run-id", "r1")
    assert flowcraft("graph").code == 2
    assert flowcraft("graph", "order", "--run", "r1").code == 2
    assert flowcraft("graph", "nothing").code == 2
    assert flowcraft("graph", "--run", "r2").code == 3
    ended = flowcraft("graph", "order", "--out", "no/where.svg")
    assert (ended.code, "'no/where.svg' cannot be written" in ended.err) == (2, True)


def test_a_terminal_without_such_signs_gets_plain_ones() -> None:
    """The drawing is readable where only ASCII can be shown."""
    written = io.BytesIO()
    out = Output(stdout=io.TextIOWrapper(written, encoding="ascii", write_through=True))
    nodes = [{"id": each, "uses": "work"} for each in "abc"]
    edges = [{"source": "a", "target": "b"}, {"source": "a", "target": "c"}]
    show_lines(out, draw_lines({"nodes": nodes, "edges": edges}, {"a": "succeeded"}))
    assert written.getvalue().decode("ascii").splitlines() == [
        "+ a  succeeded",
        "+-+ ",
        "o | b",
        "  o c",
    ]
