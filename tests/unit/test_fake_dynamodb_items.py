"""The fake DynamoDB: which values and keys are allowed, and how large items are."""

from __future__ import annotations

from typing import Any

import pytest

from flowcraft.testing.aws.dynamodb_words import RESERVED_WORDS
from tests.unit.fake_dynamodb import (
    INVALID,
    ITEMS,
    MISSING,
    ROWS,
    Request,
    Service,
    number,
    one,
    text,
    texts,
)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("1e5", "100000"),
        ("1E-3", "0.001"),
        ("1.50", "1.5"),
        ("-0", "0"),
        ("00012", "12"),
        ("+7", "7"),
        (".5", "0.5"),
        ("0e1000", "0"),
        ("12345678901234567890123456789012345678", "12345678901234567890123456789012345678"),
        ("9.9e125", "99" + "0" * 124),
        ("1e-130", "0." + "0" * 129 + "1"),
    ],
)
def test_numbers_are_kept_exactly_and_plainly(given: str, kept: str) -> None:
    """A number loses no digit, but its exponent and superfluous zeros."""
    service = Service()
    service.put(n=number(given))
    assert service.item() == {"n": number(kept)}


@pytest.mark.parametrize(
    "given",
    ["1e126", "1e-131", "123456789012345678901234567890123456789", " 1", "1 ", "", "NaN", "1_0"],
)
def test_what_is_no_number_is_refused(given: str) -> None:
    """39 digits, magnitudes out of range and texts that are no numbers are refused."""
    item = {"k": text("a"), "n": number(given)}
    assert Service().code("PutItem", TableName=ITEMS, Item=item) == INVALID


@pytest.mark.parametrize(
    "value",
    [
        {"SS": []},
        {"NS": ["1", "1.0"]},
        {"SS": ["a", "a"]},
        {"SS": ["", "a"]},
        {"NULL": False},
        {"BOOL": "true"},
        {"N": 1},
        {"S": b"a"},
        {"B": "a"},
        {"X": "a"},
        {},
        {"S": "a", "N": "1"},
        {"L": [{"SS": []}]},
        {"M": {"": {"S": "a"}}},
        "a",
    ],
)
def test_values_that_do_not_fit_their_type_are_refused(value: Any) -> None:
    """Empty sets, members twice, NULL that is not true, and other types are refused."""
    item = {"k": text("a"), "v": value}
    assert Service().code("PutItem", TableName=ITEMS, Item=item) == INVALID


@pytest.mark.parametrize(
    "value", [text(""), {"B": b""}, {"L": []}, {"M": {}}, {"NULL": True}, {"B": b"\x00\xff"}]
)
def test_empty_texts_bytes_lists_and_maps_are_kept(value: Request) -> None:
    """What may be empty may be."""
    service = Service()
    service.put(v=value, l={"L": [value]})
    assert service.item() == {"v": value, "l": {"L": [value]}}


def nested(levels: int) -> Request:
    """Lists within each other."""
    value = text("x")
    for _ in range(levels):
        value = {"L": [value]}
    return value


def test_lists_and_maps_go_32_levels_deep() -> None:
    """31 lists within each other and a text are stored, 32 are not, by update neither."""
    service = Service()
    service.put(v=nested(31))
    item = {"k": text("a"), "v": nested(32)}
    assert service.code("PutItem", TableName=ITEMS, Item=item) == INVALID
    service.put(v={"L": [text("y")]})
    assert service.update_code("SET v[0] = :v", v=nested(31)) == INVALID
    assert service.update("SET v[0] = :v", v=nested(30)) == {"v": nested(31)}


@pytest.mark.parametrize(
    "key",
    [
        {},
        {"k": text("")},
        {"k": number(1)},
        {"k": text("a"), "x": text("b")},
        {"x": text("a")},
        {"k": text("é" * 1024 + "a")},
    ],
)
def test_a_key_has_exactly_the_attributes_of_the_schema(key: Request) -> None:
    """A key that lacks one, has more, is empty, of another type or too long is refused."""
    assert Service().code("GetItem", TableName=ITEMS, Key=key) == INVALID


def test_keys_have_their_largest_sizes() -> None:
    """2048 bytes of a partition key are allowed, and 1024 of a sort key."""
    service = Service()
    service.put("é" * 1024)
    assert service.call("GetItem", **one("é" * 1024), ConsistentRead=True)["Item"]
    table = {
        "TableName": "texts",
        "KeySchema": [
            {"AttributeName": "p", "KeyType": "HASH"},
            {"AttributeName": "s", "KeyType": "RANGE"},
        ],
        "AttributeDefinitions": [
            {"AttributeName": "p", "AttributeType": "S"},
            {"AttributeName": "s", "AttributeType": "B"},
        ],
        "BillingMode": "PAY_PER_REQUEST",
    }
    service.call("CreateTable", **table)
    item = {"p": text("p"), "s": {"B": b"x" * 1024}}
    service.call("PutItem", TableName="texts", Item=item)
    item["s"] = {"B": b"x" * 1025}
    assert service.code("PutItem", TableName="texts", Item=item) == INVALID


def test_numbers_in_keys_are_equal_by_value() -> None:
    """1, 1.0 and 10e-1 are one key."""
    service = Service()
    service.row("p", "1.0", v=text("first"))
    service.row("p", "10e-1", v=text("second"))
    assert [item["v"] for item in service.fake.items(ROWS)] == [text("second")]


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (text("abcde"), 5),
        (text("é"), 2),
        (number(0), 1),
        (number(12), 2),
        (number(123), 3),
        (number(-12), 3),
        (number(1000), 2),
        (number("1.5"), 3),
        (number("12.5"), 3),
        (number("0.01"), 2),
        ({"B": b"abc"}, 3),
        ({"BOOL": True}, 1),
        ({"NULL": True}, 1),
        ({"L": []}, 3),
        (texts("a", "b"), 7),
        ({"M": {"é": text("a")}}, 7),
        ({"L": [{"L": []}]}, 7),
        ({"SS": ["a", "bc"]}, 3),
        ({"NS": ["1", "2"]}, 4),
        ({"BS": [b"a", b"bc"]}, 3),
    ],
)
def test_values_have_the_sizes_of_aws(value: Request, size: int) -> None:
    """Names, contents, three bytes for a list or a map and one for each of its elements."""
    service = Service()
    service.put(v=value)
    assert service.fake.size_of(ITEMS, {"k": text("a")}) == len("k") + len("a") + len("v") + size
    grown = service.fake.size_of(ITEMS, {"k": text("a")})
    service.update("SET w = :w", w=value)
    assert service.fake.size_of(ITEMS, {"k": text("a")}) == grown + 1 + size


def test_an_item_has_at_most_400_kb() -> None:
    """409,600 bytes are stored; a byte more is refused, by an update too, and changes nothing."""
    service = Service()
    service.put(v=text("x" * (409_600 - 3)))
    assert service.fake.size_of(ITEMS, {"k": text("a")}) == 409_600
    assert service.update_code("SET v = :v", v=text("y" * (409_600 - 2))) == INVALID
    item = {"k": text("b"), "v": text("x" * (409_600 - 2))}
    assert service.code("PutItem", TableName=ITEMS, Item=item) == INVALID
    assert service.item() == {"v": text("x" * (409_600 - 3))}


def test_the_largest_item_is_remembered() -> None:
    """Also after it has become smaller, and for each table."""
    service = Service()
    service.put(v=text("x" * 997))
    service.put(v=text("x"))
    assert service.fake.largest_item(ITEMS) == 1000
    assert service.fake.largest_item(ROWS) == 0


def test_nothing_is_shared_with_what_is_stored() -> None:
    """Neither what was put nor what was got changes the item when it is changed."""
    service = Service()
    given = {"k": text("a"), "m": {"M": {"l": texts("x"), "s": {"SS": ["x"]}}}}
    service.call("PutItem", TableName=ITEMS, Item=given)
    given["m"]["M"]["l"]["L"].append(text("y"))
    first = service.item()
    first["m"]["M"]["l"]["L"].append(text("y"))
    first["m"]["M"]["l"]["L"][0]["S"] = "y"
    first["m"]["M"]["s"]["SS"].append("y")
    service.fake.items(ITEMS)[0]["m"]["M"].clear()
    answer = service.call(
        "UpdateItem",
        **one(),
        UpdateExpression="SET z = m",
        ReturnValues="ALL_NEW",
    )
    answer["Attributes"]["z"]["M"]["l"]["L"].append(text("y"))
    kept = {"M": {"l": texts("x"), "s": {"SS": ["x"]}}}
    assert service.item() == {"m": kept, "z": kept}


def test_an_unknown_table_is_not_there() -> None:
    """Every request to it is refused."""
    service = Service()
    for operation in ("GetItem", "DeleteItem", "UpdateItem"):
        key = {"k": text("a")}
        assert service.code(operation, TableName="none", Key=key) == MISSING
    assert service.code("Scan", TableName="none") == MISSING
    assert service.code("DescribeTable", TableName="none") == MISSING


def test_unknown_parameters_and_operations_are_refused() -> None:
    """The predecessors of expressions are among them."""
    service = Service()
    assert service.code("PutItem", TableName=ITEMS, Item={"k": text("a")}, Expected={}) == INVALID
    assert service.code("GetItem", **one(), AttributesToGet=["k"]) == INVALID
    assert service.code("GetItem", TableName=ITEMS) == INVALID
    assert service.code("ExecuteStatement", Statement="") == "UnknownOperationException"


def test_words_are_reserved_whatever_their_case() -> None:
    """A reserved word is refused bare and taken as a #name; all 573 are known."""
    service = Service()
    assert len(RESERVED_WORDS) == 573
    for word in ("status", "Ttl", "NAME", "data"):
        assert service.update_code(f"SET {word} = :v", v=text("x")) == INVALID
        service.update("SET #w = :v", names={"w": word}, v=text("x"))
    assert sorted(service.item()) == ["NAME", "Ttl", "data", "status"]
