"""What the builder's keyword arguments are in the JSON of a node."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Any, Literal, TypedDict

from flowcraft.core.answer_schemas import problems
from flowcraft.core.definitions import NodeConfig
from flowcraft.core.durations import parse_duration_ms
from flowcraft.core.retry_policy import RetryPolicy, milliseconds


class NodeOptions(TypedDict, total=False):
    """How a node is run; see :meth:`FlowBuilder.node`."""

    config: Mapping[str, Any] | NodeConfig | None
    retry: RetryPolicy | None
    timeout: timedelta | float | None
    fallback: str | None
    compensate: str | None
    join: Literal["all", "any"] | None
    isolation: Literal["process"] | None
    concurrency_key: str | None


def config_of(options: NodeOptions) -> dict[str, Any]:
    """The fields of a node's ``config``; named options go before its ``config`` option."""
    given = options.get("config")
    config = given.to_dict() if isinstance(given, NodeConfig) else dict(given or {})
    retry, timeout = options.get("retry"), options.get("timeout")
    if retry is not None and not hasattr(retry, "to_config"):
        raise TypeError(f"retry is RetryPolicy(max_attempts=…), not {retry!r}")
    if retry is not None:
        config.update(retry.to_config())
    named = {
        "timeout": None if timeout is None else milliseconds(timeout, "timeout"),
        "fallback": options.get("fallback"),
        "compensate": options.get("compensate"),
        "joinStrategy": options.get("join"),
        "isolation": options.get("isolation"),
        "concurrencyKey": options.get("concurrency_key"),
    }
    config.update(without_none(named))
    return config


def wait_params(
    title: str | None,
    schema: Mapping[str, Any] | None,
    actions: Collection[str] | None,
    timeout: float | str | timedelta | None,
    event: str | None,
    correlation_key: str | None,
) -> dict[str, Any]:
    """The parameters of a ``wait``; a timeout as a number is seconds.

    Raises:
        ValueError: The timeout is no duration, or the schema cannot be used.
        TypeError: The actions are one text, and not several.
    """
    if isinstance(actions, str):
        raise TypeError(f"actions are several texts: write actions=[{actions!r}].")
    if schema is not None and (found := problems(schema)):
        raise ValueError("schema: " + "; ".join(f"{place} {why}".strip() for place, why in found))
    limit: float | str | None = None
    if isinstance(timeout, str):
        parse_duration_ms(timeout)
        limit = timeout
    elif timeout is not None:
        limit = parse_duration_ms(milliseconds(timeout, "timeout"))
    return without_none(
        {
            "title": title,
            "schema": schema,
            "actions": None if actions is None else list(actions),
            "timeout": limit,
            "event": event,
            "correlationKey": correlation_key,
        }
    )


def without_none(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that were given."""
    return {name: value for name, value in fields.items() if value is not None}
