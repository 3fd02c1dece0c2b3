"""``chat-coord unpin``."""

import click

from client.commands.common import ask_session, home_of, run, show_session
from client.options import home_option, json_option, more_help, session_argument
from protocol import messages as m


@click.command(
    epilog=more_help(
        "chat-coord unpin research",
        codes="0 done, 1 no such session, 3 no coordinator runs.",
    )
)
@session_argument
@home_option
@json_option
@click.pass_context
def command(context: click.Context, *, name: str, as_json: bool) -> None:
    """Let a session that was pinned be hibernated again."""
    session = run(ask_session(home_of(context), lambda n: m.Mark(request=n, session=name, mark="pinned", value=False)))
    show_session(session, as_json=as_json, sentence=f"Session {session.name!r} is not pinned any more.")
