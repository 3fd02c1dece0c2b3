"""``chat-coord kill``."""

import click

from client.asking import connected
from client.commands.common import home_of, run, show_session
from client.inspecting import after_kill, kill
from client.options import home_option, json_option, more_help, session_argument
from protocol.paths import Home
from protocol.views import SessionView


@click.command(
    epilog=more_help(
        "chat-coord kill research",
        codes="0 dead, 1 no such session, or it has no worker, 3 no coordinator runs.",
    )
)
@session_argument
@home_option
@json_option
@click.pass_context
def command(context: click.Context, *, name: str, as_json: bool) -> None:
    """Kill the worker of session NAME with SIGKILL, and all that it started.

    What follows is what follows any crash: an idle session sleeps, a busy one gets another worker, and a turn that had
    sent a request ends as interrupted. Its conversation is kept. `restart-worker` is the polite way, `close` ends a
    session.
    """
    session = run(_kill(home_of(context), name))
    show_session(session, as_json=as_json, sentence=after_kill(session))


async def _kill(home: Home, name: str) -> SessionView:
    async with connected(home) as connection:
        return await kill(connection, name)
