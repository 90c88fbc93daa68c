"""The repository is tidy: nothing of one machine in it, everything described, names pinned."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import flowcraft
from tests.house.source import PACKAGE, ROOT, place, python_files, repository_files, tree_of

# The public names. Adding one is a decision, removing one breaks somebody: do it here, too.
PUBLIC_NAMES = [
    "AsyncContext",
    "BlobReference",
    "Awaiting",
    "BlueprintAnalysis",
    "BlueprintError",
    "CancelToken",
    "EdgeDefinition",
    "ErrorInfo",
    "Evaluator",
    "ExpressionError",
    "FlowBuilder",
    "FlowEvent",
    "FlowRuntime",
    "FlowcraftError",
    "ImplementationMissing",
    "InputError",
    "InvalidRunState",
    "JsonSerializer",
    "Limit",
    "Links",
    "LintIssue",
    "LintResult",
    "Middleware",
    "Node",
    "NodeConfig",
    "NodeContext",
    "NodeDefinition",
    "NodeResult",
    "NodeTimeout",
    "Problem",
    "PropertyEvaluator",
    "Registry",
    "RetryPolicy",
    "RunCancelled",
    "RunFailed",
    "RunResult",
    "RunStatus",
    "RuntimeOptions",
    "SafeEvaluator",
    "SerializationError",
    "Serializer",
    "SyncNodeContext",
    "WorkflowBlueprint",
    "analyze_blueprint",
    "create_flow",
    "generate_mermaid",
    "lint_blueprint",
    "node",
]

# Put together from parts, so that this file does not hold what it looks for.
_ROOTS = "|".join(["home", "root", "work", "farm", "Users"])
MACHINE_PATH = re.compile(rf"(?<![\w.~/)}}\]]){'/'}(?:{_ROOTS}){'/'}\w")
DOWNLOAD_ADDRESS = re.compile(
    "|".join(
        [
            "pypi" + r"\.org/simple",
            "files" + r"\.pythonhosted",
            "index" + "-url",
            "--find" + "-links",
        ]
    )
)

PYTHON_DIRECTORIES = [ROOT / name for name in ("src", "tests", "benchmarks", "examples")]


def text_lines() -> Iterator[tuple[Path, int, str]]:
    """Every line of every text file, with its file and number."""
    for path in repository_files():
        data = path.read_bytes()
        if b"\0" in data:
            continue
        for number, line in enumerate(data.decode("utf-8").splitlines(), start=1):
            yield path, number, line


def lines_with(pattern: re.Pattern[str]) -> list[str]:
    """The places that match."""
    return [
        f"{place(path, number)} {line.strip()[:120]}"
        for path, number, line in text_lines()
        if pattern.search(line)
    ]


def test_no_path_of_a_machine() -> None:
    """No file names a directory that exists on one machine only."""
    found = lines_with(MACHINE_PATH)
    assert not found, "\n".join(found)


def test_no_download_address() -> None:
    """No file says where packages are downloaded from: that is for each installation to say."""
    found = lines_with(DOWNLOAD_ADDRESS)
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("line", "is_found"),
    [
        ("open('" + "/home" + "/ann/data.json')", True),
        ("cd " + "/work" + "/main", True),
        ("https://example.org" + "/home" + "/page", False),
        ("src" + "/work" + "/flow", False),
        ("${BASE}" + "/root" + "/x", False),
    ],
)
def test_the_search_for_paths_is_able_to_fail(line: str, is_found: bool) -> None:
    """A path from the top of the file system is found, a path below something is not."""
    assert bool(MACHINE_PATH.search(line)) is is_found


def test_every_module_says_what_it_is() -> None:
    """Every module has a docstring; only an empty `__init__.py` outside the package has none."""
    missing = [
        place(path)
        for path in python_files(*PYTHON_DIRECTORIES)
        if ast.get_docstring(tree_of(path)) is None
        and (tree_of(path).body or PACKAGE in path.parents)
    ]
    assert not missing, "\n".join(missing)


def test_every_directory_of_the_package_is_a_package() -> None:
    """Every directory with modules has an `__init__.py`: import-linter overlooks one without."""
    missing = {
        place(path.parent) for path in python_files() if not (path.parent / "__init__.py").exists()
    }
    assert not missing, "\n".join(sorted(missing))


def test_every_test_says_what_it_shows() -> None:
    """Every test has a docstring of its own that says what it shows."""
    missing = [
        f"{place(path, node.lineno)} {node.name}"
        for path in python_files(ROOT / "tests")
        if path.name.startswith("test_")
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if node.name.startswith("test_") and ast.get_docstring(node) is None
    ]
    assert not missing, "\n".join(missing)


def test_the_public_names_are_pinned() -> None:
    """`flowcraft.__all__` is the list above, in order, and each name is there and described."""
    assert sorted(flowcraft.__all__) == sorted(PUBLIC_NAMES)
    for name in flowcraft.__all__:
        assert hasattr(flowcraft, name), f"flowcraft.{name} is announced and missing"


def test_the_package_is_the_one_in_this_tree() -> None:
    """The tests run against the sources beside them, not against another installed copy."""
    assert flowcraft.__file__ is not None
    assert Path(flowcraft.__file__).resolve() == PACKAGE / "__init__.py"


def test_the_types_are_announced() -> None:
    """The package carries the marker that tells type checkers to use its annotations."""
    assert (PACKAGE / "py.typed").exists()


def test_every_development_tool_is_pinned() -> None:
    """The constraints are plain exact pins and hold every development dependency."""
    lines = (ROOT / "constraints-dev.txt").read_text(encoding="utf-8").splitlines()
    pins = {}
    for line in lines:
        match = re.fullmatch(r"([A-Za-z0-9._-]+)==([0-9][A-Za-z0-9.]*)", line)
        assert match, f"not a plain pin: {line!r}"
        pins[normal(match[1])] = match[2]
    names = {normal(requirement) for requirement in project().optional["dev"]}
    assert names <= set(pins), f"not pinned: {sorted(names - set(pins))}"
    assert "pip" not in pins


def test_the_package_needs_no_other() -> None:
    """The package installs alone; what it can use beyond that is an extra (decision 0001)."""
    assert project().required == []


@dataclass(frozen=True)
class Requirements:
    """What pyproject.toml asks for."""

    required: list[str]
    optional: dict[str, list[str]]


def project() -> Requirements:
    """The requirements as they stand in pyproject.toml."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return Requirements(table["dependencies"], table["optional-dependencies"])


def normal(requirement: str) -> str:
    """The name in a requirement, in the one spelling that compares equal."""
    name = re.split(r"[<>=!~\[; ]", requirement, maxsplit=1)[0]
    return re.sub(r"[-_.]+", "-", name).lower()
