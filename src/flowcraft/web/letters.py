"""Dead letters over HTTP."""

from __future__ import annotations

from typing import Any

from flowcraft.dead_letters import (
    MEANINGS,
    DeadLetters,
    Listing,
    Outcome,
    Selection,
    open_dead_letters,
)
from flowcraft.web.call import Call
from flowcraft.web.problems import HttpProblem
from flowcraft.web.values import shortened

MOST_BODY: int = 20_000


async def list_letters(call: Call) -> Any:
    """List dead letters by their causes."""
    query = call.query
    selection = _selection((), query["cause"], query["run"])
    async with open_dead_letters(call.client) as letters:
        listing = await letters.look(selection, limit=query["limit"], reads_runs=query["readRuns"])
    return listing_data(listing)


def listing_data(listing: Listing) -> dict[str, Any]:
    """Letters that were found, as JSON data."""
    box = listing.box
    return {
        "box": {
            "name": box.name,
            "source": box.source,
            "waiting": box.waiting,
            "hidden": box.hidden,
            "isShared": box.is_shared,
        },
        "causes": [
            {"cause": str(cause), "meaning": MEANINGS[cause], "letters": len(letters)}
            for cause, letters in listing.groups.items()
        ],
        "letters": [letter.to_dict() for letter in listing.letters],
        "seen": listing.seen,
        "isCut": listing.is_cut,
        "trouble": listing.trouble,
    }


async def show_letter(call: Call) -> Any:
    """All of one letter."""
    async with open_dead_letters(call.client) as letters:
        letter = await letters.get(call.ids["letterId"])
    data = letter.to_dict()
    data["body"] = shortened(letter.body, MOST_BODY)
    return data


async def redrive(call: Call) -> Any:
    """Send letters back."""
    return await _settle(call, DeadLetters.redrive)


async def delete(call: Call) -> Any:
    """Delete letters for good."""
    return await _settle(call, DeadLetters.delete)


async def _settle(call: Call, verb: Any) -> dict[str, Any]:
    body = call.body
    selection = _selection(body.get("ids", ()), body.get("causes", ()), body.get("run"))
    if selection.is_all != bool(body.get("all")):
        text = "Say which letters: by ids, by causes or run, or all of them by all; not both."
        raise HttpProblem("invalid", text)
    async with open_dead_letters(call.client) as letters:
        outcome = await verb(
            letters, selection, foreign=body.get("foreign", False), limit=body.get("limit")
        )
    if outcome.error is not None and not outcome.done:
        raise outcome.error
    return outcome_data(outcome)


def outcome_data(outcome: Outcome) -> dict[str, Any]:
    """What became of letters, as JSON data."""
    return {
        "done": outcome.done,
        "by": outcome.by,
        "refused": [
            {"id": each.id, "wasSent": each.was_sent, "reason": each.reason}
            for each in outcome.refused
        ],
        "foreign": outcome.foreign,
        "unknownSource": outcome.unknown,
        "missing": list(outcome.missing),
        "isCut": outcome.is_cut,
        "trouble": outcome.trouble,
        "error": None if outcome.error is None else str(outcome.error),
    }


def _selection(ids: Any, causes: Any, run_id: str | None) -> Selection:
    try:
        return Selection.of(ids, causes, run_id)
    except ValueError as error:
        raise HttpProblem("invalid", str(error)) from error
