"""Which limit an attempt is under: the key of its node, and what holds for it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from flowcraft.core.context import ContextView
from flowcraft.core.limit_keys import evaluate_key, stored_key
from flowcraft.core.limits import Limit
from flowcraft.engine.places import AttemptCommand, node_index_of

if TYPE_CHECKING:
    from flowcraft.core.plan import Plan
    from flowcraft.core.state import Changes, RunState
    from flowcraft.engine.options import RuntimeOptions


MOST_TOLD: Final = 1_000
"""Different things that are told once: keys may be without number."""


class Once:
    """Logs what is worth a word, and only one.

    Args:
        logger: Where to.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._told: set[str] = set()

    def tell(self, text: str) -> None:
        """Log a text, unless it was before."""
        if text not in self._told and len(self._told) < MOST_TOLD:
            self._told.add(text)
            self._logger.warning("%s", text)


class Limited(NamedTuple):
    """What limits an attempt: the key as it is stored, and what holds for it."""

    key: str
    limit: Limit


def limit_of(
    options: RuntimeOptions,
    plan: Plan,
    state: RunState,
    command: AttemptCommand,
    tell: Callable[[str], None],
    changes: Changes | None = None,
) -> Limited | None:
    """What limits an attempt; ``None`` for one that nothing does.

    Args:
        options: What the runtime was given.
        plan: The run's plan.
        state: The run's state, for keys that look at the context.
        command: The attempt.
        tell: Is told what is odd about the key.
        changes: What is about to be written.
    """
    if not options.limits:
        return None
    definition = plan.nodes[node_index_of(command)].definition
    template = definition.config.concurrency_key
    if template is None:
        return None
    scope = {
        "input": command.input,
        "params": definition.params,
        "context": ContextView(plan, state, changes),
    }
    key, problem = evaluate_key(template, options.evaluator, scope)
    node = f"Node '{definition.id}' of '{plan.blueprint.id}'"
    if problem is not None:
        tell(f"{node}: its concurrencyKey is taken as '{key}': {problem}.")
    limit = options.limits.of(key)
    if limit is None:
        tell(f"{node}: there is no limit for the key '{key}', so nothing limits it here.")
        return None
    return Limited(stored_key(key), limit)
