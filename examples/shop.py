"""The outside world of the order example: a stock, prices, and a payment service with hiccups.

It is a file, because several worker processes deal with it. What it is asked to do under a key it
does once, however often it is asked: nodes pass their idempotency key, which is the same for
every attempt.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypedDict

BEGINNING: dict[str, Any] = {
    "stock": {"cup": 40, "tea": 100, "pot": 2},
    "prices": {"cup": 8.5, "tea": 4.0, "pot": 39.0},
    "failures_left": 2,
    "courier_is_there": True,
    "done": {},
}


class Item(TypedDict):
    """One line of an order."""

    sku: str
    quantity: int


class CourierError(Exception):
    """Nobody can deliver."""


class Shop:
    """A shop kept in a file.

    Args:
        path: The file; it is made if there is none.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def _open(self) -> Iterator[dict[str, Any]]:
        """The shop's books, for one customer at a time; written back whatever happens."""
        with self._path.with_suffix(".lock").open("w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            text = self._path.read_text(encoding="utf-8") if self._path.exists() else ""
            books = json.loads(text) if text else json.loads(json.dumps(BEGINNING))
            try:
                yield books
            finally:
                # The old books stay until the new ones are complete: processes get killed here.
                fresh = self._path.with_suffix(".new")
                fresh.write_text(json.dumps(books), encoding="utf-8")
                fresh.replace(self._path)

    def books(self) -> dict[str, Any]:
        """Everything that is written down."""
        with self._open() as books:
            return dict(books)

    def missing(self, items: list[Item]) -> list[str]:
        """What is not in stock."""
        with self._open() as books:
            return [i["sku"] for i in items if books["stock"].get(i["sku"], 0) < i["quantity"]]

    def price(self, sku: str) -> float:
        """The price of one piece."""
        with self._open() as books:
            return float(books["prices"][sku])

    def take(self, key: str, items: list[Item]) -> None:
        """Take items off the stock."""
        with self._open() as books:
            if key not in books["done"]:
                books["done"][key] = "taken"
                for item in items:
                    books["stock"][item["sku"]] -= item["quantity"]

    def put_back(self, key: str, items: list[Item]) -> None:
        """Put items back."""
        with self._open() as books:
            if key not in books["done"]:
                books["done"][key] = "put back"
                for item in items:
                    books["stock"][item["sku"]] += item["quantity"]

    def charge(self, key: str, amount: float) -> None:
        """Charge the customer; the payment service does not answer the first two times."""
        with self._open() as books:
            if books["failures_left"]:
                books["failures_left"] -= 1
                raise ConnectionError("the payment service does not answer")
            books["done"].setdefault(key, amount)

    def refund(self, key: str, amount: float) -> None:
        """Give the customer the money back."""
        with self._open() as books:
            books["done"].setdefault(key, -amount)

    def send_courier(self) -> None:
        """Have a parcel picked up."""
        with self._open() as books:
            if not books["courier_is_there"]:
                raise CourierError("the courier did not come")

    def lose_courier(self) -> None:
        """From now on nobody picks anything up."""
        with self._open() as books:
            books["courier_is_there"] = False
