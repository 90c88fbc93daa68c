"""The format: a workflow as plain JSON, and as frozen dataclasses.

A :class:`WorkflowBlueprint` is read from JSON by :meth:`WorkflowBlueprint.from_dict`, which
refuses a malformed document with every problem at once, and written back by ``to_dict``. Keys
the format does not know (a drawing tool's positions, say) are kept in ``extra`` and written
back, but mean nothing to the engine.

A missing blueprint ``id``, missing ``edges``, edges of unknown nodes and actions that are not
text are no problems here: ``flowcraft.core.lint`` reports them.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from flowcraft.core.definitions import (
    ABSENT,
    EDGE_KEYS,
    NODE_KEYS,
    DuplicateId,
    EdgeDefinition,
    NodeConfig,
    NodeDefinition,
    copied,
    frozen,
    read_edge,
    read_node,
    with_extra,
    written_edge,
    written_node,
)
from flowcraft.core.reading import Reader, Step, format_place, kind_of
from flowcraft.errors import BlueprintError, Problem

__all__ = [
    "EdgeDefinition",
    "NodeConfig",
    "NodeDefinition",
    "WorkflowBlueprint",
    "blueprint_hash",
    "read_blueprint",
    "sanitize_blueprint",
    "written_form",
]

_BLUEPRINT_KEYS: Final = frozenset({"id", "nodes", "edges", "metadata"})
_ON_FAILURE: Final = ("continue", "fail_fast")


@dataclass(frozen=True, slots=True, weakref_slot=True)
class WorkflowBlueprint:
    """A workflow: nodes, and the edges between them.

    Attributes:
        id: Its name; empty if the document has none.
        nodes: In document order.
        edges: In document order.
        metadata: ``version``, ``cycleEntryPoints``, ``onFailure`` and anything else.
        extra: Fields that the format does not know.
    """

    id: str
    nodes: tuple[NodeDefinition, ...] = ()
    edges: tuple[EdgeDefinition, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=lambda: ABSENT, hash=False)
    extra: Mapping[str, Any] = field(default_factory=lambda: ABSENT, hash=False)

    @property
    def on_failure(self) -> Literal["continue", "fail_fast"]:
        """What a failed node means for the others (rule S4); ``"continue"`` by default."""
        return "fail_fast" if self.metadata.get("onFailure") == "fail_fast" else "continue"

    @property
    def cycle_entry_points(self) -> tuple[str, ...]:
        """Where a graph without start nodes starts (rule S1); empty by default."""
        points = self.metadata.get("cycleEntryPoints")
        if not isinstance(points, list | tuple):
            return ()
        return tuple(point for point in points if isinstance(point, str))

    @property
    def version(self) -> str | None:
        """The author's version of this workflow, a number written as text, or ``None``."""
        version = self.metadata.get("version")
        return None if version is None else str(version)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> WorkflowBlueprint:
        """Read a blueprint from its JSON form, of which it keeps a copy.

        Raises:
            BlueprintError: It is malformed; every problem is listed with its place.
        """
        blueprint, problems = read_blueprint(data)
        if problems:
            raise BlueprintError(problems, blueprint_id=blueprint.id)
        return blueprint

    @classmethod
    def from_json(cls, text: str | bytes) -> WorkflowBlueprint:
        """Read a blueprint from JSON text, or from bytes in UTF-8, UTF-16 or UTF-32.

        Raises:
            BlueprintError: The text is no JSON (the place is its line and column), or the
                blueprint is malformed.
        """
        data, problems = _parse(text)
        blueprint, more = (cls(""), ()) if data is None and problems else read_blueprint(data)
        if problems or more:
            raise BlueprintError((*problems, *more), blueprint_id=blueprint.id)
        return blueprint

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, sharing nothing with this object."""
        return copied(written_form(self))

    def to_json(self, indent: int | None = None) -> str:
        """The JSON text, on one line unless ``indent`` is given."""
        return json.dumps(written_form(self), indent=indent, ensure_ascii=False)


def written_form(blueprint: WorkflowBlueprint) -> dict[str, Any]:
    """The JSON form, which may share its values with the blueprint."""
    written: dict[str, Any] = {"id": blueprint.id} if blueprint.id else {}
    written["nodes"] = [written_node(node) for node in blueprint.nodes]
    written["edges"] = [written_edge(edge) for edge in blueprint.edges]
    if blueprint.metadata is not ABSENT:
        written["metadata"] = dict(blueprint.metadata)
    return with_extra(written, blueprint.extra)


def blueprint_hash(blueprint: WorkflowBlueprint) -> str:
    """A name for the content of a blueprint: 64 hexadecimal digits (SHA-256).

    The order of keys does not count; the order of nodes and edges does.
    """
    text = json.dumps(written_form(blueprint), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def sanitize_blueprint(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of a document that the format knows, whatever their values.

    Unknown fields of the blueprint, its nodes and its edges are left out (metadata is kept
    whole), ``nodes`` and ``edges`` become lists. Nothing is checked: that is for ``from_dict``.
    """
    clean: dict[str, Any] = {name: raw[name] for name in ("id", "metadata") if name in raw}
    clean["nodes"] = _known_parts(raw.get("nodes"), NODE_KEYS)
    clean["edges"] = _known_parts(raw.get("edges"), EDGE_KEYS)
    return copied(clean)


def read_blueprint(data: Any) -> tuple[WorkflowBlueprint, tuple[Problem, ...]]:
    """Read what can be read of a document, and say what is wrong with the rest.

    Nodes without an id and edges without both ends are left out, nodes of the same id are all
    kept, a field that cannot be read has its default.
    """
    reader = Reader()
    if not isinstance(data, Mapping):
        reader.problem(f"a blueprint must be an object, not {kind_of(data)}")
        return WorkflowBlueprint(""), tuple(reader.problems)
    blueprint_id = reader.optional_text(data, "id") or ""
    nodes = _read_nodes(reader, data)
    edges = _read_edges(reader, data)
    reader.at = ()
    metadata = _read_metadata(reader, data)
    extra = reader.unknown(data, _BLUEPRINT_KEYS)
    blueprint = WorkflowBlueprint(blueprint_id, nodes, edges, metadata, frozen(extra))
    return blueprint, tuple(reader.problems)


def _read_nodes(reader: Reader, data: Mapping[str, Any]) -> tuple[NodeDefinition, ...]:
    if data.get("nodes") is None:
        reader.problem("is missing", "nodes")
    nodes: list[NodeDefinition] = []
    places: dict[str, tuple[Step, ...]] = {}
    for step, raw in reader.members(data, "nodes"):
        at = ("nodes", step)
        reader.at = at
        node = read_node(reader, raw)
        if node is not None:
            nodes.append(node)
            first = places.setdefault(node.id, at)
            if first is not at:
                message = f"{node.id!r} is also the id of {format_place(first)}"
                reader.problems.append(DuplicateId(format_place((*at, "id")), message, node.id))
        reader.at = ()
    return tuple(nodes)


def _read_edges(reader: Reader, data: Mapping[str, Any]) -> tuple[EdgeDefinition, ...]:
    edges = []
    for step, raw in reader.members(data, "edges"):
        reader.at = ("edges", step)
        edge = read_edge(reader, raw)
        if edge is not None:
            edges.append(edge)
        reader.at = ()
    return tuple(edges)


def _read_metadata(reader: Reader, data: Mapping[str, Any]) -> Mapping[str, Any]:
    raw = reader.mapping(data, "metadata")
    if raw is None:
        return ABSENT
    metadata = reader.plain_items(raw, "metadata")
    reader.at = ("metadata",)
    version = raw.get("version")
    if version is not None and (isinstance(version, bool) or not isinstance(version, _SCALARS)):
        reader.problem(f"must be text, not {kind_of(version)}", "version")
    reader.texts(raw, "cycleEntryPoints")
    reader.choice(raw, "onFailure", _ON_FAILURE)
    reader.at = ()
    return frozen(metadata)


_SCALARS: Final = (str, int, float)


def _parse(text: str | bytes) -> tuple[Any, tuple[Problem, ...]]:
    """The data of a JSON text, and what is wrong with the text itself."""
    doubled: list[str] = []

    def build(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        built = dict(pairs)
        if len(built) < len(pairs):
            counts = Counter(name for name, _ in pairs)
            doubled.extend(name for name in counts if counts[name] > 1)
        return built

    try:
        data = json.loads(text, object_pairs_hook=build)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        return None, (Problem(place, f"is not valid JSON: {error.msg}"),)
    except UnicodeDecodeError as error:
        return None, (Problem(f"byte {error.start}", f"is not valid text: {error.reason}"),)
    except ValueError as error:
        return None, (Problem("", f"cannot be read: {error}"),)
    except RecursionError:
        return None, (Problem("", "is nested too deeply to be read"),)
    return data, tuple(
        Problem("", f"the key {name!r} is given twice in one object")
        for name in dict.fromkeys(doubled)
    )


def _known_parts(value: Any, known: frozenset[str]) -> list[dict[str, Any]]:
    items = list(value.values()) if isinstance(value, Mapping) else value
    if not isinstance(items, list | tuple):
        return []
    return [
        {name: item[name] for name in item if name in known}
        for item in items
        if isinstance(item, Mapping)
    ]
