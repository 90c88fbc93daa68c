"""Stand-ins for the callables of a registry."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from flowcraft.core.values import copy_value
from flowcraft.engine.context import NodeContext
from flowcraft.engine.nodes import NodeResult
from flowcraft.errors import FlowcraftError
from flowcraft.testing.activity import CURRENT_WORK
from flowcraft.testing.clock import Duration, duration_in_seconds

Error = BaseException | type[BaseException]

_NUMBERS = itertools.count(1)


@dataclass(frozen=True, slots=True)
class FakeCall:
    """One call of a fake node.

    Attributes:
        input: What it was given.
        params: The node's parameters.
        node_id: The node.
        run_id: The run.
        attempt: The attempt, counted from 1.
        iteration: The iteration of the innermost loop around the node.
        idempotency_key: The same for every attempt of one execution.
    """

    input: Any
    params: Mapping[str, Any]
    node_id: str
    run_id: str
    attempt: int
    iteration: int
    idempotency_key: str


class FakeNode:
    """Stands in for a node's callable and records its calls; :func:`fake_node` makes one.

    Attributes:
        calls: The calls so far, in order.
    """

    # Its calls are to be seen here, also where the node asks for a process of its own.
    __flowcraft_stays_inside__ = True

    def __init__(self, answer: Callable[[Any], Any], delay_seconds: float | None) -> None:
        self.calls: list[FakeCall] = []
        # So that a flow takes it without uses="…": every fake has a key of its own.
        self.__flowcraft_uses__ = f"fake_node_{next(_NUMBERS)}"
        self._answer = answer
        self._delay = delay_seconds

    @property
    def call_count(self) -> int:
        """How often it was called, retries included."""
        return len(self.calls)

    @property
    def called(self) -> bool:
        """Whether it was called at all."""
        return bool(self.calls)

    @property
    def inputs(self) -> list[Any]:
        """What it was given, call by call."""
        return [call.input for call in self.calls]

    async def __call__(self, ctx: NodeContext[Any]) -> Any:
        """Record the call, wait if it is to, and answer."""
        self.calls.append(
            FakeCall(
                copy_value(ctx.input),
                dict(ctx.params),
                ctx.node_id,
                ctx.run_id,
                ctx.attempt,
                ctx.iteration,
                ctx.idempotency_key,
            )
        )
        if self._delay is not None:
            await _sleep(self._delay)
        outcome = self._answer(ctx.input)
        if _is_error(outcome):
            raise outcome
        return outcome


def fake_node(
    output: Any = None,
    *,
    error: Error | None = None,
    sequence: Iterable[Any] | None = None,
    action: str | None = None,
    delay: Duration | None = None,
) -> FakeNode:
    """Make a stand-in for a registry entry.

    Args:
        output: What every call gives; a function gets the input and gives the output.
        error: What every call raises instead, as an exception or its class.
        sequence: What the calls give or, for exceptions, raise, one after the other; may hold
            ``NodeResult`` too. A call beyond the last one fails the node for good.
        action: The action that goes with ``output``.
        delay: How long each call takes, in virtual time: seconds, ``"5m"`` or a timedelta.

    Raises:
        ValueError: More than one of ``output``, ``error`` and ``sequence`` is given, ``action``
            is given without an output, or ``delay`` is no duration.
    """
    given = [output is not None, error is not None, sequence is not None]
    if sum(given) > 1:
        raise ValueError("fake_node takes one of output, error and sequence.")
    if action is not None and (error is not None or sequence is not None):
        raise ValueError("action goes with output; in a sequence use NodeResult(output, action).")
    seconds = None if delay is None else duration_in_seconds(delay)
    if sequence is not None:
        return FakeNode(_Sequence(sequence), seconds)
    if error is not None:
        return FakeNode(lambda _: error, seconds)
    return FakeNode(lambda value: _result(output, action, value), seconds)


class _Sequence:
    """Gives one outcome after the other."""

    def __init__(self, outcomes: Iterable[Any]) -> None:
        self._outcomes = list(outcomes)
        self._calls = 0

    def __call__(self, value: Any) -> Any:
        position, self._calls = self._calls, self._calls + 1
        if position >= len(self._outcomes):
            return FlowcraftError(
                f"The fake node was called {self._calls} times, but its sequence has "
                f"{len(self._outcomes)} outcomes.",
                is_fatal=True,
            )
        outcome = self._outcomes[position]
        return outcome(value) if _is_function(outcome) else outcome


def _result(output: Any, action: str | None, value: Any) -> Any:
    given = output(value) if _is_function(output) else output
    return given if action is None else NodeResult(given, action)


def _is_function(outcome: Any) -> bool:
    return callable(outcome) and not isinstance(outcome, type)


def _is_error(outcome: Any) -> bool:
    if isinstance(outcome, type):
        return issubclass(outcome, BaseException)
    return isinstance(outcome, BaseException)


async def _sleep(seconds: float) -> None:
    work = CURRENT_WORK.get()
    if work is None:
        raise FlowcraftError(
            "A fake node with a delay waits for virtual time: run it in a TestEnvironment, or "
            "attach a VirtualClock to its runtime.",
            is_fatal=True,
        )
    await work.clock.sleep(seconds)
