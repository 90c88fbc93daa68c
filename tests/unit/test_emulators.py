"""Emulators start, say why they cannot, and leave nothing behind, however their parent ends."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.emulators import child, install

WAIT_SECONDS = 30.0

# It stays connected to whoever asked for it, who so learns when it is gone.
EMULATOR = """
import http.server, socket, sys
held = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
server = http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
print(f"http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
"""
STUBBORN = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + EMULATOR
PARENT = """
import sys
from pathlib import Path
from tests.emulators import child

with child.running("it", sys.argv[2:], Path(sys.argv[1])) as endpoint:
    print(endpoint, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Where emulators tell that they live."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(WAIT_SECONDS)
        yield listening


def command(listener: socket.socket, program: str = EMULATOR) -> list[str]:
    """What starts an emulator."""
    return [sys.executable, "-c", program, str(listener.getsockname()[1])]


def assert_gone(connection: socket.socket) -> None:
    """The process at the other end has ended, or does within the time."""
    with connection:
        connection.settimeout(WAIT_SECONDS)
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(1) == b""


@pytest.mark.parametrize("program", [EMULATOR, STUBBORN], ids=["willing", "stubborn"])
def test_an_emulator_is_stopped(
    listener: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    """It answers while it is used and is gone afterwards, also if it does not want to."""
    monkeypatch.setenv("AWS_PROFILE", "of the person who runs the tests")
    with child.running("it", command(listener, program), tmp_path / "log") as endpoint:
        connection, _ = listener.accept()
        with urllib.request.urlopen(endpoint, timeout=WAIT_SECONDS) as answer:
            assert answer.status == 200
    assert_gone(connection)


def test_an_emulator_ends_when_its_parent_is_killed(
    listener: socket.socket, tmp_path: Path
) -> None:
    """A test run that is killed leaves no emulator behind."""
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path / "log"), *command(listener)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=install.ROOT,
    )
    with parent:
        assert parent.stdout is not None
        assert parent.stdout.readline().startswith(b"http://127.0.0.1:")
        connection, _ = listener.accept()
        parent.kill()
    assert_gone(connection)


def test_an_emulator_knows_nothing_of_an_account(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Variables with credentials or addresses of AWS are not handed on."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of somebody")
    program = "import os, sys; sys.exit('AWS_ACCESS_KEY_ID' in os.environ)"
    with (
        pytest.raises(child.CannotStart, match="ended with 0"),
        child.running("it", [sys.executable, "-c", program], tmp_path / "log"),
    ):
        pytest.fail("it cannot have started")


def test_a_start_that_fails_shows_why(tmp_path: Path) -> None:
    """The error has the exit code and the end of what the emulator wrote."""
    program = "import sys; print('no room left'); sys.exit(7)"
    with (
        pytest.raises(child.CannotStart, match=r"it ended with 7(.|\n)*no room left"),
        child.running("it", [sys.executable, "-c", program], tmp_path / "log"),
    ):
        pytest.fail("it cannot have started")


def test_a_start_that_takes_too_long(
    listener: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An emulator that never tells its port is given up, and stopped."""
    monkeypatch.setattr(child, "START_SECONDS", 0.0)
    with (
        pytest.raises(child.CannotStart, match="no port after 0 s"),
        child.running("it", command(listener), tmp_path / "log"),
    ):
        pytest.fail("it cannot have started")


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Java the error says what to install."""
    monkeypatch.setenv("PATH", os.devnull)
    with pytest.raises(install.CannotInstall, match="'java', not found here: install a Java"):
        install.dynamodb_local()


def test_an_installation_that_breaks_off_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what was installed to its end counts; the rest is thrown away first."""
    monkeypatch.setattr(install, "ROOT", tmp_path)
    monkeypatch.setattr(install, "DIRECTORY", tmp_path / "emulators")
    tries: list[list[str]] = []

    def break_off(directory: Path) -> None:
        directory.mkdir()
        (directory / "half").touch()
        raise install.CannotInstall("the line is dead")

    def succeed(directory: Path) -> None:
        directory.mkdir()
        tries.append([path.name for path in directory.iterdir()])

    with pytest.raises(install.CannotInstall, match="the line is dead"):
        install.installed("thing-1", break_off)
    for _ in range(2):
        assert install.installed("thing-1", succeed) == tmp_path / "emulators" / "thing-1"
    assert tries == [[]]


def test_the_command_runs_until_it_is_stopped() -> None:
    """`python -m tests.emulators` writes the endpoint, serves, and ends in order."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.emulators"],
        stdout=subprocess.PIPE,
        cwd=install.ROOT,
        text=True,
    )
    with process:
        assert process.stdout is not None
        endpoint = process.stdout.readline().strip()
        with urllib.request.urlopen(f"{endpoint}/_ministack/health", timeout=30) as answer:
            assert b'"sqs": "available"' in answer.read()
        process.send_signal(signal.SIGTERM)
    assert process.returncode == 0
