"""Runs every case of a folder on a backend and says which ones do not conform.

    python -m tests.conformance.check FOLDER --backend memory [--outcomes FILE]

Each failure is printed with its differences; the last line is ``N passed, N failed``. The exit
code is 1 if a case failed, 2 if nothing could be checked. With ``--outcomes`` the file gets one
JSON object per line, ``{"name": ..., "actual": ...}``, where ``actual`` has the shape of the
case's ``expected``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TextIO

from tests.conformance.adapter import outcome_of
from tests.conformance.backends import BACKENDS
from tests.conformance.compare import REQUIRED_LEVEL, check, plain
from tests.conformance.rules import left_out, rule_for

FOR_INFORMATION: Final = frozenset({"mermaid", "mermaid_run"})
LONGEST_CASE_SECONDS: Final = 60.0
_SHOWN_DIFFERENCES: Final = 8
_SHOWN_CHARACTERS: Final = 400
_EXIT_FAILED: Final = 1
_EXIT_USAGE: Final = 2
_OPTIONAL: Final[Mapping[str, Any]] = {
    "blueprints": {},
    "options": {},
    "steps": [],
    "initial": None,
    "order_sensitive": [],
    "deviation_allowed": False,
    "registry": "library",
    "events": [],
}
_REQUIRED: Final[Mapping[str, Sequence[str]]] = {
    "evaluate": ("evaluator", "expression", "context"),
    "run": ("blueprint",),
    "lint": ("blueprint",),
    "analyze": ("blueprint",),
    "sanitize": ("blueprint",),
    "mermaid": ("blueprint",),
    "mermaid_run": ("blueprint",),
}


class BrokenCase(Exception):
    """A file of the folder is not a case; the message says why."""


@dataclass(frozen=True, slots=True)
class Report:
    """What became of one case.

    Attributes:
        verdict: ``pass``, ``pass-newer``, ``deviation``, ``by rule``, ``information``,
            ``in process only``, ``fail``.
        differences: What is not as recorded, a line each.
        actual: The outcome, in the shape of the case's ``expected``.
    """

    name: str
    verdict: str
    differences: Sequence[str] = ()
    actual: Any = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        """Whether the case counts as failed."""
        return self.verdict == "fail"


def check_folder(folder: Path, backend: str, level: int = REQUIRED_LEVEL) -> Iterator[Report]:
    """Run the cases of a folder, in the order of their file names.

    Args:
        folder: Holds the cases, one JSON file each.
        backend: A name of ``BACKENDS``.
        level: How closely to compare, from 1 to 4.

    Yields:
        A report on each case. A file that is no case, and a case that raises, has failed.
    """
    for path in sorted(folder.glob("*.json")):
        try:
            case = read_case(path)
        except BrokenCase as error:
            yield Report(path.stem, "fail", [f"broken case file: {error}"])
        else:
            yield check_case(case, backend, level)


def read_case(path: Path) -> dict[str, Any]:
    """Read a case, with what it may leave out filled in.

    Raises:
        BrokenCase: It cannot be read, or lacks what a case of its kind must have.
    """
    try:
        case = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BrokenCase(f"it cannot be read as JSON: {error}") from error
    if not isinstance(case, dict):
        raise BrokenCase("it is not an object")
    kind = str(case.get("kind"))
    if kind not in _REQUIRED:
        raise BrokenCase(f"unknown kind '{kind}'; known kinds are: {', '.join(_REQUIRED)}")
    missing = [name for name in ("name", "expected", *_REQUIRED[kind]) if name not in case]
    if missing:
        raise BrokenCase(f"it lacks {', '.join(map(repr, missing))}")
    return {**_OPTIONAL, **case}


def check_case(case: Mapping[str, Any], backend: str, level: int = REQUIRED_LEVEL) -> Report:
    """Run one case and compare what came of it."""
    name = str(case["name"])
    if (reason := left_out(case, backend)) is not None:
        return Report(name, "in process only", [reason])
    nothing: Any = {"results": []} if case["kind"] == "run" else {}
    try:
        actual = asyncio.run(_outcome(case, backend))
        verdict, differences = check(case, actual, level)
    except TimeoutError:
        limit = f"{LONGEST_CASE_SECONDS:g} seconds"
        return Report(name, "fail", [f"it did not end within {limit}"], nothing)
    except Exception as error:
        return Report(name, "fail", [f"it raised {type(error).__name__}: {error}"], nothing)
    if verdict in ("fail", "deviation") and case["kind"] in FOR_INFORMATION and "value" in actual:
        verdict = "information"
    rule = rule_for(name, backend)
    if verdict == "fail" and rule is not None:
        return Report(name, "by rule", [f"rule {rule.rule}: {rule.because}"], actual)
    return Report(name, verdict, differences, actual)


async def _outcome(case: Mapping[str, Any], backend: str) -> dict[str, Any]:
    async with asyncio.timeout(LONGEST_CASE_SECONDS):
        return await outcome_of(case, BACKENDS[backend])


def print_reports(reports: Iterable[Report], out: TextIO, outcomes: TextIO | None = None) -> int:
    """Print failures as they come and the sums at the end; gives the number of failures."""
    verdicts: Counter[str] = Counter()
    for report in reports:
        verdicts[report.verdict] += 1
        if report.failed or report.verdict == "by rule":
            _print_report(report, out)
        if outcomes is not None:
            line = {"name": report.name, "actual": plain(report.actual)}
            outcomes.write(json.dumps(line, ensure_ascii=False, default=repr) + "\n")
    failed, left_out = verdicts["fail"], verdicts["in process only"]
    if left_out:
        print(f"{left_out} left out: they run into the execution limit", file=out)
    print(
        f"{verdicts['pass']} as recorded, {verdicts['pass-newer']} as the newer version, "
        f"{verdicts['deviation']} allowed deviations, {verdicts['by rule']} decided by a rule, "
        f"{verdicts['information']} drawings that differ (for information)",
        file=out,
    )
    print(f"{verdicts.total() - failed - left_out} passed, {failed} failed", file=out)
    return failed


def _print_report(report: Report, out: TextIO) -> None:
    print(f"{'FAIL' if report.failed else 'by rule'} {report.name}", file=out)
    for line in report.differences[:_SHOWN_DIFFERENCES]:
        short = line if len(line) <= _SHOWN_CHARACTERS else f"{line[:_SHOWN_CHARACTERS]} …"
        print(f"    {short}", file=out)
    if len(report.differences) > _SHOWN_DIFFERENCES:
        print(f"    and {len(report.differences) - _SHOWN_DIFFERENCES} more", file=out)


def main(arguments: Sequence[str] | None = None) -> int:
    """Check a folder as the command line says; gives the exit code."""
    options = _parser().parse_args(arguments)
    if not any(options.folder.glob("*.json")):
        print(f"error: no case (*.json) in {options.folder}", file=sys.stderr)
        return _EXIT_USAGE
    # What nodes log when they fail on purpose is not news here.
    logging.getLogger("flowcraft").addHandler(logging.NullHandler())
    with ExitStack() as stack:
        outcomes = None
        if options.outcomes is not None:
            outcomes = stack.enter_context(options.outcomes.open("w", encoding="utf-8"))
        reports = check_folder(options.folder, options.backend, options.level)
        failed = print_reports(reports, sys.stdout, outcomes)
    return _EXIT_FAILED if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.check")
    parser.add_argument("folder", type=Path, help="folder of cases, one JSON file each")
    parser.add_argument(
        "--backend",
        default="memory",
        choices=sorted(BACKENDS),
        help="the engine to run them on (default: %(default)s)",
    )
    parser.add_argument("--outcomes", type=Path, help="write what happened here, a line per case")
    parser.add_argument(
        "--level",
        type=int,
        default=REQUIRED_LEVEL,
        choices=range(1, 5),
        help="how closely to compare; 3 and 4 are for information (default: %(default)s)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
