"""``chat-coord delete``."""

import sys

import click

from client.asking import connected, get_session
from client.commands.common import home_of, run
from client.options import home_option, json_option, more_help, session_argument
from client.output import dump, say
from protocol import messages as m
from protocol.paths import Home
from protocol.views import SessionView


@click.command(
    epilog=more_help(
        "chat-coord delete research",
        "chat-coord delete research --yes",
        codes="0 deleted, 1 no such session, it has a worker, or you said no, 2 nobody to ask and no --yes, "
        "3 no coordinator runs.",
    )
)
@session_argument
@click.option("--yes", is_flag=True, help="Do not ask.")
@home_option
@json_option
@click.pass_context
def command(context: click.Context, *, name: str, yes: bool, as_json: bool) -> None:
    """Remove a session that is closed or asleep, with its whole history. There is no way back; it asks before."""
    home = home_of(context)
    if not yes and not sys.stdin.isatty():
        raise click.UsageError("There is nobody to ask: say --yes.")
    session = run(_look(home, name))
    if not yes:
        question = f"Delete {session.name!r} with its {session.messages} messages? There is no way back"
        click.confirm(question, abort=True, err=True)
    run(_delete(home, session.id))
    if as_json:
        dump({"deleted": session.id})
    else:
        say(f"Session {session.name!r} is deleted.")


async def _look(home: Home, name: str) -> SessionView:
    async with connected(home) as connection:
        session = await get_session(connection, name)
    assert session is not None  # noqa: S101 - an unknown name is refused
    return session


async def _delete(home: Home, session: str) -> None:
    async with connected(home) as connection:
        await connection.ask(m.Delete(request=connection.number(), session=session), m.Done)
