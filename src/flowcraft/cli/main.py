"""The command itself: which subcommands there are, and what becomes of errors."""

from __future__ import annotations

import asyncio
import difflib
import importlib
import os
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import click
from click.shell_completion import shell_complete

from flowcraft._installation import version
from flowcraft.cli.failures import (
    DONE,
    INTERNAL,
    INTERRUPTED,
    NO_STORAGE,
    TERMINATED,
    WRONG_USE,
    code_of,
)
from flowcraft.cli.invocation import Invocation, new_invocation, shared_options
from flowcraft.cli.output import Output, json_text, plain
from flowcraft.errors import FlowcraftError

COMMANDS: Final[Mapping[str, tuple[str, str]]] = {
    "aws": ("flowcraft.cli.aws_:group", "Plan, make and remove what a fleet needs on AWS."),
    "cancel": ("flowcraft.cli.steer:cancel", "Cancel a run."),
    "completion": ("flowcraft.cli.completion:command", "Print the completion of a shell."),
    "config": ("flowcraft.cli.config:group", "Show the settings, and where they come from."),
    "continue": ("flowcraft.cli.steer:continue_", "Let a paused run go on."),
    "cost": ("flowcraft.cli.cost:command", "Tell what a run costs on AWS, or has cost."),
    "delete": ("flowcraft.cli.steer:delete", "Delete a run with all that belongs to it."),
    "dev": (
        "flowcraft.cli.dev:command",
        "A worker that follows changes of code, and the list of runs.",
    ),
    "dlq": ("flowcraft.cli.dlq:group", "See and redrive dead letters."),
    "doctor": ("flowcraft.cli.doctor:command", "Look for what is wrong, and say what helps."),
    "drain-report": (
        "flowcraft.cli.drain_report:command",
        "Tell which code the live runs still need.",
    ),
    "event": ("flowcraft.cli.steer:event", "Send an event to the runs that wait for it."),
    "graph": ("flowcraft.cli.graph:command", "Draw a workflow, or a run."),
    "history": ("flowcraft.cli.history:command", "Tell, or export, all that happened in a run."),
    "import": ("flowcraft.cli.import_:group", "Make workflows of those of other systems."),
    "init": ("flowcraft.cli.init:command", "Write a small project that runs."),
    "inspect": (
        "flowcraft.cli.inspect_:command",
        "Show all of a run: timeline, values, errors, graph.",
    ),
    "links": ("flowcraft.cli.links:group", "Print links that answer what a run waits for."),
    "lint": ("flowcraft.cli.lint:command", "Look for mistakes in workflows."),
    "list": ("flowcraft.cli.list_:command", "List runs."),
    "patch": ("flowcraft.cli.steer:patch", "Change the context of a paused run."),
    "pause": ("flowcraft.cli.steer:pause", "Pause a run."),
    "reconcile": (
        "flowcraft.cli.reconcile:command",
        "Find runs that stand still, and set them going.",
    ),
    "replay": ("flowcraft.cli.replay:command", "Make a run again of its exported history."),
    "rerun": ("flowcraft.cli.steer:rerun", "Run once more from a node on."),
    "resume": ("flowcraft.cli.steer:resume", "Answer what a run waits for."),
    "retry": ("flowcraft.cli.steer:retry", "Run once more what failed."),
    "run": ("flowcraft.cli.run_:command", "Run a workflow in this process."),
    "schedule": ("flowcraft.cli.schedule:group", "Runs that start by the clock."),
    "skip": ("flowcraft.cli.steer:skip", "Skip a node of a run."),
    "start": ("flowcraft.cli.start:command", "Start a durable run."),
    "status": ("flowcraft.cli.status:command", "Show how a run is."),
    "ui": ("flowcraft.cli.ui:command", "Serve the dashboard and the HTTP API."),
    "watch": ("flowcraft.cli.watch:command", "Follow runs while they go on."),
    "worker": ("flowcraft.cli.worker:command", "Be a worker."),
}
"""Each subcommand: where it is, and what it does. What is not called is not imported."""


class NobodyReads(Exception):
    """Standard output is a pipe that nobody reads any more."""


@contextmanager
def _told_of_pipes() -> Iterator[None]:
    """Keep click from ending the process as failed where a pipe is closed."""
    try:
        yield
    except BrokenPipeError as error:
        raise NobodyReads from error


class Commands(click.Group):
    """A group whose flags may stand in front of a subcommand or behind it."""

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        """Parse the arguments; help is written here."""
        with _told_of_pipes():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: click.Context) -> Any:
        """Carry out the subcommand."""
        with _told_of_pipes():
            return super().invoke(ctx)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all subcommands."""
        return sorted({*COMMANDS, *super().list_commands(ctx)})

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The subcommand that is called; where there is none, what may have been meant."""
        name = args[0]
        if self.get_command(ctx, name) is None:
            near = difflib.get_close_matches(name, COMMANDS, n=1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            raise click.UsageError(f"There is no command '{name}'.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A subcommand, imported now."""
        if cmd_name not in COMMANDS:
            return super().get_command(ctx, cmd_name)
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return with_flags(command)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the subcommands without importing them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in sorted(COMMANDS)])


def with_flags(command: click.Command) -> click.Command:
    """Give a command, or all commands of a group, the flags that every command takes."""
    if getattr(command, "has_flags", False):
        return command
    command.has_flags = True  # type: ignore[attr-defined]
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            with_flags(inner)
    own = {name for parameter in command.params for name in parameter.opts}
    flags = [flag for flag in shared_options() if not own.intersection(flag.opts)]
    taken = [flag.name for flag in flags if flag.name is not None]
    command.params.extend(flags)
    callback = command.callback
    assert callback is not None

    def take(**values: Any) -> Any:
        invocation = click.get_current_context().find_object(Invocation)
        assert invocation is not None
        invocation.take({name: values.pop(name) for name in taken})
        return callback(**values)

    command.callback = take
    return command


def _begin(**values: Any) -> None:
    click.get_current_context().ensure_object(Invocation).take(values)


COMPLETE: Final = "_FLOWCRAFT_COMPLETE"
"""The variable by which the script of a shell asks what there is to complete."""


def cli() -> Commands:
    """The whole command, as click has it."""
    group = Commands(
        "flowcraft",
        callback=_begin,
        params=[*shared_options(), _version_option()],
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
        help="Run, see and steer workflows: on this machine, or on a fleet on AWS.",
        epilog="Exit codes: 0 done, 1 failed, 2 wrong use, 3 not found, 4 refused, 5 storage, "
        "6 not in time.",
    )
    return group


def _version_option() -> click.Option:
    def show(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
        if wanted:
            click.echo(f"flowcraft {version()}")
            ctx.exit()

    return click.Option(
        ["--version"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=show,
        help="Show the version.",
    )


def run(arguments: Sequence[str]) -> int:
    """Carry out a command.

    Args:
        arguments: What follows the name of the program.

    Returns:
        The exit code; see ``failures.py``.
    """
    _open_closed_streams()
    try:
        invocation = new_invocation()
    except OSError as error:
        nowhere = Invocation(Path(), os.environ)
        nowhere.as_json = "--json" in arguments
        text = f"The working directory cannot be used: {error.strerror}."
        return _say(nowhere, type(error).__name__, text, NO_STORAGE)
    # A flag that is none is found before any flag is taken in.
    invocation.as_json = "--json" in arguments
    for argument in arguments:
        if not _is_text(argument):
            text = f"An argument is no text in the encoding that is used here: {argument!a}."
            return _say(invocation, "UsageError", text, WRONG_USE)
    try:
        if instruction := os.environ.get(COMPLETE):
            return shell_complete(cli(), {}, "flowcraft", COMPLETE, instruction)
        answer = cli().main(list(arguments), "flowcraft", standalone_mode=False, obj=invocation)
        sys.stdout.flush()
        return answer if isinstance(answer, int) and not isinstance(answer, bool) else 0
    except click.exceptions.Abort:
        return INTERRUPTED
    except click.exceptions.NoArgsIsHelpError as error:
        sys.stderr.write(f"{error.format_message()}\n")
        return error.exit_code
    except click.ClickException as error:
        return _tell_of_use(invocation, error)
    except FlowcraftError as error:
        return _tell(invocation, error, code_of(error))
    except KeyboardInterrupt:
        return INTERRUPTED
    except asyncio.CancelledError:
        return TERMINATED
    except SystemExit as error:
        text = f"Code that was imported or called has ended the process: sys.exit({error.code!r})."
        return _say(invocation, "SystemExit", text, WRONG_USE)
    except (BrokenPipeError, NobodyReads):
        # Whoever read has seen enough.
        _drop_what_is_left()
        return DONE
    except OSError as error:
        _drop_what_is_left()
        what = f"{error.filename}: " if error.filename else ""
        text = f"{what}{error.strerror or error}".strip() or type(error).__name__
        return _say(invocation, type(error).__name__, text, NO_STORAGE)
    except Exception as error:
        if invocation.with_traceback:
            traceback.print_exc()
        text = f"{type(error).__name__}: {error}"
        hint = "This is a bug of the command; --traceback shows where it happened."
        return _say(invocation, type(error).__name__, f"{text}\n{hint}", INTERNAL)


def _is_text(argument: str) -> bool:
    """Whether all bytes of an argument could be read as text."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        return False
    return True


def _open_closed_streams() -> None:
    """Have somewhere to write to, also where the shell has closed a stream (``>&-``)."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115


def _drop_what_is_left() -> None:
    """Let what is left in the buffer of standard output go nowhere, instead of failing again."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _tell_of_use(invocation: Invocation, error: click.ClickException) -> int:
    text = error.format_message()
    context = getattr(error, "ctx", None)
    if context is not None and not invocation.as_json:
        text = f"{text}\n{context.get_usage()}\nTry '{context.command_path} --help'."
    return _say(invocation, "UsageError", text, error.exit_code)


def _tell(invocation: Invocation, error: FlowcraftError, code: int) -> int:
    if invocation.with_traceback:
        traceback.print_exc()
    return _say(invocation, type(error).__name__, str(error) or type(error).__name__, code)


def _say(invocation: Invocation, kind: str, text: str, code: int) -> int:
    """Tell of an error on standard error: to a person, or to a program."""
    if invocation.as_json:
        told = {"error": {"type": kind, "message": text, "exitCode": code}}
        sys.stderr.write(json_text(told, sys.stderr) + "\n")
    else:
        out = Output(False)
        out.remark(f"Error: {plain(text)}", "error")
    return code
