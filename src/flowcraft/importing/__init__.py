"""Workflows of other tools as blueprints: AWS Step Functions.

``import_asl`` turns a definition into blueprints and the text of a module; ``task``, ``choice`` and
``state_nodes`` are what that module makes a registry of, ``state_error`` raises errors by the names
that a definition gives them.
"""

from flowcraft.importing.asl import Imported, import_asl
from flowcraft.importing.findings import Finding
from flowcraft.importing.state_errors import DefinitionError, StateError, state_error
from flowcraft.importing.state_nodes import choice, state_nodes, task

__all__ = [
    "DefinitionError",
    "Finding",
    "Imported",
    "StateError",
    "choice",
    "import_asl",
    "state_error",
    "state_nodes",
    "task",
]
