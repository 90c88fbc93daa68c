"""Workers of an older version, which know the same workflows as something else."""

from __future__ import annotations

from dataclasses import replace

from flowcraft.core.blueprint import WorkflowBlueprint
from flowcraft.engine.options import RuntimeOptions


def older_options(options: RuntimeOptions, blueprint: WorkflowBlueprint) -> RuntimeOptions:
    """What a worker of an older version has.

    Each workflow has the same id as now and means the same, so that results are alike; its nodes
    have other places in it, and its hash is another one. Whoever takes one for the other in a run
    does the wrong thing.

    Args:
        options: What workers have now.
        blueprint: The workflow that is run.
    """
    known = {**options.blueprints, blueprint.id: blueprint}
    return replace(options, blueprints={id_: _older(each) for id_, each in known.items()})


def _older(blueprint: WorkflowBlueprint) -> WorkflowBlueprint:
    metadata = {**blueprint.metadata, "version": "older"}
    return replace(blueprint, nodes=blueprint.nodes[::-1], metadata=metadata)
