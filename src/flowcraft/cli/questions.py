"""Asking a person before something is done that cannot be taken back."""

from __future__ import annotations

import sys

import click

from flowcraft.cli.failures import REFUSED, CommandError
from flowcraft.cli.invocation import Invocation


def agree(invocation: Invocation, question: str, *, yes: bool) -> None:
    """Ask, unless it was said already; whoever says no ends the command.

    Args:
        invocation: The call of the command.
        question: What is to be done, as a question that ``y`` agrees to.
        yes: Whether ``--yes`` was given.

    Raises:
        CommandError: There is nobody to be asked (code 2), or somebody said no (code 4).
    """
    if yes:
        return
    if invocation.out.as_json:
        raise CommandError("With --json nobody is asked: give --yes, if it is to be done.")
    if sys.stdin is None or not sys.stdin.isatty():
        raise CommandError(f"{question} Nobody can be asked here: give --yes, if so.")
    if not click.confirm(question, err=True):
        raise CommandError("Nothing was done.", REFUSED)
