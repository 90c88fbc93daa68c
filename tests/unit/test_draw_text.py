"""Drawings for a terminal."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import pytest

from flowcraft.core.draw_text import MOST_RAILS, draw_lines, draw_text
from flowcraft.core.picture import picture_of


def graph(edges: str, *more: str, **fields: Any) -> dict[str, Any]:
    """A blueprint from edges as in ``a>b b>c``; ``more`` are nodes without edges."""
    pairs = [pair.split(">") for pair in edges.split()]
    ids = dict.fromkeys([*(each for pair in pairs for each in pair), *more])
    nodes = [{"id": each, "uses": "work", **fields.get(each, {})} for each in ids]
    return {
        "id": "g",
        "nodes": nodes,
        "edges": [{"source": source, "target": target} for source, target in pairs],
    }


def test_a_chain_has_a_line_for_each_node() -> None:
    """Where nothing branches there is nothing but the nodes."""
    assert draw_text(graph("a>b b>c")) == ["○ a", "○ b", "○ c"]


def test_branches_have_rails_that_meet_again() -> None:
    """A fork opens rails, a join brings them together, and labels stand where they decide."""
    data = graph("check>pay check>free check>stock pay>book free>book stock>book")
    data["edges"][0]["action"] = "yes"
    data["edges"][1]["condition"] = "result.output == 0"
    assert draw_text(data) == [
        "○ check",
        "├─┬─╮ [yes] pay · [result.output == 0] free",
        "○ │ │ pay",
        "│ ○ │ free",
        "├─╯ │",
        "│   ○ stock",
        "├───╯",
        "○ book",
    ]


def test_a_line_passes_behind_rails_that_it_does_not_belong_to() -> None:
    """Two edges that cross do not look like a joint."""
    assert draw_text(graph("s>a s>b s>c a>d b>e c>d"))[2:6] == [
        "○ │ │ a",
        "│ ○ │ b",
        "│ ○ │ e",
        "│   ○ c",
    ]


def test_cycles_and_helpers_are_told() -> None:
    """An edge back is named at its source, a fallback has a rail with its name."""
    data = graph("go>again again>work work>again again>end", "rescue")
    data["nodes"][1]["uses"] = "loop-controller"
    data["nodes"][2]["config"] = {"fallback": "rescue"}
    assert draw_text(data) == [
        "○ go",
        "○ again  (loop-controller)",
        "├─╮",
        "○ │ work  ↺ again",
        "│ │ [fallback] rescue",
        "○ │ rescue",
        "  ○ end",
    ]


def test_states_are_words_and_signs() -> None:
    """Whoever sees no colours still sees how each node fared; a node not reached has no word."""
    states = {"a": "succeeded", "b": "failed"}
    data = graph("a>b b>c")
    assert draw_text(data, states) == ["✔ a  succeeded", "✖ b  failed", "○ c"]
    assert [(line.node_id, line.state) for line in draw_lines(data, states)] == [
        ("a", "succeeded"),
        ("b", "failed"),
        ("c", None),
    ]


def test_a_wide_graph_stays_narrow() -> None:
    """Edges for which there is no room are told in words, at both ends."""
    many = [f"n{number}" for number in range(40)]
    edges = " ".join([*(f"s>{each}" for each in many), *(f"{each}>t" for each in many)])
    lines = draw_text(graph(edges))
    assert max(map(len, lines)) < 80
    assert lines[1].endswith("→ n12, n13, n14, n15 and 24 more")
    assert sum("← s" in line for line in lines) == len(many) - MOST_RAILS


def test_every_node_has_one_line_whatever_the_graph() -> None:
    """Nodes of cycles without a start, alone, and of doubled edges are drawn once each."""
    data = graph("a>b b>a c>c d>e d>e e>f d>f", "z")
    named = [line.node_id for line in draw_lines(data) if line.node_id]
    assert sorted(named) == ["a", "b", "c", "d", "e", "f", "z"]
    assert draw_text({"nodes": [], "edges": []}) == []
    assert draw_text({"what": "ever"}) == []


@pytest.mark.parametrize("node_id", ["two\nlines", "\x1b[31mred", "\u202eback"])
def test_names_stay_in_their_line(node_id: str) -> None:
    """Control characters in an id neither break the drawing nor reach the terminal."""
    [line] = draw_text(graph("", node_id))
    assert line.isprintable()


def test_a_chain_of_thousands_is_drawn() -> None:
    """Depth is no matter of recursion."""
    data = graph(" ".join(f"n{i}>n{i + 1}" for i in range(3000)))
    assert len(draw_text(data)) == 3001


def test_without_its_back_lines_a_picture_has_no_cycle() -> None:
    """What is drawn against the direction is what closes cycles, from the starts on."""
    picture = picture_of(graph("s>a a>b b>c c>a b>b s>c"))
    names = [box.id for box in picture.boxes]
    back = [(names[line.source], names[line.target]) for line in picture.lines if line.is_back]
    assert sorted(back) == [("b", "b"), ("c", "a")]


@pytest.mark.parametrize("seed", range(20))
def test_rails_are_whole_whatever_the_graph(seed: int) -> None:
    """What leads down out of a line is met by what leads up in the next one, at the same place."""
    chance = random.Random(seed)
    for _ in range(10):
        count = chance.randrange(1, 14)
        edges = [(chance.randrange(count), chance.randrange(count)) for _ in range(2 * count)]
        pairs = " ".join(f"n{source}>n{target}" for source, target in edges)
        fallback = {"n0": {"config": {"fallback": f"n{count - 1}"}}}
        lines = draw_lines(graph(pairs, **fallback))
        for upper, lower in pairwise(lines):
            for at in range(0, max(len(upper.rails), len(lower.rails)), 2):
                above = upper.rails[at : at + 1] or " "
                below = lower.rails[at : at + 1] or " "
                leads_down, is_met = above in "│┤├┬┼╮╭", below in "│┤├┴┼╯╰"
                assert is_met or not leads_down or below == "○", "\n".join(map(str, lines))
                assert leads_down or not is_met or above == "○", "\n".join(map(str, lines))
