"""Every exception of the package, in one tree.

::

    FlowcraftError                  anything this package raises; nodes may raise it too
    ├── BlueprintError              a blueprint is malformed: every problem with its place
    ├── ExpressionError             a condition or transform cannot be used
    │   ├── ExpressionSyntaxError   it does not parse
    │   └── ExpressionLimitError    it is too long, too deep or takes too many steps
    ├── SerializationError          a value cannot be stored, or stored data cannot be read
    ├── InputError                  a value does not fit a node's annotation, or a schedule
    │   └── AnswerRefused           an answer does not fit the ``schema`` of its wait
    ├── ImplementationMissing       no callable is registered for a node's ``uses``
    ├── NodeTimeout                 an attempt took longer than the node's ``timeout``
    ├── ProcessDied                 the process that a node had to itself ended before the node
    ├── NodeCancelled               a node was stopped because its run was cancelled
    ├── WorkerLost                  a node's workers died too often
    ├── SubflowFailed               a child run ended without success
    ├── LimitExceeded               a run hit a bound that keeps it from running for ever
    │   └── BudgetExceeded          it has cost more than it may
    ├── ScheduleNotFound            no schedule has this id
    ├── ScheduleExists              another schedule has this id
    ├── StorageError                a queue or store could not do what it was asked for
    │   ├── StorageBusy             it was locked by others for too long
    │   ├── StorageFull             there is no space left
    │   ├── StorageUnavailable      it cannot be opened, read or written here
    │   ├── StorageCorrupt          it is damaged, or not what it should be
    │   ├── StorageTooNew           a newer version of this package wrote it
    │   └── CodecError              what it holds is encoded, and cannot be decoded here
    └── RunError                    a request about a run makes no sense, or its result is asked for
        ├── RunNotFound             no run has this id
        ├── InvalidRunState         the run is not in a state in which this can be done
        │   ├── AlreadyAnswered     a link leads to a wait that has its answer, or is over
        │   └── NotWaitingYet       a link leads to a round of a loop that has not come yet
        ├── NobodyWaits             no run waits for an event that was sent by its name
        ├── LinkInvalid             a link is none of ours, or was altered
        │   └── LinkExpired         its time is over
        ├── RunFailed               raised by ``raise_for_status`` when a run failed
        ├── RunCancelled            raised by ``raise_for_status`` when a run was cancelled
        └── RunTimeout              a result was not there in time

Each class answers the question a worker asks of an error, *retry, fail or drop?*, in
``disposition``: ``"retry"`` (another attempt may succeed), ``"fail"`` (this node or run is
over, trying again changes nothing) or ``"drop"`` (the request is refused, nothing happened).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

Disposition = Literal["retry", "fail", "drop"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a blueprint.

    ``place`` is a path into the document such as ``nodes[2].config.maxRetries``.
    """

    place: str
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.message}" if self.place else self.message


class FlowcraftError(Exception):
    """Base of all errors of this package; a node may raise it to fail deliberately.

    Args:
        message: What happened, for a person.
        node_id: The node it happened in, filled in by the engine where it is not given.
        is_fatal: A fatal error is not retried and takes no fallback (rule S4).
    """

    disposition: ClassVar[Disposition] = "retry"

    def __init__(
        self, message: str = "", *, node_id: str | None = None, is_fatal: bool = False
    ) -> None:
        super().__init__(message)
        self.message = message
        self.node_id = node_id
        self.is_fatal = is_fatal


class BlueprintError(FlowcraftError):
    """A blueprint was refused; ``problems`` lists everything wrong with it at once."""

    disposition: ClassVar[Disposition] = "drop"

    def __init__(self, problems: Sequence[Problem], *, blueprint_id: str | None = None) -> None:
        self.problems = tuple(problems)
        self.blueprint_id = blueprint_id
        name = f"Blueprint '{blueprint_id}'" if blueprint_id else "The blueprint"
        count = len(self.problems)
        noun = "problem" if count == 1 else "problems"
        lines = "".join(f"\n  - {problem}" for problem in self.problems)
        super().__init__(f"{name} has {count} {noun}:{lines}", is_fatal=True)


class ExpressionError(FlowcraftError):
    """A condition or transform could not be evaluated."""

    disposition: ClassVar[Disposition] = "fail"


class ExpressionSyntaxError(ExpressionError):
    """An expression does not parse; the message shows where."""


class ExpressionLimitError(ExpressionError):
    """An expression is longer, deeper or more work than the evaluator allows."""


class SerializationError(FlowcraftError):
    """A value cannot be stored, or stored data cannot be read back."""

    disposition: ClassVar[Disposition] = "fail"


class InputError(FlowcraftError):
    """A value does not fit the type that a node's annotation asks for, or what a schedule takes.

    Args:
        message: What is wrong with it.
        option: The option of a schedule that it is wrong with; the text begins with it.
        node_id: The node, as of any error.
        is_fatal: As of any error.
    """

    disposition: ClassVar[Disposition] = "fail"

    def __init__(
        self,
        message: str = "",
        *,
        option: str | None = None,
        node_id: str | None = None,
        is_fatal: bool = False,
    ) -> None:
        text = message if option is None else f"{option}: {message}"
        super().__init__(text, node_id=node_id, is_fatal=is_fatal)
        self.option = option
        self.said = message


class AnswerRefused(InputError):
    """An answer does not fit the ``schema`` of the wait; ``problems`` has the places in it."""

    disposition: ClassVar[Disposition] = "drop"

    def __init__(self, message: str, problems: Sequence[Problem] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


class ImplementationMissing(FlowcraftError):
    """No callable is registered under a node's ``uses`` key."""

    disposition: ClassVar[Disposition] = "fail"


class NodeTimeout(FlowcraftError, TimeoutError):
    """An attempt took longer than the node's ``timeout``."""


class ProcessDied(FlowcraftError):
    """The process of a node with ``isolation: process`` ended by itself, or was killed (S9)."""


class NodeCancelled(FlowcraftError):
    """A node was stopped because its run was cancelled or failed fast."""

    disposition: ClassVar[Disposition] = "fail"


class WorkerLost(FlowcraftError):
    """The workers that held a node died too often (rule S9)."""

    disposition: ClassVar[Disposition] = "fail"


class SubflowFailed(FlowcraftError):
    """A child run ended without success; its errors are the causes."""


class LimitExceeded(FlowcraftError):
    """A run hit a bound, such as the number of node executions (rule S10)."""

    disposition: ClassVar[Disposition] = "fail"


class BudgetExceeded(LimitExceeded):
    """A run has cost more than it may: more dollars, or more requests to services."""


class ScheduleNotFound(FlowcraftError):
    """There is no schedule of this id."""

    disposition: ClassVar[Disposition] = "drop"


class ScheduleExists(FlowcraftError):
    """There is another schedule of this id already."""

    disposition: ClassVar[Disposition] = "drop"


class StorageError(FlowcraftError):
    """The store of durable runs could not do what it was asked for.

    Nothing of it was done, unless the message says that this is not known.
    """


class StorageBusy(StorageError):
    """Another process kept the database locked for too long, or AWS throttles."""


class StorageFull(StorageError):
    """There is no space left for the database."""


class StorageUnavailable(StorageError):
    """The database, or the queue, table or bucket, cannot be used here at all."""

    disposition: ClassVar[Disposition] = "fail"


class StorageCorrupt(StorageError):
    """What is stored is damaged or missing, or is none of this package."""

    disposition: ClassVar[Disposition] = "fail"


class StorageTooNew(StorageError):
    """The database was written by a newer version of this package."""

    disposition: ClassVar[Disposition] = "fail"


class CodecError(StorageError):
    """What is stored is encoded, and this process lacks the codec or its key."""

    disposition: ClassVar[Disposition] = "fail"


class RunError(FlowcraftError):
    """A request about a run that cannot be carried out."""

    disposition: ClassVar[Disposition] = "drop"


class RunNotFound(RunError):
    """No run has this id."""


class InvalidRunState(RunError):
    """The run is not in a state in which this can be done; the message says why."""


class AlreadyAnswered(InvalidRunState):
    """A link leads to a wait that has its answer, or that nobody can answer any more."""


class NotWaitingYet(InvalidRunState):
    """A link leads to a round of a loop that has not come yet; its answer cannot be kept."""

    disposition: ClassVar[Disposition] = "retry"


class LinkInvalid(RunError):
    """A link is none of ours, or was altered, or is used for what it is not for."""


class LinkExpired(LinkInvalid):
    """The time of a link is over."""


class NobodyWaits(RunError):
    """No run waits for an event that was sent by its name: not yet, or no longer."""


class RunFailed(RunError):
    """The run whose result was asked for failed."""

    disposition: ClassVar[Disposition] = "fail"


class RunCancelled(RunError):
    """The run whose result was asked for was cancelled."""

    disposition: ClassVar[Disposition] = "fail"


class RunTimeout(RunError, TimeoutError):
    """The result was not there within the given time."""

    disposition: ClassVar[Disposition] = "retry"
