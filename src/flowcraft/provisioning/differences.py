"""What is different from what a fleet needs, as values, and the requests that would change it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from flowcraft.provisioning.model import OWNER_TAG, Fleet

Kind = Literal["queue", "table", "bucket"]
Action = Literal["create", "change", "keep", "refuse"]

WHOLE: Final = ""
"""The aspect of a difference that is about a resource as a whole."""

TAGS: Final = "tags"

_STACK_TAG: Final = "aws:cloudformation:stack-name"


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing about a resource: what is to be done about it, and why.

    Attributes:
        kind: What the resource is.
        name: How it is called.
        action: ``create`` and ``change`` are for ``apply``; ``keep`` is as it should be; ``refuse``
            cannot be changed, and nothing is done before somebody has.
        aspect: What of it; empty for the resource as a whole.
        reason: Why, for a person.
        before: How it is, if it is at all.
        after: How it is to be, where that is different.
    """

    kind: Kind
    name: str
    action: Action
    aspect: str
    reason: str
    before: str = ""
    after: str = ""

    @property
    def place(self) -> tuple[str, str, str]:
        """What tells it from the others of a plan."""
        return (self.kind, self.name, self.aspect)

    @property
    def is_change(self) -> bool:
        """Whether ``apply`` would do something about it."""
        return self.action in ("create", "change")

    @property
    def title(self) -> str:
        """What is done to what, in a few words."""
        aspect = f": {self.aspect}" if self.aspect else ""
        return f"{self.action} {self.kind} {self.name}{aspect}"

    def __str__(self) -> str:
        change = f" ({self.before or 'none'} → {self.after})" if self.after else ""
        return f"{self.title}{change}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Plan:
    """What ``apply`` would do.

    Attributes:
        fleet: What is wanted.
        differences: What there is to say about each resource, in the order in which it is done.
    """

    fleet: Fleet
    differences: tuple[Difference, ...]

    @property
    def changes(self) -> tuple[Difference, ...]:
        """What would be done."""
        return tuple(each for each in self.differences if each.is_change)

    @property
    def refusals(self) -> tuple[Difference, ...]:
        """What cannot be done: while there are any, ``apply`` does nothing."""
        return tuple(each for each in self.differences if each.action == "refuse")

    def allows(self, difference: Difference) -> bool:
        """Whether a change was in it, by itself or as part of a resource that is created."""
        created = (difference.kind, difference.name, WHOLE)
        return any(each.place in (difference.place, created) for each in self.changes)


@dataclass(frozen=True, slots=True)
class Call:
    """A request that changes something.

    Attributes:
        operation: Its name as AWS has it.
        request: Its parameters.
    """

    operation: str
    request: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Step:
    """A difference, with the request for it.

    Attributes:
        difference: What it is about.
        call: The request; ``None`` where there is nothing to do, or not yet.
    """

    difference: Difference
    call: Call | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """How a resource is.

    Attributes:
        steps: What there is to say, and to do.
        is_busy: Whether AWS is at work on it, so that nothing may be changed now.
    """

    steps: Sequence[Step]
    is_busy: bool = False


@dataclass(frozen=True, slots=True)
class Holding:
    """A resource that may be deleted.

    Attributes:
        tags: Its tags; ``None`` where there are no tags at all, as in DynamoDB Local.
        contents: What is in it, for a person.
        obstacle: Why it cannot be deleted; empty if it can.
        is_empty: Whether nothing is in it; told for buckets alone.
    """

    tags: Mapping[str, str] | None
    contents: str
    obstacle: str = ""
    is_empty: bool = True


class Keeper(Protocol):
    """Who knows one resource: how it is, and what makes it what it should be."""

    @property
    def kind(self) -> Kind:
        """What the resource is."""
        ...

    @property
    def name(self) -> str:
        """How it is called."""
        ...

    async def look(self) -> Look:
        """Read how the resource is; makes no request that changes anything."""
        ...

    async def carry_out(self, call: Call) -> None:
        """Make a request of a step."""
        ...

    async def holding(self) -> Holding | None:
        """What would be deleted, if it is there."""
        ...

    async def delete(self, *, empty: bool) -> None:
        """Delete the resource, and before that what is in it, if that is wished."""
        ...


def other_owner(tags: Mapping[str, str] | None, prefix: str) -> str:
    """The fleet that a resource belongs to, if it is not this one; else an empty text."""
    owner = (tags or {}).get(OWNER_TAG, prefix)
    return "" if owner == prefix else owner


def stack_of(tags: Mapping[str, str] | None) -> str:
    """The stack of CloudFormation that a resource belongs to; else an empty text."""
    return (tags or {}).get(_STACK_TAG, "")


def foreign(kind: Kind, name: str, tags: Mapping[str, str] | None, prefix: str) -> Step | None:
    """The refusal of a resource that belongs to another fleet."""
    owner = other_owner(tags, prefix)
    if not owner:
        return None
    reason = (
        f"The {kind} '{name}' belongs to the fleet '{owner}', by its tag '{OWNER_TAG}'. Choose "
        f"another prefix or name; or take that tag away, if '{owner}' does not use it any more."
    )
    return Step(Difference(kind, name, "refuse", WHOLE, reason))


def settled(
    kind: Kind, name: str, steps: Sequence[Step], tags: Mapping[str, str] | None
) -> list[Step]:
    """The steps of a resource that is there: at least that it is kept, at most what its owner lets.

    Args:
        kind: What it is.
        name: How it is called.
        steps: What is different.
        tags: Its tags.
    """
    stack = stack_of(tags)
    if not steps:
        reason = f"of the stack '{stack}' of CloudFormation" if stack else "as it should be"
        return [Step(Difference(kind, name, "keep", WHOLE, reason))]
    if stack:
        return [_left_to_stack(each, stack) for each in steps]
    return list(steps)


def _left_to_stack(step: Step, stack: str) -> Step:
    found = step.difference
    if not found.is_change:
        return step
    reason = (
        f"{found.reason}; but the stack '{stack}' of CloudFormation has made it: change it there, "
        "with a template that is generated with these options."
    )
    return Step(
        Difference(
            found.kind, found.name, "refuse", found.aspect, reason, found.before, found.after
        )
    )


def tag_difference(
    kind: Kind, name: str, tags: Mapping[str, str], wanted: Mapping[str, str]
) -> tuple[Difference, dict[str, str]] | None:
    """What tags a resource lacks, or has other ones of; further ones do not matter."""
    lacking = {key: value for key, value in wanted.items() if tags.get(key) != value}
    if not lacking:
        return None
    before = ", ".join(f"{key}={tags[key]}" for key in lacking if key in tags)
    after = ", ".join(f"{key}={value}" for key, value in lacking.items())
    is_adopted = OWNER_TAG in lacking
    reason = "taken into use by this fleet" if is_adopted else "so that all of it has the same tags"
    return Difference(kind, name, "change", TAGS, reason, before, after), lacking
