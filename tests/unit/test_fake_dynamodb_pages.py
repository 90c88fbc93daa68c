"""The fake DynamoDB: reading many items by query, by scan, and in batches."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.fake_dynamodb import (
    INVALID,
    ITEMS,
    ROWS,
    Request,
    Service,
    number,
    one,
    text,
    texts,
)


def rows(answer: Request) -> list[str]:
    """The sort keys of the items of an answer."""
    return [item["r"]["N"] for item in answer["Items"]]


def with_rows(count: int = 5, **options: Any) -> Service:
    """A fake with rows 0, 1, 2, … of the partition `p`, and one of another."""
    service = Service(**options)
    for sort in reversed(range(count)):
        service.row("p", sort, v=number(sort % 2), g=text("g"), u=number(-sort))
    service.row("q", 7)
    return service


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ("p = :p", "01234"),
        (":p = p", "01234"),
        ("(p = :p)", "01234"),
        ("p = :p AND r = :r", "2"),
        ("r = :r AND p = :p", "2"),
        ("p = :p AND r < :r", "01"),
        ("p = :p AND r <= :r", "012"),
        ("p = :p AND r > :r", "34"),
        ("p = :p AND r >= :r", "234"),
        ("p = :p AND :r < r", "34"),
        ("p = :p AND r BETWEEN :r AND :r", "2"),
        ("(p = :p) AND (r > :r)", "34"),
    ],
)
def test_queries_by_key_conditions(condition: str, found: str) -> None:
    """The rows of a partition in the order of their sort keys, forwards and backwards."""
    service = with_rows()
    values = {":p": text("p")} | ({":r": number(2)} if ":r" in condition else {})
    request = {"ExpressionAttributeValues": values}
    assert "".join(rows(service.query(condition, **request))) == found
    backwards = service.query(condition, **request, ScanIndexForward=False)
    assert "".join(rows(backwards)) == found[::-1]
    assert (backwards["Count"], backwards["ScannedCount"]) == (len(found), len(found))


@pytest.mark.parametrize(
    "condition",
    [
        "",
        "r = :r",
        "p < :p",
        "p = :p AND p = :p",
        "p = :p AND r > :r AND r < :r",
        "p = :p OR r = :r",
        "p = :p AND NOT r = :r",
        "p = :p AND r <> :r",
        "p = :p AND r IN (:r)",
        "p = :p AND v = :r",
        "p = :p AND begins_with(r, :r)",
        "p = :p AND attribute_exists(r)",
        "p = :p AND size(r) = :r",
        "p.a = :p",
        "p = r",
        "p = :r",
        "p = :p AND r = :p",
    ],
)
def test_wrong_key_conditions_are_refused(condition: str) -> None:
    """The partition key equals a value, and the sort key has one condition at most."""
    values = {":p": text("p"), ":r": number(2)}
    used = {name: value for name, value in values.items() if name in condition}
    request: Request = {"TableName": ROWS, "KeyConditionExpression": condition}
    if used:
        request["ExpressionAttributeValues"] = used
    assert with_rows().code("Query", **request) == INVALID


def test_texts_as_sort_keys_have_beginnings() -> None:
    """begins_with() finds them in order."""
    service = Service()
    service.call(
        "CreateTable",
        TableName="words",
        KeySchema=[
            {"AttributeName": "p", "KeyType": "HASH"},
            {"AttributeName": "w", "KeyType": "RANGE"},
        ],
        AttributeDefinitions=[
            {"AttributeName": "p", "AttributeType": "S"},
            {"AttributeName": "w", "AttributeType": "S"},
        ],
        BillingMode="PAY_PER_REQUEST",
    )
    for word in ("b", "ab", "a", "abc", "ac"):
        service.call("PutItem", TableName="words", Item={"p": text("p"), "w": text(word)})
    answer = service.call(
        "Query",
        TableName="words",
        KeyConditionExpression="p = :p AND begins_with(w, :w)",
        ExpressionAttributeValues={":p": text("p"), ":w": text("ab")},
    )
    assert [item["w"]["S"] for item in answer["Items"]] == ["ab", "abc"]


P = {"ExpressionAttributeValues": {":p": text("p")}}


def pages(service: Service, operation: str, **request: Any) -> list[Request]:
    """All pages of a query or of a scan."""
    found = [service.call(operation, TableName=ROWS, **request)]
    while "LastEvaluatedKey" in found[-1]:
        start = found[-1]["LastEvaluatedKey"]
        found.append(service.call(operation, TableName=ROWS, ExclusiveStartKey=start, **request))
    return found


@pytest.mark.parametrize("forward", [True, False])
def test_a_limit_cuts_pages_and_the_last_key_leads_on(forward: bool) -> None:
    """A page that ends at its limit always has a key, even if an empty page comes next."""
    service = with_rows(4)
    request = {"KeyConditionExpression": "p = :p", **P, "ScanIndexForward": forward}
    found = pages(service, "Query", **request, Limit=2)
    assert [len(page["Items"]) for page in found] == [2, 2, 0]
    assert found[0]["LastEvaluatedKey"] == {"p": text("p"), "r": number(1 if forward else 2)}
    assert [row for page in found for row in rows(page)] == sorted("0123", reverse=not forward)


def test_a_filter_is_applied_after_the_limit() -> None:
    """What it leaves out is counted as scanned, and a page may be empty without being the last."""
    service = with_rows(4)
    values = {":p": text("p"), ":v": number(1)}
    request = {
        "KeyConditionExpression": "p = :p",
        "FilterExpression": "v = :v",
        "ExpressionAttributeValues": values,
    }
    found = pages(service, "Query", **request, Limit=1)
    assert [(page["Count"], page["ScannedCount"]) for page in found] == [
        *((0, 1), (1, 1), (0, 1), (1, 1), (0, 0))
    ]


def test_a_filter_of_a_query_is_not_about_keys() -> None:
    """Of a scan it may be."""
    service = with_rows()
    request = {"TableName": ROWS, "FilterExpression": "r = :r"}
    values = {":p": text("p"), ":r": number(2)}
    query = {"KeyConditionExpression": "p = :p", "ExpressionAttributeValues": values}
    assert service.code("Query", **request, **query) == INVALID
    answer = service.call("Scan", **request, ExpressionAttributeValues={":r": number(2)})
    assert rows(answer) == ["2"]


def test_pages_have_at_most_a_megabyte() -> None:
    """Of items as they are stored, whatever a filter or a projection leaves."""
    service = Service()
    for sort in range(7):
        service.row("p", sort, v=text("x" * 300_000))
    request = {
        "KeyConditionExpression": "p = :p",
        **P,
        "ProjectionExpression": "r",
        "ConsistentRead": True,
        "ReturnConsumedCapacity": "TOTAL",
    }
    found = pages(service, "Query", **request)
    assert [len(page["Items"]) for page in found] == [3, 3, 1]
    units = [page["ConsumedCapacity"]["CapacityUnits"] for page in found]
    assert units == [220.0, 220.0, 74.0]
    assert found[0]["Items"][0] == {"r": number(0)}


def test_reading_nothing_costs_the_least() -> None:
    """Half a unit, or one if the read is consistent."""
    service = Service()
    request = {"TableName": ROWS, "ReturnConsumedCapacity": "TOTAL"}
    scan = service.call("Scan", **request)
    assert scan["ConsumedCapacity"]["CapacityUnits"] == 0.5
    query = service.query("p = :p", **P, ReturnConsumedCapacity="TOTAL")
    assert query["ConsumedCapacity"]["CapacityUnits"] == 1


def test_a_scan_meets_every_item_once_in_an_order_of_its_own() -> None:
    """Also page by page, and in segments; the order is not that of writing nor of keys."""
    service = Service()
    names = [f"run-{count}" for count in range(40)]
    for name in names:
        service.row(name, 1)
    whole = [item["p"]["S"] for item in service.call("Scan", TableName=ROWS)["Items"]]
    assert sorted(whole) == sorted(names)
    assert whole not in (names, sorted(names))
    paged = [item["p"]["S"] for page in pages(service, "Scan", Limit=3) for item in page["Items"]]
    assert paged == whole
    segments = [
        [item["p"]["S"] for page in found for item in page["Items"]]
        for found in (pages(service, "Scan", Segment=n, TotalSegments=4, Limit=3) for n in range(4))
    ]
    assert [name for segment in segments for name in segment] == whole
    assert all(segments)


def test_a_scan_goes_on_behind_a_key_that_is_gone() -> None:
    """Whoever removes what it has read misses nothing and meets nothing twice."""
    service = Service()
    for count in range(20):
        service.row(f"run-{count}", 1)
    met: list[str] = []
    start: Request = {}
    while True:
        answer = service.call("Scan", TableName=ROWS, Limit=3, **start)
        for item in answer["Items"]:
            met.append(item["p"]["S"])
            service.call("DeleteItem", TableName=ROWS, Key={"p": item["p"], "r": item["r"]})
        if "LastEvaluatedKey" not in answer:
            break
        start = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}
    assert sorted(met) == sorted(f"run-{count}" for count in range(20))


@pytest.mark.parametrize(
    "wrong",
    [
        {"Limit": 0},
        {"Limit": "1"},
        {"Segment": 0},
        {"TotalSegments": 2},
        {"Segment": 2, "TotalSegments": 2},
        {"ExclusiveStartKey": {"p": text("p")}},
        {"ExclusiveStartKey": {"p": text("p"), "r": number(1), "v": number(1)}},
        {"IndexName": "none"},
        {"IndexName": "all", "ConsistentRead": True},
        {"IndexName": "some", "ProjectionExpression": "w"},
        {"IndexName": "some", "FilterExpression": "attribute_exists(w)"},
        {"IndexName": "some", "Select": "ALL_ATTRIBUTES"},
        {"Select": "ALL_PROJECTED_ATTRIBUTES"},
        {"Select": "SPECIFIC_ATTRIBUTES"},
        {"Select": "COUNT", "ProjectionExpression": "v"},
        {"ProjectionExpression": ""},
        {"ProjectionExpression": "v, v.a"},
        {"ProjectionExpression": "v.a, v[0]"},
        {"ProjectionExpression": "v,"},
        {"ConsistentRead": "yes"},
        {"ReturnConsumedCapacity": "ALL"},
    ],
)
def test_wrong_scans_are_refused(wrong: Request) -> None:
    """Whatever the table has."""
    assert with_rows().code("Scan", TableName=ROWS, **wrong) == INVALID


@pytest.mark.parametrize(
    "start",
    [{"p": text("q"), "r": number(3)}, {"p": text("p"), "r": number(1)}],
)
def test_a_query_begins_within_what_it_asks_for(start: Request) -> None:
    """A key of another partition, or outside of the condition, is refused."""
    values = {":p": text("p"), ":r": number(1)}
    request = {
        "TableName": ROWS,
        "KeyConditionExpression": "p = :p AND r > :r",
        "ExpressionAttributeValues": values,
    }
    assert with_rows().code("Query", **request, ExclusiveStartKey=start) == INVALID


def test_counting_gives_no_items() -> None:
    """Select COUNT."""
    answer = with_rows().query("p = :p", **P, Select="COUNT")
    assert "Items" not in answer
    assert answer["Count"] == 5


def test_a_projection_gives_the_parts_that_it_names() -> None:
    """Where they belong; elements of lists close up, and what is not there is left out."""
    service = Service()
    service.put(l=texts("a", "b", "c"), m={"M": {"x": text("p"), "y": text("q")}})
    answer = service.call(
        "GetItem",
        **one(),
        ProjectionExpression="l[2], #l[0], m.y, gone, m.lost, l[7]",
        ExpressionAttributeNames={"#l": "l"},
    )
    assert answer["Item"] == {"l": texts("a", "c"), "m": {"M": {"y": text("q")}}}
    nothing = service.call("GetItem", **one(), ProjectionExpression="l.x, m[0], k.x")
    assert nothing["Item"] == {}


# --- indexes -------------------------------------------------------------------------------------

G = {"ExpressionAttributeValues": {":g": text("g")}}


def test_an_index_has_the_items_with_its_key_in_its_order() -> None:
    """Rows without its key are not in it, those with one sort key are in it side by side."""
    service = with_rows(3)
    service.row("z", 1, g=text("g"), u=number(-1))
    service.row("z", 2, g=text("g"))
    found = service.query("g = :g", IndexName="all", **G)["Items"]
    assert [item["u"]["N"] for item in found] == ["-2", "-1", "-1", "0"]
    everything = service.call("Scan", TableName=ROWS, IndexName="all")
    assert everything["Count"] == 4
    without_sort = service.query("g = :g", IndexName="keys", **G)
    assert without_sort["Count"] == 5


def test_an_index_has_what_is_projected_into_it() -> None:
    """Everything, keys only, or keys and what is included."""
    service = Service()
    service.row("p", 1, g=text("g"), u=number(1), v=text("v"), w=text("w"))
    parts = {
        name: sorted(service.query("g = :g", IndexName=name, **G)["Items"][0])
        for name in ("all", "keys", "some")
    }
    assert parts == {
        "all": ["g", "p", "r", "u", "v", "w"],
        "keys": ["g", "p", "r"],
        "some": ["g", "p", "r", "v"],
    }


def test_an_index_follows_updates_and_deletions() -> None:
    """Rows move when their key changes, and go when it is removed."""
    service = with_rows(3)
    key = {"TableName": ROWS, "Key": {"p": text("p"), "r": number(1)}}

    def order() -> list[str]:
        return rows(service.query("g = :g", IndexName="all", **G))

    assert order() == ["2", "1", "0"]
    service.call(
        "UpdateItem",
        **key,
        UpdateExpression="SET u = :u",
        ExpressionAttributeValues={":u": number(9)},
    )
    assert order() == ["2", "0", "1"]
    service.call("UpdateItem", **key, UpdateExpression="REMOVE g")
    assert order() == ["2", "0"]
    service.call("DeleteItem", TableName=ROWS, Key={"p": text("p"), "r": number(2)})
    assert order() == ["0"]


def test_pages_of_an_index_lead_on_by_both_keys() -> None:
    """The last key has those of the index and of the table."""
    service = with_rows(3)
    service.row("z", 1, g=text("g"), u=number(-1))
    request = {"IndexName": "all", "KeyConditionExpression": "g = :g", **G, "Limit": 1}
    found = pages(service, "Query", **request)
    assert set(found[0]["LastEvaluatedKey"]) == {"g", "u", "p", "r"}
    assert [item["u"]["N"] for page in found for item in page["Items"]] == ["-2", "-1", "-1", "0"]
    scanned = pages(service, "Scan", IndexName="all", Limit=1)
    assert sum(page["Count"] for page in scanned) == 4


def test_a_key_of_an_index_that_is_wrong_refuses_the_write() -> None:
    """Of another type, or empty; a missing one is fine."""
    service = with_rows(1)
    for attributes in ({"g": number(1)}, {"g": text("")}, {"u": text("x")}):
        item = {"p": text("p"), "r": number(9), **attributes}
        assert service.code("PutItem", TableName=ROWS, Item=item) == INVALID
    update = {
        "TableName": ROWS,
        "Key": {"p": text("p"), "r": number(0)},
        "UpdateExpression": "SET g = :g",
        "ExpressionAttributeValues": {":g": number(1)},
    }
    assert service.code("UpdateItem", **update) == INVALID


# --- batches -------------------------------------------------------------------------------------


def test_a_batch_reads_several_tables() -> None:
    """What is not there is left out; projections and consistency are by table."""
    service = with_rows(2)
    service.put("a", v=text("x"))
    answer = service.call(
        "BatchGetItem",
        RequestItems={
            ITEMS: {"Keys": [{"k": text("a")}, {"k": text("b")}], "ProjectionExpression": "v"},
            ROWS: {"Keys": [{"p": text("p"), "r": number(1)}], "ConsistentRead": True},
        },
        ReturnConsumedCapacity="TOTAL",
    )
    assert answer["Responses"][ITEMS] == [{"v": text("x")}]
    assert [item["r"] for item in answer["Responses"][ROWS]] == [number(1)]
    assert answer["UnprocessedKeys"] == {}
    told = {each["TableName"]: each["CapacityUnits"] for each in answer["ConsumedCapacity"]}
    assert told == {ITEMS: 1.0, ROWS: 1.0}


def test_a_batch_gives_items_in_another_order_than_it_was_asked() -> None:
    """Nobody may rely on it."""
    service = Service()
    names = [f"run-{count}" for count in range(20)]
    for name in names:
        service.put(name)
    wanted = {"Keys": [{"k": text(name)} for name in names]}
    answer = service.call("BatchGetItem", RequestItems={ITEMS: wanted})
    found = [item["k"]["S"] for item in answer["Responses"][ITEMS]]
    assert sorted(found) == sorted(names)
    assert found != names


def test_a_batch_reads_16_mb_and_leaves_the_rest() -> None:
    """What is left over comes back as a request for it."""
    service = Service()
    keys = [{"k": text(f"{count:02}")} for count in range(45)]
    for key in keys:
        service.put(key["k"]["S"], v=text("x" * 400_000))
    wanted = {"Keys": keys, "ProjectionExpression": "k", "ConsistentRead": True}
    answer = service.call("BatchGetItem", RequestItems={ITEMS: wanted})
    left = answer["UnprocessedKeys"]
    assert len(answer["Responses"][ITEMS]) == 41
    assert left[ITEMS] == {**wanted, "Keys": keys[41:]}
    rest = service.call("BatchGetItem", RequestItems=left)
    assert len(rest["Responses"][ITEMS]) == 4


@pytest.mark.parametrize(
    "keys",
    [
        [],
        [{"k": text("a")}, {"k": text("a")}],
        [{"k": text(str(count))} for count in range(101)],
        [{"k": number(1)}],
        [{}],
    ],
)
def test_wrong_batches_are_refused(keys: list[Request]) -> None:
    """More than 100 keys, one twice, none, or a wrong one."""
    assert Service().code("BatchGetItem", RequestItems={ITEMS: {"Keys": keys}}) == INVALID
