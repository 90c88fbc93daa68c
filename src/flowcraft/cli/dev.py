"""``flowcraft dev``: a worker that starts anew at each change, and the list of runs, in one."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Group
from rich.live import Live
from rich.text import Text
from watchfiles import Change, DefaultFilter, awatch

from flowcraft import application
from flowcraft.cli.columns import lines_of
from flowcraft.cli.failures import CommandError
from flowcraft.cli.invocation import Invocation, pass_invocation
from flowcraft.cli.list_ import COLUMNS, row_of
from flowcraft.cli.output import Output, plain
from flowcraft.engine.stored import RunSummary
from flowcraft.errors import StorageError
from flowcraft.settings import Settings

ROWS: Final = 15
LOOK_SECONDS: Final = 0.5
LOOK_SECONDS_AWS: Final = 2.0
GRACE_SECONDS: Final = 5.0
"""How much longer than its nodes a worker may take to end, before it is killed."""

SUFFIXES: Final = (".py", ".json", ".toml")


class Source(DefaultFilter):
    """Changes of what a worker is made of: Python, JSON and TOML, not the file of the runs."""

    def __call__(self, change: Change, path: str) -> bool:
        """Whether a change counts."""
        return path.endswith(SUFFIXES) and super().__call__(change, path)


@click.command(
    name="dev",
    help="Work on runs while the code is being written: a worker that starts anew when a file "
    "changes, and the list of runs. For SQLite, or for an emulator of AWS on this machine.",
)
@click.option("--watch", "places", multiple=True, metavar="DIRECTORY", help="What to look at.")
@pass_invocation
def command(invocation: Invocation, /, places: tuple[str, ...]) -> None:
    """Be a worker that follows changes, and show runs."""
    settings = invocation.settings
    if settings["app"] is None:
        raise CommandError(application.NO_APP)
    _check_place(settings)
    watched = [invocation.directory / place for place in places] or [settings.directory]
    for place in watched:
        if not place.is_dir():
            raise CommandError(f"--watch takes a directory, and '{place}' is none.")
    if settings["backend"] == "aws":
        # Imported here, since SQLite needs none of it.
        from flowcraft.cli.aws_ import make_what_is_missing  # noqa: PLC0415

        make_what_is_missing(invocation)
    invocation.run(_dev(invocation, watched))


def _check_place(settings: Settings) -> None:
    url = settings["aws.endpoint_url"]
    if settings["backend"] == "aws" and not application.is_on_this_machine(url):
        raise CommandError(
            "dev is for SQLite, or for an emulator of AWS on this machine: name its address, "
            "--endpoint-url http://localhost:4566. On AWS itself run 'flowcraft worker'."
        )


async def _dev(invocation: Invocation, watched: Sequence[Path]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    screen = Screen(invocation.out)
    worker = WorkerProcess(worker_command(invocation), invocation.settings, screen)
    with screen:
        await _until(
            stop,
            worker.keep(awatch(*watched, watch_filter=Source(), stop_event=stop)),
            _look(invocation, screen),
        )
        screen.say("Stopping; running nodes have time to end.")
        await worker.stop()


async def _until(stop: asyncio.Event, *works: Coroutine[Any, Any, None]) -> None:
    """Do several things at once until told to stop, or one of them fails."""
    tasks = [asyncio.ensure_future(work) for work in works]
    waiting = asyncio.ensure_future(stop.wait())
    try:
        done, _ = await asyncio.wait([*tasks, waiting], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in (*tasks, waiting):
            task.cancel()
        await asyncio.gather(*tasks, waiting, return_exceptions=True)


def worker_command(invocation: Invocation) -> list[str]:
    """The command line of a worker with the same settings as this call."""
    arguments = [sys.executable, "-m", "flowcraft", "worker", "--with-parent"]
    if invocation.file is not None:
        arguments += ["--config", str(invocation.file)]
    for name, value in invocation.overrides.items():
        arguments += ["--set", f"{name}={value}"]
    return arguments


class WorkerProcess:
    """A worker in a process of its own, which is started anew when something changes.

    It is told of this process's end by the end of its standard input, however that comes.

    Args:
        arguments: Its command line.
        settings: How long its nodes may take to end.
        screen: Where its log goes.
    """

    def __init__(self, arguments: Sequence[str], settings: Settings, screen: Screen) -> None:
        self._arguments = arguments
        self._patience = settings["worker.drain_timeout_seconds"] + GRACE_SECONDS
        self._screen = screen
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None

    async def keep(self, changes: AsyncIterator[Iterable[tuple[Change, str]]]) -> None:
        """Run a worker, and another one after each change."""
        await self._start()
        async for changed in changes:
            names = sorted({Path(path).name for _, path in changed})
            self._screen.say(f"Changed: {', '.join(names[:3])}; the worker starts anew.")
            await self.stop()
            await self._start()

    async def _start(self) -> None:
        self._process = process = await asyncio.create_subprocess_exec(
            *self._arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            # Ctrl-C is this process's to deal with; it stops the worker.
            start_new_session=True,
        )
        self._reader = asyncio.ensure_future(self._read(process))

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        while line := await process.stderr.readline():
            self._screen.say(line.decode("utf-8", "replace").rstrip("\n"))
        code = await process.wait()
        if process is self._process and code != 0:
            self._screen.say(
                f"The worker has ended with {code}; it starts again when a file changes.", "warning"
            )

    async def stop(self) -> None:
        """Let the worker finish what runs; kill it if that takes too long."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(self._patience):
                await process.wait()
        except TimeoutError:
            self._screen.say("The worker does not end, and is killed.", "warning")
            process.kill()
        if self._reader is not None:
            await asyncio.gather(self._reader, return_exceptions=True)


async def _look(invocation: Invocation, screen: Screen) -> None:
    """Show the newest runs, again and again."""
    is_local = invocation.settings["backend"] == "sqlite"
    async with application.open_client(invocation.settings) as client:
        while True:
            try:
                page = await client.list_runs(limit=ROWS)
                screen.show(page.runs, invocation.clock.now())
            except StorageError as error:
                screen.say(f"The runs cannot be listed: {error}", "error")
            await asyncio.sleep(LOOK_SECONDS if is_local else LOOK_SECONDS_AWS)


class Screen:
    """Runs as a table that is drawn anew, with the log above it; lines, without a terminal.

    Args:
        out: Where to write.
    """

    def __init__(self, out: Output) -> None:
        self._out = out
        self._live = Live(console=out.console, auto_refresh=False, transient=False)
        self._seen: dict[str, str] = {}
        self._draw: Callable[[Sequence[RunSummary], float], None] = (
            self._table if out.is_terminal and not out.as_json else self._lines
        )

    def __enter__(self) -> Screen:
        if self._draw == self._table:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._draw == self._table:
            self._live.stop()

    def say(self, text: str, style: str = "") -> None:
        """Say something above the table; on standard error without one."""
        if self._draw == self._table:
            self._live.console.print(Text(plain(text), style=style), soft_wrap=True)
        else:
            self._out.remark(text, style)

    def show(self, runs: Sequence[RunSummary], now: float) -> None:
        """Show the newest runs as they are now."""
        self._draw(runs, now)

    def _table(self, runs: Sequence[RunSummary], now: float) -> None:
        room = max(3, self._out.console.height - 8)
        rows = [row_of(run, now) for run in runs[:room]]
        lines: Sequence[Text] = [Text("No runs yet: flowcraft start FLOW", style="bright_black")]
        if rows:
            lines = lines_of(COLUMNS, rows, self._out.console.width)
        for line in lines:
            # A line that is too wide is cut: it must not take two.
            line.no_wrap, line.overflow = True, "ellipsis"
        self._live.update(Group(*lines), refresh=True)

    def _lines(self, runs: Sequence[RunSummary], _: float) -> None:
        for run in reversed(runs):
            status = str(run.status.value)
            if self._seen.get(run.run_id) == status:
                continue
            self._seen[run.run_id] = status
            if self._out.as_json:
                self._out.json_line(run)
            else:
                self._out.print(f"{run.run_id}  {run.blueprint_id}  {status}")
