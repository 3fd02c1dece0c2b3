"""``chat-coord history``."""

import click
import msgspec

from client.asking import connected
from client.commands.common import home_of, run
from client.options import home_option, json_option, more_help, session_argument
from client.output import dump, render, say
from protocol.paths import Home
from protocol.views import HistoryRow

# What programs are promised; the rest of a row is between processes.
KEYS = ("seq", "role", "text", "turn_id", "stop_reason", "at")


@click.command(
    epilog=more_help(
        "chat-coord history research",
        "chat-coord history research --json | jq -r '.[-1].text'",
        codes="0 done, 1 no such session, 3 no coordinator runs.",
    )
)
@session_argument
@home_option
@json_option
@click.pass_context
def command(context: click.Context, *, name: str, as_json: bool) -> None:
    """Show a session's conversation, in the order of its turns."""
    rows = run(read_history(home_of(context), name))
    if as_json:
        dump([{key: value for key, value in msgspec.to_builtins(row).items() if key in KEYS} for row in rows])
        return
    for row in rows:
        say(render(row))


async def read_history(home: Home, name: str) -> list[HistoryRow]:
    """Return the whole conversation, in the order of turns."""
    async with connected(home) as connection:
        rows = [row async for page in connection.history(name, view=True) for row in page.rows]
    return sorted(rows, key=lambda row: (row.reply_to or row.seq, row.seq))
