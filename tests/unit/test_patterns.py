"""Patterns that are matched in bounded time: the same texts as everywhere, and no surprises."""

from __future__ import annotations

import random
import re

import pytest

from flowcraft.core.patterns import Pattern, PatternError

ATOMS = ["a", "b", "[ab]", "[^a]", ".", r"\d", r"\w", "(a|b)", "(?:ab|c)", "(?<n>a)", "[a-c1]"]
PLACES = ["^", "$", r"\b"]
REPEATS = ["", "", "*", "+", "?", "{2}", "{1,3}", "{1,}", "{0,2}?", "*?", "+?"]


def drawn(chance: random.Random) -> str:
    """A pattern that is drawn by lot."""
    parts = []
    for _ in range(chance.randint(1, 6)):
        is_place = chance.random() < 0.2
        parts.append(chance.choice(PLACES) if is_place else chance.choice(ATOMS))
        if not is_place:
            parts[-1] += chance.choice(REPEATS)
    text = "".join(parts)
    return f"{text}|{chance.choice(ATOMS)}" if chance.random() < 0.2 else text


def test_patterns_find_what_python_finds() -> None:
    """For thousands of patterns and texts the answer is that of the standard library."""
    chance = random.Random(7)
    for _ in range(3_000):
        text = drawn(chance)
        pattern = Pattern(text)
        theirs = re.compile(text.replace("$", r"\Z").replace("(?<n>", "(?:"))
        for _ in range(3):
            subject = "".join(chance.choice("abc 1\n") for _ in range(chance.randint(0, 9)))
            assert pattern.search(subject) == bool(theirs.search(subject)), (text, subject)


@pytest.mark.parametrize(
    ("text", "fitting", "failing"),
    [
        (r"^[A-Z]{2}-\d{4}$", ["AB-1234"], ["AB-123", "xAB-1234", "AB-12345", "AB-1234\n"]),
        (r"^\u0041\x42\t$", ["AB\t"], ["AB"]),
        (r"^\uD83D\uDE00$", ["\N{GRINNING FACE}"], ["x"]),
        (r"^\u{1F600}$", ["\N{GRINNING FACE}"], ["x"]),
        (r"^\w+@\w+\.(com|org)$", ["ada@x.org"], ["ada@x.net", "ädä@x.org"]),
        (r"^[\]\-\\^]+$", ["]-\\^"], ["x"]),
        (r"^[\d\s]+$", ["1 2\u00a03"], ["1a"]),
        (r"[\b]", ["\b"], ["b"]),
        ("^.$", ["x"], ["\n", "\u2028", "xx"]),
        ("^[^]$", ["x", "\n"], [""]),
        ("[]", [], ["", "x"]),
        (r"^a\Bb", ["ab"], ["a b", "a"]),
        (r"\B", ["", "ab"], ["a"]),
        ("", ["", "x"], []),
        ("a||b", ["", "x"], []),
    ],
)
def test_patterns_are_those_of_json_schema(
    text: str, fitting: list[str], failing: list[str]
) -> None:
    """They are read as ECMA-262 has them: digits and words are ASCII, $ is the very end."""
    pattern = Pattern(text)
    assert [each for each in fitting if not pattern.search(each)] == []
    assert [each for each in failing if pattern.search(each)] == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(?=a)", "looking ahead or behind"),
        ("(?<!a)b", "looking ahead or behind"),
        (r"(a)\1", "not supported"),
        (r"\p{L}", "not supported"),
        (r"\q", "is no escape"),
        ("(a", "a group has no end"),
        ("a)", "closes nothing"),
        ("[a", "ends too early"),
        ("a\\", "ends too early"),
        ("*a", "repeats nothing"),
        ("a**", "repeats nothing"),
        ("^*", "cannot be repeated"),
        ("a{3,1}", "no number of repetitions"),
        ("a{x}", "a number of repetitions is wanted"),
        ("a{2", "has no end"),
        ("[z-a]", "goes the wrong way"),
        (r"\u12", "a hexadecimal number is wanted"),
        (r"\u{12", "a hexadecimal number is wanted"),
        ("(?<name", "has no end"),
        ("a{2000}", "no number of repetitions"),
        ("((a{30}){30}){30}", "at most 1000 steps"),
        ("((){999}){999}", "too large"),
        ("(" * 60 + ")" * 60, "more than 50 deep"),
        ("a" * 1_001, "at most 1000 characters"),
    ],
)
def test_what_cannot_be_matched_in_bounded_time_is_refused(text: str, message: str) -> None:
    """A pattern that is malformed, too large or too clever is refused, with the place in it."""
    with pytest.raises(PatternError, match=message):
        Pattern(text)


@pytest.mark.parametrize(
    "text", ["^(a+)+$", "^(a|a)*$", "^(a|aa)+$", "(.*)*x", "^(([a-z])+.)+[A-Z]([a-z])+$", "a*a*a*b"]
)
def test_spiteful_texts_cost_what_they_may(text: str) -> None:
    """Patterns that take others for ever are through after a bounded step for each character."""
    work: list[int] = []
    subject = "a" * 2_000 + "!"
    assert not Pattern(text).search(subject, work.append)
    assert sum(work) <= 10 * len(subject)
    assert max(work) <= 40


def work_for(text: str, subject: str) -> int:
    """How much work a search is said to take."""
    work: list[int] = []
    Pattern(text).search(subject, work.append)
    return sum(work)


@pytest.mark.parametrize(
    "text",
    [
        f"(?:{'|' * 900}b)*z",
        f"({'(?:^|' * 40}a{')' * 40}|b)*z",
        f"[{''.join(chr(0x30000 + 2 * each) for each in range(900))}]z",
    ],
    ids=["ways", "conditions", "ranges"],
)
def test_what_is_looked_for_anew_is_counted(text: str) -> None:
    """A text in which no character is there twice costs what looking for each of them takes."""
    others = "".join(chr(0x4E00 + each) for each in range(1_000))
    assert work_for(text, others) > 10 * len(others)
    assert work_for(text, "c" * 1_000) < 5 * 1_000


def test_a_beginning_is_looked_for_once() -> None:
    """Many short texts cost no more than one: where a pattern begins is remembered."""
    pattern = Pattern(f"(?:{'|' * 900}b)z")
    work: list[int] = []
    for _ in range(1_000):
        pattern.search("c", work.append)
    assert sum(work) < 10 * 1_000


def test_a_text_that_cannot_fit_any_more_costs_something() -> None:
    """Each character is read, also where there is no way left to go on."""
    assert work_for("^a", "b" * 1_000) >= 999


def test_work_can_be_broken_off() -> None:
    """Whoever counts the work may raise, and the search ends there."""

    def spend(_: int) -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        Pattern("x").search("a" * 10, spend)
