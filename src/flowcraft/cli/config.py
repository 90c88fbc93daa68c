"""``flowcraft config``: the settings, and where each comes from."""

from __future__ import annotations

import re

import click

from flowcraft.cli.invocation import Invocation, pass_invocation
from flowcraft.settings import Option, Value

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
    out.table(["setting", "value", "from", "what it is"], rows)


def _shown(option: Option, value: Value) -> Value:
    """A value without what nobody is to see: a secret, a password that an address may hold."""
    if option.is_secret and value is not None:
        return "***"
    return _USER_INFO.sub("***@", value) if isinstance(value, str) else value


def _text(option: Option, value: Value) -> str:
    return "-" if value is None else str(_shown(option, value))
