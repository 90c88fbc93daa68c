"""The rest of the dashboard in Chromium: dead letters, schedules, blueprints, health, logins."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect
from starlette.applications import Starlette
from starlette.routing import Mount

from tests.browser.shop import Shop
from tests.browser.site import PHONE, Browsing, Site
from tests.browser.visits import Visit, dialog, open_shop, state_of, status

pytestmark = pytest.mark.slow

TOKEN = "correct-horse-battery-staple"


def given_up(path: Path, *bodies: str) -> None:
    """Let the messages of a file, and others, have been delivered in vain."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE messages SET receives = 20, visible_at = 0")
        for body in bodies:
            connection.execute(
                "INSERT INTO messages (body, visible_at, receives) VALUES (?, 0, 3)", [body]
            )


def test_a_dead_letter_is_redriven(browsing: Browsing, tmp_path: Path) -> None:
    """Letters are grouped by cause; one that is sent back is worked on, and its run completes."""
    path = tmp_path / "runs.db"

    async def play(browser: Browser) -> None:
        async with open_shop(browser, path, has_worker=False) as (site, _):
            await site.adapter.start_run("echo", {"value": 7}, run_id="stuck")
            given_up(path, "nonsense <b>", "rubbish")
            page = await site.page("dead-letters")
            groups = page.locator("[data-cause]")
            await expect(groups).to_have_count(2)
            nonsense = page.locator("[data-cause=not-json]")
            await expect(nonsense.locator("tbody tr")).to_have_count(2)
            await nonsense.get_by_role("button", name="Show").first.click()
            await expect(dialog(page)).to_contain_text("nonsense <b>")
            await page.keyboard.press("Escape")
            await nonsense.locator("tbody").get_by_role("button", name="Delete").first.click()
            await expect(dialog(page)).to_contain_text("Delete this letter?")
            await dialog(page).get_by_role("button", name="Delete").click()
            await expect(nonsense.locator("tbody tr")).to_have_count(1)
            await nonsense.get_by_role("button", name="Delete group").click()
            await dialog(page).get_by_role("button", name="Delete").click()
            await expect(groups).to_have_count(1)
            await groups.locator("tbody").get_by_role("button", name="Redrive").click()
            await dialog(page).get_by_role("button", name="Redrive").click()
            await expect(page.get_by_text("No dead letters")).to_be_visible()
            await site.adapter.start()
            await page.goto("runs/stuck")
            await expect(status(page)).to_have_text("Completed")

    browsing.play(play)


def test_a_schedule_is_added_triggered_paused_and_deleted(visit: Callable[[Visit], None]) -> None:
    """The dialog shows the next ticks while the expression is written; each verb is a button."""

    async def work(site: Site, shop: Shop) -> None:
        page = await site.page("schedules")
        await expect(page.get_by_text("No schedules")).to_be_visible()
        await page.get_by_role("button", name="Add schedule").click()
        await dialog(page).get_by_label("Schedule", exact=True).fill("nightly")
        await dialog(page).get_by_label("Flow", exact=True).fill("echo")
        await dialog(page).get_by_label("Cron", exact=True).fill("0 99 * * *")
        await expect(dialog(page).locator(".hint[role=status]")).to_contain_text("cron")
        await dialog(page).get_by_label("Cron", exact=True).fill("0 3 * * *")
        await expect(dialog(page).locator(".hint[role=status]")).to_contain_text("03:00:00")
        await dialog(page).get_by_role("button", name="Add schedule").click()
        await expect(page).to_have_url(re.compile("/schedules/nightly$"))
        await page.get_by_role("button", name="Run now").click()
        await expect(page.get_by_text("triggered")).to_be_visible()
        await page.get_by_role("button", name="Pause").click()
        await expect(page.locator(".badge", has_text="Paused")).to_be_visible()
        await page.get_by_role("button", name="Resume").click()
        await expect(page.locator(".badge", has_text="Active")).to_be_visible()
        await page.get_by_role("link", name="Run", exact=True).click()
        await expect(status(page)).to_have_text("Completed")
        await page.goto("schedules/nightly")
        await page.get_by_role("button", name="Delete").click()
        await dialog(page).get_by_role("button", name="Delete schedule").click()
        await expect(page.get_by_text("No schedules")).to_be_visible()

    visit(work)


def test_blueprints_and_health_are_shown(visit: Callable[[Visit], None]) -> None:
    """A blueprint with its drawing and the definitions of its nodes; the queue and its workers."""

    async def work(site: Site, shop: Shop) -> None:
        await site.adapter.start_run("order", {"amount": 9_000}, run_id="o")
        page = await site.page("blueprints")
        await page.get_by_role("link", name="order", exact=True).click()
        await expect(page.locator(".node")).to_have_count(10)
        await state_of(page, "approve").click()
        await expect(page.get_by_label("Node approve")).to_contain_text(
            "{…} by, limit, risk, note, …"
        )
        await page.goto("health")
        await expect(page.locator(".figure")).to_have_count(6)
        await page.get_by_role("button", name="Make the report").click()
        await expect(page.locator("tr", has_text="Shop.note").last).to_contain_text("1 run")

    visit(work)


def test_it_works_below_a_path_and_behind_a_login(browsing: Browsing, tmp_path: Path) -> None:
    """Mounted in another application, with a token: the login leads back to where one wanted."""

    def mounted(app: object) -> Starlette:
        return Starlette(routes=[Mount("/ops/flows", app)])  # type: ignore[arg-type]

    async def play(browser: Browser) -> None:
        path = tmp_path / "runs.db"
        async with open_shop(browser, path, token=TOKEN, wrap=mounted) as (site, _):
            await site.adapter.start_run("parcel", {"number": "P-1"}, run_id="a/b c")
            page = await site.page("ops/flows/runs/a%2Fb%20c?tab=nodes")
            await page.get_by_label("Token").fill("wrong")
            await page.get_by_role("button", name="Log in").click()
            await expect(page.get_by_role("alert")).to_have_text("This is not the token.")
            await page.get_by_label("Token").fill(TOKEN)
            await page.get_by_role("button", name="Log in").click()
            await expect(page).to_have_url(re.compile(r"/ops/flows/runs/a%2Fb%20c\?tab=nodes$"))
            await expect(status(page)).to_have_text("Awaiting")
            await page.locator(".tabs a", has_text="Graph").click()
            await expect(page.locator(".node")).to_have_count(3)
            await page.get_by_role("link", name="Schedules").click()
            await expect(page).to_have_url(re.compile("/ops/flows/schedules$"))
            await page.get_by_role("button", name="Log out").click()
            await expect(page.get_by_label("Token")).to_be_visible()

    browsing.play(play)


def test_nothing_is_wider_than_a_phone(browsing: Browsing, tmp_path: Path) -> None:
    """At 390 pixels no page can be moved sideways, whatever ids and tags are like."""

    async def play(browser: Browser) -> None:
        async with open_shop(browser, tmp_path / "runs.db") as (site, _):
            await site.adapter.start_run("payout", {}, run_id="p" * 120, tags={"t" * 60: "v" * 90})
            await site.adapter.start_run("order", {"amount": 9_000}, run_id="o")
            page = await site.page("runs", PHONE)
            await expect(page.locator("tbody tr")).to_have_count(2)
            places = ["runs", f"runs/{'p' * 120}", "runs/o?node=approve", "runs/o?tab=timeline"]
            places += ["runs/o?tab=nodes", "blueprints", "blueprints/order", "schedules"]
            for place in [*places, "dead-letters", "health", "nowhere"]:
                await page.goto(place)
                await expect(page.locator("main h1, main .empty h1").first).to_be_visible()
                wide = await page.evaluate("document.documentElement.scrollWidth")
                assert wide <= PHONE[0], place

    browsing.play(play)


def test_colours_follow_the_system_until_somebody_chooses(visit: Callable[[Visit], None]) -> None:
    """Dark where the system is dark; what the switch is set to is kept over a reload."""

    async def work(site: Site, shop: Shop) -> None:
        paper = "getComputedStyle(document.body).backgroundColor"
        page = await site.page("runs", color_scheme="dark")
        await expect(page.get_by_text("No runs yet")).to_be_visible()
        assert await page.evaluate(paper) == "rgb(13, 14, 17)"
        await page.keyboard.press("t")
        assert await page.evaluate(paper) == "rgb(250, 250, 251)"
        await page.reload()
        await expect(page.locator("html")).to_have_attribute("data-theme", "light")
        await expect(page.get_by_role("button", name="Theme: light")).to_be_visible()

    visit(work)
