"""Every release leaves behind what later ones have to go on with."""

from __future__ import annotations

import re

from tests.fixtures.releases.make import FACTS_NAME, HOME, version
from tests.fixtures.releases.places import AWS_NAME, SQLITE_NAME
from tests.house.source import ROOT

HEADING = re.compile(r"^## \[?v?(\d+\.\d+\.\d+\S*?)\]?(?:\s|$)", re.MULTILINE)
LARGEST_BYTES = 100_000


def versions() -> set[str]:
    """The versions that the changelog tells of, and the one that is in the making."""
    return {*HEADING.findall((ROOT / "CHANGELOG.md").read_text(encoding="utf-8")), version()}


def test_every_release_has_its_fixtures() -> None:
    """For each version there are runs that it has stored, whose makers were gone."""
    assert version() in versions()
    missing = [
        f"{number}/{name}"
        for number in sorted(versions())
        for name in (FACTS_NAME, SQLITE_NAME, AWS_NAME)
        if not (HOME / number / name).exists()
    ]
    assert not missing, f"{missing}: run python -m tests.fixtures.releases.make for the release"


def test_fixtures_are_small() -> None:
    """Fixtures are kept for good, one set for each release: each file has less than 100 KB."""
    large = [
        str(path.relative_to(ROOT))
        for path in HOME.glob("*/*")
        if path.is_file() and path.suffix != ".py" and path.stat().st_size > LARGEST_BYTES
    ]
    assert not large, large


def test_headings_of_versions_are_found() -> None:
    """A heading of the changelog tells its version, with or without a date behind it."""
    text = "## 0.1.0 (not released yet)\n\n## 1.2.3\n\n## [2.0.0rc1] 2027-01-01\n\n## Others\n"
    assert HEADING.findall(text) == ["0.1.0", "1.2.3", "2.0.0rc1"]
