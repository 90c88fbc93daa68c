"""Without any of the safeguards a simulated run goes wrong, and the same one goes well with it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from flowcraft.testing.simulate.options import read_scenario
from flowcraft.testing.simulate.play import play
from flowcraft.testing.simulate.zoo import LONGER
from tests.ablations.__main__ import main
from tests.ablations.catalogue import ABLATIONS, ALL
from tests.ablations.search import kept, play_with, play_without

KEPT = kept()
PAGE = Path(__file__).parents[2] / "docs" / "ablations.md"


@pytest.mark.parametrize(
    "name",
    # A run of folding-order takes half a minute: all workers try to read what is damaged.
    [pytest.param(name, marks=[pytest.mark.slow] * (name == "folding-order")) for name in KEPT],
)
def test_that_a_safeguard_is_missing_is_noticed(name: str) -> None:
    """The run that was found violates its invariant without the safeguard, and none with it."""
    ablation, found = ABLATIONS[name], KEPT[name]
    invariants = [each.invariant for each in play_without(ablation, found.scenario).problems]
    assert found.invariant in invariants
    assert not play_with(ablation, found.scenario).problems


@pytest.mark.parametrize("name", [each.name for each in ALL.values() if each.known])
def test_what_looking_does_not_find_is_noticed_in_a_run_that_is_known(name: str) -> None:
    """A run that chance led to once goes wrong without the safeguard, and well with it."""
    scenario = read_scenario(ALL[name].known)
    assert play_without(ALL[name], scenario).problems
    assert not play_with(ALL[name], scenario).problems


def test_what_is_taken_away_is_put_back() -> None:
    """After an ablation everything is as it was before."""
    for ablation in ABLATIONS.values():
        before = [swap.owner.__dict__[swap.name] for swap in ablation.swaps]
        with ablation.removed():
            during = [swap.owner.__dict__[swap.name] for swap in ablation.swaps]
        assert all(one is not other for one, other in zip(before, during, strict=True))
        after = [swap.owner.__dict__[swap.name] for swap in ablation.swaps]
        assert all(one is other for one, other in zip(before, after, strict=True))


def test_the_page_has_what_was_found() -> None:
    """Each ablation is in the documentation, with what does not hold and after how many runs."""
    rows = dict(re.findall(r"^\| `([a-z-]+)` \|(.*)\|$", PAGE.read_text(), flags=re.MULTILINE))
    assert sorted(rows) == sorted(ABLATIONS) == sorted(KEPT)
    for name, found in KEPT.items():
        assert rows[name].endswith(f"| {found.invariant} | {found.runs:,} ")


def test_the_command_takes_a_safeguard_away(capsys: pytest.CaptureFixture[str]) -> None:
    """`make ablate` says what is violated, after how many runs, and how to see it again."""
    assert main(["visibility", "--runs", "5"]) == 0
    printed = capsys.readouterr().out
    assert "violated: I6" in printed
    assert printed.endswith("1 ablations, 1 noticed\n")
    replay = printed.split('--replay "')[1].split('"')[0]
    assert main(["visibility", "--replay", replay]) == 0
    printed = capsys.readouterr().out
    assert "with visibility: 0 violations" in printed
    assert "without visibility: 1 violations" in printed


def test_what_is_not_noticed_fails_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    """Where no run goes wrong within the given number the command says so and fails."""
    assert main(["timer-rearm", "--runs", "1"]) == 1
    assert "NOT NOTICED in 1 runs" in capsys.readouterr().out


def test_whoever_cannot_run_a_node_watches_a_lease_that_may_be_nobodys() -> None:
    """A claim carried out late, and a worker without the implementation: the run goes on."""
    text = (
        "--graph late-claim --seed 1911827310 --workers 2 --concurrency 2 --fault client-1:2:lost "
        "--fault worker-1:18:lost --fault client-1:3:throttle --stranger --stale"
    )
    assert not play(LONGER["late-claim"], read_scenario(text)).problems
