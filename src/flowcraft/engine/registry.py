"""Which callable or class does the work of a node: the nodes' ``uses`` keys, looked up."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, TypeVar, overload

from flowcraft.core.builtins import BUILTIN_USES
from flowcraft.engine.nodes import Implementation, describe
from flowcraft.errors import FlowcraftError, ImplementationMissing

F = TypeVar("F", bound=Callable[..., Any])


class Registry(Mapping[str, Implementation]):
    """The implementations that a worker has, by ``uses`` key; a read-only mapping with verbs.

    Args:
        implementations: A mapping of keys to functions or classes, another registry, or an
            iterable of functions and classes marked by ``@node(uses=...)``.

    Raises:
        FlowcraftError: A key is taken, reserved or no text, or something cannot be a node.
    """

    def __init__(self, implementations: Mapping[str, Any] | Iterable[Any] | None = None) -> None:
        self._by_key: dict[str, Implementation] = {}
        if isinstance(implementations, Mapping):
            self.merge(implementations)
        else:
            marked: Iterable[Any] = implementations or ()
            for implementation in marked:
                self.add(implementation)

    @overload
    def register(self, key: str, implementation: F) -> F: ...

    @overload
    def register(self, key: str) -> Callable[[F], F]: ...

    def register(self, key: str, implementation: F | None = None) -> F | Callable[[F], F]:
        """Put a function or class under a key; ``@registry.register("charge")`` works too.

        The same implementation may be registered again. Gives back what it was given.

        Raises:
            FlowcraftError: Another implementation has the key, the key is one that the engine
                carries out itself or no text, or the implementation cannot be a node.
        """
        if implementation is None:
            return lambda given: self.register(key, given)
        self._put(key, describe(implementation))
        return implementation

    def add(self, implementation: F) -> F:
        """Register a function or class under the key its ``@node(uses=...)`` gives.

        Raises:
            FlowcraftError: As for :meth:`register`, or there is no such key.
        """
        described = describe(implementation)
        if described.uses is None:
            raise FlowcraftError(
                f"{described.name} says no key of its own; mark it with @node(uses='...') or "
                "pass a mapping of keys to implementations",
                is_fatal=True,
            )
        self._put(described.uses, described)
        return implementation

    def merge(self, other: Mapping[str, Any]) -> None:
        """Take over everything of another registry or mapping, or, on an error, nothing.

        Raises:
            FlowcraftError: As for :meth:`register`.
        """
        before = dict(self._by_key)
        try:
            for key, implementation in other.items():
                self._put(key, describe(implementation))
        except FlowcraftError:
            self._by_key = before
            raise

    def require(self, key: str) -> Implementation:
        """The implementation of a key.

        Raises:
            ImplementationMissing: There is none; the message names those that look alike.
        """
        found = self._by_key.get(key)
        if found is None:
            raise ImplementationMissing(missing_text(key, self._by_key), is_fatal=True)
        return found

    def find(self, key: str) -> Implementation | None:
        """The implementation of a key, or ``None``."""
        return self._by_key.get(key)

    def __getitem__(self, key: str) -> Implementation:
        return self._by_key[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_key)

    def __len__(self) -> int:
        return len(self._by_key)

    def __repr__(self) -> str:
        return f"Registry({', '.join(self._by_key)})"

    def _put(self, key: str, described: Implementation) -> None:
        if not isinstance(key, str) or not key:
            raise FlowcraftError(
                f"{described.name} cannot be registered under {key!r}: a key is a text that "
                "is not empty",
                is_fatal=True,
            )
        if key in BUILTIN_USES:
            raise FlowcraftError(
                f"{described.name} cannot be registered as '{key}': the engine carries out "
                "nodes of this name itself; choose another key",
                is_fatal=True,
            )
        present = self._by_key.setdefault(key, described)
        if present.call is not described.call and not _same_method(present.call, described.call):
            raise FlowcraftError(
                f"two implementations are registered as '{key}': {present.name} and "
                f"{described.name}; give one of them another key",
                is_fatal=True,
            )


def missing_text(key: str, known: Collection[str]) -> str:
    """What to tell of a key that nothing is registered under."""
    alike = get_close_matches(key, known, n=3)
    hint = f"did you mean {' or '.join(map(repr, alike))}? Else pass" if alike else "pass"
    return (
        f"no implementation is registered for uses '{key}'; {hint} it in the registry: "
        f"registry.register({key!r}, ...)"
    )


def _same_method(one: Any, other: Any) -> bool:
    # Each access to a method makes a new object, and == would ask the user's __eq__.
    function = getattr(one, "__func__", None)
    return (
        function is not None
        and function is getattr(other, "__func__", None)
        and one.__self__ is other.__self__
    )
