"""What the ``Resource`` of a task is, and which function does its work."""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

Kind = Literal["function", "invoke", "activity", "execution", "service"]

_LAMBDA_ARN: Final = re.compile(r"arn:[\w-]+:lambda:[^:]*:[^:]*:function:([^:]+)")
_STATES: Final = re.compile(r"arn:[\w-]+:states:[^:]*:[^:]*:(?P<rest>.+)")
_SUFFIXES: Final = (".sync:2", ".sync", ".waitForTaskToken")


@dataclass(frozen=True, slots=True)
class Resource:
    """What does the work of a task.

    Attributes:
        kind: A Lambda function by its ARN (``function``) or by the service (``invoke``), an
            activity, an execution of another machine, or any other service.
        name: What the function that stands for it may be called, or ``None``: as the state.
        suffix: ``.sync``, ``.sync:2`` or ``.waitForTaskToken``, or nothing.
        text: What to tell a person.
    """

    kind: Kind
    name: str | None
    suffix: str
    text: str

    @property
    def waits_for_token(self) -> bool:
        """Whether the task ends when somebody answers."""
        return self.suffix == ".waitForTaskToken"


def resource_of(fields: Mapping[str, Any]) -> Resource:
    """What the ``Resource`` of a task says, with the function that its parameters name."""
    text: str = fields["Resource"]
    suffix = next((each for each in _SUFFIXES if text.endswith(each)), "")
    bare = text.removesuffix(suffix)
    function = _LAMBDA_ARN.fullmatch(bare)
    if function is not None:
        return Resource("function", function[1], suffix, text)
    states = _STATES.fullmatch(bare)
    rest = states["rest"] if states else ""
    if rest.startswith("activity:"):
        return Resource("activity", rest.removeprefix("activity:"), suffix, text)
    service = rest.lstrip(":").lower()
    parameters = fields.get("Parameters", fields.get("Arguments", {}))
    parameters = parameters if isinstance(parameters, Mapping) else {}
    if service in ("lambda:invoke", "aws-sdk:lambda:invoke"):
        return Resource("invoke", _function_name(parameters.get("FunctionName")), suffix, text)
    if service in ("states:startexecution", "aws-sdk:sfn:startexecution"):
        arn = parameters.get("StateMachineArn")
        name = arn.rpartition(":")[2] if isinstance(arn, str) and "{%" not in arn else None
        return Resource("execution", name, suffix, text)
    return Resource("service", None, suffix, text)


def _function_name(value: Any) -> str | None:
    """The name of a function by its ARN or name; ``None`` for what is no plain name."""
    if not isinstance(value, str):
        return None
    found = _LAMBDA_ARN.match(value)
    name = found[1] if found else value.partition(":")[0]
    return name if re.fullmatch(r"[\w-]+", name) else None


def python_name(text: str) -> str:
    """A name for a Python function: ``charge_card`` for ``ChargeCard`` and ``Charge card``."""
    parts = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", text)
    name = re.sub(r"\W+", "_", parts, flags=re.ASCII).strip("_").lower()
    name = re.sub(r"__+", "_", name) or "state"
    if name[0].isdigit() or keyword.iskeyword(name) or keyword.issoftkeyword(name):
        return f"state_{name}"
    return name
