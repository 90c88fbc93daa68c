"""Drawings as SVG and DOT, and the places they are made of."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import pytest

from flowcraft.core.draw_dot import draw_dot
from flowcraft.core.draw_svg import draw_svg
from flowcraft.core.layers import MOST_BENDS, layering_of
from flowcraft.core.layout import GAP, Layout, Size, lay_out

SVG = "{http://www.w3.org/2000/svg}"


def graph(*edges: tuple[str, str], **fields: dict[str, Any]) -> dict[str, Any]:
    """A blueprint of edges; ``fields`` are those of some nodes."""
    ids = dict.fromkeys([*(end for edge in edges for end in edge), *fields])
    nodes = [{"id": each, "uses": "work", **fields.get(each, {})} for each in ids]
    return {"id": "g", "nodes": nodes, "edges": [{"source": s, "target": t} for s, t in edges]}


def parsed(text: str) -> ElementTree.Element:
    """The document, which has to be well-formed."""
    return ElementTree.fromstring(text)


def titles(text: str, kind: str) -> list[str]:
    """What is told of each node, or edge."""
    groups = [each for each in parsed(text).iter(f"{SVG}g") if kind in each.get("class", "")]
    return [str(group.findtext(f"{SVG}title")) for group in groups]


def test_every_node_and_edge_is_drawn_with_its_title() -> None:
    """Whoever points at something, or has it read, is told what it is."""
    data = graph(("a", "b"), ("b", "a"), ("b", "b"), a={"config": {"fallback": "b"}})
    data["edges"][0] |= {"action": "go", "condition": "x > 1"}
    text = draw_svg(data, states={"a": "failed", "b": "succeeded"})
    assert titles(text, "node") == ["a (work): failed", "b (work): succeeded"]
    assert sorted(titles(text, "edge")) == [
        "a → b: fallback",
        "a → b: go | x > 1",
        "b → a",
        "b → b",
    ]
    root = parsed(text)
    assert root.findtext(f"{SVG}title") == "g"
    assert root.findtext(f"{SVG}desc") == "A workflow of 2 nodes: 1 failed, 1 succeeded."


def test_a_state_is_told_in_words_and_a_sign() -> None:
    """No state is told by its colour alone."""
    states = ["succeeded", "failed", "running", "skipped", "blocked", "rescued", "sleeping"]
    data = graph(**{state: {} for state in states}, other={})
    text = draw_svg(data, states={state: state for state in states})
    shown = ["".join(each.itertext()) for each in parsed(text).iter(f"{SVG}text")]
    for state in states:
        assert any(line.endswith(f" {state}") and len(line) == len(state) + 2 for line in shown)
    assert "○ not reached" in shown


def test_taken_and_helping_and_returning_edges_look_different() -> None:
    """Their lines differ in width and dashes."""
    data = graph(("a", "b"), ("b", "a"), a={"config": {"fallback": "c"}}, c={})
    text = draw_svg(data, taken=[("a", "b")])
    classes = [each.get("class", "") for each in parsed(text).iter(f"{SVG}g")]
    kinds = sorted(each for each in classes if each.startswith("edge"))
    assert kinds == ["edge back", "edge helper", "edge taken"]


@pytest.mark.parametrize(
    "text", ['<script>alert("x")</script>', "a & b", "\x00\x1b[31m", "]]>", "'\"", "\ud800", "￿"]
)
def test_whatever_ids_hold_is_text(text: str) -> None:
    """Neither markup nor control characters of an id or a condition get into the document."""
    data = graph((text, "b"))
    data["edges"][0]["condition"] = text
    for made in (draw_svg(data, title=text), draw_dot(data)):
        assert all(sign.isprintable() or sign == "\n" for sign in made.replace("\\n", ""))
    root = parsed(draw_svg(data, title=text))
    assert {each.tag for each in root.iter()} <= {
        f"{SVG}{name}"
        for name in [
            "svg",
            "title",
            "desc",
            "style",
            "defs",
            "marker",
            "path",
            "rect",
            "g",
            "text",
            "polygon",
        ]
    }


def test_shapes_tell_what_a_node_is() -> None:
    """The engine's own nodes have shapes of their own."""
    uses = ["loop-controller", "wait", "subflow", "batch-scatter", "batch-gather", "work"]
    data = graph(**{each: {"uses": each} for each in uses})
    nodes = [each for each in parsed(draw_svg(data)).iter(f"{SVG}g") if each.get("class") == "node"]
    shapes = [
        [(part.tag.removeprefix(SVG), part.get("rx")) for part in node if part.get("class")]
        for node in nodes
    ]
    drawn = [[each for each in shape if each[0] != "text"] for shape in shapes]
    assert len({str(shape) for shape in drawn[:3]}) == 3
    assert [each[0][0] for each in drawn] == [
        "polygon",
        "rect",
        "rect",
        "polygon",
        "polygon",
        "rect",
    ]


def test_an_empty_or_malformed_document_is_drawn_as_far_as_it_goes() -> None:
    """Drawing refuses nothing."""
    assert titles(draw_svg({}), "node") == []
    assert titles(draw_svg({"nodes": [{"id": "a", "uses": "x"}, 5]}), "node") == ["a (x)"]


def random_lines(count: int, seed: int) -> list[tuple[int, int]]:
    """Lines of a graph without cycles."""
    chance = random.Random(seed)
    pairs = [sorted(chance.sample(range(count), 2)) for _ in range(count * 2)]
    return list(dict.fromkeys((low, high) for low, high in pairs))


def placed(count: int, seed: int) -> tuple[Layout, list[Size], list[tuple[int, int]]]:
    """A layout of boxes of several sizes, some lines with labels."""
    chance = random.Random(seed)
    sizes = [Size(chance.uniform(40, 200), chance.uniform(20, 60)) for _ in range(count)]
    lines = random_lines(count, seed)
    labels = [Size(60, 16) if chance.random() < 0.3 else None for _ in lines]
    return lay_out(sizes, lines, labels), sizes, lines


@pytest.mark.parametrize("seed", range(8))
def test_no_two_boxes_overlap_and_lines_lead_downwards(seed: int) -> None:
    """Boxes keep their distance, lines go from lower edges to upper ones, all within the size."""
    layout, sizes, lines = placed(30, seed)
    for one, (a, its_size) in enumerate(zip(layout.boxes, sizes, strict=True)):
        assert a.x - its_size.width / 2 >= -0.01
        assert a.x + its_size.width / 2 <= layout.size.width + 0.01
        for b, size in list(zip(layout.boxes, sizes, strict=True))[one + 1 :]:
            across = abs(a.x - b.x) - (its_size.width + size.width) / 2
            down = abs(a.y - b.y) - (its_size.height + size.height) / 2
            assert across >= GAP - 0.01 or down > 0
    for (source, target), route in zip(lines, layout.routes, strict=True):
        assert all(upper.y <= lower.y for upper, lower in pairwise(route))
        assert route[0].y == pytest.approx(layout.boxes[source].y + sizes[source].height / 2)
        assert route[-1].y == pytest.approx(layout.boxes[target].y - sizes[target].height / 2)


@pytest.mark.parametrize("seed", range(4))
def test_labels_do_not_lie_over_boxes(seed: int) -> None:
    """A label has room of its own between the layers."""
    layout, sizes, _ = placed(25, seed)
    for label in filter(None, layout.labels):
        for box, size in zip(layout.boxes, sizes, strict=True):
            across = abs(label.x - box.x) - (60 + size.width) / 2
            assert across > 0 or abs(label.y - box.y) - (16 + size.height) / 2 > 0


def test_a_graph_that_can_be_drawn_without_crossings_mostly_is() -> None:
    """The order in the layers is improved: two chains that are listed crosswise come apart."""
    layering = layering_of(6, [(0, 3), (1, 2), (2, 5), (3, 4)])
    order = [list(layer) for layer in layering.layers]
    first = order[0].index(0) < order[0].index(1)
    assert (order[1].index(3) < order[1].index(2)) is first
    assert (order[2].index(4) < order[2].index(5)) is first


def test_a_start_stands_near_to_what_follows_it() -> None:
    """A node that only feeds a late one does not stand at the top."""
    layering = layering_of(4, [(0, 1), (1, 2), (3, 2)])
    assert [sorted(layer) for layer in layering.layers] == [[0], [1, 3], [2]]


def test_a_thousand_nodes_are_drawn() -> None:
    """Where there would be too many bends, the longest lines go straight."""
    edges = [(f"n{i}", f"n{i + 1}") for i in range(999)] + [(f"n{i}", "n999") for i in range(998)]
    lines = [(int(s[1:]), int(t[1:])) for s, t in edges]
    bends = sum(len(chain) - 2 for chain in layering_of(1000, lines).chains)
    assert bends <= MOST_BENDS
    chance = random.Random(1)
    usual = [(f"n{chance.randrange(max(0, i - 30), i)}", f"n{i}") for i in range(1, 1000)]
    assert len(titles(draw_svg(graph(*usual)), "node")) == 1000


def test_dot_has_nodes_edges_and_states() -> None:
    """Graphviz is given labels, shapes, and which edges are no part of the layers."""
    data = graph(("a", "b"), ("b", "a"), b={"uses": "wait", "config": {"compensate": "a"}})
    data["edges"][0]["action"] = 'say "go"\\'
    text = draw_dot(data, states={"a": "succeeded", "b": "skipped"}, taken=[("a", "b")])
    assert text.splitlines() == [
        'digraph "g" {',
        '  node [shape=box, style="rounded,filled", fillcolor="#f6f8fa"];',
        '  n0 [label="a\\nsucceeded", tooltip="work", fillcolor="#dafbe1"];',
        '  n1 [label="b\\nskipped", tooltip="wait", shape=ellipse, style="dashed"];',
        '  n0 -> n1 [label="say \\"go\\"\\\\", penwidth=3];',
        "  n1 -> n0 [constraint=false];",
        '  n1 -> n0 [label="compensate", style=dotted, constraint=false];',
        "}",
    ]
