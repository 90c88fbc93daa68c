"""``flowcraft completion``: what a shell needs to complete commands and flags."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from flowcraft.cli.invocation import Invocation, pass_invocation

_WHERE = {
    "bash": "flowcraft completion bash >> ~/.bashrc",
    "zsh": "flowcraft completion zsh >> ~/.zshrc",
    "fish": "flowcraft completion fish > ~/.config/fish/completions/flowcraft.fish",
}
_EPILOG = "\b\n" + "\n".join(_WHERE.values())


@click.command(
    name="completion",
    help="Print what makes a shell complete commands and flags; put it into its startup file.",
    epilog=_EPILOG,
)
@click.argument("shell", type=click.Choice(sorted(_WHERE)))
@pass_invocation
def command(invocation: Invocation, shell: str) -> None:
    """Print the script of a shell."""
    kind = get_completion_class(shell)
    assert kind is not None
    # Imported here, since it is what asks for this module.
    from flowcraft.cli.main import COMPLETE, cli  # noqa: PLC0415

    script = kind(cli(), {}, "flowcraft", COMPLETE)
    text = script.source_template % script.source_vars()
    if invocation.as_json:
        invocation.out.json({"shell": shell, "script": text})
    else:
        click.echo(text)
