"""``chat-coord archive``."""

import click

from client.commands.common import ask_session, home_of, run, show_session
from client.options import home_option, json_option, more_help, session_argument
from protocol import messages as m


@click.command(
    epilog=more_help(
        "chat-coord archive research",
        "chat-coord archive research --undo",
        codes="0 done, 1 no such session, 3 no coordinator runs.",
    )
)
@session_argument
@click.option("--undo", is_flag=True, help="Take it out of the archive.")
@home_option
@json_option
@click.pass_context
def command(context: click.Context, *, name: str, undo: bool, as_json: bool) -> None:
    """Hide a session from the list; `chat-coord sessions --all` shows it. Nothing else about it changes."""
    session = run(
        ask_session(home_of(context), lambda n: m.Mark(request=n, session=name, mark="archived", value=not undo))
    )
    sentence = (
        f"Session {session.name!r} is {'in the list again' if undo else 'archived: only sessions --all shows it'}."
    )
    show_session(session, as_json=as_json, sentence=sentence)
