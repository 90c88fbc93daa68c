"""Which loops a graph has, how they nest, and where a plan puts nodes and links."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flowcraft.core.blueprint import WorkflowBlueprint
from flowcraft.core.nesting import find_nesting
from flowcraft.core.plan import Link, build_plan
from tests.property.drive import Document, blueprint, chain, edge, node
from tests.property.graphs import SEEDS, case_of
from tests.property.shape import Shape


def nesting(text: str, count: int, starts: tuple[int, ...] = (0,)) -> tuple[list[int], list[int]]:
    """The headers and, per node, the number of loops around it, of edges such as ``01 12 20``."""
    following: list[list[int]] = [[] for _ in range(count)]
    for pair in text.split():
        following[int(pair[0])].append(int(pair[1]))
    found = find_nesting(following, starts)
    return list(found.headers), [len(loops) for loops in found.loops_of]


def test_no_cycle_no_loop() -> None:
    """A graph without cycles has none, however its branches meet."""
    assert nesting("01 02 13 23", 4) == ([], [0, 0, 0, 0])


def test_a_self_loop_is_a_loop() -> None:
    """An edge from a node to itself makes it the header of a loop of its own."""
    assert nesting("01 11 12", 3) == ([1], [0, 1, 0])


def test_the_header_is_met_first_from_the_starts() -> None:
    """S3: where the cycle is entered, not where it comes first in the document."""
    assert nesting("21 10 01", 3, starts=(2,)) == ([1], [1, 1, 0])


def test_two_ways_into_a_cycle_make_one_header() -> None:
    """S3: the one met first, depth-first in document order."""
    assert nesting("01 02 12 21", 3) == ([1], [0, 1, 1])
    assert nesting("02 01 12 21", 3) == ([2], [0, 1, 1])


def test_two_cycles_through_one_header_are_one_loop() -> None:
    """Edges back to one header are back edges of one loop."""
    assert nesting("01 12 21 13 31", 4) == ([1], [0, 1, 1, 1])


def test_what_is_cyclic_without_the_header_is_nested() -> None:
    """A cycle that does not touch the header is a loop inside."""
    headers, depths = nesting("01 12 23 32 31", 4)
    assert headers == [1, 2]
    assert depths == [0, 1, 2, 2]


def test_parents_of_nested_loops() -> None:
    """Each loop knows the one around it."""
    following = [[1], [2], [3], [3, 2, 1]]
    found = find_nesting(following, (0,))
    assert [found.headers[p] if p >= 0 else None for p in found.parents] == [None, 1, 2]


def test_a_deep_nesting_needs_no_recursion() -> None:
    """A chain of 300 nodes, each with an edge back, all nested, is found."""
    count = 300
    following = [[i + 1] if i + 1 < count else [] for i in range(count)]
    for i in range(count):
        following[count - 1].append(i)
    found = find_nesting(following, (0,))
    assert [len(loops) for loops in found.loops_of] == list(range(1, count + 1))


@st.composite
def graphs(draw: st.DrawFn) -> list[list[int]]:
    """The successors of up to eight nodes."""
    count = draw(st.integers(1, 8))
    return draw(st.lists(st.lists(st.integers(0, count - 1)), min_size=count, max_size=count))


@given(graphs())
def test_without_back_edges_no_cycle_is_left(following: list[list[int]]) -> None:
    """Every cycle goes through a back edge of the innermost loop around all of it."""
    found = find_nesting(following, (0,))
    forward = [
        [t for t in targets if not _is_back(found.headers, found.loops_of, source, t)]
        for source, targets in enumerate(following)
    ]
    assert find_nesting(forward, (0,)).headers == ()


def _is_back(
    headers: tuple[int, ...], loops_of: tuple[tuple[int, ...], ...], source: int, target: int
) -> bool:
    around = loops_of[target]
    inside = bool(around) and loops_of[source][: len(around)] == around
    return inside and headers[around[-1]] == target


@given(SEEDS)
def test_a_plan_puts_every_node_where_the_rules_say(seed: int) -> None:
    """The loops around each node of a random blueprint are those that the oracle finds."""
    document = case_of(seed).document
    plan = build_plan(WorkflowBlueprint.from_dict(document))
    headers = [plan.nodes[loop.header].id for loop in plan.loops]
    actual = {each.id: tuple(headers[loop] for loop in each.loops) for each in plan.nodes}
    assert actual == Shape(document).loops


def link_of(document: Document, source: str, target: str) -> Link:
    """A link of a document's plan."""
    plan = build_plan(WorkflowBlueprint.from_dict(document))
    ends = (plan.index_of[source], plan.index_of[target])
    [found] = [link for link in plan.links if (link.source, link.target) == ends]
    return found


def test_links_of_nested_loops() -> None:
    """A link knows how many loops it stays in, whether it goes back, and whether it leaves."""
    edges = [*chain("s", "o", "i", "e"), edge("i", "i", "x"), edge("i", "o", "y")]
    document = blueprint([node(each) for each in "soie"], edges)
    places = {
        (a, b): (link.common, link.back, link.leaves)
        for a, b in ("so", "oi", "ii", "io", "ie")
        for link in [link_of(document, a, b)]
    }
    assert places == {
        ("s", "o"): (0, False, False),
        ("o", "i"): (1, False, False),
        ("i", "i"): (2, True, False),
        ("i", "o"): (1, True, True),
        ("i", "e"): (0, False, True),
    }
