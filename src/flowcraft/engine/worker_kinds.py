"""Which kinds of workers there are, as a text that all of them keep together.

Workers that are alike, of one version with the same implementations and blueprints, are one kind:
a fleet of any size has a few of them, so the text stays small. Keys of implementations are kept as
digests, since where payloads are encoded they are not for everybody to read, and a digest is as
good for the question whether a worker has a given one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from flowcraft.core.blueprint import WorkflowBlueprint, blueprint_hash

MOST_KINDS: Final = 12
"""Kinds that the text holds; the ones that were not seen for longest make room for others."""

MOST_USES: Final = 300
"""Implementations that are listed of a kind; of a worker with more it is not known which."""

KEPT_SECONDS: Final = 7 * 86_400.0
"""A kind that nobody was of for so long is forgotten."""

DIGEST: Final = 8
"""Hexadecimal digits of a key: of 300 keys two are the same in one of 100,000 registries."""


@dataclass(frozen=True, slots=True)
class WorkerKind:
    """What workers that are alike have in common.

    Attributes:
        package: The version of this package.
        python: The version of Python.
        uses: Digests of the keys that they have implementations for, in order; ``None`` if these
            are too many to be kept.
        blueprints: A digest of the blueprints that they were given.
    """

    package: str
    python: str
    uses: tuple[str, ...] | None
    blueprints: str

    @classmethod
    def of(
        cls,
        package: str,
        python: str,
        uses: Collection[str],
        blueprints: Iterable[WorkflowBlueprint],
    ) -> WorkerKind:
        """The kind of a worker with these implementations and blueprints."""
        digests = tuple(sorted({digest_of(each) for each in uses}))
        hashes = sorted(blueprint_hash(each) for each in blueprints)
        return cls(
            package,
            python,
            digests if len(digests) <= MOST_USES else None,
            digest_of(" ".join(hashes)),
        )

    @property
    def id(self) -> str:
        """Names it: the same for all workers of the kind, whatever machine they are on."""
        listed = "" if self.uses is None else "".join(self.uses)
        return digest_of("/".join((self.package, self.python, listed, self.blueprints)), 12)

    def has(self, uses: str) -> bool | None:
        """Whether these workers have an implementation for a key; ``None`` if nobody knows."""
        return None if self.uses is None else digest_of(uses) in self.uses


@dataclass(frozen=True, slots=True)
class Seen:
    """A kind of workers, and when one of them was there.

    Attributes:
        kind: What they have in common.
        first_at: When the first of them was seen, in seconds since the epoch.
        seen_at: When one was seen last, to a quarter of an hour.
        workers: About how many of them were there in the last quarter of an hour.
    """

    kind: WorkerKind
    first_at: float
    seen_at: float
    workers: int = 0


def digest_of(text: str, digits: int = DIGEST) -> str:
    """A short digest of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:digits]


def read_kinds(text: str | int | None, now: float) -> dict[str, Seen]:
    """The kinds in a text by their ids; what cannot be read counts as not being there."""
    if not isinstance(text, str):
        return {}
    try:
        found = [_read(each) for each in json.loads(text)]
    except (ValueError, TypeError, LookupError, AttributeError):
        return {}
    return {each.kind.id: each for each in found if now - each.seen_at < KEPT_SECONDS}


def write_kinds(kinds: Mapping[str, Seen]) -> str:
    """The same as a text, of those that were seen last."""
    latest = sorted(kinds.values(), key=lambda each: (-each.seen_at, each.kind.id))
    return json.dumps([_data(each) for each in latest[:MOST_KINDS]], separators=(",", ":"))


def _data(seen: Seen) -> dict[str, Any]:
    kind = seen.kind
    return {
        "package": kind.package,
        "python": kind.python,
        "uses": None if kind.uses is None else "".join(kind.uses),
        "blueprints": kind.blueprints,
        "first": int(seen.first_at),
        "seen": int(seen.seen_at),
    }


def _read(data: Any) -> Seen:
    uses = data["uses"]
    listed = None
    if uses is not None:
        listed = tuple(str(uses)[at : at + DIGEST] for at in range(0, len(uses), DIGEST))
    kind = WorkerKind(str(data["package"]), str(data["python"]), listed, str(data["blueprints"]))
    return Seen(kind, float(data["first"]), float(data["seen"]))
