"""Definitions with something altered by lot: refused with places, or imported into what runs."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from flowcraft import lint_blueprint
from flowcraft.importing import DefinitionError, import_asl, state_nodes
from tests.unit.test_import_asl import MODULE
from tests.unit.test_import_runs import (
    APPROVAL,
    CAUGHT,
    COUNTER,
    ITEMS,
    JSONATA,
    ORDER,
    PARALLEL,
    POLLER,
    SQUARES,
    WAITING,
    guarded,
)

DEFINITIONS = [APPROVAL, CAUGHT, COUNTER, ITEMS, JSONATA, MODULE, ORDER, PARALLEL, POLLER]
DEFINITIONS += [SQUARES, WAITING, guarded()]

VALUES: list[Any] = [
    *(None, True, 5, -1, 1.5, "", "x", "$", "$.a", "$[", "$..a", "States.ALL", [], {}, [None]),
    *("{% $x %}", "{% ( %}", "$$.Execution.Input", {"a": 1}, {"a.$": 5}, {"a.$": "$.b[?(1)]"}),
    "arn:aws:states:::states:startExecution.sync",
    "arn:aws:states:::sqs:sendMessage.waitForTaskToken",
]
FIELDS = [
    *("Retry", "Catch", "Parameters", "ResultPath", "InputPath", "OutputPath", "TimeoutSeconds"),
    *("Assign", "Output", "Arguments", "ItemBatcher", "ItemReader", "Result", "Default", "Type"),
    *("Resource", "ResultSelector", "QueryLanguage", "ToleratedFailureCount", "ItemSelector"),
]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of everything in a document."""
    if path:
        yield path
    items = value if isinstance(value, list) else []
    inner = value.items() if isinstance(value, dict) else enumerate(items)
    for key, each in inner:
        yield from places(each, (*path, key))


def altered(chance: random.Random) -> Any:
    """One of the definitions with something put in, taken out or replaced."""
    definition = copy.deepcopy(chance.choice(DEFINITIONS))
    *way, last = chance.choice(list(places(definition)))
    holder: Any = definition
    for step in way:
        holder = holder[step]
    value = copy.deepcopy(chance.choice(VALUES))
    if isinstance(holder, dict) and chance.random() < 0.2:
        del holder[last]
    elif isinstance(holder, dict) and chance.random() < 0.3:
        holder[chance.choice(FIELDS)] = value
    else:
        holder[last] = value
    return definition


@pytest.mark.parametrize("seed", range(4))
def test_an_altered_definition_is_refused_or_imported(seed: int) -> None:
    """No alteration is answered by anything else, and what is imported is legal and compiles."""
    chance = random.Random(seed)
    refused = accepted = 0
    for _ in range(250):
        text = json.dumps(altered(chance))
        try:
            imported = import_asl(text, "m")
        except DefinitionError:
            refused += 1
            continue
        accepted += 1
        compile(imported.module, "m.py", "exec")
        keys = [*state_nodes(), *(f"m.{name}" for name in imported.functions)]
        for blueprint in imported.blueprints:
            found = {issue.code for issue in lint_blueprint(blueprint, registry=keys).issues}
            # A definition may well be altered into one that goes round for ever.
            assert found <= {"LOOP_WITHOUT_EXIT"}, (found, text)
    assert min(refused, accepted) > 50
