"""What a state makes of its input and its result: paths, templates, variables.

The fields are those of Amazon States Language, as the importer puts them into a node's parameter
``data``: ``InputPath``, ``Parameters``, ``ResultSelector``, ``ResultPath``, ``OutputPath`` and
``Assign``; or, where they were in JSONata, ``Arguments``, ``Output`` and ``Assign`` with
expressions of Flowcraft between ``{%`` and ``%}``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from flowcraft.core.expressions import SafeEvaluator
from flowcraft.errors import ExpressionError
from flowcraft.importing.intrinsics import IntrinsicError, carry_out, is_intrinsic, parse_call
from flowcraft.importing.json_paths import Path, PathError, parse_path, read_path, write_path
from flowcraft.importing.state_errors import StateError, state_error

ABSENT: Final[Any] = object()


@dataclass(frozen=True, slots=True)
class Known:
    """What paths and expressions of a state can see.

    Attributes:
        input: The state's input.
        execution: What ``$$`` and ``$states.context`` give.
        variables: By name, without ``$``.
        seed: What is random is derived from it.
        result: The state's result, where there is one.
        error: ``{"Error": …, "Cause": …}`` where one was caught.
    """

    input: Any
    execution: Mapping[str, Any]
    variables: Mapping[str, Any]
    seed: str
    result: Any = None
    error: Any = None

    def at(self, path: str, value: Any = ABSENT) -> Any:
        """What a path leads to; ``$`` is ``value``, or else the input.

        Raises:
            StateError: It leads nowhere (``States.Runtime``, which is not retried).
        """
        try:
            return self._resolve(parse_path(path), self.input if value is ABSENT else value)
        except PathError as error:
            raise _runtime(error) from error

    def fill(self, template: Any, value: Any) -> Any:
        """A template with its paths, calls and expressions carried out; ``$`` is ``value``.

        Raises:
            StateError: Something leads nowhere, or cannot be calculated.
        """
        if isinstance(template, list):
            return [self.fill(each, value) for each in template]
        if isinstance(template, str) and template.startswith("{%"):
            return self.evaluate(template)
        if not isinstance(template, Mapping):
            return template
        filled = {}
        for key, each in template.items():
            if key.endswith(".$"):
                filled[key[:-2]] = self.dynamic(each, value)
            else:
                filled[key] = self.fill(each, value)
        return filled

    def dynamic(self, text: str, value: Any = ABSENT) -> Any:
        """The value of a field that ends in ``.$``: a path, or a call of a function.

        Raises:
            StateError: It leads nowhere (``States.ParameterPathFailure``) or the call fails.
        """
        base = self.input if value is ABSENT else value
        try:
            if is_intrinsic(text):
                return carry_out(
                    parse_call(text), lambda path: self._resolve(path, base), self.seed
                )
            return self._resolve(parse_path(text), base)
        except PathError as error:
            raise state_error("States.ParameterPathFailure", str(error)) from error
        except IntrinsicError as error:
            raise state_error("States.IntrinsicFailure", str(error)) from error

    def evaluate(self, text: str) -> Any:
        """The value of an expression between ``{%`` and ``%}``.

        Raises:
            StateError: It has none (``States.QueryEvaluationError``).
        """
        states = {
            "input": self.input,
            "result": self.result,
            "errorOutput": self.error,
            "context": self.execution,
        }
        expression = text.removeprefix("{%").removesuffix("%}").strip()
        try:
            scope = {"states": states, "variables": dict(self.variables)}
            return SafeEvaluator().evaluate(expression, scope)
        except ExpressionError as error:
            raise state_error("States.QueryEvaluationError", str(error)) from error

    def _resolve(self, path: Path, value: Any) -> Any:
        if path.root == "$":
            return read_path(path, value)
        if path.root == "$$":
            return read_path(path, dict(self.execution))
        name = path.root[1:]
        if name not in self.variables:
            raise PathError(f"'{path.text}': the variable '{path.root}' has no value")
        return read_path(path, self.variables[name])


def payload_of(data: Mapping[str, Any], known: Known) -> Any:
    """What the work of a state is given: its input by ``InputPath`` and ``Parameters``."""
    if "Arguments" in data:
        return known.fill(data["Arguments"], known.input)
    value = effective_input(data, known)
    return known.fill(data["Parameters"], value) if "Parameters" in data else value


def effective_input(data: Mapping[str, Any], known: Known) -> Any:
    """The input by ``InputPath``, where null stands for an empty object."""
    path = data.get("InputPath", "$")
    return {} if path is None else known.at(path)


def output_of(data: Mapping[str, Any], known: Known) -> Any:
    """What a state hands on: its result by ``ResultSelector``, ``ResultPath``, ``OutputPath``."""
    if "Output" in data:
        return known.fill(data["Output"], known.result)
    result = known.result
    if "ResultSelector" in data:
        result = known.fill(data["ResultSelector"], result)
    merged = placed(data.get("ResultPath", "$"), known.input, result)
    path = data.get("OutputPath", "$")
    return {} if path is None else known.at(path, merged)


def placed(path: str | None, document: Any, value: Any) -> Any:
    """A document with a value at a reference path; ``None`` leaves the value out.

    Raises:
        StateError: There is no such place (``States.ResultPathMatchFailure``).
    """
    if path is None:
        return document
    try:
        return write_path(parse_path(path), document, value)
    except PathError as error:
        raise state_error("States.ResultPathMatchFailure", str(error)) from error


def _runtime(error: Exception) -> StateError:
    return state_error("States.Runtime", str(error), is_fatal=True)
