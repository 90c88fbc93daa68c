"""Links inside of other applications: the dashboard's, and one of a user's own."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from flowcraft import create_flow
from flowcraft.web import create_app
from flowcraft.web.links import create_links_app, link_routes
from tests.unit.runs import drive
from tests.unit.web.link_site import LINKS, Site, site

flow = create_flow("f").wait("w", actions=["yes", "no"])
TOKEN = "a-token-of-some-length"


async def answered(at: Site, app: Any, base: str = LINKS.base_url) -> list[int]:
    """What the links of a run lead to in an application: the page, the form, the webhook."""
    await at.world.client.start_run(
        "f", run_id=(run_id := at.world.client._identifiers.new_run_id())
    )
    await at.world.settle()
    (page,) = await at.world.client.answer_links(run_id)
    (hook,) = await at.world.client.answer_links(run_id, purpose="webhook", action="no")
    urls = [each.url.replace(LINKS.base_url, base) for each in (page, hook)]
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as http:
        looked = await http.get(urls[0])
        sent = await http.post(urls[0], data={"action": "0"})
        posted = await http.post(urls[1], json=1)
    return [each.status_code for each in (looked, sent, posted)]


def test_the_dashboard_serves_links() -> None:
    """Whoever has a link needs no token of the dashboard, and comes by the name of the link."""

    async def play() -> None:
        async with site(flow) as at:
            async with create_app(at.world.client, token=TOKEN) as app:
                assert await answered(at, app) == [200, 200, 409]
            async with create_app(at.world.client) as app:
                assert await answered(at, app) == [200, 200, 409]

    drive(play())


def test_a_dashboard_that_changes_nothing_serves_no_links() -> None:
    """With `read_only` nobody answers anything there."""

    async def play() -> None:
        async with site(flow) as at, create_app(at.world.client, read_only=True) as app:
            assert not [code for code in await answered(at, app) if code == 200]

    drive(play())


@pytest.mark.parametrize("base", [LINKS.base_url, "https://other.example/below"])
def test_links_can_be_mounted_anywhere(base: str) -> None:
    """As an application below a path, or as routes of one's own application."""

    async def play() -> None:
        async with site(flow) as at:
            path = base.partition("example")[2].removeprefix(".org")
            app = Starlette(routes=[Mount(path, create_links_app(at.world.client))])
            assert await answered(at, app, base) == [200, 200, 409]
            app = Starlette(routes=[Mount(path, routes=link_routes(at.world.client))])
            assert await answered(at, app, base) == [200, 200, 409]

    drive(play())


@pytest.mark.parametrize("is_dashboard", [False, True])
def test_a_slash_behind_a_link_leads_nowhere_else(is_dashboard: bool) -> None:
    """The page itself is shown: a redirect would carry the token to a scheme and a host that only
    the request names."""

    async def play() -> None:
        async with site(flow) as at:
            client = at.world.client
            app: Any = create_app(client) if is_dashboard else create_links_app(client)
            url = await at.url("f")
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as http:
                headers = {"Host": "evil.example"}
                looked = await http.get(f"{url}/", headers=headers)
                assert (looked.status_code, looked.headers.get("location")) == (200, None)
                assert looked.headers["referrer-policy"] == "no-referrer"
                assert (await http.get(f"{url}//")).status_code == 404
                sent = await http.post(f"{url}/", data={"action": "0"})
                assert sent.status_code == 200

    drive(play())
