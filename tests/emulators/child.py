"""An emulator as a child process: started, waited for, and stopped with all that belongs to it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

START_SECONDS = 60.0
STOP_SECONDS = 10.0
LOOK_SECONDS = 0.02
LEASH = Path(__file__).with_name("leash.py")

# What each emulator writes when it has its port. Who asks there before it serves is kept waiting
# by the system, so that nobody has to ask twice.
_ENDPOINT = re.compile(r"^http://127\.0\.0\.1:\d+$", re.MULTILINE)
# Of the parent's environment: nothing that says where AWS is, or which account to use.
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "JAVA_HOME")


class CannotStart(Exception):
    """An emulator did not start; the text has the end of what it wrote."""


@contextmanager
def running(
    name: str, command: list[str], log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Run an emulator that writes its endpoint to standard output.

    Args:
        name: What it is called in errors.
        command: What to start.
        log: The file for what it writes.
        environment: Variables for it, besides a few of this process.

    Yields:
        Its endpoint, `http://127.0.0.1:PORT`, which answers.
    """
    variables = {key: os.environ[key] for key in _KEPT if key in os.environ}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-S", "-E", str(LEASH), *command],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=variables | dict(environment or {}),
            start_new_session=True,
        )
    try:
        endpoint = _endpoint(name, process, log)
        _wait_for_an_answer(name, endpoint, log)
        yield endpoint
    finally:
        _stop(process)


def _endpoint(name: str, process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        code = process.poll()
        found = _ENDPOINT.search(log.read_text(encoding="utf-8", errors="replace"))
        if code is not None:
            raise CannotStart(f"{name} ended with {code} while it started.\n{_tail(log)}")
        if found:
            return found[0]
        time.sleep(LOOK_SECONDS)
    raise CannotStart(f"{name} has no port after {START_SECONDS:g} s.\n{_tail(log)}")


def _wait_for_an_answer(name: str, endpoint: str, log: Path) -> None:
    # Not through a proxy, whatever the environment says.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        opener.open(endpoint, timeout=START_SECONDS).close()
    except urllib.error.HTTPError as refused:
        # An error in words of HTTP is an answer.
        refused.close()
    except OSError as error:
        raise CannotStart(f"{name} at {endpoint} does not answer: {error}\n{_tail(log)}") from error


def _stop(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _tail(log: Path, lines: int = 30) -> str:
    written = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join([f"The end of {log}:", *written[-lines:]])
