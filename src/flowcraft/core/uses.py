"""The ``uses`` keys of callables: names by which another process finds the same callable."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flowcraft.core.builtins import BUILTIN_USES
from flowcraft.errors import BlueprintError, Problem

Implementation = Callable[..., Any] | type


def uses_of(implementation: Implementation, name: str) -> str:
    """The key of a function or class: what ``@node(uses=...)`` says, else ``module:qualname``.

    Args:
        implementation: A function, method or class.
        name: The node or batch it is given to, for the message.

    Raises:
        BlueprintError: It has no name of its own, as a ``functools.partial`` has none.
    """
    explicit = getattr(implementation, "__flowcraft_uses__", None)
    if isinstance(explicit, str) and explicit:
        return explicit
    qualified = getattr(implementation, "__qualname__", None)
    module = getattr(implementation, "__module__", None)
    if not isinstance(qualified, str) or not isinstance(module, str):
        kind = type(implementation).__name__
        raise _refusal(name, f'a {kind} has no name to find it by; give one with uses="…"')
    return f"{module}:{qualified}"


def add_implementation(
    registry: dict[str, Implementation], key: str, implementation: Implementation, name: str
) -> None:
    """Put a callable under its key; the same one may come again.

    Raises:
        BlueprintError: Another callable has the key, or the engine has it for itself.
    """
    if key in BUILTIN_USES:
        raise _refusal(name, f"'{key}' is carried out by the engine; give another uses=\"…\"")
    present = registry.setdefault(key, implementation)
    if not _are_same(present, implementation):
        raise _refusal(
            name,
            f"two different callables would both be registered as '{key}'; give one of them "
            'a key of its own with uses="…"',
        )


def merge_implementations(
    registry: dict[str, Implementation], other: Mapping[str, Implementation], name: str
) -> None:
    """Take over all callables of a child flow.

    Raises:
        BlueprintError: As for :func:`add_implementation`.
    """
    for key, implementation in other.items():
        add_implementation(registry, key, implementation, name)


def _are_same(one: Implementation, other: Implementation) -> bool:
    # Each access to a method makes a new object.
    function = getattr(one, "__func__", None)
    if function is None:
        return one is other
    same_function = function is getattr(other, "__func__", None)
    return same_function and getattr(one, "__self__", None) is getattr(other, "__self__", one)


def _refusal(name: str, message: str) -> BlueprintError:
    return BlueprintError([Problem(name, message)])
