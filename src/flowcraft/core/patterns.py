r"""Regular expressions whose matching takes a time that is known beforehand.

The patterns of JSON Schema are matched against what anybody may send. A matcher that goes back and
tries again, as Python's does, takes years for some pairs of a harmless pattern and a spiteful text.
This one goes through the text once and follows all ways at the same time (Thompson, *Regular
Expression Search Algorithm*, 1968), so the work is at most characters times instructions.

What it reads is what JSON Schema recommends to write (Core, 6.4), in the sense of ECMA-262 with
the flag ``u``: characters and escapes, classes, ``^``, ``$``, ``\b``, groups, ``|``, ``*``, ``+``,
``?``, ``{n,m}``, lazy ones, too. Looking ahead and behind, references back and properties of
Unicode are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Final, NamedTuple

MAX_CHARACTERS: Final = 1_000
MAX_INSTRUCTIONS: Final = 1_000
"""Of a pattern; counted repetitions are written out."""

MAX_NESTING: Final = 50
MOST_WRITTEN: Final = 20_000
"""Parts that are written out; some come to no instruction."""

MOST_KEPT: Final = 20_000
"""How much of its way through texts a pattern remembers, in numbers."""

LOOKS_FOR_ONE: Final = 3
"""Where the way on is not remembered, it is looked for: so many instructions or ranges of
characters in the time that one way on takes otherwise."""

Range = tuple[int, int]


class PatternError(ValueError):
    """A pattern cannot be read; the message says where and why."""


class Signs(NamedTuple):
    """Which characters fit.

    Attributes:
        ranges: Their numbers, from and to.
        is_negated: Whether all others are meant.
    """

    ranges: tuple[Range, ...]
    is_negated: bool = False

    def fits(self, sign: int) -> bool:
        """Whether a character is one of them."""
        return any(low <= sign <= high for low, high in self.ranges) != self.is_negated


class Step(NamedTuple):
    """An instruction.

    Attributes:
        signs: What the next character has to be; ``None`` for a step that reads none.
        next: Where to go on.
        condition: What has to hold here: ``^``, ``$``, ``b`` or ``B``; nothing if empty.
    """

    signs: Signs | None
    next: tuple[int, ...]
    condition: str = ""


LAST: Final = 0x10FFFF
_DIGITS: Final = ((48, 57),)
_WORD: Final = ((48, 57), (65, 90), (95, 95), (97, 122))
_WORD_SIGNS: Final = frozenset(n for low, high in _WORD for n in range(low, high + 1))
_WORD_TEXTS: Final = frozenset(map(chr, _WORD_SIGNS))
_SPACE: Final = (
    (9, 13),
    (32, 32),
    (0xA0, 0xA0),
    (0x1680, 0x1680),
    (0x2000, 0x200A),
    (0x2028, 0x2029),
    (0x202F, 0x202F),
    (0x205F, 0x205F),
    (0x3000, 0x3000),
    (0xFEFF, 0xFEFF),
)
_LINE_ENDS: Final = ((10, 10), (13, 13), (0x2028, 0x2029))


def _others(ranges: Iterable[Range]) -> tuple[Range, ...]:
    """All characters but these, which are in order."""
    found: list[Range] = []
    begin = 0
    for low, high in ranges:
        if low > begin:
            found.append((begin, low - 1))
        begin = high + 1
    return (*found, (begin, LAST))


_CLASSES: Final = {
    "d": _DIGITS,
    "w": _WORD,
    "s": _SPACE,
    "D": _others(_DIGITS),
    "W": _others(_WORD),
    "S": _others(_SPACE),
}
_CONTROLS: Final = {"t": 9, "n": 10, "v": 11, "f": 12, "r": 13, "0": 0}
_SYNTAX: Final = frozenset("^$\\.*+?()[]{}|/-")


class Pattern:
    """A pattern that was read.

    Args:
        text: The pattern.

    Raises:
        PatternError: It cannot be read, or is too long.
    """

    def __init__(self, text: str) -> None:
        if len(text) > MAX_CHARACTERS:
            raise PatternError(
                f"a pattern has at most {MAX_CHARACTERS} characters, not {len(text)}"
            )
        reader = _Reader(text)
        self._steps, self._start = reader.program()
        self._begins: dict[_Place, _Set] = {}
        self._moves: dict[tuple[_Set, int, bool, bool], _Set] = {}
        self._kept = 0

    def search(self, text: str, spend: Callable[[int], None] | None = None) -> bool:
        """Whether the pattern fits anywhere in a text.

        Args:
            text: The text.
            spend: Is told how much work each character takes, and may raise.
        """
        spend = spend or _for_nothing
        last = len(text)
        here = self._begun(_Place(True, last == 0, False, text[:1] in _WORD_TEXTS), spend)
        for index, letter in enumerate(text, 1):
            if _ACCEPT in here:
                return True
            spend(len(here) or 1)
            is_end = index == last
            move = (here, ord(letter), is_end, not is_end and text[index] in _WORD_TEXTS)
            found = self._moves.get(move)
            here = self._moved(*move, spend) if found is None else found
        return _ACCEPT in here

    def _begun(self, place: _Place, spend: Callable[[int], None]) -> _Set:
        """The steps that are reached without reading a character; kept for the next time."""
        found = self._begins.get(place)
        if found is None:
            found = self._begins[place] = self._closure({self._start}, place, spend)
        return found

    def _moved(
        self,
        here: _Set,
        sign: int,
        is_end: bool,
        before_word: bool,
        spend: Callable[[int], None],
    ) -> _Set:
        """The steps that are reached from some by reading a character; kept for the next time."""
        after = {self._start}
        looked = 0
        for index in here:
            signs = self._steps[index].signs
            if signs is None:
                continue
            looked += len(signs.ranges)
            if signs.fits(sign):
                after.update(self._steps[index].next)
        spend(looked // LOOKS_FOR_ONE)
        found = self._closure(after, _Place(False, is_end, _is_word(sign), before_word), spend)
        if self._kept > MOST_KEPT:
            self._moves, self._kept = {}, 0
        self._moves[here, sign, is_end, before_word] = found
        self._kept += len(here) + len(found) + 10
        return found

    def _closure(self, begin: set[int], place: _Place, spend: Callable[[int], None]) -> _Set:
        """All steps that are reached from some without reading a character."""
        found: set[int] = set()
        todo = list(begin)
        looked = 0
        while todo:
            index = todo.pop()
            looked += 1
            if index in found:
                continue
            found.add(index)
            if index == _ACCEPT:
                continue
            step = self._steps[index]
            if step.signs is None and place.holds(step.condition):
                todo.extend(step.next)
        spend(looked // LOOKS_FOR_ONE)
        # Those that read nothing have done their part.
        return frozenset(i for i in found if i == _ACCEPT or self._steps[i].signs is not None)


def _for_nothing(_: int) -> None:
    """Nobody counts."""


@lru_cache(maxsize=256)
def pattern_of(text: str) -> Pattern:
    """A pattern, read once.

    Raises:
        PatternError: It cannot be read.
    """
    return Pattern(text)


_ACCEPT: Final = -1
_Set = frozenset[int]


class _Place(NamedTuple):
    """A place between two characters."""

    is_begin: bool
    is_end: bool
    after_word: bool
    before_word: bool

    def holds(self, condition: str) -> bool:
        if condition == "^":
            return self.is_begin
        if condition == "$":
            return self.is_end
        if condition:
            return (self.after_word != self.before_word) == (condition == "b")
        return True


def _is_word(sign: int) -> bool:
    return sign in _WORD_SIGNS


class _Signs(NamedTuple):
    signs: Signs


class _Here(NamedTuple):
    condition: str


class _Row(NamedTuple):
    parts: tuple[_Part, ...]


class _Choice(NamedTuple):
    ways: tuple[_Part, ...]


class _Repeat(NamedTuple):
    part: _Part
    least: int
    most: int | None


_Part = _Signs | _Here | _Row | _Choice | _Repeat


class _Reader:
    """Reads a pattern, and writes its instructions from the last to the first."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0
        self._written = 0
        self._steps: list[Step] = []

    def program(self) -> tuple[list[Step], int]:
        part = self._choice()
        if self._at < len(self._text):
            raise self._error("')' closes nothing")
        return self._steps, self._emit(part, _ACCEPT)

    # -- reading ----------------------------------------------------------------------------

    def _choice(self) -> _Part:
        ways = [self._row()]
        while self._take("|"):
            ways.append(self._row())
        return ways[0] if len(ways) == 1 else _Choice(tuple(ways))

    def _row(self) -> _Part:
        parts: list[_Part] = []
        while self._at < len(self._text) and self._text[self._at] not in "|)":
            parts.append(self._repeated(self._atom()))
        return _Row(tuple(parts))

    def _atom(self) -> _Part:
        sign = self._next()
        if sign == "(":
            return self._group()
        if sign == "[":
            return _Signs(self._class())
        if sign == ".":
            return _Signs(Signs(_LINE_ENDS, True))
        if sign in "^$":
            return _Here(sign)
        if sign == "\\":
            if self._text[self._at : self._at + 1] in ("b", "B"):
                return _Here(self._next())
            return _Signs(Signs(self._escape()))
        if sign in "*+?{":
            raise self._error(f"'{sign}' repeats nothing", back=1)
        return _one(ord(sign))

    def _group(self) -> _Part:
        self._depth += 1
        if self._depth > MAX_NESTING:
            raise self._error(f"groups are nested more than {MAX_NESTING} deep")
        if self._take("?") and not self._take(":"):
            if self._text[self._at : self._at + 1] != "<" or self._text[
                self._at + 1 : self._at + 2
            ] in ("=", "!"):
                raise self._error("looking ahead or behind is not supported")
            end = self._text.find(">", self._at)
            if end < 0:
                raise self._error("the name of a group has no end")
            self._at = end + 1
        part = self._choice()
        if not self._take(")"):
            raise self._error("a group has no end")
        self._depth -= 1
        return part

    def _repeated(self, part: _Part) -> _Part:
        bounds = self._bounds()
        if bounds is None:
            return part
        if isinstance(part, _Here):
            raise self._error("a place in the text cannot be repeated")
        self._take("?")  # a lazy one finds the same texts
        least, most = bounds
        if max(least, most or 0) > MAX_INSTRUCTIONS or (most is not None and most < least):
            raise self._error(f"{{{least},{most}}} is no number of repetitions")
        return _Repeat(part, least, most)

    def _bounds(self) -> tuple[int, int | None] | None:
        for sign, bounds in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self._take(sign):
                return bounds
        if not self._take("{"):
            return None
        least = self._number()
        most: int | None = least
        if self._take(","):
            is_open = self._text[self._at : self._at + 1] == "}"
            most = None if is_open else self._number()
        if not self._take("}"):
            raise self._error("a number of repetitions has no end")
        return least, most

    def _number(self) -> int:
        begin = self._at
        while self._text[self._at : self._at + 1] in tuple("0123456789"):
            self._at += 1
        digits = self._text[begin : self._at]
        if not 0 < len(digits) <= 6:
            raise self._error("a number of repetitions is wanted")
        return int(digits)

    def _class(self) -> Signs:
        is_negated = self._take("^")
        ranges: list[Range] = []
        while not self._take("]"):
            low = self._member()
            is_range = self._text[self._at : self._at + 1] == "-" and self._text[
                self._at + 1 : self._at + 2
            ] not in ("]", "")
            if not is_range:
                ranges += low
                continue
            self._at += 1
            high = self._member()
            if len(low) != 1 or len(high) != 1 or low[0][0] != low[0][1] or high[0][0] < low[0][0]:
                raise self._error("a range of characters goes the wrong way")
            ranges.append((low[0][0], high[0][1]))
        return Signs(tuple(ranges), is_negated)

    def _member(self) -> tuple[Range, ...]:
        sign = self._next()
        if sign != "\\":
            return ((ord(sign), ord(sign)),)
        if self._take("b"):
            return ((8, 8),)
        return self._escape()

    def _escape(self) -> tuple[Range, ...]:
        sign = self._next()
        if sign in _CLASSES:
            return _CLASSES[sign]
        if sign in _CONTROLS:
            number = _CONTROLS[sign]
        elif sign == "x":
            number = self._hex(2)
        elif sign == "u":
            number = self._unicode()
        elif sign in _SYNTAX:
            number = ord(sign)
        elif sign.isdigit() or sign in "kpP":
            raise self._error(f"'\\{sign}' is not supported", back=1)
        else:
            raise self._error(f"'\\{sign}' is no escape", back=1)
        return ((number, number),)

    def _unicode(self) -> int:
        if self._take("{"):
            end = self._text.find("}", self._at)
            return self._hex(max(0, end - self._at), close=1)
        high = self._hex(4)
        if 0xD800 <= high < 0xDC00 and self._text[self._at : self._at + 2] == "\\u":
            self._at += 2
            low = self._hex(4)
            return 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00)
        return high

    def _hex(self, count: int, close: int = 0) -> int:
        digits = self._text[self._at : self._at + count]
        if not 0 < count <= 6 or len(digits) < count or not _HEX.issuperset(digits):
            raise self._error("a hexadecimal number is wanted")
        self._at += count + close
        return min(int(digits, 16), LAST)

    def _next(self) -> str:
        if self._at >= len(self._text):
            raise self._error("it ends too early")
        self._at += 1
        return self._text[self._at - 1]

    def _take(self, sign: str) -> bool:
        found = self._text[self._at : self._at + 1] == sign
        self._at += found
        return found

    def _error(self, why: str, back: int = 0) -> PatternError:
        return PatternError(f"the pattern cannot be read at character {self._at - back + 1}: {why}")

    # -- writing ----------------------------------------------------------------------------

    def _add(self, step: Step) -> int:
        if len(self._steps) >= MAX_INSTRUCTIONS:
            raise PatternError(
                f"a pattern comes to at most {MAX_INSTRUCTIONS} steps, repetitions written out"
            )
        self._steps.append(step)
        return len(self._steps) - 1

    def _emit(self, part: _Part, after: int) -> int:
        """Write a part in front of what follows; gives where it begins."""
        self._written += 1
        if self._written > MOST_WRITTEN:
            raise PatternError("a pattern is too large, repetitions written out")
        if isinstance(part, _Signs):
            return self._add(Step(part.signs, (after,)))
        if isinstance(part, _Here):
            return self._add(Step(None, (after,), part.condition))
        if isinstance(part, _Row):
            for inner in reversed(part.parts):
                after = self._emit(inner, after)
            return after
        if isinstance(part, _Choice):
            return self._add(Step(None, tuple(self._emit(way, after) for way in part.ways)))
        return self._emit_repeat(part, after)

    def _emit_repeat(self, part: _Repeat, after: int) -> int:
        if part.most is None:
            loop = self._add(Step(None, (after,)))
            body = self._emit(part.part, loop)
            self._steps[loop] = Step(None, (body, after))
            after = loop
        else:
            for _ in range(part.most - part.least):
                after = self._add(Step(None, (self._emit(part.part, after), after)))
        for _ in range(part.least):
            after = self._emit(part.part, after)
        return after


_HEX: Final = frozenset("0123456789abcdefABCDEF")


def _one(number: int) -> _Signs:
    return _Signs(Signs(((number, number),)))
