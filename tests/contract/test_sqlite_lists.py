"""Lists of many runs in SQLite: by an index each, that is read no further than the page goes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from flowcraft.adapters.sqlite import Database, SqliteRuns
from flowcraft.adapters.sqlite.listing import RARE_RUNS, list_runs
from flowcraft.ports.runs import Query
from flowcraft.testing import VirtualClock
from tests.unit.runs import drive

CLOCK: Final = VirtualClock(start=10_000_000.0)
PAGE: Final = 50
SOME: Final = 2_000
PARTS_OF_EACH: Final = 2
STATUSES: Final = ("running", "awaiting", "completed", "failed", "completed")

# Each is started in the second of its number, and is followed by its parts; the statuses and
# blueprints of runs take turns.
_FILL = """
    WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < ?)
    INSERT INTO runs (run_id, epoch, blueprint_id, blueprint_hash, status, stopping, created_at,
                      updated_at, tags, is_part)
    SELECT printf('%s%07d', ?, n), 'e', CASE n % 3 WHEN 0 THEN 'order' ELSE 'report' END, 'h',
           CASE n % 5 WHEN 0 THEN 'running' WHEN 1 THEN 'awaiting' WHEN 3 THEN 'failed'
           ELSE 'completed' END, 0, n + ?, n + ?, '', ?
    FROM numbers
"""
_TAG = "INSERT INTO tags (name, value, run_id) SELECT ?, ?, run_id FROM runs WHERE {}"


def fill(path: Path, runs: int) -> None:
    """Make a file with so many runs, and parts of each of them."""
    Database(path, CLOCK).close()
    with sqlite3.connect(path) as other:
        other.execute(_FILL, (runs, "run", 0.0, 0.0, 0))
        for part in range(PARTS_OF_EACH):
            other.execute(_FILL, (runs, f"part{part}-", 0.5, 0.5, 1))
        other.execute(_TAG.format("is_part = 0"), ("all", "yes"))
        other.execute(_TAG.format("run_id = 'run0000007'"), ("one", "yes"))
        other.execute(_TAG.format("is_part = 0 AND CAST(created_at AS INTEGER) % 2"), ("odd", "y"))
        other.execute('UPDATE runs SET tags = \'{"all": "yes"}\' WHERE is_part = 0')
    other.close()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with few runs."""
    path = tmp_path_factory.mktemp("small") / "runs.db"
    fill(path, SOME)
    return path


@pytest.fixture(scope="module")
def larger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with five times as many."""
    path = tmp_path_factory.mktemp("larger") / "runs.db"
    fill(path, 5 * SOME)
    return path


class Watched:
    """A list as it is read: what it gave, by which plan, and in how many steps of SQLite."""

    def __init__(self, path: Path, query: Query) -> None:
        self.plans: list[str] = []
        with Database(path, CLOCK) as database:
            with database.snapshot as execute:

                def explained(statement: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
                    plan = execute(f"EXPLAIN QUERY PLAN {statement}", values)
                    self.plans += [str(row[3]) for row in plan]
                    return execute(statement, values)

                self.heads = list_runs(explained, query, CLOCK.now())
            self.steps = steps(database, query)

    @property
    def ids(self) -> list[str]:
        """The runs of the page."""
        return [head.run_id for head in self.heads]


def steps(database: Database, query: Query) -> int:
    """How many steps SQLite takes for a list: they grow with each row that is read."""
    count = 0

    def step() -> int:
        nonlocal count
        count += 1
        return 0

    with database.snapshot as execute:
        connection = execute("SELECT 1").connection
        connection.set_progress_handler(step, 1)
        try:
            list_runs(execute, query, CLOCK.now())
        finally:
            connection.set_progress_handler(None, 1)
    return count


def middle(number: int) -> str:
    """The run of a number."""
    return f"run{number:07d}"


# A query that is in the middle of both files, and the index that has what it asks for.
BY_INDEX: Final = {
    "all": (Query(), "runs_by_time (is_part=?)"),
    "behind a run": (
        Query(after=middle(1_000)),
        "runs_by_time (is_part=? AND (created_at,run_id)<(?,?))",
    ),
    "status": (Query(status="completed"), "runs_by_status (status=? AND is_part=?)"),
    "status, behind a run": (
        Query(status="completed", after=middle(1_000)),
        "runs_by_status (status=? AND is_part=? AND (created_at,run_id)<(?,?))",
    ),
    "time": (
        Query(created_from=100.0, created_until=1_500.0),
        "runs_by_time (is_part=? AND created_at>? AND created_at<?)",
    ),
    "time, behind a run": (
        Query(created_from=100.0, created_until=1_500.0, after=middle(1_000)),
        "runs_by_time (is_part=? AND created_at>? AND (created_at,run_id)<(?,?))",
    ),
    "time, behind a run that is after it": (
        Query(created_until=900.0, after=middle(1_000)),
        "runs_by_time (is_part=? AND created_at<?)",
    ),
    "status and time": (
        Query(status="failed", created_from=100.0, created_until=1_500.0),
        "runs_by_status (status=? AND is_part=? AND created_at>? AND created_at<?)",
    ),
    "blueprint": (Query(blueprint_id="order"), "runs_by_blueprint (blueprint_id=?)"),
    "blueprint, behind a run": (
        Query(blueprint_id="order", after=middle(1_000)),
        "runs_by_blueprint (blueprint_id=? AND (created_at,run_id)<(?,?))",
    ),
    "blueprint and status": (
        Query(blueprint_id="order", status="running"),
        "runs_by_blueprint_status (blueprint_id=? AND status=?)",
    ),
    "blueprint, status, time": (
        Query(blueprint_id="order", status="running", created_until=1_500.0),
        "runs_by_blueprint_status (blueprint_id=? AND status=? AND created_at<?)",
    ),
}
CASES: Final = pytest.mark.parametrize(("query", "index"), BY_INDEX.values(), ids=list(BY_INDEX))


def paged(query: Query, limit: int = PAGE) -> Query:
    """A query for a page."""
    return Query(**{**{name: getattr(query, name) for name in Query.__slots__}, "limit": limit})


@CASES
def test_a_page_is_read_by_an_index(small: Path, query: Query, index: str) -> None:
    """Each kind of list is read in its order from an index that has all that is asked for."""
    page = Watched(small, paged(query))
    assert any(plan.endswith(f"INDEX {index}") for plan in page.plans), page.plans
    assert not any(plan.startswith("SCAN") or "TEMP B-TREE" in plan for plan in page.plans)


@CASES
def test_a_page_reads_no_more_rows_than_it_gives(
    small: Path, larger: Path, query: Query, index: str
) -> None:
    """A page costs the same steps among five times as many runs, and each further run the same."""
    page = Watched(small, paged(query))
    assert (len(page.heads), page.heads.rows_read) == (PAGE, PAGE), index
    assert Watched(larger, paged(query)).steps == page.steps
    longer = [Watched(small, paged(query, PAGE + more)).steps - page.steps for more in (1, 2)]
    assert longer == [longer[0], 2 * longer[0]]
    # Nothing is read that is not given: the first row costs what the others do, and the beginning.
    assert page.steps < (PAGE + 8) * longer[0]


def expected(query: Query, runs: int = SOME) -> Iterator[str]:
    """The runs of a list, by what the file was filled with."""
    for number in reversed(range(runs)):
        if (
            query.status in (None, STATUSES[number % 5])
            and query.blueprint_id in (None, "report" if number % 3 else "order")
            and (query.created_from is None or number >= query.created_from)
            and (query.created_until is None or number < query.created_until)
            and (query.after is None or middle(number) < query.after)
        ):
            yield middle(number)


@CASES
def test_pages_have_all_of_a_list(small: Path, query: Query, index: str) -> None:
    """From page to page each run that is asked for comes once, the newest first."""
    found: list[str] = []
    after = query.after
    with Database(small, CLOCK) as database:
        while True:
            of_page = {name: getattr(query, name) for name in Query.__slots__}
            page = drive(
                SqliteRuns(database).find(Query(**{**of_page, "after": after, "limit": 300}))
            )
            found += [head.run_id for head in page]
            if len(page) < 300:
                break
            after = page[-1].run_id
    assert found == list(expected(query)), index


def test_a_rare_label_is_looked_up(larger: Path) -> None:
    """The rows that a rare label is on are read, and no others."""
    page = Watched(larger, Query(tags={"one": "yes", "all": "yes"}, limit=PAGE))
    assert (page.ids, page.heads.rows_read) == (["run0000007"], 1)
    assert not any(plan.startswith("SCAN runs") for plan in page.plans)


def test_a_label_of_many_runs_is_looked_at_along_the_list(larger: Path) -> None:
    """Rows are read until the page is full, and who asks is told how many there were."""
    assert 5 * SOME // 2 > RARE_RUNS
    page = Watched(larger, Query(tags={"odd": "y"}, limit=PAGE))
    assert page.ids == [middle(number) for number in range(5 * SOME - 1, 0, -2)][:PAGE]
    assert page.heads.rows_read == 2 * PAGE - 1
    none = Watched(larger, Query(tags={"odd": "y"}, status="awaiting", created_until=9.0))
    assert (none.ids, none.heads.rows_read) == (["run0000001"], 2)


@pytest.mark.slow
def test_among_100_000_runs(small: Path, tmp_path: Path) -> None:
    """A page among 100,000 runs takes exactly the steps that it takes among 2,000."""
    path = tmp_path / "runs.db"
    fill(path, 100_000)
    for name, (query, _) in BY_INDEX.items():
        assert Watched(path, paged(query)).steps == Watched(small, paged(query)).steps, name
