"""The command ``flowcraft``: running, seeing and steering workflows from a terminal."""

from __future__ import annotations

import sys


def entry() -> None:
    """Be the command: read the arguments of the process, and end it with an exit code."""
    try:
        from flowcraft.cli.main import run  # noqa: PLC0415
    except ImportError as error:
        if error.name is None or error.name.partition(".")[0] not in {"click", "rich"}:
            raise
        sys.exit(
            f"The command needs {error.name}, which is not installed here. "
            'Install it with: pip install "flowcraft-sqs[cli]"'
        )
    except KeyboardInterrupt:
        # Ctrl-C while modules are loaded: nothing has begun.
        sys.exit(130)
    sys.exit(run(sys.argv[1:]))
