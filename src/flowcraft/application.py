"""What settings stand for: the workflows of an app, and clients and workers of its runs."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import logging
import sys
import traceback
from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Final
from urllib.parse import urlsplit

from flowcraft.core.blueprint import WorkflowBlueprint
from flowcraft.core.builder import FlowBuilder
from flowcraft.emf import FLEET, EmfTelemetry
from flowcraft.engine.adapter import Adapter
from flowcraft.engine.client import FlowClient
from flowcraft.engine.links import Links
from flowcraft.engine.options import RuntimeOptions
from flowcraft.engine.runtime import FlowRuntime
from flowcraft.logs import JsonFormatter
from flowcraft.ports.telemetry import Telemetry
from flowcraft.settings import Settings, SettingsError
from flowcraft.sqlite import SqliteAdapter

__all__ = [
    "AwsClients",
    "Names",
    "aws_clients",
    "is_on_this_machine",
    "links_of",
    "load_app",
    "load_object",
    "load_runtime",
    "log_handler",
    "names_of",
    "open_adapter",
    "open_client",
    "options_of",
    "queue_url",
    "runtime_of",
    "telemetry_of",
]

logger = logging.getLogger("flowcraft")

LINE: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"

NO_APP: Final = (
    "No app is configured. Name the module with your workflows, as module:attribute, by --app, by "
    'FLOWCRAFT_APP, or by app = "…" in flowcraft.toml.'
)
USUAL_NAMES: Final = ("runtime", "app", "flows", "flow")
"""Attributes that are taken from a module where none is named, the first of them that is there."""


# --- code ----------------------------------------------------------------------------------


def load_app(settings: Settings) -> RuntimeOptions:
    """The workflows of the app, with the code of their nodes.

    Raises:
        SettingsError: There is none, or it cannot be imported, or it is something else.
    """
    return load_runtime(settings).options


def load_runtime(settings: Settings) -> FlowRuntime:
    """The app, to be run in this process.

    Raises:
        SettingsError: There is none, or it cannot be imported, or it is something else.
    """
    target = settings["app"]
    if target is None:
        raise SettingsError(NO_APP)
    runtime = runtime_of(load_object(target, settings), target)
    options = with_links(runtime.options, settings)
    if options is runtime.options:
        return runtime
    # The runtime is the user's: with other settings it has other links, or none.
    again = copy(runtime)
    again.options = options
    return again


def options_of(found: Any, target: str) -> RuntimeOptions:
    """What an app is, as a backend takes it; see :func:`runtime_of`."""
    return found if isinstance(found, RuntimeOptions) else runtime_of(found, target).options


def runtime_of(found: Any, target: str) -> FlowRuntime:
    """What an app is, to be run in this process.

    Args:
        found: A runtime, its options, a flow, a blueprint, several of the latter, or a function
            without arguments that gives one of these.
        target: How it was named, for errors.

    Raises:
        SettingsError: It is none of these.
    """
    if callable(found) and not isinstance(found, FlowRuntime | FlowBuilder):
        found = _called(found, target)
    match found:
        case FlowRuntime():
            return found
        case RuntimeOptions():
            return _runtime(found)
        case FlowBuilder() | WorkflowBlueprint():
            several: Sequence[Any] = [found]
        case Iterable() if not isinstance(found, str | bytes):
            several = list(found)
        case _:
            several = []
    if not several or not all(isinstance(one, FlowBuilder | WorkflowBlueprint) for one in several):
        raise SettingsError(
            f"'{target}' is a {type(found).__name__}; an app is a FlowRuntime, a flow of "
            "create_flow, a list of flows, or a function without arguments that gives one."
        )
    flows = [one for one in several if isinstance(one, FlowBuilder)]
    blueprints = {one.id: one for one in several if isinstance(one, WorkflowBlueprint)}
    return FlowRuntime(flows=flows, blueprints=blueprints)


def _runtime(options: RuntimeOptions) -> FlowRuntime:
    return FlowRuntime(
        blueprints=options.blueprints,
        registry=options.registry,
        dependencies=options.dependencies,
        serializer=options.serializer,
        middleware=options.middleware,
        evaluator=options.evaluator,
        concurrency=options.concurrency,
        strict=options.strict,
        max_executions=options.max_executions,
        limits=options.limits,
        links=options.links,
    )


def _called(function: Any, target: str) -> Any:
    try:
        return function()
    except Exception as error:
        raise SettingsError(f"'{target}' was called and raised {_told(error)}.") from error


def load_object(target: str, settings: Settings) -> Any:
    """Import what ``module:attribute`` or ``file.py:attribute`` names.

    Args:
        target: Without an attribute the first of runtime, app, flows and flow is taken.
        settings: Modules are looked for where its file is, then as Python does.

    Raises:
        SettingsError: There is no such module or attribute, or it raises while it is imported.
    """
    name, _, attribute = target.partition(":")
    if name.endswith(".py") or "/" in name:
        module = _file_module(settings.directory / name, target)
    else:
        module = _module(name, target, settings.directory)
    return _attribute(module, attribute, target)


def _module(name: str, target: str, directory: Path) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise SettingsError(
            f"'{target}' names no module: it is written module:attribute, such as "
            "shop.flows:runtime."
        )
    _look_in(directory)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (error.name == name or name.startswith(f"{error.name}.")):
            raise SettingsError(
                f"There is no module '{name}' (looked for in {directory}, and where Python looks)."
            ) from error
        raise SettingsError(f"Importing '{name}' raised {_told(error)}.") from error
    except Exception as error:
        raise SettingsError(f"Importing '{name}' raised {_told(error)}.") from error


def _file_module(path: Path, target: str) -> ModuleType:
    if not path.is_file():
        raise SettingsError(f"There is no file '{path}', which '{target}' names.")
    _look_in(path.parent)
    name = path.stem
    if path.stem.isidentifier():
        return _module(name, target, path.parent)
    spec = importlib.util.spec_from_file_location(name.replace("-", "_"), path)
    if spec is None or spec.loader is None:
        raise SettingsError(f"'{path}' is no Python file.")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise SettingsError(f"Importing '{path}' raised {_told(error)}.") from error
    return module


def _look_in(directory: Path) -> None:
    place = str(directory)
    if place not in sys.path:
        sys.path.insert(0, place)


def _attribute(module: ModuleType, path: str, target: str) -> Any:
    if not path:
        for name in USUAL_NAMES:
            if hasattr(module, name):
                return getattr(module, name)
        raise SettingsError(
            f"'{target}' has none of the names {', '.join(USUAL_NAMES)}: say which attribute is "
            "meant, as module:attribute."
        )
    found: Any = module
    for name in path.split("."):
        if not hasattr(found, name):
            known = [each for each in vars(module) if not each.startswith("_")]
            near = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            raise SettingsError(f"'{target}': {module.__name__} has no '{name}'.{hint}")
        found = getattr(found, name)
    return found


def _told(error: BaseException) -> str:
    """An error of a user's code in a sentence, with the line that it comes from."""
    text = f"{type(error).__name__}: {error}".rstrip(". ")
    if isinstance(error, SyntaxError):
        return text
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if "importlib" not in frame.filename and frame.filename != __file__
    ]
    return f"{text} ({frames[-1].filename}, line {frames[-1].lineno})" if frames else text


# --- log and telemetry -----------------------------------------------------------------------


def telemetry_of(settings: Settings) -> Telemetry | None:
    """Where metrics and traces go by the settings; ``None`` for nowhere.

    Raises:
        SettingsError: OpenTelemetry is wanted, and is not installed.
    """
    exporter = settings["telemetry.exporter"]
    if exporter == "emf":
        is_fleet = settings["backend"] == "aws"
        return EmfTelemetry(dimensions={FLEET: settings["aws.prefix"]} if is_fleet else None)
    if exporter == "none":
        return None
    try:
        from flowcraft.otel import OpenTelemetryTelemetry  # noqa: PLC0415
    except ImportError as error:
        raise SettingsError(str(error)) from error
    return OpenTelemetryTelemetry()


def log_handler(settings: Settings) -> logging.Handler:
    """Shows the log on standard error, as the settings say; for the logger ``flowcraft``."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setLevel(settings["log.level"].upper())
    if settings["log.format"] == "json":
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(logging.Formatter(LINE))
    return handler


# --- links -----------------------------------------------------------------------------------


def with_links(options: RuntimeOptions, settings: Settings) -> RuntimeOptions:
    """An app with the links that the settings describe, unless it has some of its own.

    Raises:
        SettingsError: The settings of links cannot be used.
    """
    if options.links is not None:
        return options
    links = links_of(settings)
    return options if links is None else replace(options, links=links)


def links_of(settings: Settings) -> Links | None:
    """The links that the settings describe; ``None`` where they name no address.

    Raises:
        SettingsError: There is an address and no secret, or one of them cannot be used.
    """
    base_url = settings["links.base_url"]
    if base_url is None:
        return None
    secrets = _secrets(settings)
    if not secrets:
        raise SettingsError(
            f"links.base_url is set ({settings.origin('links.base_url')}), and no secret: make one "
            "with 'flowcraft links secret' and give it as FLOWCRAFT_LINKS_SECRET, or in the file "
            "that links.secret_file names."
        )
    try:
        return Links(base_url, secrets, lifetime_seconds=settings["links.lifetime_seconds"])
    except ValueError as error:
        raise SettingsError(f"The settings of links cannot be used: {error}") from error


def _secrets(settings: Settings) -> list[str]:
    """The secrets of links, the one that signs first."""
    given = settings["links.secret"]
    if given is not None:
        return [each.strip() for each in given.split(",") if each.strip()]
    path = settings["links.secret_file"]
    if path is None:
        return []
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        raise SettingsError(f"The secret of links cannot be read from {path}: {why}.") from error
    lines = [line.strip() for line in text.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


# --- AWS -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Names:
    """What the resources of a fleet are called.

    Attributes:
        queue: The queue of jobs; its URL is asked for unless it is configured.
        dead_letters: Where messages go that were received too often.
        contexts: The table of runs.
        statuses: The table that shows runs to people.
        coordination: The table of locks and marks.
        bucket: The bucket for large values and files, with its prefix; ``None`` without one.
    """

    queue: str
    dead_letters: str
    contexts: str
    statuses: str
    coordination: str
    bucket: str | None = None


def names_of(settings: Settings) -> Names:
    """What the resources are called by the settings."""
    prefix = settings["aws.prefix"]
    url = settings["aws.queue_url"]
    queue = f"{prefix}-jobs" if url is None else url.rstrip("/").rpartition("/")[2]
    return Names(
        queue=queue,
        dead_letters=f"{queue}-dead-letters",
        contexts=settings["aws.context_table"] or f"{prefix}-contexts",
        statuses=settings["aws.status_table"] or f"{prefix}-statuses",
        coordination=settings["aws.coordination_table"] or f"{prefix}-coordination",
        bucket=settings["aws.payload_bucket"],
    )


@dataclass(frozen=True, slots=True)
class AwsClients:
    """Makes boto3 clients as the settings say; each service's is made when it is asked for."""

    region: str | None
    profile: str | None
    endpoint_url: str | None
    connections: int

    def client(self, service: str) -> Any:
        """A boto3 client of a service, such as ``sqs``.

        Raises:
            SettingsError: boto3 is not installed, there is no region, or no such profile.
        """
        try:
            from flowcraft.adapters.aws.client import make_client  # noqa: PLC0415
        except ImportError as error:
            raise SettingsError(str(error)) from error
        try:
            return make_client(
                service,
                region=self.region,
                profile=self.profile,
                endpoint_url=self.endpoint_url,
                connections=self.connections,
            )
        except ValueError as error:
            raise SettingsError(str(error)) from error


def is_on_this_machine(url: str | None) -> bool:
    """Whether an address is this machine's own: an emulator's, then."""
    host = None if url is None else urlsplit(url).hostname
    return host in ("localhost", "127.0.0.1", "::1") or (host or "").endswith(".localhost")


def aws_clients(settings: Settings) -> AwsClients:
    """Clients of AWS by the settings."""
    return AwsClients(
        settings["aws.region"],
        settings["aws.profile"],
        settings["aws.endpoint_url"],
        settings["worker.concurrency"] + 4,
    )


def queue_url(settings: Settings, sqs_client: Any) -> str:
    """The address of the queue: the configured one, else that of the queue by the prefix.

    Raises:
        StorageUnavailable: There is no such queue, or it may not be looked for.
        StorageError: It could not be asked for.
    """
    configured = settings["aws.queue_url"]
    if configured is not None:
        return str(configured)
    from flowcraft.adapters.aws.client import queue_url_of  # noqa: PLC0415

    return queue_url_of(sqs_client, names_of(settings).queue)


def _fleet(settings: Settings) -> dict[str, Any]:
    """What a client and an adapter of a fleet are both given."""
    clients = aws_clients(settings)
    sqs, dynamodb = clients.client("sqs"), clients.client("dynamodb")
    from flowcraft.aws import DynamoDbCoordinationStore  # noqa: PLC0415

    names = names_of(settings)
    return {
        "sqs_client": sqs,
        "dynamodb_client": dynamodb,
        "queue_url": queue_url(settings, sqs),
        "context_table_name": names.contexts,
        "status_table_name": names.statuses,
        "coordination_store": DynamoDbCoordinationStore(
            client=dynamodb, table_name=names.coordination
        ),
        "s3_client": None if names.bucket is None else clients.client("s3"),
        "payload_bucket": names.bucket,
    }


async def check_locks(settings: Settings) -> None:
    """See that the table of locks of a fleet can be used.

    Who starts a run needs nothing of it; but where its name is wrong here it is wrong for workers
    too, and they are elsewhere.

    Raises:
        StorageError: It cannot.
    """
    if settings["backend"] != "aws":
        return
    from flowcraft.aws import DynamoDbCoordinationStore  # noqa: PLC0415

    dynamodb = aws_clients(settings).client("dynamodb")
    try:
        await DynamoDbCoordinationStore(dynamodb, names_of(settings).coordination).get("start")
    finally:
        dynamodb.close()


# --- runs ----------------------------------------------------------------------------------


def open_client(
    settings: Settings, options: RuntimeOptions | None = None, *, knows_age: bool = False
) -> FlowClient:
    """A client of the runs: to be used as ``async with``.

    Args:
        settings: Where they are.
        options: The app, where it is wanted; without it the client knows what workers have stored.
        knows_age: Whether it can tell how old the oldest message of a queue of SQS is.

    Raises:
        SettingsError: Something is missing that the settings have to say.
        StorageError: Queue or stores cannot be used.
    """
    options = with_links(options or RuntimeOptions(), settings)
    common = {
        "retention_seconds": settings["retention_seconds"],
        "codec": load_codec(settings),
    }
    if settings["backend"] == "sqlite":
        return SqliteAdapter.client_of(
            settings["sqlite.path"], options, durability=settings["sqlite.durability"], **common
        )
    fleet = _fleet(settings)
    cloudwatch = aws_clients(settings).client("cloudwatch") if knows_age else None
    from flowcraft.aws import SqsAdapter  # noqa: PLC0415

    return SqsAdapter.client_of(
        runtime_options=options, cloudwatch_client=cloudwatch, **fleet, **common
    )


def open_adapter(
    settings: Settings,
    options: RuntimeOptions,
    *,
    telemetry: Telemetry | None = None,
    **worker_options: Any,
) -> Adapter:
    """A worker of the runs, and a client of them, by the settings.

    Args:
        settings: Where the runs are, and how they are worked on.
        options: The app.
        telemetry: Is told what the worker counts and times.
        worker_options: What else an adapter takes.

    Raises:
        SettingsError: Something is missing that the settings have to say.
        StorageError: Queue or stores cannot be used.
    """
    options = with_links(options, settings)
    common = {
        "retention_seconds": settings["retention_seconds"],
        "codec": load_codec(settings),
        "telemetry": telemetry,
        "concurrency": settings["worker.concurrency"],
        "lease_seconds": settings["worker.lease_seconds"],
        "drain_timeout_seconds": settings["worker.drain_timeout_seconds"],
        **worker_options,
    }
    if settings["backend"] == "sqlite":
        return SqliteAdapter(
            settings["sqlite.path"], options, durability=settings["sqlite.durability"], **common
        )
    fleet = _fleet(settings)
    from flowcraft.aws import SqsAdapter  # noqa: PLC0415

    return SqsAdapter(options, **fleet, **common)


def load_codec(settings: Settings) -> Any:
    """The codec that the settings name; ``None`` without one.

    Raises:
        SettingsError: It cannot be imported.
    """
    target = settings["codec"]
    if target is None:
        return None
    found = load_object(target, settings)
    return _called(found, target) if callable(found) else found
