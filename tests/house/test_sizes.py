"""Functions and modules stay small; `pytest -s tests/house/test_sizes.py` prints the table.

A function's size is its lines of code: from `def` to its end, without decorators, docstring,
comments and blank lines, nested functions included. Bodies of a lone `...` or docstring
(protocol methods, overloads) are no functions for this count; they would only lower the median.
A module's size is all of its lines.
"""

from __future__ import annotations

import ast
import io
import math
import statistics
import textwrap
import tokenize
from dataclasses import dataclass
from pathlib import Path

from tests.house.source import place, python_files, tree_of

FUNCTION_MEDIAN = 10
FUNCTION_P90 = 35
FUNCTION_MAX = 70
MODULE_USUAL = 400
MODULE_MAX = 600
SHARE_OVER_USUAL = 0.10

_NO_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}

AnyFunction = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Size:
    """How long something is, and where it stands."""

    lines: int
    where: str


def code_lines(source: str) -> set[int]:
    """The numbers of the lines that hold code, every line of a long string among them."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in _NO_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    return lines


def docstring_of(function: AnyFunction) -> ast.stmt | None:
    """The statement that is the function's docstring."""
    first = function.body[0]
    return first if ast.get_docstring(function, clean=False) is not None else None


def is_declaration(function: AnyFunction) -> bool:
    """Whether the body says nothing beyond a docstring and `...`."""
    return all(
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        for statement in function.body
    )


def function_sizes(source: str, tree: ast.Module, path: str) -> list[Size]:
    """The size of every function and method of a module."""
    code = code_lines(source)
    sizes = []
    for node in ast.walk(tree):
        if not isinstance(node, AnyFunction) or is_declaration(node):
            continue
        span = set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
        doc = docstring_of(node)
        if doc is not None:
            span -= set(range(doc.lineno, (doc.end_lineno or doc.lineno) + 1))
        sizes.append(Size(len(span & code), f"{path}:{node.lineno} {node.name}"))
    return sizes


def all_functions() -> list[Size]:
    """Every function of the package."""
    return [
        size
        for path in python_files()
        for size in function_sizes(path.read_text(encoding="utf-8"), tree_of(path), place(path))
    ]


def all_modules() -> list[Size]:
    """Every module of the package."""
    return [Size(_line_count(path), place(path)) for path in python_files()]


def _line_count(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def percentile(values: list[int], share: float) -> int:
    """The smallest value that at least this share of the values does not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def listed(sizes: list[Size]) -> str:
    """Sizes, largest first, one a line."""
    ordered = sorted(sizes, key=lambda size: -size.lines)
    return "\n".join(f"  {size.lines:4} {size.where}" for size in ordered)


def table(functions: list[Size], modules: list[Size]) -> str:
    """The measures beside their bounds, and the largest of each kind."""
    lines = [size.lines for size in functions]
    largest = sorted(functions, key=lambda size: -size.lines)[:5]
    longest = sorted(modules, key=lambda size: -size.lines)[:5]
    return "\n".join(
        [
            f"functions {len(functions)}, modules {len(modules)}",
            f"  function median {statistics.median(lines):g} (bound {FUNCTION_MEDIAN})",
            f"  function p90    {percentile(lines, 0.9)} (bound {FUNCTION_P90})",
            f"  function max    {max(lines)} (bound {FUNCTION_MAX})",
            f"  module max      {longest[0].lines} (bound {MODULE_MAX})",
            "largest functions",
            listed(largest),
            "longest modules",
            listed(longest),
        ]
    )


def test_functions_are_short() -> None:
    """Median, ninetieth percentile and maximum of the functions keep to their bounds."""
    functions, modules = all_functions(), all_modules()
    measured = table(functions, modules)
    print("\n" + measured)
    lines = [size.lines for size in functions]
    assert statistics.median(lines) <= FUNCTION_MEDIAN, measured
    assert percentile(lines, 0.9) <= FUNCTION_P90, measured
    too_long = [size for size in functions if size.lines > FUNCTION_MAX]
    assert not too_long, f"functions over {FUNCTION_MAX} lines of code:\n{listed(too_long)}"


def test_modules_are_short() -> None:
    """No module is over the maximum, and few are over the usual length."""
    modules = all_modules()
    too_long = [size for size in modules if size.lines > MODULE_MAX]
    assert not too_long, f"modules over {MODULE_MAX} lines:\n{listed(too_long)}"
    long = [size for size in modules if size.lines > MODULE_USUAL]
    allowed = math.ceil(SHARE_OVER_USUAL * len(modules))
    assert len(long) <= allowed, (
        f"{len(long)} of {len(modules)} modules are over {MODULE_USUAL} lines, "
        f"{allowed} may be:\n{listed(long)}"
    )


def test_the_measure_counts_code_and_nothing_else() -> None:
    """Docstrings, comments, blank lines and bare declarations do not count, strings do."""
    source = textwrap.dedent(
        '''
        @decorator
        def one(a):
            """Text

            of three lines."""
            # why

            text = """
            two
            """
            return text

        class P:
            def declared(self) -> int: ...
            async def described(self) -> int:
                """Says what."""
        '''
    )
    (size,) = function_sizes(source, ast.parse(source), "sample.py")
    assert size == Size(lines=5, where="sample.py:3 one")


def test_the_percentile_is_a_value_that_occurs() -> None:
    """The percentile is the nearest rank, for one value and for ten."""
    assert percentile([7], 0.9) == 7
    assert percentile(list(range(1, 11)), 0.9) == 9
