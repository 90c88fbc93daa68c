"""The files of the dashboard: no way in which data could be run, nothing from outside."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.house.source import PACKAGE

STATIC = PACKAGE / "web" / "static"
SCRIPTS = sorted(STATIC.glob("*.js"))
LONGEST = 400
"""Lines of a module."""

DANGEROUS = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|createContextualFragment|DOMParser"
    r"|setHTML|srcdoc|\beval\b|\bFunction\(|javascript:|setTimeout\(['\"`]|\.on[a-z]+\s*="
    r"|cssText|setAttribute\(\s*['\"](?:style|on)"
)
"""What would carry out a text, or get round the policy for scripts and styles."""

OUTSIDE = re.compile(r"(?:https?:)?//(?!www\.w3\.org/2000/svg)[\w-]+\.[\w.-]+")
INLINE = re.compile(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=")
IMPORT = re.compile(r"^import (?:\{([^}]+)\} from )?\"\./([\w.-]+)\";$", re.MULTILINE)
EXPORT = re.compile(r"^export (?:async )?(?:function|class|const|let) (\w+)", re.MULTILINE)


def dangers(text: str) -> list[str]:
    """What is dangerous in a script."""
    code = re.sub(r"^\s*(//|\*|/\*).*$", "", text, flags=re.MULTILINE)
    return DANGEROUS.findall(code)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_data_becomes_text_only(path: Path) -> None:
    """No script of the dashboard has a way in which data could become markup or code."""
    assert dangers(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "line",
    [
        "box.innerHTML = run.title;",
        "el.insertAdjacentHTML('beforeend', text)",
        "eval(text)",
        "new Function(text)()",
        "button.onclick = text;",
        "el.setAttribute('style', text)",
    ],
)
def test_the_search_for_dangers_is_able_to_fail(line: str) -> None:
    """Each way in which data could become markup or code is found."""
    assert dangers(f"const a = 1;\n  {line}\n") != []


def test_nothing_is_from_outside_or_inline() -> None:
    """Pages load nothing of other sites, and hold neither scripts nor styles themselves."""
    for path in sorted(STATIC.iterdir()):
        assert OUTSIDE.findall(path.read_text(encoding="utf-8")) == [], path.name
    for path in STATIC.glob("*.html"):
        assert INLINE.findall(path.read_text(encoding="utf-8")) == [], path.name


def test_every_import_is_there_and_used() -> None:
    """Each name that a module imports is exported there, and used; each export has a use."""
    texts = {path.name: path.read_text(encoding="utf-8") for path in SCRIPTS}
    exported = {name: set(EXPORT.findall(text)) for name, text in texts.items()}
    imported: dict[str, set[str]] = {name: set() for name in texts}
    for name, text in texts.items():
        rest = IMPORT.sub("", text)
        for names, source in IMPORT.findall(text):
            for each in (one.strip() for one in names.split(",")):
                assert each in exported[source], f"{name}: {each} of {source}"
                assert re.search(rf"\b{each}\b", rest), f"{name} does not use {each}"
                imported[source].add(each)
    for name, names in exported.items():
        own = {each for each in names if len(re.findall(rf"\b{each}\b", texts[name])) > 1}
        assert names <= imported[name] | own, f"{name} exports what nobody uses"


def test_modules_are_small_and_say_what_they_are() -> None:
    """Scripts begin with a comment, and none has more lines than one wants to read."""
    for path in SCRIPTS:
        lines = path.read_text(encoding="utf-8").splitlines()
        assert lines[0].startswith("// "), path.name
        assert len(lines) <= LONGEST, path.name


def test_every_sign_and_class_of_state_is_there() -> None:
    """Each sign that scripts name is drawn, and each tone has its colours."""
    signs = set(
        re.findall(r"^  (\w+): \"M", (STATIC / "icons.js").read_text("utf-8"), re.MULTILINE)
    )
    for path in SCRIPTS:
        named = re.findall(r"\bicon\(\"(\w+)\"", path.read_text(encoding="utf-8"))
        assert set(named) <= signs, path.name
    looks = re.findall(
        r"\[\"[\w ]+\", \"(\w+)\", \"(\w+)\"\]", (STATIC / "status.js").read_text("utf-8")
    )
    tones = set(
        re.findall(r"^\.tone-(\w+)", (STATIC / "theme.css").read_text("utf-8"), re.MULTILINE)
    )
    assert len(looks) > 10
    assert {sign for sign, _ in looks} <= signs
    assert {tone for _, tone in looks} <= tones


COLOUR = re.compile(r"--([\w-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\)")
GROUNDS = ("paper", "panel", "raised", "sunken", "hover", "chosen")
LEAST_CONTRAST = 4.5
"""What WCAG 2.2 asks for of text, at level AA (1.4.3)."""


def brightness(colour: str) -> float:
    """How bright a colour is, from 0 to 1, as WCAG reckons it."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """The contrast of two colours, from 1 to 21."""
    dark, bright = sorted((brightness(one), brightness(other)))
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_has_contrast_on_every_ground(theme: str) -> None:
    """Whatever text stands on whatever ground, it can be read, in light and in dark."""
    place = 0 if theme == "light" else 1
    found = COLOUR.findall((STATIC / "theme.css").read_text("utf-8"))
    colours = {name: both[place] for name, *both in found}
    washes = {name for name in colours if name.endswith("-wash")}
    pairs = [(text, ground) for text in ("ink", "soft", "faint") for ground in GROUNDS]
    pairs += [(text, ground) for text in ("ink", "soft", "faint") for ground in washes]
    pairs += [(ground.removesuffix("-wash"), ground) for ground in washes]
    pairs += [(tone.removesuffix("-wash"), "panel") for tone in washes]
    pairs += [(name, "sunken") for name in colours if name.startswith("code-")]
    pairs += [("accent", "panel"), ("accent-strong", "chosen"), ("on-accent", "accent")]
    assert len(washes) >= 7
    low = {pair: contrast(colours[pair[0]], colours[pair[1]]) for pair in pairs}
    assert {pair: found for pair, found in low.items() if found < LEAST_CONTRAST} == {}
