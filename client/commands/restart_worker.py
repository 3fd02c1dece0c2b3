"""``chat-coord restart-worker``."""

import click

from client.asking import connected
from client.commands.common import home_of, run, show_session
from client.inspecting import restart_worker
from client.options import home_option, json_option, more_help, session_argument
from protocol.paths import Home
from protocol.views import SessionView


@click.command(
    epilog=more_help(
        "chat-coord restart-worker research",
        "chat-coord restart-worker research --force",
        codes="0 it has another worker, 1 no such session, a turn runs, or it has no worker, 3 no coordinator runs.",
    )
)
@session_argument
@click.option("--force", is_flag=True, help="Also while a turn runs, which then ends as interrupted.")
@home_option
@json_option
@click.pass_context
def command(context: click.Context, *, name: str, force: bool, as_json: bool) -> None:
    """Put another worker in the place of session NAME's: it hibernates and wakes at once, with its conversation."""
    session = run(_restart(home_of(context), name, force=force))
    show_session(session, as_json=as_json, sentence=f"Session {session.name!r} has another worker, pid {session.pid}.")


async def _restart(home: Home, name: str, *, force: bool) -> SessionView:
    async with connected(home) as connection:
        return await restart_worker(connection, name, force=force)
