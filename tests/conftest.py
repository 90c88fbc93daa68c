"""Settings that hold for every test."""

from __future__ import annotations

import logging
import os
import re
import signal
from collections.abc import Generator, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.browser.fixtures", "tests.emulators.fixtures"]
if os.environ.get("FLOWCRAFT_RECORD_REQUESTS"):
    pytest_plugins.append("tests.role_recording")

# A shell starts what is to run in the background deaf to Ctrl-C, and so are the commands that tests
# start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# What goes from the processes with the tests to the one with the results has to be text in
# UTF-8, and some tests are about half characters, of which there are none.
_HALF = re.compile("[\ud800-\udfff]")


def pytest_make_parametrize_id(val: object) -> str | None:
    """Half a character in a test's name is named by its number."""
    return _sendable(val) if isinstance(val, str) and _HALF.search(val) else None


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, Any, Any]:
    """So it is in what a test has logged and how it failed."""
    return _sendable((yield))


def _sendable(value: Any) -> Any:
    match value:
        case str():
            return _HALF.sub(lambda half: f"\\u{ord(half[0]):x}", value)
        case dict():
            return {_sendable(key): _sendable(item) for key, item in value.items()}
        case list() | tuple():
            return type(value)(map(_sendable, value))
        case _:
            return value


# The same examples on every machine, and no deadline, since a busy machine is not a bug.
settings.register_profile(
    "fixed",
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
# FLOWCRAFT_HYPOTHESIS=explore looks further, with fresh examples each time.
settings.register_profile("explore", deadline=None, max_examples=2_000, print_blob=True)
settings.load_profile(os.environ.get("FLOWCRAFT_HYPOTHESIS", "fixed"))


@pytest.fixture(autouse=True)
def log_as_it_was() -> Iterator[None]:
    """Take back what a command or a function of Lambda sets up for the log of its process."""
    log = logging.getLogger("flowcraft")
    handlers, level = list(log.handlers), log.level
    yield
    log.handlers[:] = handlers
    log.setLevel(level)
