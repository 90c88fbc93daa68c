"""Where runs are kept and how they are worked on: one configuration for commands and functions.

A value comes from the first of these that has it:

1. a flag of the command, or ``--set name=value``;
2. a variable of the environment: ``aws.region`` is ``FLOWCRAFT_AWS_REGION``;
3. ``flowcraft.toml``, or the table ``[tool.flowcraft]`` of ``pyproject.toml``, in the directory or
   the nearest one above it that has either;
4. the default.

Secrets have no place in the file: AWS has its own ways for credentials, and boto3 finds them. The
secret of links comes from the environment, or from a file of its own that ``links.secret_file``
names; neither is ever shown.
"""

from __future__ import annotations

import difflib
import math
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

from flowcraft.errors import Disposition, FlowcraftError

__all__ = ["OPTIONS", "Option", "Setting", "Settings", "SettingsError", "load_settings"]

FILE_NAME: Final = "flowcraft.toml"
PROJECT_NAME: Final = "pyproject.toml"
PREFIX: Final = "FLOWCRAFT_"
CONFIG_VARIABLE: Final = "FLOWCRAFT_CONFIG"
DEFAULT_PREFIX: Final = "flowcraft"

Kind = Literal["text", "path", "whole number", "number"]
Value = str | int | float | None


class SettingsError(FlowcraftError):
    """A setting is none, or has a value that it cannot have; the message names the place."""

    disposition: ClassVar[Disposition] = "drop"


@dataclass(frozen=True, slots=True)
class Option:
    """One setting that there is.

    Attributes:
        name: Its name, with the table that it stands in: ``aws.region``.
        help: What it is, in a few words.
        kind: What its values are.
        default: What holds where nobody says anything.
        choices: All that it may be, where that is a short list.
        least: The smallest value of a number; values have to be larger than 0 without one.
        pattern: What a text has to match as a whole.
        is_secret: Whether it comes from the environment alone, and is never shown.
    """

    name: str
    help: str
    kind: Kind = "text"
    default: Value = None
    choices: tuple[str, ...] = ()
    least: float | None = None
    pattern: str = ""
    is_secret: bool = False

    @property
    def variable(self) -> str:
        """The variable of the environment that it is read from."""
        return PREFIX + self.name.upper().replace(".", "_")


OPTIONS: Final = (
    Option("app", "the workflows and their code, as module:attribute"),
    Option("backend", "where runs are kept", default="sqlite", choices=("sqlite", "aws")),
    Option("sqlite.path", "the file of the runs", "path", "runs.db"),
    Option(
        "sqlite.durability",
        "what is safe once it is written",
        default="normal",
        choices=("normal", "full"),
    ),
    Option("aws.region", "the region; AWS_REGION and the profile's without it"),
    Option("aws.profile", "the profile of AWS's own configuration"),
    Option("aws.endpoint_url", "another address of AWS: an emulator's, say"),
    Option(
        "aws.prefix",
        "what the names of queue and tables begin with",
        default=DEFAULT_PREFIX,
        pattern=r"[A-Za-z0-9_-]{1,50}",
    ),
    Option("aws.queue_url", "the queue of jobs; <prefix>-jobs without it"),
    Option("aws.context_table", "the table of runs; <prefix>-contexts without it"),
    Option("aws.status_table", "the table of statuses; <prefix>-statuses without it"),
    Option("aws.coordination_table", "the table of locks; <prefix>-coordination without it"),
    Option("aws.payload_bucket", "the bucket for large values and files, with a prefix if any"),
    Option("retention_seconds", "how long runs are kept after their end", "number"),
    Option("codec", "encodes what is stored, as module:attribute"),
    Option("worker.concurrency", "messages worked on at once", "whole number", 10, least=1),
    Option("worker.lease_seconds", "how long a worker that is gone is waited for", "number", 30.0),
    Option(
        "worker.drain_timeout_seconds",
        "how long nodes may take to end when a worker stops",
        "number",
        25.0,
        least=0,
    ),
    Option("web.host", "the address that 'flowcraft ui' listens at", default="127.0.0.1"),
    Option("web.port", "its port; 0 for any free one", "whole number", 8095, least=0),
    Option("web.token_file", "the file of the token that requests have to bring", "path"),
    Option("web.log_link", "links to logs, with {run_id}, {node_id} and {attempt} in them"),
    Option("links.base_url", "where links that answer waits lead to, as seen from outside"),
    Option("links.secret", "signs links; several are separated by commas", is_secret=True),
    Option("links.secret_file", "a file with that secret; more lines for older ones", "path"),
    Option("links.lifetime_seconds", "how long links hold", "number", 604_800.0),
    Option(
        "telemetry.exporter",
        "where traces and metrics go",
        default="none",
        choices=("none", "otel", "emf"),
    ),
    Option(
        "log.level",
        "from which level on the log is shown",
        default="info",
        choices=("debug", "info", "warning", "error"),
    ),
    Option("log.format", "lines of the log", default="text", choices=("text", "json")),
)
"""Every setting that there is, in the order in which they are shown."""

_BY_NAME: Final = {option.name: option for option in OPTIONS}
_TABLES: Final = frozenset(
    option.name.partition(".")[0] for option in OPTIONS if "." in option.name
)
_SECRETS: Final = re.compile(r"secret|password|token|access_key|credential", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Setting:
    """A value, and where it comes from.

    Attributes:
        value: The value; ``None`` where there is none.
        origin: Where it was found, for a person.
    """

    value: Value
    origin: str = "default"


class Settings:
    """The values of all settings: ``settings["aws.region"]``.

    Args:
        found: What was found, by name.
        directory: Where the configuration file is; the working directory without one. Modules of
            the app are looked for there first.
        file: The configuration file, if there is one.
    """

    def __init__(
        self, found: Mapping[str, Setting], directory: Path, file: Path | None = None
    ) -> None:
        self._found = dict(found)
        self.directory = directory
        self.file = file

    def __getitem__(self, name: str) -> Any:
        return self.setting(name).value

    def __iter__(self) -> Iterator[tuple[Option, Setting]]:
        return ((option, self.setting(option.name)) for option in OPTIONS)

    def setting(self, name: str) -> Setting:
        """A value with its origin.

        Raises:
            KeyError: There is no such setting.
        """
        option = _BY_NAME[name]
        return self._found.get(name, Setting(option.default))

    def origin(self, name: str) -> str:
        """Where a value comes from, for a person."""
        return self.setting(name).origin

    def is_set(self, name: str) -> bool:
        """Whether somebody said what it is."""
        return name in self._found

    def replace(self, **changes: Value) -> Settings:
        """The same with other values; ``aws__region`` stands for ``aws.region``."""
        found = {name.replace("__", "."): Setting(value, "code") for name, value in changes.items()}
        return Settings({**self._found, **found}, self.directory, self.file)


def load_settings(
    overrides: Mapping[str, Value],
    directory: Path,
    environment: Mapping[str, str],
    *,
    file: Path | None = None,
) -> Settings:
    """Put the settings together.

    Args:
        overrides: What flags say, by the name of the setting.
        directory: Where to look for a configuration file; the ones above it follow.
        environment: The variables of the environment.
        file: The configuration file, where it was named.

    Raises:
        SettingsError: A file cannot be read, a name is none, or a value cannot be.
    """
    named = file or _named(environment)
    if named is not None and not _is_file(directory / named):
        raise SettingsError(f"There is no configuration file '{named}'.")
    path = directory / named if named is not None else _file_above(directory)
    home = path.parent if path is not None else directory
    found: dict[str, Setting] = {}
    if path is not None:
        found.update(_of_file(path))
    found.update(_of_environment(environment, directory))
    for name, value in overrides.items():
        option = _option(name, "option --set")
        place = f"option for {name}"
        _check_open(option, place)
        found[name] = Setting(_placed(option, _converted(option, value, place), directory), place)
    return Settings(found, home, path)


def _named(environment: Mapping[str, str]) -> Path | None:
    name = environment.get(CONFIG_VARIABLE)
    return Path(name) if name else None


# --- files ---------------------------------------------------------------------------------


def _file_above(directory: Path) -> Path | None:
    """The nearest configuration file at or above a directory."""
    for place in (directory, *directory.parents):
        if _is_file(place / FILE_NAME):
            return place / FILE_NAME
        project = place / PROJECT_NAME
        if _is_file(project) and _table_of(project) is not None:
            return project
    return None


def _is_file(path: Path) -> bool:
    """Whether there is a file; what may not be looked at is none."""
    try:
        return path.is_file()
    except OSError:
        return False


def _table_of(path: Path) -> Any:
    """The table of settings of a file; ``None`` where a ``pyproject.toml`` has none.

    Raises:
        SettingsError: It cannot be read, or is no TOML.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise SettingsError(
            f"{path} is not text in UTF-8: byte {error.start} is none of it."
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path} is malformed: {error}.") from error
    if path.name != PROJECT_NAME:
        return data
    tool = data.get("tool", {})
    return tool.get("flowcraft") if isinstance(tool, dict) else None


def _of_file(path: Path) -> dict[str, Setting]:
    table = _table_of(path)
    if not isinstance(table, dict):
        raise SettingsError(f"{path}: [tool.flowcraft] is a table of settings, and is not there.")
    origin = f"[tool.flowcraft] of {path}" if path.name == PROJECT_NAME else str(path)
    found: dict[str, Setting] = {}
    for name, value in _flat(table, str(path)):
        option = _option(name, str(path))
        _check_open(option, f"{path}: {name}")
        converted = _converted(option, value, f"{path}: {name}")
        found[name] = Setting(_placed(option, converted, path.parent), origin)
    return found


def _flat(table: Mapping[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, dict):
            if key not in _TABLES:
                raise SettingsError(f"{path}: there is no table [{key}]{_near(key, _TABLES)}.")
            for inner, leaf in value.items():
                yield f"{key}.{inner}", leaf
        else:
            yield key, value


# --- the environment -----------------------------------------------------------------------


def _of_environment(environment: Mapping[str, str], directory: Path) -> dict[str, Setting]:
    by_variable = {option.variable: option for option in OPTIONS}
    found: dict[str, Setting] = {}
    for variable in sorted(environment):
        if not variable.startswith(PREFIX) or variable == CONFIG_VARIABLE:
            continue
        option = by_variable.get(variable)
        if option is None:
            _check_foreign(variable, by_variable)
            continue
        if environment[variable] == "":
            continue
        value = _converted(option, environment[variable], variable)
        found[option.name] = Setting(
            _placed(option, value, directory), f"environment variable {variable}"
        )
    return found


def _check_foreign(variable: str, known: Mapping[str, Option]) -> None:
    """Refuse what is a setting but for a slip; leave alone what belongs to others."""
    bare = {name.removeprefix(PREFIX): name for name in (*known, CONFIG_VARIABLE)}
    near = difflib.get_close_matches(variable.removeprefix(PREFIX), bare, n=1, cutoff=0.8)
    if near:
        raise SettingsError(
            f"The environment variable {variable} is no setting; {bare[near[0]]} is."
        )


# --- values --------------------------------------------------------------------------------


def _option(name: str, place: str) -> Option:
    option = _BY_NAME.get(name)
    if option is not None:
        return option
    if _SECRETS.search(name):
        raise SettingsError(
            f"{place}: '{name}' is no setting. Credentials do not belong here: give AWS's own "
            "variables, a profile (aws.profile) or a role."
        )
    raise SettingsError(f"{place}: there is no setting '{name}'{_near(name, _BY_NAME)}.")


def _check_open(option: Option, place: str) -> None:
    """See that no secret stands where others read it: in a repository, or a list of processes.

    Raises:
        SettingsError: It is one.
    """
    if option.is_secret:
        raise SettingsError(
            f"{place}: a secret does not belong here, where others may read it. Give it as the "
            f"environment variable {option.variable}, or name a file outside of the repository: "
            f"{option.name}_file."
        )


def _near(name: str, known: Mapping[str, Any] | frozenset[str]) -> str:
    """What may have been meant, as the end of a sentence."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    if near:
        return f"; did you mean '{near[0]}'?".rstrip("?")
    return "; there are: " + ", ".join(sorted(known))


def _converted(option: Option, value: Any, place: str) -> Value:
    """A value of the kind that an option has.

    Raises:
        SettingsError: It is none.
    """
    wanted = _wanted(option)
    match option.kind:
        case "text" | "path":
            fits = isinstance(value, str) and bool(value.strip())
            converted: Value = value
        case "whole number":
            converted = _number(value, int)
            fits = converted is not None
        case "number":
            converted = _number(value, float)
            fits = converted is not None
    if fits and option.choices:
        fits = converted in option.choices
    if fits and option.pattern:
        fits = re.fullmatch(option.pattern, str(converted)) is not None
    if fits and isinstance(converted, int | float):
        fits = converted > 0 if option.least is None else converted >= option.least
    if not fits:
        shown = "what it is" if option.is_secret else _shown(value)
        raise SettingsError(f"{place} is {wanted}, not {shown}.")
    return converted


def _wanted(option: Option) -> str:
    if option.choices:
        return "one of " + ", ".join(option.choices)
    if option.pattern:
        return "a short name of letters, digits, '-' and '_'"
    if option.kind in ("text", "path"):
        return "a text" if option.kind == "text" else "the name of a file"
    bound = "larger than 0" if option.least is None else f"of at least {option.least:g}"
    return f"a {option.kind} {bound}"


def _number(value: Any, kind: type[int] | type[float]) -> int | float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        try:
            value = kind(value.strip())
        except ValueError:
            return None
    if not isinstance(value, int if kind is int else (int, float)):
        return None
    try:
        return kind(value) if math.isfinite(value) else None
    except OverflowError:
        return None  # a whole number with more digits than any number here has


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def _placed(option: Option, value: Value, directory: Path) -> Value:
    """A value, with a path seen from where it was written."""
    if option.kind != "path" or not isinstance(value, str):
        return value
    return str(directory / Path(value).expanduser())
