"""``chat-coord wake``."""

import click

from client.commands.common import ask_session, home_of, run, show_session
from client.options import home_option, json_option, more_help, session_argument
from protocol import messages as m


@click.command(
    epilog=more_help(
        "chat-coord wake research",
        codes="0 awake or in line, 1 no such session, or it is closed, 3 no coordinator runs.",
    )
)
@session_argument
@home_option
@json_option
@click.pass_context
def command(context: click.Context, *, name: str, as_json: bool) -> None:
    """Give a session that sleeps a worker; a session that failed is tried again."""
    session = run(ask_session(home_of(context), lambda n: m.Wake(request=n, session=name)))
    show_session(session, as_json=as_json, sentence=f"Session {session.name!r} is {session.residency}.")
