"""One call of the command: its settings, its output, and the ways to runs."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from flowcraft import application
from flowcraft.adapters.system import SystemClock
from flowcraft.cli.failures import CommandError
from flowcraft.cli.output import Output
from flowcraft.engine.arguments import ArgumentError
from flowcraft.engine.client import FlowClient
from flowcraft.engine.options import RuntimeOptions
from flowcraft.ports.clock import Clock
from flowcraft.settings import Settings, SettingsError, Value, load_settings

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

FLAGS: Final[Mapping[str, str]] = {
    "app": "app",
    "backend": "backend",
    "db": "sqlite.path",
    "region": "aws.region",
    "profile": "aws.profile",
    "endpoint_url": "aws.endpoint_url",
    "prefix": "aws.prefix",
}
"""Flags that every command takes, and the settings that they stand for."""


class Invocation:
    """What the parts of a command share.

    Args:
        directory: The working directory.
        environment: The variables of the environment.
    """

    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        self.directory = directory
        self.environment = environment
        self.clock: Clock = SystemClock()
        self.overrides: dict[str, Value] = {}
        self.file: Path | None = None
        self.as_json = False
        self.with_traceback = False

    def take(self, values: Mapping[str, Any]) -> None:
        """Take in flags; those given later win."""
        for flag, name in FLAGS.items():
            if values.get(flag) is not None:
                self.overrides[name] = values[flag]
        if self.overrides.get("sqlite.path") is not None and values.get("db") is not None:
            self.overrides.setdefault("backend", "sqlite")
        for pair in values.get("set_") or ():
            name, equals, value = pair.partition("=")
            if not equals:
                raise SettingsError(
                    f"--set takes name=value, such as aws.prefix=shop, not '{pair}'."
                )
            self.overrides[name.strip()] = value
        if values.get("config") is not None:
            self.file = Path(values["config"])
        self.as_json = self.as_json or bool(values.get("as_json"))
        self.with_traceback = self.with_traceback or bool(values.get("traceback"))

    @cached_property
    def out(self) -> Output:
        """Where to write to."""
        return Output(self.as_json)

    @cached_property
    def settings(self) -> Settings:
        """The settings that hold for this call.

        Raises:
            SettingsError: They cannot be put together.
        """
        return load_settings(self.overrides, self.directory, self.environment, file=self.file)

    @cached_property
    def options(self) -> RuntimeOptions:
        """The app.

        Raises:
            SettingsError: None is configured, or it cannot be loaded.
        """
        return application.load_app(self.settings)

    @property
    def options_if_any(self) -> RuntimeOptions | None:
        """The app where one is configured; clients know more blueprints and types with it."""
        return None if self.settings["app"] is None else self.options

    def client(self, *, with_app: bool = False, may_begin: bool = False) -> FlowClient:
        """A client of the runs, to be used as ``async with``.

        Args:
            with_app: Whether it is to know the app, if one is configured: its blueprints, and the
                types of its serializer.
            may_begin: Whether a file of runs is made where there is none.
        """
        if not may_begin:
            self.check_file()
        return application.open_client(self.settings, self.options_if_any if with_app else None)

    def check_file(self) -> None:
        """See that there is a file of runs, where a command looks at runs that should be there.

        Raises:
            CommandError: There is none; opening it would make one.
        """
        settings = self.settings
        if settings["backend"] == "sqlite" and not Path(settings["sqlite.path"]).exists():
            raise CommandError(
                f"There is no file of runs '{settings['sqlite.path']}'. Start a run or a worker, "
                "or name the file: --db, sqlite.path in flowcraft.toml, FLOWCRAFT_SQLITE_PATH.",
                5,
            )

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do asynchronous work to its end.

        What the engine says of an argument that cannot be (``TypeError``, ``ValueError``) is the
        user's to mend here, as any wrong argument is.
        """
        try:
            return asyncio.run(work)
        except (TypeError, ValueError) as error:
            if self.with_traceback:
                raise
            raise CommandError(_in_flags(error)) from error


_FLAGS_OF: Final[Mapping[str, str]] = {
    "budget_requests": "--budget-requests",
    "budget_usd": "--budget-usd",
    "fairness_key": "--fairness-key",
    "idempotency_key": "--key",
    "new_run_id": "--new-run-id",
    "run_id": "--run-id",
    "stalled_threshold_seconds": "--threshold",
    "start_at": "--at",
}
"""What a command calls the arguments of the engine."""


def _in_flags(error: Exception) -> str:
    """What the engine says of an argument, with the names that the command has for it."""
    if not isinstance(error, ArgumentError):
        return str(error)
    context = click.get_current_context(silent=True)
    own = [] if context is None else context.command.params
    flags = {flag for parameter in own for flag in parameter.opts}
    return error.told({name: flag for name, flag in _FLAGS_OF.items() if flag in flags})


pass_invocation = click.make_pass_decorator(Invocation)


def new_invocation() -> Invocation:
    """The invocation of this process."""
    return Invocation(Path.cwd(), os.environ)


def shared_options() -> list[click.Option]:
    """The flags that every command takes, in front of its name or behind it."""
    return [
        click.Option(["--json", "as_json"], is_flag=True, help="Write JSON, for programs."),
        click.Option(["--config"], metavar="FILE", help="The configuration file."),
        click.Option(
            ["--set", "set_"],
            multiple=True,
            metavar="NAME=VALUE",
            help="A setting; 'flowcraft config show' lists them.",
        ),
        click.Option(["--app"], metavar="MODULE:NAME", help="The workflows and their code."),
        click.Option(["--backend"], metavar="sqlite|aws", help="Where runs are kept."),
        click.Option(["--db"], metavar="FILE", help="The file of the runs (SQLite)."),
        click.Option(["--region"], metavar="NAME", help="The region of AWS."),
        click.Option(["--profile"], metavar="NAME", help="The profile of AWS's configuration."),
        click.Option(["--endpoint-url"], metavar="URL", help="Another address of AWS."),
        click.Option(["--prefix"], metavar="TEXT", help="What names of resources begin with."),
        click.Option(["--traceback"], is_flag=True, help="Show where an error comes from."),
    ]
