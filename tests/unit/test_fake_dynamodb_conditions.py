"""The fake DynamoDB: what conditions mean, and which are refused."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.fake_dynamodb import (
    INVALID,
    Request,
    Service,
    conditional,
    number,
    one,
    text,
    texts,
)

ITEM: Request = {
    "n": number(5),
    "t": text("hello"),
    "b": {"B": b"hello"},
    "l": {"L": [text("a"), number(7), texts("x")]},
    "m": {"M": {"x": number(1), "a.b": text("dot"), "l": texts("p", "q")}},
    "s": {"SS": ["a", "b"]},
    "ns": {"NS": ["1", "2.5"]},
    "yes": {"BOOL": True},
    "nil": {"NULL": True},
}

V: dict[str, Any] = {
    "five": number("5.0"),
    "six": number(6),
    "hello": text("hello"),
    "hell": text("hell"),
    "bytes": {"B": b"hell"},
    "list": texts("x"),
    "true": {"BOOL": True},
    "set": {"SS": ["b", "a"]},
    "ns": {"NS": ["2.50", "1e0"]},
    "type": text("N"),
    "seven": number(7),
    "a": text("a"),
    "two": number(2),
    "three": number(3),
    "one": number(1),
}


def service_with_item() -> Service:
    """A fake with the item."""
    service = Service()
    service.put(**ITEM)
    return service


def used(condition: str) -> dict[str, Any]:
    """The values that a condition uses."""
    words = condition.replace("(", " ").replace(")", " ").replace(",", " ").split()
    return {word[1:]: V[word[1:]] for word in words if word.startswith(":")}


@pytest.mark.parametrize(
    "condition",
    [
        "n = :five",
        ":five = n",
        "n <> :six",
        "gone <> :six",
        "gone <> lost",
        "n < :six",
        "t > :hell",
        "b >= :bytes",
        "n BETWEEN :five AND :six",
        "n between m.x and :six",
        "n IN (:hello, t, :five)",
        "s = :set",
        "ns = :ns",
        "yes = :true",
        "attribute_exists(m.x)",
        "attribute_exists(l[2][0])",
        "attribute_not_exists(m.y)",
        "attribute_not_exists(l[3])",
        "attribute_not_exists(t.x)",
        "attribute_type(n, :type)",
        "begins_with(t, :hell)",
        "begins_with(b, :bytes)",
        "begins_with(:hello, :hell)",
        "contains(t, :hell)",
        "contains(s, :a)",
        "contains(ns, :one)",
        "contains(l, :seven)",
        "contains(l, :list)",
        "contains(b, :bytes)",
        "size(t) = n",
        "size(l) = :three",
        "size(m) = :three",
        "size(s) = :two",
        "size(b) = :five",
        "size(:hello) = n",
        "size(n) <> :one",
        "NOT n = :six",
        "NOT NOT n = :five",
        "NOT (n = :six AND t = :hello)",
        "n = :five OR gone = :five AND gone = :six",
        "(n = :five OR n = :six) AND t = :hello",
        "n = :six OR n = :five AND NOT t = :hell",
        "n BETWEEN m.x AND :six AND t = :hello",
        "(n = :five)AND(t = :hello)",
        "m.l[0] <> m.l[1]",
    ],
)
def test_conditions_that_hold(condition: str) -> None:
    """Comparisons, functions, precedence of NOT, AND and OR, and document paths."""
    assert service_with_item().holds(condition, **used(condition))


@pytest.mark.parametrize(
    "condition",
    [
        "n = :six",
        "n = :hello",
        "gone = :five",
        "gone = lost",
        "gone < :five",
        "n < :hello",
        "l < :five",
        "n > :five",
        "t BETWEEN :five AND :six",
        "n IN (:hello, :six)",
        "gone IN (lost)",
        "attribute_exists(m.y)",
        "attribute_exists(l[9])",
        "attribute_type(t, :type)",
        "begins_with(n, :hell)",
        "begins_with(t, :bytes)",
        "contains(n, :five)",
        "contains(gone, :five)",
        "contains(s, :five)",
        "size(n) = :one",
        "size(gone) < :five",
        "size(t) = :hello",
        "NOT n = :five",
        "n = :six AND t = :hello OR n = :six",
    ],
)
def test_conditions_that_do_not_hold(condition: str) -> None:
    """What is not there, or of another type, makes a condition false and not wrong."""
    assert not service_with_item().holds(condition, **used(condition))


@pytest.mark.parametrize(
    "condition",
    [
        "",
        " ",
        "n",
        "n =",
        "n = :five AND",
        "n == :five",
        "n != :five",
        "AND n = :five",
        "n IN ()",
        "n BETWEEN :five",
        "(n = :five",
        "n = :five)",
        "((n = :five))",
        "(n) = :five",
        "size(t)",
        "size(t, t) = :five",
        "size(size(t)) = :five",
        "size(:five) = n",
        "size t = :five",
        "attribute_exists(:five)",
        "attribute_exists(n) = :true",
        "attribute_exists(size(t))",
        "attribute_type(n, t)",
        "attribute_type(n, :five)",
        "attribute_type(n, :hello)",
        "begins_with(t)",
        "begins_with(t, :five)",
        "begins_with(t, :list)",
        "begins_with(t, size(t))",
        "contains(t, t)",
        "if_not_exists(n, :five) = :five",
        "list_append(l, :list) = :list",
        "wrong(n)",
        "Size(t) = :five",
        "n < :list",
        ":true < n",
        "n BETWEEN :six AND :five",
        "n BETWEEN :five AND :hello",
        "n BETWEEN :list AND :list",
        "n = n",
        "n IN (:five, n)",
        "n = #n",
        "_n = :five",
        "n = :five % t = :hello",
        "l[-1] = :five",
        "l[01] = :five",
        "l[:one] = :five",
        "l[2147483648] = :five",
        "m. = :five",
        "status = :five",
        ".".join(["m"] * 33) + " = :five",
    ],
)
def test_conditions_that_are_refused(condition: str) -> None:
    """Wrong syntax, functions used wrongly, and values of the request of a wrong type."""
    request = {**one(), **conditional(condition, **used(condition))}
    assert service_with_item().code("UpdateItem", **request) == INVALID


def test_a_name_with_a_dot_is_one_step() -> None:
    """A #name is a name as a whole, whatever is in it, at the top and further inwards."""
    service = service_with_item()
    assert service.holds("m.#d = :v", names={"d": "a.b"}, v=text("dot"))
    assert not service.holds("#d = :v", names={"d": "m.x"}, v=number(1))


def test_names_and_values_are_used_all_and_known_all() -> None:
    """Those that are unused or unknown are refused, even if the condition need not read them."""
    service = service_with_item()
    for request in (
        conditional("n = :five", five=number(5), six=number(6)),
        conditional("n = :five", names={"n": "n"}, five=number(5)),
        conditional("n = :five OR n = :six", five=number(5)),
        conditional("#n = :five OR #m = :five", names={"n": "n"}, five=number(5)),
        {"ExpressionAttributeValues": {":five": number(5)}},
        {"ExpressionAttributeNames": {}, **conditional("attribute_exists(n)")},
        {"ExpressionAttributeNames": {"n": "n"}, **conditional("attribute_exists(n)")},
        {"ExpressionAttributeValues": {":": number(5)}, **conditional("attribute_exists(n)")},
    ):
        assert service.code("UpdateItem", **one(), **request) == INVALID
    assert service.holds(
        "#n = :five OR #m = :six", names={"n": "n", "m": "m"}, five=number(5), six=number(6)
    )


def test_texts_are_measured_in_code_units() -> None:
    """A sign beyond the basic plane counts twice in size(), as UTF-16 has it."""
    service = Service()
    service.put(t=text("€uro 😀"))
    assert service.holds("size(t) = :n", n=number(7))


def test_texts_are_ordered_by_their_bytes() -> None:
    """Signs beyond the basic plane come last, though UTF-16 has them before some others."""
    service = Service()
    service.put(t=text("\uffee"))
    assert service.holds("t < :v", v=text("😀"))


def test_the_length_of_an_expression_is_limited() -> None:
    """4096 bytes are allowed, one more is not."""
    service = service_with_item()
    condition = "n = :v" + " " * (4096 - 6)
    assert service.holds(condition, v=number(5))
    request = {**one(), **conditional(condition + " ", v=number(5))}
    assert service.code("UpdateItem", **request) == INVALID


def test_the_number_of_operators_is_limited() -> None:
    """300 operators are allowed, and as many levels as they can make; one more is not."""
    service = service_with_item()
    deep = "n<m " + "OR (n<m " * 149 + ")" * 149
    assert not service.holds(deep)
    assert service.code("UpdateItem", **one(), **conditional(deep + " OR n<m")) == INVALID
    for condition in ("(" * 4000, "NOT " * 1000 + "n<m", "n<" + "size(" * 600 + "n" + ")" * 600):
        assert service.code("UpdateItem", **one(), **conditional(condition)) == INVALID


def test_in_has_at_most_100_operands() -> None:
    """99 besides the first one."""
    service = service_with_item()
    others = ", ".join(f"m.x{number}" for number in range(99))
    assert not service.holds(f"n IN ({others})")
    request = {**one(), **conditional(f"n IN ({others}, m.y)")}
    assert service.code("UpdateItem", **request) == INVALID


def test_a_condition_on_the_journal_of_a_run() -> None:
    """A token within a list within a map, the length of a list and a counter, in one condition."""
    service = Service()
    service.put(
        l={"M": {"7": {"L": [text("tok"), number(3)]}}},
        f=texts("a", "b"),
        c=number(0),
    )
    condition = "l.#p[0] = :tok AND size(f) = :n AND c = :c"
    values = {"tok": text("tok"), "n": number(2), "c": number(0)}
    assert service.holds(condition, names={"p": "7"}, **values)
    for changed in ({"tok": text("other")}, {"n": number(3)}, {"c": number(1)}):
        assert not service.holds(condition, names={"p": "7"}, **(values | changed))
    assert not service.holds(condition, names={"p": "8"}, **values)
