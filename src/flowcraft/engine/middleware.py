"""Code around every node (rule S18)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

Proceed = Callable[[], Awaitable[Any]]


class Middleware:
    """Runs before, after and around each attempt at a node.

    Override what is needed; the methods may use everything that the node's context offers. An
    error raised here fails the attempt as if the node had raised it.
    """

    async def before(self, ctx: Any) -> None:
        """Called before the node."""

    async def after(self, ctx: Any, result: Any, error: BaseException | None) -> None:
        """Called after the node, with what it returned or the error it raised."""

    async def around(self, ctx: Any, proceed: Proceed) -> Any:
        """Called instead of the node; ``await proceed()`` runs it and gives its result."""
        del ctx
        return await proceed()

    def bind(self, ctx: Any, proceed: Proceed) -> Proceed:
        """The node's call with this layer around it."""

        async def call() -> Any:
            await self.before(ctx)
            try:
                result = await self.around(ctx, proceed)
            except BaseException as error:
                await self.after(ctx, None, error)
                raise
            await self.after(ctx, result, None)
            return result

        return call
