"""``flowcraft schedule``."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Call, Look


def test_a_schedule_is_added_shown_and_removed(project: Path, flowcraft: Call) -> None:
    """A first schedule makes the file of runs; what was said of it is what is shown."""
    ended = flowcraft(
        *("schedule", "add", "nightly", "order", "--cron", "0 3 * * *"),
        *("--time-zone", "Europe/Berlin", "-c", "amount=21", "--tag", "t=1", "--overlap", "queue"),
        *("--catch-up", "all", "--jitter-seconds", "30", "--note", "for the books"),
    )
    assert ended.code == 0
    for line in (
        "nightly  order",
        "when       0 3 * * * Europe/Berlin",
        "overlap    queue, up to 10 ticks wait",
        "catch up   all, up to 100; a tick is missed after 5 min",
        "jitter     up to 30 s",
        "tags       t=1",
        'context    {"amount": 21}',
        "note       for the books",
    ):
        assert line in ended.out.splitlines()
    shown = flowcraft("schedule", "show", "nightly", "--json").data
    assert (shown["cron"], shown["context"], shown["every"]) == ("0 3 * * *", {"amount": 21}, None)
    assert len(shown["nextTicks"]) == 5
    (row,) = flowcraft("schedule", "list").out.splitlines()[1:]
    assert row.split()[:2] == ["nightly", "order"]
    assert flowcraft("schedule", "remove", "nightly").out == "Removed nightly\n"
    assert flowcraft("schedule", "list").err == "There are no schedules.\n"
    for verb in ("show", "pause", "resume", "trigger", "remove"):
        assert flowcraft("schedule", verb, "nightly").code == 3


def test_a_paused_schedule_says_so_until_it_is_resumed(project: Path, flowcraft: Call) -> None:
    """The reason of a pause is shown, and the ticks that there would be."""
    flowcraft("schedule", "add", "s", "order", "--every", "15m", "--offset", "5m", "--paused")
    shown = flowcraft("schedule", "show", "s").out.splitlines()
    assert "when       every 15 min, 5 min later" in shown
    assert "state      paused" in shown
    assert any(line.startswith("would be ") for line in shown)
    assert "state      active" in flowcraft("schedule", "resume", "s").out.splitlines()
    paused = flowcraft("schedule", "pause", "s", "--note", "the bank is closed").out
    assert "state      paused: the bank is closed" in paused.splitlines()
    (listed,) = flowcraft("schedule", "list", "--json").data["schedules"]
    assert (listed["paused"], listed["every"], listed["offset"]) == (True, 900.0, 300.0)


def test_a_run_is_started_by_hand(project: Path, flowcraft: Call, look: Look) -> None:
    """The id of the run is what is printed, and the run has the context of the schedule."""
    flowcraft("schedule", "add", "s", "order", "--every", "1d", "-c", "amount=5")
    run_id = flowcraft("schedule", "trigger", "s").out.strip()
    assert look(run_id).context["amount"] == 5
    assert f"triggered {run_id}" in flowcraft("schedule", "show", "s").out
    assert flowcraft("schedule", "trigger", "s", "--json").data["runId"].startswith("s@")


def test_ticks_are_told_before_there_is_a_schedule(
    tmp_path: Path, flowcraft: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A preview needs neither an app nor a file of runs, and makes none."""
    monkeypatch.chdir(tmp_path)
    ended = flowcraft(
        *("schedule", "preview", "--cron", "30 2 * * *", "--time-zone", "Europe/Berlin"),
        *("--after", "2026-03-28", "--count", "3", "--json"),
    )
    times = [datetime.fromisoformat(each) for each in ended.data["times"]]
    assert len(times) == 3
    assert list(tmp_path.iterdir()) == []
    shown = flowcraft("schedule", "preview", "--every", "6h").out.splitlines()
    assert shown[0].split() == ["here", "UTC", "from", "now"]
    assert len(shown) == 6
    past = flowcraft("schedule", "preview", "--every", "6h", "--end-at", "2020-01-01")
    assert (past.code, past.err) == (0, "There are no ticks.\n")


def test_ticks_of_a_schedule_are_told(project: Path, flowcraft: Call) -> None:
    """Of one that is there as many ticks as are asked for."""
    flowcraft("schedule", "add", "s", "order", "--every", "1h")
    assert len(flowcraft("schedule", "preview", "s", "--count", "7", "--json").data["times"]) == 7
    ended = flowcraft("schedule", "preview", "s", "--every", "1h")
    assert ended.code == 2
    assert "either the ID of a schedule" in ended.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("s order", "--cron: a schedule needs cron or every"),
        ("s order --cron x", "--cron: 'x' has 1 field"),
        ("s order --every 5", "--every: '5' is no length of time"),
        ("s order --every 1h --cron @daily", "--every: a schedule has either cron or every"),
        ("s order --cron @daily --time-zone Mars/X", "--time-zone: "),
        ("s order --every 1h --offset 2h", "--offset: it is less than every"),
        ("s order --every 1h --queue-limit 0", "--queue-limit: "),
        ("s order --every 1h --grace-seconds nan", "--grace-seconds: "),
        ("s order --every 1h --tag x", "--tag takes name=value"),
        ("s order --every 1h --tag schedule=x", "--tags: 'schedule' is set"),
        ("s order --every 1h --overlap never", "'never' is not one of"),
        ("s nope --every 1h", "FLOW: Nobody knows a blueprint 'nope'"),
        ("s order --every 1h -c x", "-c takes key=value"),
    ],
)
def test_what_cannot_be_is_refused_by_its_flag(
    project: Path, flowcraft: Call, arguments: str, said: str
) -> None:
    """Each option is checked before anything is stored, and named as it was given."""
    ended = flowcraft("schedule", "add", *arguments.split())
    assert ended.code == 2
    assert said in ended.err
    assert flowcraft("schedule", "list").out == ""


def test_a_second_schedule_of_an_id_is_refused(project: Path, flowcraft: Call) -> None:
    """An id names one schedule, and a page of a list ends where it was asked to."""
    for name in ("a", "b", "c"):
        flowcraft("schedule", "add", name, "order", "--every", "1h")
    assert flowcraft("schedule", "add", "a", "order", "--every", "1h").code == 4
    ended = flowcraft("schedule", "list", "--limit", "2")
    assert [line.split()[0] for line in ended.out.splitlines()[1:]] == ["a", "b"]
    assert "--after b" in ended.err
    (last,) = flowcraft("schedule", "list", "--after", "b", "--json").data["schedules"]
    assert last["id"] == "c"
