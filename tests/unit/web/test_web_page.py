"""The commands on the page about the HTTP API, sent to an application as curl would send them."""

from __future__ import annotations

import runpy
import shlex
from pathlib import Path

from tests.house.source import ROOT
from tests.unit.runs import drive
from tests.unit.web.stage import Web, working

HERE = "localhost:8095"
FLOWS = ROOT / "src" / "flowcraft" / "cli" / "project" / "flows.py.txt"


def commands() -> list[list[str]]:
    """The words of each curl on the page that goes to this machine."""
    page = (ROOT / "docs" / "http-api.md").read_text(encoding="utf-8")
    lines = page.replace("\\\n", " ").splitlines()
    found = [shlex.split(line) for line in lines if line.startswith("curl ")]
    return [words[1:] for words in found if any(word.startswith(HERE) for word in words)]


async def send(web: Web, words: list[str]) -> str:
    """Do what curl does with such words; gives the method and what is asked for."""
    method, path, headers, data = "GET", "", {}, None
    rest = iter(words)
    for word in rest:
        match word:
            case "-s" | "-sN":
                pass
            case "-X":
                method = next(rest)
            case "-H":
                name, _, value = next(rest).partition(": ")
                headers[name] = value
            case "-d":
                method, data = "POST", next(rest)
            case _:
                path = word.removeprefix(HERE)
    answer = await web.ask(method, path, headers=headers, content=data)
    assert answer.status_code in (200, 201), f"{method} {path}: {answer.text}"
    return f"{method} {path.rpartition('/')[2]}"


def test_the_commands_of_the_page_work_one_after_the_other(tmp_path: Path) -> None:
    """With the workflow of ``flowcraft init`` each command is answered, and none is refused."""
    order = runpy.run_path(str(FLOWS))["order"]

    async def work() -> None:
        async with working(tmp_path, order) as (web, _):
            sent = []
            for words in commands():
                if any(word.endswith("/resume") for word in words):  # a person comes later
                    stream = web.stream("/runs/order-17/events")
                    async with stream:
                        while (event := await stream.event()) is not None:
                            if event["data"]["run"]["status"] == "awaiting":
                                break
                sent.append(await send(web, words))
            assert sent[3:] == [
                "POST resume",
                "GET result?wait=30",
                "GET events",
                "DELETE order-17",
            ]

    drive(work())
