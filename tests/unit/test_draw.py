"""Mermaid drawings."""

from __future__ import annotations

import pytest

from flowcraft.core.draw import generate_mermaid


def test_a_simple_drawing() -> None:
    """Nodes, edges with what decides over them, and a fallback."""
    data = {
        "nodes": [
            {"id": "a", "uses": "work", "config": {"fallback": "c", "compensate": "b"}},
            {"id": "b", "uses": "work"},
            {"id": "c", "uses": "work"},
        ],
        "edges": [
            {"source": "a", "target": "b"},
            {"source": "a", "target": "c", "action": "go", "condition": "x", "transform": "input"},
        ],
    }
    assert generate_mermaid(data) == (
        "flowchart TD\n"
        '    a["a"]\n'
        '    b["b"]\n'
        '    c["c"]\n'
        "    a --> b\n"
        '    a -->|"go | x | input"| c\n'
        '    a -.->|"fallback"| c\n'
        '    a -.->|"compensate"| b\n'
    )


def test_built_in_nodes_have_shapes() -> None:
    """What a node does can be seen."""
    uses = ["wait", "sleep", "subflow", "batch-scatter", "batch-gather", "loop-controller"]
    data = {"nodes": [{"id": f"s_{u[:4]}{i}", "uses": u} for i, u in enumerate(uses)]}
    lines = generate_mermaid(data).split("\n")[1:-1]
    assert [line.strip() for line in lines] == [
        's_wait0(["s_wait0"])',
        's_slee1(["s_slee1"])',
        's_subf2[["s_subf2"]]',
        's_batc3[/"s_batc3"\\]',
        's_batc4[\\"s_batc4"/]',
        's_loop5{{"s_loop5"}}',
    ]


@pytest.mark.parametrize(
    "node_id", ["a b", "節点", "end", "End", "n7", "class_a", "a-b", "1", 'x"]; click a', "x" * 500]
)
def test_odd_ids_get_an_alias(node_id: str) -> None:
    """An id that Mermaid could misread is only in the label."""
    data = {
        "nodes": [{"id": "a", "uses": "work"}, {"id": node_id, "uses": "work"}],
        "edges": [{"source": "a", "target": node_id}],
    }
    lines = [line.strip() for line in generate_mermaid(data).split("\n")]
    assert lines[2].startswith('n1["')
    assert lines[3] == "a --> n1"


def test_text_cannot_break_out_of_a_label() -> None:
    """Quotes, brackets, entities, line breaks and control characters are only text."""
    data = {
        "nodes": [{"id": 'q"]<b>&#35;`\\\u202e\x00', "uses": "work"}, {"id": "z\ny", "uses": "w"}],
        "edges": [{"source": "z\ny", "target": "z\ny", "condition": 'a == "x" && b'}],
    }
    lines = generate_mermaid(data).split("\n")
    assert lines[1] == '    n0["q&quot;]&lt;b&gt;&amp;#35;35#59;#96;#92;U+202E "]'
    assert lines[2] == '    n1["z<br/>y"]'
    assert lines[3] == '    n1 -->|"a == &quot;x&quot; &amp;&amp; b"| n1'


def test_edges_of_unknown_nodes_are_left_out() -> None:
    """What the engine ignores is not drawn, and neither is what cannot be read."""
    data = {
        "nodes": [{"id": "a", "uses": "work", "config": {"fallback": "ghost"}}, {"uses": "work"}],
        "edges": [{"source": "a", "target": "ghost"}, {"source": "ghost", "target": "a"}, {}],
    }
    assert generate_mermaid(data) == 'flowchart TD\n    a["a"]\n'


def test_a_run_is_drawn_in_colours() -> None:
    """States give classes, taken edges are thick; unknown states and nodes have no effect."""
    data = {
        "nodes": [{"id": i, "uses": "work"} for i in ("a", "b", "c", "d")],
        "edges": [{"source": "a", "target": t} for t in ("b", "c", "d")],
    }
    states = {"a": "succeeded", "b": "skipped", "c": "succeeded", "d": "odd", "ghost": "failed"}
    text = generate_mermaid(data, states=states, taken=[("a", "c"), ("a", "d")], direction="LR")
    lines = [line.strip() for line in text.split("\n")]
    assert lines[0] == "flowchart LR"
    assert lines[8].startswith("linkStyle 1,2 ")
    assert lines[9].startswith("classDef succeeded fill:")
    assert lines[10] == "class a,c succeeded"
    assert lines[11].startswith("classDef skipped fill:")
    assert lines[12] == "class b skipped"
    assert lines[13:] == [""]


def test_an_unknown_direction() -> None:
    """A direction that Mermaid does not know is refused."""
    with pytest.raises(ValueError, match="direction must be TD"):
        generate_mermaid({"nodes": []}, direction="up")  # type: ignore[arg-type]
