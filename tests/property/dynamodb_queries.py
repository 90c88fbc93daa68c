"""Queries and scans for the model of DynamoDB: drawn, written down, and what their pages have."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st

from tests.property.dynamodb_model import (
    PAGE_BYTES,
    Index,
    Item,
    Table,
    Tree,
    holds,
    item_bytes,
    projected,
)
from tests.property.dynamodb_texts import (
    INDEX,
    ITEMS,
    KEYS,
    ROWS,
    Request,
    Writer,
    conditions,
    number,
)

NAMES = [None, None, ["n"], ["n", "zz", "l"]]
OF_INDEX = [None, None, ["n"], ["n", "u"]]


@dataclass
class Pages:
    """A query or a scan, with all that it may ask for."""

    where: str
    partition: str | None
    sort: tuple[str, str] | None
    forward: bool
    consistent: bool
    names: list[str] | None
    only: Tree | None
    limit: int | None


@st.composite
def pages(draw: st.DrawFn) -> Pages:
    """A query or a scan."""
    where = draw(st.sampled_from([ITEMS, ROWS, ROWS, INDEX]))
    partition = (
        draw(st.sampled_from([None, *KEYS])) if where != INDEX else draw(st.sampled_from("xy"))
    )
    if where == INDEX and draw(st.integers(0, 3)) == 0:
        partition = None
    signs = ["", "=", "<", "<=", ">", ">=", "BETWEEN"]
    sign = draw(st.sampled_from(signs)) if partition and where != ITEMS else ""
    of_index = where == INDEX
    # The filter of a query may not be about keys, nor about what an index does not have.
    paths = (("n",),) if of_index else (("n",), ("l",), ("m", "n"), ("zz",), ("t",))
    return Pages(
        where,
        partition,
        (sign, draw(st.sampled_from(["0", "1"]))) if sign else None,
        draw(st.booleans()) if partition else True,
        not of_index and draw(st.booleans()),
        draw(st.sampled_from(OF_INDEX if of_index else NAMES)),
        draw(st.none() | conditions(0, paths)),
        draw(st.sampled_from([None, 1, 2, 3])),
    )


@dataclass
class Wanted:
    """What is wanted of pages: all of the rows, or what a filter and a projection leave."""

    table: Table
    index: Index | None
    asked: Pages
    plain: bool = False

    @property
    def keys(self) -> list[str]:
        """What a page's last key consists of."""
        return [*self.table.keys, *(self.index.keys if self.index else ())]

    def of(self, page: list[Item]) -> list[Item]:
        """What is found on a page."""
        only = self.asked.only
        rows = [row for row in page if only is None or holds(only, row)]
        return [projected(row, self.asked.names) for row in rows]


def page_of(rows: list[Item], limit: int | None) -> list[Item]:
    """The rows that one page looks at."""
    page: list[Item] = []
    for row in rows:
        full = sum(map(item_bytes, [*page, row])) > PAGE_BYTES
        if (page and full) or len(page) == limit:
            break
        page.append(row)
    return page


def pages_request(asked: Pages, table: Table) -> tuple[str, Request]:
    """A query or a scan for all the rows, without limit, filter and projection."""
    request: Request = {"TableName": table.name}
    if asked.where == INDEX:
        request["IndexName"] = INDEX
    if asked.consistent:
        request["ConsistentRead"] = True
    if asked.partition is None:
        return "Scan", request
    partition, sort = ("g", "u") if asked.where == INDEX else ("k", "r")
    writer = Writer()
    condition: Tree = "compare", "=", ("path", (partition,)), ("given", ("S", asked.partition))
    if asked.sort is not None:
        condition = "and", condition, sorting(asked.sort, sort)
    request["KeyConditionExpression"] = writer.condition(condition)
    request["ScanIndexForward"] = asked.forward
    return "Query", writer.into(request)


def sorting(sort: tuple[str, str], name: str) -> Tree:
    sign, low = sort
    path, bound = ("path", (name,)), ("given", number(low))
    if sign == "BETWEEN":
        return "between", "", path, bound, ("given", number("2"))
    return "compare", sign, path, bound


def complete(request: Request, asked: Pages) -> None:
    """Add the limit, the filter and the projection."""
    writer = Writer()
    writer.values = request.get("ExpressionAttributeValues", {})
    writer.names = request.get("ExpressionAttributeNames", {})
    if asked.limit:
        request["Limit"] = asked.limit
    if asked.only is not None:
        request["FilterExpression"] = writer.condition(asked.only)
    if asked.names:
        request["ProjectionExpression"] = ", ".join(asked.names)
    writer.into(request)


def creation(table: Table) -> Request:
    """The request that creates a table."""
    kinds = ("HASH", "RANGE")
    schema = [
        {"AttributeName": name, "KeyType": kind}
        for name, kind in zip(table.keys, kinds, strict=False)
    ]
    request: Request = {
        "TableName": table.name,
        "KeySchema": schema,
        "AttributeDefinitions": [
            {"AttributeName": name, "AttributeType": kind} for name, kind in table.types.items()
        ],
        "BillingMode": "PAY_PER_REQUEST",
    }
    if table.index is not None:
        keys_of_index = [
            {"AttributeName": name, "KeyType": kind}
            for name, kind in zip(table.index.keys, kinds, strict=True)
        ]
        projection = {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["n"]}
        request["GlobalSecondaryIndexes"] = [
            {"IndexName": INDEX, "KeySchema": keys_of_index, "Projection": projection}
        ]
    return request
