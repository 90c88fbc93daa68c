"""What went wrong with a request, as RFC 9457 has it: one table from error to status and type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from flowcraft.dead_letters import LetterNotFound
from flowcraft.errors import (
    BlueprintError,
    CodecError,
    Disposition,
    FlowcraftError,
    ImplementationMissing,
    InputError,
    InvalidRunState,
    NobodyWaits,
    RunNotFound,
    RunTimeout,
    ScheduleExists,
    ScheduleNotFound,
    SerializationError,
    StorageBusy,
    StorageCorrupt,
    StorageError,
    StorageFull,
    StorageTooNew,
    StorageUnavailable,
)
from flowcraft.settings import SettingsError

TYPE_PREFIX: Final = "urn:flowcraft:problem:"
"""What the type of each problem begins with; the rest stays the same from release to release."""

LONGEST_DETAIL: Final = 4_000
"""Characters of a message: some repeat what they were given."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of problem.

    Attributes:
        name: What its type ends with.
        status: The status of HTTP.
        title: What it is, the same each time.
        retry_after_seconds: When trying again may help.
    """

    name: str
    status: int
    title: str
    retry_after_seconds: int | None = None


KINDS: Final[Mapping[str, Kind]] = {
    kind.name: kind
    for kind in (
        Kind("bad-request", 400, "The request cannot be understood"),
        Kind("unauthorized", 401, "Nobody is known by what the request brings"),
        Kind("forbidden", 403, "This is not allowed"),
        Kind("cross-site", 403, "The request comes from another site"),
        Kind("bad-host", 403, "The host is none that this application answers for"),
        Kind("read-only", 403, "Nothing may be changed here"),
        Kind("not-found", 404, "There is nothing at this address"),
        Kind("run-not-found", 404, "There is no such run"),
        Kind("node-not-found", 404, "The run has no such node"),
        Kind("value-not-found", 404, "There is no such value"),
        Kind("schedule-not-found", 404, "There is no such schedule"),
        Kind("letter-not-found", 404, "There is no such dead letter"),
        Kind("blueprint-not-found", 404, "Nobody knows this blueprint"),
        Kind("nobody-waits", 404, "No run waits for this event"),
        Kind("method-not-allowed", 405, "The address has no such method"),
        Kind("refused", 409, "The state of the run does not allow it"),
        Kind("schedule-exists", 409, "There is such a schedule already"),
        Kind("too-large", 413, "The body is too large"),
        Kind("not-json", 415, "The body is not JSON"),
        Kind("invalid", 422, "Something has a value that it cannot have"),
        Kind("blueprint-invalid", 422, "The blueprint is malformed"),
        Kind("not-storable", 422, "The storage cannot take anything so large"),
        Kind("internal", 500, "This is a bug of the application"),
        Kind("storage-corrupt", 500, "What is stored is damaged"),
        Kind("storage-too-new", 500, "A newer version has written what is stored"),
        Kind("codec-missing", 500, "What is stored is encoded, and cannot be decoded here"),
        Kind("misconfigured", 500, "The application is not set up as it has to be"),
        Kind("overloaded", 503, "There are too many requests at once", 1),
        Kind("storage-busy", 503, "The storage is busy", 1),
        Kind("storage-failed", 503, "The storage could not do it", 2),
        Kind("storage-unavailable", 503, "The storage cannot be used", 10),
        Kind("not-in-time", 504, "It took too long", 1),
        Kind("storage-full", 507, "The storage is full"),
    )
}
"""Every kind of problem that there is, by its name."""

_OF_ERRORS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (RunNotFound, "run-not-found"),
    (ScheduleNotFound, "schedule-not-found"),
    (LetterNotFound, "letter-not-found"),
    (NobodyWaits, "nobody-waits"),
    (InvalidRunState, "refused"),
    (ScheduleExists, "schedule-exists"),
    (RunTimeout, "not-in-time"),
    (StorageBusy, "storage-busy"),
    (StorageFull, "storage-full"),
    (StorageCorrupt, "storage-corrupt"),
    (StorageTooNew, "storage-too-new"),
    (CodecError, "codec-missing"),
    (StorageUnavailable, "storage-unavailable"),
    (StorageError, "storage-failed"),
    (BlueprintError, "blueprint-invalid"),
    (SettingsError, "misconfigured"),
    (InputError, "invalid"),
    (SerializationError, "invalid"),
    (ImplementationMissing, "invalid"),
    (FlowcraftError, "invalid"),
)


@dataclass
class HttpProblem(FlowcraftError):
    """A request cannot be carried out; the answer says why.

    Attributes:
        kind: A name in :data:`KINDS`.
        detail: What happened, and what to do.
        more: Further members of the answer.
        headers: Further headers of the answer.
    """

    disposition: ClassVar[Disposition] = "drop"

    kind: str
    detail: str
    more: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__(self.detail)

    @property
    def status(self) -> int:
        """The status of HTTP."""
        return KINDS[self.kind].status

    def to_dict(self) -> dict[str, Any]:
        """The answer, as JSON data."""
        kind = KINDS[self.kind]
        detail = self.detail
        if len(detail) > LONGEST_DETAIL:
            detail = detail[:LONGEST_DETAIL] + "…"
        return {
            "type": TYPE_PREFIX + kind.name,
            "title": kind.title,
            "status": kind.status,
            "detail": detail,
            **self.more,
        }

    def all_headers(self) -> dict[str, str]:
        """The headers of the answer."""
        seconds = KINDS[self.kind].retry_after_seconds
        found = dict(self.headers)
        if seconds is not None:
            found.setdefault("Retry-After", str(seconds))
        return found


def problem_of(error: FlowcraftError) -> HttpProblem:
    """The problem that an error is."""
    if isinstance(error, HttpProblem):
        return error
    name = next(name for kind, name in _OF_ERRORS if isinstance(error, kind))
    if isinstance(error, StorageFull) and error.is_fatal:
        name = "not-storable"  # there is room enough, but never for this
    more: dict[str, Any] = {"error": type(error).__name__}
    if isinstance(error, BlueprintError):
        problems = error.problems[:100]
        more["problems"] = [{"place": each.place, "message": each.message} for each in problems]
    return HttpProblem(name, str(error) or type(error).__name__, more)
