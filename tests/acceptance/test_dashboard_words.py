"""What the dashboard says in Chromium: whole, and no longer than it is true."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Route, expect

from flowcraft import RetryPolicy, create_flow
from tests.browser.shop import Shop
from tests.browser.site import Browsing, Site
from tests.browser.visits import Visit, dialog, open_shop, state_of, status

pytestmark = pytest.mark.slow


LETTER = {
    **dict.fromkeys(("cause", "id"), "not-json"),
    **dict.fromkeys(("reason", "redriving", "deleting", "body"), "No JSON."),
    **dict.fromkeys(("ours", "source", "sentAt", "firstReceivedAt", "run")),
    **{"receives": 1, "attributes": {}, "messageAttributes": {}},
}
LETTERS = {
    "box": {"name": "box", "source": "jobs", "waiting": 1, "hidden": 0, "isShared": True},
    "causes": [{"cause": "not-json", "meaning": "Nobody can read it.", "letters": 1}],
    "letters": [LETTER],
    **{"seen": 1, "isCut": False, "trouble": None},
}
LEFT = {
    **{"done": 0, "by": "letters", "refused": [], "missing": [], "isCut": False},
    **{"foreign": 0, "unknownSource": 1, "trouble": None, "error": None},
}


def test_letters_that_are_left_are_told_with_what_would_take_them(
    visit: Callable[[Visit], None],
) -> None:
    """A letter whose queue nobody knows is left, which is said; a tick takes it, too."""

    async def work(site: Site, shop: Shop) -> None:
        page = await site.page("runs")
        asked: list[Any] = []

        async def delete(route: Route) -> None:
            asked.append(route.request.post_data_json)
            is_whole = bool(asked[-1].get("foreign"))
            told = {**LEFT, **({"done": 1, "unknownSource": 0} if is_whole else {})}
            await route.fulfill(json=told)

        await page.route("**/api/v1/dead-letters", lambda route: route.fulfill(json=LETTERS))
        await page.route("**/api/v1/dead-letters/delete", delete)
        await page.goto("dead-letters")
        remove = page.locator("tbody").get_by_role("button", name="Delete")
        await remove.click()
        await dialog(page).get_by_role("button", name="Delete").click()
        toast = page.locator(".toast").last
        await expect(toast).to_contain_text("1 left: nobody knows which queue it is of.")
        await expect(toast).to_have_class(re.compile("tone-bad"))
        await remove.click()
        await dialog(page).get_by_label("Those of other queues, or of none that is known").check()
        await dialog(page).get_by_role("button", name="Delete").click()
        await expect(page.locator(".toast").last).to_contain_text("1 letter deleted.")
        assert asked == [{"ids": ["not-json"]}, {"ids": ["not-json"], "foreign": True}]

    visit(work)


def test_a_mistake_is_told_until_something_is_mended(visit: Callable[[Visit], None]) -> None:
    """What was wrong with a dialog is shown, and gone as soon as something else is filled in."""

    async def work(site: Site, shop: Shop) -> None:
        page = await site.page("runs")
        await expect(page.get_by_text("No runs yet")).to_be_visible()  # keys are heard from then on
        await page.keyboard.press("n")
        await dialog(page).get_by_label("Flow", exact=True).fill("oder")
        await dialog(page).get_by_role("button", name="Start run").click()
        trouble = page.locator("dialog > form > .box-body > [role=alert]")
        await expect(trouble).to_contain_text("Nobody knows a blueprint 'oder'")
        await dialog(page).get_by_label("Flow", exact=True).fill("echo")
        await expect(trouble).to_be_hidden()
        await dialog(page).get_by_role("button", name="Start run").click()
        await expect(status(page)).to_have_text("Completed")

    visit(work)


def test_the_attempt_of_a_node_is_told_whole(browsing: Browsing, tmp_path: Path) -> None:
    """A node that took several attempts says in the drawing how many, and is not cut off."""

    async def third_time(ctx: Any) -> str:
        if ctx.attempt < 3:
            raise ConnectionError("not yet")
        return "done"

    flow = create_flow("again").node(
        "load", third_time, retry=RetryPolicy(max_attempts=3, delay=0.0)
    )

    async def play(browser: Browser) -> None:
        async with open_shop(browser, tmp_path / "runs.db", flows=[flow]) as (site, _):
            await site.adapter.start_run("again", run_id="a")
            page = await site.page("runs/a")
            await expect(status(page)).to_have_text("Completed")
            await expect(state_of(page, "load")).to_contain_text("Succeeded · try 3")

    browsing.play(play)


def test_runs_that_stand_still_are_told_with_what_they_may_wait_for(
    visit: Callable[[Visit], None],
) -> None:
    """Where jobs are ready a run may wait for a free worker; where none is its message is lost."""

    async def work(site: Site, shop: Shop) -> None:
        page = await site.page("health")
        told = await (await page.request.get("api/v1/health")).json()
        run = {**dict.fromkeys(("runId", "blueprintId"), "o"), "since": told["at"], "messages": 2}
        told["standing"] = {**told["standing"], "runs": [run]}

        async def answer(route: Route) -> None:
            await route.fulfill(json=told)

        await page.route("**/api/v1/health", answer)
        for ready, words in (
            (7, "7 jobs on the queue are ready: they may only wait for a worker"),
            (1, "1 job on the queue is ready"),
            (0, "their messages are lost, or in the hands of workers that are gone"),
        ):
            told["queue"]["ready"] = ready
            await page.goto("health")
            card = page.locator("section", has_text="1 run that stands still")
            await expect(card).to_contain_text(words)
            await expect(card.get_by_role("link", name="o", exact=True)).to_be_visible()
        told["queue"] = {**told["queue"], "trouble": "It cannot be reached."}
        await page.goto("health")
        await expect(card).to_contain_text("nothing has happened in them for a while.")
        await expect(card).not_to_contain_text("ready")

    visit(work)
