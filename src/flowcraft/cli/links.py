"""``flowcraft links``: addresses that answer what a run waits for, and the secret behind them."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any, Final

import click

from flowcraft.adapters.system import random_bytes
from flowcraft.cli.invocation import Invocation, pass_invocation
from flowcraft.cli.output import plain
from flowcraft.engine.linking import AnswerLink

SECRET_BYTES: Final = 32


class _Links(click.Group):
    """Takes what is no subcommand as a run: ``flowcraft links RUN``."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        first = next((each for each in args if not each.startswith("-")), "")
        if first in self.commands:
            args.remove(first)
            args = [first, *args]
        else:
            args = ["show", *args]
        return super().resolve_command(ctx, args)


@click.group(
    name="links",
    cls=_Links,
    context_settings={"ignore_unknown_options": True},
    help="Print links that answer what a run waits for: 'flowcraft links RUN'.",
    epilog="\b\nflowcraft links RUN\nflowcraft links RUN --node approve --action yes\n"
    "flowcraft links secret > links-secret.txt",
)
def group() -> None:
    """Commands about links."""


@group.command("show", help="Print a link to each wait of a run. Whoever has one may answer.")
@click.argument("run_id")
@click.option("--node", metavar="ID", help="Only to waits of this id.")
@click.option("--action", metavar="NAME", help="The only action that the links answer with.")
@click.option(
    "--purpose",
    type=click.Choice(["webhook", "approval"]),
    help="An address that takes JSON, or a page; by default what each node is.",
)
@click.option("--lifetime-seconds", type=float, metavar="N", help="How long they hold.")
@pass_invocation
def show(invocation: Invocation, /, run_id: str, **given: Any) -> None:
    """Print links."""

    async def work() -> list[AnswerLink]:
        async with invocation.client(with_app=True) as client:
            return await client.answer_links(
                run_id,
                node_id=given["node"],
                action=given["action"],
                purpose=given["purpose"],
                lifetime_seconds=given["lifetime_seconds"],
            )

    links = invocation.run(work())
    out = invocation.out
    if out.as_json:
        out.json({"runId": run_id, "links": links})
        return
    if not links:
        out.remark(f"{plain(run_id)} waits for no answer.")
    for link in links:
        title = "" if link.title is None else f": {link.title}"
        until = datetime.fromtimestamp(link.expires_at, UTC)
        out.remark(f"{plain('/'.join(link.path) + title)} (until {until:%Y-%m-%d %H:%M} UTC)")
        out.print(link.url)


@group.command("secret", help="Make a secret that signs links, and print it: 32 random bytes.")
@pass_invocation
def secret(invocation: Invocation) -> None:
    """Print a secret."""
    made = base64.urlsafe_b64encode(random_bytes(SECRET_BYTES)).rstrip(b"=").decode("ascii")
    if invocation.out.as_json:
        invocation.out.json({"secret": made})
    else:
        invocation.out.print(made)
        invocation.out.remark(
            "Give it as FLOWCRAFT_LINKS_SECRET to workers and to whoever serves links, or put it "
            "into a file outside of the repository that links.secret_file names."
        )
