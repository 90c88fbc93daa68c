"""Messages of a table that are delivered in vain: SQLite has no dead-letter queue.

A message that nobody can read, or that workers die over, stays on the queue and is delivered
again each time its visibility ends. Here such messages are looked at like the letters of a
dead-letter queue; nothing is hidden for that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from flowcraft.adapters.sqlite.connection import Database
from flowcraft.ports.letters import BoxFacts, RawLetter, Refusal, Settled

PAGE: Final = 500

_COUNT: Final = "SELECT count(*) FROM messages WHERE receives >= 1"
_PAGE: Final = """
    SELECT id, body, visible_at, receives FROM messages
    WHERE id > ? AND receives >= 1 ORDER BY id LIMIT ?
"""
# What gets another turn is a new message: the handles of the old one mean nothing any more.
_AGAIN: Final = """
    INSERT INTO messages (body, visible_at, receives)
    SELECT body, ?, 0 FROM messages WHERE id = ? AND receives = ?
"""
_DELETE: Final = "DELETE FROM messages WHERE id = ? AND receives = ?"
_BUSY: Final = "a worker has received it meanwhile, or it is gone"


class SqliteLetters:
    """The messages of a table that were received at least once (see ``LetterBox``).

    Which of them are dead letters is for whoever reads them to say.

    Args:
        database: Where the messages are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._after = 0

    async def facts(self) -> BoxFacts:
        """What is known of the table; :meth:`receive` begins anew."""
        self._after = 0
        with self._database.snapshot as execute:
            (count,) = execute(_COUNT).fetchone()
        name = str(self._database.path)
        return BoxFacts(name, name, int(count), 0, (name,))

    async def receive(self, limit: int, wait_seconds: float) -> Sequence[RawLetter]:
        """The next page of messages, each once; it waits for none."""
        del wait_seconds  # what is there is there
        with self._database.snapshot as execute:
            rows = execute(_PAGE, (self._after, min(limit, PAGE))).fetchall()
        if rows:
            self._after = rows[-1][0]
        return [self._letter(*row) for row in rows]

    def _letter(self, id_: int, body: Any, visible_at: Any, receives: Any) -> RawLetter:
        problem = None if isinstance(body, str) else f"Its body is no text: {body!r:.80}"
        attributes = {}
        if isinstance(visible_at, int | float):
            attributes["visibleAt"] = f"{visible_at:.3f}"
        return RawLetter(
            id=str(id_),
            handle=f"{id_}/{receives}",
            body=body if isinstance(body, str) else "",
            receives=receives if isinstance(receives, int) else 0,
            source=str(self._database.path),
            attributes=attributes,
            problem=problem,
        )

    async def hold(self, handles: Sequence[str]) -> float:
        """Nothing is hidden, and so for any time."""
        del handles
        return float("inf")

    async def release(self, handles: Sequence[str]) -> None:
        """Nothing was hidden."""
        del handles

    async def redrive(self, letters: Sequence[RawLetter]) -> Settled:
        """Let messages be received at once, as if for the first time."""
        now = self._database.clock.now()
        settled = self._delete(letters, again_at=now)
        self._database.waiting.wake()
        return settled

    async def delete(self, letters: Sequence[RawLetter]) -> Settled:
        """Delete messages for good, unless somebody receives them meanwhile."""
        return self._delete(letters)

    def _delete(self, letters: Sequence[RawLetter], again_at: float | None = None) -> Settled:
        done: list[str] = []
        refused: list[Refusal] = []
        with self._database.transaction as execute:
            for letter in letters:
                id_, _, receives = letter.handle.partition("/")
                which = (int(id_), _number(receives))
                if again_at is not None:
                    execute(_AGAIN, (again_at, *which))
                if execute(_DELETE, which).rowcount:
                    done.append(letter.id)
                else:
                    refused.append(Refusal(letter.id, False, _BUSY))
        return Settled(tuple(done), tuple(refused))

    async def purge(self) -> None:
        """Never used: the table holds the messages of healthy runs, too."""
        raise NotImplementedError


def _number(text: str) -> int | str:
    """How often a message was received; what was altered into something else is text."""
    return int(text) if text.isdecimal() else text
