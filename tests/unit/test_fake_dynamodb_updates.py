"""The fake DynamoDB: what updates make of an item, and which are refused."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.fake_dynamodb import INVALID, ITEMS, Request, Service, number, one, text, texts

X = text("x")
Y = text("y")


def updated(before: Request, expression: str, **more: Any) -> Request:
    """What an update makes of the attributes of an item."""
    service = Service()
    service.put(**before)
    return service.update(expression, **more)


def refused(before: Request, expression: str, **more: Any) -> bool:
    """Whether an update of an item is refused as wrong, and leaves the item as it was."""
    service = Service()
    service.put(**before)
    kept = service.item()
    code = service.update_code(expression, **more)
    assert service.item() == kept
    return code == INVALID


@pytest.mark.parametrize(
    ("expression", "before", "after"),
    [
        ("SET f[9999] = :x REMOVE f[0], f[1]", "abcd", "cdx"),
        ("REMOVE f[1], f[0] SET f[9999] = :x", "abcd", "cdx"),
        ("SET f[9999] = :x REMOVE f[0], f[1]", "ab", "x"),
        ("REMOVE f[0], f[1]", "ab", ""),
        ("SET f[2] = :x REMOVE f[0]", "abcd", "bxd"),
        ("SET f[4] = :x REMOVE f[0]", "abcd", "bcdx"),
        ("SET f[9] = f[0] REMOVE f[0]", "abcd", "bcda"),
        ("SET f[9] = :x REMOVE f[7]", "ab", "abx"),
        ("SET f[9] = :x REMOVE f[2]", "ab", "abx"),
        ("REMOVE f[7]", "ab", "ab"),
        ("SET f[0] = :x", "", "x"),
        ("SET f[1] = f[0], f[0] = f[1]", "ab", "ba"),
        ("SET f = list_append(f, f)", "ab", "abab"),
    ],
)
def test_indices_mean_the_list_as_it_was(expression: str, before: str, after: str) -> None:
    """Removals and additions of one update do not move each other."""
    values = {"x": X} if ":x" in expression else {}
    assert updated({"f": texts(*before)}, expression, **values) == {"f": texts(*after)}


def test_elements_beyond_the_end_are_appended_in_order_of_their_indices() -> None:
    """Whatever the order of the text is."""
    after = updated(
        {"f": texts("a")}, "SET f[84] = :x, f[17] = :y, f[9] = :z", x=X, y=Y, z=text("z")
    )
    assert after == {"f": texts("a", "z", "y", "x")}


def test_lists_within_maps_and_lists_are_updated_alike() -> None:
    """Paths go as deep as they like, #names among them."""
    before = {"m": {"M": {"7": {"L": [texts("a", "b"), X]}}}}
    after = updated(
        before, "REMOVE m.#k[0][0] SET m.#k[0][5] = :y, m.z = :x", names={"k": "7"}, x=X, y=Y
    )
    assert after == {"m": {"M": {"7": {"L": [texts("b", "y"), X]}, "z": X}}}


def test_operands_read_the_item_as_it_was() -> None:
    """What one action sets or removes another one still reads as before."""
    before = {"a": number(1), "b": number(10)}
    assert updated(before, "SET a = b, b = a") == {"a": number(10), "b": number(1)}
    assert updated(before, "REMOVE a SET b = a + b") == {"b": number(11)}
    assert updated(before, "ADD a :n SET b = a - :n", n=number(5)) == {
        "a": number(6),
        "b": number(-4),
    }
    assert refused(before, "SET c = :x, d = c", x=X)


@pytest.mark.parametrize(
    ("expression", "after"),
    [
        ("SET n = n + :one", number("2.5")),
        ("SET n = :one - n", number("-0.5")),
        ("SET n = (n + :one)", number("2.5")),
        ("SET n = if_not_exists(n, :one)", number("1.5")),
        ("SET n = if_not_exists(zz, :one)", number(1)),
        ("SET n = if_not_exists(zz, :one) + :one", number(2)),
        ("SET n = if_not_exists(zz, if_not_exists(yy, :one))", number(1)),
        ("ADD n :one", number("2.5")),
        ("SET n = list_append(if_not_exists(zz, :list), :list)", texts("p", "p")),
    ],
)
def test_what_set_and_add_compute(expression: str, after: Request) -> None:
    """Sums, if_not_exists, list_append, and one within the other."""
    values = {"one": number(1), "list": texts("p")}
    values = {name: value for name, value in values.items() if f":{name}" in expression}
    assert updated({"n": number("1.5")}, expression, **values)["n"] == after


def test_sums_are_exact_or_refused() -> None:
    """38 digits are kept; a sum that has more, or is out of range, is refused."""
    large = {"n": number("1" + "0" * 37)}
    assert updated(large, "SET n = n + :v", v=number(1)) == {"n": number("1" + "0" * 36 + "1")}
    assert refused(large, "SET n = n + :v", v=number("0.1"))
    assert refused({"n": number("1e50")}, "ADD n :v", v=number(1))
    assert refused({"n": number("9e125")}, "SET n = n + n")
    assert updated({"n": number("1e-130")}, "SET n = n - n") == {"n": number(0)}


def test_sets_are_joined_and_reduced() -> None:
    """ADD and DELETE know sets; an empty one goes away, one that is not there comes."""
    before = {"s": {"SS": ["a", "b"]}, "q": {"NS": ["1", "2"]}}
    assert updated(before, "ADD s :s, q :q", s={"SS": ["c", "a"]}, q={"NS": ["2.0", "3"]}) == {
        "s": {"SS": ["a", "b", "c"]},
        "q": {"NS": ["1", "2", "3"]},
    }
    assert updated(before, "DELETE s :s, q :q", s={"SS": ["b", "z"]}, q={"NS": ["1", "2"]}) == {
        "s": {"SS": ["a"]}
    }
    assert updated({}, "ADD s :s, n :n", s={"SS": ["a"]}, n=number(3)) == {
        "s": {"SS": ["a"]},
        "n": number(3),
    }
    assert updated({"n": number(1)}, "DELETE s :s", s={"SS": ["a"]}) == {"n": number(1)}
    within = {"l": {"L": [{"SS": ["a"]}, X]}}
    assert updated(within, "DELETE l[0] :s", s={"SS": ["a"]}) == {"l": texts("x")}


@pytest.mark.parametrize(
    ("expression", "values"),
    [
        ("SET m.a = :x", {"x": X}),
        ("SET m.#p = :x", {"x": X, "names": {"p": "7"}}),
        ("SET zz[0] = :x", {"x": X}),
        ("SET t.a = :x", {"x": X}),
        ("SET t[0] = :x", {"x": X}),
        ("SET l.a = :x", {"x": X}),
        ("SET l[7].a = :x", {"x": X}),
        ("SET d[0] = :x", {"x": X}),
        ("REMOVE m.a", {}),
        ("REMOVE zz[0]", {}),
        ("REMOVE t.a", {}),
        ("ADD m.a :n", {"n": number(1)}),
        ("DELETE m.a :s", {"s": {"SS": ["a"]}}),
    ],
)
def test_a_path_needs_what_it_leads_through(expression: str, values: Any) -> None:
    """Lists and maps on the way have to be there, and are not made."""
    before = {"t": X, "l": texts("a"), "d": {"M": {"0": X}}}
    assert refused(before, expression, **values)


@pytest.mark.parametrize(
    ("expression", "values"),
    [
        ("SET a = b", {}),
        ("SET a = l[7]", {}),
        ("SET a = if_not_exists(t, zz)", {}),
        ("SET a = t + :n", {"n": number(1)}),
        ("SET a = :x + :n", {"n": number(1), "x": X}),
        ("SET a = list_append(t, :l)", {"l": texts("a")}),
        ("SET a = list_append(l, :x)", {"x": X}),
        ("SET a = list_append(zz, :l)", {"l": texts("a")}),
        ("ADD t :n", {"n": number(1)}),
        ("ADD n :x", {"x": X}),
        ("ADD n :l", {"l": texts("a")}),
        ("ADD s :s", {"s": {"NS": ["1"]}}),
        ("DELETE s :s", {"s": {"NS": ["1"]}}),
        ("DELETE t :s", {"s": {"SS": ["1"]}}),
        ("DELETE n :n", {"n": number(1)}),
    ],
)
def test_operands_have_to_be_there_and_to_fit(expression: str, values: Any) -> None:
    """An operand that is missing or of a wrong type is an error, and nothing is changed."""
    before = {"t": X, "l": texts("a"), "s": {"SS": ["a"]}, "n": number(1)}
    assert refused(before, expression, **values)


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "  ",
        "SET",
        "SET a",
        "SET a = ",
        "SET a = :x,",
        "SET a = :x b = :x",
        "SET a = :x SET b = :x",
        "SET a = :x REMOVE t SET b = :x",
        "HELLO a = :x",
        "SET :x = a",
        "SET a = :x + :x + :x",
        "SET a = if_not_exists(b, :x + :x)",
        "SET a = if_not_exists(:x, :x)",
        "SET a = if_not_exists(t, t)",
        "SET a = if_not_exists(t)",
        "SET a = if_not_exists(t, list_append(:x, :x))",
        "SET a = list_append(list_append(:x, :x), :x)",
        "SET a = LIST_APPEND(:x, :x)",
        "SET a = size(t)",
        "SET a = wrong(t)",
        "REMOVE t = :x",
        "ADD t",
        "ADD t n",
        "DELETE t n",
        "SET a.b[ = :x",
        "SET 1a = :x",
        "SET hi-there = :x",
    ],
)
def test_wrong_updates_are_refused(expression: str) -> None:
    """Wrong syntax, a clause twice, and functions where they may not be."""
    values = {"x": X} if ":x" in expression else {}
    assert refused({"t": X}, expression, **values)


@pytest.mark.parametrize(
    "expression",
    [
        "SET a = :x, a = :x",
        "SET a = :x REMOVE a",
        "SET a = :x, a.b = :x",
        "SET a.b.c = :x, a.b = :x",
        "SET a[1] = :x, a[1] = :x",
        "SET a[1] = :x REMOVE a[1][1]",
        "SET a.b = :x, a[1] = :x",
        "SET #a = :x, a = :x",
    ],
)
def test_paths_that_overlap_or_conflict_are_refused(expression: str) -> None:
    """One path may not be within another, nor take for a list what another takes for a map."""
    names = {"a": "a"} if "#a" in expression else None
    assert refused({"t": X}, expression, names=names, x=X)


def test_key_attributes_are_not_updated() -> None:
    """By no action, nor in a part of them; they may be read."""
    for expression in ("SET k = :x", "SET k.a = :x", "REMOVE k SET z = :x"):
        assert refused({}, expression, x=X)
    assert refused({}, "ADD k :n", n=number(1))
    assert updated({}, "SET z = k") == {"z": text("a")}


def test_an_update_creates_the_item_unless_it_only_takes_away() -> None:
    """REMOVE and DELETE of an item that is not there do nothing, whatever their path is."""
    service = Service()
    for expression, values in (
        ("REMOVE a", {}),
        ("REMOVE a.b, c[0]", {}),
        ("DELETE a :s", {"s": {"SS": ["a"]}}),
    ):
        assert service.update(expression, **values) == {}
        assert service.fake.items(ITEMS) == []
    assert service.update_code("SET a.b = :x", x=X) == INVALID
    assert service.update_code("SET a = k") == INVALID
    service.call("UpdateItem", **one())
    assert service.fake.items(ITEMS) == [{"k": text("a")}]
    assert service.update("SET a = :x REMOVE b", x=X) == {"a": X}


@pytest.mark.parametrize(
    ("expression", "old", "new"),
    [
        ("SET a.b = :x", {"a": {"M": {"b": number(1)}}}, {"a": {"M": {"b": X}}}),
        ("SET l[1] = :x", {"l": texts("q")}, {"l": texts("x")}),
        (
            "SET l[2] = :x, l[0] = :x, a.c = :x",
            {"l": texts("p", "r")},
            {"l": texts("x", "x"), "a": {"M": {"c": X}}},
        ),
        ("SET l[9999] = :x", None, None),
        ("REMOVE l[1]", {"l": texts("q")}, {"l": texts("r")}),
        ("REMOVE t", {"t": Y}, None),
        ("SET z = :x REMOVE t", {"t": Y}, {"z": X}),
        ("SET t = :x, z = :x", {"t": Y}, {"t": X, "z": X}),
    ],
)
def test_updated_attributes_are_only_the_parts_that_were_named(
    expression: str, old: Request | None, new: Request | None
) -> None:
    """UPDATED_OLD and UPDATED_NEW give what stands at the paths; nothing for appended elements."""
    for returned, expected in (("UPDATED_OLD", old), ("UPDATED_NEW", new)):
        service = Service()
        service.put(a={"M": {"b": number(1), "d": Y}}, l=texts("p", "q", "r"), t=Y)
        values = {":x": X} if ":x" in expression else None
        answer = service.call(
            "UpdateItem",
            **one(),
            UpdateExpression=expression,
            ReturnValues=returned,
            **({"ExpressionAttributeValues": values} if values else {}),
        )
        assert answer.get("Attributes") == expected


def test_an_update_has_as_many_actions_as_fit_but_not_as_many_operators() -> None:
    """400 assignments are fine, 301 sums are not."""
    service = Service()
    service.put()
    sets = ",".join(f"a{number}=:x" for number in range(400))
    assert len(service.update(f"SET {sets}", x=X)) == 400
    sums = ",".join(f"a{number}=:n+:n" for number in range(301))
    assert service.update_code(f"SET {sums}", n=number(1)) == INVALID
