"""Taking away what a fleet had on AWS: named first, and only what is the fleet's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from flowcraft.adapters.aws.failures import Resource, translated
from flowcraft.adapters.aws.transport import AwsError
from flowcraft.errors import StorageBusy
from flowcraft.provisioning.differences import Holding, Keeper, Kind, other_owner, stack_of

Fate = Literal["delete", "keep", "deleted", "gone"]

_BUSY: Final = frozenset(
    {"ResourceInUseException", "LimitExceededException", "OperationAborted", "TableInUseException"}
)
NOT_EMPTY: Final = "it is not empty"


@dataclass(frozen=True, slots=True)
class Removal:
    """A resource that is there, and what is to become of it, or has.

    Attributes:
        kind: What it is.
        name: How it is called.
        fate: ``delete`` and ``keep`` before; afterwards also ``deleted``, and ``gone`` for what
            somebody else has deleted meanwhile.
        contents: What is in it, for a person.
        reason: Why it is kept; empty if it is not.
    """

    kind: Kind
    name: str
    fate: Fate
    contents: str
    reason: str = ""

    def __str__(self) -> str:
        reason = f": {self.reason}" if self.reason else ""
        return f"{self.fate} {self.kind} {self.name} ({self.contents}){reason}"


@dataclass(frozen=True, slots=True)
class Destruction:
    """What would be deleted.

    Attributes:
        prefix: The fleet.
        empty_bucket: Whether the bucket may be emptied.
        removals: What is there.
    """

    prefix: str
    empty_bucket: bool
    removals: tuple[Removal, ...]

    @property
    def deletions(self) -> tuple[Removal, ...]:
        """What would be deleted."""
        return tuple(each for each in self.removals if each.fate == "delete")


class Destroyer:
    """Deletes resources.

    Args:
        keepers: Who knows them, in the order in which they are deleted.
        prefix: The fleet.
        pause: Waits a little, and gives for how long.
        wait_seconds: How long AWS is waited for.
        tell: Is told each step, in a line.
    """

    def __init__(
        self,
        keepers: Sequence[Keeper],
        prefix: str,
        pause: Callable[[], Awaitable[float]],
        wait_seconds: float,
        tell: Callable[[str], None],
    ) -> None:
        self._keepers = keepers
        self._prefix = prefix
        self._pause = pause
        self._wait_seconds = wait_seconds
        self._tell = tell

    async def plan(self, *, empty_bucket: bool) -> Destruction:
        """See ``Provisioner.plan_destruction``."""
        found = [await self._removal(keeper, empty_bucket) for keeper in self._keepers]
        there = tuple(each for each in found if each is not None)
        return Destruction(self._prefix, empty_bucket, there)

    async def carry_out(self, destruction: Destruction) -> list[Removal]:
        """See ``Provisioner.destroy``."""
        agreed = {(each.kind, each.name): each for each in destruction.deletions}
        done: list[Removal] = []
        for keeper in self._keepers:
            wanted = agreed.get((keeper.kind, keeper.name))
            if wanted is None:
                continue
            # Somebody may have taken it into use, or put it under protection, since.
            now = await self._removal(keeper, destruction.empty_bucket)
            if now is None:
                done.append(replace(wanted, fate="gone"))
            elif now.fate == "keep":
                done.append(now)
            else:
                self._tell(f"delete {now.kind} {now.name}")
                done.append(await self._delete(keeper, now, destruction.empty_bucket))
        return done

    async def _removal(self, keeper: Keeper, empty_bucket: bool) -> Removal | None:
        holding = await keeper.holding()
        if holding is None:
            return None
        reason = _reason_to_keep(holding, self._prefix, empty_bucket)
        fate: Fate = "keep" if reason else "delete"
        return Removal(keeper.kind, keeper.name, fate, holding.contents, reason)

    async def _delete(self, keeper: Keeper, removal: Removal, empty: bool) -> Removal:
        waited = 0.0
        while True:
            try:
                await keeper.delete(empty=empty)
            except AwsError as error:
                if error.code == "BucketNotEmpty":
                    return replace(removal, fate="keep", reason=NOT_EMPTY)
                if not (error.code in _BUSY or error.may_pass):
                    raise translated(error, Resource(keeper.kind, keeper.name)) from error
                if waited >= self._wait_seconds:
                    raise StorageBusy(
                        f"The {keeper.kind} '{keeper.name}' could not be deleted for {waited:.0f} "
                        f"s, since AWS is at work on it ({error.code}). Try again later."
                    ) from error
                waited += await self._pause()
            else:
                return replace(removal, fate="deleted")


def _reason_to_keep(holding: Holding, prefix: str, empty_bucket: bool) -> str:
    """Why something is not to be deleted; an empty text if it may be."""
    if owner := other_owner(holding.tags, prefix):
        return f"it belongs to the fleet '{owner}'"
    if stack := stack_of(holding.tags):
        return f"it belongs to the stack '{stack}' of CloudFormation: delete that"
    if holding.obstacle:
        return holding.obstacle
    if not holding.is_empty and not empty_bucket:
        return f"{NOT_EMPTY}, and nobody has asked for it to be emptied"
    return ""
