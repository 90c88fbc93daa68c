"""Sending an event by its name and key: to every open wait for it, in whatever run that is.

The rows of runs say where to look; what counts is the record of each run that they lead to. The
answers are made first, one after the other, and sent when all of them make sense.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flowcraft.core import events as ev
from flowcraft.core.correlation import Correlation, correlation_of
from flowcraft.core.plan import index_of_key
from flowcraft.engine.answer_checks import check_answer
from flowcraft.engine.awaited import awaited_text
from flowcraft.engine.jobs import Job
from flowcraft.engine.ledger import Ledger
from flowcraft.engine.station import Station
from flowcraft.engine.wishes import wish
from flowcraft.errors import (
    AnswerRefused,
    FlowcraftError,
    InvalidRunState,
    NobodyWaits,
    RunNotFound,
)
from flowcraft.ports.runs import Query

PAGE_RUNS = 100
SENT_TOGETHER = 100
_SHOWN_REFUSALS = 10


async def answer_all(
    station: Station, expected: Correlation, output: Any, action: str | None
) -> list[str]:
    """Give an event to every open wait for it.

    Args:
        station: Ports and plans.
        expected: The event.
        output: The output of the nodes that wait, in stored form.
        action: Their action.

    Returns:
        The runs whose waits are answered, the newest first; child runs by ids of their own.

    Raises:
        NobodyWaits: There is no such wait.
        InvalidRunState: A wait does not take the action; then none is answered.
        AnswerRefused: The output does not fit the schema of one; then, too.
    """
    jobs: list[Job] = []
    refusals: list[InvalidRunState | AnswerRefused] = []
    for run_id, epoch in await _runs_that_wait(station, expected):
        ledger = await station.read(run_id, epoch)
        if ledger is None:
            continue
        for answer in _answers(ledger, expected, output, action):
            try:
                assert answer.key is not None
                node = ledger.plan.nodes[index_of_key(answer.key)]
                check_answer(node, output, ledger.run_id)
                jobs.append(wish(station, ledger, answer))
            except (InvalidRunState, AnswerRefused) as error:
                refusals.append(error)
    if refusals:
        raise _refused(expected, refusals)
    if not jobs:
        raise NobodyWaits(_nobody(expected))
    for first in range(0, len(jobs), SENT_TOGETHER):
        await station.send(jobs[first : first + SENT_TOGETHER])
    return list(dict.fromkeys(job.run_id for job in jobs))


async def _runs_that_wait(station: Station, expected: Correlation) -> dict[tuple[str, str], None]:
    """Ids and epochs of runs whose rows say that they wait, in the order of lists."""
    found: dict[tuple[str, str], None] = {}
    after: str | None = None
    while True:
        query = Query(awaits=awaited_text(expected), after=after, limit=PAGE_RUNS)
        try:
            page = await station.runs.find(query)
        except RunNotFound:
            after = None  # the run to go on behind was deleted: begin again
            continue
        found |= {(head.run_id, head.epoch): None for head in page}
        if len(page) < PAGE_RUNS:
            return found
        after = page[-1].run_id


def _answers(
    ledger: Ledger, expected: Correlation, output: Any, action: str | None
) -> Iterator[ev.AnswerReceived]:
    nodes = ledger.plan.nodes
    for key, record in ledger.state.records.items():
        if correlation_of(record) == expected:
            yield ev.AnswerReceived(key, output, action, nodes[index_of_key(key)].id)


def _named(expected: Correlation) -> str:
    event, key = expected
    return f"'{event}' with " + ("no correlation key" if key is None else f"the key '{key}'")


def _nobody(expected: Correlation) -> str:
    return (
        f"No run waits for the event {_named(expected)}: only waits that have begun and are not "
        "over are found. Where the event may come before its wait, answer the node by its run: "
        "'flowcraft resume RUN --node NODE', send_event(run_id, node_id, ...). It is then kept."
    )


def _refused(
    expected: Correlation, refusals: list[InvalidRunState | AnswerRefused]
) -> FlowcraftError:
    shown = "".join(f"\n  - {each.message}" for each in refusals[:_SHOWN_REFUSALS])
    more = len(refusals) - _SHOWN_REFUSALS
    rest = f"\n  - and {more} more" if more > 0 else ""
    text = f"The event {_named(expected)} was sent to nobody, because not all take it:{shown}{rest}"
    problems = [p for each in refusals if isinstance(each, AnswerRefused) for p in each.problems]
    return AnswerRefused(text, problems) if problems else InvalidRunState(text)
