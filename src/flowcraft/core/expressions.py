"""Conditions and transforms: a small language evaluated without reaching Python (rule S17).

Two evaluators are included. `SafeEvaluator`, the default, understands expressions as they are
written in JavaScript or Python; `PropertyEvaluator` only dotted paths. Any object with an
``evaluate`` method can take their place.

The language of `SafeEvaluator`:

* ``result.output.total``, ``context["any key"]``, ``items[0]``, ``items.length``,
  ``maybe?.part``; names may contain hyphens (``my-node.total``) where the scope has such a
  name, otherwise a hyphen subtracts.
* ``true false null undefined``, ``True False None``, numbers, texts, ```template ${a}```,
  ``[a, b]``, ``(a, b)``, ``{ key: a, "other key": b, c }``.
* ``&& || ! ??``, ``and or not``, ``=== !== == !=``, ``< <= > >=``, ``in``, ``not in``,
  ``+ - * / // % **``, ``c ? a : b``, ``a if c else b``.
* ``len min max abs round str int float bool String Number Boolean``, and on values
  ``includes startsWith startswith endsWith endswith``. Nothing else can be called.

Where the two languages differ:

* What counts as true is JavaScript's: ``[]`` and ``{}`` are true. ``and`` and ``or`` give one
  of their operands.
* ``==`` is strict like ``===``: ``1 == true`` and ``1 == "1"`` are false, ``undefined == null``
  is true. Lists and mappings are compared by content.
* ``1 < x < 5`` means both, as in Python. Chains with ``==`` or ``in`` are refused, since the
  languages read them differently. ``in`` searches the elements of a list, the keys of a
  mapping, the parts of a text.
* ``!a == b`` is ``(!a) == b`` and ``not a == b`` is ``not (a == b)``, each as at home.
* Numbers are Python's: ``7 / 2`` is 3.5, ``-7 % 3`` is 2, integers are exact.
* ``+`` joins if one side is a text, with the spelling of JavaScript (``"n=" + 3.0`` is
  ``"n=3"``).
* An error rather than a silent surprise: an unknown name, a member of null without ``?.``,
  order between unlike kinds, arithmetic on anything but numbers, a negative index, division
  by zero. A missing key of a mapping is null.

Bounds: `MAX_EXPRESSION_LENGTH` characters, `MAX_DEPTH` levels, `MAX_STEPS` elements searched
or compared, `MAX_RESULT_TEXT` characters in a text put together, `MAX_INTEGER_BITS` in a
number.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, Protocol

from flowcraft.core.expression_kinds import (
    MAX_INTEGER_BITS,
    MAX_RESULT_TEXT,
    MAX_STEPS,
    Work,
    is_truthy,
)
from flowcraft.core.expression_parser import MAX_DEPTH, parse
from flowcraft.core.expression_program import Program, compile_tree
from flowcraft.core.expression_tokens import (
    MAX_EXPRESSION_LENGTH,
    HyphenatedName,
    hyphenated_names,
    shown,
    tokenize,
)
from flowcraft.core.expression_values import member
from flowcraft.errors import ExpressionError, ExpressionLimitError, ExpressionSyntaxError

__all__ = [
    "MAX_DEPTH",
    "MAX_EXPRESSION_LENGTH",
    "MAX_INTEGER_BITS",
    "MAX_RESULT_TEXT",
    "MAX_STEPS",
    "Evaluator",
    "PropertyEvaluator",
    "SafeEvaluator",
    "check_expression",
    "is_truthy",
]

# A compiled expression takes some 250 bytes a character, so that long ones are kept apart: the
# caches hold at most some 50 MB whatever the blueprints contain, and usually far less.
CACHED_PROGRAMS: Final = 512
CACHED_LONG_PROGRAMS: Final = 16
LONG: Final = 256


class Evaluator(Protocol):
    """What evaluates the conditions and transforms of a run."""

    def evaluate(self, expression: str, scope: Mapping[str, Any]) -> Any:
        """Evaluate an expression.

        Args:
            expression: The text of a condition or transform.
            scope: The names the expression may use. It is only read, and only where the
                expression asks for a name; it may be a large lazy view.

        Returns:
            The value, of which parts may be shared with the scope. Whoever needs a truth
            applies `is_truthy`.

        Raises:
            ExpressionError: There is no value; the message says why, for a person.
        """
        ...


class SafeEvaluator:
    """The default evaluator: expressions in JavaScript or Python spelling.

    The language and its bounds are described in this module. Evaluation is deterministic and
    free of side effects, never looks at an attribute of a value, and calls nothing but the
    functions listed there.
    """

    __slots__ = ()

    def evaluate(self, expression: str, scope: Mapping[str, Any]) -> Any:
        """Evaluate an expression; see `Evaluator.evaluate`.

        Raises:
            ExpressionSyntaxError: It does not parse.
            ExpressionLimitError: It is too long or deep, or would be too much work.
            ExpressionError: It cannot be evaluated in this scope.
        """
        names = _names(_text(expression))
        program = _program(expression, _joined(names, scope) if names else ())
        try:
            return program(scope, Work())
        except ExpressionError as error:
            raise type(error)(f"{error.message} (in {shown(expression)})") from error.__cause__


class PropertyEvaluator:
    """Evaluates dotted paths only: ``result.output.items.0``.

    A path consists of ASCII letters, digits, ``_`` and ``$`` between dots. Whatever is missing
    along the way makes the value None. Lists are read by index; ``length`` is no member here,
    and neither are the characters of a text.
    """

    __slots__ = ()
    paths_only = True
    """The roots of its paths are context keys and nothing else."""

    def evaluate(self, expression: str, scope: Mapping[str, Any]) -> Any:
        """Follow a path from a name of the scope; see `Evaluator.evaluate`.

        Raises:
            ExpressionSyntaxError: It is not a path.
            ExpressionLimitError: It is too long.
        """
        root, keys = _path(_text(expression))
        value = scope.get(root)
        for key in keys:
            if isinstance(value, Mapping):
                value = value.get(key)
            elif isinstance(value, (list, tuple)) and key != "length":
                value = member(value, key)
            else:
                return None
        return value


_PATH: Final = re.compile(r"[A-Za-z0-9_$]+(?:\.[A-Za-z0-9_$]+)*")


@lru_cache(maxsize=CACHED_PROGRAMS)
def _path(text: str) -> tuple[str, tuple[str, ...]]:
    if len(text) > MAX_EXPRESSION_LENGTH:
        raise ExpressionLimitError(
            f"a path of {len(text)} characters is too long (at most {MAX_EXPRESSION_LENGTH})"
        )
    if not _PATH.fullmatch(text):
        raise ExpressionSyntaxError(
            f"{shown(text)} is not a dotted path of letters, digits, '_' and '$', "
            "which is all that this evaluator understands"
        )
    root, *keys = text.split(".")
    return root, tuple(keys)


def check_expression(text: str) -> None:
    """Check that an expression of `SafeEvaluator` parses, without evaluating it.

    Raises:
        ExpressionSyntaxError: It does not parse; the message shows where.
        ExpressionLimitError: It is too long or too deep.
    """
    names = _names(_text(text))
    try:
        _program(text, ())
    except ExpressionSyntaxError:
        # "step-2nd.total" parses only where the hyphens belong to a name.
        if not names or not _parses(text, _longest(names)):
            raise


def _text(expression: object) -> str:
    if isinstance(expression, str):
        return expression
    raise ExpressionSyntaxError(f"an expression is a text, not {type(expression).__name__}")


def _longest(names: tuple[HyphenatedName, ...]) -> tuple[tuple[int, int], ...]:
    every = {name: None for place in names for _, name in place.choices}
    return _joined(names, every)


def _parses(text: str, joined: tuple[tuple[int, int], ...]) -> bool:
    try:
        _program(text, joined)
    except ExpressionSyntaxError:
        return False
    return True


@lru_cache(maxsize=CACHED_PROGRAMS)
def _names(text: str) -> tuple[HyphenatedName, ...]:
    """Find the hyphenated names on which it depends how an expression parses; mostly none."""
    return hyphenated_names(text, tokenize(text, {}))


def _program(text: str, joined: tuple[tuple[int, int], ...]) -> Program:
    """Compile an expression given which hyphenated names there are, by start and end."""
    return _short_program(text, joined) if len(text) < LONG else _long_program(text, joined)


def _compiled(text: str, joined: tuple[tuple[int, int], ...]) -> Program:
    longer = {name.start: name.choices[0][1] for name in _names(text)}
    return compile_tree(parse(text, dict(joined), longer))


_short_program: Final = lru_cache(maxsize=CACHED_PROGRAMS)(_compiled)
_long_program: Final = lru_cache(maxsize=CACHED_LONG_PROGRAMS)(_compiled)


def _joined(
    names: tuple[HyphenatedName, ...], scope: Mapping[str, Any]
) -> tuple[tuple[int, int], ...]:
    """Choose from left to right the longest hyphenated names that the scope has."""
    joined = []
    reached = 0
    for start, choices in names:
        if start < reached:
            continue
        found = next((end for end, name in choices if name in scope), None)
        if found is not None:
            joined.append((start, found))
            reached = found
    return tuple(joined)
