"""``flowcraft ui``: the dashboard and the HTTP API, served from this process."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

import click

from flowcraft.cli.failures import CommandError
from flowcraft.cli.invocation import Invocation, pass_invocation
from flowcraft.cli.slow_senders import SlowSenders
from flowcraft.cli.worker import begin_logging

if TYPE_CHECKING:
    from flowcraft.web import WebApp

STOP_SECONDS: Final = 5
"""How long answers may take to end when it stops; streams end at once."""

MOST_PORT: Final = 65_535
WAITING_REQUESTS: Final = 100

EPILOG: Final = """\b
flowcraft ui --open
flowcraft ui --host 0.0.0.0 --token-file token.txt
flowcraft ui --read-only --port 8080"""

NO_WEB: Final = "The dashboard needs the extra 'web': pip install 'flowcraft-sqs[web]'."
NEW_TOKEN: Final = "python -c 'import secrets; print(secrets.token_urlsafe(32))' > token.txt"


@click.command(name="ui", help="Serve the dashboard and the HTTP API.", epilog=EPILOG)
@click.option("--host", metavar="ADDRESS", help="Where to listen: 127.0.0.1.")
@click.option("--port", metavar="PORT", help="The port: 8095; 0 for any free one.")
@click.option("--token-file", metavar="FILE", help="The token that requests have to bring.")
@click.option("--read-only", is_flag=True, help="Nobody may change anything.")
@click.option("--open", "opens", is_flag=True, help="Open it in a browser.")
@pass_invocation
def command(invocation: Invocation, /, read_only: bool, opens: bool, **given: str | None) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    for name in ("host", "port", "token_file"):
        if given[name] is not None:
            invocation.overrides[f"web.{name}"] = given[name]
    begin_logging(invocation.settings)
    app = app_of(invocation, read_only=read_only)
    listening = listen(invocation.settings["web.host"], invocation.settings["web.port"])
    address = address_of(listening)

    def tell() -> None:
        if invocation.as_json:
            invocation.out.json_line({"address": address})
        else:
            invocation.out.remark(f"Serving on {address}; Ctrl-C stops.")
        if opens:
            webbrowser.open(address)

    asyncio.run(serve(app, listening, tell))


def app_of(invocation: Invocation, *, read_only: bool) -> WebApp:
    """The application that the settings describe.

    Raises:
        CommandError: It cannot be served so.
    """
    try:
        from flowcraft.web import create_app  # noqa: PLC0415 - the extra may be missing
    except ImportError as error:
        raise CommandError(NO_WEB) from error
    settings = invocation.settings
    token = _token(settings["web.token_file"])
    host = settings["web.host"]
    if token is None and not is_loopback(host):
        raise CommandError(
            f"At {host} others can reach it, so it needs a token: {NEW_TOKEN}, and --token-file "
            "token.txt (web.token_file). Without one it listens at 127.0.0.1 only."
        )
    try:
        return create_app(
            settings, token=token, read_only=read_only, log_link=settings["web.log_link"]
        )
    except ValueError as error:
        raise CommandError(str(error)) from error


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine can reach an address."""
    from flowcraft.web.security import is_loopback as is_own  # noqa: PLC0415 - as above

    return is_own(host.strip("[]"))


def _token(path: str | None) -> str | None:
    """The token in a file.

    Raises:
        CommandError: It cannot be read, or there is none in it.
    """
    if path is None:
        return None
    try:
        token = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"The token file '{path}' cannot be read: {error}.") from error
    if not token or not token.isascii() or not token.isprintable():
        raise CommandError(f"The token file '{path}' holds no token. Make one: {NEW_TOKEN}.")
    return token


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        CommandError: It cannot be listened there.
    """
    name = host.strip("[]")
    if port > MOST_PORT:
        raise CommandError(f"A port is a number up to {MOST_PORT}, not {port}.")
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with ExitStack() as stack:
            listening = stack.enter_context(socket.socket(family, kind, protocol))
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(place)
            listening.listen(WAITING_REQUESTS)
            stack.pop_all()
    except OSError as error:
        hint = "Is it running already? Take another port with --port."
        raise CommandError(f"It cannot listen at {host}:{port}: {error}. {hint}", 5) from error
    return listening


def address_of(listening: socket.socket) -> str:
    """What a browser calls a socket."""
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


async def serve(
    app: WebApp,
    listening: socket.socket,
    tell: Callable[[], None],
    senders: SlowSenders | None = None,
) -> None:
    """Serve until a signal, and end what goes on.

    Args:
        app: The application.
        listening: Where.
        tell: Is called when it answers.
        senders: How long requests may take to come.
    """
    import uvicorn  # noqa: PLC0415 - it is of the extra

    slow = senders or SlowSenders()

    class Server(uvicorn.Server):
        """Ends streams when it is to stop: it would wait for their readers otherwise."""

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            """A signal has come."""
            super().handle_exit(sig, frame)
            app.end_streams()

        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            """Stop at a signal, and end as what is done: the signal is not raised again."""
            loop = asyncio.get_running_loop()
            numbers = () if sys.platform == "win32" else (signal.SIGINT, signal.SIGTERM)
            for each in numbers:
                loop.add_signal_handler(each, self.handle_exit, each, None)
            try:
                yield
            finally:
                for each in numbers:
                    loop.remove_signal_handler(each)

        async def startup(self, sockets: Any = None) -> None:
            """Begin to answer."""
            await super().startup(sockets)
            tell()

        async def on_tick(self, counter: int) -> bool:
            """Some time has passed: ten times a second."""
            slow.look(self.server_state.connections, asyncio.get_running_loop().time())
            should_exit: bool = await super().on_tick(counter)
            return should_exit

    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=STOP_SECONDS,
        h11_max_incomplete_event_size=65_536,
        ws="none",
    )
    await Server(config).serve([listening])
