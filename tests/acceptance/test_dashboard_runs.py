"""The dashboard in Chromium: runs are started, watched, answered, cancelled, tried again."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from tests.browser.shop import Shop
from tests.browser.site import Browsing, Site
from tests.browser.visits import Visit, dialog, open_shop, state_of, status

pytestmark = pytest.mark.slow


def test_a_run_is_started_watched_and_approved(visit: Callable[[Visit], None]) -> None:
    """Started by the dialog, the drawing is coloured live; answered by the form, it completes."""

    async def work(site: Site, shop: Shop) -> None:
        page = await site.page("runs")
        await expect(page.get_by_text("No runs yet")).to_be_visible()
        await page.keyboard.press("n")
        await dialog(page).get_by_label("Flow", exact=True).fill("order")
        await dialog(page).get_by_label("Context", exact=True).fill('{"amount": 12400,}')
        await expect(page.locator("dialog .wrong").first).to_contain_text("Context:")
        await dialog(page).get_by_label("Context", exact=True).fill('{"amount": 12400}')
        await page.locator("summary", has_text="More").click()
        await dialog(page).get_by_label("Run id", exact=True).fill("order-1")
        await dialog(page).get_by_label("Tags", exact=True).fill("tenant=acme")
        await dialog(page).get_by_role("button", name="Start run").click()

        await expect(page).to_have_url(re.compile(r"/runs/order-1$"))
        await expect(status(page)).to_have_text("Awaiting")
        await expect(state_of(page, "approve")).to_have_class(re.compile("is-waiting"))
        await expect(page.locator('.edge[data-to="approve"]')).to_have_class(re.compile("is-taken"))
        await expect(
            page.locator('.edge[data-from="validate"][data-to="charge-card"]')
        ).to_have_class(re.compile("is-dead"))
        await page.get_by_role("button", name="Answer").click()
        await page.get_by_role("button", name="approve", exact=True).click()
        await expect(page.locator(".answer [role=alert]")).to_have_text("Your name: is missing.")
        await page.get_by_label("Your name").fill("Ada")
        await page.get_by_label("Up to which amount").fill("50001")
        await page.get_by_role("button", name="approve", exact=True).click()
        await expect(page.locator(".answer [role=alert]")).to_contain_text("at most 50000")
        await page.get_by_label("Up to which amount").fill("20000")
        await page.get_by_role("button", name="approve", exact=True).click()

        await expect(status(page)).to_have_text("Completed")
        await expect(state_of(page, "send-receipt")).to_have_class(re.compile("is-succeeded"))
        await expect(state_of(page, "decline")).to_have_class(re.compile("is-skipped"))
        await expect(page.locator("[data-part=output]")).to_contain_text('"Ada"')
        result = await site.adapter.get_run("order-1")
        assert result.outputs["approve"] == {
            "by": "Ada",
            "limit": 20_000,
            "risk": "low",
            "tell": True,
        }

    visit(work)


def test_starting_twice_with_one_key_starts_one_run(visit: Callable[[Visit], None]) -> None:
    """The idempotency key of the dialog names the start: the second one leads to the same run."""

    async def work(site: Site, shop: Shop) -> None:
        page = await site.page("runs")
        places = []
        for _ in range(2):
            await page.goto("runs")
            await page.get_by_role("button", name="Start run").click()
            await dialog(page).get_by_label("Flow", exact=True).fill("echo")
            await page.locator("summary", has_text="More").click()
            await dialog(page).get_by_label("Idempotency key", exact=True).fill("only-once")
            await page.keyboard.press("Control+Enter")
            await expect(status(page)).to_have_text("Completed")
            places.append(page.url)
        assert places[0] == places[1]
        assert len((await site.adapter.list_runs()).runs) == 1

    visit(work)


def test_a_run_is_paused_and_cancelled(visit: Callable[[Visit], None]) -> None:
    """Each verb is there when it makes sense, and what is final is asked about first."""

    async def work(site: Site, shop: Shop) -> None:
        await site.adapter.start_run("report", {"numbers": [1, 2], "rounds": 0}, run_id="r")
        page = await site.page("runs/r")
        await expect(state_of(page, "render")).to_have_class(re.compile("is-running"))
        await expect(state_of(page, "correct").locator(".count")).to_have_text("×3")
        await expect(state_of(page, "prices_scatter")).to_contain_text("2/2")
        await page.get_by_role("button", name="Pause").click()
        await expect(page.get_by_text("pausing")).to_be_visible()
        await page.get_by_role("button", name="Continue").click()
        await expect(page.get_by_text("pausing")).to_be_hidden()
        await page.get_by_role("button", name="Cancel", exact=True).click()
        await dialog(page).get_by_label("Reason", exact=True).fill("no longer wanted")
        await page.get_by_role("button", name="Cancel run").click()
        await expect(status(page)).to_have_text("Cancelled")
        await expect(page.get_by_text("Cancelled: no longer wanted")).to_be_visible()

    visit(work)


def test_the_context_of_a_paused_run_is_changed_and_a_run_deleted(
    visit: Callable[[Visit], None],
) -> None:
    """Values and keys that go; and a run that is not over is deleted only where that is ticked."""

    async def work(site: Site, shop: Shop) -> None:
        await site.adapter.start_run("order", {"amount": 5_000}, run_id="o")
        page = await site.page("runs/o")
        await page.get_by_role("button", name="Pause").click()
        await expect(status(page)).to_have_text("Paused")
        await page.get_by_role("button", name="More actions").click()
        await page.get_by_role("menuitem", name="Change context").click()
        await dialog(page).get_by_label("Values", exact=True).fill('{"note": "checked"}')
        await dialog(page).get_by_role("button", name="Change", exact=True).click()
        await expect(dialog(page)).to_be_hidden()
        await page.get_by_role("button", name="Continue").click()
        await expect(status(page)).to_have_text("Awaiting")
        await page.keyboard.press("4")
        await expect(page.locator(".run-content")).to_contain_text('"checked"')
        await page.get_by_role("button", name="More actions").click()
        await page.get_by_role("menuitem", name="Delete run").click()
        await dialog(page).get_by_role("button", name="Delete run").click()
        await expect(dialog(page).get_by_role("alert")).to_be_visible()
        await dialog(page).get_by_label("It is not over").check()
        await dialog(page).get_by_role("button", name="Delete run").click()
        await expect(page.get_by_text("No runs yet")).to_be_visible()

    visit(work)


def test_a_failed_node_is_tried_again(visit: Callable[[Visit], None]) -> None:
    """The page shows what failed and why; retrying it leads to a run that completes."""

    async def work(site: Site, shop: Shop) -> None:
        await site.adapter.start_run("payout", {}, run_id="p")
        page = await site.page("runs/p")
        await expect(status(page)).to_have_text("Failed")
        await page.get_by_role("button", name="Show node").click()
        panel = page.get_by_label("Node charge")
        await expect(panel).to_contain_text("because of ConnectionResetError")
        await expect(panel.locator(".attempts > li")).to_have_count(3)
        await page.keyboard.press("2")
        await expect(page.locator(".time-row[data-node=charge] .bar.failed-attempt")).to_have_count(
            3
        )
        shop.is_mended = True
        await page.get_by_role("button", name="Retry failed").click()
        await expect(page).not_to_have_url(re.compile(r"/runs/p(\?|$)"))
        await expect(status(page)).to_have_text("Completed")

    visit(work)


def test_a_node_is_skipped_and_a_run_goes_on_from_a_node(visit: Callable[[Visit], None]) -> None:
    """With a given output in its place, and with other inputs, without writing code."""

    async def work(site: Site, shop: Shop) -> None:
        await site.adapter.start_run("parcel", {"number": "P-1"}, run_id="r")
        page = await site.page("runs/r?node=delivered")
        await expect(status(page)).to_have_text("Awaiting")
        await page.get_by_role("button", name="Skip", exact=True).click()
        await dialog(page).get_by_label("Output", exact=True).fill('{"receipt": "by hand"}')
        await page.get_by_role("button", name="Skip node").click()
        await expect(status(page)).to_have_text("Completed")
        await state_of(page, "thank").click()
        await expect(page.locator("[data-part=input]")).to_contain_text('"by hand"')

        await page.get_by_role("button", name="Rerun from here").click()
        await expect(dialog(page).get_by_label("Input", exact=True)).to_have_value(
            re.compile("by hand")
        )
        await dialog(page).get_by_label("Input", exact=True).fill('{"receipt": "again"}')
        first = page.url.partition("?")[0]
        await page.get_by_role("button", name="Start new run").click()
        await expect(page).not_to_have_url(re.compile(re.escape(first)))
        await expect(status(page)).to_have_text("Completed")
        await state_of(page, "thank").click()
        await expect(page.locator("[data-part=input]")).to_contain_text('"again"')

    visit(work)


def test_an_event_is_sent_to_whoever_waits_for_it(visit: Callable[[Visit], None]) -> None:
    """The list says what a run waits for; sent that event by name and key, it completes."""

    async def work(site: Site, shop: Shop) -> None:
        await site.adapter.start_run("parcel", {"number": "P-1"}, run_id="parcel")
        page = await site.page("runs")
        row = page.locator("tbody tr")
        await expect(row.locator(".c-waits")).to_have_text("parcel.delivered (P-1)")
        await page.get_by_role("button", name="Send event").click()
        await dialog(page).get_by_label("Event", exact=True).fill("parcel.delivered")
        await dialog(page).get_by_label("Correlation key", exact=True).fill("P-2")
        await dialog(page).get_by_role("button", name="Send event").click()
        await expect(page.locator("dialog [role=alert]")).to_be_visible()
        await dialog(page).get_by_label("Correlation key", exact=True).fill("P-1")
        await dialog(page).get_by_role("button", name="Send event").click()
        await expect(page.get_by_text("Sent to 1 run.")).to_be_visible()
        await expect(row.locator(".badge")).to_have_text("Completed")

    visit(work)


def test_filters_stand_in_the_address(visit: Callable[[Visit], None]) -> None:
    """What is filtered can be linked to, survives a reload, and is undone by going back a page."""

    async def work(site: Site, shop: Shop) -> None:
        for number in range(60):
            await site.adapter.start_run(
                "echo", {}, run_id=f"e-{number:02}", tags={"odd": str(number % 2)}
            )
        await site.adapter.start_run("payout", {}, run_id="p", tags={"odd": "1"})
        page = await site.page("runs?flow=payout")
        rows = page.locator("tbody tr")
        await expect(rows).to_have_count(1)
        await page.get_by_role("button", name="Failed").click()
        await expect(page).to_have_url(re.compile("flow=payout&status=failed"))
        await expect(rows.locator(".badge")).to_have_text("Failed")
        await page.reload()
        await expect(page.get_by_role("button", name="Failed")).to_have_attribute(
            "aria-pressed", "true"
        )
        await page.get_by_role("button", name="Completed").click()
        await page.get_by_role("button", name="Failed").click()
        await page.get_by_role("button", name="Clear all filters").click()
        await expect(rows).to_have_count(50)
        await page.get_by_role("button", name="Older").click()
        await expect(rows).to_have_count(11)
        await page.get_by_role("button", name="Newer").click()
        await expect(rows).to_have_count(50)
        await page.get_by_label("Add a tag").fill("odd=0")
        await page.get_by_label("Add a tag").press("Enter")
        await expect(rows).to_have_count(30)
        await page.keyboard.press("Escape")
        await page.keyboard.press("/")
        await page.keyboard.type("E-05")
        await expect(page.get_by_text("No run is like that")).to_be_visible()
        await page.get_by_role("button", name="Remove odd=0").click()
        await expect(rows).to_have_count(1)
        await expect(page).to_have_url(re.compile(r"q=E-05"))

    visit(work)


def test_everything_is_reached_by_keys(visit: Callable[[Visit], None]) -> None:
    """From the list to a run, along its drawing, into a node and back, without a pointer."""

    async def work(site: Site, shop: Shop) -> None:
        for name in ("a", "b"):
            await site.adapter.start_run("payout", {}, run_id=name)
        page = await site.page("runs")
        await expect(page.locator("tbody tr")).to_have_count(2)
        await page.keyboard.press("?")
        await expect(dialog(page)).to_contain_text("next and previous row")
        await page.keyboard.press("Escape")
        for key in ("j", "j", "k", "Enter"):
            await page.keyboard.press(key)
        await expect(page).to_have_url(re.compile(r"/runs/b$"))
        await expect(status(page)).to_have_text("Failed")
        await state_of(page, "prepare").focus()
        await page.keyboard.press("ArrowDown")
        await page.keyboard.press("Enter")
        await expect(page.get_by_label("Node charge")).to_be_visible()
        await page.keyboard.press("Escape")
        await expect(page.get_by_label("Node charge")).to_be_hidden()
        for tab, label in ((3, "Nodes"), (4, "Context"), (5, "History"), (6, "JSON"), (1, "Graph")):
            await page.keyboard.press(str(tab))
            await expect(page.locator(".tabs [aria-current=true]")).to_contain_text(label)
        for key in ("g", "r"):
            await page.keyboard.press(key)
        await expect(page).to_have_url(re.compile(r"/runs$"))

    visit(work)


def test_who_may_only_look_is_offered_nothing_else(browsing: Browsing, tmp_path: Path) -> None:
    """With `read_only` no page has a button that changes anything; waits are shown all the same."""

    async def play(browser: Browser) -> None:
        async with open_shop(browser, tmp_path / "runs.db", read_only=True) as (site, _):
            await site.adapter.start_run("order", {"amount": 5_000}, run_id="o")
            page = await site.page("runs/o?node=approve")
            await expect(page.locator(".answer")).to_contain_text("Approve an order")
            await expect(
                page.locator(".answer button, .run-title ~ .actions button")
            ).to_have_count(0)
            await page.goto("runs")
            await expect(page.locator("tbody tr")).to_have_count(1)
            await expect(page.get_by_role("button", name="Start run")).to_have_count(0)

    browsing.play(play)


def test_a_node_shows_what_it_was_given_and_gave(visit: Callable[[Visit], None]) -> None:
    """Numbers keep all their digits, lists unfold a hundred at a time, what is absent says so."""

    async def work(site: Site, shop: Shop) -> None:
        value = {"id": 12345678901234567890, "list": list(range(250)), "none": None}
        await site.adapter.start_run("echo", {"value": value}, run_id="e")
        page = await site.page("runs/e?node=give")
        output = page.locator("[data-part=output]")
        await expect(output).to_contain_text("id: 12345678901234567890")
        await expect(output).to_contain_text("none: null")
        await expect(output.locator("li li")).to_have_count(101)
        await output.get_by_role("button", name="Show 100 more").click()
        await expect(output.locator("li li")).to_have_count(201)
        await page.goto("runs/nobody")
        await expect(page.get_by_text("There is no such run")).to_be_visible()

    visit(work)
