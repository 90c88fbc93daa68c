"""DynamoDB in memory, at the level of its requests, and no kinder than the service."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any

from flowcraft.adapters.aws.transport import Answer, AwsError, Request
from flowcraft.ports.clock import Clock
from flowcraft.testing.aws.dynamodb_administration import Administration
from flowcraft.testing.aws.dynamodb_errors import Refusal
from flowcraft.testing.aws.dynamodb_items import Item, copy_of_item, decimal_of, taken_item
from flowcraft.testing.aws.dynamodb_pages import Pager
from flowcraft.testing.aws.dynamodb_reading import Reader
from flowcraft.testing.aws.dynamodb_requests import check_parameters
from flowcraft.testing.aws.dynamodb_tables import Choose, Staleness, Table, absent
from flowcraft.testing.aws.dynamodb_writing import Writer

# What expired longer ago is not removed, since it may be no time at all.
_OLDEST_EXPIRY_SECONDS = 5 * 365 * 86_400


@dataclass(frozen=True, slots=True)
class Logged:
    """A request that was made.

    Attributes:
        at: When, in seconds since the epoch.
        operation: Which one, such as ``PutItem``.
        request: Its parameters, as they were given; not a copy.
        error: The code of its error, or None.
    """

    at: float
    operation: str
    request: Request
    error: str | None


class FakeDynamoDb:
    """A :class:`~flowcraft.adapters.aws.transport.Transport` to a DynamoDB in memory.

    Every request is one step that nothing interrupts. Expressions, limits, sizes and capacity
    units are those of AWS; messages of errors are not. It does on purpose what AWS may do:

    - Reads that are not consistent, and every read of an index, see an earlier state of some
      items, or miss the newest ones.
    - Items whose time to live is over stay, and are found, until :meth:`expire`.
    - Scans and batches give items in an order that means nothing.

    There are no local secondary indexes, streams, PartiQL, or the parameters that expressions
    have replaced (``Expected``, ``AttributeUpdates``, …): they are refused.

    Args:
        clock: The time, for the answers' date, for what is stale, and for what has expired.
        choose: Which state a read sees: given a number of states, the index of one of them, 0
            being the newest; such as ``random.Random(7).randrange``. By default a sequence that
            is the same every time.
        stale_reads: Whether reads that are not consistent may be stale at all.
        stale_states: How many states of an item may be seen, the newest included.
        stale_seconds: How long an earlier state may be seen after the next one came.
        keep_expired: Whether expired items stay until :meth:`expire`. Otherwise they are gone
            before the next request, which looks at all items each time.
        creating_seconds: How long it takes until a created table is there.
        log_length: How many of the last requests :attr:`log` keeps.

    Attributes:
        calls: How many requests were made, refused ones included, by operation.
        log: The last requests.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        choose: Choose | None = None,
        stale_reads: bool = True,
        stale_states: int = 3,
        stale_seconds: float = 10.0,
        keep_expired: bool = True,
        creating_seconds: float = 0.0,
        log_length: int = 200,
    ) -> None:
        self.calls: Counter[str] = Counter()
        self.log: deque[Logged] = deque(maxlen=log_length)
        self._clock = clock
        self._keep_expired = keep_expired
        self._tables: dict[str, Table] = {}
        self._units_of_deleted = [0.0, 0.0]
        staleness = Staleness(
            stale_states if stale_reads else 1, stale_seconds, choose or _sequence()
        )
        self._operations = _operations(
            Reader(self._tables),
            Writer(self._tables),
            Pager(self._tables),
            Administration(self._tables, staleness, creating_seconds),
        )

    async def call(self, operation: str, request: Request) -> Answer:
        """Carry out a request.

        Args:
            operation: Its name, such as ``UpdateItem``.
            request: Its parameters, as boto3 takes them.

        Returns:
            The answer, as boto3 gives it. Nothing in it is shared with what is stored.

        Raises:
            AwsError: It was refused.
        """
        now = self._clock.now()
        self.calls[operation] += 1
        try:
            answer = self._carried_out(operation, request, now)
        except Refusal as refusal:
            self.log.append(Logged(now, operation, request, refusal.code))
            raise AwsError(
                refusal.code, refusal.message, operation=operation, answer=refusal.answer
            ) from None
        self.log.append(Logged(now, operation, request, None))
        metadata = {"HTTPStatusCode": 200, "HTTPHeaders": {"date": formatdate(now, usegmt=True)}}
        return {**answer, "ResponseMetadata": metadata}

    def _carried_out(self, operation: str, request: Request, now: float) -> dict[str, Any]:
        carry_out = self._operations.get(operation)
        if carry_out is None:
            raise Refusal("UnknownOperationException", f"There is no operation {operation}")
        check_parameters(operation, request)
        if not self._keep_expired:
            self.expire()
        tables = list(self._tables.values())
        answer = carry_out(request, now)
        for table in tables:
            if table.name not in self._tables:
                self._units_of_deleted[0] += table.read_units
                self._units_of_deleted[1] += table.write_units
        return answer

    @property
    def read_units(self) -> float:
        """How many read units were consumed by all requests."""
        own = sum(table.read_units for table in self._tables.values())
        return self._units_of_deleted[0] + own

    @property
    def write_units(self) -> float:
        """How many write units were consumed by all requests, refused conditions included."""
        own = sum(table.write_units for table in self._tables.values())
        return self._units_of_deleted[1] + own

    def read_units_of(self, table: str) -> float:
        """How many read units were consumed by reading a table and its indexes."""
        return self._tables[table].read_units

    def write_units_of(self, table: str) -> float:
        """How many write units were consumed by writing a table and its indexes."""
        return self._tables[table].write_units

    def items(self, table: str) -> list[Item]:
        """Copies of all items of a table as they are now, in the order of scans."""
        return [copy_of_item(item) for item in self._tables[table].items()]

    def size_of(self, table: str, key: Mapping[str, Any]) -> int:
        """How many bytes an item counts for now; 0 if there is none."""
        item = taken_item(key)
        schema = self._tables[table].schema
        schema.check_key(item)
        return self._tables[table].newest(schema.key_of(item)).size

    def largest_item(self, table: str) -> int:
        """How many bytes the largest item that was ever stored in a table counted for."""
        return self._tables[table].largest_item

    def expire(self, table: str | None = None, limit: int | None = None) -> int:
        """Remove items whose time to live is over.

        Args:
            table: Of this table only.
            limit: At most so many.

        Returns:
            How many were removed.
        """
        now = self._clock.now()
        removed = 0
        for each in list(self._tables.values()):
            if table is not None and each.name != table:
                continue
            for item in each.items():
                if removed == limit:
                    return removed
                if _has_expired(item, each.ttl_attribute, now):
                    each.write(each.schema.key_of(item), absent(), now)
                    removed += 1
        return removed


def _has_expired(item: Item, attribute: str | None, now: float) -> bool:
    number = item.get(attribute, {}).get("N") if attribute else None
    if number is None:
        return False
    expires_at = float(decimal_of(number))
    return now - _OLDEST_EXPIRY_SECONDS < expires_at < now


def _sequence() -> Choose:
    """Numbers without a pattern, the same in every run."""
    state = 1

    def choose(count: int) -> int:
        nonlocal state
        # The multiplicative generator of Park and Miller, "minimal standard", 1988.
        state = state * 16_807 % 2_147_483_647
        return state * count // 2_147_483_647

    return choose


def _operations(
    reader: Reader, writer: Writer, pager: Pager, administration: Administration
) -> dict[str, Callable[[Request, float], dict[str, Any]]]:
    return {
        "BatchGetItem": reader.batch_get_item,
        "BatchWriteItem": writer.batch_write_item,
        "CreateTable": administration.create_table,
        "DeleteItem": writer.delete_item,
        "DeleteTable": administration.delete_table,
        "DescribeTable": administration.describe_table,
        "DescribeTimeToLive": administration.describe_time_to_live,
        "GetItem": reader.get_item,
        "ListTables": administration.list_tables,
        "PutItem": writer.put_item,
        "Query": pager.query,
        "Scan": pager.scan,
        "TransactGetItems": reader.transact_get_items,
        "TransactWriteItems": writer.transact_write_items,
        "UpdateItem": writer.update_item,
        "UpdateTimeToLive": administration.update_time_to_live,
    }
