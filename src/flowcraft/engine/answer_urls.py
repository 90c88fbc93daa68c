"""The link to a wait, as a node of the same run asks for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from flowcraft.core import builtins
from flowcraft.core.plan import Key, Kind, Plan, PlanNode, index_of_key, iteration_of_key
from flowcraft.core.waits import refusal
from flowcraft.engine.links import PURPOSES, Links, LinkTarget, Purpose, checked_lifetime
from flowcraft.errors import FlowcraftError

if TYPE_CHECKING:
    from flowcraft.engine.view import RunView

NO_LINKS = (
    "There are no links: give the runtime FlowRuntime(links=Links(…)), or set links.base_url and "
    "a secret (flowcraft links secret); docs/webhooks.md has more."
)


def answer_url(
    run: RunView,
    here: Key,
    node_id: str,
    *,
    action: str | None = None,
    purpose: Purpose | None = None,
    iteration: Sequence[int] | None = None,
    lifetime_seconds: float | None = None,
) -> str:
    """The address that answers a wait of a run.

    Args:
        run: The run.
        here: The instance that asks; in loops the wait in its own round is meant.
        node_id: The wait.
        action: The only action that the link answers with.
        purpose: ``webhook`` or ``approval``; by default what the node is.
        iteration: The round of each loop around the wait, outermost first, instead.
        lifetime_seconds: How long the link holds, instead of what is usual.

    Raises:
        FlowcraftError: There are no links here, or the run has no such wait.
    """
    node = waiting_node(run.plan, node_id, action)
    rounds = _rounds(run.plan, node, here) if iteration is None else tuple(iteration)
    if len(rounds) != len(node.loops):
        raise FlowcraftError(
            f"answer_url('{node_id}'): the node is in {len(node.loops)} loops, and iteration has "
            f"{len(rounds)} numbers.",
            is_fatal=True,
        )
    if purpose is not None and purpose not in PURPOSES:
        raise FlowcraftError(
            f"answer_url('{node_id}'): purpose is {' or '.join(PURPOSES)}, not {purpose!r}.",
            is_fatal=True,
        )
    links = links_of(run)
    try:
        target = target_of(run, node, rounds, links, action, purpose, lifetime_seconds)
        return links.url(target)
    except (TypeError, ValueError) as error:
        raise FlowcraftError(f"answer_url('{node_id}'): {error}", is_fatal=True) from error


def links_of(run: RunView) -> Links:
    """What makes the links of a run.

    Raises:
        FlowcraftError: Nothing does.
    """
    links = run.host.options.links
    if links is None:
        raise FlowcraftError(NO_LINKS, is_fatal=True)
    return links


def waiting_node(plan: Plan, node_id: str, action: Any = None) -> PlanNode:
    """A wait of a blueprint.

    Raises:
        FlowcraftError: It is none, or does not take the action.
    """
    index = plan.index_of.get(node_id)
    if index is None or plan.nodes[index].kind is not Kind.WAIT:
        known = ", ".join(node.id for node in plan.nodes if node.kind is Kind.WAIT) or "none"
        raise FlowcraftError(
            f"'{node_id}' is no wait of the workflow '{plan.blueprint.id}'. Its waits: {known}.",
            is_fatal=True,
        )
    node = plan.nodes[index]
    problem = refusal(node, action)
    if problem is not None:
        raise FlowcraftError(problem, is_fatal=True)
    return node


def target_of(
    run: RunView,
    node: PlanNode,
    iteration: tuple[int, ...],
    links: Links,
    action: str | None = None,
    purpose: Purpose | None = None,
    lifetime_seconds: float | None = None,
) -> LinkTarget:
    """What a link to an instance of a wait says."""
    seconds = links.lifetime_seconds if lifetime_seconds is None else lifetime_seconds
    usual: Purpose = "webhook" if node.definition.uses == builtins.WEBHOOK else "approval"
    return LinkTarget(
        run_id=run.state.run_id,
        epoch=run.epoch,
        node_id=node.id,
        iteration=iteration,
        purpose=usual if purpose is None else purpose,
        action=action,
        expires_at=run.host.clock.now() + checked_lifetime(seconds),
    )


def _rounds(plan: Plan, node: PlanNode, here: Key) -> tuple[int, ...]:
    """The round that the asking node is in, of each loop that is around both."""
    around = plan.nodes[index_of_key(here)].loops
    common = 0
    while common < min(len(around), len(node.loops)) and around[common] == node.loops[common]:
        common += 1
    rounds = iteration_of_key(here)[:common]
    return (*rounds, *(0 for _ in range(len(node.loops) - common)))
