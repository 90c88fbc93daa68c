"""``python -m tests.ablations``: take safeguards away, and see that it is noticed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from flowcraft.testing.simulate.options import count, read_scenario
from flowcraft.testing.simulate.zoo.drawn import RANDOM
from tests.ablations.catalogue import ABLATIONS, ALL
from tests.ablations.search import STORIES, find, keep, play_with, play_without, shown
from tests.ablations.switch import Ablation

DEFAULT_RUNS = 2000


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; gives its exit status: 1 where something was not noticed."""
    parser = _parser()
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.name) - set(ALL))
    if unknown:
        parser.error(f"There is no ablation {unknown[0]!r}. There are: {', '.join(ALL)}.")
    chosen = [ALL[name] for name in options.name] or list(ABLATIONS.values())
    if options.list:
        for ablation in chosen:
            print(f"{ablation.name}: {ablation.safeguard}")
        return 0
    if options.replay is not None:
        if len(options.name) != 1:
            parser.error("--replay is of one ablation: name it.")
        try:
            return _replay(chosen[0], options.replay)
        except ValueError as error:
            parser.error(str(error))
    runs, seed = options.runs, options.seed
    missed = [each.name for each in chosen if not _is_found(each, runs, seed, is_kept=options.keep)]
    found = len(chosen) - len(missed)
    print(f"{len(chosen)} ablations, {found} noticed{_named(missed)}")
    return 1 if missed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.ablations",
        description="Take safeguards away, one at a time, and simulate until that is noticed.",
    )
    add = parser.add_argument
    add("name", nargs="*", help="only these ablations")
    add("--runs", type=count, default=DEFAULT_RUNS, help="runs of each at most (%(default)s)")
    add("--seed", type=int, default=1, help="decides all of it (%(default)s)")
    add("--list", action="store_true", help="list the ablations")
    add("--keep", action="store_true", help="write what is found to tests/ablations/found.txt")
    add("--replay", help="one run, as it was printed: with the safeguard, and without")
    return parser


def _named(missed: Sequence[str]) -> str:
    return f"; not noticed: {', '.join(missed)}" if missed else ""


def _is_found(ablation: Ablation, runs: int, seed: int, *, is_kept: bool) -> bool:
    """Look for a run in which it shows, and print it."""
    found = find(ablation, runs, seed)
    print(f"{ablation.name}: {ablation.safeguard}")
    print(f"  where: {ablation.places}")
    if found is None:
        print(f"  NOT NOTICED in {runs} runs", flush=True)
        return False
    print(f"  violated: {', '.join(found.invariants)}: {found.played.problems[0].text[:200]}")
    print(f"  after {found.runs} runs, {found.seconds:.1f} s")
    scenario = shown(found.played.scenario)
    if is_kept:
        keep(ablation.name, found)
    print(f'  replay: python -m tests.ablations {ablation.name} --replay "{scenario}"', flush=True)
    return True


def _replay(ablation: Ablation, text: str) -> int:
    """Show a run, with a safeguard and without."""
    scenario = read_scenario(text)
    if scenario.graph not in STORIES:
        raise ValueError(
            f"There is no workflow {scenario.graph!r}. There are: {', '.join((*STORIES, RANDOM))}."
        )
    for what, play in (("with", play_with), ("without", play_without)):
        played = play(ablation, scenario)
        print(f"{what} {ablation.name}: {len(played.problems)} violations")
        for problem in played.problems:
            print(f"  {problem}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
