"""What is told of how many rows a list has read."""

from __future__ import annotations

import pytest

from flowcraft.engine.finding import MANY_ROWS, Found


@pytest.mark.parametrize(
    ("rows", "is_many"), [(None, False), (MANY_ROWS, False), (MANY_ROWS + 1, True)]
)
def test_many_rows_for_few_runs_are_remarked_on(rows: int | None, is_many: bool) -> None:
    """A remark is made where very many rows were read, and it is known that they were."""
    assert Found((), None, rows_read=rows).reads_many is is_many
