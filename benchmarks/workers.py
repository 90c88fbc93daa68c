"""The harness's side: a contender's process, asked in turn, with a limit on every answer."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from threading import Timer
from typing import Any, Final, Protocol

ROOT: Final = Path(__file__).resolve().parents[1]


class ContenderFailed(Exception):
    """A contender gave an error for an answer, ended, or took too long."""


class Asked(Protocol):
    """Something that answers requests: a worker process, or a stand-in for one."""

    def ask(self, request: Mapping[str, Any], limit_seconds: float) -> dict[str, Any]:
        """The answer.

        Raises:
            ContenderFailed: There is none.
        """

    def close(self) -> None:
        """Ask nothing more."""


class Worker:
    """A process that reads requests from its standard input, as in ``serving``.

    Args:
        name: What it is called in messages.
        command: How to start it.
        environment: Its environment variables.
        directory: Where it is started; the repository by default.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        directory: Path = ROOT,
    ) -> None:
        self._name = name
        self._errors = TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 - closed in close()
        self._process = subprocess.Popen(
            command,
            cwd=directory,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="utf-8",
        )

    def ask(self, request: Mapping[str, Any], limit_seconds: float) -> dict[str, Any]:
        """The worker's answer.

        Raises:
            ContenderFailed: It reported an error, ended, or took too long (it is ended then).
        """
        timer = Timer(limit_seconds, self._process.kill)
        timer.start()
        try:
            line = self._exchange(json.dumps(request))
        finally:
            timer.cancel()
            timer.join()
        if not line:
            raise ContenderFailed(self._why(request["do"], limit_seconds))
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise ContenderFailed(f"{self._name}: {answer['error']}")
        return answer

    def close(self) -> None:
        """Let the process end, and end it if it does not."""
        try:
            self._process.communicate(timeout=5.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
        self._errors.close()

    def _exchange(self, line: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return ""
        return self._process.stdout.readline()

    def _why(self, what: str, limit_seconds: float) -> str:
        try:
            code = self._process.wait(timeout=5.0)
        except subprocess.TimeoutExpired:  # it closed its output and lives on
            self._process.kill()
            code = self._process.wait()
        if code < 0:
            return f"{self._name}: ended over '{what}', for which it had {limit_seconds:g} s."
        self._errors.seek(0)
        said = self._errors.read().strip().splitlines()
        return f"{self._name}: ended with code {code}: {said[-1] if said else 'no message'}"
