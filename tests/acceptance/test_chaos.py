"""A short campaign of chaos on real processes; long ones are run by hand, as docs/chaos.md says."""

from __future__ import annotations

import pytest

from tests.acceptance.chaos.campaign import Plan, run_on
from tests.emulators.aws import AwsNames


@pytest.mark.slow
def test_real_workers_lose_nothing_whatever_is_done_to_them(
    ministack: str, aws_names: AwsNames
) -> None:
    """A run of each flow comes to what it should, under SIGKILL, SIGSTOP and a proxy that lies."""
    plan = Plan(runs=11, kill_every=1.5, faults=0.05, seed=11, most_open=11, patience=90.0)
    report = run_on(ministack, aws_names, plan)
    assert report.verdict.ok, str(report.verdict)
    assert report.started == 11
    assert report.faults.total() > 10
    assert str(report).endswith("0 lost, 0 wrong, 0 stuck")
