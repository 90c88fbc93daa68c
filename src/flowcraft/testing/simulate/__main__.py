"""``python -m flowcraft.testing.simulate``: many simulated runs, or one that is shown."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from flowcraft.testing.simulate.campaign import (
    KEPT_VIOLATIONS,
    SWEPT,
    Violation,
    campaign,
    of_drawn,
    sweep,
)
from flowcraft.testing.simulate.faults import Fault
from flowcraft.testing.simulate.interrupt import INTERRUPTED, Stop, noticing
from flowcraft.testing.simulate.jobs import run_in_jobs
from flowcraft.testing.simulate.loop import SimulationError
from flowcraft.testing.simulate.named import (
    BACKENDS,
    Zoo,
    backend_named,
    replay_with,
    stories_named,
)
from flowcraft.testing.simulate.options import (
    add_scenario_options,
    count,
    given_of_one,
    kinds_of,
    option,
    scenario_of,
)
from flowcraft.testing.simulate.play import play
from flowcraft.testing.simulate.progress import Progress
from flowcraft.testing.simulate.scenario import Scenario
from flowcraft.testing.simulate.story import Story, Told
from flowcraft.testing.simulate.zoo import LONGER
from flowcraft.testing.simulate.zoo.drawn import RANDOM, drawn_story

DEFAULT_RUNS = 5000


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; gives its exit status.

    It is 1 where something was wrong, 2 for bad options, 130 after Ctrl-C.
    """
    parser = _parser()
    options, stop = parser.parse_args(arguments), Stop()
    try:
        _check_together(options)
        stories = stories_named(options.flow)
        if options.list:
            print("\n".join((*stories, *(() if options.flow else (RANDOM,)))))
            return 0
        if RANDOM in options.graph and not options.flow:
            return _run(options, _of_random(options, stop), stop)
        chosen = _chosen(stories, options.graph)
        if options.show:
            print("\n".join(text for story in chosen for text in _blueprints(story)))
            return 0
        if options.one:
            options.graph = [story.name for story in chosen]
            return _show(options, scenario_of(options), chosen[0])
        return _run(options, _of_chosen(options, chosen, stop), stop)
    except ValueError as error:
        parser.error(str(error))
    except SimulationError as error:
        # It is so before anything goes wrong: in process.
        parser.error(f"The workflow cannot be simulated: {error}")
    except KeyboardInterrupt:
        # There is one run, or none so far.
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m flowcraft.testing.simulate",
        usage="%(prog)s [options]",
        description="Simulate workflows while processes crash, stall and lose answers.",
    )
    add = parser.add_argument
    add("--runs", type=count, metavar="N", help=f"how many runs ({DEFAULT_RUNS})")
    add("--seed", type=int, default=1, help="decides all of it (%(default)s)")
    add("--graph", action="append", default=[], help="only this workflow; may be repeated")
    add("--fault", action="append", default=[], help="only this kind of fault; may be repeated")
    add(
        "--flow",
        action="append",
        default=[],
        help="a flow of your own, as module:name; may be repeated",
    )
    add("--backend", default="memory", help=f"one of {', '.join(BACKENDS)} (%(default)s)")
    add("--jobs", type=count, metavar="N", help="processes at once (1)")
    add("--sweep", action="store_true", help="disturb every request of every workflow instead")
    add("--single", action="store_true", help="a sweep with one worker, without duplicates")
    add("--list", action="store_true", help="list the workflows")
    add("--show", action="store_true", help="print their blueprints, as JSON")
    add_scenario_options(parser)
    return parser


def _check_together(options: argparse.Namespace) -> None:
    """See that no option is given which would not be heeded."""
    given = given_of_one(options)
    if given and not options.one:
        raise ValueError(
            f"{', '.join(given)}: only for one run, with --one. Where there are many, it is drawn "
            "by lot for each what happens in it."
        )
    many = [option(name) for name in ("runs", "jobs", "sweep", "single") if getattr(options, name)]
    if options.one and many:
        raise ValueError(f"{', '.join(many)}: not with --one, which is a single run.")
    if options.sweep and options.runs:
        raise ValueError(
            "--runs: not with --sweep, which has as many runs as there are requests to disturb."
        )
    if options.single and not options.sweep:
        raise ValueError("--single: only with --sweep.")


def _chosen(stories: dict[str, Story], names: Sequence[str]) -> list[Story]:
    unknown = sorted(name for name in set(names) if name not in stories)
    if unknown:
        # Only where there are none of one's own are there those that are drawn.
        known = ", ".join((*stories, *([RANDOM] if isinstance(stories, Zoo) else [])))
        raise ValueError(f"There is no workflow {unknown[0]!r}. There are: {known}.")
    usual = [story for name, story in stories.items() if name not in LONGER]
    return [stories[name] for name in names] or usual


def _of_random(options: argparse.Namespace, stop: Stop) -> Iterator[Scenario]:
    """What happens to workflows that are drawn, each to be played some times."""
    if len(options.graph) > 1 or options.one or options.sweep or options.show:
        raise ValueError(
            f"'{RANDOM}' stands for many workflows, and goes with no other one: to run, sweep or "
            f"combine one of them, name it by its number, such as '{RANDOM}:7'."
        )
    kinds, new_backend = kinds_of(options.fault), stop.before(backend_named(options.backend))
    drawn = of_drawn(drawn_story, options.seed, kinds, new_backend)
    return islice(drawn, options.runs or DEFAULT_RUNS)


def _of_chosen(
    options: argparse.Namespace, chosen: Sequence[Story], stop: Stop
) -> Iterator[Scenario]:
    kinds, new_backend = kinds_of(options.fault), stop.before(backend_named(options.backend))
    if not options.sweep:
        runs = options.runs or DEFAULT_RUNS
        return campaign(chosen, runs, options.seed, kinds, new_backend)
    swept = kinds if options.fault else SWEPT
    how: dict[str, Any] = {"workers": (1,), "doubles": (False,)} if options.single else {}
    return (
        each for story in chosen for each in sweep(story, options.seed, swept, new_backend, **how)
    )


def _run(options: argparse.Namespace, scenarios: Iterator[Scenario], stop: Stop) -> int:
    total = None if options.sweep else options.runs or DEFAULT_RUNS
    progress = Progress(sys.stderr, total)

    def tell(violation: Violation) -> None:
        progress.clear()
        print(f"{violation}\n", flush=True)

    with noticing(stop):
        report = run_in_jobs(
            options.flow,
            options.backend,
            scenarios,
            options.jobs or 1,
            tell,
            on_progress=progress.show,
            stop=stop,
        )
    progress.clear()
    if more := report.violated - len(report.violations):
        print(f"{more} more violations are not shown: the first {KEPT_VIOLATIONS} are.\n")
    for node_id, (times, replay) in report.repeated.items() if options.flow else ():
        print(f"{_again(node_id, times)}: {replay}")
    print(report)
    if stop.is_set:
        print(_stopped(report.runs, total))
        return INTERRUPTED
    return 0 if report.ok else 1


def _stopped(runs: int, total: int | None) -> str:
    of_all = "" if total is None else f" of {total}"
    return (
        f"Interrupted after {runs}{of_all} runs. The same command begins with the first of them "
        "again; with another --seed there are others."
    )


def _missed(fault: Fault, made: Mapping[str, int]) -> str:
    process = fault.process
    why = (
        f"{process} made {made[process]} requests" if process in made else f"no {process} was there"
    )
    return f"the fault {fault} did not happen: {why}"


def _again(node_id: str, times: int) -> str:
    return f"node '{node_id}' ran {times} times for one idempotency key"


def _blueprints(story: Story) -> Iterator[str]:
    """A workflow and its children, as JSON."""
    told = Told(story, story.build())
    children = {each.id: each for each in told.runtime.blueprints.values()}
    for blueprint in ({told.blueprint.id: told.blueprint} | children).values():
        yield blueprint.to_json(indent=2)


def _show(options: argparse.Namespace, scenario: Scenario, story: Story) -> int:
    """Run one scenario, and show what its processes ask for and log, and what came of it."""
    played = play(story, scenario, backend_named(options.backend), with_log=True)
    for line in played.log:
        print(line)
    for fault in played.missed:
        print(_missed(fault, played.made))
    for node_id, times in played.repeated.items():
        print(_again(node_id, times))
    if played.problems:
        print(Violation(played, replay_with(options.flow, options.backend)(scenario)))
    print(f"1 run, {int(bool(played.problems))} violations")
    return 1 if played.problems else 0


if __name__ == "__main__":
    sys.exit(main())
