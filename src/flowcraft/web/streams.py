"""Server-sent events: what those who watch are told, as a stream of text that does not end."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Hashable
from typing import Any, Final

from starlette.responses import Response, StreamingResponse

from flowcraft.engine.jsonable import jsonable, on_one_line
from flowcraft.web.call import Call
from flowcraft.web.live import Rhythm, Told, Watcher, event_id

STREAM_KIND: Final = "text/event-stream"

RETRY_MS: Final = 3_000
"""When a browser that has lost its stream is to come back."""

HEARTBEAT: Final = b": still there\n\n"
LAST_EVENT_ID: Final = "last-event-id"


def event_text(told: Told, name: str | None) -> bytes:
    """An event, as a stream has it."""
    data = json.dumps(told.data, ensure_ascii=False, separators=(",", ":"), default=jsonable)
    lines = [f"event: {told.event}"]
    if name is not None:
        lines.append(f"id: {name}")
    lines.append(f"data: {on_one_line(data)}")
    return ("\n".join(lines) + "\n\n").encode("utf-8", "backslashreplace")


def stream(call: Call, key: Hashable, open_scene: Callable[[], Any], rhythm: Rhythm) -> Response:
    """Stream what becomes of something, until it is over or nobody reads.

    Args:
        call: Who asks.
        key: Names what is watched.
        open_scene: Begins to look at it.
        rhythm: How often it is looked at.

    Raises:
        HttpProblem: There are too many streams.
    """
    stage = call.stage
    stage.streams.take()
    last_id = call.request.headers.get(LAST_EVENT_ID) or call.query.get("lastEventId")
    watcher = stage.live.watch(key, open_scene, rhythm, last_id)
    return _Stream(call, watcher)


class _Stream(StreamingResponse):
    """A stream that gives its place back, however it ends."""

    def __init__(self, call: Call, watcher: Watcher) -> None:
        self._call = call
        self._watcher = watcher
        self._told = self._events()
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(self._told, headers=headers, media_type=STREAM_KIND)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._told.aclose()
            self._call.stage.live.leave(self._watcher)
            self._call.stage.streams.give_back()

    async def _events(self) -> AsyncGenerator[bytes, None]:
        stage, lookout = self._call.stage, self._watcher.lookout
        yield f"retry: {RETRY_MS}\n\n".encode()
        while not stage.is_ending.is_set():
            told = self._watcher.told()
            for each in told:
                yield event_text(each, event_id(lookout, each))
            if told and told[-1] is lookout.end:
                return
            if not told:
                await lookout.wait(stage.limits.heartbeat_seconds)
                if not self._watcher.has_news and not stage.is_ending.is_set():
                    yield HEARTBEAT
