"""The table of all operations: what is served, and what the OpenAPI document says, comes of it."""

from __future__ import annotations

from typing import Final

from flowcraft.core.state import RunStatus
from flowcraft.dead_letters import Cause
from flowcraft.web import bodies, fleet, history, letters, picture, runs, schedules, verbs
from flowcraft.web.reading import Param
from flowcraft.web.routes import Route
from flowcraft.web.schemas import (
    ANY,
    COUNT,
    CUTS,
    FLAG,
    TEXT,
    TEXTS,
    TIME,
    TROUBLE,
    VALUES,
    maybe,
    record,
    ref,
    several,
)
from flowcraft.web.streams import STREAM_KIND

LIST: Final = (
    Param(
        "status",
        "Only runs in this status; may be given several times.",
        choices=tuple(map(str, RunStatus)),
        several=True,
    ),
    Param("live", "Only runs that are not over.", "flag", False),
    Param("flow", "Only runs of this blueprint."),
    Param("tag", "Only runs with this label, name=value; may be given several times.", "pairs"),
    Param("createdFrom", "Only runs that were started at this time or later.", "time"),
    Param("createdUntil", "Only runs that were started before this time.", "time"),
    Param("q", "Only runs with this in their id; the run of exactly this id is found in any case."),
    Param("top", "Leave out child runs.", "flag", False),
    Param("limit", "How many at most.", "whole number", 50, least=1, most=runs.LONGEST_LIST),
)
AFTER: Final = Param("after", "Goes on behind another page: what that gave as after.")
KEY: Final = Param("Idempotency-Key", "Names the start: a second one starts nothing.")
LAST_ID: Final = Param("lastEventId", "The same as the header Last-Event-ID.")
RUN_VERB: Final = record(
    {"runId": TEXT, "runs": TEXTS, "hrefs": TEXTS},
    about="The run, and the runs that it led to: the same one, or a new one.",
)
TIMES: Final = record({"times": several(TIME)})
OUTCOME: Final = record(
    {
        "done": COUNT,
        "by": TEXT,
        "refused": several(record({"id": TEXT, "wasSent": FLAG, "reason": TEXT})),
        "foreign": COUNT,
        "unknownSource": COUNT,
        "missing": TEXTS,
        "isCut": FLAG,
        "trouble": maybe(TEXT),
        "error": maybe(TEXT),
    }
)
KNOWN: Final = record(
    {
        "blueprintId": TEXT,
        "version": maybe(TEXT),
        "hash": maybe(TEXT),
        "nodes": maybe(COUNT),
        "origin": {"enum": ["app", "runs"]},
    }
)
STREAM: Final = {"type": "string", "description": "Server-sent events; see docs/http-api.md."}


def _verb(name: str, handler: object, about: str, body: object) -> Route:
    return Route(
        "POST",
        f"/runs/{{runId}}/{name}",
        f"{name}Run",
        handler,  # type: ignore[arg-type]
        about,
        RUN_VERB,
        body=body,  # type: ignore[arg-type]
        problems=("run-not-found", "refused"),
    )


RUNS: Final = (
    Route(
        "POST",
        "/runs",
        "startRun",
        verbs.start_run,
        "Start a run; it is stored when this answers.",
        record({"runId": TEXT, "href": TEXT}),
        body=bodies.START,
        status=201,
        headers=(KEY,),
        problems=("blueprint-invalid",),
    ),
    Route(
        "GET",
        "/runs",
        "listRuns",
        runs.list_runs,
        "List runs, the newest first.",
        record(
            {
                "runs": several(ref("RunSummary")),
                "after": maybe(TEXT),
                "read": COUNT,
                "rowsRead": maybe(COUNT),
                "scanned": FLAG,
            }
        ),
        query=(*LIST, AFTER),
        is_heavy=True,
        problems=("run-not-found",),
    ),
    Route(
        "GET",
        "/runs/events",
        "watchRuns",
        runs.watch_list,
        "Stream how the first page of a list changes.",
        STREAM,
        query=(*LIST, LAST_ID),
        kind=STREAM_KIND,
    ),
    Route(
        "GET",
        "/runs/{runId}",
        "getRun",
        runs.show_run,
        "All of a run: its nodes, what it waits for, what went wrong.",
        ref("Run"),
        query=(Param("values", "Whether inputs, outputs and context are told.", "flag", True),),
        is_heavy=True,
        problems=("run-not-found",),
    ),
    Route(
        "DELETE",
        "/runs/{runId}",
        "deleteRun",
        verbs.delete,
        "Forget a run with all that belongs to it.",
        RUN_VERB,
        query=(Param("force", "Also one that is not over; nothing is undone.", "flag", False),),
        problems=("run-not-found", "refused"),
    ),
    Route(
        "GET",
        "/runs/{runId}/nodes/{nodeId}",
        "getNode",
        runs.show_node,
        "A node of a run: each of its iterations, with values and attempts.",
        record({"runId": TEXT, "instances": several(ref("Node"))}),
        is_heavy=True,
        problems=("run-not-found", "node-not-found"),
    ),
    Route(
        "GET",
        "/runs/{runId}/values",
        "getValue",
        runs.show_value,
        "One value of a run, whole, as JSON to be saved.",
        ANY,
        query=(
            Param("key", "A context key."),
            Param("node", "Or a node, by its id."),
            Param("iteration", "Of which iteration, such as 2 or 2,0.", default=""),
            Param("part", "What of the node.", default="output", choices=("input", "output")),
        ),
        is_heavy=True,
        problems=("run-not-found", "node-not-found", "value-not-found"),
    ),
    Route(
        "GET",
        "/runs/{runId}/result",
        "getResult",
        runs.show_result,
        "How a run ended. With wait it is waited for; 202 means that it goes on.",
        record(
            {
                "runId": TEXT,
                "blueprintId": TEXT,
                "status": {"enum": [str(each) for each in RunStatus]},
                "isFinal": FLAG,
                "outputs": VALUES,
                "cut": CUTS,
                "errors": several(ref("Error")),
                "href": TEXT,
            }
        ),
        query=(Param("wait", "Seconds to wait for its end.", "number", 0.0, most=3_600),),
        more_statuses={202: "It goes on; ask again."},
        problems=("run-not-found",),
    ),
    Route(
        "GET",
        "/runs/{runId}/blueprint",
        "getRunBlueprint",
        runs.show_blueprint,
        "The blueprint of a run, with the nodes that it has added.",
        record({"runId": TEXT, "blueprint": {"type": "object"}}),
        is_heavy=True,
        problems=("run-not-found",),
    ),
    Route(
        "GET",
        "/runs/{runId}/events",
        "watchRun",
        runs.watch_run,
        "Stream how a run goes on, until it is over.",
        STREAM,
        query=(LAST_ID,),
        kind=STREAM_KIND,
        problems=("run-not-found",),
    ),
    Route(
        "GET",
        "/runs/{runId}/history",
        "getHistory",
        history.show_history,
        "All that happened in a run, as lines of JSON.",
        {"type": "string", "description": "Lines of JSON; see docs/history.md."},
        query=(
            Param("payloads", "Whether values are told.", "flag", True),
            Param("children", "Whether child runs are told of, too.", "flag", True),
        ),
        kind=history.KIND,
        problems=("run-not-found",),
    ),
    _verb("cancel", verbs.cancel, "Let a run start nothing more, and undo it.", bodies.CANCEL),
    _verb("pause", verbs.pause, "Let a run start nothing new.", bodies.NOTHING),
    _verb("continue", verbs.continue_, "Let a paused run go on.", bodies.NOTHING),
    _verb("retry", verbs.retry, "Try again what failed.", bodies.NOTHING),
    _verb("resume", verbs.resume, "Answer what a run waits for.", bodies.RESUME),
    _verb("skip", verbs.skip, "Count a node as done, with a given output.", bodies.SKIP),
    _verb("rerun", verbs.rerun, "Start a new run that goes on from a node.", bodies.RERUN),
    _verb("patch", verbs.patch, "Change the context of a paused run.", bodies.PATCH),
    Route(
        "POST",
        "/events/{name}",
        "sendEvent",
        verbs.send_event,
        "Send an event to all runs that wait for it, by its name and key.",
        record({"event": TEXT, "runs": TEXTS}),
        body=bodies.EVENT,
        problems=("nobody-waits", "refused"),
        group="events",
    ),
)

SCHEDULE: Final = "/schedules/{scheduleId}"
SCHEDULES: Final = (
    Route(
        "GET",
        "/schedules",
        "listSchedules",
        schedules.list_schedules,
        "List schedules, by their ids, without their contexts.",
        record({"schedules": several(ref("Schedule")), "after": maybe(TEXT)}),
        query=(
            Param("limit", "How many at most.", "whole number", 100, least=1, most=1_000),
            AFTER,
        ),
        is_heavy=True,
        group="schedules",
    ),
    Route(
        "POST",
        "/schedules",
        "createSchedule",
        schedules.create,
        "Create a schedule.",
        ref("Schedule"),
        body=bodies.SCHEDULE,
        status=201,
        problems=("schedule-exists",),
        group="schedules",
    ),
    Route(
        "POST",
        "/schedules/preview",
        "previewSchedule",
        schedules.preview,
        "Tell the ticks that a schedule would have.",
        TIMES,
        body=bodies.PREVIEW,
        group="schedules",
    ),
    Route(
        "GET",
        SCHEDULE,
        "getSchedule",
        schedules.show,
        "A schedule: its next ticks, and what became of the last ones.",
        ref("Schedule"),
        problems=("schedule-not-found",),
        group="schedules",
    ),
    Route(
        "PATCH",
        SCHEDULE,
        "updateSchedule",
        schedules.update,
        "Change a schedule; what is not named stays as it is.",
        ref("Schedule"),
        body=bodies.SCHEDULE_CHANGES,
        problems=("schedule-not-found",),
        group="schedules",
    ),
    Route(
        "DELETE",
        SCHEDULE,
        "deleteSchedule",
        schedules.remove,
        "Forget a schedule; runs that were started go on.",
        record({"id": TEXT}),
        problems=("schedule-not-found",),
        group="schedules",
    ),
    Route(
        "POST",
        f"{SCHEDULE}/pause",
        "pauseSchedule",
        schedules.pause,
        "Let a schedule have no ticks until it is resumed.",
        ref("Schedule"),
        body=bodies.NOTE,
        problems=("schedule-not-found",),
        group="schedules",
    ),
    Route(
        "POST",
        f"{SCHEDULE}/resume",
        "resumeSchedule",
        schedules.resume,
        "Let a schedule have ticks again, from now on.",
        ref("Schedule"),
        body=bodies.NOTE,
        problems=("schedule-not-found",),
        group="schedules",
    ),
    Route(
        "POST",
        f"{SCHEDULE}/trigger",
        "triggerSchedule",
        schedules.trigger,
        "Start a run of a schedule now.",
        record({"runId": TEXT, "href": TEXT}),
        body=bodies.NOTHING,
        problems=("schedule-not-found", "refused"),
        group="schedules",
    ),
    Route(
        "GET",
        f"{SCHEDULE}/ticks",
        "getTicks",
        schedules.ticks,
        "The next ticks of a schedule.",
        TIMES,
        query=(Param("count", "How many.", "whole number", 5, least=1, most=1_000),),
        problems=("schedule-not-found",),
        group="schedules",
    ),
)

LETTERS: Final = (
    Route(
        "GET",
        "/dead-letters",
        "listDeadLetters",
        letters.list_letters,
        "List dead letters by their causes, with what became of their runs.",
        record(
            {
                "box": record(
                    {
                        "name": TEXT,
                        "source": TEXT,
                        "waiting": COUNT,
                        "hidden": COUNT,
                        "isShared": FLAG,
                    }
                ),
                "causes": several(record({"cause": TEXT, "meaning": TEXT, "letters": COUNT})),
                "letters": several(ref("Letter")),
                "seen": COUNT,
                "isCut": FLAG,
                "trouble": maybe(TEXT),
            }
        ),
        query=(
            Param(
                "cause",
                "Only those of a cause; may be given several times.",
                choices=tuple(map(str, Cause)),
                several=True,
            ),
            Param("run", "Only those of a run."),
            Param("limit", "How many are looked at.", "whole number", 100, least=1, most=1_000),
            Param("readRuns", "Whether their runs are looked at, too.", "flag", True),
        ),
        is_heavy=True,
        group="dead letters",
    ),
    Route(
        "GET",
        "/dead-letters/{letterId}",
        "getDeadLetter",
        letters.show_letter,
        "All of one letter.",
        ref("Letter"),
        is_heavy=True,
        problems=("letter-not-found",),
        group="dead letters",
    ),
    Route(
        "POST",
        "/dead-letters/redrive",
        "redriveDeadLetters",
        letters.redrive,
        "Send letters back to the queue that they came from.",
        OUTCOME,
        body=bodies.LETTERS,
        is_heavy=True,
        group="dead letters",
    ),
    Route(
        "POST",
        "/dead-letters/delete",
        "deleteDeadLetters",
        letters.delete,
        "Delete letters for good.",
        OUTCOME,
        body=bodies.LETTERS,
        is_heavy=True,
        group="dead letters",
    ),
)

FLEET: Final = (
    Route(
        "GET",
        "/session",
        "getSession",
        fleet.session,
        "Who asks, and what this application is.",
        record(
            {
                "user": TEXT,
                "readOnly": FLAG,
                "hasLogin": FLAG,
                "version": TEXT,
                "logLink": maybe(TEXT),
                "storage": {"enum": ["here", "apart"]},
                "api": TEXT,
            }
        ),
        group="fleet",
    ),
    Route(
        "GET",
        "/blueprints",
        "listBlueprints",
        fleet.list_blueprints,
        "Blueprints of the app here, and those of the newest runs.",
        record({"blueprints": several(KNOWN)}),
        is_heavy=True,
        group="blueprints",
    ),
    Route(
        "GET",
        "/blueprints/{blueprintId}",
        "getBlueprint",
        fleet.show_blueprint,
        "A blueprint, with what lint says of it.",
        record(
            {
                "blueprintId": TEXT,
                "version": maybe(TEXT),
                "hash": TEXT,
                "origin": TEXT,
                "blueprint": {"type": "object"},
                "findings": several({"type": "object"}),
            }
        ),
        query=(Param("hash", "The one of this content; the latest one without it."),),
        problems=("blueprint-not-found",),
        group="blueprints",
    ),
    Route(
        "GET",
        "/workers",
        "listWorkers",
        fleet.workers,
        "The kinds of workers that were seen in the last week.",
        record({"kinds": several(ref("Worker"))}),
        is_heavy=True,
        group="fleet",
    ),
    Route(
        "GET",
        "/health",
        "getHealth",
        fleet.health,
        "How the fleet is: its queue, runs that stand still, workers; some seconds old.",
        record(
            {
                "at": TIME,
                "queue": {"anyOf": [ref("QueueDepth"), TROUBLE, {"type": "null"}]},
                "standing": {"anyOf": [ref("StandingRuns"), TROUBLE]},
                "workers": {"anyOf": [record({"kinds": several(ref("Worker"))}), TROUBLE]},
            }
        ),
        is_heavy=True,
        group="fleet",
    ),
    Route(
        "GET",
        "/drain-report",
        "getDrainReport",
        fleet.drain_report,
        "Which code the live runs still need; up to a minute old.",
        ref("DrainReport"),
        is_heavy=True,
        group="fleet",
    ),
)

_PLACE: Final = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
PICTURE: Final = record(
    {
        "title": TEXT,
        "boxes": several({"type": "object"}),
        "lines": several({"type": "object", "properties": {"points": several(_PLACE)}}),
        "starts": several(COUNT),
        "width": {"type": "number"},
        "height": {"type": "number"},
    },
    about="Where boxes and lines of a drawing stand, in pixels.",
)
PICTURES: Final = (
    Route(
        "GET",
        "/runs/{runId}/picture",
        "getRunPicture",
        picture.run_picture,
        "The drawing of a run's blueprint, laid out.",
        PICTURE,
        is_heavy=True,
        problems=("run-not-found",),
    ),
    Route(
        "GET",
        "/blueprints/{blueprintId}/picture",
        "getBlueprintPicture",
        picture.blueprint_picture,
        "The drawing of a blueprint, laid out.",
        PICTURE,
        query=(Param("hash", "An earlier one, by the hash of its content."),),
        is_heavy=True,
        problems=("blueprint-not-found",),
        group="fleet",
    ),
)

ROUTES: Final = (*RUNS, *SCHEDULES, *LETTERS, *FLEET, *PICTURES)
