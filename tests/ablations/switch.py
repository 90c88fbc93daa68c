"""How a safeguard is taken away for a while: something of the package is put in place of itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from flowcraft.testing.simulate.faults import KINDS, Kind

Make = Callable[[Any], Any]
"""Gives what takes the place of something, from what is there."""


class Swap(NamedTuple):
    """A function or a method that is another one for a while.

    Attributes:
        owner: The class or module that has it.
        name: Its name there.
        make: Gives the other one.
    """

    owner: Any
    name: str
    make: Make

    @property
    def place(self) -> str:
        """Where it is, such as ``engine.strand.Strand._resume``."""
        module = getattr(self.owner, "__module__", None) or self.owner.__name__
        parts = [module.removeprefix("flowcraft.")]
        if isinstance(self.owner, type):
            parts.append(self.owner.__qualname__)
        return ".".join([*parts, self.name])

    @contextmanager
    def made(self) -> Iterator[None]:
        """Have the other one in its place."""
        before = self.owner.__dict__[self.name]
        setattr(self.owner, self.name, self.make(getattr(self.owner, self.name)))
        try:
            yield
        finally:
            setattr(self.owner, self.name, before)


@dataclass(frozen=True)
class Ablation:
    """A safeguard, and how it is taken away.

    Attributes:
        name: What it is called.
        safeguard: What it does, in one sentence.
        swaps: What is swapped so that it does so no more, and nothing else is different.
        graphs: The workflows of the simulation in which that is looked for.
        backend: The backend in which that is looked for.
        kinds: The faults that there may be.
        always: What every scenario has, whatever chance says.
        unseen: Why no run goes wrong without it, if that is so; then it is looked for by name only.
        known: A run that goes wrong without it, where looking for one takes too long.
    """

    name: str
    safeguard: str
    swaps: Sequence[Swap]
    graphs: Sequence[str]
    backend: str = "memory"
    kinds: Sequence[Kind] = KINDS
    always: Mapping[str, Any] = field(default_factory=dict)
    unseen: str = ""
    known: str = ""

    @property
    def places(self) -> str:
        """Where the safeguard is."""
        return ", ".join(each.place for each in self.swaps)

    @contextmanager
    def removed(self) -> Iterator[None]:
        """Be without the safeguard."""
        with ExitStack() as stack:
            for swap in self.swaps:
                stack.enter_context(swap.made())
            yield


def always(value: Any) -> Make:
    """A function that gives the same, whatever it is asked."""
    return lambda _: lambda *arguments, **options: value


def never_waits(value: Any = None) -> Make:
    """The same, for one that is awaited."""

    def make(_: Any) -> Any:
        async def nothing(*arguments: Any, **options: Any) -> Any:
            return value

        return nothing

    return make


class Lenient:
    """An update of an item that requires less of the item.

    What is left out is replaced by what always holds, since DynamoDB refuses names and values that
    no expression uses.

    Args:
        update: The update.
        without: What is in the conditions that are left out.
    """

    def __init__(self, update: Any, *without: str) -> None:
        self._update = update
        self._without = without

    def __getattr__(self, name: str) -> Any:
        return getattr(self._update, name)

    def require(self, condition: str) -> None:
        """Require something, unless it is left out."""
        if any(each in condition for each in self._without):
            condition = or_not(condition)
        self._update.require(condition)

    def require_equal(self, path: str, value: Any) -> None:
        """Require a value, unless that is left out."""
        self.require(f"{path} = {self._update.value(value)}")


def or_not(condition: str) -> str:
    """A condition that holds in any case."""
    return f"({condition} OR NOT {condition})"
