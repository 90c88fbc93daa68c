"""`python -m benchmarks.durable`."""

from __future__ import annotations

import sys

from benchmarks.durable.command import main

if __name__ == "__main__":
    sys.exit(main())
