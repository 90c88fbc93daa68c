"""The parts of a blueprint: nodes, how they are run, and edges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, Final, Literal

from flowcraft.core.reading import MAPPINGS, Reader, copy_plain, kind_of
from flowcraft.errors import BlueprintError, Problem

# Beyond any depth that the reader accepts; only ends values that hold themselves.
_MAX_COPY_DEPTH: Final = 10_000

# Told from an empty mapping that the document has, so that a document is written as it was.
ABSENT: Final[Mapping[str, Any]] = MappingProxyType({})


def _absent() -> Mapping[str, Any]:
    return ABSENT


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """How a node is run: attempts, limits, what happens when it fails.

    Attributes:
        max_retries: Total attempts (JSON ``maxRetries``); 0 means one, as 1 does.
        retry_delay_ms: Milliseconds before the second attempt (``retryDelay``).
        backoff: Factor by which the delay grows with each further attempt.
        retry_delay_max_ms: Upper bound of the delay in milliseconds (``retryDelayMax``).
        jitter: Whether delays are spread at random.
        retry_on: Names of the errors that are retried (``retryOn``); empty means all.
        no_retry_on: Names of errors that are not retried (``noRetryOn``); goes before
            ``retry_on``.
        timeout_ms: Milliseconds an attempt may take (``timeout``); ``None`` means no limit.
        fallback: Id of the node that runs in place of this one when it fails.
        compensate: Id of the node that undoes this one when the run fails (rule S19).
        isolation: ``"process"`` runs the node where it can be killed (rule S9).
        join_strategy: Whether the node waits for ``all`` incoming edges or ``any`` of them.
        concurrency_key: Nodes of the same key are limited together (``concurrencyKey``).
        extra: Fields that the format does not know.
        given: Names of the fields that the document has: they are written back even where
            they are the default. No part of the value.
    """

    max_retries: int = 1
    retry_delay_ms: float = 1000.0
    backoff: float = 2.0
    retry_delay_max_ms: float | None = None
    jitter: bool = True
    retry_on: tuple[str, ...] = ()
    no_retry_on: tuple[str, ...] = ()
    timeout_ms: float | None = None
    fallback: str | None = None
    compensate: str | None = None
    isolation: str | None = None
    join_strategy: Literal["all", "any"] = "all"
    concurrency_key: str | None = None
    extra: Mapping[str, Any] = field(default_factory=_absent, hash=False)
    given: frozenset[str] = field(default=frozenset(), compare=False, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form: fields that were given, and those that are not the default."""
        written: dict[str, Any] = {}
        for name, (attribute, default) in _CONFIG_FIELDS.items():
            value = getattr(self, attribute)
            if value != default or (name in self.given and value is not None):
                written[name] = list(value) if isinstance(value, tuple) else value
        return with_extra(written, self.extra)


_CONFIG_NAMES: Final[Mapping[str, str]] = {
    "max_retries": "maxRetries",
    "retry_delay_ms": "retryDelay",
    "backoff": "backoff",
    "retry_delay_max_ms": "retryDelayMax",
    "jitter": "jitter",
    "retry_on": "retryOn",
    "no_retry_on": "noRetryOn",
    "timeout_ms": "timeout",
    "fallback": "fallback",
    "compensate": "compensate",
    "isolation": "isolation",
    "join_strategy": "joinStrategy",
    "concurrency_key": "concurrencyKey",
}
_CONFIG_FIELDS: Final[Mapping[str, tuple[str, Any]]] = {
    _CONFIG_NAMES[config_field.name]: (config_field.name, config_field.default)
    for config_field in fields(NodeConfig)
    if config_field.name in _CONFIG_NAMES
}
CONFIG_KEYS: Final = frozenset(_CONFIG_FIELDS)
NODE_KEYS: Final = frozenset({"id", "uses", "params", "inputs", "config"})
EDGE_KEYS: Final = frozenset({"source", "target", "action", "condition", "transform"})
NO_CONFIG: Final = NodeConfig()

_NUMBERS: Final = frozenset({"retryDelay", "backoff", "retryDelayMax", "timeout"})
_TEXTS: Final = frozenset({"fallback", "compensate", "concurrencyKey"})
_CHOICES: Final[Mapping[str, Sequence[str]]] = {
    "isolation": ("process",),
    "joinStrategy": ("all", "any"),
}


@dataclass(frozen=True, slots=True)
class NodeDefinition:
    """A node of a blueprint.

    Attributes:
        id: Unique in its blueprint; any Unicode text.
        uses: The registry key of what it does, or the name of a built-in.
        params: Constants for the implementation; read-only.
        inputs: Where its input comes from (rule S6): a reference, a map of names to
            references, or ``None`` for the outputs of its predecessors.
        config: How it is run.
        extra: Fields that the format does not know.
    """

    id: str
    uses: str
    params: Mapping[str, Any] = field(default_factory=_absent, hash=False)
    inputs: str | Mapping[str, str] | None = field(default=None, hash=False)
    config: NodeConfig = NO_CONFIG
    extra: Mapping[str, Any] = field(default_factory=_absent, hash=False)

    @classmethod
    def from_dict(cls, data: Any) -> NodeDefinition:
        """Read one node, such as one that a running node adds (rule S7).

        Raises:
            BlueprintError: It is malformed; every problem is listed.
        """
        reader = Reader()
        node = None
        if isinstance(data, MAPPINGS):
            node = read_node(reader, data)
        else:
            reader.problem(f"a node must be an object, not {kind_of(data)}")
        if node is None or reader.problems:
            raise BlueprintError(reader.problems)
        return node

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, sharing nothing with this object."""
        return copied(written_node(self))


@dataclass(frozen=True, slots=True)
class EdgeDefinition:
    """An edge of a blueprint.

    Attributes:
        source: Id of the node it leaves.
        target: Id of the node it enters.
        action: Taken only if the source's action is this one; ``None`` for any. Text, though
            other JSON scalars are kept as they are.
        condition: An expression that has to be true.
        transform: An expression whose value the target gets instead of the source's output.
        extra: Fields that the format does not know.
    """

    source: str
    target: str
    action: Any = None
    condition: str | None = None
    transform: str | None = None
    extra: Mapping[str, Any] = field(default_factory=_absent, hash=False)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, sharing nothing with this object."""
        return copied(written_edge(self))


@dataclass(frozen=True, slots=True)
class DuplicateId(Problem):
    """The problem of a node whose id another node has, told apart for lint."""

    node_id: str = ""


def read_node(reader: Reader, raw: Mapping[str, Any]) -> NodeDefinition | None:
    """The node at which the reader is, or ``None`` if it has no id."""
    node_id = reader.text(raw, "id")
    uses = reader.text(raw, "uses")
    params = reader.mapping(raw, "params")
    frozen_params = ABSENT if params is None else frozen(reader.plain_items(params, "params"))
    inputs = _read_inputs(reader, raw)
    extra = frozen(reader.unknown(raw, NODE_KEYS))
    config = reader.mapping(raw, "config")
    read_config = NO_CONFIG if config is None else _read_config(reader, config)
    if node_id is None:
        return None
    return NodeDefinition(node_id, uses or "", frozen_params, inputs, read_config, extra)


def _read_inputs(reader: Reader, raw: Mapping[str, Any]) -> str | Mapping[str, str] | None:
    inputs = raw.get("inputs")
    if inputs is None or isinstance(inputs, str):
        return reader.optional_text(raw, "inputs")
    if not isinstance(inputs, MAPPINGS):
        reader.problem(f"must be text or a map of texts, not {kind_of(inputs)}", "inputs")
        return None
    for name, value in inputs.items():
        if not isinstance(value, str):
            reader.problem(f"must be text, not {kind_of(value)}", "inputs", str(name))
    return frozen(reader.plain_items(inputs, "inputs"))


def _read_config(reader: Reader, raw: Mapping[str, Any]) -> NodeConfig:
    reader.at = (*reader.at, "config")
    given = [name for name in raw if name in CONFIG_KEYS and raw[name] is not None]
    values = {_CONFIG_FIELDS[name][0]: _read_setting(reader, raw, name) for name in given}
    extra = frozen(reader.unknown(raw, CONFIG_KEYS))
    return NodeConfig(**values, extra=extra, given=frozenset(given))


def _read_setting(reader: Reader, raw: Mapping[str, Any], name: str) -> Any:
    default = _CONFIG_FIELDS[name][1]
    if name in _NUMBERS:
        return reader.number(raw, name, default)
    if name in _TEXTS:
        return reader.optional_text(raw, name)
    if name in _CHOICES:
        return reader.choice(raw, name, _CHOICES[name]) or default
    if name == "maxRetries":
        return reader.whole(raw, name, default)
    if name == "jitter":
        return reader.flag(raw, name, default)
    return reader.texts(raw, name)


def read_edge(reader: Reader, raw: Mapping[str, Any]) -> EdgeDefinition | None:
    """The edge at which the reader is, or ``None`` if it lacks an end."""
    source, target = reader.text(raw, "source"), reader.text(raw, "target")
    action = _read_action(reader, raw)
    condition = reader.optional_text(raw, "condition")
    transform = reader.optional_text(raw, "transform")
    extra = frozen(reader.unknown(raw, EDGE_KEYS))
    if source is None or target is None:
        return None
    return EdgeDefinition(source, target, action, condition, transform, extra)


def _read_action(reader: Reader, raw: Mapping[str, Any]) -> Any:
    action = raw.get("action")
    if action is None or action == "":
        return None
    if isinstance(action, dict | list | tuple | Mapping):
        reader.problem(f"must be text, not {kind_of(action)}", "action")
        return None
    return reader.plain(action, "action")


def written_node(node: NodeDefinition) -> dict[str, Any]:
    """The JSON form of a node, which may share its values with it."""
    written: dict[str, Any] = {"id": node.id, "uses": node.uses}
    if node.params is not ABSENT:
        written["params"] = dict(node.params)
    if node.inputs is not None:
        written["inputs"] = node.inputs if isinstance(node.inputs, str) else dict(node.inputs)
    if node.config is not NO_CONFIG:
        written["config"] = node.config.to_dict()
    return with_extra(written, node.extra)


def written_edge(edge: EdgeDefinition) -> dict[str, Any]:
    """The JSON form of an edge, which may share its values with it."""
    written: dict[str, Any] = {"source": edge.source, "target": edge.target}
    for name in ("action", "condition", "transform"):
        value = getattr(edge, name)
        if value is not None:
            written[name] = value
    return with_extra(written, edge.extra)


def with_extra(written: dict[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """Add the fields that the format does not know; those it knows go before."""
    for name, value in extra.items():
        written.setdefault(name, value)
    return written


def frozen(value: dict[str, Any] | None) -> Mapping[str, Any]:
    """A read-only view of a mapping that nobody else holds, or :data:`ABSENT`."""
    return ABSENT if value is None else MappingProxyType(value)


def copied(written: dict[str, Any]) -> dict[str, Any]:
    """A copy that shares nothing; what cannot be written as JSON becomes null."""
    copy: dict[str, Any] = copy_plain(written, lambda *_: None, max_depth=_MAX_COPY_DEPTH)
    return copy
