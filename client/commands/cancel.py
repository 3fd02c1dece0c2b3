"""``chat-coord cancel``."""

import click

from client.asking import cancel, connected
from client.commands.common import home_of, run
from client.options import home_option, json_option, more_help, session_argument
from client.output import dump, say
from protocol.errors import EXIT_NO
from protocol.messages import Cancelled
from protocol.paths import Home


@click.command(
    epilog=more_help(
        "chat-coord cancel research",
        codes="0 it is cancelled, 1 no such session, nothing runs there, or the turn had ended by then, "
        "3 no coordinator.",
    )
)
@session_argument
@home_option
@json_option
@click.pass_context
def command(context: click.Context, *, name: str, as_json: bool) -> None:
    """End the turn of session NAME now. What it said is kept and marked; what it asks needs no answer any more.

    A tool that runs is ended with everything that it started.
    """
    cancelled = run(_cancel(home_of(context), name))
    is_so = cancelled.stop_reason == "cancelled"
    if as_json:
        dump({"session": cancelled.session, "seq": cancelled.seq, "stop_reason": cancelled.stop_reason})
    elif is_so:
        say("The turn is cancelled; what it had said is kept.")
    else:
        say(f"The turn had ended by then: {cancelled.stop_reason}.")
    context.exit(0 if is_so else EXIT_NO)


async def _cancel(home: Home, name: str) -> Cancelled:
    async with connected(home) as connection:
        return await cancel(connection, name)
