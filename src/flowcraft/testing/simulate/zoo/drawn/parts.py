"""The parts of which a drawn workflow is put together, one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from flowcraft.testing.simulate.chance import Chance
from flowcraft.testing.simulate.zoo.drawn.document import Document, Paper
from flowcraft.testing.simulate.zoo.drawn.nodes import FAIL, FATAL, HANG, LATE, OK

ROUNDS: Final = 3
"""As many different rounds a node has; then they come again."""

TIMEOUT_MS: Final = 2000
ATTEMPTS: Final = 6
"""More than what fails at first needs."""

BAD_ENDS: Final = (FAIL, FAIL, LATE, LATE, LATE, FATAL, HANG)
SEED: Final = "seed"
"""A context key that nobody writes: who takes any of its edges gets this as its input."""

LIMIT_KEY: Final = "drawn"


@dataclass(frozen=True)
class Known:
    """What is there for sure when a node begins, and no one writes any more.

    Attributes:
        ids: Nodes that have ended.
        keys: Context keys that have been written.
    """

    ids: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()

    def __or__(self, other: Known) -> Known:
        return Known(
            tuple(dict.fromkeys(self.ids + other.ids)), tuple(dict.fromkeys(self.keys + other.keys))
        )

    def __and__(self, other: Known) -> Known:
        return Known(
            tuple(each for each in self.ids if each in other.ids),
            tuple(each for each in self.keys if each in other.keys),
        )


@dataclass(frozen=True)
class Part:
    """A task, or several nodes that are entered at one and left at one.

    Attributes:
        entry: The node at which it is entered.
        exit: The node at which it is left.
        keys: The context keys that it writes.
        action: The action of edges that leave it.
        is_task: Whether it is one task, whose output and action an edge may look at.
        inner: Tasks in the loop that it is.
    """

    entry: str
    exit: str
    keys: tuple[str, ...] = ()
    action: str | None = None
    is_task: bool = False
    inner: tuple[str, ...] = field(default=())


class Maker:
    """Makes parts on a paper.

    Args:
        paper: The blueprint.
    """

    def __init__(self, paper: Paper) -> None:
        self.paper = paper
        self.workflow = paper.workflow
        self.chance: Chance = paper.workflow.chance
        self.mix = paper.workflow.mix

    # -- tasks ------------------------------------------------------------------------------

    def task(self, known: Known, *, takes_any: bool = False, is_rescued: bool = False) -> Part:
        """A task that does anything; one that has a fallback shall need it now and then."""
        params, config = self._ends(max(self.mix.failures, 0.5 * is_rescued))
        self._choose(params)
        keys = self._write(params)
        if known.keys and self.chance.happens(self.mix.reads):
            params["reads"] = self._some(known.keys)
        if self.chance.happens(self.mix.padded):
            params["pad"] = self.chance.pick((3_000, 20_000, 90_000))
        inputs = SEED if takes_any else self._inputs(known)
        if takes_any:
            config["joinStrategy"] = "any"
        if HANG not in params["ends"] and self.chance.happens(self.mix.limited):
            config["concurrencyKey"] = LIMIT_KEY
        uses = "task" if HANG in params["ends"] else self.chance.pick(_BODIES)
        made = self.paper.node("t", uses, params, inputs=inputs, config=config)
        self.undo(made)
        return Part(made, made, keys, is_task=True)

    def _ends(self, failures: float) -> tuple[Document, Document]:
        """How a task ends in each round, and the config that belongs to that."""
        ends = [OK] * ROUNDS
        if self.chance.happens(failures):
            ends = [self.chance.pick((OK, self.chance.pick(BAD_ENDS))) for _ in range(ROUNDS)]
        if HANG in ends:
            # Whoever stops for long may find a timeout over that otherwise would not be.
            config = {"timeout": TIMEOUT_MS} | self._retries(self.chance.pick((1, 2)))
            return {"ends": [HANG]}, config
        if LATE in ends:
            return {"ends": ends}, self._retries(ATTEMPTS)
        config = self._retries(2) if self.chance.happens(0.15) else {}
        if FAIL in ends and self.chance.happens(0.4):
            name, error = self.chance.pick(_PICKY), self.chance.pick(_ERRORS)
            config = self._retries(2) | {name: [error]}
        return {"ends": ends}, config

    def _retries(self, attempts: int) -> Document:
        if attempts == 1:
            return {}
        delay = self.chance.pick((1, 200, 1500, 5000, 40_000))
        config = {"maxRetries": attempts, "retryDelay": delay, "backoff": self.chance.pick((1, 2))}
        if self.chance.happens(0.3):
            config["retryDelayMax"] = 2 * delay
        if self.chance.happens(0.5):
            config["jitter"] = False
        return config

    def _choose(self, params: Document) -> None:
        """Something for edges to look at."""
        params["go"] = [self.chance.happens(0.6) for _ in range(ROUNDS)]
        if self.chance.happens(self.mix.choices):
            params["actions"] = [self.chance.pick(_ACTIONS) for _ in range(ROUNDS)]

    def _write(self, params: Document) -> tuple[str, ...]:
        if self.chance.happens(0.3):
            params["adds"] = {"total": 1 + self.chance.below(9)}
        if not self.chance.happens(0.4):
            return ()
        key = self.workflow.key()
        params["sets"] = {key: 10 * self.chance.below(10)}
        return (key,)

    def _inputs(self, known: Known) -> Any:
        if not (known.ids and self.chance.happens(self.mix.reads)):
            return None
        names = [self._reference(known) for _ in range(2)]
        return self.chance.pick((names[0], {"one": names[0], "other": names[1], "seed": SEED}))

    def _reference(self, known: Known) -> str:
        found = self.chance.pick(known.ids)
        return self.chance.pick((found, found, f"{found}.in", f"_outputs.{found}"))

    def _some(self, options: Sequence[str]) -> list[str]:
        return [each for each in options if self.chance.happens(0.5)][:4] or [options[0]]

    def sure(self, stem: str, **params: Any) -> str:
        """A task that succeeds, maybe not at once."""
        end, config = (LATE, self._retries(ATTEMPTS)) if self.chance.happens(0.1) else (OK, {})
        return self.paper.node(stem, "task", {"ends": [end], **params}, config=config)

    # -- what stands in, and what undoes ----------------------------------------------------

    def fallback(self, node_id: str, known: Known) -> str:
        """Give a node a fallback, which may have one of its own; gives the last one."""
        fails = self.chance.happens(0.35)
        end = self.chance.pick((FAIL, FAIL, FATAL)) if fails else self.chance.pick((OK, OK, LATE))
        params = {"ends": [end], "catches": True}
        config = self._retries(ATTEMPTS) if end == LATE else {}
        inputs = self._inputs(known) if self.chance.happens(0.2) else None
        made = self.paper.node("f", self.chance.pick(_BODIES), params, inputs=inputs, config=config)
        self.paper.configure(node_id, fallback=made)
        self.undo(made)
        return self.fallback(made, known) if fails and self.chance.happens(0.6) else made

    def undo(self, node_id: str) -> None:
        """Give a node a compensation, maybe."""
        if not self.chance.happens(self.mix.undos):
            return
        end = self.chance.pick((OK, OK, OK, OK, LATE, LATE, FAIL, FATAL))
        config = self._retries(ATTEMPTS) if end == LATE else {}
        if self.chance.happens(self.mix.limited):
            config["concurrencyKey"] = LIMIT_KEY
        made = self.paper.node("u", "undo", {"ends": [end]}, config=config)
        self.paper.configure(node_id, compensate=made)

    # -- waiting ----------------------------------------------------------------------------

    def wait(self, known: Known, *, takes_any: bool = False) -> Part:
        """A question that is answered, or is not."""
        del known
        params: Document = {"title": "May I?"}
        is_answered = self.chance.happens(0.5)
        if not is_answered:
            params["timeout"] = self.chance.pick(("500ms", "20s", "3m", 90_000))
        elif self.chance.happens(0.5):
            params["timeout"] = "2d"
        more = {"inputs": SEED, "config": {"joinStrategy": "any"}} if takes_any else {}
        uses = self.chance.pick(("wait", "wait", "webhook"))
        made = self.paper.node("w", uses, params, **more)
        if is_answered:
            self.workflow.answers[made] = {"answer": self.workflow.number()}
        self.undo(made)
        return Part(made, made)

    def sleep(self, known: Known, *, takes_any: bool = False) -> Part:
        """A pause."""
        del known
        is_long = self.chance.happens(self.mix.hours)
        durations = ("1h", "2h") if is_long else (5, "2s", "15s", "40s", "3m", "20m")
        more = {"inputs": SEED, "config": {"joinStrategy": "any"}} if takes_any else {}
        made = self.paper.node("s", "sleep", {"duration": self.chance.pick(durations)}, **more)
        self.undo(made)
        return Part(made, made)

    # -- several nodes ----------------------------------------------------------------------

    def batch(self, most: int) -> Part:
        """A list of items that are worked on."""
        paper, chance = self.paper, self.chance
        hangs = chance.happens(0.5 * self.mix.failures)
        lists = [self._items(most, hangs) for _ in range(2)]
        gather = paper.node("g", "batch-gather", {})
        paper[gather]["params"]["gatherNodeId"] = gather
        worker = "timed-item" if hangs else "item"
        params: Document = {"workerUsesKey": worker, "gatherNodeId": gather}
        for name in ("chunkSize", "concurrency"):
            if chance.happens(0.4):
                params[name] = 1 + chance.below(3)
        if chance.happens(0.6):
            params["failureMode"] = chance.pick(("collect", "fail"))
        keys = (self.workflow.key(),) if chance.happens(0.4) else ()
        for key in keys:
            (params if chance.happens(0.5) else paper[gather]["params"])["outputKey"] = key
        is_late = any(each["end"] == LATE for some in lists for each in some)
        config: Document = {"timeout": TIMEOUT_MS} if hangs else {}
        if is_late:
            config = self._retries(ATTEMPTS)
        if not hangs and chance.happens(self.mix.limited):
            config["concurrencyKey"] = LIMIT_KEY
        entry = scatter = paper.node("b", "batch-scatter", params, config=config)
        if chance.happens(0.6):
            entry = paper.node("l", "listing", {"lists": lists})
            paper.edge(entry, scatter)
        else:
            key = self.workflow.key()
            self.workflow.context[key] = lists[0]
            paper[scatter]["inputs"] = key
        paper.edge(scatter, gather)
        self.undo(gather)
        return Part(entry, gather, keys)

    def _items(self, most: int, hangs: bool) -> list[Document]:
        count = self.chance.pick((0, 1, most, self.chance.below(most) + 1))
        ends = (FAIL, FAIL, LATE, LATE, FATAL) if self.chance.happens(self.mix.failures) else ()
        return [
            {"number": number, "end": HANG if hangs else self.chance.pick((OK, OK, *ends))}
            for number in range(count)
        ]

    def fork(self, known: Known) -> Part:
        """One of two ways, and a node that takes whichever it is."""
        paper = self.paper
        begin = paper.node("d", "task", {"go": [self.chance.happens(0.5) for _ in range(ROUNDS)]})
        ways = [self.task(known | Known((begin,))).entry for _ in range(2)]
        config = {"joinStrategy": self.chance.pick(("any", "all"))}
        end = paper.node("j", "task", {"ends": [OK]}, config=config)
        for way, condition in zip(ways, ("result.output.go", "!result.output.go"), strict=True):
            paper.edge(begin, way, condition=condition)
            paper.edge(way, end)
        return Part(begin, end, is_task=True)

    def adder(self) -> Part:
        """A node that adds nodes, and one that waits for them."""
        paper, known_as = self.paper, self.workflow.number()
        bad = self.chance.happens(self.mix.failures)
        more = [
            {"id": f"added-{known_as}-{at}", "uses": "task", "params": {"ends": [OK]}}
            for at in range(1 + self.chance.below(3))
        ]
        if bad:
            more[-1]["params"] = {"ends": [FAIL]}
        end = paper.node("e", "task", {"ends": [OK]})
        begin = paper.node("m", "adder", {"more": more, "gather": end})
        paper.edge(begin, end)
        return Part(begin, end, is_task=True)


_BODIES: Final = ("task", "task", "task", "plain", "steps")
_ACTIONS: Final = (None, None, "act", "act", "other", "nowhere")
_PICKY: Final = ("retryOn", "noRetryOn")
_ERRORS: Final = ("ValueError", "Refused", "KeyError", "builtins.Exception")
