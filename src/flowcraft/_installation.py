"""Is this the right ``flowcraft``?

An unrelated, abandoned genomics tool of the name ``flowcraft`` installs a package of the same
name. Side by side they overwrite each other's files, so its presence is worth a warning.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterable

OTHER = "flowcraft"
OURS = "flowcraft-sqs"


def find_namesake(directories: Iterable[str]) -> str | None:
    """The metadata directory of an installed genomics tool, or ``None``.

    It is looked for by its name (``flowcraft-1.4.2.dist-info``; ours begins with
    ``flowcraft_sqs``): asking ``importlib.metadata`` would take a third of the whole import.
    """
    for directory in directories:
        try:
            names = os.listdir(directory or ".")
        except OSError:
            continue
        for name in names:
            if name.startswith(f"{OTHER}-") and name.endswith((".dist-info", ".egg-info")):
                return os.path.join(directory, name)
    return None


def warn_of_namesake(directories: Iterable[str] | None = None) -> None:
    """Warn if the genomics tool is installed in the same environment."""
    found = find_namesake(sys.path if directories is None else directories)
    if found is not None:
        warnings.warn(
            f"The distribution '{OTHER}', an unrelated genomics tool, is installed beside "
            f"'{OURS}' ({found}). Both are imported as 'flowcraft' and overwrite each other. "
            f"Run: pip uninstall {OTHER} && pip install --force-reinstall {OURS}",
            RuntimeWarning,
            stacklevel=3,
        )


def version() -> str:
    """The version of the distribution that is installed; ``"unknown"`` in a bare checkout."""
    # Imported here: it takes a third of the time of a whole import of the package.
    from importlib.metadata import PackageNotFoundError  # noqa: PLC0415
    from importlib.metadata import version as version_of  # noqa: PLC0415

    try:
        return version_of(OURS)
    except PackageNotFoundError:
        return "unknown"
