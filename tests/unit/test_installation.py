"""The genomics tool of the same name is noticed."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from flowcraft._installation import find_namesake, warn_of_namesake


def test_the_genomics_tool_beside_this_package_is_warned_of(tmp_path: Path) -> None:
    """Its metadata in a directory of the search path leads to a warning that says what to do."""
    (tmp_path / "flowcraft-1.4.2.dist-info").mkdir()
    with pytest.warns(RuntimeWarning, match="pip uninstall flowcraft"):
        warn_of_namesake([str(tmp_path)])


def test_this_package_alone_is_no_reason_to_warn(tmp_path: Path) -> None:
    """Our own metadata, and directories that do not exist, are not mistaken for it."""
    (tmp_path / "flowcraft_sqs-0.1.0.dist-info").mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_namesake([str(tmp_path), str(tmp_path / "missing")])
    assert find_namesake([]) is None
