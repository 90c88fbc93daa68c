"""Document paths such as ``a.b[3].#c``: what stands there, and parts of an item by its paths."""

from __future__ import annotations

from collections.abc import Sequence

from flowcraft.testing.aws.dynamodb_errors import refused
from flowcraft.testing.aws.dynamodb_items import Item, Value, copy_of, type_of

Path = tuple[str | int, ...]
"""Names of attributes and indices of lists, from the item inwards; the first is a name."""

Tree = dict[str | int, "Tree | int"]
"""Paths by their common beginnings; at the end of each stands its number in their sequence."""


def shown(path: Path) -> str:
    """A path as errors show it."""
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return "".join(steps).removeprefix(".")


def at(item: Item, path: Path) -> Value | None:
    """What stands at a path, or None."""
    value = item.get(path[0])  # type: ignore[arg-type]  # a path begins with a name
    for step in path[1:]:
        if value is None:
            return None
        value = inside(value, step)
    return value


def inside(value: Value, step: str | int) -> Value | None:
    """What stands one step further inwards, or None."""
    if isinstance(step, str):
        within: dict[str, Value] = value.get("M", {})
        return within.get(step)
    elements: list[Value] = value.get("L", [])
    return elements[step] if step < len(elements) else None


def tree_of(paths: Sequence[Path], expression: str) -> Tree:
    """Paths as a tree.

    Args:
        paths: The paths.
        expression: The parameter that they are of, for errors.

    Raises:
        Refusal: One is within another, or one says that something is a list and another that
            it is a map.
    """
    tree: Tree = {}
    for number, path in enumerate(paths):
        _plant(tree, path, number, expression)
    return tree


def _plant(tree: Tree, path: Path, number: int, expression: str) -> None:
    branch = tree
    for step in path[:-1]:
        _check_kind(branch, path, step, expression)
        further = branch.setdefault(step, {})
        if isinstance(further, int):
            raise _overlap(path, expression)
        branch = further
    _check_kind(branch, path, path[-1], expression)
    if path[-1] in branch:
        raise _overlap(path, expression)
    branch[path[-1]] = number


def _check_kind(branch: Tree, path: Path, step: str | int, expression: str) -> None:
    for other in branch:
        if isinstance(other, str) is not isinstance(step, str):
            raise refused(
                f"Invalid {expression}: two document paths conflict with each other, one of which "
                f"is {shown(path)}: something would be both a list and a map"
            )
        return


def _overlap(path: Path, expression: str) -> Exception:
    return refused(
        f"Invalid {expression}: two document paths overlap with each other, one of which is "
        f"{shown(path)}; leave one of them out"
    )


def parts(item: Item, tree: Tree) -> Item:
    """A copy of what an item has at the paths of a tree, each part where it belongs.

    Elements of a list keep their order, and close up.
    """
    found: Item = {}
    for name, branch in tree.items():
        value = item.get(name)  # type: ignore[arg-type]  # a path begins with a name
        part = None if value is None else _part(value, branch)
        if part is not None:
            found[str(name)] = part
    return found


def _part(value: Value, branch: Tree | int) -> Value | None:
    if isinstance(branch, int):
        return copy_of(value)
    kind = type_of(value)
    if kind == "M":
        return _part_of_map(value, branch)
    if kind == "L":
        return _part_of_list(value, branch)
    return None


def _part_of_map(value: Value, branch: Tree) -> Value | None:
    found = {}
    for step, further in branch.items():
        inner = inside(value, step)
        part = None if inner is None else _part(inner, further)
        if part is not None:
            found[step] = part
    return {"M": found} if found else None


def _part_of_list(value: Value, branch: Tree) -> Value | None:
    found = []
    for step in sorted(step for step in branch if isinstance(step, int)):
        inner = inside(value, step)
        part = None if inner is None else _part(inner, branch[step])
        if part is not None:
            found.append(part)
    return {"L": found} if found else None
