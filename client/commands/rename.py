"""``chat-coord rename``."""

import click

from client.asking import connected
from client.commands.common import home_of, run, show_session
from client.completing import session_names
from client.options import home_option, json_option, more_help
from protocol import messages as m
from protocol.paths import Home
from protocol.views import SessionView


@click.command(
    epilog=more_help(
        "chat-coord rename session-1 research",
        codes="0 done, 1 refused (no such session, name taken or illegal), 3 no coordinator runs.",
    )
)
@click.argument("old", shell_complete=session_names)
@click.argument("new")
@home_option
@json_option
@click.pass_context
def command(context: click.Context, *, old: str, new: str, as_json: bool) -> None:
    """Give a session another name."""
    session = run(_rename(home_of(context), old, new))
    show_session(session, as_json=as_json, sentence=f"The session is named {session.name!r} now.")


async def _rename(home: Home, old: str, new: str) -> SessionView:
    async with connected(home) as connection:
        order = m.Rename(request=connection.number(), session=old, name=new)
        answer = await connection.ask(order, m.SessionAnswer)
    assert answer.session is not None  # noqa: S101 - a rename is always answered with its session
    return answer.session
