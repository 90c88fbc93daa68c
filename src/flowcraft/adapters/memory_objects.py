"""Objects in memory."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from flowcraft.ports.objects import PART_BYTES, upload_gone


class MemoryObjects:
    """Objects in a dictionary, for one process."""

    def __init__(self) -> None:
        self._objects: dict[str, bytes] = {}
        self._uploads: dict[str, dict[int, bytes]] = {}
        self._finished: dict[str, str] = {}
        self._names = itertools.count(1)

    async def put(self, key: str, data: bytes) -> bool:
        """Keep an object of one piece, unless there is one under the key already."""
        return self._keep(key, data)

    async def begin(self, key: str) -> str:
        """Begin an object of several parts."""
        name = f"{next(self._names)} {key}"
        self._uploads[name] = {}
        return name

    async def add(self, key: str, upload: str, number: int, data: bytes) -> str:
        """Add a part."""
        self._upload(key, upload)[number] = data
        return str(number)

    async def finish(self, key: str, upload: str, parts: Sequence[str]) -> bool:
        """Have the object there, with all its parts, unless there is one of the key."""
        if self._finished.get(upload) == key:
            return False
        pieces = self._upload(key, upload)
        is_new = self._keep(key, b"".join(pieces[int(part)] for part in parts))
        del self._uploads[upload]
        self._finished[upload] = key
        return is_new

    async def give_up(self, key: str, upload: str) -> None:
        """Forget what was begun and is not finished."""
        del key
        self._uploads.pop(upload, None)

    async def read(self, key: str, start: int = 0, size: int = PART_BYTES) -> bytes | None:
        """A range of an object; ``None`` if there is none."""
        data = self._objects.get(key)
        return None if data is None else data[start : start + size]

    async def delete_all(self, prefix: str) -> None:
        """Forget all objects whose key begins with a text."""
        for key in [key for key in self._objects if key.startswith(prefix)]:
            del self._objects[key]

    def place(self, key: str) -> str:
        """Where an object is, for errors."""
        return f"the object '{key}' in memory"

    def _keep(self, key: str, data: bytes) -> bool:
        return self._objects.setdefault(key, data) is data

    def _upload(self, key: str, upload: str) -> dict[int, bytes]:
        found = self._uploads.get(upload)
        if found is None:
            raise upload_gone(self.place(key))
        return found
