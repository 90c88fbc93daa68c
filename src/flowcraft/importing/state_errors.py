"""Errors with the names that Amazon States Language gives them."""

from __future__ import annotations

from typing import Final

from flowcraft.errors import FlowcraftError, Problem

TIMEOUT_NAMES: Final = ("States.Timeout", "NodeTimeout", "TimeoutError")
"""What ``States.Timeout`` is called here: an attempt that took too long raises ``NodeTimeout``."""


class DefinitionError(FlowcraftError):
    """A definition was refused; ``problems`` lists everything wrong with it at once."""

    disposition = "drop"

    def __init__(self, problems: tuple[Problem, ...], name: str = "The definition") -> None:
        self.problems = problems
        noun = "problem" if len(problems) == 1 else "problems"
        lines = "".join(f"\n  - {problem}" for problem in problems)
        super().__init__(f"{name} has {len(problems)} {noun}:{lines}", is_fatal=True)


class StateError(FlowcraftError):
    """An error of a state; its class is named as the error is, so ``retryOn`` finds it."""


def state_error(name: str, cause: str = "", *, is_fatal: bool = False) -> StateError:
    """An error to be raised by its name, such as ``"Lambda.ServiceException"``.

    Args:
        name: What ``Retry`` and ``Catch`` of the state call it.
        cause: What happened, for a person.
        is_fatal: Whether it is neither retried nor caught, as ``States.Runtime``.
    """
    named: type[StateError] = type(name or "StateError", (StateError,), {"__doc__": cause or None})
    return named(cause or name, is_fatal=is_fatal)
