"""Modules of a test's own directory, which the next test has others of."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def forgotten(*names: str) -> Iterator[None]:
    """Forget modules, and where modules were looked for, before and after."""
    before = list(sys.path)

    def forget() -> None:
        sys.path[:] = before
        for name in names:
            sys.modules.pop(name, None)

    forget()
    try:
        yield
    finally:
        forget()
