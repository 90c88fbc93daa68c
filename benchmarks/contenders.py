"""Starting the contenders; the ones that are no part of this package are installed first."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from benchmarks.cases import FLOOR, FLOWCRAFT, LANGGRAPH, NPM
from benchmarks.workers import ROOT, Worker

CACHE: Final = ROOT / "benchmarks" / ".cache"
INSTALL_LIMIT_SECONDS: Final = 600.0

# Debug modes of the caller's shell would slow down one contender and not another; and nothing
# may be sent anywhere.
_DROPPED: Final = ("PYTHONASYNCIODEBUG", "PYTHONDEVMODE", "PYTHONTRACEMALLOC", "NODE_OPTIONS")
_DROPPED_PREFIX: Final = "DBOS_"
_SET: Final = {
    "PYTHONHASHSEED": "0",
    "PYTHONUNBUFFERED": "1",
    "LANGSMITH_TRACING": "false",
    "LANGCHAIN_TRACING_V2": "false",
}

_failed: dict[str, str] = {}


class Unavailable(Exception):
    """A contender cannot take part on this machine."""


def start(name: str) -> Worker:
    """The process of a contender.

    Raises:
        Unavailable: Something it needs is missing here; the message says what.
    """
    return _STARTERS[name]()


def environment(source: Mapping[str, str], **more: str) -> dict[str, str]:
    """The environment of every worker: the caller's, with what would disturb replaced."""
    kept = {
        key: value
        for key, value in source.items()
        if key not in _DROPPED and not key.startswith(_DROPPED_PREFIX)
    }
    return {**kept, **_SET, **more}


def _start_npm() -> Worker:
    node, npm = _found("node", "Node"), _found("npm", "npm")
    directory = _cache("node")
    for file in sorted((ROOT / "benchmarks" / "node").iterdir()):
        shutil.copy(file, directory / file.name)
    if _installed_npm(directory) != _wanted_npm(directory):
        options = ["--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"]
        _install("the npm package", [npm, "install", *options], directory)
    return Worker(NPM, [node, "worker.mjs"], environment(os.environ), directory)


def start_python(name: str, module: str, *arguments: str) -> Worker:
    """A module of this repository as a worker, in the environment that this process has."""
    command = [sys.executable, "-m", module, *arguments]
    return Worker(name, command, environment(os.environ, PYTHONPATH=str(ROOT / "src")))


def start_elsewhere(name: str, what: str, package: str, module: str, *arguments: str) -> Worker:
    """A module as a worker in an environment of its own, which is made if there is none.

    Args:
        name: What the contender is called.
        what: What its package is called in messages.
        package: What is installed, which is also the name of the directory.
        module: The module, which may import nothing that is not installed there.
        arguments: What it is given.

    Raises:
        Unavailable: The environment cannot be made.
    """
    command = [str(_python_with(package, what)), "-m", module, *arguments]
    return Worker(name, command, environment(os.environ, PYTHONPATH=""))


def _python_with(package: str, what: str) -> Path:
    """The interpreter of an environment with a package; what failed is not tried again."""
    directory = _cache(package)
    python = directory / ("Scripts" if os.name == "nt" else "bin") / "python"
    if package in _failed:
        raise Unavailable(_failed[package])
    if not (directory / "ready").exists():
        pip = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--upgrade"]
        try:
            _install(what, [sys.executable, "-m", "venv", "--clear", "."], directory)
            _install(what, [*pip, package], directory)
        except Unavailable as error:
            _failed[package] = str(error)
            raise
        (directory / "ready").touch()
    return python


def _cache(name: str) -> Path:
    """A directory for what is installed, which no tool takes for a part of the repository."""
    directory = CACHE / name
    directory.mkdir(parents=True, exist_ok=True)
    (CACHE / ".gitignore").write_text("*\n", encoding="utf-8")
    return directory


def _found(program: str, name: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise Unavailable(f"{name} is not installed here (no '{program}' on the path).")
    return path


def _wanted_npm(directory: Path) -> str:
    package = json.loads((directory / "package.json").read_text(encoding="utf-8"))
    return str(package["dependencies"]["flowcraft"])


def _installed_npm(directory: Path) -> str | None:
    file = directory / "node_modules" / "flowcraft" / "package.json"
    if not file.exists():
        return None
    return str(json.loads(file.read_text(encoding="utf-8"))["version"])


def _install(what: str, command: Sequence[str], directory: Path) -> None:
    try:
        subprocess.run(
            command,
            cwd=directory,
            check=True,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=INSTALL_LIMIT_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{what} was not installed in {INSTALL_LIMIT_SECONDS:g} s.") from None
    except subprocess.CalledProcessError as error:
        lines = (error.stderr or error.stdout or "no message").strip().splitlines()
        raise Unavailable(f"{what} could not be installed: {lines[-1]}") from None


_STARTERS: Final[Mapping[str, Callable[[], Worker]]] = {
    FLOOR: lambda: start_python(FLOOR, "benchmarks.worker_floor"),
    FLOWCRAFT: lambda: start_python(FLOWCRAFT, "benchmarks.worker_flowcraft"),
    NPM: _start_npm,
    LANGGRAPH: lambda: start_elsewhere(
        LANGGRAPH, "LangGraph", "langgraph", "benchmarks.worker_langgraph"
    ),
}
