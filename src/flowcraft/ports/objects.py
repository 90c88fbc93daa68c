"""Bytes of any size by key: values that are large, and the files of nodes.

Nothing is ever overwritten: the first content of a key stays. Each call can be repeated, also one
whose answer was lost. So what passes in parts is begun, added to and finished, instead of being
one call with a stream in it, which nobody could repeat.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final, NoReturn, Protocol
from urllib.parse import quote

from flowcraft.errors import StorageCorrupt, StorageUnavailable

PART_BYTES: Final = 8 * 1024 * 1024
"""The size of each part but the last: what a process has in memory of something large."""

MOST_PARTS: Final = 10_000
"""So many parts an object may have: 80 GiB in all."""

_LONGEST_ID: Final = 200


class ObjectStore(Protocol):
    """Bytes by key; a key is plain text of up to 900 characters, with ``/`` between its parts."""

    async def put(self, key: str, data: bytes) -> bool:
        """Keep an object of one piece, unless there is one under the key already.

        Args:
            key: The key.
            data: At most :data:`PART_BYTES`.

        Returns:
            Whether it is new. If it is not, the first content stays as it was.
        """
        ...

    async def begin(self, key: str) -> str:
        """Begin an object of several parts; nobody sees it before it is finished.

        Returns:
            The name of what is begun, for the calls that follow.
        """
        ...

    async def add(self, key: str, upload: str, number: int, data: bytes) -> str:
        """Add a part.

        Args:
            key: The key.
            upload: What was begun.
            number: The number of the part, from 1 without gaps, to :data:`MOST_PARTS`.
            data: :data:`PART_BYTES`; of the last part it may be less.

        Returns:
            What the part is known by, for :meth:`finish`.
        """
        ...

    async def finish(self, key: str, upload: str, parts: Sequence[str]) -> bool:
        """Have the object there, with all its parts at once, unless there is one of the key.

        Args:
            key: The key.
            upload: What was begun.
            parts: What :meth:`add` gave, in the order of the numbers.

        Returns:
            Whether it is new; of a call that is repeated it may say either.

        Raises:
            StorageCorrupt: What was begun is gone.
        """
        ...

    async def give_up(self, key: str, upload: str) -> None:
        """Forget what was begun and is not finished; what is not there is no error."""

    async def read(self, key: str, start: int = 0, size: int = PART_BYTES) -> bytes | None:
        """A range of an object.

        Args:
            key: The key.
            start: The first byte.
            size: How many bytes, at most.

        Returns:
            The bytes; fewer than ``size`` only at the end, none beyond. ``None`` if there is no
            such object.
        """
        ...

    async def delete_all(self, prefix: str) -> None:
        """Forget all objects whose key begins with a text; if there are none, that is no error."""

    def place(self, key: str) -> str:
        """Where an object is, for errors: ``the object 'k' in the bucket 'b'``."""
        ...


class NoObjects:
    """Where there is no place for objects: everything but the deletion of nothing is refused.

    Args:
        cure: What to do about it.
    """

    def __init__(self, cure: str = "Use a backend that keeps them.") -> None:
        self._cure = cure

    async def put(self, key: str, data: bytes) -> bool:
        """Refused."""
        del data
        self._refuse(key)

    async def begin(self, key: str) -> str:
        """Refused."""
        self._refuse(key)

    async def add(self, key: str, upload: str, number: int, data: bytes) -> str:
        """Refused."""
        del upload, number, data
        self._refuse(key)

    async def finish(self, key: str, upload: str, parts: Sequence[str]) -> bool:
        """Refused."""
        del upload, parts
        self._refuse(key)

    async def give_up(self, key: str, upload: str) -> None:
        """Nothing was begun."""

    async def read(self, key: str, start: int = 0, size: int = PART_BYTES) -> bytes | None:
        """Refused."""
        del start, size
        self._refuse(key)

    async def delete_all(self, prefix: str) -> None:
        """Nothing is there."""

    def place(self, key: str) -> str:
        """Where it would be."""
        return f"the object '{key}'"

    def _refuse(self, key: str) -> NoReturn:
        raise StorageUnavailable(
            f"There is no place here for files, nor for {self.place(key)}. {self._cure}",
            is_fatal=True,
        )


def upload_gone(place: str) -> StorageCorrupt:
    """The error that what was begun is not there any more, so that it cannot be finished."""
    return StorageCorrupt(
        f"What was uploaded of {place} is gone: it was given up, or deleted meanwhile, with its "
        "run or by a rule of the bucket. Upload it anew."
    )


def run_prefix(run_id: str, epoch: str) -> str:
    """What the keys of everything begin with that belongs to one start of a run.

    Ids that are long stand there by their hash, since a key has an end.
    """
    return f"runs/{key_part(run_id)}/{key_part(epoch)}/"


def key_part(text: str) -> str:
    """A text as a part of a key: plain characters, none of them a ``/``."""
    quoted = quote(text, safe=" ").replace(" ", "+")
    if quoted.strip(".") and len(quoted) <= _LONGEST_ID:
        return quoted
    # The sign before it is quoted in all others, so that nobody else has this.
    return f"={hashlib.sha256(text.encode()).hexdigest()}"
