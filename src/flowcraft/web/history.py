"""The history of a run over HTTP: lines of JSON, as it is told."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final, cast

from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from flowcraft.engine.family import read_head
from flowcraft.engine.history_events import HistoryEvent
from flowcraft.engine.history_file import HistoryWriter
from flowcraft.web.call import Call

KIND: Final = "application/x-ndjson"


async def show_history(call: Call) -> Response:
    """All that happened in a run, as ``flowcraft history --export`` writes it."""
    # What is wrong with the run is told by the status, not in the middle of the lines.
    await read_head(await call.stage.station(), call.ids["runId"])
    call.stage.streams.take()
    return _Lines(call)


class _Lines(StreamingResponse):
    """Lines that give their place back, however they end."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._told = _lines(call)
        headers = {"Content-Disposition": 'attachment; filename="history.jsonl"'}
        super().__init__(self._told, headers=headers, media_type=KIND)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send them."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._told.aclose()
            self._call.stage.streams.give_back()


async def _lines(call: Call) -> AsyncGenerator[bytes, None]:
    lines: list[str] = []
    serializer = call.stage.options.serializer
    writer = HistoryWriter(lines.append, serializer, payloads=call.query["payloads"])
    told = call.client.history(call.ids["runId"], children=call.query["children"])
    events = cast("AsyncGenerator[HistoryEvent, None]", told)
    async with aclosing(events):
        async for event in events:
            writer.add(event)
            yield "".join(lines).encode("utf-8", "backslashreplace")
            lines.clear()
    writer.end()
    yield "".join(lines).encode("utf-8", "backslashreplace")
