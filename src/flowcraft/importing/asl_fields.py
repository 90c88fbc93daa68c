"""The fields by which a state shapes its data, as parameters of a node."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from flowcraft.importing.asl_document import State
from flowcraft.importing.intrinsics import (
    Argument,
    Call,
    IntrinsicError,
    is_intrinsic,
    parse_call,
)
from flowcraft.importing.json_paths import Path, PathError, parse_path
from flowcraft.importing.jsonata import NotSimple, is_jsonata, translate

PATHS: Final = frozenset({"InputPath", "OutputPath", "ResultPath", "ItemsPath"})
_KNOWN_EXECUTION: Final = re.compile(
    r"\$\$(\.Execution\.(Id|Name|Input)|\.StateMachine\.(Id|Name)|\.State\.(Name|RetryCount)"
    r"|\.Task\.Token|\.Map\.Item\.(Index|Value))(\W|$)"
)


class Trouble(NamedTuple):
    """A field, or a part of one, that is not understood."""

    place: str
    why: str


class Fields(NamedTuple):
    """Parameters of a node, and what of the fields is not in them.

    Attributes:
        params: ``data`` with the fields, and what else has to be read for them.
        troubles: What is not understood.
    """

    params: dict[str, Any]
    troubles: list[Trouble]


def data_params(state: State, fields: Mapping[str, Any], names: Iterable[str]) -> Fields:
    """The parameters of a node that shapes data as some fields say.

    Args:
        state: The state, for its place and its language.
        fields: Its fields, or what stands for them.
        names: Those that the node is to follow; what is not given is left out.
    """
    reading = _Reading(state)
    data = {}
    for name in names:
        if name in fields and not _says_nothing(name, fields[name]):
            data[name] = reading.field(name, fields[name])
    params: dict[str, Any] = {"data": data} if data else {}
    if reading.variables:
        params["reads"] = sorted(reading.variables)
    if reading.reads_execution:
        params["readsExecution"] = True
    return Fields(params, reading.troubles)


def _says_nothing(name: str, value: Any) -> bool:
    return name in PATHS and value == "$"


class _Reading:
    def __init__(self, state: State) -> None:
        self._state = state
        self.variables: set[str] = set()
        self.reads_execution = False
        self.troubles: list[Trouble] = []

    def field(self, name: str, value: Any) -> Any:
        """A field with its expressions translated; paths and calls are looked at only."""
        place = f"{self._state.place}.{name}"
        if name.endswith("Path"):
            if value is not None:
                self._dynamic(str(value), place)
            return value
        if self._state.language == "JSONata":
            return self._jsonata(value, place)
        self._template(value, place)
        return value

    def _template(self, value: Any, place: str) -> None:
        if isinstance(value, list):
            for number, each in enumerate(value):
                self._template(each, f"{place}[{number}]")
        elif isinstance(value, Mapping):
            for key, each in value.items():
                if key.endswith(".$"):
                    self._dynamic(str(each), f"{place}['{key}']")
                else:
                    self._template(each, f"{place}.{key}")

    def _dynamic(self, text: str, place: str) -> None:
        """Look at a path or call: is it understood, and what does it read?"""
        try:
            paths = list(_paths_of(parse_call(text))) if is_intrinsic(text) else [parse_path(text)]
        except (PathError, IntrinsicError) as error:
            self.troubles.append(Trouble(place, str(error)))
            return
        for path in paths:
            self._reads(path, place)

    def _reads(self, path: Path, place: str) -> None:
        if path.root == "$$":
            if not _KNOWN_EXECUTION.match(path.text):
                self.troubles.append(Trouble(place, f"'{path.text}' is not known of a run"))
            self.reads_execution |= path.text.startswith("$$.Execution.Input")
        elif path.root != "$":
            self.variables.add(path.root[1:])

    def _jsonata(self, value: Any, place: str) -> Any:
        if isinstance(value, list):
            return [self._jsonata(each, f"{place}[{n}]") for n, each in enumerate(value)]
        if isinstance(value, Mapping):
            return {key: self._jsonata(each, f"{place}.{key}") for key, each in value.items()}
        if not is_jsonata(value):
            return value
        try:
            translation = translate(value)
        except NotSimple as error:
            self.troubles.append(Trouble(place, f"{value}: {error}"))
            return value
        self.variables |= translation.variables
        self.reads_execution |= translation.reads_execution
        return f"{{% {translation.text} %}}"


def _paths_of(argument: Argument) -> Iterator[Path]:
    if isinstance(argument, Path):
        yield argument
    elif isinstance(argument, Call):
        for each in argument.arguments:
            yield from _paths_of(each)
