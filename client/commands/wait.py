"""``chat-coord wait``."""

import asyncio

import click

from client.asking import connected
from client.commands.common import home_of, run, show_session
from client.core.waiting import UNTIL
from client.options import home_option, json_option, more_help, session_argument
from client.waiting import wait_until
from protocol.errors import TimedOut
from protocol.paths import Home
from protocol.views import SessionView


@click.command(
    epilog=more_help(
        'chat-coord send code "run the tests" --no-wait && chat-coord wait code --until done --timeout 600',
        "chat-coord wait code --until waiting --json | jq .ask",
        codes="0 it is so, 1 no such session, or it failed, was closed or deleted, so that it can never be so, "
        "3 no coordinator runs, or none for a minute, 4 timed out.",
    )
)
@session_argument
@click.option(
    "--until",
    type=click.Choice(UNTIL),
    required=True,
    help="idle: no turn runs. done: and no prompt and no question waits. "
    "waiting: it has a question, or an answer that nobody saw.",
)
@click.option("--timeout", type=click.FloatRange(min=0), metavar="S", help="Seconds to wait at most.")
@home_option
@json_option
@click.pass_context
def command(context: click.Context, *, name: str, until: str, timeout: float | None, as_json: bool) -> None:
    """Wait until session NAME is idle, waiting or done; for scripts.

    What is so already ends it at once, and a change that comes while it begins is not missed. It goes on when the
    coordinator is restarted. The session is neither woken nor kept awake, and its answers stay unread.
    """
    session = run(_within(home_of(context), name, until, timeout))
    show_session(session, as_json=as_json, sentence=f"Session {session.name!r} is {session.display}.")


async def _within(home: Home, name: str, until: str, limit_s: float | None) -> SessionView:
    try:
        async with asyncio.timeout(limit_s), connected(home) as connection:
            return await wait_until(connection, name, until)
    except TimeoutError:
        raise TimedOut(f"The session {name!r} was not {until} within {limit_s:g} s.") from None
