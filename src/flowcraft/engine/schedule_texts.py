"""A schedule as the text that is stored of it, and the directory that says which is due when."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final, NamedTuple

from flowcraft.core.schedules import Schedule, Seen, Spec, Start
from flowcraft.errors import StorageCorrupt, StorageTooNew

FORMAT: Final = 1


class Entry(NamedTuple):
    """What the directory says of a schedule.

    Attributes:
        incarnation: Which schedule of that id it is about.
        revision: Of what revision of the schedule it is.
        due_at: When there is something to do, in milliseconds since the epoch; ``None`` for never.
        created_at: When the schedule was to be stored.
    """

    incarnation: str
    revision: int
    due_at: int | None
    created_at: int


Directory = Mapping[str, Entry]


def write_schedule(schedule: Schedule) -> str:
    """A schedule as text."""
    spec = {
        name: value
        for name, value in asdict(schedule.spec).items()
        if value != getattr(_PLAIN, name)
    }
    data = {
        "format": FORMAT,
        "id": schedule.id,
        "incarnation": schedule.incarnation,
        "revision": schedule.revision,
        "spec": spec,
        "createdAt": schedule.created_at,
        "cursor": schedule.cursor,
        "paused": schedule.paused,
        "pauseNote": schedule.pause_note,
        "queue": schedule.queue,
        "pending": schedule.pending,
        "active": schedule.active,
        "recent": schedule.recent,
        "problem": schedule.problem,
    }
    # A zero is no False here, although it is equal to it.
    return _text(
        {
            name: value
            for name, value in data.items()
            if value is not False and value not in ("", ())
        }
    )


_PLAIN: Final = Spec("")


def read_schedule(text: str, where: str) -> Schedule:
    """The schedule that a text is of.

    Raises:
        StorageCorrupt: It is of none.
        StorageTooNew: A newer version wrote it.
    """
    data = _data(text, where)
    try:
        return Schedule(
            id=data["id"],
            incarnation=data["incarnation"],
            revision=data["revision"],
            spec=Spec(**data["spec"]),
            created_at=data["createdAt"],
            cursor=data["cursor"],
            paused=data.get("paused", False),
            pause_note=data.get("pauseNote", ""),
            queue=tuple(data.get("queue", ())),
            pending=tuple(Start(*each) for each in data.get("pending", ())),
            active=tuple(data.get("active", ())),
            recent=tuple(Seen(*each) for each in data.get("recent", ())),
            problem=data.get("problem", ""),
        )
    except (KeyError, TypeError) as error:
        raise _damaged(where) from error


def write_directory(entries: Directory) -> str:
    """A part of the directory as text."""
    return _text({"format": FORMAT, "schedules": dict(sorted(entries.items()))})


def read_directory(text: str, where: str) -> dict[str, Entry]:
    """A part of the directory.

    Raises:
        StorageCorrupt: The text is none.
        StorageTooNew: A newer version wrote it.
    """
    data = _data(text, where)
    try:
        return {id_: Entry(*each) for id_, each in data["schedules"].items()}
    except (AttributeError, KeyError, TypeError) as error:
        raise _damaged(where) from error


def _text(data: Any) -> str:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))


def _data(text: str, where: str) -> dict[str, Any]:
    try:
        data = json.loads(text)
        version = data["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(where) from error
    if version != FORMAT:
        raise StorageTooNew(
            f"{where} was written by a newer version of this package (format {version}, and "
            f"{FORMAT} is known here). Update the package."
        )
    return data  # type: ignore[no-any-return]


def _damaged(where: str) -> StorageCorrupt:
    return StorageCorrupt(
        f"{where} in the coordination store is damaged. Restore it from a backup, or delete it and "
        "create the schedule anew."
    )
