"""Runs the Python blocks of one page: ``python -m tests.docs.run_page README.md``.

A process of its own keeps pages apart and shows what a reader would get. Tracebacks point at
the lines of the page. Ends with status 1 at the first block that fails or prints something
other than what the page says.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import io
import sys
import types
from pathlib import Path

from tests.docs.pages import Block, blocks_of


class OutputDiffers(Exception):
    """A block printed something other than the page says."""


def compiled(block: Block, page: str) -> types.CodeType:
    """The block as code whose line numbers are those of the page."""
    padded = "\n" * (block.line - 1) + block.text
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    code = compile(padded, page, "exec", flags=flags, dont_inherit=True)
    assert isinstance(code, types.CodeType)
    return code


def run_block(code: types.CodeType, namespace: dict[str, object], runner: asyncio.Runner) -> str:
    """Runs the code and returns what it printed."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        if code.co_flags & inspect.CO_COROUTINE:
            runner.run(types.FunctionType(code, namespace)())
        else:
            types.FunctionType(code, namespace)()
    return printed.getvalue()


def run_page(page: Path) -> int:
    """Runs the page's blocks in order and returns how many ran.

    Raises:
        OutputDiffers: A block's output is not the one the page shows.
    """
    # A real module, so that dataclasses and annotations find the names of the page.
    module = types.ModuleType("page")
    sys.modules["page"] = module
    ran = 0
    with asyncio.Runner() as runner:
        for block in blocks_of(page.read_text(encoding="utf-8")):
            if block.language != "python":
                continue
            code = compiled(block, str(page))
            if not block.runs:
                continue
            printed = run_block(code, module.__dict__, runner)
            ran += 1
            if block.expected is not None and printed != block.expected:
                raise OutputDiffers(
                    f"{page.name}, line {block.line}: the page says\n{block.expected}"
                    f"but the block prints\n{printed}"
                )
    return ran


if __name__ == "__main__":
    run_page(Path(sys.argv[1]))
