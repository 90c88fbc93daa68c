"""The ``uses`` keys that the engine carries out itself.

A registry refuses these names, so a blueprint that says ``sleep`` sleeps everywhere.
"""

from __future__ import annotations

from typing import Final

WAIT: Final = "wait"
SLEEP: Final = "sleep"
WEBHOOK: Final = "webhook"
SUBFLOW: Final = "subflow"
BATCH_SCATTER: Final = "batch-scatter"
BATCH_GATHER: Final = "batch-gather"
LOOP_CONTROLLER: Final = "loop-controller"

CONTINUE: Final = "continue"
"""The action of a loop controller that goes round again (rule S10)."""

BREAK: Final = "break"
"""The action of a loop controller that leaves the loop."""

BUILTIN_USES: Final[frozenset[str]] = frozenset(
    {WAIT, SLEEP, WEBHOOK, SUBFLOW, BATCH_SCATTER, BATCH_GATHER, LOOP_CONTROLLER}
)
