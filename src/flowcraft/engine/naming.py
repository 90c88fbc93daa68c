"""Functions and classes by name, so that another process finds them by importing their module."""

from __future__ import annotations

import os
import sys
from functools import partial
from importlib import import_module
from importlib.machinery import SourceFileLoader
from types import MethodType, ModuleType
from typing import Any

from flowcraft.errors import FlowcraftError

MAIN = "__main__"
MAIN_OF_CHILD = "__mp_main__"
"""The name that the parent's main script has in the child, so that its ``if __name__ ==
"__main__":`` does not run there; the same as in the standard library's multiprocessing."""

_PLAIN_SCALARS = (type(None), bool, int, float, str)


class Unnamed(LookupError):
    """Why something cannot be found by its name."""


class Importing:
    """Whether this process is a node's, and imports what the node is made of.

    A module that runs a flow as it is imported would start processes without an end.
    """

    under_way = False


def name_of(thing: Any) -> str:
    """``module:qualified.name`` of something that the name leads back to.

    Raises:
        Unnamed: There is no such name.
    """
    module, path = getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)
    if isinstance(thing, MethodType) and isinstance(thing.__self__, type):
        path = f"{thing.__self__.__qualname__}.{thing.__name__}"
    if module is None or path is None:
        raise Unnamed(f"an instance of {type(thing).__qualname__} has no name of its own")
    if "<" in path:
        what = "a lambda" if path.endswith("<lambda>") else "defined inside a function"
        raise Unnamed(f"it is {what}")
    name = f"{MAIN if module == MAIN_OF_CHILD else module}:{path}"
    found = known_here(name)
    # Each access to a method of a class makes a new object.
    if found is not thing and not (isinstance(thing, MethodType) and found == thing):
        raise Unnamed(f"'{path}' of module '{module}' is something else, or is not there")
    if module == MAIN and main_module() is None:
        raise Unnamed("it was typed into an interactive session, or read from standard input")
    return name


def known_here(name: str) -> Any:
    """What a name means in this process, nothing being imported; ``None`` if it means nothing."""
    module, _, path = name.partition(":")
    return _walk(sys.modules.get(module), path)


def imported(name: str, main: dict[str, str] | None) -> Any:
    """What a name from the parent process means; its module is imported.

    Args:
        name: A name from :func:`name_of`.
        main: The parent's main script, from :func:`main_module`.

    Raises:
        FlowcraftError: The module is there, and does not have it.
    """
    module, _, path = name.partition(":")
    if module == MAIN and main is not None:
        _import_main(main)
    found = _walk(import_module(module), path)
    if found is None:
        raise FlowcraftError(
            f"Module '{module}' has no '{path}' in the process of the node. Does it define it "
            'only sometimes, such as under `if __name__ == "__main__":`?',
            is_fatal=True,
        )
    return found


def main_module() -> dict[str, str] | None:
    """How to import the script that this process runs; ``None`` where there is no file."""
    main = sys.modules[MAIN]
    file = getattr(main, "__file__", None)
    if file is None or not os.path.isfile(file):
        return None
    # Of ``python -m shop.run`` the package is ``shop``: imports may be relative to it.
    return {"path": os.path.abspath(file), "package": getattr(main, "__package__", None) or ""}


def target_of(call: Any) -> tuple[str, list[Any], dict[str, Any]]:
    """How another process gets what a registry holds: a name, and arguments fixed by ``partial``.

    Raises:
        Unnamed: It cannot be had there.
    """
    if type(call) is partial:
        for argument in (*call.args, *call.keywords.values()):
            if not _is_exact(argument):
                kind = type(argument).__qualname__
                raise Unnamed(f"a {kind} that functools.partial fixes cannot be passed on")
        return name_of(call.func), list(call.args), dict(call.keywords)
    return name_of(call), [], {}


def _is_exact(value: Any) -> bool:
    """Whether a value is the same after a trip through JSON."""
    if type(value) is list:
        return all(map(_is_exact, value))
    if type(value) is dict:
        return all(type(key) is str and _is_exact(item) for key, item in value.items())
    return type(value) in _PLAIN_SCALARS


def _walk(start: ModuleType | None, path: str) -> Any:
    found: Any = start
    for part in path.split("."):
        found = getattr(found, part, None)
    return found


def _import_main(main: dict[str, str]) -> None:
    if MAIN_OF_CHILD in sys.modules:
        return
    module = ModuleType(MAIN_OF_CHILD)
    module.__file__ = main["path"]
    module.__package__ = main["package"]
    # Before it runs: dataclasses and annotations look their module up by its name.
    sys.modules[MAIN_OF_CHILD] = sys.modules[MAIN] = module
    SourceFileLoader(MAIN_OF_CHILD, main["path"]).exec_module(module)
