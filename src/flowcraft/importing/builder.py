"""What the parts of the importer that turn states into nodes ask of each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from flowcraft.importing.asl_document import Machine, State
from flowcraft.importing.asl_fields import Trouble, data_params
from flowcraft.importing.assembly import Assembly
from flowcraft.importing.state_nodes import CATCH


class Builder(Protocol):
    """Turns the states of a machine into nodes of one blueprint."""

    assembly: Assembly

    def lay(self, machine: Machine) -> list[str]:
        """Add the states of a nested machine, and give the nodes that it ends with."""

    def child(self, machine: Machine, name: str) -> str:
        """Make a blueprint of a nested machine, and give its id."""

    def stop(self, node_id: str) -> None:
        """Say that a node ends the run with an error, and nothing follows it."""


def shaped(
    builder: Builder, state: State, names: Iterable[str], fields: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The parameters by which a node shapes its data; what is not understood is listed."""
    found = data_params(state, state.fields if fields is None else fields, names)
    list_troubles(builder, found.troubles)
    return found.params


def list_troubles(builder: Builder, troubles: Iterable[Trouble]) -> None:
    """List fields that are not understood: their node will fail."""
    for trouble in troubles:
        builder.assembly.whole.find(
            trouble.place,
            f"This is not understood: {trouble.why}. A run that comes here fails.",
            "Write it another way, or put a task before it that calculates it.",
        )


def catch(builder: Builder, state: State, node_id: str, *, is_answer: bool = False) -> str | None:
    """Add the node that chooses a catcher, and the ways from it, and give its id.

    Args:
        builder: Where to add it.
        state: The state whose ``Catch`` it is.
        node_id: The node that may fail; or that is answered, with a failure or not in time.
        is_answer: Whether the error is in an answer, which edges bring, and not a node's.
    """
    assembly = builder.assembly
    catchers = state.fields.get("Catch", [])
    if not catchers and not is_answer:
        return None
    helper = assembly.helper(state.name, "failed" if is_answer else "catch")
    params: dict[str, Any] = {"state": state.name, "catchers": []}
    for number, catcher in enumerate(catchers):
        params["catchers"].append(_catcher(builder, state, number, catcher, params))
    if is_answer:
        params["answered"] = True
    assembly.node(helper, CATCH, params)
    for number, catcher in enumerate(catchers):
        assembly.edge(helper, catcher["Next"], action=f"catch {number}")
    if not catchers:
        builder.stop(helper)
    if not is_answer:
        assembly.configure(node_id, fallback=helper)
    return helper


def _catcher(
    builder: Builder,
    state: State,
    number: int,
    catcher: Mapping[str, Any],
    params: dict[str, Any],
) -> dict[str, Any]:
    place = f"{state.place}.Catch[{number}]"
    at = State(state.name, state.type, catcher, place, state.language)
    found = shaped(builder, at, ("Assign", "Output", "ResultPath"), catcher)
    data: dict[str, Any] = found.pop("data", {})
    for key in found:
        params[key] = sorted({*params.get(key, ()), *found[key]}) if key == "reads" else found[key]
    written: dict[str, Any] = {"errors": catcher["ErrorEquals"]}
    if "ResultPath" in data:
        written["resultPath"] = data.pop("ResultPath")
    return written | data
