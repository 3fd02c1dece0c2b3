"""``chat-coord hibernate``."""

import click

from client.commands.common import ask_session, home_of, run, show_session
from client.options import home_option, json_option, more_help, session_argument
from protocol import messages as m


@click.command(
    epilog=more_help(
        "chat-coord hibernate research",
        codes="0 asleep, 1 no such session, or something keeps it awake, 3 no coordinator runs.",
    )
)
@session_argument
@home_option
@json_option
@click.pass_context
def command(context: click.Context, *, name: str, as_json: bool) -> None:
    """Put a session to sleep: its process ends, its memory is free, nothing is lost.

    The next prompt, an answer, or a terminal that opens on it wakes it within milliseconds. A session is not put to
    sleep while it answers, while it is pinned, or while a terminal is open on it.
    """
    session = run(ask_session(home_of(context), lambda n: m.Hibernate(request=n, session=name)))
    show_session(session, as_json=as_json, sentence=f"Session {session.name!r} sleeps; its next prompt wakes it.")
