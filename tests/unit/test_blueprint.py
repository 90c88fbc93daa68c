"""Reading, refusing and writing blueprints."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowcraft.core.blueprint import (
    EdgeDefinition,
    NodeConfig,
    NodeDefinition,
    WorkflowBlueprint,
    blueprint_hash,
    read_blueprint,
    sanitize_blueprint,
)
from flowcraft.core.reading import MAX_DEPTH
from flowcraft.errors import BlueprintError

FULL: dict[str, Any] = {
    "id": "order",
    "nodes": [
        {
            "id": "a.b c",
            "uses": "work",
            "params": {"list": [1, {"deep": None}], "empty": {}},
            "inputs": {"x": "other.path"},
            "config": {
                "maxRetries": 3,
                "retryDelay": 250,
                "backoff": 1.5,
                "retryDelayMax": 5000,
                "jitter": False,
                "retryOn": ["TimeoutError"],
                "noRetryOn": ["shop.Declined"],
                "timeout": 1000,
                "fallback": "b",
                "compensate": "c",
                "isolation": "process",
                "joinStrategy": "any",
                "concurrencyKey": "gpu",
            },
            "position": {"x": 1},
        },
        {"id": "b", "uses": "work", "params": {}, "config": {"joinStrategy": "all"}},
        {"id": "c", "uses": "work"},
    ],
    "edges": [
        {"source": "a.b c", "target": "b", "action": "go", "condition": "x", "transform": "input"},
        {"source": "b", "target": "c", "animated": True},
    ],
    "metadata": {"version": "2", "onFailure": "fail_fast", "cycleEntryPoints": ["b"], "by": "me"},
    "viewport": {"zoom": 1},
}


def with_node(**fields: Any) -> dict[str, Any]:
    """A blueprint of one node that has these fields."""
    return {"id": "wf", "nodes": [{"id": "a", "uses": "work", **fields}], "edges": []}


def with_edge(**fields: Any) -> dict[str, Any]:
    """A blueprint of one edge that has these fields."""
    nodes = [{"id": "a", "uses": "work"}]
    return {"id": "wf", "nodes": nodes, "edges": [{"source": "a", "target": "a", **fields}]}


def problems_of(data: Any) -> list[str]:
    """What the reader has to say, as texts."""
    return [str(problem) for problem in read_blueprint(data)[1]]


def test_every_field_is_read() -> None:
    """Each JSON field arrives under its Python name."""
    blueprint = WorkflowBlueprint.from_dict(FULL)
    node = blueprint.nodes[0]
    assert (node.id, node.uses) == ("a.b c", "work")
    assert node.inputs == {"x": "other.path"}
    assert node.config == NodeConfig(
        max_retries=3,
        retry_delay_ms=250,
        backoff=1.5,
        retry_delay_max_ms=5000,
        jitter=False,
        retry_on=("TimeoutError",),
        no_retry_on=("shop.Declined",),
        timeout_ms=1000,
        fallback="b",
        compensate="c",
        isolation="process",
        join_strategy="any",
        concurrency_key="gpu",
    )
    assert blueprint.edges[0] == EdgeDefinition("a.b c", "b", "go", "x", "input")
    assert (blueprint.version, blueprint.on_failure) == ("2", "fail_fast")
    assert blueprint.cycle_entry_points == ("b",)
    assert node.extra == {"position": {"x": 1}}


def test_defaults() -> None:
    """What a document leaves out has the documented default."""
    blueprint = WorkflowBlueprint.from_dict({"nodes": [{"id": "a", "uses": "work"}]})
    config = blueprint.nodes[0].config
    assert (config.max_retries, config.retry_delay_ms, config.backoff) == (1, 1000.0, 2.0)
    assert (config.jitter, config.join_strategy) == (True, "all")
    assert (blueprint.id, blueprint.edges, blueprint.on_failure) == ("", (), "continue")
    assert blueprint.version is None


def test_a_document_is_written_as_it_was_read() -> None:
    """Unknown keys, explicit defaults and the difference of empty and absent survive."""
    assert WorkflowBlueprint.from_dict(FULL).to_dict() == FULL


def test_null_is_absent() -> None:
    """Null in an optional field means that the field is not there."""
    data = {
        **with_node(params=None, inputs=None, config={"maxRetries": None, "fallback": None}),
        "edges": None,
        "metadata": None,
    }
    blueprint = WorkflowBlueprint.from_dict(data)
    assert blueprint.nodes == (NodeDefinition("a", "work", config=NodeConfig()),)
    assert blueprint.edges == ()


def test_empty_action_condition_and_transform_are_none() -> None:
    """An empty text on an edge is the same as none."""
    blueprint = WorkflowBlueprint.from_dict(with_edge(action="", condition="", transform=""))
    assert blueprint.edges == (EdgeDefinition("a", "a"),)


@pytest.mark.parametrize("action", [1, 0, False, True, 2.5])
def test_actions_that_are_not_text_are_kept(action: Any) -> None:
    """Lint reports them; the reader keeps the scalar as it is."""
    edge = WorkflowBlueprint.from_dict(with_edge(action=action)).edges[0]
    assert edge.action == action
    assert type(edge.action) is type(action)


def test_mappings_instead_of_lists() -> None:
    """Nodes and edges given as mappings are their values; the keys are only places."""
    data = {
        "id": "wf",
        "nodes": {"k1": {"id": "a", "uses": "work"}, "k2": {"id": "b", "uses": "work"}},
        "edges": {"e": {"source": "a", "target": "b"}},
    }
    blueprint = WorkflowBlueprint.from_dict(data)
    assert [node.id for node in blueprint.nodes] == ["a", "b"]
    assert blueprint.edges == (EdgeDefinition("a", "b"),)
    data["nodes"] = {"k1": {"uses": "work", "config": {"timeout": "x"}}}
    assert problems_of(data) == [
        "nodes.k1.id: is missing",
        "nodes.k1.config.timeout: must be a number, not the text 'x'",
    ]


@pytest.mark.parametrize(
    ("data", "place"),
    [
        (with_node(id=""), "nodes[0].id"),
        (with_node(id=5), "nodes[0].id"),
        (with_node(id="\ud800"), "nodes[0].id"),
        (with_node(uses=None), "nodes[0].uses"),
        (with_node(params=[]), "nodes[0].params"),
        (with_node(params={"x": [1, math.nan]}), "nodes[0].params.x[1]"),
        (with_node(params={"x": object()}), "nodes[0].params.x"),
        (with_node(params={"x": "\udc00"}), "nodes[0].params.x"),
        (with_node(params={"x": 10**5000}), "nodes[0].params.x"),
        (with_node(inputs=5), "nodes[0].inputs"),
        (with_node(inputs={"a": 5}), "nodes[0].inputs.a"),
        (with_node(config="x"), "nodes[0].config"),
        (with_node(config={"maxRetries": -1}), "nodes[0].config.maxRetries"),
        (with_node(config={"maxRetries": 1.5}), "nodes[0].config.maxRetries"),
        (with_node(config={"maxRetries": True}), "nodes[0].config.maxRetries"),
        (with_node(config={"retryDelay": math.inf}), "nodes[0].config.retryDelay"),
        (with_node(config={"retryDelay": 10**400}), "nodes[0].config.retryDelay"),
        (with_node(config={"backoff": "2"}), "nodes[0].config.backoff"),
        (with_node(config={"timeout": math.nan}), "nodes[0].config.timeout"),
        (with_node(config={"jitter": 1}), "nodes[0].config.jitter"),
        (with_node(config={"retryOn": "Error"}), "nodes[0].config.retryOn"),
        (with_node(config={"noRetryOn": ["A", 1]}), "nodes[0].config.noRetryOn[1]"),
        (with_node(config={"fallback": 1}), "nodes[0].config.fallback"),
        (with_node(config={"isolation": "thread"}), "nodes[0].config.isolation"),
        (with_node(config={"joinStrategy": "some"}), "nodes[0].config.joinStrategy"),
        (with_edge(source=None), "edges[0].source"),
        (with_edge(target=""), "edges[0].target"),
        (with_edge(action=["x"]), "edges[0].action"),
        (with_edge(action=math.nan), "edges[0].action"),
        (with_edge(condition=True), "edges[0].condition"),
        (with_edge(transform=1), "edges[0].transform"),
        ({"id": "wf"}, "nodes"),
        ({"id": "wf", "nodes": "abc"}, "nodes"),
        ({"id": "wf", "nodes": [None]}, "nodes[0]"),
        ({"id": "wf", "nodes": [], "edges": 5}, "edges"),
        ({"id": 5, "nodes": []}, "id"),
        ({"id": "wf", "nodes": [], "metadata": []}, "metadata"),
        ({"id": "wf", "nodes": [], "metadata": {"onFailure": "stop"}}, "metadata.onFailure"),
        ({"nodes": [], "metadata": {"cycleEntryPoints": "a"}}, "metadata.cycleEntryPoints"),
        ({"nodes": [], "metadata": {"version": [1]}}, "metadata.version"),
        ({"nodes": [], "my key": {1, 2}}, "['my key']"),
        ([], ""),
    ],
)
def test_what_is_malformed_is_refused_at_its_place(data: Any, place: str) -> None:
    """Each kind of wrong value is one problem, with the path to it."""
    assert [problem.place for problem in read_blueprint(data)[1]] == [place]
    with pytest.raises(BlueprintError):
        WorkflowBlueprint.from_dict(data)


def test_all_problems_are_listed_at_once() -> None:
    """A document with several problems is refused with all of them, in its order."""
    data = {
        "id": "wf",
        "nodes": [
            {"id": "a", "uses": "work", "config": {"maxRetries": -1, "jitter": "no"}},
            {"id": "a", "uses": ""},
            {"uses": "work"},
        ],
        "edges": [{"source": "a"}],
        "metadata": {"onFailure": 1},
    }
    with pytest.raises(BlueprintError) as caught:
        WorkflowBlueprint.from_dict(data)
    assert [problem.place for problem in caught.value.problems] == [
        "nodes[0].config.maxRetries",
        "nodes[0].config.jitter",
        "nodes[1].uses",
        "nodes[1].id",
        "nodes[2].id",
        "edges[0].target",
        "metadata.onFailure",
    ]
    assert caught.value.blueprint_id == "wf"
    assert "nodes[1].id: 'a' is also the id of nodes[0]" in str(caught.value)


def test_the_lenient_reader_keeps_what_can_be_read() -> None:
    """Duplicates stay, wrong fields have their defaults, parts without identity are left out."""
    blueprint, problems = read_blueprint(
        {
            "nodes": [
                {"id": "a", "uses": "work", "config": {"timeout": "soon", "maxRetries": 2}},
                {"id": "a", "uses": 1},
                {"uses": "work"},
            ],
            "edges": [{"source": "a"}, {"source": "a", "target": "a", "condition": 5}],
        }
    )
    assert [(node.id, node.uses) for node in blueprint.nodes] == [("a", "work"), ("a", "")]
    assert blueprint.nodes[0].config == NodeConfig(max_retries=2)
    assert blueprint.edges == (EdgeDefinition("a", "a"),)
    assert len(problems) == 6


def test_nothing_is_shared_with_the_caller() -> None:
    """Changing the document, or what was written, later changes no blueprint."""
    data = with_node(params={"list": [1]}, inputs={"a": "b"})
    data["metadata"] = {"tags": ["x"]}
    blueprint = WorkflowBlueprint.from_dict(data)
    written = blueprint.to_dict()
    for document in (data, written):
        document["nodes"][0]["params"]["list"].append(2)
        document["nodes"][0]["inputs"]["a"] = "changed"
        document["metadata"]["tags"].append("y")
    assert blueprint.to_dict() == {
        **with_node(params={"list": [1]}, inputs={"a": "b"}),
        "metadata": {"tags": ["x"]},
    }


def test_params_are_read_only() -> None:
    """A node cannot change the params of its definition."""
    node = WorkflowBlueprint.from_dict(with_node(params={"x": 1})).nodes[0]
    with pytest.raises(TypeError):
        node.params["x"] = 2  # type: ignore[index]


def test_values_nested_too_deeply_are_a_problem() -> None:
    """Neither deep values nor such that hold themselves reach the interpreter's limit."""
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    endless: list[Any] = []
    endless.append(endless)
    for value in (deep, endless):
        (problem,) = problems_of(with_node(params={"x": value}))
        assert f"nested deeper than {MAX_DEPTH} levels" in problem
        assert len(problem) < 200


def test_depth_up_to_the_limit_works() -> None:
    """Values of the greatest depth can be read, compared, hashed and written."""
    deep: Any = 1
    for _ in range(MAX_DEPTH - 1):
        deep = {"x": deep}
    blueprint = WorkflowBlueprint.from_dict(with_node(params=deep))
    assert WorkflowBlueprint.from_json(blueprint.to_json()) == blueprint
    assert blueprint_hash(WorkflowBlueprint.from_dict(blueprint.to_dict())) == blueprint_hash(
        blueprint
    )


def test_python_values_become_plain() -> None:
    """Tuples become lists, and instances of subclasses of text and numbers plain ones."""

    class Name(str):
        __slots__ = ()

    node = WorkflowBlueprint.from_dict(with_node(params={"t": (1, Name("x")), "f": 1.5})).nodes[0]
    assert node.params == {"t": [1, "x"], "f": 1.5}
    assert type(node.params["t"][1]) is str


def test_whole_numbers_may_be_written_as_floats() -> None:
    """``3.0`` attempts are three: JSON has one kind of number."""
    config = WorkflowBlueprint.from_dict(with_node(config={"maxRetries": 3.0})).nodes[0].config
    assert config.max_retries == 3
    assert type(config.max_retries) is int


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ('{\n "id": }', "line 2, column 8", "not valid JSON"),
        (b"\xff{}", "byte 0", "not valid text"),
        ("[1]", "", "must be an object, not a list"),
        ("null", "", "must be an object, not null"),
        ('{"nodes": [], "id": "a", "id": "b"}', "", "the key 'id' is given twice"),
        pytest.param('{"x": ' + "[" * 100_000, "", "nested too deeply", id="deep"),
        ('{"nodes": [], "x": NaN}', "x", "must be a finite number"),
        pytest.param('{"x": ' + "9" * 5000 + "}", "", "cannot be read", id="huge"),
    ],
)
def test_text_that_is_no_blueprint(text: str | bytes, place: str, message: str) -> None:
    """Malformed JSON is refused with its line and column, or as precisely as can be."""
    with pytest.raises(BlueprintError) as caught:
        WorkflowBlueprint.from_json(text)
    (problem,) = caught.value.problems
    assert problem.place == place
    assert message in problem.message


def test_json_in_several_encodings() -> None:
    """Bytes may be UTF-8, also with a byte order mark, or UTF-16."""
    text = json.dumps(with_node(id="節点"), ensure_ascii=False)
    expected = WorkflowBlueprint.from_json(text)
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        assert WorkflowBlueprint.from_json(text.encode(encoding)) == expected


def test_json_can_be_indented() -> None:
    """``indent`` makes the text readable and changes nothing else."""
    blueprint = WorkflowBlueprint.from_dict(FULL)
    assert blueprint.to_json().count("\n") == 0
    assert blueprint.to_json(indent=2).count("\n") > 20
    assert WorkflowBlueprint.from_json(blueprint.to_json(indent=2)) == blueprint


def test_the_hash_stands_for_the_content() -> None:
    """The order of keys does not count; content and the order of nodes do."""
    data = with_node(params={"x": 1, "y": 2})
    same = with_node(params={"y": 2, "x": 1})
    other = with_node(params={"x": 1, "y": 3})
    two = {"id": "wf", "nodes": [{"id": "a", "uses": "w"}, {"id": "b", "uses": "w"}], "edges": []}
    swapped = {**two, "nodes": two["nodes"][::-1]}
    hashes = [
        blueprint_hash(WorkflowBlueprint.from_dict(d)) for d in (data, same, other, two, swapped)
    ]
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 4
    assert all(len(h) == 64 for h in hashes)


def test_a_node_alone() -> None:
    """A node that is added to a run is read with the same checks."""
    node = NodeDefinition.from_dict({"id": "n", "uses": "work", "config": {"timeout": 5}})
    assert node == NodeDefinition("n", "work", config=NodeConfig(timeout_ms=5))
    assert node.to_dict() == {"id": "n", "uses": "work", "config": {"timeout": 5}}
    with pytest.raises(BlueprintError, match=r"config\.timeout: must be a number"):
        NodeDefinition.from_dict({"id": "n", "uses": "work", "config": {"timeout": "5"}})
    with pytest.raises(BlueprintError, match="must be an object"):
        NodeDefinition.from_dict(["n"])


def test_definitions_made_by_hand_are_written() -> None:
    """A configuration that no document gave is written where it is not the default."""
    node = NodeDefinition("n", "work", {"x": 1}, "other", NodeConfig(max_retries=2))
    assert node.to_dict() == {
        "id": "n",
        "uses": "work",
        "params": {"x": 1},
        "inputs": "other",
        "config": {"maxRetries": 2},
    }
    assert EdgeDefinition("a", "b", condition="x").to_dict() == {
        "source": "a",
        "target": "b",
        "condition": "x",
    }


def test_sanitize_keeps_what_the_format_knows() -> None:
    """Unknown fields go, lists come from mappings, nothing is checked."""
    raw = {
        "id": 7,
        "nodes": {"x": {"id": "a", "uses": "w", "position": 1, "config": "odd"}, "y": 5},
        "edges": [{"source": "a", "label": "x"}, {}],
        "metadata": {"anything": [1]},
        "viewport": 1,
    }
    assert sanitize_blueprint(raw) == {
        "id": 7,
        "nodes": [{"id": "a", "uses": "w", "config": "odd"}],
        "edges": [{"source": "a"}, {}],
        "metadata": {"anything": [1]},
    }
    assert sanitize_blueprint({"nodes": "abc", "edges": 5}) == {"nodes": [], "edges": []}


plain_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab é", max_size=2), inner),
    max_leaves=8,
)  # fmt: skip


@settings(derandomize=True, max_examples=60, deadline=None)
@given(st.dictionaries(st.text("abc .é", max_size=3), plain_values, max_size=4))
def test_every_plain_value_makes_the_round_trip(values: dict[str, Any]) -> None:
    """Whatever params, metadata and unknown fields hold is the same after writing and reading."""
    extra = {f"_{name}": value for name, value in values.items()}
    data = {**with_node(params=values), "metadata": extra, **extra}
    blueprint = WorkflowBlueprint.from_dict(data)
    assert blueprint.to_dict() == data
    assert WorkflowBlueprint.from_dict(blueprint.to_dict()) == blueprint
    assert WorkflowBlueprint.from_json(blueprint.to_json()) == blueprint
