"""Everything the README and the docs show is run; tests/docs/pages.py has the rules."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import (
    Block,
    blocks_of,
    broken_links,
    make_targets_in,
    make_targets_of,
    missing_files,
)
from tests.house.source import PACKAGE, ROOT

PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
SECONDS = 60


class CommandFailed(Exception):
    """A command ended with an error; the text is what it said."""


def name_of(page: Path) -> str:
    """The page's path in the repository."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, *languages: str) -> list[Block]:
    """The page's blocks in one of the languages."""
    return [b for b in blocks_of(page.read_text(encoding="utf-8")) if b.language in languages]


def with_python(pages: list[Path]) -> list[Path]:
    """The pages that hold Python blocks."""
    return [page for page in pages if blocks(page, "python")]


def pasted(pages: list[Path]) -> list[tuple[Path, Block]]:
    """The shell blocks that hold all they need, with their pages."""
    shell = [(page, block) for page in pages for block in blocks(page, "bash", "console")]
    return [(page, block) for page, block in shell if block.runs and block.pastes_into_a_shell]


def environment() -> dict[str, str]:
    """The environment of a reader who has activated the virtual environment."""
    here = str(Path(sys.executable).parent)
    return {
        **os.environ,
        "PATH": here + os.pathsep + os.environ.get("PATH", ""),
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]),
        "PYTHONWARNINGS": "error",
        "PYTHONIOENCODING": "utf-8",
    }


def run(command: list[str], directory: Path) -> str:
    """Runs a command and returns its output.

    Raises:
        CommandFailed: The command ended with an error.
    """
    done = subprocess.run(
        command,
        cwd=directory,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    if done.returncode != 0:
        raise CommandFailed(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout


def run_page(page: Path, directory: Path) -> str:
    """Runs the Python blocks of a page in a process of their own."""
    return run([sys.executable, "-m", "tests.docs.run_page", str(page)], directory)


@pytest.mark.parametrize("page", with_python(PAGES), ids=name_of)
def test_python_blocks_do_what_the_page_says(page: Path, tmp_path: Path) -> None:
    """The Python blocks of a page run in order and print what the page says they print."""
    run_page(page, tmp_path)


@pytest.mark.parametrize(
    ("page", "block"), [pytest.param(p, b, id=f"{name_of(p)}:{b.line}") for p, b in pasted(PAGES)]
)
def test_what_pastes_into_a_shell_runs(page: Path, block: Block, tmp_path: Path) -> None:
    """A block to paste into a shell runs there and prints what the page says it prints."""
    printed = run(["bash", "-euo", "pipefail", "-c", block.text], tmp_path)
    if block.expected is not None:
        assert printed == block.expected, f"{name_of(page)}, line {block.line}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_make_targets_named_on_a_page_exist(page: Path) -> None:
    """Every `make` target that a page tells the reader to run is in the Makefile."""
    defined = make_targets_of((ROOT / "Makefile").read_text(encoding="utf-8"))
    named = [target for b in blocks(page, "bash", "console") for target in make_targets_in(b)]
    assert [target for target in named if target not in defined] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_files_that_exist(page: Path) -> None:
    """Every link from a page to another file of the repository, or to a heading, leads there."""
    assert broken_links(page) == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_files_named_on_a_page_exist(page: Path) -> None:
    """Every file that a page names, from the repository or the package down, is there."""
    assert missing_files(page, [ROOT, PACKAGE]) == []


def test_the_readme_names_the_two_commands() -> None:
    """The README tells how to see it work and how to test it."""
    named = [t for b in blocks(ROOT / "README.md", "bash") for t in make_targets_in(b)]
    assert {"demo", "test"} <= set(named)


SAMPLE = """\
# A page

```python
x = 20
print(x + 1)
```

```text
21
```

Words in between.

- in a list

  ```python
  import asyncio
  await asyncio.sleep(0)
  print(x)
  ```

<!-- no-run -->
```python
raise SystemExit("not run")
```

```bash
make test PYTEST_ARGS=-x
make demo
```

```bash
python - <<'END'
print("pasted")
END
```

```text
pasted
```
"""


def test_a_page_is_taken_apart() -> None:
    """Language, place, dedented text, the expected output and the no-run mark are all read."""
    first, _, listed, unrun, commands, shell, _ = blocks_of(SAMPLE)
    assert (first.language, first.line, first.expected) == ("python", 4, "21\n")
    assert listed.text.startswith("import asyncio\n")
    assert (listed.expected, listed.runs, unrun.runs) == (None, True, False)
    assert make_targets_in(commands) == ["test", "demo"]
    assert (commands.pastes_into_a_shell, shell.pastes_into_a_shell) == (False, True)
    assert shell.expected == "pasted\n"


def test_a_page_that_is_right_passes(tmp_path: Path) -> None:
    """Blocks share their names, may await at the top, and those marked no-run do not run."""
    page = tmp_path / "page.md"
    page.write_text(SAMPLE, encoding="utf-8")
    run_page(page, tmp_path)


@pytest.mark.parametrize(
    ("wrong", "right", "said"),
    [
        ("22\n", "21\n", "prints\n21"),
        ("print(y)", "print(x)", "line 19"),
        ("raise 'x", 'raise SystemExit("not run")', "SyntaxError"),
    ],
)
def test_a_page_that_is_wrong_fails(tmp_path: Path, wrong: str, right: str, said: str) -> None:
    """Wrong output, a failing block and a block that does not compile each fail the page."""
    page = tmp_path / "page.md"
    page.write_text(SAMPLE.replace(right, wrong), encoding="utf-8")
    with pytest.raises(CommandFailed) as failure:
        run_page(page, tmp_path)
    assert said in str(failure.value)


def test_what_a_page_names_and_is_not_there_is_found(tmp_path: Path) -> None:
    """A link to a missing file or heading and the name of a missing file are reported."""
    page = tmp_path / "page.md"
    text = "# `S3`: the [top](x.md)\n# Twice\n# Twice\n```bash\n# no heading\n```\n"
    links = ["page.md", "#s3-the-top", "page.md#twice-1", "#no-heading", "#twice-2", "gone.md"]
    text += " ".join(f"[a]({link})" for link in links) + " `page.md` `a/gone.py`"
    page.write_text(text, encoding="utf-8")
    assert broken_links(page) == ["x.md", "#no-heading", "#twice-2", "gone.md"]
    assert missing_files(page, [tmp_path]) == ["a/gone.py"]


def test_an_open_block_is_refused() -> None:
    """A block that is never closed is an error that names its line."""
    with pytest.raises(ValueError, match="line 3 is never closed"):
        blocks_of("text\n\n```python\nx = 1\n")
