"""Takes the pictures of the documentation: ``make screenshots``.

A shop is opened, its worker takes its time, and pages of its dashboard are photographed.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from playwright.async_api import Page, expect

from flowcraft import NodeResult, RetryPolicy, create_flow
from flowcraft.adapters.system import SystemClock
from tests.acceptance.browser import browser, chromium
from tests.browser.shop import CardDeclined, Shop
from tests.browser.site import DESK, PHONE, Site, site_of
from tests.browser.visits import state_of, status

IMAGES: Final = Path(__file__).resolve().parents[2] / "docs" / "images"
MOST_BYTES: Final = 200_000
PACE_SECONDS: Final = {"check-fraud": 0.9, "check-stock": 0.3, "prepare": 0.4, "pick-items": 0.7}


class UnhurriedShop(Shop):
    """A shop whose nodes take as long as such nodes do, nearly."""

    async def note(self, ctx: Any) -> Any:
        """Take a while."""
        await asyncio.sleep(PACE_SECONDS.get(ctx.node_id, 0.2))
        return {"done": ctx.node_id}

    async def charge(self, ctx: Any) -> Any:
        """Take a while, and fail."""
        await asyncio.sleep(0.35)
        return await super().charge(ctx)

    async def convert(self, ctx: Any) -> Any:
        """Take a while for each, and fail where there is nothing to convert."""
        await asyncio.sleep(0.3 + len(ctx.node_id) / 25)
        if ctx.node_id == "thumbnail" and ctx.attempt < 3:
            raise CardDeclined("The image service answers 503")
        return NodeResult(output={"node": ctx.node_id})

    def media(self) -> Any:
        """A film that is made ready: much of it at once, one part only at the third attempt."""
        again = RetryPolicy(max_attempts=4, delay=0.5, jitter=False)
        flow = create_flow("publish-film").node("probe", self.convert, uses="media.probe")
        for name in ("video-1080p", "video-720p", "audio", "subtitles", "thumbnail"):
            flow.node(name, self.convert, uses=f"media.{name}", retry=again).edge("probe", name)
            flow.edge(name, "package")
        flow.node("package", self.convert, uses="media.package")
        flow.node("publish", self.wait_at_gate, uses="media.publish")
        return flow.edge("package", "publish")


async def fill(site: Site) -> None:
    """Let there be runs of all kinds."""
    start = site.adapter.start_run
    amounts = [120, 12_400, 80, 9_100, 40, 310]
    for number, amount in enumerate(amounts):
        tags = {"tenant": ("acme", "globex")[number % 2], "tier": ("gold", "free")[number % 3 > 0]}
        await start("order", {"amount": amount}, run_id=f"order-{1042 + number}", tags=tags)
    await start("payout", {}, run_id="payout-77", tags={"tenant": "initech"})
    await start("parcel", {"number": "P-5512"}, run_id="parcel-5512")
    await start("report", {"numbers": list(range(400)), "rounds": 0}, run_id="report-2026-q1")
    await start("echo", {"value": 7}, run_id="echo-3", tags={"tenant": "acme"})
    await start("publish-film", {}, run_id="film-metropolis", tags={"tenant": "ufa"})
    await site.adapter.pause_run("order-1046")
    await start("order", {"amount": 60}, run_id="order-1048", tags={"tenant": "globex"})
    await site.adapter.cancel_run("order-1045", reason="the customer has called")


async def take(page: Page, name: str) -> None:
    """Photograph a page as it stands."""
    await page.evaluate("document.fonts.ready")
    await page.mouse.move(2, 2)
    path = IMAGES / f"{name}.png"
    await page.screenshot(path=path, animations="disabled")
    size = path.stat().st_size
    print(f"{path.name}: {size:,} bytes")
    if size > MOST_BYTES:
        raise SystemExit(f"{path} has more than {MOST_BYTES:,} bytes.")
    await page.context.close()


async def photograph(site: Site) -> None:
    """All pictures."""
    page = await site.page("runs/film-metropolis?tab=timeline")
    await expect(page.locator('[data-node="publish"] .bar')).to_be_visible()
    await take(page, "run-timeline")

    page = await site.page("runs")
    await expect(page.locator("tbody tr")).to_have_count(12)
    await expect(page.locator("tbody .badge", has_text="Failed")).to_have_count(1)
    await take(page, "runs")

    page = await site.page("runs/report-2026-q1")
    await expect(state_of(page, "render")).to_be_visible()
    await page.wait_for_selector(".node[data-id=render].is-running")
    await take(page, "run-graph")

    page = await site.page("runs/payout-77?node=charge", color_scheme="dark")
    await expect(page.locator("[data-part=input]")).to_be_visible()
    await take(page, "run-failed")

    page = await site.page("runs/order-1043", DESK)
    await page.get_by_role("button", name="Answer").click()
    await page.get_by_label("Your name").fill("Ada Lovelace")
    await take(page, "approval")

    page = await site.page("runs/order-1043", PHONE)
    await expect(status(page)).to_have_text("Awaiting")
    await expect(state_of(page, "approve")).to_be_visible()
    await take(page, "run-phone")


async def main() -> None:
    """Open the shop, fill it, photograph it."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    shop = UnhurriedShop()
    shop.others = [shop.media()]
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "runs.db"
        async with browser(chromium()) as opened, site_of(opened, path, shop.options) as site:
            began = SystemClock().now()
            await fill(site)
            await site.adapter.wait_for_run("payout-77", timeout=60)
            await photograph(site)
            print(f"Taken in {SystemClock().now() - began:.0f} s.")
            shop.gate.set()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
