"""``chat-coord completion``."""

import click
from click.shell_completion import get_completion_class

from client.completing import VARIABLE
from client.options import home_option, more_help
from client.output import say


@click.command(
    epilog=more_help(
        'eval "$(chat-coord completion bash)"                   # in ~/.bashrc',
        'eval "$(chat-coord completion zsh)"                    # in ~/.zshrc',
        "chat-coord completion fish > ~/.config/fish/completions/chat-coord.fish",
        codes="0 done, 2 wrong usage.",
    )
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@home_option
@click.pass_context
def command(context: click.Context, *, shell: str) -> None:
    """Print the completion script for a shell.

    It completes commands, options and, while a coordinator runs, the names of sessions.
    """
    kind = get_completion_class(shell)
    assert kind is not None  # noqa: S101 - the choice is click's own three
    say(kind(context.find_root().command, {}, "chat-coord", VARIABLE).source())
