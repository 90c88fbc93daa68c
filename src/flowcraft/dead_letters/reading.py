"""Reading letters: what each is, why it is there, and how its run stands to it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from flowcraft.dead_letters.letter import Cause, Letter, LetterRun, Standing, letter_of
from flowcraft.dead_letters.standing import is_replaceable, standing_of
from flowcraft.engine.jobs import Job, Unreadable, UnreadableJob, read_job
from flowcraft.engine.ledger import Ledger
from flowcraft.engine.places import key_called
from flowcraft.engine.shards import ShardLedger
from flowcraft.engine.station import Station
from flowcraft.errors import CodecError, FlowcraftError, StorageCorrupt, StorageError
from flowcraft.ports.letters import BoxFacts, RawLetter

_CAUSES: Final = {
    Unreadable.NOT_JSON: Cause.NOT_JSON,
    Unreadable.NOT_OURS: Cause.NOT_OURS,
    Unreadable.NEWER: Cause.NEWER_VERSION,
    Unreadable.ENCODED: Cause.ENCODED,
    Unreadable.DAMAGED: Cause.DAMAGED,
}

TYPESCRIPT_FIELDS: Final = ("runId", "blueprintId", "nodeId")
"""What messages of the TypeScript adapter have; they have no version."""


class Reader:
    """Tells of letters what they are.

    Args:
        station: Reads what letters refer to, and their runs.
        facts: Of the box that they are in.
        reads_runs: Whether runs are looked at; otherwise only where nothing else tells whose a
            letter is.

    Attributes:
        trouble: Why runs cannot be looked at, once that has failed.
    """

    def __init__(self, station: Station, facts: BoxFacts, *, reads_runs: bool = True) -> None:
        self._station = station
        self._facts = facts
        self._reads_runs = reads_runs
        self.trouble: str | None = None

    async def read(self, letters: Sequence[RawLetter]) -> list[Letter]:
        """What letters are, in the same order."""
        return list(await asyncio.gather(*map(self.read_one, letters)))

    async def read_one(self, raw: RawLetter) -> Letter:
        """What a letter is."""
        is_ours = self._is_ours(raw)
        if raw.problem is not None:
            return letter_of(raw, Cause.DAMAGED, raw.problem, is_ours=is_ours)
        try:
            body = await self._station.queue.whole(raw.body)
            job = read_job(body, self._station.options.serializer)
        except UnreadableJob as error:
            cause = _CAUSES[error.kind]
            reason = _reason(raw.body, error)
            return letter_of(raw, cause, reason, is_ours=is_ours, run=_named(raw.body))
        except CodecError as error:
            run = _named(raw.body)
            return letter_of(raw, Cause.ENCODED, str(error), is_ours=is_ours, run=run)
        except StorageError as error:
            run = _named(raw.body)
            return letter_of(raw, Cause.BODY_MISSING, str(error), is_ours=is_ours, run=run)
        cause, reason, run = await self._look_at_run(job, raw)
        if is_ours is None and run.standing not in (Standing.GONE, Standing.UNKNOWN):
            is_ours = True  # no other fleet has its run
        return letter_of(raw, cause, reason, is_ours=is_ours, run=run)

    def _is_ours(self, raw: RawLetter) -> bool | None:
        if raw.source is not None:
            return raw.source == self._facts.source
        return None if self._facts.is_shared else True

    # -- the run ----------------------------------------------------------------------------

    async def _look_at_run(self, job: Job, raw: RawLetter) -> tuple[Cause, str, LetterRun]:
        ledger: Ledger | None = None
        if self._is_worth_reading(raw):
            try:
                ledger = await self._station.open(job.run_id, job.epoch)
            except (CodecError, StorageCorrupt) as error:
                return self._unreadable_run(job, error)
            except StorageError as error:
                self.trouble = str(error)  # the next ones fare no better
            except FlowcraftError as error:
                return self._unreadable_run(job, error)
            else:
                if ledger is None:
                    run = _run(job, Standing.GONE)
                    return Cause.RUN_GONE, "There is no such run, or it was started anew.", run
        run = _run(job, Standing.UNKNOWN) if ledger is None else self._run_of(job, ledger)
        if job.put_back:
            return Cause.IMPLEMENTATION_MISSING, _put_back(job, ledger), run
        reason = "It was received time after time, and nobody came to its end."
        return Cause.DELIVERED_TOO_OFTEN, reason, run

    def _is_worth_reading(self, raw: RawLetter) -> bool:
        """Whether the run of a letter is to be looked at: not if it is in other tables."""
        if self.trouble is not None or raw.source not in (None, self._facts.source):
            return False
        # Without a source, its run may be all that tells whose the letter is.
        return self._reads_runs or (raw.source is None and self._facts.is_shared)

    @staticmethod
    def _unreadable_run(job: Job, error: FlowcraftError) -> tuple[Cause, str, LetterRun]:
        cause = Cause.ENCODED if isinstance(error, CodecError) else Cause.RUN_UNREADABLE
        return cause, str(error), _run(job, Standing.UNKNOWN, detail=str(error))

    def _run_of(self, job: Job, ledger: Ledger) -> LetterRun:
        standing = standing_of(job, ledger, self._station.clock.now())
        whole = ledger.above if isinstance(ledger, ShardLedger) else ledger
        return _run(job, standing, run_id=whole.run_id, status=str(whole.state.status))


def _run(job: Job, standing: Standing, **known: Any) -> LetterRun:
    about: dict[str, Any] = {"run_id": job.run_id, "blueprint_id": job.blueprint_id} | known
    return LetterRun(
        **about,
        standing=standing,
        node_id=job.node_id,
        attempt=job.attempt,
        brings=None if job.event is None else type(job.event).__name__,
        is_replaceable=is_replaceable(job),
    )


def _put_back(job: Job, ledger: Ledger | None) -> str:
    """That nobody had the implementation, and of what, where the run still waits for it."""
    command = None if ledger is None or job.place is None else ledger.attempt_at(job.place)
    what = f"of node '{job.node_id}'"
    if command is not None and ledger is not None:
        what = f"'{key_called(ledger.plan, command)}' {what}"
    since = ""
    if job.first_at is not None:
        first = datetime.fromtimestamp(job.first_at, UTC).isoformat(sep=" ", timespec="seconds")
        since = f" since {first}"
    return (
        f"It was put back {_times(job.put_back)}{since}: no worker had the implementation {what}."
    )


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _reason(body: str, error: UnreadableJob) -> str:
    data = _data(body) if error.kind is Unreadable.NOT_OURS else None
    if data is None or "v" in data:
        return str(error)
    if all(isinstance(data.get(name), str) for name in TYPESCRIPT_FIELDS):
        return "It has no version, like the messages of the TypeScript adapter."
    return str(error)


def _named(body: str) -> LetterRun | None:
    """The run that a message names which cannot be read."""
    data = _data(body)
    if data is None or not isinstance(data.get("runId"), str):
        return None
    texts = {name: data.get(name) for name in ("blueprintId", "nodeId")}
    blueprint_id, node_id = (each if isinstance(each, str) else None for each in texts.values())
    return LetterRun(data["runId"], blueprint_id, node_id=node_id)


def _data(body: str) -> dict[str, Any] | None:
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None
