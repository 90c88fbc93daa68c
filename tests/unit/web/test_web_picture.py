"""Drawings as JSON data: what there is in them, and that they fit together."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest

from flowcraft import create_flow
from flowcraft.core.blueprint import WorkflowBlueprint
from flowcraft.web.picture import WIDEST, picture_data


async def do(ctx: Any) -> None:
    """Do nothing."""


def flow_of(*edges: str, **options: Any) -> WorkflowBlueprint:
    """A workflow with an edge for each pair of letters."""
    flow = create_flow("f")
    for name in sorted(set("".join(edges))):
        flow.node(name, do, **options)
    for pair in edges:
        flow.edge(pair[0], pair[1])
    return flow.to_blueprint()


def test_boxes_are_in_document_order_and_do_not_overlap() -> None:
    """Whoever draws them needs no layout of their own."""
    data = picture_data(flow_of("ab", "ac", "ad", "be", "ce", "de", "ae"))
    boxes = data["boxes"]
    assert [box["id"] for box in boxes] == list("abcde")
    for one, other in combinations(boxes, 2):
        is_beside = abs(one["x"] - other["x"]) >= (one["width"] + other["width"]) / 2
        is_below = abs(one["y"] - other["y"]) >= (one["height"] + other["height"]) / 2
        assert is_beside or is_below
    for box in boxes:
        assert box["width"] / 2 <= box["x"] <= data["width"] - box["width"] / 2
        assert box["height"] / 2 <= box["y"] <= data["height"] - box["height"] / 2


def test_lines_go_from_their_source_to_their_target() -> None:
    """Those that close a cycle, too: their last point is at the box that they lead to."""
    data = picture_data(flow_of("ab", "bc", "cb", "cd"))
    boxes = data["boxes"]
    for line in data["lines"]:
        source, target = boxes[line["source"]], boxes[line["target"]]
        (first_x, first_y), (last_x, last_y) = line["points"][0], line["points"][-1]
        assert abs(first_x - source["x"]) <= source["width"] / 2
        assert abs(last_x - target["x"]) <= target["width"] / 2
        assert abs(abs(first_y - source["y"]) - source["height"] / 2) < 0.2
        assert abs(abs(last_y - target["y"]) - target["height"] / 2) < 0.2
    assert [line["isBack"] for line in data["lines"]].count(True) == 1


def test_an_edge_to_itself_has_no_points() -> None:
    """It is drawn beside its box, which has room for that."""
    (line,) = picture_data(flow_of("aa"))["lines"]
    assert line["points"] == []
    assert (line["source"], line["target"], line["isBack"]) == (0, 0, True)


def test_labels_and_helpers_are_told() -> None:
    """Actions and conditions have places; what leads to a fallback says so."""
    flow = create_flow("f").node("a", do, fallback="b").node("b", do).node("c", do)
    flow.edge("a", "c", action="yes", condition="x > 1")
    data = picture_data(flow.to_blueprint())
    kinds = {line["kind"]: line for line in data["lines"]}
    assert kinds["edge"]["labels"] == ["yes | x > 1"]
    assert len(kinds["edge"]["labelAt"]) == 2
    assert kinds["fallback"]["target"] == 1


@pytest.mark.parametrize("name", ["n" * 10_000, "語" * 500])
def test_no_name_makes_a_box_wider_than_others(name: str) -> None:
    """The name is there as it is; what is drawn of it is for whoever draws."""
    (box,) = picture_data(create_flow("f").node(name, do).to_blueprint())["boxes"]
    assert box["id"] == name
    assert box["width"] == WIDEST


def test_an_empty_workflow_has_an_empty_drawing() -> None:
    """Nothing to draw is no error."""
    data = picture_data(WorkflowBlueprint("f", (), ()))
    assert (data["boxes"], data["lines"], data["starts"]) == ([], [], [])
