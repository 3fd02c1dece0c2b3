"""``chat-coord inbox``."""

import click

from client.asking import all_asks, connected
from client.commands.common import home_of, run
from client.options import home_option, json_option, more_help
from client.output import ask_text, dump, say
from protocol.paths import Home
from protocol.views import AskView


@click.command(
    epilog=more_help(
        "chat-coord inbox",
        "chat-coord inbox --json | jq -r '.[].argv[-1]'",
        codes="0 done, 3 no coordinator runs.",
    )
)
@home_option
@json_option
@click.pass_context
def command(context: click.Context, *, as_json: bool) -> None:
    """Show everything that waits for a person, in all sessions, oldest first: what would run, whole."""
    asks = run(_list(home_of(context)))
    if as_json:
        dump(asks)
        return
    for ask in asks:
        say(ask_text(ask))
    if not asks:
        say("Nothing waits for you.")


async def _list(home: Home) -> list[AskView]:
    async with connected(home) as connection:
        return await all_asks(connection)
