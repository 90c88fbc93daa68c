"""A browser for tests: Chromium without a window, driven by Playwright.

Where none is installed, tests with one are left out; with ``FLOWCRAFT_BROWSER=required``, as in CI,
they fail. ``FLOWCRAFT_CHROMIUM`` names another one than is found.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest

REQUIRED: Final = os.environ.get("FLOWCRAFT_BROWSER") == "required"
NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def chromium() -> str:
    """Where Chromium is; leaves the test out where there is none."""
    named = os.environ.get("FLOWCRAFT_CHROMIUM")
    found = named or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        text = f"no Chromium is installed ({', '.join(NAMES)})"
        if REQUIRED:
            pytest.fail(text)
        pytest.skip(text)
    return found


@asynccontextmanager
async def browser(path: str) -> AsyncIterator[Any]:
    """A browser that is closed again."""
    from playwright.async_api import async_playwright  # noqa: PLC0415 - it takes its time

    async with async_playwright() as playwright:
        opened = await playwright.chromium.launch(executable_path=path, args=[*ARGUMENTS])
        try:
            yield opened
        finally:
            await opened.close()
