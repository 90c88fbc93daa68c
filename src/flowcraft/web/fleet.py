"""The fleet over HTTP: who asks, what is known, who works, and how it all is."""

from __future__ import annotations

from typing import Any, Final

from flowcraft._installation import version
from flowcraft.core.blueprint import WorkflowBlueprint, blueprint_hash
from flowcraft.core.lint import lint_blueprint
from flowcraft.engine.jsonable import jsonable
from flowcraft.errors import FlowcraftError, StorageError
from flowcraft.web.call import Call
from flowcraft.web.problems import HttpProblem
from flowcraft.web.routes import address

RECENT_RUNS: Final = 200
"""Blueprints that the app here has not got are found in so many runs, the newest ones."""

MOST_FINDINGS: Final = 200


async def session(call: Call) -> Any:
    """Who asks, and what the application is."""
    station = await call.stage.station()
    return {
        "user": call.user.name,
        "readOnly": call.user.read_only,
        "version": version(),
        "logLink": call.stage.log_link,
        "storage": "apart" if station.runs.rows_are_apart else "here",
        "api": address(call.base),
    }


async def health(call: Call) -> Any:
    """How the fleet is."""
    return await call.stage.fleet.health.get()


async def workers(call: Call) -> Any:
    """Which kinds of workers were seen."""
    return await call.stage.fleet.workers.get()


async def drain_report(call: Call) -> Any:
    """Which code the live runs still need."""
    return await call.stage.fleet.drain.get()


# --- blueprints ----------------------------------------------------------------------------


async def list_blueprints(call: Call) -> Any:
    """Blueprints of the app here, and of runs of late."""
    own = call.stage.options.blueprints
    found = [
        {
            "blueprintId": id_,
            "version": blueprint.version,
            "hash": blueprint_hash(blueprint),
            "nodes": len(blueprint.nodes),
            "origin": "app",
        }
        for id_, blueprint in sorted(own.items())
    ]
    page = await call.client.list_runs(limit=RECENT_RUNS)
    others = sorted({run.blueprint_id for run in page.runs} - set(own))
    found += [
        {"blueprintId": id_, "version": None, "hash": None, "nodes": None, "origin": "runs"}
        for id_ in others
    ]
    return {"blueprints": found}


async def show_blueprint(call: Call) -> Any:
    """A blueprint, with what lint says of it."""
    blueprint = await blueprint_of(call)
    lint = lint_blueprint(blueprint)
    return {
        "blueprintId": blueprint.id,
        "version": blueprint.version,
        "hash": blueprint_hash(blueprint),
        "origin": "app" if blueprint.id in call.stage.options.blueprints else "runs",
        "blueprint": blueprint.to_dict(),
        "findings": jsonable(lint.issues[:MOST_FINDINGS]),
    }


async def blueprint_of(call: Call) -> WorkflowBlueprint:
    """The blueprint that an address means.

    Raises:
        HttpProblem: Nobody knows it.
    """
    id_, hash_ = call.ids["blueprintId"], call.query["hash"]
    station = await call.stage.station()
    blueprint = await station.latest(id_) if hash_ is None else await _by_hash(call, hash_)
    if blueprint is None or blueprint.id != id_:
        raise HttpProblem("blueprint-not-found", f"Nobody knows a blueprint '{id_[:200]}' here.")
    return blueprint


async def _by_hash(call: Call, hash_: str) -> WorkflowBlueprint | None:
    station = await call.stage.station()
    try:
        return (await station.plan(hash_))[0].blueprint
    except StorageError:
        raise
    except FlowcraftError:
        return None  # it is not stored
