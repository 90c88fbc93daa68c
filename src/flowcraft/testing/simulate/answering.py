"""Somebody who answers what a run waits for."""

from __future__ import annotations

from contextlib import suppress

from flowcraft.errors import InvalidRunState
from flowcraft.testing.simulate.processes import Person

PATIENCE_SECONDS = 60.0
"""How long somebody waits for an answer to be heard before giving it again."""


async def answer(person: Person) -> None:
    """Answer whatever waits, until the run is over."""
    world = person.world
    while await person.until(lambda run: bool(run.awaiting)):
        run = await person.insist(lambda: person.client.get_run(world.run_id))
        for wait in run.awaiting:
            if wait.node_id in (answers := world.told.story.answers):
                await _give(person, wait.path, answers[wait.node_id])
        await person.rest(PATIENCE_SECONDS)


async def _give(person: Person, path: tuple[str, ...], output: object) -> None:
    run_id = person.world.run_id
    # Somebody may have answered before, and died before it could be heard of.
    with suppress(InvalidRunState):
        await person.insist(
            lambda: person.client.resume_with_action(run_id, None, output, node_id=path)
        )
