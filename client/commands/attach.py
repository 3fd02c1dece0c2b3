"""``chat-coord attach``."""

import click

from client.commands.common import home_of, run
from client.options import home_option, more_help, session_argument
from client.terminal import open_terminal


@click.command(
    epilog=more_help(
        "chat-coord attach research",
        "chat-coord attach research --read-only",
        codes="0 left, 1 no such session, 3 no coordinator runs.",
    )
)
@session_argument
@click.option("--read-only", is_flag=True, help="Only look: the session is not woken and not kept awake.")
@home_option
@click.pass_context
def command(context: click.Context, *, name: str, read_only: bool) -> None:
    """Open the terminal on a session. Several terminals can be open on one; all see the same."""
    run(open_terminal(home_of(context), name, observes=read_only))
