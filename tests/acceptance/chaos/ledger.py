"""What nodes do outside: each body notes that it begins and how it ends, in a file for good.

One file for each process, written with one call for each line, so that a line is there or it is not
when the process is killed. Times are those of the machine's monotonic clock, which all processes
have in common. Nothing is noted in the runs themselves, so this is a second witness of what they
say.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final, Protocol

from flowcraft.engine.middleware import Middleware, Proceed

LONGEST_BODY_SECONDS: Final = 0.03
LOOK_SECONDS: Final = 0.2
STALLED_SECONDS: Final = 0.7
"""A process that gets no turn for so long notes that it had none."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of a ledger.

    Attributes:
        what: ``begin``, ``end`` or ``fail`` of a body; ``stall`` of a process, ``log`` of what it
            has logged.
        at: When, in seconds.
        worker: The number of the process.
        key: The idempotency key of the body: the same for every attempt.
        run_id: Its run.
        node_id: Its node, with the number of the item in a batch.
        iteration: The iteration of the node.
        attempt: The attempt.
        seconds: How long a stall was.
        text: What was logged.
    """

    what: str
    at: float
    worker: int
    key: str = ""
    run_id: str = ""
    node_id: str = ""
    iteration: int = 0
    attempt: int = 0
    seconds: float = 0.0
    text: str = ""


class Pen(Protocol):
    """Takes what is noted down."""

    def __call__(self, what: str, *words: object) -> None:
        """Note something, with the words that belong to it."""


class Ledger:
    """Where one process notes what it does.

    Args:
        directory: For the files of all processes.
        worker: The number of this one.
    """

    def __init__(self, directory: Path, worker: int) -> None:
        path = directory / f"ledger-{worker:05}.tsv"
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def __call__(self, what: str, *words: object) -> None:
        """Note something; see ``Pen``."""
        texts = [str(word).replace("\t", " ").replace("\n", " ") for word in words]
        line = "\t".join([what, f"{time.monotonic():.4f}", *texts]) + "\n"
        os.write(self._file, line.encode("utf-8", "replace"))

    def watch(self) -> None:
        """Note from now on when the process does not get a turn for long."""
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        before = time.monotonic()
        while True:
            time.sleep(LOOK_SECONDS)
            now = time.monotonic()
            if now - before > LOOK_SECONDS + STALLED_SECONDS:
                self("stall", f"{now - before:.3f}")
            before = now


class Books(Middleware):
    """Notes every body that is run, by any attempt.

    Args:
        note: Where.
        chance: Decides how long bodies take beside what they do; ``None`` for no time.
    """

    def __init__(self, note: Pen, chance: Random | None = None) -> None:
        self._note = note
        self._chance = chance

    async def around(self, ctx: Any, proceed: Proceed) -> Any:
        """Note the body, and run it."""
        place = (ctx.idempotency_key, ctx.run_id, ctx.node_id, ctx.iteration, ctx.attempt)
        self._note("begin", *place)
        try:
            if self._chance is not None:
                await asyncio.sleep(self._chance.uniform(0.0, LONGEST_BODY_SECONDS))
            result = await proceed()
        except asyncio.CancelledError:
            raise
        except Exception:
            self._note("fail", *place)
            raise
        self._note("end", *place)
        return result


def read_ledgers(directory: Path) -> Iterator[Entry]:
    """What all processes have noted, in no order."""
    for path in sorted(directory.glob("ledger-*.tsv")):
        worker = int(path.stem.partition("-")[2])
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            yield _entry(worker, line)


def _entry(worker: int, line: str) -> Entry:
    what, at, *words = line.split("\t")
    match what:
        case "stall":
            return Entry(what, float(at), worker, seconds=float(words[0]))
        case "log":
            return Entry(what, float(at), worker, text=" ".join(words))
        case _:
            key, run_id, node_id, iteration, attempt = words
            place = (key, run_id, node_id, int(iteration), int(attempt))
            return Entry(what, float(at), worker, *place)
