"""The core decides and does nothing else: same input, same decision, no waiting, no effects.

import-linter checks the imports along whole chains; this scan also sees what is not an import.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house.source import CORE, PACKAGE, place, python_files, tree_of

# Modules by which a function could wait, meet chance, or touch the world outside.
BANNED_MODULES = {
    "asyncio",
    "builtins",
    "concurrent",
    "contextvars",
    "importlib",
    "io",
    "logging",
    "multiprocessing",
    "os",
    "pathlib",
    "pickle",
    "queue",
    "random",
    "secrets",
    "selectors",
    "shutil",
    "signal",
    "socket",
    "sqlite3",
    "ssl",
    "subprocess",
    "sys",
    "tempfile",
    "threading",
    "time",
    "urllib",
    "uuid",
    "boto3",
    "botocore",
    "opentelemetry",
    "pydantic",
    "starlette",
    "uvicorn",
}
# Values may be UUIDs, so the type is needed; what makes new ones is not.
ALLOWED_NAMES = {("uuid", "UUID")}

BANNED_CALLS = {
    "__import__",
    "breakpoint",
    "compile",
    "eval",
    "exec",
    "globals",
    "input",
    "open",
    "print",
}
# Meant for `datetime.now()` and the like: no method of ours in the core has such a name.
BANNED_METHODS = {"now", "utcnow", "today"}

Finding = tuple[int, str]


def banned_imports(node: ast.AST) -> Iterator[str]:
    """The modules an import statement brings in that the core may not have."""
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
        yield from (name for name in names if name.partition(".")[0] in BANNED_MODULES)
    elif isinstance(node, ast.ImportFrom) and node.module is not None:
        module = node.module.partition(".")[0]
        if module in BANNED_MODULES:
            taken = [(node.module, alias.name) for alias in node.names]
            yield from (".".join(pair) for pair in taken if pair not in ALLOWED_NAMES)


def impurities(tree: ast.Module) -> Iterator[Finding]:
    """Everything in a module that a pure, synchronous module does not have."""
    for node in ast.walk(tree):
        match node:
            case ast.Import() | ast.ImportFrom():
                for name in banned_imports(node):
                    yield node.lineno, f"imports {name}"
            case ast.AsyncFunctionDef(lineno=line) | ast.Await(lineno=line):
                yield line, "is asynchronous"
            case ast.Global(names=names):
                yield node.lineno, f"changes the global {', '.join(names)}"
            case ast.Call(func=ast.Name(id=name)) if name in BANNED_CALLS:
                yield node.lineno, f"calls {name}()"
            case ast.Call(func=ast.Attribute(attr=name)) if name in BANNED_METHODS:
                yield node.lineno, f"calls .{name}()"


def imported_names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Every name that a module imports, in full, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def imports_beyond(tree: ast.Module, allowed: set[str]) -> Iterator[Finding]:
    """Imports from the package that leave the parts of it that are allowed."""
    for line, name in imported_names(tree):
        top, part, *_ = [*name.split("."), ""]
        if top == "flowcraft" and part not in allowed:
            yield line, f"imports {name}"


def report(path: Path, findings: Iterator[Finding]) -> list[str]:
    """Findings as an editor opens them."""
    return [f"{place(path, line)} {what}" for line, what in findings]


def test_the_core_is_pure() -> None:
    """No module of the core waits, reads a clock, meets chance or touches the outside."""
    modules = python_files(CORE)
    assert modules, "the core has no modules: was it moved?"
    found = [text for path in modules for text in report(path, impurities(tree_of(path)))]
    assert not found, "\n".join(found)


def test_the_core_knows_only_itself_and_the_errors() -> None:
    """The core imports nothing of the package but the core and the errors."""
    found = [
        text
        for path in python_files(CORE)
        for text in report(path, imports_beyond(tree_of(path), {"core", "errors"}))
    ]
    assert not found, "\n".join(found)


def test_the_errors_know_nobody() -> None:
    """The errors import nothing of the package, so that everybody may import them."""
    path = PACKAGE / "errors.py"
    found = report(path, imports_beyond(tree_of(path), set()))
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("source", "finding"),
    [
        ("import time", "imports time"),
        ("import os.path as p", "imports os.path"),
        ("from asyncio import sleep", "imports asyncio.sleep"),
        ("from uuid import UUID, uuid4", "imports uuid.uuid4"),
        ("async def f(): pass", "is asynchronous"),
        ("def f():\n    global x\n    x = 1", "changes the global x"),
        ("print('x')", "calls print()"),
        ("moment = datetime.now()", "calls .now()"),
    ],
)
def test_the_scan_finds(source: str, finding: str) -> None:
    """The scan is able to fail: it reports each kind of impurity."""
    assert [what for _, what in impurities(ast.parse(source))] == [finding]


@pytest.mark.parametrize(
    "source", ["import flowcraft", "from flowcraft import run", "import flowcraft.engine.worker"]
)
def test_the_scan_finds_imports_from_above(source: str) -> None:
    """The facade and the layers above are found, however they are imported."""
    assert len(list(imports_beyond(ast.parse(source), {"core"}))) == 1
    assert list(imports_beyond(ast.parse("from flowcraft.core import plan"), {"core"})) == []


@pytest.mark.parametrize(
    "source",
    [
        "import timeit_of_ours",
        "from uuid import UUID",
        "from datetime import datetime",
        "def f(x):\n    def g():\n        nonlocal x\n        x = 1",
    ],
)
def test_the_scan_leaves_alone(source: str) -> None:
    """What only looks like an impurity is none."""
    assert list(impurities(ast.parse(source))) == []
