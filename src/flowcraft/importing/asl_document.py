"""A definition in Amazon States Language, as it was read: machines of states.

Machines are nested: the branches of a ``Parallel`` and the processor of a ``Map`` are machines.
Reading finds what is malformed, all of it; what cannot be imported is a matter of the importer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from flowcraft.errors import Problem
from flowcraft.importing.asl_checks import check_state
from flowcraft.importing.state_errors import DefinitionError

Language = Literal["JSONPath", "JSONata"]
LANGUAGES: Final = ("JSONPath", "JSONata")


@dataclass(frozen=True, slots=True)
class State:
    """A state.

    Attributes:
        name: Its name, unique in the whole definition.
        type: ``Task``, ``Choice`` and so on.
        fields: Everything that the definition says of it.
        place: Where it stands, such as ``States.Charge``.
        language: What its paths and expressions are written in.
        branches: The machines of a ``Parallel``, or the one of a ``Map``.
    """

    name: str
    type: str
    fields: Mapping[str, Any]
    place: str
    language: Language
    branches: tuple[Machine, ...] = ()

    @property
    def next(self) -> str | None:
        """The state that follows, or ``None`` where the machine ends with this one."""
        following = self.fields.get("Next")
        return following if isinstance(following, str) else None


@dataclass(frozen=True, slots=True)
class Machine:
    """A graph of states with a first one.

    Attributes:
        start_at: The name of the first state.
        states: By name, in document order.
        fields: Everything else that the definition says of it.
        place: Where it stands; empty for the outermost.
    """

    start_at: str
    states: Mapping[str, State]
    fields: Mapping[str, Any]
    place: str

    def all_states(self) -> Iterator[State]:
        """The states of this machine, and of those nested in it."""
        for state in self.states.values():
            yield state
            for branch in state.branches:
                yield from branch.all_states()


def read_definition(text: str | bytes) -> Machine:
    """Read a definition from JSON text.

    Raises:
        DefinitionError: It is no JSON, or is malformed; every problem has its place.
    """
    reader = _Reader()
    data = reader.parse(text)
    machine = reader.machine(data, "", "JSONPath") if data is not None else None
    if machine is None or reader.problems:
        raise DefinitionError(tuple(reader.problems))
    return machine


class _Reader:
    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self._places: dict[str, str] = {}

    def parse(self, text: str | bytes) -> Any:
        """The data of the text; a key that is given twice is a problem."""
        try:
            return json.loads(text, object_pairs_hook=self._object)
        except json.JSONDecodeError as error:
            place = f"line {error.lineno}, column {error.colno}"
            self._problem(place, f"is not valid JSON: {error.msg}")
        except UnicodeDecodeError as error:
            self._problem(f"byte {error.start}", f"is not valid text: {error.reason}")
        except RecursionError:
            self._problem("", "is nested too deeply to be read")
        return None

    def machine(self, data: Any, place: str, language: Language) -> Machine | None:
        """A machine with all that is nested in it."""
        if not isinstance(data, Mapping):
            self._problem(place, f"a state machine is an object, not {_kind(data)}")
            return None
        at = f"{place}." if place else ""
        own = self._language(data, at, language)
        raw = data.get("States")
        if not isinstance(raw, Mapping) or not raw:
            what = "is missing" if raw is None else "must be an object with at least one state"
            self._problem(f"{at}States", what)
            raw = {}
        states = {
            name: state
            for name, fields in raw.items()
            if (state := self._state(name, fields, f"{at}States.{name}", own)) is not None
        }
        start_at = self._known(data, "StartAt", at, raw)
        for state in states.values():
            for problem in check_state(state.type, state.fields, state.place, own, raw):
                self.problems.append(problem)
        fields = {key: value for key, value in data.items() if key not in ("States", "StartAt")}
        return Machine(start_at, states, fields, place)

    def _state(self, name: str, fields: Any, place: str, language: Language) -> State | None:
        if not isinstance(fields, Mapping):
            self._problem(place, f"a state is an object, not {_kind(fields)}")
            return None
        if name in self._places:
            self._problem(place, f"has the name of {self._places[name]}: names are unique")
        self._places[name] = place
        own = self._language(fields, f"{place}.", language)
        kind = fields.get("Type")
        branches: list[Machine | None] = []
        if kind == "Parallel" and isinstance(fields.get("Branches"), list):
            for number, branch in enumerate(fields["Branches"]):
                branches.append(self.machine(branch, f"{place}.Branches[{number}]", own))
        if kind == "Map":
            key = "Iterator" if "Iterator" in fields else "ItemProcessor"
            if key in fields:
                branches.append(self.machine(fields[key], f"{place}.{key}", own))
        inner = tuple(branch for branch in branches if branch is not None)
        return State(name, str(kind), fields, place, own, inner)

    def _language(self, data: Mapping[str, Any], at: str, language: Language) -> Language:
        own = data.get("QueryLanguage", language)
        if own not in LANGUAGES:
            self._problem(f"{at}QueryLanguage", f"is 'JSONPath' or 'JSONata', not {own!r}")
            return language
        return "JSONata" if own == "JSONata" else "JSONPath"

    def _known(self, data: Mapping[str, Any], key: str, at: str, states: Mapping[str, Any]) -> str:
        name = data.get(key)
        if not isinstance(name, str):
            self._problem(f"{at}{key}", "is missing" if name is None else "must be text")
            return ""
        if states and name not in states:
            self._problem(f"{at}{key}", f"names the state '{name}', which does not exist")
        return name

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        built: dict[str, Any] = {}
        for key, value in pairs:
            if key in built:
                self._problem("", f"the key '{key}' is given twice in one object")
            built[key] = value
        return built

    def _problem(self, place: str, message: str) -> None:
        self.problems.append(Problem(place, message))


def _kind(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return "null" if value is None else "true or false"
    kinds = {"str": "text", "int": "a number", "float": "a number", "list": "a list"}
    return kinds.get(type(value).__name__, "an object")
