"""``chat-coord type``."""

import click

from client.commands.common import ask_session, home_of, run, show_session
from client.options import home_option, json_option, more_help, session_argument
from protocol import messages as m
from protocol.views import SESSION_TYPES


@click.command(
    epilog=more_help(
        "chat-coord type research review",
        codes="0 done, 1 no such session, 2 no such type, 3 no coordinator runs.",
    )
)
@session_argument
@click.argument("session_type", metavar="TYPE", type=click.Choice(SESSION_TYPES))
@home_option
@json_option
@click.pass_context
def command(context: click.Context, *, name: str, session_type: str, as_json: bool) -> None:
    """Change a session's type: debug, planning, development or review.

    Its system prompt and the rules of its tools hold from the next request to the model on.
    """

    def order(number: int) -> m.Request:
        return m.Mark(request=number, session=name, mark="type", value=session_type)

    session = run(ask_session(home_of(context), order))
    show_session(session, as_json=as_json, sentence=f"Session {session.name!r} is of type {session.type} now.")
