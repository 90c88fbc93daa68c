"""``python -m flowcraft.testing.simulate.soak``: a week of traffic, in minutes."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence

from flowcraft.testing.simulate.named import BACKENDS, backend_named
from flowcraft.testing.simulate.options import count
from flowcraft.testing.simulate.soak.soak import soak


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; gives its exit status: 1 where something was wrong, 2 for bad options."""
    parser = argparse.ArgumentParser(
        prog="python -m flowcraft.testing.simulate.soak", description=__doc__.partition(": ")[2]
    )
    add = parser.add_argument
    add("--runs", type=count, default=1000, help="how many runs arrive (%(default)s)")
    add("--days", type=float, default=7.0, help="in how many days (%(default)s)")
    add("--seed", type=int, default=1, help="decides all of it (%(default)s)")
    add("--backend", default="memory", help=f"one of {', '.join(BACKENDS)} (%(default)s)")
    options = parser.parse_args(arguments)
    if not 0.0 < options.days < math.inf:
        parser.error("--days: there have to be some, and not without end.")
    try:
        new_backend = backend_named(options.backend)
    except ValueError as error:
        parser.error(str(error))
    report = soak(options.runs, options.days, options.seed, new_backend)
    for problem in report.problems:
        print(problem)
    for live, stored in report.stored[:: max(1, len(report.stored) // 14)]:
        print(f"{live} live runs, stored: {dict(stored)}")
    print(f"at last, stored: {dict(report.left)}")
    print(report)
    return 0 if report.ok else 1


if __name__ == "__main__":
    sys.exit(main())
