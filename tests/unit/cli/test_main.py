"""The command itself: flags, errors and exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import click
import pytest

import flowcraft as flowcraft_package
from flowcraft import errors
from flowcraft.cli import output
from flowcraft.cli.failures import CommandError, code_of
from flowcraft.cli.main import COMMANDS
from flowcraft.settings import SettingsError
from tests.unit.cli.conftest import Call

SOURCE = Path(flowcraft_package.__file__).parents[1]


def in_python(code: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """Run some code in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def raising(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Have ``flowcraft completion`` raise."""

    @click.command(name="completion")
    def command() -> None:
        raise error

    monkeypatch.setattr("flowcraft.cli.completion.command", command)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SettingsError("x"), 2),
        (CommandError("x", 4), 4),
        (errors.BlueprintError([], blueprint_id="x"), 2),
        (errors.RunNotFound("x"), 3),
        (errors.ScheduleNotFound("x"), 3),
        (errors.RunFailed("x"), 1),
        (errors.RunCancelled("x"), 1),
        (errors.RunTimeout("x"), 6),
        (errors.InvalidRunState("x"), 4),
        (errors.ScheduleExists("x"), 4),
        (errors.StorageUnavailable("x"), 5),
        (errors.StorageCorrupt("x"), 5),
        (errors.FlowcraftError("x"), 2),
    ],
)
def test_an_error_has_an_exit_code_of_its_kind(error: errors.FlowcraftError, code: int) -> None:
    """Scripts can tell what is wrong by the number."""
    assert code_of(error) == code


def test_an_error_is_one_message_on_standard_error(
    monkeypatch: pytest.MonkeyPatch, flowcraft: Call
) -> None:
    """A person gets one sentence; with --json a program gets an object with type and code."""
    raising(monkeypatch, errors.RunNotFound("There is no run 'x'."))
    ended = flowcraft("completion")
    assert (ended.code, ended.out, ended.err) == (3, "", "Error: There is no run 'x'.\n")
    for arguments in (("--json", "completion"), ("completion", "--json")):
        ended = flowcraft(*arguments)
        told = {"type": "RunNotFound", "message": "There is no run 'x'.", "exitCode": 3}
        assert json.loads(ended.err) == {"error": told}
        assert (ended.code, ended.out) == (3, "")


def test_a_bug_of_the_command_says_so(monkeypatch: pytest.MonkeyPatch, flowcraft: Call) -> None:
    """What nobody foresaw is no traceback either, unless it is asked for."""
    raising(monkeypatch, LookupError("odd"))
    ended = flowcraft("completion")
    assert ended.code == 70
    assert ended.err.splitlines() == [
        "Error: LookupError: odd",
        "This is a bug of the command; --traceback shows where it happened.",
    ]
    assert "Traceback" in flowcraft("completion", "--traceback").err


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.exceptions.Abort()])
def test_ctrl_c_ends_with_130(
    monkeypatch: pytest.MonkeyPatch, flowcraft: Call, error: BaseException
) -> None:
    """Who interrupts a command gets no message, and the code that shells have for it."""
    raising(monkeypatch, error)
    ended = flowcraft("completion")
    assert (ended.code, ended.out, ended.err.strip()) == (130, "", "")


def test_code_that_ends_the_process_is_told(
    monkeypatch: pytest.MonkeyPatch, flowcraft: Call
) -> None:
    """An app that calls sys.exit ends the command with a message, and not as if all were well."""
    raising(monkeypatch, SystemExit(0))
    ended = flowcraft("completion")
    assert ended.code == 2
    assert ended.err == (
        "Error: Code that was imported or called has ended the process: sys.exit(0).\n"
    )


def test_trouble_of_the_system_is_told_with_its_file(
    monkeypatch: pytest.MonkeyPatch, flowcraft: Call
) -> None:
    """An error of the operating system is one sentence, with the file that it is about."""
    raising(monkeypatch, PermissionError(13, "Permission denied", "some/file"))
    ended = flowcraft("completion")
    assert (ended.code, ended.err) == (5, "Error: some/file: Permission denied\n")


def test_flags_may_stand_in_front_of_the_command_or_behind(project: Path, flowcraft: Call) -> None:
    """Every command takes the shared flags in both places; the later one wins."""
    for arguments in (
        ("--prefix", "shop", "config", "show", "--json"),
        ("--json", "config", "show", "--prefix", "shop"),
        ("--prefix", "other", "config", "show", "--prefix", "shop", "--json"),
        ("--set", "aws.prefix=shop", "config", "show", "--json"),
    ):
        settings = flowcraft(*arguments).data["settings"]
        assert settings["aws.prefix"] == {"value": "shop", "origin": "option for aws.prefix"}


def test_a_named_file_of_runs_means_sqlite(
    project: Path, flowcraft: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--db says where runs are, and so which backend, unless a flag says that, too."""
    monkeypatch.setenv("FLOWCRAFT_BACKEND", "aws")
    assert flowcraft("config", "show", "--json").data["settings"]["backend"]["value"] == "aws"
    shown = flowcraft("config", "show", "--json", "--db", "x.db").data["settings"]
    assert shown["backend"]["value"] == "sqlite"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["lst"], "There is no command 'lst'. Did you mean 'list'?"),
        (["qqq"], "There is no command 'qqq'."),
        (["completion", "--jsn"], "No such option '--jsn'"),
        (["completion"], "Missing argument"),
        (["completion", "tcsh"], "'tcsh' is not one of"),
        (["config", "shw"], "No such command 'shw'"),
        (["config", "show", "--set", "x"], "--set takes name=value"),
        (["config", "show", "--set", "aws.secret_key=hunter2"], "Credentials do not belong here"),
        (["config", "show", "--config", "none.toml"], "no configuration file 'none.toml'"),
        (["config", "show", "--backend", "mysql"], "one of sqlite, aws, not 'mysql'"),
        (["list"], "There is no file of runs"),
    ],
)
def test_wrong_use_is_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    flowcraft: Call,
    arguments: list[str],
    said: str,
) -> None:
    """Whatever is wrong about a call is one message, for people and as JSON, and no traceback."""
    monkeypatch.chdir(tmp_path)
    ended = flowcraft(*arguments)
    assert ended.code == (5 if arguments == ["list"] else 2)
    assert said in ended.err
    assert "Traceback" not in ended.err
    assert "hunter2" not in ended.err
    assert ended.out == ""
    told = json.loads(flowcraft(*arguments, "--json").err)["error"]
    assert said in told["message"]
    assert told["exitCode"] == ended.code


def test_help_is_shown_without_a_command(flowcraft: Call) -> None:
    """Called with nothing the command says what there is, and that this was not enough."""
    ended = flowcraft()
    assert ended.code == 2
    assert ended.err.startswith("Usage: flowcraft")
    assert "Error" not in ended.err
    assert flowcraft("--help").out.splitlines()[0] == "Usage: flowcraft [OPTIONS] COMMAND [ARGS]..."
    assert flowcraft("--version").out.startswith("flowcraft ")


def there() -> list[str]:
    """The commands whose modules are there."""
    return [name for name, (target, _) in COMMANDS.items() if find_spec(target.partition(":")[0])]


@pytest.mark.parametrize("name", there())
def test_every_command_is_in_the_table_and_has_help(name: str, flowcraft: Call) -> None:
    """Each name leads to a command of that name, whose help is one that starts like the list's."""
    target, _ = COMMANDS[name]
    module, _, attribute = target.partition(":")
    command = getattr(import_module(module), attribute)
    assert command.name == name
    ended = flowcraft(name, "--help")
    assert ended.code == 0
    assert f"Usage: flowcraft {name}" in ended.out
    assert ended.out.count("Write JSON, for programs.") == 1


def test_only_the_command_that_is_called_is_imported(tmp_path: Path) -> None:
    """Neither help nor a small command waits for what others need: boto3, say."""
    code = (
        "import sys; from flowcraft.cli.main import run; run(['--help']); run(['config', 'show']);"
        "print([m for m in sys.modules if m.startswith('flowcraft.cli.')], file=sys.stderr);"
        "print([m for m in sys.modules if m in ('boto3', 'opentelemetry')], file=sys.stderr)"
    )
    modules, foreign = in_python(code, tmp_path).stderr.splitlines()
    assert "flowcraft.cli.config" in modules
    assert "flowcraft.cli.list_" not in modules
    assert foreign == "[]"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_streams_and_directories_of_no_use_are_no_bug(tmp_path: Path) -> None:
    """A closed pipe ends the command quietly; a full disk and a lost directory are one message."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.unit.cli.outer", str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(SOURCE), str(SOURCE.parent)])},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    found = json.loads(done.stdout)
    for case in ("closed pipe", "closed pipe, JSON", "closed pipe, help", "closed streams"):
        assert found[case] == [0, ""], case
    assert found["full disk"] == [5, "Error: No space left on device\n"]
    code, message = found["full disk, JSON"]
    assert (code, json.loads(message)["error"]["exitCode"]) == (5, 5)
    code, message = found["no directory"]
    assert code == 5
    assert message.startswith("Error: The working directory cannot be used: ")
    assert message.count("\n") == 1


def test_what_the_command_needs_is_said_where_it_is_missing(tmp_path: Path) -> None:
    """Without the extra the script says how to install it, and nothing else."""
    code = "import sys; sys.modules['click'] = None; from flowcraft.cli import entry; entry()"
    done = in_python(code, tmp_path)
    assert done.returncode == 1
    assert done.stderr == (
        "The command needs click, which is not installed here. Install it with: "
        'pip install "flowcraft-sqs[cli]"\n'
    )


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_of_the_shell(shell: str, flowcraft: Call) -> None:
    """The script calls the command back by its name."""
    ended = flowcraft("completion", shell)
    assert ended.code == 0
    assert "_FLOWCRAFT_COMPLETE" in ended.out
    assert flowcraft("completion", shell, "--json").data["shell"] == shell


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_what_a_shell_asks_for_is_all_that_is_printed(
    shell: str, flowcraft: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tab gives the commands that begin so, and no error that the shell would show."""
    monkeypatch.setenv("_FLOWCRAFT_COMPLETE", f"{shell}_complete")
    monkeypatch.setenv("COMP_WORDS", "flowcraft sta")
    monkeypatch.setenv("COMP_CWORD", "sta" if shell == "fish" else "1")
    ended = flowcraft()
    assert (ended.code, ended.err) == (0, "")
    assert "start" in ended.out
    assert "status" in ended.out


def test_settings_are_shown_without_passwords(project: Path, flowcraft: Call) -> None:
    """What an address holds in front of an @ is shown neither to people nor to programs."""
    address = "http://user:hunter2@127.0.0.1:1"
    for arguments in ((), ("--json",)):
        ended = flowcraft("config", "show", "--endpoint-url", address, *arguments)
        assert "hunter2" not in ended.out
        assert "http://***@127.0.0.1:1" in ended.out
    lines = flowcraft("config", "show").out.splitlines()
    assert lines[0].split() == ["setting", "value", "from", "what", "it", "is"]
    (app,) = [line for line in lines if line.startswith("app ")]
    assert str(project / "flowcraft.toml") in app


def test_settings_fit_a_narrow_terminal(
    project: Path, flowcraft: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names and values stay whole in 80 columns; what each is stands there where there is room."""
    monkeypatch.setattr(output, "PIPED_COLUMNS", 80)
    lines = flowcraft("config", "show").out.splitlines()
    assert any(line.startswith("worker.drain_timeout_seconds  25.0") for line in lines)
    assert max(map(len, lines)) <= 80
    monkeypatch.setattr(output, "PIPED_COLUMNS", 400)
    assert "messages worked on at once" in flowcraft("config", "show").out


def test_the_flags_may_stand_between_a_group_and_its_command(
    project: Path, flowcraft: Call
) -> None:
    """What every command takes its groups take, too."""
    assert flowcraft("config", "--json", "--db", "x.db", "show").data["settings"]["backend"]
    shown = flowcraft("config", "--prefix", "a", "show", "--json", "--prefix", "b").data
    assert shown["settings"]["aws.prefix"]["value"] == "b"


def test_an_argument_that_is_no_text_is_refused(project: Path, flowcraft: Call) -> None:
    """Bytes that are none of the encoding are refused as such, whatever they were meant for."""
    for arguments in (("start", "\udcff"), ("status", "\udcff", "--json"), ("\udcff",)):
        ended = flowcraft(*arguments)
        assert (ended.code, "no text in the encoding" in ended.err) == (2, True)


def test_a_directory_that_is_gone_is_told_to_programs_too(tmp_path: Path) -> None:
    """Without a working directory there is one message; with --json it is an object."""
    code = (
        "import os, sys\nfrom flowcraft.cli.main import run\n"
        "os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone')\n"
        "sys.exit(run(['list', '--json']))"
    )
    ended = in_python(code, tmp_path)
    assert (ended.returncode, ended.stdout) == (5, "")
    assert "working directory" in json.loads(ended.stderr)["error"]["message"]


def test_more_than_any_number_that_is_meant_is_refused(project: Path) -> None:
    """A setting that no worker can have is an error of use, not of the command."""
    code = (
        "import sys\nfrom flowcraft.cli.main import run\n"
        "sys.exit(run(['worker', '--concurrency', '9' * 30]))"
    )
    ended = in_python(code, project)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("Error: concurrency is larger")
