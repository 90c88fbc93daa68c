"""``flowcraft config``: the settings, and where each comes from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import click

from flowcraft.cli.columns import GAP, Column, show_rows
from flowcraft.cli.invocation import Invocation, pass_invocation
from flowcraft.settings import Option, Settings, Value

_USER_INFO = re.compile(r"(?<=://)[^/@]*@")


@click.group(name="config", help="Show the settings, and where they come from.")
def group() -> None:
    """Commands about settings."""


@group.command("show", help="List all settings with their values, and where each comes from.")
@pass_invocation
def show(invocation: Invocation) -> None:
    """List the settings."""
    settings, out = invocation.settings, invocation.out
    if out.as_json:
        out.json(
            {
                "file": None if settings.file is None else str(settings.file),
                "settings": {
                    option.name: {"value": _shown(option, setting.value), "origin": setting.origin}
                    for option, setting in settings
                },
            }
        )
        return
    rows = [
        (option.name, _text(option, setting.value), setting.origin, option.help)
        for option, setting in settings
    ]
    if _fits(rows, out.width):
        show_rows(out, _COLUMNS, rows)
        return
    # Half a sentence helps nobody; the page of the command has them all.
    show_rows(out, _COLUMNS[:-1], [(*row[:2], _briefly(row[2], settings)) for row in rows])
    if settings.file is not None:
        out.remark(f"The file is {settings.file}.")


_COLUMNS: Final = (
    Column("setting", is_whole=True, least=28),
    Column("value", least=10),
    Column("from", least=14),
    Column("what it is"),
)


def _fits(rows: Sequence[tuple[str, ...]], width: int) -> bool:
    columns = zip(*rows, strict=True)
    return sum(max(map(len, cells)) for cells in columns) + GAP * len(_COLUMNS) <= width


def _briefly(origin: str, settings: Settings) -> str:
    """Where a value comes from, in few words: of the file its name."""
    file = settings.file
    return origin if file is None else origin.replace(str(file), file.name)


def _shown(option: Option, value: Value) -> Value:
    """A value without what nobody is to see: a secret, a password that an address may hold."""
    if option.is_secret and value is not None:
        return "***"
    return _USER_INFO.sub("***@", value) if isinstance(value, str) else value


def _text(option: Option, value: Value) -> str:
    return "-" if value is None else str(_shown(option, value))
