"""``chat-coord close``."""

import click

from client.asking import connected
from client.commands.common import home_of, run, show_session
from client.options import home_option, json_option, more_help, session_argument
from protocol import messages as m
from protocol.paths import Home
from protocol.views import SessionView


@click.command(
    epilog=more_help(
        "chat-coord close research",
        codes="0 done, 1 no such session, 3 no coordinator runs.",
    )
)
@session_argument
@home_option
@json_option
@click.pass_context
def command(context: click.Context, *, name: str, as_json: bool) -> None:
    """End a session's worker for good. Its history is kept: `chat-coord history NAME`."""
    session = run(_close(home_of(context), name))
    show_session(session, as_json=as_json, sentence=f"Session {session.name!r} is closed; its history is kept.")


async def _close(home: Home, name: str) -> SessionView:
    async with connected(home) as connection:
        answer = await connection.ask(m.Close(request=connection.number(), session=name), m.SessionAnswer)
    assert answer.session is not None  # noqa: S101 - a close is always answered with its session
    return answer.session
