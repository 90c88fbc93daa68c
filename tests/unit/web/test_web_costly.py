"""What is small to send is not dear to refuse."""

from __future__ import annotations

import json
from typing import Any

import pytest

from flowcraft.engine.answer_checks import answer_problems
from flowcraft.web import bodies, reading
from flowcraft.web.link_forms import form_of
from flowcraft.web.problems import HttpProblem
from flowcraft.web.reading import strict_json


class _Name(str):
    """A name that counts how often it is compared."""

    compared = 0
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        _Name.compared += 1
        return str.__eq__(self, other)


def test_a_name_that_is_there_twice_is_found_in_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each name of a large object is compared a few times, not with all the others."""
    names = [*range(1_000), 999]
    pairs: list[tuple[str, Any]] = [(_Name(number), 1) for number in names]
    monkeypatch.setattr(_Name, "compared", 0)
    with pytest.raises(ValueError, match="'999' is there twice"):
        reading._unique(pairs)
    assert _Name.compared < 10_000
    with pytest.raises(HttpProblem, match="'a' is there twice"):
        strict_json(b'{"a":1,"b":2,"a":3}')


def test_a_number_of_hundreds_of_digits_is_an_answer() -> None:
    """A form takes a whole number that is larger than any float, as JSON does."""
    form = form_of({"type": "object", "properties": {"a": {"type": "integer"}}})
    assert form.filled({"v0": "9" * 400}).answer() == ({"a": json.loads("9" * 400)}, [])


@pytest.mark.parametrize("number", [10**400, float("inf")])
def test_numbers_that_cannot_be_divided_do_not_fit(number: float) -> None:
    """A number beyond all floats is refused as an answer, and is no bug of the application."""
    (problem,) = answer_problems({"multipleOf": 0.01}, "n", number)
    assert "too large" in problem.message


def test_not_all_errors_of_a_body_are_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body with thousands of wrong parts is refused after some of them."""
    looked: list[object] = []
    depth = bodies._depth

    def counted(error: object) -> tuple[int, str]:
        looked.append(error)
        return depth(error)

    monkeypatch.setattr(bodies, "_depth", counted)
    with pytest.raises(HttpProblem, match="is to be"):
        bodies.check_body("names", {"type": "array", "items": {"type": "string"}}, [1] * 5_000)
    assert 0 < len(looked) <= bodies.MOST_ERRORS
