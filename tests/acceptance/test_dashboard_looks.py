"""The dashboard in Chromium: what can be told from a drawing, and read on small screens."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from flowcraft import RetryPolicy, create_flow
from tests.browser.site import Browsing
from tests.browser.visits import open_shop, state_of, status

pytestmark = pytest.mark.slow

LATER = RetryPolicy(max_attempts=5, delay=900, jitter=False)
WIDE = "node-" + "W" * 120
EMOJI = "team-\U0001f469\u200d\U0001f680-pay\u200dment-\u0646\u0645\u06cc\u200c\u0634\u0648\u062f"
LEGEND = ".legend button[data-status={}]"


async def half(ctx: Any) -> int:
    """Handle the first half of the items; the others have to be tried again, much later."""
    if ctx.input >= 3:
        raise ConnectionError("not now")
    return int(ctx.input)


async def nothing(ctx: Any) -> None:
    """Do nothing."""


async def fail(ctx: Any) -> None:
    """Fail."""
    raise ConnectionError("The service at the other end said no. " * 40)


def batch() -> Any:
    """A batch whose second half takes its time, before a node with a very long name."""
    flow = create_flow("halves").batch("items", half, uses="t.half", inputs="numbers", retry=LATER)
    return flow.node(WIDE, nothing, uses="t.nothing").edge("items", WIDE)


def wide() -> Any:
    """Many nodes beside each other, two of which fail."""
    flow = create_flow("wide").node("first", nothing, uses="t.nothing")
    for number in range(60):
        work = fail if number in (7, 51) else nothing
        flow.node(f"n{number:02}", work, uses=f"t.{work.__name__}").edge("first", f"n{number:02}")
    return flow


async def is_in_view(page: Page, node: str) -> bool:
    """Whether a node of the drawing is in what is seen of it."""
    box = await state_of(page, node).bounding_box()
    window = await page.locator(".graph").bounding_box()
    assert box is not None
    assert window is not None
    return bool(
        window["x"] <= box["x"]
        and box["x"] + box["width"] <= window["x"] + window["width"]
        and window["y"] <= box["y"]
    )


def test_a_batch_is_at_work_until_its_items_are_done(browsing: Browsing, tmp_path: Path) -> None:
    """While items are left it is not shown as done: not in the drawing, the panel or the table."""

    async def play(browser: Browser) -> None:
        async with open_shop(browser, tmp_path / "runs.db", flows=[batch()]) as (site, _):
            await site.adapter.start_run("halves", {"numbers": list(range(6))}, run_id="h")
            page = await site.page("runs/h?node=items_scatter")
            node = state_of(page, "items_scatter")
            await expect(node.locator(".more")).to_have_text("Working · 3/6")
            await expect(node).to_have_class(re.compile("tone-busy"))
            await expect(page.locator("aside.panel .badge").first).to_have_text("Working")
            await expect(page.locator("aside.panel")).not_to_contain_text("Took")
            await site.adapter.start_run(
                "report", {"numbers": list(range(400)), "rounds": 0}, run_id="r"
            )
            other = await site.page("runs/r")
            done = state_of(other, "prices_scatter").locator(".more")
            await expect(done).to_have_text(re.compile(r"^(Succeeded · )?400/400$"))
            name = await state_of(page, WIDE).locator(".name").bounding_box()
            shape = await state_of(page, WIDE).locator(".shape").bounding_box()
            assert name is not None
            assert shape is not None
            assert name["x"] + name["width"] <= shape["x"] + shape["width"]
            await page.keyboard.press("3")
            await expect(page.locator("tbody .badge", has_text="Working")).to_have_count(1)
            await site.adapter.cancel_run("h")
            await expect(status(page)).to_have_text("Cancelled")
            await expect(page.locator("tbody .badge", has_text="Working")).to_have_count(0)

    browsing.play(play)


def test_the_legend_counts_and_leads_from_node_to_node(browsing: Browsing, tmp_path: Path) -> None:
    """Of a large drawing the failed nodes are found one after another; the table is searched."""

    async def play(browser: Browser) -> None:
        async with open_shop(browser, tmp_path / "runs.db", flows=[wide()]) as (site, _):
            await site.adapter.start_run("wide", {}, run_id="w")
            page = await site.page("runs/w")
            await expect(status(page)).to_have_text("Failed")
            failed = page.locator(LEGEND.format("failed"))
            await expect(failed).to_have_text("Failed 2")
            await expect(page.locator(LEGEND.format("running"))).to_have_count(0)
            for name in ("n07", "n51", "n07"):
                await failed.click()
                await expect(state_of(page, name)).to_be_focused()
                assert await is_in_view(page, name)
            await page.keyboard.press("3")
            await page.keyboard.press("/")
            await page.keyboard.type("n5")
            await expect(page.locator("tbody tr")).to_have_count(10)
            await page.get_by_label("Status").select_option(label="Failed (2)")
            await expect(page.locator("tbody tr")).to_have_count(1)
            await page.keyboard.press("Escape")
            await page.get_by_role("button", name="n51").click()
            await expect(page.locator("[data-part=output]")).to_have_count(0)

    browsing.play(play)


def test_what_was_not_chosen_is_dim_and_can_be_read(browsing: Browsing, tmp_path: Path) -> None:
    """Names of nodes that were passed by and of branches not taken are not half transparent."""

    async def play(browser: Browser) -> None:
        async with open_shop(browser, tmp_path / "runs.db") as (site, _):
            await site.adapter.start_run("order", {"amount": 5}, run_id="o")
            page = await site.page("runs/o")
            await expect(state_of(page, "decline")).to_have_class(re.compile("is-skipped"))
            opacity = "element => getComputedStyle(element).opacity"
            dead = page.locator(".edge.is-dead").first
            assert float(await dead.locator(".line").evaluate(opacity)) < 0.5
            for text in (dead, dead.locator(".label"), state_of(page, "decline")):
                assert await text.evaluate(opacity) == "1"
            shape = state_of(page, "decline").locator(".shape")
            assert float(await shape.evaluate(opacity)) < 1

    browsing.play(play)


def test_emoji_and_scripts_that_join_letters_are_whole(browsing: Browsing, tmp_path: Path) -> None:
    """The sign that joins is kept where it belongs, and named where it hides in a Latin word."""

    async def play(browser: Browser) -> None:
        async with open_shop(browser, tmp_path / "runs.db") as (site, _):
            await site.adapter.start_run("echo", {"value": EMOJI}, run_id="e")
            page = await site.page("runs/e?node=give")
            shown = EMOJI.replace("pay\u200dment", "pay⟨U+200D⟩ment")
            await expect(page.locator("[data-part=output] .text")).to_have_text(f'"{shown}"')

    browsing.play(play)


@pytest.mark.parametrize("width", [390, 720, 1024])
def test_there_is_room_for_a_run_at_every_width(
    browsing: Browsing, tmp_path: Path, width: int
) -> None:
    """A long error leaves the drawing in reach, and at a tablet's width the node stands beside it;
    720 pixels are what a screen of 1,440 has at twice the size."""

    async def play(browser: Browser) -> None:
        async with open_shop(browser, tmp_path / "runs.db", flows=[wide()]) as (site, _):
            await site.adapter.start_run("wide", {}, run_id="w")
            page = await site.page("runs/w", (width, 800))
            await expect(status(page)).to_have_text("Failed")
            notice = await page.locator(".notice").first.bounding_box()
            assert notice is not None
            assert notice["height"] < 240
            await page.locator(".notice button").first.click()
            await expect(page.get_by_role("heading", name="n07")).to_be_focused()
            panel = await page.locator("aside.panel").bounding_box()
            graph = await page.locator(".graph").bounding_box()
            assert panel is not None
            assert graph is not None
            assert (panel["x"] >= graph["x"] + graph["width"]) is (width == 1024)
            wider = "() => document.documentElement.scrollWidth - innerWidth"
            assert await page.evaluate(wider) <= 0

    browsing.play(play)


def test_the_timeline_is_looked_at_by_keys(browsing: Browsing, tmp_path: Path) -> None:
    """Closer, along and back to all of it, without a pointer."""

    async def play(browser: Browser) -> None:
        async with open_shop(browser, tmp_path / "runs.db") as (site, _):
            await site.adapter.start_run("payout", {}, run_id="p")
            page = await site.page("runs/p?tab=timeline")
            await expect(status(page)).to_have_text("Failed")
            bar = page.locator("[data-node=prepare] .bar").first
            ticks = page.locator(".time-axis span")
            await expect(bar).to_be_visible()
            whole = await ticks.all_inner_texts()
            for _ in range(3):
                await page.keyboard.press("+")
            assert await ticks.all_inner_texts() != whole
            await page.locator(".time-axis").focus()
            near = await bar.get_attribute("style")
            await page.keyboard.press("ArrowLeft")
            assert await bar.get_attribute("style") != near
            await page.keyboard.press("f")
            assert await ticks.all_inner_texts() == whole

    browsing.play(play)


def test_a_blueprint_shows_how_its_last_runs_went(browsing: Browsing, tmp_path: Path) -> None:
    """A bar for each of them, the newest at the right, leads to the run."""

    async def play(browser: Browser) -> None:
        async with open_shop(browser, tmp_path / "runs.db") as (site, shop):
            for name in ("p-1", "p-2", "p-3"):
                await site.adapter.start_run("payout", {}, run_id=name)
                await site.adapter.wait_for_run(name, timeout=30)
                shop.is_mended = True
            page = await site.page("blueprints/payout")
            bars = page.get_by_label("Last runs").get_by_role("link")
            await expect(bars).to_have_count(3)
            await expect(page.get_by_label("Last runs")).to_contain_text("3 runs, 1 failed")
            await expect(bars.first).to_have_class("tone-bad")
            await bars.last.click()
            await expect(page).to_have_url(re.compile(r"/runs/p-3$"))
            await page.goto("blueprints/echo")
            await expect(page.get_by_role("heading", name="echo")).to_be_visible()
            await expect(page.get_by_label("Last runs")).to_be_hidden()

    browsing.play(play)


def test_the_way_past_the_navigation_is_seen_and_fields_line_up(
    browsing: Browsing, tmp_path: Path
) -> None:
    """The first thing that has the focus can be seen then; a hint beside makes no field higher."""

    async def play(browser: Browser) -> None:
        async with open_shop(browser, tmp_path / "runs.db") as (site, _):
            page = await site.page("runs")
            await expect(page.get_by_text("No runs yet")).to_be_visible()
            await page.keyboard.press("Tab")
            skip = page.get_by_role("button", name="Skip to the page")
            await expect(skip).to_be_focused()
            box = await skip.bounding_box()
            assert box is not None
            assert box["width"] > 80
            await page.keyboard.press("Enter")
            await expect(page.locator("main")).to_be_focused()
            await page.get_by_role("button", name="Start run").first.click()
            await page.locator("summary", has_text="More").click()
            key = await page.get_by_label("Idempotency key", exact=True).bounding_box()
            name = await page.get_by_label("Run id", exact=True).bounding_box()
            assert key is not None
            assert name is not None
            assert (name["y"], name["height"]) == (key["y"], key["height"])

    browsing.play(play)


def test_a_drawing_that_is_seen_whole_stays_whole(browsing: Browsing, tmp_path: Path) -> None:
    """What takes room away from it makes it smaller and cuts off nothing."""

    async def play(browser: Browser) -> None:
        async with open_shop(browser, tmp_path / "runs.db") as (site, _):
            await site.adapter.start_run("order", {"amount": 5}, run_id="o")
            page = await site.page("runs/o", (1280, 1000))
            await expect(status(page)).to_have_text("Completed")
            await expect(state_of(page, "send-receipt")).to_be_in_viewport(ratio=0.99)
            await page.set_viewport_size({"width": 1280, "height": 680})
            for name in ("validate", "send-receipt"):
                await expect(state_of(page, name)).to_be_in_viewport(ratio=0.99)
            await page.set_viewport_size({"width": 390, "height": 844})
            first = await state_of(page, "validate").bounding_box()
            legend = await page.locator(".legend").bounding_box()
            assert first is not None
            assert legend is not None
            assert first["y"] >= legend["y"] + legend["height"]

    browsing.play(play)


def test_tables_have_their_buttons_in_reach_of_a_thumb(browsing: Browsing, tmp_path: Path) -> None:
    """On a phone what can be done with a row needs no moving sideways."""

    async def play(browser: Browser) -> None:
        async with open_shop(browser, tmp_path / "runs.db") as (site, _):
            await site.adapter.schedules.create("nightly", "echo", cron="0 9 * * *")
            await site.adapter.start_run("payout", {}, run_id="p")
            for place, button in (
                ("blueprints", "Start"),
                ("schedules", "Pause"),
                ("runs/p?tab=nodes", "notify"),
            ):
                page = await site.page(place, (380, 800))
                found = page.locator("tbody").get_by_role("button", name=button).first
                await found.scroll_into_view_if_needed()
                await expect(found).to_be_in_viewport(ratio=0.99)
                moved = "() => document.querySelector('.scroller').scrollLeft"
                assert await page.evaluate(moved) == 0

    browsing.play(play)


def test_a_search_says_how_far_it_has_looked(browsing: Browsing, tmp_path: Path) -> None:
    """Of very many runs a part is looked at; that none was found there is not told of all."""

    async def play(browser: Browser) -> None:
        async with open_shop(browser, tmp_path / "runs.db", has_worker=False) as (site, _):
            for number in range(2_020):
                await site.adapter.start_run("echo", {}, run_id=f"e-{number:05}")
            page = await site.page("runs?q=00003")
            await expect(page.get_by_text("None among 2,000 runs")).to_be_visible()
            await page.get_by_role("button", name="Look further").click()
            await expect(page.locator("tbody tr")).to_have_count(1)
            await page.goto("runs?q=nowhere")
            await page.get_by_role("button", name="Look further").click()
            await expect(page.get_by_text("No run is like that")).to_be_visible()

    browsing.play(play)
