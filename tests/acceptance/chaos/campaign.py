"""A campaign from its beginning to its verdict."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

from tests.acceptance.chaos.driver import Driver
from tests.acceptance.chaos.evidence import Queues, remains_of
from tests.acceptance.chaos.fleet import Fleet
from tests.acceptance.chaos.flows import truths
from tests.acceptance.chaos.ledger import read_ledgers
from tests.acceptance.chaos.proxy import CONTROL
from tests.acceptance.chaos.verdict import Case, Verdict, judge
from tests.acceptance.chaos.worker import Place, Times, client_of
from tests.emulators import child, ministack
from tests.emulators.aws import AwsNames, client, create_queue, create_tables

ROOT: Final = Path(__file__).resolve().parents[3]
LOOK_SECONDS: Final = 0.25
MAX_RECEIVES: Final = 100
SETTLE_SECONDS: Final = 60.0
"""How long the queue may take to be empty once all runs are over."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a campaign is to be.

    Attributes:
        runs: How many runs are started.
        workers: How many worker processes there are at a time.
        kill_every: A worker is killed after so many seconds, on the average.
        faults: Of so many requests something goes wrong, from 0 to 1.
        seed: Decides what is left to chance.
        most_open: How many runs are under way at a time.
        patience: How long the campaign may take, in seconds; what is open then is stuck.
        times: How long leases and so on last.
    """

    runs: int = 2000
    workers: int = 3
    kill_every: float = 2.0
    faults: float = 0.05
    seed: int = 1
    most_open: int = 60
    patience: float = 1800.0
    times: Times = field(default_factory=Times)


@dataclass
class Report:
    """What came of a campaign.

    Attributes:
        plan: What it was to be.
        verdict: Whether all was as it has to be.
        started: How many runs were started.
        nodes: How many nodes they have, by what they come to in process.
        kills: How often a worker was killed.
        stops: How often one was stopped, and went on.
        requests: How many requests went through the proxy.
        faults: How many of them went wrong, by kind.
        again: How many starts and answers had to be made again.
        seconds: How long it took.
        logged: What workers have logged, by level.
    """

    plan: Plan
    verdict: Verdict
    started: int = 0
    nodes: int = 0
    kills: int = 0
    stops: int = 0
    requests: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    again: int = 0
    seconds: float = 0.0
    logged: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        verdict = self.verdict
        rows: list[tuple[str, object]] = [
            ("runs", self.started),
            ("nodes", self.nodes),
            ("bodies run", verdict.bodies),
            ("of which again", sum(verdict.repeated.values())),
            *((f"  after: {what}", count) for what, count in verdict.repeated.most_common()),
            ("runs given up after three lost workers", len(verdict.given_up)),
            ("workers killed", self.kills),
            ("workers stopped", self.stops),
            ("requests", self.requests),
            ("of which faulty", sum(self.faults.values())),
            *((f"  {what}", count) for what, count in sorted(self.faults.items())),
            ("starts and answers made again", self.again),
            *((f"logged as {level}", count) for level, count in sorted(self.logged.items())),
            ("seconds", round(self.seconds)),
        ]
        lines = [f"{name:<40} {value:>8}" for name, value in rows]
        end = f"{len(verdict.lost)} lost, {len(verdict.wrong)} wrong, {len(verdict.stuck)} stuck"
        return "\n".join(
            [*lines, end + (f", {len(verdict.other)} others" if verdict.other else "")]
        )


def run(plan: Plan, tell: Callable[[str], None] = lambda _: None) -> Report:
    """Play a campaign on an emulator of its own.

    Args:
        plan: What it is to be.
        tell: Is told how it goes.
    """
    with ministack.running() as direct:
        return run_on(direct, AwsNames.numbered(0), plan, tell)


def run_on(
    direct: str, names: AwsNames, plan: Plan, tell: Callable[[str], None] = lambda _: None
) -> Report:
    """Play a campaign on an emulator that is there.

    Args:
        direct: Its endpoint.
        names: Of tables and queues that nobody else uses.
        plan: What it is to be.
        tell: Is told how it goes.
    """
    with tempfile.TemporaryDirectory(prefix="chaos-") as name:
        directory = Path(name)
        with _proxy(direct, plan.seed, directory / "proxy.log") as endpoint:
            place = _prepare(direct, endpoint, names, plan, directory)
            return asyncio.run(Campaign(plan, place, direct, tell).play())


@contextmanager
def _proxy(direct: str, seed: int, log: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "tests.acceptance.chaos.proxy", direct, str(seed)]
    with child.running("the proxy", command, log, {"PYTHONPATH": str(ROOT)}) as endpoint:
        yield endpoint


def _prepare(direct: str, endpoint: str, names: AwsNames, plan: Plan, directory: Path) -> Place:
    """Tables and queues; their addresses lead through the proxy."""
    sqs, dynamodb = client("sqs", direct), client("dynamodb", direct)
    try:
        create_tables(dynamodb, names)
        queue_url = create_queue(
            sqs,
            names.queue,
            visibility_seconds=plan.times.lease,
            dead_letters=names.dead_letters,
            max_receives=MAX_RECEIVES,
        )
        dead_url = sqs.get_queue_url(QueueName=names.dead_letters)["QueueUrl"]
    finally:
        sqs.close()
        dynamodb.close()
    return Place(endpoint, queue_url, dead_url, names, directory, plan.seed, plan.times)


class Campaign:
    """A campaign under way.

    Args:
        plan: What it is to be.
        place: Where it takes place.
        direct: The emulator's own endpoint.
        tell: Is told how it goes.
    """

    def __init__(self, plan: Plan, place: Place, direct: str, tell: Callable[[str], None]) -> None:
        self._plan = plan
        self._place = place
        self._direct = direct
        self._tell = tell
        self._fleet = Fleet(place, plan.workers)
        self._driver = Driver(place, direct, client_of(place), plan.seed)
        self._began = time.monotonic()

    async def play(self) -> Report:
        """Let it happen, and judge it."""
        try:
            async with self._fleet.working():
                await self._disturbed()
                await self._settled()
                await self._fleet.drain()
        finally:
            await self._driver.aclose()
        return await self._report()

    async def _disturbed(self) -> None:
        """Start runs while workers are killed and requests fail, until all runs are over."""
        self._set_share(self._plan.faults)
        chance = Random(f"fleet {self._plan.seed}")
        looking = asyncio.create_task(self._driver.look_on())
        harassing = asyncio.create_task(self._fleet.harass(chance, self._plan.kill_every))
        starting = asyncio.create_task(
            self._driver.start_all(self._plan.runs, self._plan.most_open)
        )
        others = (looking, harassing)
        try:
            while not (starting.done() and not self._driver.open):
                for task in (*others, starting):
                    if task.done() and (error := task.exception()) is not None:
                        raise error
                if time.monotonic() - self._began > self._plan.patience:
                    break
                await asyncio.sleep(LOOK_SECONDS)
                self._say()
        finally:
            for task in (*others, starting):
                task.cancel()
            await asyncio.gather(*others, starting, return_exceptions=True)

    def _say(self) -> None:
        driver, fleet = self._driver, self._fleet
        over = len(driver.started) - len(driver.open)
        self._tell(
            f"{time.monotonic() - self._began:6.0f} s: {over} of {self._plan.runs} runs are over, "
            f"{len(driver.open)} open, {fleet.count('kill')} kills, {fleet.count('stop')} stops"
        )

    async def _settled(self) -> None:
        """Let the workers come to rest in peace: nothing may be left on the queue."""
        self._set_share(0.0)
        queues = Queues(self._place, self._direct)
        deadline = time.monotonic() + SETTLE_SECONDS
        try:
            while await asyncio.to_thread(queues.count) and time.monotonic() < deadline:
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            queues.close()

    async def _report(self) -> Report:
        started = self._driver.started
        ids = [run.run_id for run in started]
        seconds = time.monotonic() - self._began
        remains = await remains_of(self._place, self._direct, ids)
        entries = list(read_ledgers(self._place.directory))
        cases = [(run.flow, run.number) for run in started]
        known = await asyncio.to_thread(truths, cases)
        verdict = judge(
            Case(
                started=started,
                truths=known,
                remains=remains,
                entries=entries,
                harms={each.number: each.harms for each in self._fleet.workers},
                lease_seconds=float(self._place.times.lease),
            )
        )
        verdict.other += self._fleet.problems
        if len(started) < self._plan.runs:
            verdict.stuck.append(f"only {len(started)} of {self._plan.runs} runs could be started")
        counts = self._control("counts")
        return Report(
            plan=self._plan,
            verdict=verdict,
            started=len(started),
            nodes=sum(known[run.flow, run.number].nodes for run in started),
            kills=self._fleet.count("kill"),
            stops=self._fleet.count("stop"),
            requests=counts["requests"],
            faults=Counter(counts["faults"]),
            again=self._driver.again,
            seconds=seconds,
            logged=Counter(each.text.split(" ")[0] for each in entries if each.what == "log"),
        )

    def _set_share(self, share: float) -> None:
        self._control("share", str(share).encode())

    def _control(self, what: str, body: bytes | None = None) -> dict[str, Any]:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{self._place.endpoint}{CONTROL}{what}", body, timeout=10.0) as answer:
            told: dict[str, Any] = json.loads(answer.read())
            return told
