"""What is left in the context table of runs that are gone."""

from __future__ import annotations

from flowcraft.adapters.aws.orphans import YOUNG_SECONDS
from flowcraft.adapters.aws.parts import SEPARATOR
from flowcraft.adapters.aws.runs import DynamoDbRuns
from flowcraft.ports.runs import Entry, Head
from flowcraft.ports.suspicion import Depth, Suspicion
from flowcraft.testing import VirtualClock
from flowcraft.testing.aws import FakeDynamoDb
from flowcraft.testing.conformance.helpers import create, head
from flowcraft.testing.conformance.suspects import LIVE, LONG, all_suspects
from tests.unit.aws_tables import CONTEXTS, STATUSES, create_table, items, status_table
from tests.unit.runs import drive

LARGE = "".join(f"{number:x}" for number in range(600))
"""More than what is kept in the item of a run."""


class Place:
    """Runs in tables, and a look at their parts."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.fake = FakeDynamoDb(self.clock)

    async def open(self) -> Place:
        """Create the tables."""
        await create_table(self.fake, CONTEXTS, "runId")
        await status_table(self.fake, STATUSES, None)
        self.runs = DynamoDbRuns(self.fake, CONTEXTS, STATUSES, self.clock)
        return self

    async def parts(self) -> list[str]:
        """The kept values and segments, as the run and the epoch that they belong to."""
        keys = [item["runId"]["S"].split(SEPARATOR) for item in await items(self.fake, CONTEXTS)]
        return sorted("/".join(key[:2]) for key in keys if len(key) > 3)

    async def leave(self, head: Head) -> None:
        """Be a worker that dies when it has kept a value, and before it refers to it."""
        await self.runs._records.pack(head, [Entry(f"{LARGE} of nobody", 0.0)], "thread")

    async def look(self) -> None:
        """Look at all records."""
        before = self.clock.now() - LONG
        suspicion = Suspicion(before, ("running",), LIVE, Depth.RECORDS)
        await all_suspects(self.runs, suspicion)


def test_a_value_of_nobody_goes_after_its_run() -> None:
    """A value whose writer died is removed by the look at all records, once its run is gone."""

    async def work() -> None:
        place = await Place().open()
        run = await create(place.runs, "run")
        await place.leave(run)
        place.clock.advance(YOUNG_SECONDS + LONG)
        await place.look()
        assert await place.parts() == ["run/epoch"]
        await place.runs.remove("run", "epoch")
        assert await place.parts() == ["run/epoch"]
        await place.look()
        assert await place.parts() == []

    drive(work())


def test_what_was_written_lately_stays() -> None:
    """A run that is about to be put has its values already, and no item yet."""

    async def work() -> None:
        place = await Place().open()
        await place.leave(head("soon"))
        place.clock.advance(YOUNG_SECONDS)
        await place.look()
        assert await place.parts() == ["soon/epoch"]
        place.clock.advance(1.0)
        await place.look()
        assert await place.parts() == []

    drive(work())


def test_what_belongs_to_runs_that_are_there_stays() -> None:
    """Segments and values of live and finished runs are left alone, those of an older epoch go."""

    async def work() -> None:
        place = await Place().open()
        for name, status in (("live", "running"), ("over", "completed")):
            facts = [Entry(f"{LARGE} {number}", 0.0) for number in range(20)]
            await place.runs.create(head(name, status=status, facts=20), facts, "thread")
        before = await place.parts()
        assert len(before) > 40
        await place.leave(head("live", epoch="an older one"))
        place.clock.advance(YOUNG_SECONDS + LONG)
        await place.look()
        assert await place.parts() == before
        assert len((await place.runs.read("over")).facts) == 20  # type: ignore[union-attr]

    drive(work())
