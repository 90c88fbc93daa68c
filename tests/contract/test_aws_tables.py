"""Coordination and texts on DynamoDB keep the contracts of their ports, on the fake."""

from __future__ import annotations

from random import Random


def incompressible(size: int, seed: int = 1) -> str:
    """A text that stays about as large as it is, whatever is done to it."""
    return "".join(map(chr, Random(seed).choices(range(0x21, 0x7F), k=size)))
