"""The dashboard in Chromium: going back and forth, and where the focus is."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.async_api import expect

from tests.browser.shop import Shop
from tests.browser.site import Site
from tests.browser.visits import Visit, state_of, status

pytestmark = pytest.mark.slow


def test_going_back_takes_the_last_filter_away(visit: Callable[[Visit], None]) -> None:
    """Each filter is a step back and forth; what is typed letter by letter is one step."""

    async def work(site: Site, shop: Shop) -> None:
        await site.adapter.start_run("payout", {}, run_id="pay-1")
        await site.adapter.start_run("echo", {}, run_id="echo-1")
        page = await site.page("runs")
        rows = page.locator("tbody tr")
        await expect(rows.locator(".badge", has_text="Failed")).to_have_count(1)
        await page.get_by_role("button", name="Failed").click()
        await expect(rows).to_have_count(1)
        await page.get_by_label("Find by run id").press_sequentially("pay", delay=300)
        await expect(page).to_have_url(re.compile(r"status=failed&q=pay$"))
        await page.go_back()
        await expect(page).to_have_url(re.compile(r"/runs\?status=failed$"))
        await expect(page.get_by_label("Find by run id")).to_have_value("")
        await page.go_back()
        await expect(rows).to_have_count(2)
        await page.go_forward()
        await expect(rows).to_have_count(1)
        await expect(page.get_by_role("button", name="Failed")).to_have_attribute(
            "aria-pressed", "true"
        )

    visit(work)


def test_going_back_to_the_list_leads_to_where_one_was(visit: Callable[[Visit], None]) -> None:
    """The list stands as it was scrolled, and the row that was opened has the focus."""

    async def work(site: Site, shop: Shop) -> None:
        for number in range(50):
            await site.adapter.start_run("echo", {}, run_id=f"e-{number:02}")
        page = await site.page("runs")
        await expect(page.locator("tbody tr")).to_have_count(50)
        link = page.get_by_role("link", name="e-03")
        await link.scroll_into_view_if_needed()
        stood = await page.evaluate("() => window.scrollY")
        assert stood > 500
        await link.click()
        await expect(status(page)).to_be_visible()
        assert await page.evaluate("() => window.scrollY") == 0
        await page.go_back()
        await expect(link).to_be_focused()
        assert abs(await page.evaluate("() => window.scrollY") - stood) < 5

    visit(work)


def test_a_page_of_older_runs_that_was_linked_to_leads_to_the_newest(
    visit: Callable[[Visit], None],
) -> None:
    """Who did not come from newer runs is not led out of the dashboard by asking for them."""

    async def work(site: Site, shop: Shop) -> None:
        for number in range(52):
            await site.adapter.start_run("echo", {}, run_id=f"e-{number:02}")
        page = await site.page("runs")
        rows = page.locator("tbody tr")
        await page.get_by_role("button", name="Older").click()
        await expect(rows).to_have_count(2)
        other = await site.page(page.url)
        await expect(other.locator("tbody tr")).to_have_count(2)
        await other.get_by_role("button", name="Newest").click()
        await expect(other.locator("tbody tr")).to_have_count(50)
        await page.get_by_role("button", name="Newer").click()
        await expect(rows).to_have_count(50)

    visit(work)


def test_what_is_typed_last_does_not_change_the_next_page(visit: Callable[[Visit], None]) -> None:
    """Leaving the list before the search has begun leaves the search behind."""

    async def work(site: Site, shop: Shop) -> None:
        await site.adapter.start_run("echo", {}, run_id="e")
        page = await site.page("blueprints")
        await page.clock.install()
        await page.goto("runs")
        await expect(page.locator("tbody tr")).to_have_count(1)
        await page.clock.pause_at(await page.evaluate("() => Date.now() + 1000"))
        await page.get_by_label("Find by run id").press_sequentially("e")
        await page.get_by_role("link", name="e", exact=True).dispatch_event("click")
        await page.clock.fast_forward(1_000)
        await page.clock.resume()
        await expect(status(page)).to_have_text("Completed")
        await expect(page).to_have_url(re.compile(r"/runs/e$"))

    visit(work)


def test_going_back_closes_a_node(visit: Callable[[Visit], None]) -> None:
    """However many nodes were looked at, one step back shows the run alone; so does closing."""

    async def work(site: Site, shop: Shop) -> None:
        await site.adapter.start_run("payout", {}, run_id="p")
        page = await site.page("runs")
        await page.get_by_role("link", name="p", exact=True).click()
        await expect(status(page)).to_have_text("Failed")
        panel = page.locator("aside.panel")
        for name in ("charge", "prepare"):
            await state_of(page, name).click()
            await expect(panel).to_have_attribute("aria-label", f"Node {name}")
        await page.go_back()
        await expect(panel).to_be_hidden()
        await expect(page).to_have_url(re.compile(r"/runs/p$"))
        await state_of(page, "charge").click()
        await panel.get_by_role("button", name="Close").click()
        await expect(panel).to_be_hidden()
        await page.go_back()
        await expect(page).to_have_url(re.compile(r"/runs$"))

    visit(work)


def test_the_focus_goes_into_a_node_and_back(visit: Callable[[Visit], None]) -> None:
    """By key into what was opened, at its form if it asks; closed, to where one came from."""

    async def work(site: Site, shop: Shop) -> None:
        await site.adapter.start_run("order", {"amount": 5_000}, run_id="o")
        page = await site.page("runs/o")
        await expect(status(page)).to_have_text("Awaiting")
        await state_of(page, "validate").focus()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", name="validate")).to_be_focused()
        await page.keyboard.press("Escape")
        await expect(state_of(page, "validate")).to_be_focused()
        await page.get_by_role("button", name="Answer").press("Enter")
        await expect(page.get_by_label("Your name")).to_be_focused()
        for _ in range(2):
            await page.keyboard.press("Escape")
        await expect(page.get_by_role("button", name="Answer")).to_be_focused()
        await page.keyboard.press("3")
        await page.get_by_role("button", name="check-fraud").press("Enter")
        await page.get_by_role("button", name="Close").press("Enter")
        await expect(page.get_by_role("button", name="check-fraud")).to_be_focused()

    visit(work)


def test_the_focus_stays_while_a_run_goes_on(visit: Callable[[Visit], None]) -> None:
    """A button, a tab and a row keep the focus although what is around them is drawn anew."""

    async def work(site: Site, shop: Shop) -> None:
        await site.adapter.start_run("parcel", {"number": "P-1"}, run_id="p")
        page = await site.page("runs/p?tab=nodes")
        await expect(status(page)).to_have_text("Awaiting")
        cancel = page.get_by_role("button", name="Cancel", exact=True)
        await cancel.focus()
        await site.adapter.pause_run("p")
        await expect(page.get_by_role("button", name="Continue")).to_be_visible()
        await expect(cancel).to_be_focused()
        await page.get_by_role("button", name="Continue").press("Enter")
        await expect(page.get_by_role("button", name="Pause")).to_be_focused()
        row = page.get_by_role("button", name="delivered")
        await row.focus()
        await site.adapter.send_event(event="parcel.delivered", correlation_key="P-1")
        await expect(status(page)).to_have_text("Completed")
        await expect(row).to_be_focused()

    visit(work)
