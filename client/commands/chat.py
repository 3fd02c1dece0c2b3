"""``chat-coord chat``, which is also ``chat-coord`` alone."""

import click

from client.commands.common import home_of, run
from client.options import home_option, maybe_session_argument, more_help
from client.terminal import open_terminal


@click.command(
    epilog=more_help(
        "chat-coord chat",
        "chat-coord chat research",
        "printf 'hello\\n/quit\\n' | chat-coord chat --plain",
        codes="0 left with /quit or at the end of input, 1 no such session, 78 bad configuration.",
    )
)
@maybe_session_argument
@click.option("--plain", is_flag=True, help="Line by line, for pipes, dumb terminals and screen readers.")
@home_option
@click.pass_context
def command(context: click.Context, *, name: str | None = None, plain: bool = False) -> None:
    """Open the terminal on session NAME, the one used last, or a new one.

    Starts the coordinator when none runs. The first run needs no key and no question: it downloads the embedded model.
    """
    run(open_terminal(home_of(context), name, is_plain=plain))
