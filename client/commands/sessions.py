"""``chat-coord sessions``, also ``ls``."""

import click

from client.asking import all_sessions, connected
from client.commands.common import home_of, run
from client.options import home_option, json_option, more_help
from client.output import dump, say, session_table
from protocol.paths import Home
from protocol.views import SessionView


@click.command(
    epilog=more_help(
        "chat-coord sessions",
        "chat-coord sessions --waiting --json",
        "chat-coord sessions --group night",
        codes="0 done, 3 no coordinator runs.",
    )
)
@click.option("--waiting", is_flag=True, help="Only those that wait for a person: a question, or an answer unseen.")
@click.option("--group", metavar="G", help="Only those of a group.")
@click.option("--all", "everything", is_flag=True, help="Closed sessions too.")
@home_option
@json_option
@click.pass_context
def command(context: click.Context, *, waiting: bool, group: str | None, everything: bool, as_json: bool) -> None:
    """List the sessions; those that need a person come first."""
    sessions = run(_list(home_of(context), waiting=waiting, everything=everything, group=group))
    if as_json:
        dump(sessions)
    elif sessions:
        say(session_table(sessions))
    elif group is not None:
        say(f"There is no such session in the group {group!r}.")
    else:
        say("No session waits." if waiting else "There are no sessions. Make one with `chat-coord new`.")


async def _list(home: Home, *, waiting: bool, everything: bool, group: str | None) -> list[SessionView]:
    async with connected(home) as connection:
        return await all_sessions(connection, waiting=waiting, everything=everything, group=group)
