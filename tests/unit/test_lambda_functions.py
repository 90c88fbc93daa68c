"""Functions of Lambda for an app: what they say when their environment lacks something."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flowcraft import lambda_functions
from flowcraft.settings import SettingsError
from tests.unit.cli.modules import forgotten


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """A function's directory, with an app in it."""
    (tmp_path / "app.py").write_text(
        "from flowcraft import create_flow\n"
        "def one(ctx):\n    return 1\n"
        "flow = create_flow('sums').node('one', one)\n",
        encoding="utf-8",
    )
    monkeypatch.chdir(tmp_path)
    caches: list[Any] = [
        lambda_functions._worker,
        lambda_functions._reconciler,
        lambda_functions._made,
    ]
    with forgotten("app"):
        yield monkeypatch
    for cache in caches:
        cache.cache_clear()


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({}, "No app is configured"),
        ({"FLOWCRAFT_APP": "gone:flow"}, "no module 'gone'"),
        ({"FLOWCRAFT_APP": "app:flow", "FLOWCRAFT_BACKEND": "sqlite"}, "backend is 'aws', not"),
        ({"FLOWCRAFT_APP": "app:flow", "FLOWCRAFT_AWS_PREFX": "x"}, "FLOWCRAFT_AWS_PREFIX is"),
    ],
)
@pytest.mark.parametrize("function", [lambda_functions.worker, lambda_functions.reconciler])
def test_what_is_missing_is_said_by_the_first_call(
    place: pytest.MonkeyPatch, variables: dict[str, str], message: str, function: Any
) -> None:
    """The module imports without any settings, and each call says what they lack."""
    for name, value in variables.items():
        place.setenv(name, value)
    for _ in range(2):
        with pytest.raises(SettingsError, match=message):
            function({"Records": []}, object())
