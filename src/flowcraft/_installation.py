"""Is this the right ``flowcraft``?

An unrelated, abandoned genomics tool of the name ``flowcraft`` installs a package of the same
name. Side by side they overwrite each other's files, so its presence is worth a warning.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

OTHER = "flowcraft"
OURS = "flowcraft-sqs"


def warn_of_namesake(version_of: Callable[[str], str] = version) -> None:
    """Warn if the genomics tool is installed in the same environment."""
    try:
        found = version_of(OTHER)
    except PackageNotFoundError:
        return
    warnings.warn(
        f"The distribution '{OTHER}' {found}, an unrelated genomics tool, is installed beside "
        f"'{OURS}'. Both are imported as 'flowcraft' and overwrite each other. Run: "
        f"pip uninstall {OTHER} && pip install --force-reinstall {OURS}",
        RuntimeWarning,
        stacklevel=3,
    )
