"""``flowcraft links``: addresses for people who may answer, and the secret that they rest on."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowcraft.cli.main import COMMANDS
from tests.unit.cli.conftest import Call, Work

SECRET = "a secret of more than 32 bytes for tests"


@pytest.fixture
def with_links(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose links lead somewhere."""
    monkeypatch.setenv("FLOWCRAFT_LINKS_BASE_URL", "https://flows.example.org/x/")
    monkeypatch.setenv("FLOWCRAFT_LINKS_SECRET", SECRET)
    return project


@pytest.fixture
def waiting(project: Path, flowcraft: Call, work: Work) -> str:
    """A run that waits for an answer."""
    run_id = flowcraft("start", "order", "-c", "amount=2000", "--run-id", "r").out.strip()
    work(run_id)
    return run_id


def test_links_are_printed_one_a_line(with_links: Path, flowcraft: Call, waiting: str) -> None:
    """What is asked for is the address alone; what it is for is a remark."""
    ended = flowcraft("links", waiting)
    assert ended.code == 0, ended.err
    (url,) = ended.out.split()
    assert url.startswith("https://flows.example.org/x/approve/f1.")
    assert "approve: Approve it (until 20" in ended.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("links", "--json", "r", "--action", "yes", "--purpose", "webhook"),
        ("links", "show", "r", "--action", "yes", "--purpose", "webhook", "--json"),
        ("--json", "links", "r", "--node", "approve", "--action", "yes", "--purpose", "webhook"),
    ],
)
def test_links_are_narrowed_down(
    with_links: Path, flowcraft: Call, waiting: str, arguments: tuple[str, ...]
) -> None:
    """Flags go before or behind the run, and say what the links may do."""
    (link,) = flowcraft(*arguments).data["links"]
    assert link["action"] == "yes"
    assert link["purpose"] == "webhook"
    assert link["url"].startswith("https://flows.example.org/x/hooks/f1.")
    assert link["path"] == ["approve"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("r", "--action", "perhaps"), 4, "takes the actions 'yes', 'no', not 'perhaps'"),
        (("r", "--node", "send"), 4, "no node 'send' waits for an answer"),
        (("r", "--lifetime-seconds", "0"), 2, "lifetime_seconds is more than 0"),
        (("nobody",), 3, "There is no run 'nobody'"),
    ],
)
def test_what_makes_no_sense_is_refused(
    with_links: Path,
    flowcraft: Call,
    waiting: str,
    arguments: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    """A node, an action, a run or a time that is none is refused, with what there is instead."""
    ended = flowcraft("links", *arguments)
    assert ended.code == code
    assert message in ended.err
    assert ended.out == ""


def test_without_links_it_is_said_what_is_missing(
    project: Path, flowcraft: Call, waiting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an address there are no links; with an address there has to be a secret."""
    ended = flowcraft("links", waiting)
    assert ended.code == 2
    assert "links.base_url" in ended.err
    monkeypatch.setenv("FLOWCRAFT_LINKS_BASE_URL", "https://flows.example.org")
    ended = flowcraft("links", waiting)
    assert ended.code == 2
    assert "FLOWCRAFT_LINKS_SECRET" in ended.err


def test_a_secret_is_made_and_never_shown_again(
    project: Path, flowcraft: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each secret is another one and long enough, and the settings tell only that there is one."""
    one, two = (flowcraft("links", "secret").out.strip() for _ in "ab")
    assert one != two
    assert len(one) == 43
    assert len(flowcraft("links", "secret", "--json").data["secret"]) == 43
    monkeypatch.setenv("FLOWCRAFT_LINKS_SECRET", one)
    for arguments in (("config", "show"), ("config", "show", "--json")):
        ended = flowcraft(*arguments)
        assert one not in ended.out + ended.err
        assert "***" in ended.out
        assert "FLOWCRAFT_LINKS_SECRET" in ended.out


def test_a_secret_in_a_file_of_settings_is_refused(project: Path, flowcraft: Call) -> None:
    """It would be committed with the file; neither the file nor a flag may hold it."""
    refused = flowcraft("config", "show", "--set", f"links.secret={SECRET}")
    assert refused.code == 2
    assert "does not belong here" in refused.err
    (project / "flowcraft.toml").write_text(f'[links]\nsecret = "{SECRET}"\n', encoding="utf-8")
    refused = flowcraft("config", "show")
    assert refused.code == 2
    assert "links.secret_file" in refused.err
    assert SECRET not in refused.err + refused.out


def test_a_file_of_secrets_has_the_newest_first(
    project: Path, flowcraft: Call, waiting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Comments and empty lines are left out; a file that is not there is named."""
    monkeypatch.setenv("FLOWCRAFT_LINKS_BASE_URL", "https://flows.example.org")
    monkeypatch.setenv("FLOWCRAFT_LINKS_SECRET_FILE", "keys/links.txt")
    ended = flowcraft("links", waiting)
    assert ended.code == 2
    assert "keys/links.txt" in ended.err
    (project / "keys").mkdir()
    text = f"# since May\n{SECRET}, new\n\n{SECRET}, old\n"
    (project / "keys" / "links.txt").write_text(text, encoding="utf-8")
    assert flowcraft("links", waiting).code == 0
    (project / "keys" / "links.txt").write_text("short\n", encoding="utf-8")
    ended = flowcraft("links", waiting)
    assert ended.code == 2
    assert "has 5 bytes, and needs at least 32" in ended.err


def test_the_command_is_listed() -> None:
    """`flowcraft --help` names it."""
    assert COMMANDS["links"][0] == "flowcraft.cli.links:group"
