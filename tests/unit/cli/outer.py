"""The command where its streams or its directory are of no use: a process for each case.

``python -m tests.unit.cli.outer DIRECTORY`` prints as JSON, by case, the exit code and what was
written to standard error. The processes are forks of one that has imported the command, which is
what takes long.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from flowcraft.cli import config  # noqa: F401 - so that the forks need not import it
from flowcraft.cli.main import run


def closed_pipe() -> None:
    """Nobody reads standard output any more."""
    reader, writer = os.pipe()
    os.close(reader)
    os.dup2(writer, 1)


def full_disk() -> None:
    """Nothing can be written to standard output."""
    os.dup2(os.open("/dev/full", os.O_WRONLY), 1)


def closed_streams() -> None:
    """There is no standard output, as after ``>&-``."""
    os.close(1)
    sys.stdout = None


def no_directory() -> None:
    """The working directory is gone."""
    Path("doomed").mkdir()
    os.chdir("doomed")
    Path.cwd().rmdir()


CASES: dict[str, tuple[Callable[[], None], list[str]]] = {
    "closed pipe": (closed_pipe, ["config", "show"]),
    "closed pipe, JSON": (closed_pipe, ["config", "show", "--json"]),
    "closed pipe, help": (closed_pipe, ["--help"]),
    "full disk": (full_disk, ["config", "show"]),
    "full disk, JSON": (full_disk, ["config", "show", "--json"]),
    "closed streams": (closed_streams, ["config", "show"]),
    "no directory": (no_directory, ["config", "show"]),
}


def tried(directory: Path) -> dict[str, tuple[int, str]]:
    """Try each case in a fork of this process."""
    found: dict[str, tuple[int, str]] = {}
    for name, (prepare, arguments) in CASES.items():
        errors = directory / "errors"
        child = os.fork()
        if child == 0:
            os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
            os.chdir(directory)
            prepare()
            # The interpreter ends as usual, which is where unwritten text would fail once more.
            sys.exit(run(arguments))
        _, status = os.waitpid(child, 0)
        found[name] = (os.waitstatus_to_exitcode(status), errors.read_text(encoding="utf-8"))
    return found


if __name__ == "__main__":
    print(json.dumps(tried(Path(sys.argv[1]))))
