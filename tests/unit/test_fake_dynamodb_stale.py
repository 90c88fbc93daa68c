"""The fake DynamoDB: what it does on purpose, since AWS may: stale reads, items that expired."""

from __future__ import annotations

import random
from typing import Any

from tests.unit.fake_dynamodb import (
    ITEMS,
    ROWS,
    Request,
    Service,
    number,
    one,
    text,
)

G = {"ExpressionAttributeValues": {":g": text("g")}}


def oldest(count: int) -> int:
    """Chooses the oldest state."""
    return count - 1


def versions(service: Service, times: int = 40) -> set[str]:
    """What reads of the item `a` see that need not be consistent."""
    seen = [service.call("GetItem", **one()).get("Item", {}) for _ in range(times)]
    return {item.get("v", text("nothing"))["S"] for item in seen}


def test_reads_may_see_earlier_states_of_an_item() -> None:
    """By default, of the last three, and consistent reads never."""
    service = Service(stale_reads=True)
    for version in ("1", "2"):
        service.put(v=text(version))
    assert versions(service) == {"nothing", "1", "2"}
    service.put(v=text("3"))
    assert versions(service) == {"1", "2", "3"}
    assert {service.item()["v"]["S"] for _ in range(40)} == {"3"}


def test_stale_reads_can_be_switched_off() -> None:
    """Then every read sees the newest state."""
    service = Service(stale_reads=False)
    for version in ("1", "2", "3"):
        service.put(v=text(version))
        assert versions(service) == {version}


def test_the_caller_chooses_what_is_seen() -> None:
    """Of so many states the one with this index, 0 being the newest; the same seed, the same."""
    service = Service(stale_reads=True, stale_states=2, choose=oldest)
    service.put(v=text("1"))
    service.put(v=text("2"))
    assert versions(service) == {"1"}

    def seen(seed: int) -> list[Request]:
        chosen = Service(stale_reads=True, choose=random.Random(seed).randrange)
        for version in "123":
            chosen.put(v=text(version))
        return [chosen.call("GetItem", **one())["Item"]["v"] for _ in range(20)]

    assert seen(1) == seen(1)
    assert seen(1) != seen(2)


def test_an_earlier_state_is_seen_for_a_while_only() -> None:
    """So many seconds after the next one came."""
    service = Service(stale_reads=True, stale_seconds=5, choose=oldest)
    service.put(v=text("1"))
    service.clock.advance(10)
    service.put(v=text("2"))
    assert versions(service) == {"1"}
    service.clock.advance(5)
    assert versions(service) == {"1"}
    service.clock.advance(0.001)
    assert versions(service) == {"2"}


def test_a_deleted_item_may_still_be_seen() -> None:
    """By reads, scans, and queries; not by consistent ones, and not for ever."""
    service = Service(stale_reads=True, choose=lambda count: min(1, count - 1))
    service.row("p", 1, g=text("g"))
    service.clock.advance(60)
    service.call("DeleteItem", TableName=ROWS, Key={"p": text("p"), "r": number(1)})
    query: dict[str, Any] = {
        "TableName": ROWS,
        "KeyConditionExpression": "p = :p",
        "ExpressionAttributeValues": {":p": text("p")},
    }

    def counts() -> list[int]:
        return [
            service.call("Scan", TableName=ROWS)["Count"],
            service.call("Query", **query)["Count"],
            service.query("g = :g", IndexName="all", **G)["Count"],
            service.query("g = :g", IndexName="keys", **G)["Count"],
            service.call("Scan", TableName=ROWS, ConsistentRead=True)["Count"],
            service.call("Query", **query, ConsistentRead=True)["Count"],
        ]

    assert counts() == [1, 1, 0, 1, 0, 0]
    assert service.fake.items(ROWS) == []
    service.clock.advance(60)
    assert counts() == [0, 0, 0, 0, 0, 0]


def test_a_new_item_may_be_missed() -> None:
    """By scans and by indexes, which are never consistent."""
    service = Service(stale_reads=True, choose=oldest)
    service.row("p", 1, g=text("g"), u=number(1))
    assert service.call("Scan", TableName=ROWS)["Count"] == 0
    assert service.query("g = :g", IndexName="all", **G)["Count"] == 0
    assert service.call("Scan", TableName=ROWS, ConsistentRead=True)["Count"] == 1
    service.clock.advance(60)
    assert service.query("g = :g", IndexName="all", **G)["Count"] == 1


def test_an_index_may_show_a_row_where_it_was() -> None:
    """Under its former key with what it had then, but never in two places at once."""
    service = Service(stale_reads=True, choose=lambda count: min(1, count - 1))
    service.row("p", 1, g=text("running"), u=number(1), v=text("old"))
    service.row("p", 1, g=text("done"), u=number(1), v=text("new"))

    def found(group: str) -> list[Request]:
        values = {"ExpressionAttributeValues": {":g": text(group)}}
        return [item["v"] for item in service.query("g = :g", IndexName="all", **values)["Items"]]

    assert (found("running"), found("done")) == ([text("old")], [])
    scan = service.call("Scan", TableName=ROWS, IndexName="all")
    assert [item["v"] for item in scan["Items"]] == [text("old")]
    service.clock.advance(60)
    assert (found("running"), found("done")) == ([], [text("new")])


def test_a_drawn_history_leaves_nothing_behind_in_the_indexes() -> None:
    """After any history, and once it is old, table and indexes have the same items."""
    lots = random.Random(5)
    service = Service(stale_reads=True, choose=lots.randrange)
    for _ in range(600):
        key = {"p": text(lots.choice("ab")), "r": number(lots.randrange(3))}
        if lots.random() < 0.3:
            service.call("DeleteItem", TableName=ROWS, Key=key)
        else:
            group = {} if lots.random() < 0.2 else {"g": text(lots.choice("gh"))}
            item = {**key, **group, "u": number(lots.randrange(2))}
            service.call("PutItem", TableName=ROWS, Item=item)
        service.call("Scan", TableName=ROWS, IndexName="all")
        service.clock.advance(lots.choice([0, 1, 20]))
    service.clock.advance(60)
    grouped = [item for item in service.fake.items(ROWS) if "g" in item]
    for index in ("all", "keys"):
        assert service.call("Scan", TableName=ROWS, IndexName=index)["Count"] == len(grouped)
    for item in service.fake.items(ROWS):
        key = {"p": item["p"], "r": item["r"]}
        service.call("DeleteItem", TableName=ROWS, Key=key)
    service.clock.advance(60)
    service.row("z", 1)
    everything = service.call("Scan", TableName=ROWS, ConsistentRead=True)
    assert (everything["Count"], everything["ScannedCount"]) == (1, 1)


def with_ttl(**options: Any) -> Service:
    """A fake that lets items expire, one of which is to expire in 10 seconds."""
    service = Service(**options)
    specification = {"Enabled": True, "AttributeName": "ttl"}
    service.call("UpdateTimeToLive", TableName=ITEMS, TimeToLiveSpecification=specification)
    service.put("a", ttl=number(int(service.clock.now()) + 10))
    service.put("b")
    return service


def test_what_has_expired_stays_until_it_is_removed() -> None:
    """Reads find it, and conditions too, as on AWS, which takes its time."""
    service = with_ttl()
    service.clock.advance(1000)
    assert service.item("a")
    assert service.fake.expire() == 1
    assert service.item("a") == {}
    assert service.fake.expire() == 0
    assert [item["k"]["S"] for item in service.fake.items(ITEMS)] == ["b"]


def test_only_what_has_expired_is_removed() -> None:
    """Not what is due this very second, what has no number, or one of five years ago."""
    service = with_ttl()
    now = int(service.clock.now())
    service.put("c", ttl=text(str(now)))
    service.put("d", ttl=number(now - 6 * 365 * 86_400))
    service.put("e", ttl=number("1e100"))
    service.clock.advance(10)
    assert service.fake.expire() == 0
    service.clock.advance(1)
    assert service.fake.expire(ROWS) == 0
    assert service.fake.expire(ITEMS) == 1


def test_some_of_what_has_expired_can_be_removed() -> None:
    """At most so many at a time."""
    service = with_ttl()
    for name in "cdef":
        service.put(name, ttl=number(int(service.clock.now())))
    service.clock.advance(100)
    assert [service.fake.expire(limit=2) for _ in range(4)] == [2, 2, 1, 0]


def test_expired_items_can_be_gone_at_once() -> None:
    """If the fake is to be kind."""
    service = with_ttl(keep_expired=False)
    service.clock.advance(10)
    assert service.item("a")
    service.clock.advance(1)
    assert service.item("a") == {}


def test_removing_what_has_expired_costs_nothing() -> None:
    """It is no request."""
    service = with_ttl()
    before = (service.fake.write_units, service.fake.calls.total())
    service.clock.advance(100)
    assert service.fake.expire() == 1
    assert (service.fake.write_units, service.fake.calls.total()) == before
