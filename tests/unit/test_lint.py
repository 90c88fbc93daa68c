"""What lint finds, and what it does not."""

from __future__ import annotations

from typing import Any

import pytest

from flowcraft.core.blueprint import NodeConfig, NodeDefinition, WorkflowBlueprint
from flowcraft.core.expressions import PropertyEvaluator, SafeEvaluator
from flowcraft.core.lint import LintResult, lint_blueprint
from flowcraft.errors import ExpressionSyntaxError


def drawn(nodes: str, edges: str = "", **parts: dict[str, Any]) -> dict[str, Any]:
    """A blueprint from ``"a b"`` and ``"ab:action ba?condition"``; ``parts`` by node id."""
    return {
        "id": "wf",
        "nodes": [{"id": n, "uses": "work", **parts.get(n, {})} for n in nodes.split()],
        "edges": [edge(text) for text in edges.split()],
    }


def edge(text: str) -> dict[str, Any]:
    """An edge from ``"ab"``, ``"ab:action"`` or ``"ab?condition"``."""
    fields = {"source": text[0], "target": text[1]}
    if text[2:]:
        fields["action" if text[2] == ":" else "condition"] = text[3:]
    return fields


def loop(condition: Any = "more") -> dict[str, Any]:
    """The fields of a loop controller."""
    return {"uses": "loop-controller", "params": {"condition": condition}}


def built_in(uses: str, **params: Any) -> dict[str, Any]:
    """The fields of a built-in node."""
    return {"uses": uses, "params": params}


def found(result: LintResult) -> list[tuple[str, ...]]:
    """Codes with the nodes concerned."""
    return [
        (i.code, *(x for x in (i.node_id, i.related_id) if x is not None)) for i in result.issues
    ]


def codes(data: Any, **options: Any) -> list[str]:
    """Only the codes."""
    return [issue.code for issue in lint_blueprint(data, **options).issues]


def test_nothing_wrong() -> None:
    """A sound blueprint has no findings."""
    result = lint_blueprint(drawn("a b", "ab"), registry=["work"], blueprints=[])
    assert result.issues == ()
    assert result.is_valid
    assert result.to_dict() == {"isValid": True, "issues": []}


def test_a_finding_in_full() -> None:
    """A finding names node, other node and place, and is complete in JSON terms."""
    result = lint_blueprint(drawn("a", a={"config": {"fallback": "ghost"}}))
    assert not result.is_valid
    assert result.to_dict()["issues"] == [
        {
            "code": "UNKNOWN_FALLBACK",
            "message": "The fallback of node 'a' is 'ghost', which is no node.",
            "severity": "error",
            "nodeId": "a",
            "relatedId": "ghost",
            "place": "nodes[0].config.fallback",
        }
    ]


def test_what_the_reader_refuses_is_reported() -> None:
    """A malformed document is no reason to stop looking."""
    data = {
        "nodes": [{"id": "a"}, {"id": "a", "uses": "work"}, {"uses": "work"}],
        "edges": [{"source": "a", "target": "ghost"}],
    }
    result = lint_blueprint(data, registry=["work"])
    assert found(result) == [
        ("MALFORMED",),
        ("DUPLICATE_NODE_ID", "a"),
        ("MALFORMED",),
        ("MISSING_BLUEPRINT_ID",),
        ("INVALID_EDGE_TARGET", "a"),
    ]
    assert result.issues[0].place == "nodes[0].uses"
    # A node was left out, so that positions of what was read are not those of the document.
    assert result.issues[-1].place is None


@pytest.mark.parametrize("data", [[], None, "x", {}, {"nodes": 5, "edges": {"x": 1}}])
def test_anything_can_be_linted(data: Any) -> None:
    """Lint never raises."""
    assert "MALFORMED" in codes(data)


def test_warnings_do_not_make_a_blueprint_invalid() -> None:
    """A document without id and edges works."""
    result = lint_blueprint({"nodes": [{"id": "a", "uses": "work"}]})
    assert found(result) == [("MISSING_BLUEPRINT_ID",), ("MISSING_EDGES",)]
    assert result.is_valid


def test_a_blueprint_made_by_hand_is_checked_too() -> None:
    """Objects that no reader has seen are read like documents."""
    nodes = (NodeDefinition("a", "work", config=NodeConfig(max_retries=-1)),)
    assert codes(WorkflowBlueprint("wf", nodes * 2)) == [
        "MALFORMED",
        "MALFORMED",
        "DUPLICATE_NODE_ID",
    ]


def test_implementations() -> None:
    """Unknown keys, workers and children are found where the known ones are given."""
    data = drawn(
        "a b c d",
        "ab bc cd",
        a={"uses": "nope"},
        b=built_in("batch-scatter", workerUsesKey="gone", gatherNodeId="c"),
        c=built_in("batch-gather", gatherNodeId="c"),
        d=built_in("subflow", blueprintId="ghost"),
    )
    assert found(lint_blueprint(data, registry={"work": 1}, blueprints={"kid": 1})) == [
        ("MISSING_NODE_IMPLEMENTATION", "a"),
        ("INVALID_BATCH_WORKER_KEY", "b"),
        ("INVALID_SUBFLOW_BLUEPRINT_ID", "d"),
    ]
    assert codes(data, registry=["nope", "gone"], blueprints=["ghost"]) == []
    assert codes(data) == []


def test_edges_of_unknown_nodes() -> None:
    """Both ends are looked at."""
    result = lint_blueprint(drawn("a b", "ab xb ay xy"))
    assert found(result) == [
        ("INVALID_EDGE_SOURCE", "b"),
        ("INVALID_EDGE_TARGET", "a"),
        ("INVALID_EDGE_SOURCE", "y"),
        ("INVALID_EDGE_TARGET", "x"),
    ]
    assert [issue.place for issue in result.issues][:2] == ["edges[1].source", "edges[2].target"]


def test_places_in_documents_with_mappings() -> None:
    """Where nodes and edges are mappings, places have their keys."""
    data = {
        "id": "wf",
        "nodes": {"first": {"id": "a", "uses": "sleep"}},
        "edges": {"e 1": {"source": "a", "target": "x"}},
    }
    places = [issue.place for issue in lint_blueprint(data).issues]
    assert places == ["edges['e 1'].target", "nodes.first.params.duration"]


def test_orphans_that_never_run() -> None:
    """A ring beside a chain is not reached."""
    result = lint_blueprint(drawn("a b x y", "ab xy yx?z"))
    assert found(result) == [("ORPHAN_NODE", "x"), ("ORPHAN_NODE", "y")]
    assert not result.is_valid


def test_orphans_that_run() -> None:
    """A lone ring, and a node behind an unknown one, are started: that is worth a warning."""
    ring = lint_blueprint(drawn("a b", "ab ba?z"))
    assert found(ring) == [("ORPHAN_NODE", "a"), ("ORPHAN_NODE", "b")]
    assert ring.is_valid
    behind = lint_blueprint(drawn("a b", "xb")).issues
    assert [(i.code, i.severity) for i in behind] == [
        ("INVALID_EDGE_SOURCE", "error"),
        ("ORPHAN_NODE", "warning"),
    ]


def test_helpers_are_reached_through_whom_they_help() -> None:
    """Fallbacks and compensations run though no edge leads to them."""
    data = drawn("a f u v", "fv", a={"config": {"fallback": "f", "compensate": "u"}})
    assert codes(data) == []


def test_helpers_of_what_never_runs() -> None:
    """The fallback of a node that is not reached does not run either."""
    data = drawn("a x f", "xx?z", x={"config": {"fallback": "f"}})
    assert found(lint_blueprint(data)) == [("ORPHAN_NODE", "x"), ("UNREACHABLE_NODE", "f")]


def test_a_single_node_is_no_orphan() -> None:
    """A node that only follows itself is its own start."""
    assert codes(drawn("a", "aa?z")) == []


@pytest.mark.parametrize(
    ("nodes", "edges", "parts"),
    [
        ("a b", "ab ba", {}),
        ("s a", "sa aa", {}),
        ("s a b o", "sa ab ba bo?x", {}),
        ("s a b", "sa ab:go ab ba", {}),
        # The condition of a controller becomes false, and then these are taken for ever.
        ("s l b", "sl lb:continue bl?x lb:break bl", {"l": loop()}),
        ("s l b", "sl lb:continue lb bl", {"l": loop()}),
        # A condition that cannot become false.
        ("s l b", "sl lb:continue bl", {"l": loop("true")}),
        ("s l b o", "sl lb:continue bl lo:break", {"l": loop(True)}),
        ("s l b", "sl lb:continue bl lb?x", {"l": loop("true")}),
    ],
)
def test_loops_without_exit(nodes: str, edges: str, parts: dict[str, Any]) -> None:
    """A cycle of edges that are always taken runs until the limit."""
    result = lint_blueprint(drawn(nodes, edges, **parts))
    assert [code for code, *_ in found(result) if code != "ORPHAN_NODE"] == ["LOOP_WITHOUT_EXIT"]
    assert not result.is_valid


@pytest.mark.parametrize(
    ("nodes", "edges", "parts"),
    [
        ("s a b", "sa ab ba?x", {}),
        ("s a b", "sa ab ba:again", {}),
        ("s l b o", "sl lb:continue bl lo:break", {"l": loop()}),
        ("s l b o", "sl lb:continue bl lo", {"l": loop()}),
        ("s l b", "sl lb:continue bl", {"l": loop()}),
        ("s o i b", "so oi:continue ib:continue bi io:break", {"o": loop(), "i": loop()}),
        ("s l b o", "sl lb:continue bl lo?x", {"l": loop("true")}),
        ("s l b", "sl lb:continue lb:other bl", {"l": loop()}),
    ],
)
def test_loops_that_end(nodes: str, edges: str, parts: dict[str, Any]) -> None:
    """A condition, an action or a controller on the way is an exit."""
    assert codes(drawn(nodes, edges, **parts)) == []


def test_an_endless_loop_that_never_runs() -> None:
    """What is not reached cannot spin."""
    assert codes(drawn("s a b", "ab ba")) == ["ORPHAN_NODE", "ORPHAN_NODE"]


def test_a_long_endless_loop_is_named_in_short() -> None:
    """The message names a few nodes of the cycle and counts the rest."""
    ids = "abcdefgh"
    edges = " ".join(s + t for s, t in zip(ids, ids[1:] + "a", strict=True))
    (issue,) = (i for i in lint_blueprint(drawn(" ".join(ids), edges)).issues if "LOOP" in i.code)
    assert "'a', 'b', 'c', 'd', 'e' and 3 more" in issue.message


def test_a_controller_without_continue() -> None:
    """Such a blueprint is refused at the start of a run, so lint says it before."""
    result = lint_blueprint(drawn("s l o", "sl lo:break lx:continue", l=loop()))
    assert ("LOOP_WITHOUT_CONTINUE", "l") in found(result)


def test_expressions_that_do_not_parse() -> None:
    """Conditions, transforms and the conditions of loops are checked."""
    data = drawn("s l b", "sl?a> lb:continue bl", l=loop("1 +"))
    data["edges"][0]["transform"] = "((("
    result = lint_blueprint(data)
    assert found(result) == [
        ("BAD_EXPRESSION", "s", "l"),
        ("BAD_EXPRESSION", "s", "l"),
        ("BAD_EXPRESSION", "l"),
    ]
    assert [issue.place for issue in result.issues] == [
        "edges[0].condition",
        "edges[0].transform",
        "nodes[1].params.condition",
    ]


def test_expressions_of_other_evaluators() -> None:
    """The evaluator that will be used decides what an expression is."""

    class Shouting:
        def evaluate(self, expression: str, scope: Any) -> Any:
            raise NotImplementedError

        def check(self, text: str) -> None:
            if not text.isupper():
                raise ExpressionSyntaxError("must be loud")

    class Silent:
        def evaluate(self, expression: str, scope: Any) -> Any:
            raise NotImplementedError

    data = drawn("a b", "ab?i<3")
    assert codes(data, evaluator=SafeEvaluator()) == []
    assert codes(data, evaluator=PropertyEvaluator()) == ["BAD_EXPRESSION"]
    assert codes(drawn("a b", "ab?x.y"), evaluator=PropertyEvaluator()) == []
    assert codes(data, evaluator=Shouting()) == ["BAD_EXPRESSION"]
    assert codes(drawn("a b", "ab?AB"), evaluator=Shouting()) == []
    assert codes(drawn("a b", "ab?((("), evaluator=Silent()) == []


@pytest.mark.parametrize(
    ("fields", "expected", "name"),
    [
        (built_in("sleep", duration="5w"), "BAD_DURATION", "duration"),
        (built_in("sleep"), "BAD_DURATION", "duration"),
        (built_in("wait", timeout="soon"), "BAD_DURATION", "timeout"),
        (built_in("webhook", timeout=-1), "BAD_DURATION", "timeout"),
        (built_in("wait", actions="yes"), "BAD_PARAM", "actions"),
        (built_in("batch-gather"), "MISSING_PARAM", "gatherNodeId"),
        (built_in("batch-scatter", gatherNodeId="b"), "MISSING_PARAM", "workerUsesKey"),
        (built_in("loop-controller"), "MISSING_PARAM", "condition"),
        (built_in("subflow"), "MISSING_PARAM", "blueprintId"),
        (built_in("subflow", blueprintId=5), "BAD_PARAM", "blueprintId"),
        (built_in("subflow", blueprintId="x", inputs=[]), "BAD_PARAM", "inputs"),
        (built_in("subflow", blueprintId="x", outputs={"a": 1}), "BAD_PARAM", "outputs"),
    ],
)
def test_parameters_of_built_in_nodes(fields: dict[str, Any], expected: str, name: str) -> None:
    """Parameters that are missing, or that the engine refuses, are found."""
    issues = lint_blueprint(drawn("a b", "ab", a=fields)).issues
    (issue,) = (i for i in issues if i.code != "LOOP_WITHOUT_CONTINUE")
    assert (issue.code, issue.node_id) == (expected, "a")
    assert issue.place == f"nodes[0].params.{name}"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("chunkSize", 0),
        ("chunkSize", 1.5),
        ("concurrency", True),
        ("failureMode", "ignore"),
        ("gatherNodeId", "ghost"),
        ("workerUsesKey", 5),
    ],
)
def test_parameters_of_batches(name: str, value: Any) -> None:
    """A batch that could not work is found."""
    params = {"workerUsesKey": "work", "gatherNodeId": "g", name: value}
    data = drawn("s g", "sg", s=built_in("batch-scatter", **params))
    data["nodes"][1] = {"id": "g", **built_in("batch-gather", gatherNodeId="g")}
    (issue,) = lint_blueprint(data).issues
    assert (issue.code, issue.place) == ("BAD_PARAM", f"nodes[0].params.{name}")


def test_actions_that_are_not_text() -> None:
    """The number 1 is not the text 1."""
    data = drawn("a b", "ab")
    data["edges"][0]["action"] = 1
    assert found(lint_blueprint(data)) == [("NON_TEXT_ACTION", "a", "b")]


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ({"maxRetries": 0}, "maxRetries"),
        ({"backoff": 0.5}, "backoff"),
        ({"retryDelay": 500, "retryDelayMax": 100}, "retryDelayMax"),
        ({"timeout": 0}, "timeout"),
        ({"fallback": "a"}, "fallback"),
        ({"compensate": "a"}, "compensate"),
    ],
)
def test_odd_configuration(config: dict[str, Any], name: str) -> None:
    """What is accepted and does not do what it seems to gets a warning."""
    (issue,) = lint_blueprint(drawn("a", a={"config": config})).issues
    assert (issue.code, issue.severity) == ("BAD_CONFIG_VALUE", "warning")
    assert issue.place == f"nodes[0].config.{name}"


def test_unknown_configuration() -> None:
    """A misspelled field is found."""
    (issue,) = lint_blueprint(drawn("a", a={"config": {"maxRetry": 3}})).issues
    assert (issue.code, issue.place) == ("UNKNOWN_CONFIG_KEY", "nodes[0].config.maxRetry")


def test_a_controller_that_says_all() -> None:
    """A loop-controller joins any of its edges, whatever it says."""
    controller = {**loop(), "config": {"joinStrategy": "all"}}
    assert codes(drawn("s l b", "sl lb:continue bl", l=controller)) == ["BAD_CONFIG_VALUE"]


def test_unknown_entry_points_and_compensations() -> None:
    """Names that lead nowhere are found in metadata and configuration, too."""
    data = drawn("a", a={"config": {"compensate": "ghost"}})
    data["metadata"] = {"cycleEntryPoints": ["a", "nobody"]}
    result = lint_blueprint(data)
    assert found(result) == [("UNKNOWN_CYCLE_ENTRY",), ("UNKNOWN_COMPENSATE", "a", "ghost")]
    assert result.issues[0].place == "metadata.cycleEntryPoints[1]"


def child(**outputs: str) -> dict[str, Any]:
    """A subflow that sets context keys."""
    return built_in("subflow", blueprintId="kid", outputs=outputs)


def test_context_keys_set_side_by_side() -> None:
    """Two nodes in no order that set one key are found; the later one is named first."""
    parts = {"a": child(k="x"), "b": child(k="x")}
    assert found(lint_blueprint(drawn("s a b", "sa sb", **parts))) == [
        ("CONTEXT_KEY_CONFLICT", "b", "a")
    ]
    assert codes(drawn("s a b", "sa ab", **parts)) == []
    assert codes(drawn("s b a", "sa ab", **parts)) == []
    assert codes(drawn("s a b", "sa ab ba?z", **parts)) == []


def test_writers_in_order_with_one_between() -> None:
    """That both come before a third does not put two writers in order."""
    parts = {n: child(k="x") for n in "abc"}
    assert found(lint_blueprint(drawn("a c b", "ac bc", **parts))) == [
        ("CONTEXT_KEY_CONFLICT", "b", "a")
    ]


def test_context_keys_of_batches_and_aliases() -> None:
    """The key of a batch, also if only its scatter says it, may be another node's id."""
    scatter = built_in("batch-scatter", workerUsesKey="w", gatherNodeId="g", outputKey="x")
    gather = built_in("batch-gather", gatherNodeId="g")
    assert found(lint_blueprint(drawn("s g x", "sg", s=scatter, g=gather))) == [
        ("CONTEXT_KEY_CONFLICT", "x", "g")
    ]
    assert codes(drawn("x s g", "xs sg", s=scatter, g=gather)) == []


def test_large_blueprints() -> None:
    """Work is bounded also where thousands of nodes in a deep graph set one key."""
    count = 3_000
    data = {
        "id": "wf",
        "nodes": [{"id": f"n{i}", **child(k="x")} for i in range(count)],
        "edges": [{"source": f"n{i}", "target": f"n{i + 1}"} for i in range(count - 1)],
    }
    assert codes(data) == []


def test_a_path_that_reaches_into_no_node_is_pointed_out() -> None:
    """Only a node's output has parts (S6): a path into a context value is read as one key."""
    node = {"id": "a", "uses": "x", "inputs": {"t": "order.total", "u": "a.b", "v": "_outputs.q"}}
    issues = lint_blueprint({"id": "w", "nodes": [node], "edges": []}).issues
    assert [(i.code, i.severity, i.place) for i in issues] == [
        ("LOOSE_REFERENCE", "warning", "nodes[0].inputs.t")
    ]


@pytest.mark.parametrize(
    ("nodes", "edges", "fallbacks", "warned"),
    [
        ("a b", "", {"a": "b", "b": "a"}, ["a"]),
        ("a b c", "", {"a": "b", "b": "c", "c": "a"}, ["a"]),
        ("s a", "sa", {"a": "s"}, ["a"]),
        ("s a", "sa?i<3", {"a": "s"}, []),
        ("a b", "", {"a": "b"}, []),
    ],
)
def test_a_fallback_that_leads_back_is_found(
    nodes: str, edges: str, fallbacks: dict[str, str], warned: list[str]
) -> None:
    """A node that is tried again by its own fallback, without end, is warned of."""
    config = {node: {"config": {"fallback": helper}} for node, helper in fallbacks.items()}
    issues = lint_blueprint(drawn(nodes, edges, **config)).issues
    assert [i.node_id for i in issues if i.code == "FALLBACK_LOOP"] == warned
    assert all(i.severity == "warning" for i in issues)


@pytest.mark.parametrize(
    ("edges", "place"), [("", ["nodes[0].params.gatherNodeId"]), ("ab", []), ("ax xb", [])]
)
def test_a_gather_node_that_no_edge_leads_to_is_found(edges: str, place: list[str]) -> None:
    """A batch whose results go nowhere is warned of; a way over other nodes will do."""
    batch = built_in("batch-scatter", workerUsesKey="w", gatherNodeId="b")
    gather = built_in("batch-gather", gatherNodeId="b")
    issues = lint_blueprint(drawn("a b x", edges, a=batch, b=gather)).issues
    assert [i.place for i in issues if i.code == "GATHER_WITHOUT_EDGE"] == place
