"""``chat-coord search``."""

import click

from client.asking import connected, search
from client.commands.common import home_of, run
from client.options import home_option, json_option, more_help
from client.output import dump, found_text, say
from protocol.messages import Found
from protocol.paths import Home

# What programs are promised; a row's name is for people.
KEYS = ("session", "seq", "role", "snippet", "at")


@click.command(
    epilog=more_help(
        'chat-coord search "parquet schema"',
        "chat-coord search timeout --json | jq -r '.[] | [.session, .seq] | @tsv'",
        codes="0 found, 1 nothing found, or no word to look for, 3 no coordinator runs.",
    )
)
@click.argument("text", nargs=-1, required=True)
@click.option("--limit", type=click.IntRange(1, 200), default=50, show_default=True, help="How many at most.")
@home_option
@json_option
@click.pass_context
def command(context: click.Context, *, text: tuple[str, ...], limit: int, as_json: bool) -> None:
    """Look for messages that have every word of TEXT, in all sessions, closed and sleeping ones too; wakes none.

    The newest come first. A word of three letters and more also stands for words that begin with it; capital letters
    and accents make no difference.
    """
    found = run(_search(home_of(context), " ".join(text), limit))
    if as_json:
        dump([{key: getattr(row, key) for key in KEYS} for row in found.rows])
    elif found.rows or found.partial:
        say(found_text(found))
    else:
        say("Nothing was found.")
    context.exit(0 if found.rows else 1)


async def _search(home: Home, text: str, limit: int) -> Found:
    async with connected(home) as connection:
        return await search(connection, text, limit)
