"""An error of a run, as a person reads it: what happened where, and what is behind it."""

from __future__ import annotations

from flowcraft.core.state import ErrorInfo


def error_lines(error: ErrorInfo, *, with_traceback: bool = False) -> list[str]:
    """An error with what is behind it, a line each."""
    where = f"{error.node_id}: " if error.node_id else ""
    tries = f" (after {error.attempts} attempts)" if error.attempts > 1 else ""
    lines = [f"{where}{error.type}: {error.message}{tries}"]
    lines += [f"  because of {name}: {message}" for name, message in error.causes]
    if with_traceback and error.traceback:
        lines += [f"  {line}" for line in error.traceback.rstrip().splitlines()]
    return lines
