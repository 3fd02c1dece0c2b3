"""``chat-coord switch``."""

import sys

import click

from client.asking import connected
from client.commands.common import home_of, run, show_session
from client.options import home_option, json_option, more_help, session_argument
from client.terminal import open_terminal
from protocol import messages as m
from protocol.paths import Home
from protocol.views import SessionView


@click.command(
    epilog=more_help(
        "chat-coord switch research",
        codes="0 done, 1 no such session, 3 no coordinator runs.",
    )
)
@session_argument
@home_option
@json_option
@click.pass_context
def command(context: click.Context, *, name: str, as_json: bool) -> None:
    """Make a session the active one of the command line; in a terminal, also open it."""
    home = home_of(context)
    session = run(_switch(home, name))
    show_session(session, as_json=as_json, sentence=f"Session {session.name!r} is active now.")
    if not as_json and sys.stdin.isatty() and sys.stdout.isatty():
        run(open_terminal(home, session.id))


async def _switch(home: Home, name: str) -> SessionView:
    async with connected(home) as connection:
        answer = await connection.ask(m.Switch(request=connection.number(), session=name), m.SessionAnswer)
    assert answer.session is not None  # noqa: S101 - a switch is always answered with its session
    return answer.session
