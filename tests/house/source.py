"""The repository's files as the house tests read them."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "flowcraft"
CORE = PACKAGE / "core"

# What tools leave behind, by the name of its directory.
_LEFT_BEHIND = {
    ".git",
    ".venv",
    ".emulators",
    "__pycache__",
    ".pytest_cache",
    ".mypy_cache",
    ".ruff_cache",
    ".hypothesis",
    ".cache",
    "node_modules",
    ".import_linter_cache",
    "build",
    "dist",
    "htmlcov",
}


def repository_files() -> Iterator[Path]:
    """Every file that a person put into the repository."""
    for directory, subdirectories, names in os.walk(ROOT):
        here = Path(directory)
        subdirectories[:] = sorted(
            name
            for name in subdirectories
            # Another environment than .venv is known by its configuration file.
            if name not in _LEFT_BEHIND and not (here / name / "pyvenv.cfg").exists()
        )
        yield from (here / name for name in sorted(names))


def python_files(*directories: Path) -> list[Path]:
    """The Python files below the directories, those of the package if none is given."""
    roots = directories or (PACKAGE,)
    return sorted(
        path
        for root in roots
        for path in root.rglob("*.py")
        if not _LEFT_BEHIND.intersection(path.relative_to(root).parts)
    )


@cache
def tree_of(path: Path) -> ast.Module:
    """The parsed module."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def place(path: Path, line: int | None = None) -> str:
    """A place as an editor opens it, relative to the repository."""
    name = path.relative_to(ROOT).as_posix()
    return name if line is None else f"{name}:{line}"
