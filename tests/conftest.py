"""Settings that hold for every test."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.emulators.fixtures"]

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
