"""The decision core against the oracle: what starts, what does not, and with which input."""

from __future__ import annotations

import random
from collections.abc import Mapping

from hypothesis import given, settings

from flowcraft.core.state import RunStatus
from tests.property.drive import Run
from tests.property.graphs import (
    FLAGS,
    SEEDS,
    WITHOUT_SHRINKING,
    Case,
    case_of,
    check_smallest,
    instance_of,
    next_completion,
)
from tests.property.oracle import FAILED, RESCUED, SUCCEEDED, Instance, Oracle, Outcome
from tests.property.shape import Shape

COMPLETED = (SUCCEEDED, FAILED, RESCUED, "rescuing")
MOST_EXECUTIONS = 150


class Comparison:
    """A run, and the oracle asked again after every event."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.shape = Shape(case.document)
        self.run = Run(case.document)
        self.done: dict[Instance, Outcome] = {}
        self.when: dict[Instance, int] = {}

    def compare(self) -> Oracle:
        """Ask the oracle what follows from what happened so far."""
        self._note_completed()
        oracle = Oracle(self.shape, FLAGS, self.done, self.when)
        actual = self._actual()
        assert actual == oracle.status, differences(actual, oracle.status)
        return oracle

    def compare_inputs(self, oracle: Oracle) -> None:
        """Every started instance was given what rule S6 says."""
        for key, record in self.run.state.records.items():
            if record.attempt:
                expected = oracle.possible_inputs(instance_of(self.run, key))
                assert not expected or record.input in expected, (self.run.name(key), expected)

    def _actual(self) -> dict[Instance, str]:
        records = self.run.state.records.items()
        # The oracle does not tell whether a fallback is still at it.
        found = {instance_of(self.run, key): str(record.status) for key, record in records}
        return {i: RESCUED if status == "rescuing" else status for i, status in found.items()}

    def _note_completed(self) -> None:
        for key, record in self.run.state.records.items():
            instance = instance_of(self.run, key)
            if instance in self.done or str(record.status) not in COMPLETED:
                continue
            self.when[instance] = self.run.decisions
            if self.shape.nodes[instance[0]]["uses"] == "task":
                self.done[instance] = self.case.outcome(instance)
                continue
            again = isinstance(record.input, Mapping) and bool(record.input.get("go"))
            self.done[instance] = Outcome(None, "continue" if again else "break")


def differences(actual: Mapping[Instance, str], expected: Mapping[Instance, str]) -> str:
    """Where the core and the oracle disagree."""
    keys = [k for k in {**actual, **expected} if actual.get(k) != expected.get(k)]
    return "; ".join(f"{k}: is {actual.get(k)}, should be {expected.get(k)}" for k in keys)


def compare_all_the_way(case: Case) -> Run:
    """Run a case to its end and ask the oracle after every event."""
    both = Comparison(case)
    run, chance = both.run, random.Random(case.seed)
    run.start(FLAGS, max_executions=None)
    oracle = both.compare()
    while (event := next_completion(run, case, chance)) is not None:
        if run.state.executions > MOST_EXECUTIONS:
            return run
        run.send(event)
        oracle = both.compare()
    both.compare_inputs(oracle)
    assert run.state.status.is_final
    assert run.state.status is RunStatus(oracle.final_status())
    return run


@given(SEEDS)
@settings(max_examples=10 * settings().max_examples, phases=WITHOUT_SHRINKING)
def test_readiness_equals_the_oracle_without_cycles(seed: int) -> None:
    """In graphs without cycles the core starts and skips what rules S1 to S4 say."""
    check_smallest(case_of(seed, cycles=False), compare_all_the_way)


@given(SEEDS)
@settings(max_examples=10 * settings().max_examples, phases=WITHOUT_SHRINKING)
def test_readiness_equals_the_oracle_with_cycles(seed: int) -> None:
    """In graphs with loops of all kinds the core does what rules S3 and S10 say."""
    check_smallest(case_of(seed), compare_all_the_way)
