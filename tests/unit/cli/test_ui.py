"""``flowcraft ui``: what it serves, and what it refuses to."""

from __future__ import annotations

import socket
import sys
import webbrowser
from pathlib import Path
from typing import Any

import pytest

from flowcraft.cli import ui
from tests.unit.cli.conftest import Call


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What would be served: nobody listens for long in a test."""
    found: list[Any] = []

    async def serve(app: Any, listening: socket.socket, tell: Any) -> None:
        found.append((app, listening.getsockname()))
        listening.close()
        tell()
        await app.aclose()

    monkeypatch.setattr(ui, "serve", serve)
    return found


def test_it_listens_at_this_machine(project: Path, flowcraft: Call, served: list[Any]) -> None:
    """Without further flags nobody else can reach it, and its address is told."""
    ended = flowcraft("ui", "--port", "0", "--json")
    ((_, (host, port)),) = served
    assert (ended.code, host) == (0, "127.0.0.1")
    assert ended.data == {"address": f"http://127.0.0.1:{port}/"}


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example"])
def test_others_are_not_served_without_a_token(
    host: str, project: Path, flowcraft: Call, served: list[Any]
) -> None:
    """An address that others can reach is refused at the start, with what to do."""
    ended = flowcraft("ui", "--host", host, "--port", "0")
    assert (ended.code, served) == (2, [])
    assert "needs a token" in ended.err
    assert "--token-file" in ended.err


def test_others_are_served_with_a_token(project: Path, flowcraft: Call, served: list[Any]) -> None:
    """The token is read from its file, without the end of its line."""
    (project / "token.txt").write_text("a-token-of-some-length\n", encoding="utf-8")
    arguments = ("--host", "0.0.0.0", "--port", "0", "--token-file", "token.txt")
    assert flowcraft("ui", *arguments).code == 0
    ((app, _),) = served
    assert app._gate.is_token("a-token-of-some-length")
    assert not app._gate.is_token("a-token-of-some-length\n")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read"),
        (b"", "holds no token"),
        (b"short", "16 at least"),
        (b"two\nlines-of-some-length", "holds no token"),
        (b"\xff\xfe", "cannot be read"),
    ],
)
def test_a_token_that_is_none_is_refused(
    content: bytes | None, said: str, project: Path, flowcraft: Call, served: list[Any]
) -> None:
    """A file that is not there, holds nothing or too little is no reason to let everybody in."""
    if content is not None:
        (project / "token.txt").write_bytes(content)
    ended = flowcraft("ui", "--port", "0", "--token-file", "token.txt")
    assert (ended.code, served) == (2, [])
    assert said in ended.err


def test_a_port_that_is_taken_is_told(project: Path, flowcraft: Call, served: list[Any]) -> None:
    """The message names the port, and what to do."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ended = flowcraft("ui", "--port", port)
    assert (ended.code, served) == (5, [])
    assert f"127.0.0.1:{port}" in ended.err
    assert "--port" in ended.err
    assert flowcraft("ui", "--port", "99999").code == 2
    assert flowcraft("ui", "--port", "x").code == 2


def test_settings_say_where_and_how(project: Path, flowcraft: Call, served: list[Any]) -> None:
    """Port, and the links to logs, may stand in the configuration file."""
    text = 'app = "shop:runtime"\n[web]\nport = 0\nlog_link = "https://logs.example/{run_id}"\n'
    (project / "flowcraft.toml").write_text(text, encoding="utf-8")
    assert flowcraft("ui", "--read-only").code == 0
    ((app, _),) = served
    assert app.stage.log_link == "https://logs.example/{run_id}"
    assert app._gate._read_only
    (project / "flowcraft.toml").write_text(text.replace("https", "ftp"), encoding="utf-8")
    assert flowcraft("ui").code == 2


def test_without_the_extra_it_is_told(
    project: Path, flowcraft: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing of the web is installed the message says what to install."""
    monkeypatch.setitem(sys.modules, "flowcraft.web", None)
    ended = flowcraft("ui", "--port", "0")
    assert ended.code == 2
    assert "flowcraft-sqs[web]" in ended.err


@pytest.mark.parametrize(
    ("host", "begins"), [("127.0.0.1", "http://127.0.0.1:"), ("::1", "http://[::1]:")]
)
def test_an_address_is_one_that_a_browser_takes(host: str, begins: str) -> None:
    """An address with colons stands in brackets."""
    try:
        listening = ui.listen(host, 0)
    except Exception:
        pytest.skip("there is no such address on this machine")
    with listening:
        assert ui.address_of(listening).startswith(begins)


def test_nothing_is_opened_but_when_asked(
    project: Path, flowcraft: Call, served: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A browser is opened by --open alone."""
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    flowcraft("ui", "--port", "0")
    assert opened == []
    flowcraft("ui", "--port", "0", "--open")
    assert opened[0].startswith("http://127.0.0.1:")
