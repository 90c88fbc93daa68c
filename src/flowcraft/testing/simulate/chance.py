"""Choices that a seed decides: the same seed gives the same ones, on every machine."""

from __future__ import annotations

from collections.abc import MutableSequence, Sequence
from typing import Final, TypeVar

T = TypeVar("T")

_MASK: Final = (1 << 64) - 1
_FACTOR: Final = 6364136223846793005
_STEP: Final = 1442695040888963407


def _mixed(value: int) -> int:
    """A number whose bits all depend on all bits of another (the finaliser of splitmix64)."""
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


class Chance:
    """A stream of choices: a linear congruential generator, of which the upper bits are used.

    It is called for almost every step of a simulation, so it is one multiplication; it is for
    nothing that has to be hard to guess.

    Args:
        parts: What the choices depend on: numbers and texts, in order.
    """

    __slots__ = ("_parts", "_state")

    def __init__(self, *parts: int | str) -> None:
        self._parts = parts
        state = 0x9E3779B97F4A7C15
        for part in parts:
            number = int.from_bytes(part.encode()) if isinstance(part, str) else part
            # A number longer than 64 bits, and one below 0, count with all that they are.
            state = _mixed((state ^ len(bin(number))) & _MASK)
            while number not in (0, -1):
                state = _mixed((state + _STEP) ^ (number & _MASK))
                number >>= 64
        self._state = state

    def fork(self, *parts: int | str) -> Chance:
        """Choices of their own, which do not depend on how many were made here."""
        return Chance(*self._parts, *parts)

    def below(self, bound: int) -> int:
        """A whole number from 0 up to ``bound``, which is not among them; up to 2**31."""
        self._state = state = (self._state * _FACTOR + _STEP) & _MASK
        return ((state >> 33) * bound) >> 31

    def fraction(self) -> float:
        """A number from 0 up to 1, which is not among them."""
        return self.below(1 << 31) / (1 << 31)

    def between(self, least: float, most: float) -> float:
        """A number between two."""
        return least + (most - least) * self.fraction()

    def happens(self, probability: float) -> bool:
        """Whether something happens that does so with this probability."""
        return probability > 0 and self.fraction() < probability

    def pick(self, options: Sequence[T]) -> T:
        """One of some."""
        return options[self.below(len(options))]

    def shuffle(self, items: MutableSequence[T]) -> None:
        """Put items into any order."""
        for end in range(len(items) - 1, 0, -1):
            other = self.below(end + 1)
            items[end], items[other] = items[other], items[end]
