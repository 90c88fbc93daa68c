"""A site with links in tests: a durable world in virtual time, and its pages over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from typing import Any

import httpx

from flowcraft.engine.linking import AnswerLink
from flowcraft.engine.links import Links
from flowcraft.web.links import create_links_app
from tests.unit.durable import World

HOST = "flows.example.org"
LINKS = Links(f"https://{HOST}", "a secret of more than 32 bytes, for tests")


@dataclass
class Site:
    """What a test has at hand.

    Attributes:
        world: Storage, worker and client.
        http: Asks the application.
    """

    world: World
    http: httpx.AsyncClient

    async def links(self, flow: str, run_id: str = "r", **options: Any) -> dict[str, AnswerLink]:
        """The links of a run that was started, by node."""
        await self.world.client.start_run(flow, run_id=run_id)
        await self.world.settle()
        found = await self.world.client.answer_links(run_id, **options)
        return {link.node_id: link for link in found}

    async def url(self, flow: str, run_id: str = "r", **options: Any) -> str:
        """The link of a run with one wait."""
        (link,) = (await self.links(flow, run_id, **options)).values()
        return link.url

    async def outputs(self, run_id: str = "r") -> dict[str, Any]:
        """The outputs of a run when it is over."""
        return dict((await self.world.finish(run_id)).outputs)


@asynccontextmanager
async def site(*flows: Any, **options: Any) -> AsyncIterator[Site]:
    """A site on which some flows can be answered."""
    world = World().knows(*flows)
    world.runtime.options = replace(world.runtime.options, links=LINKS)
    await world.process()
    transport = httpx.ASGITransport(create_links_app(world.client, **options))
    async with httpx.AsyncClient(transport=transport, base_url=LINKS.base_url) as http:
        try:
            yield Site(world, http)
        finally:
            await world.end()


class Page(HTMLParser):
    """A page, taken apart.

    Attributes:
        tags: Names of the elements, in order.
        attributes: Names of all their attributes.
        inputs: Attributes of the inputs and buttons, by name and then by value.
        text: What a person reads, without the style sheet.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.inputs: list[dict[str, str | None]] = []
        self._parts: list[str] = []
        self._skips = False
        self.feed(html)
        self.text = " ".join(" ".join(self._parts).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.tags.append(tag)
        self.attributes.update(name for name, _ in attrs)
        self._skips = tag == "style"
        if tag in ("input", "select", "textarea", "button", "option"):
            self.inputs.append({"tag": tag, **dict(attrs)})

    def handle_endtag(self, tag: str) -> None:
        """Note its end."""
        if tag == "style":
            self._skips = False

    def handle_data(self, data: str) -> None:
        """Note a text."""
        if not self._skips:
            self._parts.append(data)

    def named(self, name: str) -> dict[str, str | None]:
        """The attributes of the one input of a name."""
        (found,) = (each for each in self.inputs if each.get("name") == name)
        return found
