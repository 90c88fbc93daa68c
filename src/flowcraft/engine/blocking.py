"""The verbs of a client for code that is not async: Django, Flask, scripts, Lambda."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

from flowcraft.engine.arguments import in_event_loop
from flowcraft.errors import FlowcraftError

if TYPE_CHECKING:
    from flowcraft.engine.client import FlowClient


class BlockingClient:
    """Each method of :class:`FlowClient` by its name, blocking until it is done.

    Made from the async methods, so there is nothing to keep in step by hand.
    """

    def __init__(self, client: Callable[[], FlowClient], group: str | None = None) -> None:
        self._client = client
        self._group = group

    @property
    def schedules(self) -> BlockingClient:
        """The verbs of schedules, in the same way."""
        return BlockingClient(self._client, "schedules")

    def _kind(self) -> type:
        from flowcraft.engine.client import FlowClient  # noqa: PLC0415 - it makes these
        from flowcraft.engine.schedules import Schedules  # noqa: PLC0415 - and these

        return FlowClient if self._group is None else Schedules

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._kind(), name, None)
        where = "" if self._group is None else f"{self._group}."
        if name.startswith("_") or not asyncio.iscoroutinefunction(method):
            instead = "" if method is None else f"; use 'client.{where}{name}' in async code"
            raise AttributeError(f"There is no verb 'sync.{where}{name}'{instead}.")

        @wraps(method)
        def call(*arguments: Any, **options: Any) -> Any:
            if in_event_loop():
                raise FlowcraftError(
                    f"'sync.{where}{name}' would block the event loop it was called in; use "
                    f"'await client.{where}{name}(…)' there."
                )
            return asyncio.run(self._call(name, *arguments, **options))

        return call

    async def _call(self, name: str, *arguments: Any, **options: Any) -> Any:
        client = self._client()
        try:
            verbs = client if self._group is None else getattr(client, self._group)
            return await getattr(verbs, name)(*arguments, **options)
        finally:
            await client.aclose()
