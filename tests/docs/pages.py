"""What a page of documentation shows, taken apart so that it can be run.

The rules, for whoever writes a page:

- The ``python`` blocks of a page run in one namespace, in order, each page in a process and an
  empty directory of its own. ``await`` may stand at the top of a block.
- A ``bash`` block with a here-document (``<<``) is something to paste into a shell, and is run.
  Of every other ``bash`` block only the ``make`` lines are looked at: their targets must exist.
- A ``text`` block right behind a block is what that block prints.
- ``<!-- no-run -->`` on the line before a ``python`` block: it is compiled and not run.
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from itertools import count
from pathlib import Path

_FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>`{3,})(?P<language>[\w+-]*)[^`]*$")
_NO_RUN = "<!-- no-run -->"
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_LINK_TEXT = re.compile(r"\[([^\]]*)\]\([^)]*\)")
_HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)
_FENCED = re.compile(r"^ *(`{3,}).*?^ *\1", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"(?<!`)`([\w.-]+(?:/[\w.-]+)*\.(?:py|md|toml|txt|json))`(?!`)")
_MAKE = re.compile(r"^(?:\$ )?make((?: [\w.=/-]+)*)", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """One fenced block.

    ``line`` is the number of the block's first line of text in its page, counted from 1;
    ``expected`` is the text that the block prints, None where the page does not say.
    """

    language: str
    text: str
    line: int
    runs: bool
    expected: str | None = None

    @property
    def pastes_into_a_shell(self) -> bool:
        """Whether this is a shell block that holds all it needs."""
        return self.language in {"bash", "console"} and "<<" in self.text


def blocks_of(page: str) -> list[Block]:
    """The fenced blocks of a page, each with what it is said to print.

    Raises:
        ValueError: A block is never closed.
    """
    lines = page.splitlines()
    found: list[tuple[Block, int]] = []
    at = 0
    while at < len(lines):
        fence = _FENCE.match(lines[at])
        if fence is None:
            at += 1
            continue
        end = _closing(lines, at, fence["ticks"])
        text = textwrap.dedent("\n".join(lines[at + 1 : end])) + "\n"
        runs = not (at > 0 and lines[at - 1].strip() == _NO_RUN)
        found.append((Block(fence["language"], text, at + 2, runs), end))
        at = end + 1
    return _with_expectations(found, lines)


def _closing(lines: list[str], start: int, ticks: str) -> int:
    for at in range(start + 1, len(lines)):
        if lines[at].strip() == ticks:
            return at
    raise ValueError(f"the block that begins in line {start + 1} is never closed")


def _with_expectations(found: list[tuple[Block, int]], lines: list[str]) -> list[Block]:
    blocks = []
    for number, (block, end) in enumerate(found):
        expected = None
        if number + 1 < len(found):
            after = found[number + 1][0]
            between = lines[end + 1 : after.line - 2]
            if after.language == "text" and not any(line.strip() for line in between):
                expected = after.text
        blocks.append(Block(block.language, block.text, block.line, block.runs, expected))
    return blocks


def make_targets_in(block: Block) -> list[str]:
    """The targets that the block's `make` lines name, assignments left out."""
    words = [word for match in _MAKE.finditer(block.text) for word in match[1].split()]
    return [word for word in words if "=" not in word and not word.startswith("-")]


def make_targets_of(makefile: str) -> set[str]:
    """The targets that a Makefile defines by name."""
    return set(re.findall(r"^([a-z][\w-]*):(?!=)", makefile, re.MULTILINE))


def broken_links(page: Path) -> list[str]:
    """The links of a page to files, or to headings of pages, that are not there."""
    targets = _LINK.findall(page.read_text(encoding="utf-8"))
    local = [target for target in targets if "://" not in target]
    return [t for t in local if not t.startswith("mailto:") and not _leads_somewhere(page, t)]


def _leads_somewhere(page: Path, target: str) -> bool:
    file, _, heading = target.partition("#")
    other = page.parent / file if file else page
    if not other.exists():
        return False
    return not heading or other.suffix != ".md" or heading in headings_of(other)


def headings_of(page: Path) -> set[str]:
    """What links to the headings of a page end in, as GitHub makes it."""
    text = _FENCED.sub("", page.read_text(encoding="utf-8"))
    found: set[str] = set()
    for title in _HEADING.findall(text):
        shown = _LINK_TEXT.sub(r"\1", title.strip()).lower()
        name = re.sub(r"[^\w\- ]", "", shown).replace(" ", "-")
        number = next(n for n in count() if (f"{name}-{n}" if n else name) not in found)
        found.add(f"{name}-{number}" if number else name)
    return found


def missing_files(page: Path, tops: list[Path]) -> list[str]:
    """The files that a page names in code quotes and that are below none of the directories."""
    named = sorted(set(_FILE.findall(page.read_text(encoding="utf-8"))))
    return [name for name in named if not any((top / name).exists() for top in tops)]
