"""Whether a failed attempt is followed by another, and when (rules S4, S9)."""

from __future__ import annotations

import hashlib

from flowcraft.core.blueprint import NodeConfig
from flowcraft.core.state import ErrorInfo

JITTER = 0.5
"""A jittered delay lies between half of the computed one and all of it ("equal jitter" in
M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015)."""


def delay_before_retry_ms(
    config: NodeConfig, attempt: int, error: ErrorInfo, seed: str, lost: int = 0
) -> float | None:
    """How long to wait before the next attempt.

    Args:
        config: The node's configuration.
        attempt: The attempt that failed, counted from 1.
        error: Why it failed.
        seed: Run, node and iteration, from which the jitter is derived: the same decision
            made again gives the same delay.
        lost: How many attempts before it were lost; these do not count.

    Returns:
        Milliseconds, or ``None`` when there is no further attempt.
    """
    if not may_retry(config, attempt, error, lost):
        return None
    attempt -= lost
    delay = min(config.retry_delay_ms * _growth(config.backoff, attempt - 1), _LONGEST_DELAY_MS)
    if config.retry_delay_max_ms is not None:
        delay = min(delay, config.retry_delay_max_ms)
    return delay * (1 - JITTER * _fraction(f"{seed}\x1f{attempt}")) if config.jitter else delay


LOST_LIMIT = 3
"""Lost attempts after which a node fails, so that one that kills its worker ends (S9)."""


def lost_error(node_id: str, lost: int) -> ErrorInfo:
    """The failure of a node whose workers died."""
    return ErrorInfo(
        "WorkerLost",
        f"The worker that executed '{node_id}' was lost {lost} times: does the node end its "
        "process, or take its memory?",
        ("WorkerLost", "FlowcraftError"),
    )


def jitter_seed(run_id: str, node_id: str, iteration: tuple[int, ...], part: str | int = "") -> str:
    """What the jitter of a node's delays is derived from.

    Args:
        run_id: The run.
        node_id: The node.
        iteration: The iteration of each loop around it.
        part: Tells what else to keep apart: a batch item's index, the node a compensation undoes.
    """
    return "\x1f".join((run_id, node_id, ".".join(map(str, iteration)), str(part)))


def may_retry(config: NodeConfig, attempt: int, error: ErrorInfo, lost: int = 0) -> bool:
    """Whether another attempt follows the ``attempt``-th after this error (rules S4, S9).

    The ``lost`` attempts before it, whose workers died, do not count.
    """
    if error.is_fatal or attempt - lost >= max_attempts(config):
        return False
    return _is_retryable(config, error)


def max_attempts(config: NodeConfig) -> int:
    """Total attempts a node has: at least one, also where ``maxRetries`` is 0."""
    return max(1, config.max_retries)


def _is_retryable(config: NodeConfig, error: ErrorInfo) -> bool:
    names = error.names or (error.type,)
    if any(name in config.no_retry_on for name in names):
        return False
    return not config.retry_on or any(name in config.retry_on for name in names)


def _growth(backoff: float, retries: int) -> float:
    try:
        return float(backoff**retries)
    except OverflowError:
        return _LONGEST_DELAY_MS


def _fraction(seed: str) -> float:
    """A number from 0 to 1 that looks random and depends on the seed alone."""
    digest = hashlib.blake2b(seed.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


_LONGEST_DELAY_MS = 365 * 86_400_000.0
