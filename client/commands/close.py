"""``chat-coord close``."""

import click

from client.commands.common import ask_session, home_of, run, show_session
from client.options import home_option, json_option, more_help, session_argument
from protocol import messages as m


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
    session = run(ask_session(home_of(context), lambda n: m.Close(request=n, session=name)))
    show_session(session, as_json=as_json, sentence=f"Session {session.name!r} is closed; its history is kept.")
