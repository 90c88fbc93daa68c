"""Keys of limits: texts with placeholders (rule S17).

``tenant:{input.tenant}`` is evaluated for each attempt; a text without braces is the key itself.
``{{`` and ``}}`` stand for single braces.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

from flowcraft.core.expressions import Evaluator
from flowcraft.errors import ExpressionError, ExpressionSyntaxError

LONGEST_KEY_BYTES: Final = 1_000
SHOWN_CHARACTERS: Final = 100
"""What a key may have as it is, and how much is left of one that is longer."""


class Part(NamedTuple):
    """A piece of a key: a text as it is, or an expression."""

    text: str
    is_expression: bool


class Evaluated(NamedTuple):
    """A key, and what was wrong with its placeholders, if anything was."""

    key: str
    problem: str | None


@lru_cache(maxsize=512)
def parts_of(template: str) -> tuple[Part, ...]:
    """The pieces of a key.

    Raises:
        ExpressionSyntaxError: A brace has no counterpart, or there is nothing between two.
    """
    parts: list[Part] = []
    text, at = "", 0
    while at < len(template):
        character = template[at]
        if template[at : at + 2] in ("{{", "}}"):
            text, at = text + character, at + 2
        elif character == "}":
            raise ExpressionSyntaxError(f"the '}}' in '{template}' closes nothing; '}}}}' is one")
        elif character == "{":
            end = template.find("}", at)
            inside = template[at + 1 : end].strip()
            if end < 0 or "{" in inside:
                raise ExpressionSyntaxError(f"a '{{' in '{template}' is not closed; '{{{{' is one")
            if not inside:
                raise ExpressionSyntaxError(f"'{{}}' in '{template}' has nothing inside")
            parts += [Part(text, False)] * bool(text) + [Part(inside, True)]
            text, at = "", end + 1
        else:
            text, at = text + character, at + 1
    return (*parts, Part(text, False)) if text or not parts else tuple(parts)


def evaluate_key(template: str, evaluator: Evaluator, scope: Mapping[str, Any]) -> Evaluated:
    """The key of an attempt.

    A placeholder that cannot be evaluated counts as null, so that the attempt is limited together
    with others of its kind; a text that is no template is taken as it is.

    Args:
        template: The node's ``concurrencyKey``.
        evaluator: Evaluates the placeholders.
        scope: ``input``, ``params`` and ``context``.
    """
    if "{" not in template and "}" not in template:
        return Evaluated(template, None)
    try:
        parts = parts_of(template)
    except ExpressionSyntaxError as error:
        return Evaluated(template, str(error))
    key, problem = "", None
    for part in parts:
        value: Any = part.text
        if part.is_expression:
            try:
                value = evaluator.evaluate(part.text, scope)
            except Exception as error:  # evaluators are pluggable, and none may stop a run (S17)
                is_told = isinstance(error, ExpressionError)
                problem = str(error) if is_told else f"{type(error).__name__}: {error}"
                value = None
        key += _text(value)
    return Evaluated(key, problem)


def stored_key(key: str) -> str:
    """A key as it is stored: one that is too long is told apart by its hash."""
    data = key.encode("utf-8", "backslashreplace")
    text = data.decode("utf-8")
    if len(data) <= LONGEST_KEY_BYTES:
        return text
    return f"{text[:SHOWN_CHARACTERS]}…{hashlib.sha256(data).hexdigest()}"


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # as JavaScript spells it
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
